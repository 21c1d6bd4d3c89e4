"""What evaluation asks of a task: one object over the test rows whose every metric is a weighted sum over those rows.

    all rows              weights of ones
    bootstrap resample    how often each row was drawn (multinomial counts)
    slice                 a 0/1 mask
    slice's resample      their product

So the sorting and the matching of spans happen once, in the constructor, and a thousand resamples are a thousand
cheap sums. Metric names and their directions are in `metrics.py`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Scorer(Protocol):
    kind: ClassVar[str]
    """Of truth: the name under `lakewright.sections` by which its part of the page is found."""

    @property
    def rows(self) -> int: ...

    @property
    def primary(self) -> str:
        """The metric that the gate compares models by, unless the project names another."""

    def metrics(self, weights: Weights) -> dict[str, float]:
        """`weights` is [rows], non-negative. The same names every time; NaN where the rows do not define the metric."""

    def undefined(self, metric: str) -> str:
        """Why all rows together do not define a metric of theirs that is NaN, in words."""

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per class or entity type: precision, recall, f1, support and what else the task counts; never NaN."""

    def correct(self) -> Mask | None:
        """[rows]: which rows are right as a whole; None where a row is not simply right or wrong (regression)."""

    def distances(self) -> NDArray[np.float64] | None:
        """[rows]: how far each prediction is from the truth, where rows are not simply right or wrong; None where
        they are, or where no row has a truth of its own."""

    def where(self, mask: Mask) -> Self:
        """The scorer of the rows in `mask` alone: the same numbers as a 0/1 weight, at the cost of those rows only."""
