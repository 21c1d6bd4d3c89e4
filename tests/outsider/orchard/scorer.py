"""How near predicted numbers are, and the metric `within_a_tenth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.metrics import Meaning

METRICS = {"within_a_tenth": Meaning("share of rows whose prediction is within a tenth of the truth")}


@dataclass(frozen=True)
class NumberScorer:
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    kind: ClassVar[str] = "number"
    primary: ClassVar[str] = "r2"

    @property
    def rows(self) -> int:
        return len(self.truth)

    @property
    def errors(self) -> NDArray[np.float64]:
        return self.predicted - self.truth

    def metrics(self, weights: NDArray[np.float64]) -> dict[str, float]:
        total = weights.sum()
        mean = weights @ self.truth / total
        squares, spread = weights @ self.errors**2 / total, weights @ (self.truth - mean) ** 2 / total
        near = np.abs(self.errors) <= 0.1 * np.abs(self.truth)
        explained = 1 - squares / spread if spread > 0 else np.nan
        return {
            "r2": float(explained),
            "rmse": float(np.sqrt(squares)),
            "within_a_tenth": float(weights @ near / total),
        }

    def undefined(self, metric: str) -> str:
        return "all truths are equal"

    def classes(self, weights: NDArray[np.float64]) -> dict[str, dict[str, float]]:
        return {}

    def correct(self) -> None:
        return None

    def distances(self) -> NDArray[np.float64]:
        return np.abs(self.errors)

    def where(self, mask: NDArray[np.bool_]) -> Self:
        return type(self)(self.truth[mask], self.predicted[mask])


def worst(scorer: Any) -> int:
    return int(np.argmax(scorer.distances()))
