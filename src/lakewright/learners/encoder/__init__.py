"""Fine-tune a pretrained encoder of the BERT family: any checkpoint of BERT, DistilBERT, RoBERTa, MiniLM and the like.

settings   the hyperparameters           base      where the base model comes from
batches    which rows are together       network   encoder and head
optimizer  rates, freezing, schedule     loop      the training loop
export     ONNX, and int8 where it pays
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.encodings import Encoding
from lakewright.learners import Fitted, Training
from lakewright.learners.encoder.settings import EncoderSettings

if TYPE_CHECKING:
    import torch


class Encoder:
    name = "encoder"
    settings = EncoderSettings
    gaps: Mapping[str, str] = {}

    def encoding_depends(self, settings: EncoderSettings, base: Path) -> dict[str, Any]:
        from lakewright.learners.encoder.base import local_folder

        folder = local_folder(settings.base_model, base)
        if folder is None:  # on the Hub, where NAME@REVISION pins it
            return {"base_model": settings.base_model}
        files = sorted(
            (file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file()
        )
        return {"base_model": settings.base_model, "base_files": sha256(repr(files).encode()).hexdigest()}

    def fit_encoding(
        self, texts: Sequence[str], settings: EncoderSettings, max_length: Literal["auto"] | int, base: Path
    ) -> tuple[Encoding, NDArray[np.int64]]:
        from lakewright.errors import ProjectError
        from lakewright.learners.encoder.base import base_folder, load_tokens, longest
        from lakewright.prepare.lengths import suggest_max_length

        folder = base_folder(settings.base_model, base)
        most = longest(folder)
        if max_length != "auto" and not 3 <= max_length <= most:
            raise ProjectError(
                f"prepare.max_length is {max_length}, but {settings.base_model} reads 3 to {most} tokens",
                f"set prepare.max_length to at most {most}, or to auto",
            )
        whole = load_tokens(folder, 1_000_000).encode(texts).ids.lengths
        return load_tokens(folder, suggest_max_length(whole, most) if max_length == "auto" else max_length), whole

    def fit(self, training: Training) -> Fitted:
        import torch

        from lakewright.learners.encoder.base import base_folder, load_encoder
        from lakewright.learners.encoder.export import export, quantize_if_it_pays
        from lakewright.learners.encoder.loop import train, use_bf16, validate
        from lakewright.learners.encoder.network import EncoderNetwork
        from lakewright.learners.encoder.optimizer import body_rate

        settings: EncoderSettings = training.settings
        encoder = load_encoder(base_folder(settings.base_model, training.base), settings.dropout, settings.seed)
        dropout = settings.dropout
        if dropout is None:
            dropout = float(getattr(encoder.config, "hidden_dropout_prob", 0.1))
        torch.manual_seed(settings.seed)
        network = EncoderNetwork(encoder, training.task.outputs, training.task.level, settings.pooling, dropout)
        state = train(network, training)
        scorer = validate(network, training)
        details: dict[str, float | int | str] = {
            "learning_rate": body_rate(network, settings),
            "steps": state.step,
            "best_step": state.best_step,
            "samples_per_second": round(state.samples / max(state.seconds, 1e-9), 2),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "bf16": str(use_bf16(settings, torch.device(training.device))),
        }
        network.save(training.folder)
        export(network, training.folder)
        if settings.quantize == "auto":
            details |= quantize_if_it_pays(training)
        return Fitted(scorer.metrics(np.ones(scorer.rows)), state.history, details)

    def network(self, folder: Path) -> torch.nn.Module:
        from lakewright.learners.encoder.network import EncoderNetwork

        return EncoderNetwork.open(folder)


LEARNER: Any = Encoder()
