"""Ends a training early that will not be among the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lakewright.errors import TrainingError
from lakewright.tuning.trials import Trial

LEAST = 4  # earlier trainings that came as far: with fewer none is ended
POINTS = 200  # of a curve that is recorded

Curve = Sequence[tuple[float, float]]  # (epoch or trees, how good on validation), more is better


class Pruned(TrainingError):
    pass


@dataclass
class MedianRule:
    """Raises Pruned where the best that a training reached so far is below the median of what the earlier ones had
    reached at that time: the median stopping rule of Golovin et al., "Google Vizier" (2017)."""

    earlier: Sequence[Curve]
    prunes: bool = True
    curve: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, at: float, value: float) -> None:
        self.curve.append((float(at), float(value)))
        if not self.prunes:
            return
        reached = [best for curve in self.earlier if (best := reached_at(curve, at)) is not None]
        best = max(own for _, own in self.curve)
        if len(reached) >= LEAST and best < median(reached):
            raise Pruned(
                f"ended at {at:g}: {best:.4g}, and half of {len(reached)} earlier trainings had reached "
                f"{median(reached):.4g}",
                "set tune.prune: none to train each to its end",
            )

    @property
    def recorded(self) -> list[list[float]]:
        step = -(-len(self.curve) // POINTS) or 1
        return [[at, value] for at, value in self.curve[::step]]


def reached_at(curve: Curve, at: float) -> float | None:
    """The best value up to there; None where the training ended before."""
    if not curve or curve[-1][0] < at:
        return None
    return max((value for place, value in curve if place <= at), default=None)


def curves(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """Learner → the curves of its trials."""
    found: dict[str, list[Any]] = {}
    for trial in trials:
        if trial.results.get("curve"):
            found.setdefault(str(trial.results["learner"]), []).append(trial.results["curve"])
    return found
