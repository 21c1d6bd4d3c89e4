"""A frozen encoder and a linear head: minutes become seconds, since every text goes through the encoder once.

Of sentence_similarity nothing is trained: the embeddings are the base model's, and only the score's scale is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from lakewright.learning.learners import Fitted, Learner, Training
from lakewright.learning.learners.encoder import Encoder, untrained
from lakewright.learning.learners.encoder.settings import SMALL, PretrainedSettings
from lakewright.system.memory import keep_memory

if TYPE_CHECKING:
    from lakewright.learning.learners.encoder.network import EncoderNetwork
    from lakewright.model.runtimes import Runtime
    from lakewright.model.tasks import Logits


class EmbeddingSettings(PretrainedSettings):
    learner: Literal["embedding"] = "embedding"


class Embedding(Encoder):
    """An encoder that is left as it is; what it reads and what serves it are the same."""

    name = "embedding"
    settings = EmbeddingSettings
    sizes: Mapping[str, Mapping[str, Any]] = {"instant": {"base_model": SMALL, "quantize": "static"}}
    unlabeled = ()
    truths = ("class", "labels", "number", "spans", "likeness")
    gaps: Mapping[str, str] = {
        "answers": "never: an encoder that was not trained for it does not show where an answer begins",
    }

    @keep_memory()
    def fit(self, training: Training[Any]) -> Fitted:
        import torch

        from lakewright.learning.learners.encoder.rounded import leave_rounded, rounded
        from lakewright.learning.learners.encoder.serving import leave

        settings: EmbeddingSettings = training.settings
        torch.set_num_threads(training.threads)
        network = untrained(training, dropout=0.0).to(training.device)
        if training.task.level == "vector":
            return leave(network, training)
        plain = settings.bf16 == "auto" and not settings.prune_error
        if settings.quantize == "static" and plain and training.device == "cpu":
            reader = rounded(network, training)
            if reader is not None:
                details, logits = _fit_head(network, training, reader.runtime)
                fitted = leave_rounded(network, training, reader, logits)
                if fitted.details["precision"] == "int8":
                    return replace(fitted, details=details | fitted.details)
        details, _ = _fit_head(network, training)
        fitted = leave(network, training)
        return Fitted([], details | fitted.details, fitted.validation)


def _fit_head(
    network: EncoderNetwork, training: Training[EmbeddingSettings], reader: Runtime | None = None
) -> tuple[dict[str, float | int | str], Logits]:
    from lakewright.learning.learners.encoder.probe import fit_head
    from lakewright.learning.learners.units import in_deviations
    from lakewright.model.tasks import Loss

    began = time.monotonic()
    loss, learning = Loss(training.task.losses[0]), in_deviations(training)
    details, logits = fit_head(network, learning, loss, training.settings.seed, reader=reader)
    if learning.unit is not None:
        learning.unit.fold_into(network.head)
    seconds = time.monotonic() - began
    return {**details, "samples_per_second": round(len(training.train) / max(seconds, 1e-9), 2)}, logits


LEARNER: Learner = Embedding()
