"""A scorer, which evaluation gets from a task: one object over the test rows; each metric is a weighted sum over rows.

    all rows              weights of ones
    bootstrap resample    how often each row was drawn (multinomial counts)
    slice                 a 0/1 mask
    slice's resample      their product

So sorting and matching of spans happen once, in the constructor, and a thousand resamples are a thousand cheap sums.
Metric names and their directions are in `metrics.py`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Scorer(Protocol):
    kind: ClassVar[str]
    """The kind of truth: the name of its page section under `lakewright.sections`."""

    @property
    def rows(self) -> int: ...

    @property
    def primary(self) -> str:
        """The metric by which the gate compares models, unless the project names another."""

    def metrics(self, weights: Weights) -> dict[str, float]:
        """`weights` is [rows], non-negative. Always the same names; NaN if the rows do not define the metric."""

    def undefined(self, metric: str) -> str:
        """The reason, in words, why a metric over all rows is NaN."""

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per class or entity type: precision, recall, f1, support and other counts of the task; never NaN."""

    def correct(self) -> Mask | None:
        """[rows]: whether the whole row is right; None if rows are not simply right or wrong (regression)."""

    def distances(self) -> NDArray[np.float64] | None:
        """[rows]: the distance of each prediction from the truth, if rows are not simply right or wrong; None if they
        are, or if rows have no truth of their own."""

    def where(self, mask: Mask) -> Self:
        """The scorer of only the rows in `mask`: the same numbers as a 0/1 weight, at the cost of those rows only."""
