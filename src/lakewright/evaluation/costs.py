"""What wrong decisions between two classes cost, and the threshold at which they cost least.

With calibrated probabilities the least expected cost is at false_positive / (false_positive + false_negative) (Elkan,
"The Foundations of Cost-Sensitive Learning", IJCAI 2001). A model's probabilities are not that exact, so the threshold
is the one that costs least on validation; the test rows only measure it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.bootstrap import metric_of, resampled
from lakewright.evaluation.scorers import Mask
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.records import Choice, Costs
from lakewright.settings.sections import Cost

Floats = NDArray[np.float64]
ROWS = 1000  # a cost is for so many


def cost_by_threshold(probability: Floats, truth: Mask, cost: Cost) -> tuple[Floats, Floats]:
    """Of the second class's `probability` [n] and whether it is true [n]: the values that occur, ascending, [m], and
    what deciding by a threshold costs for 1,000 rows, [m + 1]: at or below the first value, above it and at or below
    the second …, above the last. The first answers the second class always, the last never."""
    values, place = np.unique(probability, return_inverse=True)
    positives = np.bincount(place, truth, minlength=len(values))
    negatives = np.bincount(place, ~truth, minlength=len(values))
    missed = np.concatenate([[0.0], np.cumsum(positives)])
    wrongly = negatives.sum() - np.concatenate([[0.0], np.cumsum(negatives)])
    return values, (cost.false_positive * wrongly + cost.false_negative * missed) * ROWS / max(len(truth), 1)


def least_costly(probability: Floats, truth: Mask, cost: Cost) -> tuple[float, float]:
    """The threshold with the least cost, and this cost. Thresholds between two neighbouring probabilities decide alike:
    the middle is taken, with as few digits as stay between them. Of several such gaps with the least cost the one
    nearest to Elkan's threshold."""
    values, costs = cost_by_threshold(probability, truth, cost)
    low, high = np.concatenate([[0.0], values]), np.concatenate([values, [1.0]])
    possible = (high > low) | (np.arange(len(low)) == 0)  # no threshold is above a probability of 1
    costs = np.where(possible, costs, np.inf)
    best = float(costs.min())
    ideal = cost.false_positive / (cost.false_positive + cost.false_negative)
    away = np.maximum(np.maximum(low - ideal, ideal - high), 0.0)
    away[costs > best * (1 + 1e-12)] = np.inf
    at = int(away.argmin())
    return _between(float(low[at]), float(high[at])), best


def costs_of(
    validation: ClassificationScorer,
    test: ClassificationScorer,
    cost: Cost,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Costs:
    """The threshold from `validation`, and on the `test` rows, at least one, its cost beside those of the model's own
    decisions and of always and never answering the second of the two labels."""
    threshold, on_validation = least_costly(validation.probabilities[:, 1], validation.truth == 1, cost)
    truth, present = test.truth == 1, 0.5 if test.threshold is None else test.threshold
    ways: dict[str, tuple[float | None, Mask]] = {
        "least": (threshold, test.probabilities[:, 1] >= threshold),
        "present": (present, test.predicted == 1),
        "always": (None, np.ones(test.rows, np.bool_)),
        "never": (None, np.zeros(test.rows, np.bool_)),
    }
    wrong = [
        cost.false_positive * (predicted & ~truth) + cost.false_negative * (truth & ~predicted)
        for _, predicted in ways.values()
    ]
    each = np.stack([*wrong, wrong[1] - wrong[0]], axis=1)  # [rows, ways + 1]
    values = each.mean(axis=0) * ROWS
    drawn = np.array([counts @ each for counts in resampled(test.rows, resamples, seed)]) * ROWS / test.rows
    metrics = [metric_of(float(value), column, confidence) for value, column in zip(values, drawn.T, strict=True)]
    choices = {}
    for (name, (at, predicted)), metric in zip(ways.items(), metrics, strict=False):
        hits = float((predicted & truth).sum())
        precision, recall = (hits / count if count else float("nan") for count in (predicted.sum(), truth.sum()))
        choices[name] = Choice(threshold=at, cost=metric, precision=float(precision), recall=float(recall))
    return Costs(
        positive=test.labels[1],
        false_positive=cost.false_positive,
        false_negative=cost.false_negative,
        threshold=threshold,
        validation_rows=validation.rows,
        validation_cost=on_validation,
        choices=choices,
        saved=metrics[-1],
    )


def _between(low: float, high: float) -> float:
    """A number above `low` and at most `high`, near the middle, of as few digits as can be; `high` if there is none."""
    for digits in range(2, 17):
        middle = round((low + high) / 2, digits)
        if low < middle <= high:
            return middle
    return high
