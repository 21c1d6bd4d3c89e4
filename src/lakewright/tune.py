"""Searches: over an objective of one's own (`minimize`), with Hyperopt's names (`fmin`, `hp`, …), over a project
(`search`).

    from lakewright import tune
    found = tune.minimize(lambda v: (v["x"] - 2) ** 2, {"x": {"uniform": [-5, 5]}}, max_evals=50)
    found = tune.search("project.yml")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.errors import UsageError
from lakewright.tuning.hyperopt import SparkTrials, Trials, fmin, hp, no_progress_loss, rand, space_eval, tpe
from lakewright.tuning.minimize import STATUS_FAIL, STATUS_OK, Minimum, minimize
from lakewright.tuning.trials import Trial

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
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
    "tpe",
]


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
    from lakewright.api.places import located, opener
    from lakewright.tuning.search import search as searched

    loaded, place = located(project, settings, profile)
    if place.target.name != "local":
        raise UsageError(
            f"the profile {place.name} runs stages on {place.target.name}, and a search runs on this machine alone",
            "name a profile whose target is local (--profile)",
        )
    opens = opener(place)
    return searched(loaded, opens(), opens, watch=watch, report=report)
