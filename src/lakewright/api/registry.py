"""Registered models: which there are, which is the champion, and a predictor of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakewright.model.predictor import Predictor
    from lakewright.records import ModelVersion


def models(*, profile: str | None = None) -> list[ModelVersion]:
    """All registered versions, by name and number."""
    from lakewright.registry.versions import list_models
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    return list_models(Workspace.open(load_profile(profile)).tracking)


def approve(model: str, *, profile: str | None = None) -> ModelVersion:
    """Make the version (`models:/NAME/3`) the champion. Raises NotFound for one that is not there."""
    from lakewright.registry.versions import resolve, set_alias
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    tracking = Workspace.open(load_profile(profile)).tracking
    version = resolve(tracking, model)
    set_alias(tracking, version.name, "champion", version.version)
    return version.model_copy(update={"aliases": sorted({*version.aliases, "champion"})})


def load(model: str | Path, *, profile: str | None = None, runtime: str = "auto") -> Predictor:
    """The predictor of a model version (`models:/NAME@alias`, `models:/NAME/3`) or of a model folder's path."""
    from lakewright.model.predictor import Predictor

    if not str(model).startswith("models:/"):
        return Predictor.open(Path(model), runtime)
    from lakewright.registry.versions import open_model
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    return open_model(Workspace.open(load_profile(profile)), str(model), runtime)
