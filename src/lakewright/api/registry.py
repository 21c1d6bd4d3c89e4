"""Registered models: list them, make one the champion, open one as a predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.api.places import opened

if TYPE_CHECKING:
    from lakewright.model.predictor import Predictor
    from lakewright.records import ModelVersion


def models(*, profile: str | None = None) -> list[ModelVersion]:
    """All registered versions, by name and number."""
    from lakewright.registry.versions import list_models

    return list_models(opened(profile).tracking)


def approve(model: str, *, profile: str | None = None) -> ModelVersion:
    """Make the version (`models:/NAME/3`) the champion. Raises NotFound if it does not exist."""
    from lakewright.registry.versions import resolve, set_alias

    tracking = opened(profile).tracking
    version = resolve(tracking, model)
    set_alias(tracking, version.name, "champion", version.version)
    return version.model_copy(update={"aliases": sorted({*version.aliases, "champion"})})


def load(model: str | Path, *, profile: str | None = None, runtime: str = "auto") -> Predictor:
    """The predictor of a model version (`models:/NAME@alias`, `models:/NAME/3`) or of a model folder's path."""
    from lakewright.model.predictor import Predictor

    if not str(model).startswith("models:/"):
        return Predictor.open(Path(model), runtime)
    from lakewright.registry.versions import open_model

    return open_model(opened(profile), str(model), runtime)
