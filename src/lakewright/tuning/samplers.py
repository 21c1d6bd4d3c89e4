"""Which point is tried next: by the tree-structured Parzen estimator, at random, or from a grid.

A proposal depends on the seed, its number, the trials that had ended when it was made and the points that were then
under way, and on nothing else: a search that was stopped goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lakewright.errors import UsageError, nearest
from lakewright.spaces import (
    Choice,
    Distribution,
    LogUniform,
    Point,
    QLogUniform,
    QUniform,
    RandInt,
    Space,
    Uniform,
    draw,
    grid,
    parameters,
    sample,
)
from lakewright.tuning.trials import Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STARTUP = 10  # trials at random before TPE learns from them
TRIES = 200  # to draw a point that was not proposed before


class Sampler(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def learns(self) -> bool:
        """Whether a proposal depends on earlier trials."""

    def propose(self, number: int, ended: Sequence[Trial], under_way: Sequence[Point]) -> Point | None:
        """The point of this number; None where the space is exhausted."""


@dataclass(frozen=True)
class RandomSampler:
    space: Space
    seed: int

    name: ClassVar[str] = "random"
    learns: ClassVar[bool] = False

    def propose(self, number: int, ended: Sequence[Trial], under_way: Sequence[Point]) -> Point | None:
        import numpy as np

        return sample(self.space, np.random.default_rng([self.seed, number]))


@dataclass(frozen=True)
class GridSampler:
    points: Sequence[Point]
    first: int = 0  # the number of the grid's first point

    name: ClassVar[str] = "grid"
    learns: ClassVar[bool] = False

    def propose(self, number: int, ended: Sequence[Trial], under_way: Sequence[Point]) -> Point | None:
        at = number - self.first
        return self.points[at] if 0 <= at < len(self.points) else None


@dataclass(frozen=True)
class TpeSampler:
    """By Optuna: Bergstra, Bardenet, Bengio & Kégl, "Algorithms for Hyper-Parameter Optimization" (2011)."""

    space: Space
    seed: int
    startup: int = STARTUP
    _known: dict[int, FrozenTrial] = field(default_factory=dict, compare=False)  # number → the trial as Optuna has it

    name: ClassVar[str] = "tpe"
    learns: ClassVar[bool] = True

    def propose(self, number: int, ended: Sequence[Trial], under_way: Sequence[Point]) -> Point | None:
        import numpy as np

        if len(ended) < self.startup:
            return sample(self.space, np.random.default_rng([self.seed, number]))
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        spread = int(np.random.default_rng([self.seed, number]).integers(2**31))
        study = study_of(self.space, ended, TPESampler(seed=spread, n_startup_trials=0), self._known)
        distributions = parameters(self.space)
        for point in filter(None, under_way):
            study.add_trial(_frozen(distributions, point, TrialState.RUNNING, None))
        drawn = study.ask()

        def ask(label: str, distribution: Distribution) -> Any:
            axis = _axis(distribution)
            return axis.value(drawn._suggest(label, axis.optuna))

        return draw(self.space, ask)


@dataclass(frozen=True)
class NewPoints:
    """As `sampler`, but never a point that was proposed before: in its place comes another one at random. None where
    every point was proposed, or `TRIES` random ones in a row, of a space whose points cannot be listed."""

    sampler: Sampler
    space: Space
    seed: int

    @property
    def name(self) -> str:
        return self.sampler.name

    @property
    def learns(self) -> bool:
        return self.sampler.learns

    def propose(self, number: int, ended: Sequence[Trial], under_way: Sequence[Point]) -> Point | None:
        before = {_key(trial.point) for trial in ended} | {_key(point) for point in under_way}
        point = self.sampler.propose(number, ended, under_way)
        if point is None or _key(point) not in before:
            return point
        import numpy as np

        random = np.random.default_rng([self.seed, number, 1])  # the sampler's own begins without the 1
        for _ in range(TRIES):
            if _key(point := sample(self.space, random)) not in before:
                return point
        left = [point for point in self._all if _key(point) not in before]
        return left[random.integers(len(left))] if left else None

    @cached_property
    def _all(self) -> Sequence[Point]:
        """Of a space that has a grid."""
        try:
            return grid(self.space)
        except UsageError:
            return ()


def _key(point: Point) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items()))


def sampler_of(name: str, space: Space, seed: int, first: Sequence[Point] = (), *, may_repeat: bool = True) -> Sampler:
    """`first`: the points that are tried before the sampler's; `may_repeat`: whether a point may be proposed twice.
    Raises UsageError for an unknown name, and for a space that has no grid."""
    if name == "grid":
        return GridSampler([point for point in grid(space) if may_repeat or point not in first], len(first))
    if name not in ("tpe", "random"):
        raise UsageError(f"there is no sampler {name!r}", nearest(name, ("tpe", "random", "grid")))
    sampler = TpeSampler(space, seed) if name == "tpe" else RandomSampler(space, seed)
    return sampler if may_repeat else NewPoints(sampler, space, seed)


def study_of(
    space: Space,
    trials: Sequence[Trial],
    sampler: BaseSampler | None = None,
    known: dict[int, FrozenTrial] | None = None,
) -> Study:
    """An Optuna study that holds the trials. `known`: those that were made before, by number."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, distributions = optuna.create_study(sampler=sampler), parameters(space)
    made = {} if known is None else known
    for trial in trials:
        if not trial.point:  # settings outside the space
            continue
        if trial.number not in made:
            state = TrialState.PRUNED if trial.loss is None else TrialState.COMPLETE  # a failed one: the worst
            made[trial.number] = _frozen(distributions, trial.point, state, trial.loss)
        study.add_trial(made[trial.number])
    return study


@dataclass(frozen=True)
class _Axis:
    """A distribution of ours as one of Optuna's, and the way between their values."""

    optuna: BaseDistribution
    value: Callable[[Any], Any]
    place: Callable[[Any], Any]


def _axis(distribution: Distribution) -> _Axis:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, Choice):
        return _Axis(CategoricalDistribution(range(len(distribution.options))), int, int)
    if isinstance(distribution, RandInt):
        return _Axis(IntDistribution(distribution.low, distribution.high), int, int)
    if isinstance(distribution, Uniform):
        return _Axis(FloatDistribution(distribution.low, distribution.high), float, float)
    if isinstance(distribution, LogUniform):
        return _Axis(FloatDistribution(distribution.low, distribution.high, log=True), float, float)
    if isinstance(distribution, QUniform) and not isinstance(distribution, QLogUniform):
        return _Axis(IntDistribution(distribution.first, distribution.last), distribution.step, distribution.steps_to)
    # Optuna has no such distribution: by its quantiles
    return _Axis(
        FloatDistribution(0.0, 1.0), distribution.at, lambda value: min(max(distribution.share(value), 0.0), 1.0)
    )


def _frozen(distributions: dict[str, Distribution], point: Point, state: Any, loss: float | None) -> FrozenTrial:
    from optuna.trial import create_trial

    axes = {label: _axis(distributions[label]) for label in point}
    return create_trial(
        state=state,
        value=loss,
        params={label: axes[label].place(value) for label, value in point.items()},
        distributions={label: axis.optuna for label, axis in axes.items()},
    )
