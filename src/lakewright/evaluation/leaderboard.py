"""Ranks several models: their order, differences that may be chance, each one's cost, and a recommendation.

All models predicted the same test rows, so each is compared with the best one row by row. A model that is not
significantly worse than the best ties with it; among ties the clearly cheapest is recommended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lakewright.errors import UsageError
from lakewright.evaluation.metrics import higher_is_better, written
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.significance import Comparison, compare
from lakewright.records import Metric

ALIKE = 1.1  # a model up to this many times as slow, or as large, is equal


@dataclass(frozen=True, eq=False)
class Entry:
    """One model. The scorers of all entries have the same rows, in the same order."""

    name: str
    scorer: Scorer
    metric: Metric  # the models are ranked by it
    seconds: float  # per 1,000 rows
    bytes: int


@dataclass(frozen=True)
class Place:
    entry: Entry
    rank: int
    tied: bool  # with the best; true for the best itself
    against_best: Comparison | None  # None for the best
    p: float | None  # that comparison's one-sided p, corrected for the number of comparisons
    on_front: bool  # no other model is at least as good, about as fast and as small, and better in one of these


@dataclass(frozen=True)
class Leaderboard:
    metric: str
    confidence: float
    resamples: int
    places: tuple[Place, ...]  # ties with the best first, then by the metric
    recommended: Place
    reason: str

    @property
    def best(self) -> Place:
        return self.places[0]

    @property
    def ties(self) -> int:
        return sum(place.tied for place in self.places)


def rank(
    entries: Sequence[Entry],
    metric: str,
    *,
    resamples: int = 1000,
    seed: int,
    confidence: float = 0.95,
    progress: Callable[[], None] = lambda: None,
) -> Leaderboard:
    """The entries in order. `significance.compare` (one-sided) tests every other entry against the best, and Holm's
    method corrects the p values; an entry whose p stays at 1 − confidence or above ties with the best.

    `progress` is called after each comparison. Raises UsageError for fewer than two entries or an unknown metric.
    """
    if len(entries) < 2:
        raise UsageError(f"a leaderboard needs two models, not {len(entries)}", "name another model to compare with")
    sign = 1 if higher_is_better(metric) else -1
    # The least possible p, which depends on the resamples, must be well below the first threshold of Holm's method.
    resamples = max(resamples, math.ceil(4 * (len(entries) - 1) / (1 - confidence)))
    best, *others = sorted(entries, key=lambda entry: (-sign * entry.metric.value, *_cost(entry)))
    comparisons = []
    for entry in others:
        comparisons.append(
            compare(entry.scorer, best.scorer, metric, resamples=resamples, seed=seed, confidence=confidence)
        )
        progress()
    corrected = holm([comparison.p for comparison in comparisons])
    costs = [(-sign * entry.metric.value, *np.log(_cost(entry))) for entry in (best, *others)]
    front = pareto_front(costs, (0.0, math.log(ALIKE), math.log(ALIKE)))

    tied = [True, *(p >= 1 - confidence for p in corrected)]
    order = sorted(range(len(entries)), key=lambda i: not tied[i])  # stable: each half stays in the metric's order
    places = tuple(
        Place(
            entry=(best, *others)[i],
            rank=1 if tied[i] else position,
            tied=tied[i],
            against_best=comparisons[i - 1] if i else None,
            p=corrected[i - 1] if i else None,
            on_front=front[i],
        )
        for position, i in enumerate(order, start=1)
    )
    recommended = _cheapest([place for place in places if place.tied])
    reason = _reason(recommended, places, metric)
    return Leaderboard(metric, confidence, resamples, places, recommended, reason)


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number: the chance of any false alarm among all of them stays at the level.

    The step-down method of Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return [float(value) for value in corrected]


def pareto_front(costs: Sequence[tuple[float, ...]], alike: tuple[float, ...] | float = 0.0) -> list[bool]:
    """For each point (less is better in every coordinate): whether no other is at least as good in all coordinates and
    better in one. A difference up to `alike` counts as equal."""
    points = np.asarray(costs, dtype=np.float64)
    as_good, better = points - alike, points + alike
    return [not ((as_good <= point).all(axis=1) & (better < point).any(axis=1)).any() for point in points]


def _cheapest(ties: Sequence[Place]) -> Place:
    """The best of the smallest among the fastest; a tenth more counts as equal, since a single measurement of seconds
    varies by that much."""
    fastest = min(place.entry.seconds for place in ties)
    fast = [place for place in ties if place.entry.seconds <= ALIKE * fastest]
    smallest = min(place.entry.bytes for place in fast)
    return next(place for place in fast if place.entry.bytes <= ALIKE * smallest)


def _cost(entry: Entry) -> tuple[float, int]:
    return entry.seconds, entry.bytes


def _reason(recommended: Place, places: tuple[Place, ...], metric: str) -> str:
    """One sentence: the reason for the recommendation."""
    best = places[0].entry
    choice, ties = recommended.entry, sum(place.tied for place in places) - 1
    value = written(metric, choice.metric.value)
    if recommended.against_best is None:
        if not ties:
            others = "the other is" if len(places) == 2 else f"each of the {len(places) - 1} others is"
            return f"{choice.name} has the best {metric} ({value}), and {others} significantly worse."
        others = "the one that is" if ties == 1 else f"none of the {ties} that are"
        cheaper = "not clearly cheaper" if ties == 1 else "clearly cheaper"
        return f"{choice.name} has the best {metric} ({value}), and {others} not significantly worse is {cheaper}."
    if best.seconds > ALIKE * min(place.entry.seconds for place in places if place.tied):
        gain = f"takes {choice.seconds:.3g} s per 1,000 rows instead of {best.seconds:.3g} s"
    else:
        gain = f"is as fast at {choice.bytes / 1e6:.3g} MB instead of {best.bytes / 1e6:.3g} MB"
    return (
        f"{choice.name} is not significantly worse than the best, {best.name} ({metric} {value} "
        f"against {written(metric, best.metric.value)}, corrected p {recommended.p:.2g}), and {gain}."
    )
