"""A head that learns from what the encoder says in int8: sooner than in fp32, and it is what is to serve.

Rounding is noise to the head, which costs the same head in fp32 nothing (docs/experiments.md): fp32 stays the measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lakewright.learning.learners import Fitted, Training
from lakewright.learning.learners.encoder.export import export
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.serving import INT8, choose, quantise
from lakewright.learning.learners.encoder.settings import PretrainedSettings
from lakewright.model.predictor import Predictor
from lakewright.model.runtimes import Runtime
from lakewright.model.runtimes.onnx import load
from lakewright.model.tasks import Logits

COMPARED = 64  # validation rows, in int8 and in fp32
ROUGH = 0.1  # of the variance; MiniLM's int8 has 0.02


@dataclass(frozen=True, eq=False)
class Rounded:
    """What reads texts for the head."""

    runtime: Runtime
    reference: Logits  # what fp32 has the head read of validation
    unlike: float  # how much of what int8 says is not what fp32 says: a share of its variance
    saturated: float  # the share of values on validation that int8's scales cut


def rounded(network: EncoderNetwork, training: Training[PretrainedSettings]) -> Rounded | None:
    """The encoder without its head in model.onnx and in int8 beside it; None where int8 says too little of what fp32
    says."""
    full, int8 = training.folder / "model.onnx", training.folder / INT8
    head, network.head = network.head, torch.nn.Identity()
    export(network, full)
    network.head = head
    validation = training.validation.encoded
    with ThreadPoolExecutor(1) as aside:  # to quantise is work for one core
        future = aside.submit(_reader(load(full, training.threads, "throughput"), training).logits, validation)
        saturated = quantise(training)
        reference = future.result()
    runtime = load(int8, training.threads, "throughput")
    sample = np.arange(min(COMPARED, len(training.validation)))
    outputs = np.vstack(_reader(runtime, training).logits(validation.take(sample)))
    expected = np.vstack(
        [reference[at] for at in (sample if training.task.level == "row" else validation.sequences(sample))]
    )
    unlike = float(np.square(outputs - expected).sum() / np.square(expected - expected.mean(axis=0)).sum())
    return Rounded(runtime, reference, unlike, saturated) if unlike <= ROUGH else None


def leave_rounded(
    network: EncoderNetwork, training: Training[PretrainedSettings], reader: Rounded, int8_logits: Logits
) -> Fitted:
    """Everything that serves, in the model folder, with the head on; `int8_logits`: what int8 says of validation."""
    for file in (training.folder / "model.onnx", training.folder / INT8):
        _append_head(network.head, file)
    network.save(training.folder)
    weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    logits: Mapping[str, Logits] = {
        "int8": int8_logits,
        "fp32": [values @ weight.T + bias for values in reader.reference],
    }
    fitted = choose(network, training, logits)
    return replace(
        fitted, details={"int8_unlike": round(reader.unlike, 4), "int8_saturated": reader.saturated, **fitted.details}
    )


def _reader(runtime: Runtime, training: Training[PretrainedSettings]) -> Predictor:
    return Predictor(training.folder, "", training.task, training.recipe, runtime)


def _append_head(head: torch.nn.Linear, file: Path) -> None:
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
