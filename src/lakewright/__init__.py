"""Lakewright: from a lakehouse table to an approved model.

import lakewright as lw

run = lw.run("project.yml")
run.report.metrics["macro_f1"].value
lw.load("models:/main.health.icd10_chapters@champion").predict(["Cholera, unspecified"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a type checker sees these, and refuses any other name
    from lakewright import automl, features, spaces, tune
    from lakewright.api import *
    from lakewright.errors import LakewrightError
    from lakewright.model.predictor import Predictor
    from lakewright.pipeline.runs import Run
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project
    from lakewright.workspace import Workspace

__version__ = "0.1.0"

# Imported when first used, as the verbs of `api` are, so that `import lakewright` costs next to nothing.
_HOME = {
    "LakewrightError": "errors",
    "Predictor": "model.predictor",
    "Run": "pipeline.runs",
    "Workspace": "workspace",
    "load_profile": "settings.profile",
    "load_project": "settings.project",
}
_MODULES = ("automl", "features", "spaces", "tune")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"lakewright.{name}")
        if name in _HOME:
            return getattr(import_module(f"lakewright.{_HOME[name]}"), name)
        if name == "__all__":
            return sorted([*_HOME, *_MODULES, *import_module("lakewright.api").__all__])
        if name.startswith("_") or name not in import_module("lakewright.api").__all__:
            raise AttributeError(f"module 'lakewright' has no attribute {name!r}")
        return getattr(import_module("lakewright.api"), name)

    def __dir__() -> list[str]:
        return sorted([*__getattr__("__all__"), "__version__"])
