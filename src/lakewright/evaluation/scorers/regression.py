"""A number for each row, and optionally an interval that should hold it.

rmse, mae and median_absolute_error are in the truth's unit; r2 is 1 − squared error ÷ squared distance of the truths
from their own mean, so 0 is what that mean would reach, and a worse model is below 0. It is NaN if all truths are the
same number. A weight has the effect of repeating the row so often; scikit-learn's numbers.

quantile_coverage is the share of truths at or below the prediction, which a prediction of the quantile alpha (loss
quantile) has near alpha, and one of the median near 0.5.

coverage is the share of truths inside their interval, bounds included, and interval_width is its mean: NaN without
intervals.

All sums are over numbers divided by the greatest of them, so squares of numbers such as 1e300 or 1e-300 neither
overflow nor vanish.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.scorers import Mask, Weights

Floats = NDArray[np.float64]
METRICS = ("rmse", "mae", "r2", "median_absolute_error", "quantile_coverage", "coverage", "interval_width")

GREATEST = 2.0**1021
"""Beyond it (about 2.2e307) the difference of two numbers may be no float64."""

_LEAST = float(np.finfo(np.float64).min)


class RegressionScorer:
    """`truth` and `predicted` [n], in one unit. `low` and `high` [n]: each row's interval, or None for both.

    `level` is the share of truths that the intervals should hold.
    Raises DataError for unequal numbers of rows, for one bound without the other, for a level outside 0 to 1, and for
    truths that are not finite or beyond `GREATEST`; ModelError for such predictions, and for a low above its high.
    """

    kind: ClassVar[str] = "regression"
    primary: ClassVar[str] = "rmse"

    def __init__(
        self,
        truth: NDArray[np.floating],
        predicted: NDArray[np.floating],
        low: NDArray[np.floating] | None = None,
        high: NDArray[np.floating] | None = None,
        level: float = 0.9,
    ) -> None:
        self.truth = np.asarray(truth, dtype=np.float64)
        self.predicted = np.asarray(predicted, dtype=np.float64)
        self.level = level
        if self.truth.ndim != 1:
            raise DataError(f"the true numbers have the shape {self.truth.shape}", "pass one number for each row")
        if not 0 < level < 1:
            raise DataError(f"the level of the intervals is {level:g}", "pass a share between 0 and 1, such as 0.9")
        if (low is None) != (high is None):
            raise DataError("intervals with only one bound", "pass both low and high, or neither")
        self.low = None if low is None else np.asarray(low, dtype=np.float64)
        self.high = None if high is None else np.asarray(high, dtype=np.float64)
        for name, values in (
            ("predicted numbers", self.predicted),
            ("low bounds", self.low),
            ("high bounds", self.high),
        ):
            if values is not None:
                _check(name, values, self.truth.shape)
        rows = _beyond(self.truth)
        if rows:
            remedy = f"leave these rows out, or take a unit in which all truths are within ±{GREATEST:.1e}"
            raise DataError(f"the true numbers of rows {rows} are not finite, or too large", remedy)
        self.errors = self.predicted - self.truth
        self._distances = np.abs(self.errors)
        self._at_most = (self.truth <= self.predicted).astype(np.float64)
        self._order = np.argsort(self._distances, kind="stable")
        self._inside: Floats | None = None
        self._width: Floats | None = None
        if self.low is not None and self.high is not None:
            crossed = np.flatnonzero(self.low > self.high)[:5].tolist()
            if crossed:
                raise ModelError(f"the low bounds of rows {crossed} are above the high ones", "train again")
            self._inside = ((self.low <= self.truth) & (self.truth <= self.high)).astype(np.float64)
            self._width = self.high - self.low

    @property
    def rows(self) -> int:
        return len(self.truth)

    @property
    def inside(self) -> Mask | None:
        """[rows]: whether the truth is inside its interval; None without intervals."""
        return None if self._inside is None else self._inside > 0

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        drawn = weights > 0
        if not drawn.any():
            return dict.fromkeys(METRICS, float("nan"))
        total = weights.sum()
        greatest, shares = _scaled(np.where(drawn, self._distances, 0.0))
        squared = float(weights @ shares**2 / total)
        values = [
            greatest * np.sqrt(squared),
            greatest * (weights @ shares / total),
            self._r2(weights, greatest, squared),
            self._median(weights),
            weights @ self._at_most / total,
        ]
        if self._inside is not None and self._width is not None:
            widest, shares = _scaled(np.where(drawn, self._width, 0.0))
            values += [weights @ self._inside / total, widest * (weights @ shares / total)]
        else:
            values += [np.nan, np.nan]
        return {name: float(value) for name, value in zip(METRICS, values, strict=True)}

    def undefined(self, metric: str) -> str:
        if not self.rows:
            return "there are no rows"
        if metric in METRICS[5:]:
            return "the predictions have no intervals: validation has too few rows to make them of"
        return f"all {self.rows} have the same truth, so there is nothing to explain"

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Numbers have no classes."""
        return {}

    def correct(self) -> Mask | None:
        """None: a predicted number is near or far, not right or wrong."""
        return None

    def distances(self) -> Floats:
        return self._distances

    def where(self, mask: Mask) -> Self:
        low, high = (None if bound is None else bound[mask] for bound in (self.low, self.high))
        return type(self)(self.truth[mask], self.predicted[mask], low, high, self.level)

    def _r2(self, weights: Weights, greatest: float, squared: float) -> float:
        """`squared` is the mean squared error in units of `greatest`². Never below the least float64."""
        drawn = weights > 0
        lowest = self.truth[drawn].min()
        span, shares = _scaled(np.where(drawn, self.truth - lowest, 0.0))
        if span == 0:
            return float("nan")
        total = weights.sum()
        variance = weights @ (shares - weights @ shares / total) ** 2 / total
        with np.errstate(over="ignore"):
            ratio = np.float64(greatest) / span * np.sqrt(squared / variance)
            return max(float(1 - ratio * ratio), _LEAST)

    def _median(self, weights: Weights) -> float:
        """Half of the weight is at or below it; in the middle of two distances where both are such."""
        ordered = weights[self._order]
        places = np.flatnonzero(ordered > 0)
        sums = np.cumsum(ordered[places])
        at = int(np.searchsorted(sums, sums[-1] / 2))
        distance = self._distances[self._order[places[at]]]
        if sums[at] == sums[-1] / 2 and at + 1 < len(places):
            distance += (self._distances[self._order[places[at + 1]]] - distance) / 2
        return float(distance)


def _scaled(values: Floats) -> tuple[float, Floats]:
    """`values` [n], none below 0 → the greatest, and each as a share of it; zeros where all are 0."""
    greatest = float(values.max(initial=0.0))
    return greatest, values / greatest if greatest > 0 else values


def _beyond(values: Floats) -> list[int]:
    """The first five rows that are not finite or beyond ±`GREATEST`."""
    return [int(row) for row in np.flatnonzero(~(np.abs(values) <= GREATEST))[:5]]


def _check(name: str, values: Floats, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise DataError(
            f"{name} of the shape {values.shape} for {shape[0]} rows", "pass one for each row, in the same order"
        )
    rows = _beyond(values)
    if rows:
        raise ModelError(
            f"the {name} of rows {rows} are not finite, or too large", "train again: NaN means that training diverged"
        )
