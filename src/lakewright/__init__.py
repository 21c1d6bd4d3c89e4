"""Lakewright: from a lakehouse table to an approved model.

import lakewright as lw

run = lw.run("project.yml")
run.report.metrics["macro_f1"].value
lw.load("models:/main.health.icd10_chapters@champion").predict(["Cholera, unspecified"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lakewright.api import (
        add_key,
        approve,
        check,
        compare,
        deploy,
        follow,
        history,
        insert_once,
        keys,
        load,
        models,
        plan,
        predict,
        profile,
        remove_key,
        run,
        runs,
        schedule,
        schema,
        score,
        search,
        serve,
        sql,
        stage,
        table,
        tables,
        traffic,
    )
    from lakewright.errors import LakewrightError
    from lakewright.model.predictor import Predictor
    from lakewright.pipeline.runs import Run
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project
    from lakewright.workspace import Workspace

_HOME = {
    "LakewrightError": "errors",
    "Predictor": "model.predictor",
    "Run": "pipeline.runs",
    "Workspace": "workspace",
    "load_profile": "settings.profile",
    "load_project": "settings.project",
}  # of the others: api

__all__ = [
    "LakewrightError",
    "Predictor",
    "Run",
    "Workspace",
    "add_key",
    "approve",
    "check",
    "compare",
    "deploy",
    "follow",
    "history",
    "insert_once",
    "keys",
    "load",
    "load_profile",
    "load_project",
    "models",
    "plan",
    "predict",
    "profile",
    "remove_key",
    "run",
    "runs",
    "schedule",
    "schema",
    "score",
    "search",
    "serve",
    "sql",
    "stage",
    "table",
    "tables",
    "traffic",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import lakewright` costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'lakewright' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lakewright.{_HOME.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
