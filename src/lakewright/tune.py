"""Searches: over an objective of one's own (`minimize`), with Hyperopt's names (`fmin`, `hp`, …), over a project
(`search`).

    from lakewright import tune
    found = tune.minimize(lambda v: (v["x"] - 2) ** 2, {"x": {"uniform": [-5, 5]}}, max_evals=50)
    found = tune.search("project.yml")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.tuning.hyperopt import SparkTrials, Trials, fmin, hp, no_progress_loss, rand, space_eval, tpe
from lakewright.tuning.minimize import STATUS_FAIL, STATUS_OK, Minimum, minimize
from lakewright.tuning.trials import Trial

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.targets import Execution
    from lakewright.tuning.search import Found, Report

__all__ = [
    "STATUS_FAIL",
    "STATUS_OK",
    "Minimum",
    "SparkTrials",
    "Trial",
    "Trials",
    "fmin",
    "hp",
    "minimize",
    "no_progress_loss",
    "rand",
    "search",
    "space_eval",
    "start",
    "tpe",
]


def __getattr__(name: str) -> Any:
    """Raises ImportError for a name of Hyperopt's that is not offered, with what to use in its place: an AttributeError
    would be lost in `from lakewright.tune import …`."""
    instead = {
        "anneal": "algo=tpe.suggest or algo=rand.suggest",
        "mix": "algo=tpe.suggest or algo=rand.suggest",
        "atpe": "algo=tpe.suggest",
        "pyll": "hp, and space_eval for values",
        "scope": "hp.quniform, hp.uniformint or hp.randint for whole numbers",
        "base": "Trials, STATUS_OK and STATUS_FAIL",
        "partial": "functools.partial",
    }
    if name in instead:
        raise ImportError(f"lakewright.tune has no {name!r}; take {instead[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def search(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    watch: Watch = lambda *_: None,
    report: Report = lambda *_: None,
) -> Found:
    """Search the section `tune` of the project file for the settings that are best on validation.

    `settings` are `a.b=c` and override the file (`tune.trials=20`); `watch` is called with the stages that trials
    share, `report` with each trial and the best so far. The same call goes on with a search that was stopped. Raises
    UsageError for a search that means nothing or has too little time, and LakewrightError if every trial failed.
    """
    from lakewright.api.places import located, opener, refuse_elsewhere
    from lakewright.tuning.search import search as searched

    loaded, place = located(project, settings, profile)
    refuse_elsewhere(place, "tune")
    opens = opener(place)
    return searched(loaded, opens(), opens, watch=watch, report=report)


def start(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> Execution:
    """Start the search on the profile's target, a platform: one job, which leaves what it finds in the workspace's
    folder `tune`. A second start goes on with the trials that are there. Raises UsageError for a target that is local,
    ProfileError for what the platform cannot run."""
    from lakewright.api.places import start_job

    return start_job("tune", project, settings, profile)
