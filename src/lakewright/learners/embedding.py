"""A frozen encoder and a linear head: minutes become seconds, since every text goes through the encoder once.

Of sentence_similarity nothing is trained: the embeddings are the base model's, and only the score's scale is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

from lakewright.learners import Fitted, Training
from lakewright.learners.encoder import Encoder, untrained
from lakewright.learners.encoder.settings import SMALL, PretrainedSettings
from lakewright.memory import memory_kept


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

        from lakewright.learners.encoder.probe import fit_head
        from lakewright.learners.encoder.serving import leave
        from lakewright.tasks import Loss

        settings: EmbeddingSettings = training.settings
        torch.set_num_threads(training.threads)
        network = untrained(training, dropout=0.0).to(training.device)
        details: dict[str, float | int | str] = {}
        if training.task.level != "vector":
            began = time.monotonic()
            details = fit_head(network, training, Loss(training.task.losses[0]), settings.seed)
            seconds = time.monotonic() - began
            details["samples_per_second"] = round(len(training.train) / max(seconds, 1e-9), 2)
        details |= leave(network, training)
        return Fitted(details=details)


LEARNER: Any = Embedding()
