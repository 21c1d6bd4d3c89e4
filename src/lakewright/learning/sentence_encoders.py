"""Pretrained sentence encoders for the step `sentence_embeddings`: loaded by torch once, computed by ONNX Runtime."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from lakewright.model.recipe.sentence_embeddings import FrozenEncoder

if TYPE_CHECKING:
    from lakewright.settings.project import Project


def frozen_encoder(base: Path, base_model: str, pooling: Literal["mean", "cls"]) -> FrozenEncoder:
    """The encoder `base_model`, named as train.base_model is; relative folders from `base`. Its network is a temporary
    file of this process.

    Raises ModelError for a base model that cannot be found, read or exported.
    """
    from lakewright.learning.learners.encoder.base import base_folder, vocabulary_of

    folder = base_folder(base_model, base)
    exported, width = _exported(folder, pooling)
    return FrozenEncoder(Path(exported.name) / "encoder.onnx", width, vocabulary_of(folder, base_model))


def encoders_of(project: Project) -> dict[str, object]:
    """What changes when an encoder that a step of the recipe names does; nothing without such a step."""
    from lakewright.learning.learners.encoder.base import identity

    named = {key: getattr(settings, "base_model", None) for key, settings in project.prepare.recipe.items()}
    encoders = {key: identity(name, project.folder) for key, name in named.items() if name is not None}
    return {"encoders": encoders} if encoders else {}


@lru_cache(maxsize=2)
def _exported(folder: Path, pooling: Literal["mean", "cls"]) -> tuple[TemporaryDirectory[str], int]:
    """The folder of the network, which is removed with it, and the width of its vectors."""
    from lakewright.learning.learners.encoder.base import load_encoder
    from lakewright.learning.learners.encoder.export import export
    from lakewright.learning.learners.encoder.network import EncoderNetwork

    network = EncoderNetwork(load_encoder(folder, 0.0, seed=0), 0, "vector", pooling, dropout=0.0)
    network.eval()
    into: TemporaryDirectory[str] = TemporaryDirectory(prefix="lakewright-encoder-")
    export(network, Path(into.name) / "encoder.onnx")
    return into, int(network.encoder.config.hidden_size)
