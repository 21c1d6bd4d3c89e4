"""Ends a training, or a trial over folds, early that will not be among the best.

A rule looks at what this training has measured and at the earlier trials that its proposal saw, and at nothing else: so
the trials of a search do not depend on how many run at once, nor on where it was stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any

from lakewright.errors import TrainingError
from lakewright.tuning.trials import Trial, best_of

LEAST = 4  # earlier trainings that came as far: with fewer none is ended
WARM = 0.1  # of the median length of earlier trainings
POINTS = 200  # of a curve that is recorded
KEPT = 3  # hyperband: one of so many goes on past a rung
BRACKETS = 4  # hyperband: the first rung is at 1/27, 1/9 or 1/3 of the longest training; the last bracket has none
ALPHA = 0.1  # wilcoxon: a trial ends whose folds are worse than the best one's with this p

Curve = Sequence[tuple[float, float]]  # (epoch or trees, how good on validation), more is better
Rule = Callable[[Curve, Sequence[Curve], int], str]


class Pruned(TrainingError):
    def __init__(self, cause: str, remedy: str = "set tune.prune: none to train each to its end") -> None:
        super().__init__(cause, remedy)


@dataclass
class Watched:
    """A training's curve so far. Raises Pruned where the rule says why it is to end."""

    rule: Rule | None
    number: int  # of the trial
    earlier: Sequence[Curve] = ()  # of trials with the same learner
    curve: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, at: float, value: float) -> None:
        self.curve.append((float(at), float(value)))
        if self.rule is not None and (why := self.rule(self.curve, self.earlier, self.number)):
            raise Pruned(f"ended at {at:g}: {why}")

    @property
    def recorded(self) -> list[list[float]]:
        step = -(-len(self.curve) // (POINTS - 1)) or 1
        last = [] if (len(self.curve) - 1) % step == 0 else self.curve[-1:]
        return [[at, value] for at, value in (*self.curve[::step], *last)]


def below_median(curve: Curve, earlier: Sequence[Curve], number: int) -> str:
    """The best that the training reached so far is below the median of what the earlier ones had reached at that time:
    the median stopping rule of Golovin et al., "Google Vizier" (2017). Not in the first tenth of their usual length,
    where a small learning rate is behind whatever it comes to."""
    best, others = _standing(curve, earlier)
    lengths = [each[-1][0] for each in earlier if each]
    if len(others) < LEAST or curve[-1][0] < WARM * median(lengths) or best >= median(others):
        return ""
    return f"{best:.4g}, and half of {len(others)} earlier trainings had reached {median(others):.4g}"


def below_rung(curve: Curve, earlier: Sequence[Curve], number: int) -> str:
    """At each rung, 1/3 of the trainings that came as far go on, and the next rung is three times as far: Li et al.,
    "Hyperband" (2018), where nobody waits for others at a rung as in Li et al., "A System for Massively Parallel
    Hyperparameter Tuning" (2020). The trial's number picks its bracket, which has the first rung early or late."""
    longest = max((each[-1][0] for each in earlier if each), default=0.0)
    rungs = [longest / KEPT**power for power in range(bracket_of(number), 0, -1)]
    before = curve[-2][0] if len(curve) > 1 else 0.0
    if not any(before < rung <= curve[-1][0] for rung in rungs):
        return ""
    best, others = _standing(curve, earlier)
    if len(others) < LEAST:
        return ""
    place = 1 + sum(other > best for other in others)
    most = (len(others) + 1) // KEPT
    return f"{best:.4g}, the {_ordinal(place)} of {len(others) + 1}, and {most} go on" if place > most else ""


def bracket_of(number: int) -> int:
    """How many rungs the training of this trial has. As Hyperband gives each bracket the same time, those whose
    trainings end early have more trials: 27 : 12 : 6 : 4."""
    weights = [ceil(BRACKETS * KEPT**rungs / (rungs + 1)) for rungs in range(BRACKETS)]
    drawn = zlib.crc32(str(number).encode()) % sum(weights)
    return next(rungs for rungs in range(BRACKETS) if drawn < sum(weights[: rungs + 1]))


def worse_over_folds(own: Sequence[float], best: Sequence[float]) -> str:
    """`own` are this trial's first folds, `best` those of the best one, more is better. Wilcoxon's signed-rank test
    ("Individual Comparisons by Ranking Methods", 1945), exact and one-sided."""
    p = signed_rank_p([mine - other for mine, other in zip(own, best, strict=False)])
    return f"{len(own)} folds are worse than the best trial's (signed-rank test, p {p:.2g})" if p < ALPHA else ""


def signed_rank_p(differences: Sequence[float]) -> float:
    """How likely their ranks would be so low, or lower, if each difference were as often above 0 as below. Differences
    of 0 are left out, and equal ones share their ranks."""
    sizes = sorted(abs(each) for each in differences if each)
    twice = {
        size: 2 * sizes.index(size) + sizes.count(size) + 1 for size in sizes
    }  # twice the mean rank: a whole number
    sums = {0: 1}  # of the ranks above 0 → in how many ways
    for size in sizes:
        sums = _added(sums, twice[size])
    reached = sum(twice[abs(each)] for each in differences if each > 0)
    return float(sum(ways for total, ways in sums.items() if total <= reached) / 2 ** len(sizes))


def _added(sums: Mapping[int, int], rank: int) -> dict[int, int]:
    added = dict(sums)
    for total, ways in sums.items():
        added[total + rank] = added.get(total + rank, 0) + ways
    return added


def _standing(curve: Curve, earlier: Sequence[Curve]) -> tuple[float, list[float]]:
    """The best that the training reached so far, and what those earlier ones had reached that came as far."""
    at = curve[-1][0]
    return max(own for _, own in curve), [best for each in earlier if (best := reached_at(each, at)) is not None]


def reached_at(curve: Curve, at: float) -> float | None:
    """The best value up to there; None where the training ended before."""
    if not curve or curve[-1][0] < at:
        return None
    return max((value for place, value in curve if place <= at), default=None)


def _ordinal(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def curves(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Learner → the curves of its trials."""
    found: dict[str, list[Any]] = {}
    for trial in trials:
        if trial.results.get("curve"):
            found.setdefault(str(trial.results["learner"]), []).append(trial.results["curve"])
    return found


def best_folds(trials: Sequence[Trial]) -> list[float]:
    """The metric of the best trial in each fold."""
    best = best_of(trials)
    return [] if best is None else list(best.results.get("folds", ()))


RULES: Mapping[str, Rule] = {"median": below_median, "hyperband": below_rung}
KNOWN: Mapping[str, Callable[[Sequence[Trial]], Any]] = {
    "median": curves,
    "hyperband": curves,
    "wilcoxon": best_folds,
}  # tune.prune → what a trial gets to know of the earlier ones
