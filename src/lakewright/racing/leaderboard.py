"""The candidates of a search, the best first: what each was, why it was tried, and how it did out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.metrics import higher_is_better
from lakewright.evaluation.scorers import Scorer
from lakewright.learning.blending import log_losses, squared_errors
from lakewright.learning.members import HELD
from lakewright.model.tasks import Task
from lakewright.racing import units
from lakewright.racing.search import Found, unit_folder
from lakewright.racing.shared import Shared


@dataclass(frozen=True)
class Entry:
    """A candidate. Without metrics it did not predict every fold."""

    number: int
    learner: str
    settings: Mapping[str, Any]
    source: str  # "portfolio" or "tpe"
    folds: int  # that it predicted
    loss: float | None  # over all rows: log loss or squared error
    metrics: Mapping[str, float]
    seconds: float
    weight: float  # its share in the recommended model
    worse: float | None  # standard errors by which its loss is above that of the best candidate
    failure: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def leaderboard(folder: Path, found: Found, metric: str) -> tuple[str, tuple[Entry, ...]]:
    """The metric that is shown first, and an entry for each candidate that was tried."""
    shared = Shared.open(folder / "shared")
    held = [units.rows_of(shared, fold, found.folds)[1] for fold in range(found.folds)]
    truth = units.truths(shared)[np.concatenate(held)]
    weights = np.asarray(shared.examples.weights, np.float64)[np.concatenate(held)]
    share = {each.number: weight for each, weight in zip(found.members, found.weights, strict=True)}
    losses_of: Any = log_losses if shared.task.truth == "class" else squared_errors
    best: NDArray[np.float64] | None = None
    entries = []
    folds = tuple(range(found.folds))
    tried = [each for each in found.candidates if each.losses or each.failure]
    for each in sorted(tried, key=lambda one: (not one.has(folds), one.loss(folds))):
        metrics: dict[str, float] = {}
        loss = worse = None
        if each.has(folds):
            parts = [np.load(unit_folder(folder, each.number, fold) / HELD) for fold in folds]
            predicted = np.concatenate(parts)
            scorer = scorer_of(shared.task, truth, predicted)
            metric = scorer.primary if metric == "auto" else metric
            metrics = {name: value for name, value in scorer.metrics(weights).items() if value == value}
            losses = losses_of(predicted, truth)
            loss = float(np.average(losses, weights=weights))
            best = losses if best is None else best
            gap = weights * (losses - best)
            error = float(gap.std() * np.sqrt(len(gap)))
            worse = round(float(gap.sum()) / error, 2) if error > 0 else 0.0
        entries.append(
            Entry(
                each.number,
                each.learner,
                each.settings,
                each.source,
                len(each.losses),
                loss,
                metrics,
                round(sum(each.seconds.values()), 2),
                round(share.get(each.number, 0.0), 4),
                worse,
                each.failure,
            )
        )
    if metric != "auto":
        sign = -1.0 if higher_is_better(metric) else 1.0
        entries.sort(key=lambda one: (metric not in one.metrics, sign * one.metrics.get(metric, 0.0)))
    return metric, tuple(entries)


def scorer_of(task: Task, truth: NDArray[Any], predicted: NDArray[np.float64]) -> Scorer:
    """Of places of classes and their probabilities [rows, classes], or of numbers and values [rows, 1]."""
    if task.truth == "number":
        from lakewright.evaluation.scorers.regression import RegressionScorer

        return RegressionScorer(truth, predicted[:, 0], None, None, getattr(task, "interval", 0.9))
    from lakewright.evaluation.scorers.classification import ClassificationScorer
    from lakewright.evaluation.scorers.ordinal import OrdinalScorer

    kind = OrdinalScorer if getattr(task, "ordinal", False) else ClassificationScorer
    return kind(truth, predicted, list(task.labels), getattr(task, "threshold", None))
