"""One label a row from an order (ratings): the metrics of classification, and the size of errors.

- mae: in the labels' own unit if every label is a number ("1" … "5"), otherwise in places of the order.
- quadratic_weighted_kappa: agreement beyond chance for the two distributions; a disagreement counts by the square of
  its places (Cohen 1968). NaN if truth and prediction are the same single label in all rows.
- within_one: share of rows at most one place off.

All three use the predicted label, not an expected value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.columns import number_of
from lakewright.evaluation.scorers import Weights
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.ranking import Floats


class OrdinalScorer(ClassificationScorer):
    """Like `ClassificationScorer`, with `labels` [C] from the lowest to the highest."""

    kind: ClassVar[str] = "ordinal"
    primary = "quadratic_weighted_kappa"

    def __init__(
        self,
        truth: NDArray[np.integer],
        probabilities: NDArray[np.floating],
        labels: Sequence[str],
        threshold: float | None = None,
    ) -> None:
        super().__init__(truth, probabilities, labels, threshold)
        unit, places = label_values(self.labels), np.arange(len(self.labels), dtype=np.float64)
        self._distance = np.abs(unit[:, None] - unit)  # [C, C]
        self._steps = np.abs(places[:, None] - places)

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        confusion = self.confusion(weights)
        total = confusion.sum()
        mae = within_one = kappa = float("nan")
        if total > 0:
            by_chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / total
            mae = float((confusion * self._distance).sum() / total)
            within_one = float(confusion[self._steps <= 1].sum() / total)
            squares = self._steps**2
            if (expected := (by_chance * squares).sum()) > 0:
                kappa = float(1 - (confusion * squares).sum() / expected)
        return super().metrics(weights) | {
            "mae": mae,
            "quadratic_weighted_kappa": kappa,
            "within_one": within_one,
        }


def label_values(labels: Sequence[str]) -> Floats:
    """The labels as numbers; their places if one of them is not a number."""
    values = list(map(number_of, labels))
    return np.array(values if all(map(math.isfinite, values)) else range(len(labels)), dtype=np.float64)
