"""The candidates of a search, the best first: what each was, why it was tried, and how it did out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from lakewright.racing.selection import SURE, Found
from lakewright.racing.shared import Shared
from lakewright.racing.units import unit_folder

RESAMPLES, RESAMPLES_OF_MANY, MANY = 60, 20, 20_000  # of the bootstrap; the second of so many rows
SEED = 13


@dataclass(frozen=True)
class Entry:
    """A candidate. Without metrics it did not predict every fold."""

    number: int
    learner: str
    settings: Mapping[str, Any]
    source: str  # "portfolio", "tpe", or, of texts, "fine-tuned" or "vectors"
    folds: int  # that it predicted; 0: it was judged on validation
    loss: float | None  # over all rows: log loss or squared error
    metrics: Mapping[str, float]
    seconds: float
    weight: float  # its share in the recommended model
    worse: float | None  # standard errors by which its loss is above that of the best candidate
    failure: str
    error: float | None = None  # standard error of the metric that is shown, by the bootstrap over rows
    tied: bool = False  # its loss is not significantly above that of the recommended model
    bytes: int = 0  # of its networks of all folds

    @property
    def complete(self) -> bool:
        return self.loss is not None

    @property
    def why(self) -> str:
        """Why it was tried."""
        return {
            "portfolio": "of the portfolio",
            "fine-tuned": "an encoder for the texts, judged on validation",
            "vectors": "vectors of the texts by a frozen encoder",
        }.get(self.source, "proposed by TPE")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "why": self.why}


def cheapest(entries: Sequence[Entry]) -> Entry | None:
    """The smallest candidate that is not significantly worse than the recommended model; None: all are."""
    return min((each for each in entries if each.tied), key=lambda each: (each.bytes, each.number), default=None)


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
    recommended = losses_of(mean_of(folder, found, folds), truth)
    tried = [each for each in found.candidates if each.losses or each.failure]
    for each in sorted(tried, key=lambda one: (not one.has(folds), one.loss(folds))):
        metrics: dict[str, float] = {}
        loss = worse = error = None
        tied, size = False, 0
        if each.has(folds):
            predicted = _predicted(folder, each.number, folds)
            scorer = scorer_of(shared.task, truth, predicted)
            metric = scorer.primary if metric == "auto" else metric
            metrics = {name: value for name, value in scorer.metrics(weights).items() if value == value}
            losses = losses_of(predicted, truth)
            loss = float(np.average(losses, weights=weights))
            best = losses if best is None else best
            worse = round(_standard_errors(weights * (losses - best)), 2)
            tied = _standard_errors(weights * (losses - recommended)) <= SURE
            error = metric_error(scorer, metric, weights) if metric in metrics else None
            size = sum((unit_folder(folder, each.number, fold) / "model.onnx").stat().st_size for fold in folds)
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
                error,
                tied,
                size,
            )
        )
    if metric != "auto":
        sign = -1.0 if higher_is_better(metric) else 1.0
        entries.sort(key=lambda one: (metric not in one.metrics, sign * one.metrics.get(metric, 0.0)))
    return metric, tuple(entries)


def out_of_fold(folder: Path, found: Found) -> dict[str, float]:
    """The metrics of the recommended model, by what its members predicted of the folds that they did not learn from;
    before it is calibrated."""
    shared, folds = Shared.open(folder / "shared"), tuple(range(found.folds))
    held = np.concatenate([units.rows_of(shared, fold, found.folds)[1] for fold in folds])
    weights = np.asarray(shared.examples.weights, np.float64)[held]
    scorer = scorer_of(shared.task, units.truths(shared)[held], mean_of(folder, found, folds))
    return {name: value for name, value in scorer.metrics(weights).items() if value == value}


def _predicted(folder: Path, candidate: int, folds: Sequence[int]) -> NDArray[np.float64]:
    return np.concatenate([np.load(unit_folder(folder, candidate, fold) / HELD) for fold in folds])


def mean_of(folder: Path, found: Found, folds: Sequence[int]) -> NDArray[np.float64]:
    """What the recommended model predicts out of fold, before it is calibrated."""
    parts = [_predicted(folder, each.number, folds) for each in found.members]
    mean: NDArray[np.float64] = np.tensordot(np.array(found.weights), np.stack(parts), axes=1)
    return mean


def _standard_errors(gaps: NDArray[np.float64]) -> float:
    """The sum of the gaps in its standard errors."""
    error = float(gaps.std() * np.sqrt(len(gaps)))
    return float(gaps.sum()) / error if error > 0 else 0.0


def metric_error(scorer: Scorer, metric: str, weights: NDArray[np.float64]) -> float | None:
    """The standard deviation of the metric over draws of the rows, with replacement. None: a draw does not have it."""
    draw = np.random.default_rng(SEED)
    times = RESAMPLES if len(weights) < MANY else RESAMPLES_OF_MANY
    values = []
    for _ in range(times):
        counts = np.bincount(draw.integers(0, len(weights), len(weights)), minlength=len(weights))
        values.append(scorer.metrics(weights * counts).get(metric, np.nan))
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else np.nan
    return spread if np.isfinite(spread) else None


def scorer_of(task: Task, truth: NDArray[Any], predicted: NDArray[np.float64]) -> Scorer:
    """Of places of classes and their probabilities [rows, classes], or of numbers and values [rows, 1]."""
    if task.truth == "number":
        from lakewright.evaluation.scorers.regression import RegressionScorer

        return RegressionScorer(truth, predicted[:, 0], None, None, getattr(task, "interval", 0.9))
    from lakewright.evaluation.scorers.classification import ClassificationScorer
    from lakewright.evaluation.scorers.ordinal import OrdinalScorer

    kind = OrdinalScorer if getattr(task, "ordinal", False) else ClassificationScorer
    return kind(truth, predicted, list(task.labels), getattr(task, "threshold", None))
