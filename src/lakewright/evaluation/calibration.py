"""Does a confidence of 0.8 mean right four times in five? Reliability bins, their summary (ECE), temperature scaling.

Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.scorers import Mask, Weights

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Bin i holds the confidences in (edges[i], edges[i + 1]]; empty bins have NaN as confidence and accuracy."""

    edges: NDArray[np.float64]  # [bins + 1]
    count: NDArray[np.float64]  # [bins], the sum of the weights
    confidence: NDArray[np.float64]  # [bins], mean
    accuracy: NDArray[np.float64]  # [bins], share right


def bin_of(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.intp]:
    """[n] → [n]: the equal-width bin (i/bins, (i + 1)/bins] of each confidence; 0 falls into the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)


def reliability(
    confidence: NDArray[np.float64], correct: Mask, weights: Weights | None = None, bins: int = BINS
) -> Reliability:
    """The values of a reliability diagram. `confidence` [n] is the probability of the predicted label, in 0..1."""
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, dtype=np.float64)
    place = bin_of(confidence, bins)
    count = np.bincount(place, weights, minlength=bins)
    divisor = np.where(count > 0, count, np.nan)
    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        count=count.astype(np.float64),
        confidence=np.bincount(place, weights * confidence, minlength=bins) / divisor,
        accuracy=np.bincount(place, weights * correct, minlength=bins) / divisor,
    )


def ece(bins: Reliability) -> float:
    """Expected calibration error: the mean over bins, by count, of |accuracy − confidence|; NaN without rows.

    The top-label definition (Guo et al. 2017, after Naeini et al. 2015). It is biased upwards on few rows.
    """
    total = bins.count.sum()
    return float(np.nansum(bins.count * np.abs(bins.accuracy - bins.confidence)) / total) if total > 0 else float("nan")
