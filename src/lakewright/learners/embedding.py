"""A frozen encoder and a linear head: minutes become seconds, since every text goes through the encoder once.

Of sentence_similarity nothing is trained: the embeddings are the base model's, and only the score's scale is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lakewright.encodings import Encoding
from lakewright.learners import Fitted, Training
from lakewright.project import LearnerSettings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lakewright.project import Prepare
    from lakewright.tasks import Row, Task


class EmbeddingSettings(LearnerSettings):
    learner: Literal["embedding"] = "embedding"
    base_model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="a Hugging Face Hub name (NAME or NAME@REVISION), a local folder, or package:PYTHON_PACKAGE",
    )
    pooling: Literal["mean", "cls"] = Field(default="mean", description="how a row's tokens become one vector")
    dimensions: int | None = Field(
        default=None, ge=8, description="sentence_similarity: the first n numbers of an embedding; none: all of them"
    )
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    quantize: Literal["auto", "never"] = Field(
        default="auto", description="auto: int8 where it is faster here and not significantly worse on validation"
    )
    seed: int = 13


class Embedding:
    name = "embedding"
    settings = EmbeddingSettings
    gaps: Mapping[str, str] = {
        "question_answering": "never: where an answer begins cannot be read off an encoder that was not trained for it",
    }

    def encoding_depends(self, settings: EmbeddingSettings, base: Path) -> dict[str, Any]:
        from lakewright.learners.encoder.base import identity

        return identity(settings.base_model, base)

    def fit_encoding(
        self, task: Task, rows: Sequence[Row], settings: EmbeddingSettings, sequences: Prepare, base: Path
    ) -> tuple[Encoding, NDArray[np.int64]]:
        from lakewright.learners.encoder.base import fit_tokens

        return fit_tokens(task, rows, settings.base_model, sequences, base)

    def fit(self, training: Training) -> Fitted:
        import time

        import torch

        from lakewright.learners.encoder import untrained
        from lakewright.learners.encoder.export import export, quantize_if_it_pays
        from lakewright.learners.encoder.probe import fit_head
        from lakewright.tasks import Loss

        settings: EmbeddingSettings = training.settings
        torch.set_num_threads(training.threads)
        network = untrained(training, settings.base_model, settings.pooling).to(training.device)
        details: dict[str, float | int | str] = {}
        if training.task.level != "vector":
            began = time.monotonic()
            loss = Loss(training.task.losses[0], settings.label_smoothing_factor)
            details = fit_head(network, training, loss, settings.seed)
            seconds = time.monotonic() - began
            details["samples_per_second"] = round(len(training.train) / max(seconds, 1e-9), 2)
        network.save(training.folder)
        export(network, training.folder)
        if settings.quantize == "auto":
            details |= quantize_if_it_pays(training)
        return Fitted(details=details)

    def network(self, folder: Path) -> torch.nn.Module:
        from lakewright.learners.encoder.network import EncoderNetwork

        return EncoderNetwork.open(folder)


LEARNER: Any = Embedding()
