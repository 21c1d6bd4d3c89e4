"""Lakewright: from a lakehouse table to an approved model.

import lakewright as lw

run = lw.run("project.yml")
run.report.metrics["macro_f1"].value
lw.load("models:/main.health.icd10_chapters@champion").predict(["Cholera, unspecified"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakewright import api
from lakewright.api import *
from lakewright.errors import LakewrightError

if TYPE_CHECKING:
    from lakewright.model.predictor import Predictor
    from lakewright.pipeline.runs import Run
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project
    from lakewright.workspace import Workspace

__version__ = "0.1.0"

# Imported when first used, so that `import lakewright` costs next to nothing.
_HOME = {
    "Predictor": "model.predictor",
    "Run": "pipeline.runs",
    "Workspace": "workspace",
    "load_profile": "settings.profile",
    "load_project": "settings.project",
}

if not TYPE_CHECKING:  # a type checker sees the imports, and refuses any other name
    __all__ = sorted(["LakewrightError", *_HOME, *api.__all__])

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'lakewright' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"lakewright.{_HOME[name]}"), name)

    def __dir__() -> list[str]:
        return sorted([*__all__, "__version__"])
