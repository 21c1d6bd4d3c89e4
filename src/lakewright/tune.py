"""Searches: over an objective of one's own (`minimize`), with Hyperopt's names (`fmin`, `hp`, …), over a project
(`search`).

    from lakewright import tune
    found = tune.minimize(lambda v: (v["x"] - 2) ** 2, {"x": {"uniform": [-5, 5]}}, max_evals=50)
    found = tune.search("project.yml")
"""

from __future__ import annotations

from lakewright.tuning.hyperopt import SparkTrials, Trials, fmin, hp, rand, space_eval, tpe
from lakewright.tuning.minimize import STATUS_FAIL, STATUS_OK, Minimum, minimize
from lakewright.tuning.trials import Trial

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
    "rand",
    "space_eval",
    "tpe",
]
