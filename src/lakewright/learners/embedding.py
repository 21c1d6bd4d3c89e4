"""A frozen encoder and a linear head: minutes become seconds, since every text goes through the encoder once.

Of sentence_similarity nothing is trained: the embeddings are the base model's, and only the score's scale is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lakewright.learners import Fitted, Training
from lakewright.learners.encoder import Encoder, untrained
from lakewright.learners.encoder.settings import SMALL, PretrainedSettings
from lakewright.memory import memory_kept

if TYPE_CHECKING:
    import torch

    from lakewright.learners.encoder.network import EncoderNetwork
    from lakewright.runtimes import Runtime
    from lakewright.tasks import Logits


COMPARED = 64  # validation rows, in int8 and in fp32
ROUGH = 0.1  # MiniLM's int8 has 0.02


class EmbeddingSettings(PretrainedSettings):
    learner: Literal["embedding"] = "embedding"


class Embedding(Encoder):
    """An encoder that is left as it is; what it reads and what serves it are the same."""

    name = "embedding"
    settings = EmbeddingSettings
    sizes: Mapping[str, Mapping[str, Any]] = {"instant": {"base_model": SMALL, "quantize": "dynamic"}}
    gaps: Mapping[str, str] = {
        "question_answering": "never: where an answer begins cannot be read off an encoder that was not trained for it",
    }

    @memory_kept()
    def fit(self, training: Training) -> Fitted:
        import torch

        from lakewright.learners.encoder.serving import leave

        settings: EmbeddingSettings = training.settings
        torch.set_num_threads(training.threads)
        network = untrained(training, dropout=0.0).to(training.device)
        if training.task.level == "vector":
            return leave(network, training)
        plain = settings.bf16 == "auto" and not settings.prune_error
        if settings.quantize == "dynamic" and plain and training.device == "cpu":
            fitted = _in_int8(network, training)
            if fitted is not None and fitted.details["precision"] == "int8":
                return fitted
        details, _ = _fit_head(network, training)
        left = leave(network, training)
        return Fitted([], details | left.details, left.validation)


def _in_int8(network: EncoderNetwork, training: Training) -> Fitted | None:
    """The head learns from what the encoder says in int8: sooner, and it is what is to serve. Rounding is noise to it,
    which costs the same head in fp32 nothing (docs/experiments.md): fp32 stays the measure. None where int8 says too
    little of what fp32 says."""
    import torch

    from lakewright.learners.encoder.export import export
    from lakewright.learners.encoder.serving import INT8, choose, dynamic
    from lakewright.runtimes.onnx import load

    full, int8 = training.folder / "model.onnx", training.folder / INT8
    head, network.head = network.head, torch.nn.Identity()
    export(network, full)
    dynamic(full, int8)
    network.head = head
    exact, reads = (load(file, training.threads, "throughput") for file in (full, int8))
    unlike = _unlike(reads, exact, training)
    if unlike > ROUGH:
        return None
    details, said = _fit_head(network, training, reads)
    for file in (full, int8):
        _put_on(head, file)
    network.save(training.folder)
    left = choose(network, training, {"int8": said})
    return Fitted([], {**details, "int8_unlike": round(unlike, 4), **left.details}, left.validation)


def _unlike(rough: Runtime, exact: Runtime, training: Training) -> float:
    """How much of what one says of validation rows is not what the other says: a share of its variance."""
    import numpy as np

    from lakewright.runtimes.predictor import Predictor

    rows = training.validation.encoded.take(np.arange(min(COMPARED, len(training.validation))))
    said, meant = (
        np.vstack(Predictor(training.folder, "", training.task, training.encoding, runtime).logits(rows))
        for runtime in (rough, exact)
    )
    return float(np.square(said - meant).sum() / np.square(meant - meant.mean(axis=0)).sum())


def _fit_head(
    network: EncoderNetwork, training: Training, reads: Runtime | None = None
) -> tuple[dict[str, float | int | str], Logits]:
    from lakewright.learners.encoder.probe import fit_head
    from lakewright.tasks import Loss

    began = time.monotonic()
    loss = Loss(training.task.losses[0])
    details, said = fit_head(network, training, loss, training.settings.seed, reads=reads)
    seconds = time.monotonic() - began
    return {**details, "samples_per_second": round(len(training.train) / max(seconds, 1e-9), 2)}, said


def _put_on(head: torch.nn.Linear, file: Path) -> None:
    """An ONNX file whose `logits` are what a head reads → one whose `logits` are the head's."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(file))
    graph, (logits,) = model.graph, model.graph.output
    for node in graph.node:
        node.output[:] = ["features" if name == logits.name else name for name in node.output]
    weights = {"head.weight": head.weight.detach().T.numpy(), "head.bias": head.bias.detach().numpy()}
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    graph.node.append(helper.make_node("MatMul", ["features", "head.weight"], ["head.product"]))
    graph.node.append(helper.make_node("Add", ["head.product", "head.bias"], [logits.name]))
    logits.type.tensor_type.shape.dim[-1].dim_value = head.out_features
    onnx.save(model, str(file))


LEARNER: Any = Embedding()
