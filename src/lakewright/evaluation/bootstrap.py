"""Confidence intervals: evaluate the same predictions again on rows drawn with replacement, many times.

The percentile bootstrap of Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. It shows how much
the number would vary with other test rows from the same source, not with another seed of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lakewright.evaluation.scorers import Mask, Scorer, Weights
from lakewright.records import Metric


def resampled(rows: int, resamples: int, seed: int) -> Iterator[Weights]:
    """How often each of `rows` rows is drawn in each resample: multinomial counts, the same for the same seed."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def intervals(
    scorer: Scorer,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    mask: Mask | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Metric]:
    """Every metric over all rows, or over the rows in `mask` [rows], with its interval.

    A metric that these rows do not define (NaN) is left out; a resample that does not define it is skipped. The
    interval always contains its value: otherwise ece, which resampling biases upwards, could miss it on few rows.
    `progress` is called with the number of resamples done.
    """
    rows = np.ones(scorer.rows, dtype=np.bool_) if mask is None else mask
    return slice_intervals(
        scorer, {"": rows}, resamples=resamples, confidence=confidence, seed=seed, progress=progress
    )[""]


def slice_intervals(
    scorer: Scorer,
    masks: Mapping[str, Mask],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[str, Metric]]:
    """`intervals` of many masks at once: each resample is drawn once, and each slice costs only its own rows.

    The slices of one column together cost about as much as one pass over all rows.
    """
    parts = {name: (np.flatnonzero(mask), scorer.where(mask)) for name, mask in masks.items()}
    values = {name: part.metrics(np.ones(part.rows)) for name, (_, part) in parts.items()}
    drawn: dict[str, list[list[float]]] = {name: [] for name in parts}
    for number, counts in enumerate(resampled(scorer.rows, resamples, seed), start=1):
        for name, (rows, part) in parts.items():
            drawn[name].append(list(part.metrics(counts[rows]).values()))
        if progress is not None:
            progress(number)
    return {name: _metrics(values[name], np.array(drawn[name]), confidence) for name in parts}


def _metrics(values: dict[str, float], drawn: Weights, confidence: float) -> dict[str, Metric]:
    """`drawn` is [resamples, metrics]."""
    metrics = {}
    for column, (name, value) in enumerate(values.items()):
        if not np.isnan(value):
            metrics[name] = metric_of(value, drawn[:, column], confidence)
    return metrics


def metric_of(value: float, drawn: Weights, confidence: float) -> Metric:
    """The value with the `bounds` of its resampled values [resamples], widened to contain it."""
    low, high = bounds(drawn, confidence)
    return Metric(value=value, low=float(np.fmin(low, value)), high=float(np.fmax(high, value)))


def bounds(drawn: Weights, confidence: float) -> tuple[float, float]:
    """The central `confidence` of the resampled values [resamples], without NaN; NaN if no value is left."""
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0:
        return float("nan"), float("nan")
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    if np.isinf(drawn).any():  # between a number and an infinite one there is nothing to interpolate
        low, high = np.quantile(drawn, ends, method="inverted_cdf")
    else:
        low, high = np.quantile(drawn, ends)
    return float(low), float(high)
