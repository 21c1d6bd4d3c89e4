"""Hyperopt's names: code that used `fmin` only changes its import.

    from lakewright.tune import STATUS_OK, Trials, fmin, hp, space_eval, tpe

The conventions are Hyperopt's, too: `hp.loguniform` takes the logarithms of its bounds, `hp.randint` leaves out the
upper end, and `fmin` returns label → value, of a choice the index.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lakewright.errors import UsageError
from lakewright.spaces import Choice, Parameter, PChoice, Point, Space, fill, point_in
from lakewright.spaces.hyperopt import distribution_of
from lakewright.system.files import cores
from lakewright.tuning.minimize import Minimum, minimize, structure_of
from lakewright.tuning.samplers import STARTUP, RandomSampler, Sampler, TpeSampler
from lakewright.tuning.trials import Trial, best_of


class hp:  # noqa: N801 (Hyperopt's name)
    """Parameters by Hyperopt's functions and conventions."""

    @staticmethod
    def choice(label: str, options: Sequence[Any]) -> Parameter:
        return Parameter(label, Choice(options))

    @staticmethod
    def pchoice(label: str, p_options: Sequence[tuple[float, Any]]) -> Parameter:
        return Parameter(label, PChoice([option for _, option in p_options], [p for p, _ in p_options]))

    @staticmethod
    def randint(label: str, *bounds: int) -> Parameter:
        """`upper`, or `low, high`; the upper end is left out."""
        return Parameter(label, distribution_of("randint", list(bounds)))

    @staticmethod
    def uniformint(label: str, low: float, high: float) -> Any:
        return Parameter(label, distribution_of("randint", [round(low), round(high) + 1]))

    @staticmethod
    def uniform(label: str, low: float, high: float) -> Parameter:
        return Parameter(label, distribution_of("uniform", [low, high]))

    @staticmethod
    def quniform(label: str, low: float, high: float, q: float) -> Parameter:
        return Parameter(label, distribution_of("quniform", [low, high, q]))

    @staticmethod
    def loguniform(label: str, low: float, high: float) -> Parameter:
        """The bounds are logarithms: exp(low) to exp(high)."""
        return Parameter(label, distribution_of("loguniform", [low, high]))

    @staticmethod
    def qloguniform(label: str, low: float, high: float, q: float) -> Parameter:
        """The bounds are logarithms: exp(low) to exp(high)."""
        return Parameter(label, distribution_of("qloguniform", [low, high, q]))

    @staticmethod
    def normal(label: str, mu: float, sigma: float) -> Parameter:
        return Parameter(label, distribution_of("normal", [mu, sigma]))

    @staticmethod
    def qnormal(label: str, mu: float, sigma: float, q: float) -> Parameter:
        return Parameter(label, distribution_of("qnormal", [mu, sigma, q]))

    @staticmethod
    def lognormal(label: str, mu: float, sigma: float) -> Parameter:
        return Parameter(label, distribution_of("lognormal", [mu, sigma]))

    @staticmethod
    def qlognormal(label: str, mu: float, sigma: float, q: float) -> Parameter:
        return Parameter(label, distribution_of("qlognormal", [mu, sigma, q]))


class tpe:  # noqa: N801 (Hyperopt's name)
    @staticmethod
    def suggest(space: Space, seed: int, first: int, *, n_startup_jobs: int = STARTUP) -> Sampler:
        """For `fmin(algo=…)`; `partial(tpe.suggest, n_startup_jobs=5)` sets the trials that are drawn at random."""
        return TpeSampler(space, seed, n_startup_jobs)


class rand:  # noqa: N801 (Hyperopt's name)
    @staticmethod
    def suggest(space: Space, seed: int, first: int) -> Sampler:
        """For `fmin(algo=…)`."""
        return RandomSampler(space, seed)


@dataclass
class Trials:
    """The trials of one `fmin`, or of several in a row: a second call with the same object goes on."""

    made: tuple[Trial, ...] = ()

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.trials)

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [_as_hyperopt(trial) for trial in self.made]

    @property
    def results(self) -> list[dict[str, Any]]:
        return [_result(trial) for trial in self.made]

    @property
    def best_trial(self) -> dict[str, Any]:
        return _as_hyperopt(self._best())

    @property
    def argmin(self) -> Point:
        return dict(self._best().point)

    @property
    def tids(self) -> list[int]:
        return [trial.number for trial in self.made]

    @property
    def vals(self) -> dict[str, list[Any]]:
        labels = dict.fromkeys(label for trial in self.made for label in trial.point)
        return {label: [each.point[label] for each in self.made if label in each.point] for label in labels}

    def losses(self) -> list[float | None]:
        return [trial.loss for trial in self.made]

    def statuses(self) -> list[str]:
        return [trial.status for trial in self.made]

    def _best(self) -> Trial:
        best = best_of(self.made)
        if best is None:
            raise UsageError("no trial succeeded", "read the reasons: trials.results")
        return best


class SparkTrials(Trials):
    """Trials in `parallelism` processes of this machine. Spark is not used, and a warning says so."""

    def __init__(
        self,
        parallelism: int | None = None,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        spark_session: object = None,
    ) -> None:
        super().__init__()
        self.parallelism, self.timeout, self.loss_threshold = parallelism, timeout, loss_threshold
        warnings.warn(
            f"SparkTrials runs {self.processes} processes of this machine: there are no Spark workers yet", stacklevel=2
        )

    @property
    def processes(self) -> int:
        return self.parallelism or cores()


def fmin(
    fn: Callable[[Any], Any],
    space: Any,
    algo: Any = None,
    max_evals: int | None = None,
    timeout: float | None = None,
    loss_threshold: float | None = None,
    trials: Trials | None = None,
    rstate: Any = None,
    verbose: bool = True,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    max_queue_len: int = 1,
    show_progressbar: bool = True,
    return_argmin: bool = True,
) -> Any:
    """As Hyperopt's: label → value of the trial with the least loss, of a choice the index; `space_eval` makes the
    objective's argument of it. `minimize` does the work. An objective that raises is a failed trial, and an error only
    if all do."""
    trials = trials if trials is not None else Trials()
    parallel = trials.processes if isinstance(trials, SparkTrials) else 1
    if isinstance(trials, SparkTrials):
        timeout = trials.timeout if timeout is None else timeout
        loss_threshold = trials.loss_threshold if loss_threshold is None else loss_threshold
    found: Minimum = minimize(
        fn,
        space,
        algo=_sampler(algo),
        max_evals=max_evals,
        max_queue_len=max(max_queue_len, parallel),
        seed=_seed(rstate),
        timeout=timeout,
        loss_threshold=loss_threshold,
        points=points_to_evaluate or (),
        workers=parallel,
        trials=trials.made,
        progress=show_progressbar and verbose,
    )
    trials.made = found.trials
    return dict(found.point) if return_argmin else space_eval(space, found.point)


def space_eval(space: Any, point: Mapping[str, Any]) -> Any:
    """The objective's argument for what `fmin` returned."""
    structure, bare = structure_of(space)
    single = {label: value[0] if isinstance(value, list) else value for label, value in point.items()}
    filled = fill(structure, point_in(structure, single))
    return filled["value"] if bare else filled


def _sampler(algo: Any) -> Any:
    if algo is None:
        return tpe.suggest
    function = algo.func if isinstance(algo, partial) else algo
    if function in (tpe.suggest, rand.suggest):
        return algo
    module = getattr(function, "__module__", "") or ""
    if module.startswith("hyperopt."):  # Hyperopt's own function, where its import stayed
        ours = {"hyperopt.tpe": tpe.suggest, "hyperopt.rand": rand.suggest}.get(module)
        if ours is not None and not isinstance(algo, partial):
            return ours
    raise UsageError(f"algo is {algo!r}", "set algo to tpe.suggest or rand.suggest of lakewright.tune")


def _seed(rstate: Any) -> int:
    if rstate is None:
        return 13
    if isinstance(rstate, int):
        return rstate
    draw = rstate.integers if hasattr(rstate, "integers") else rstate.randint  # numpy's Generator, or RandomState
    return int(draw(2**31 - 1))


def _result(trial: Trial) -> dict[str, Any]:
    loss = {} if trial.loss is None else {"loss": trial.loss}
    reason = {"reason": trial.reason} if trial.reason else {}
    return {**loss, "status": trial.status, **reason, **trial.results}


def _as_hyperopt(trial: Trial) -> dict[str, Any]:
    vals = {label: [value] for label, value in trial.point.items()}
    idxs = {label: [trial.number] for label in trial.point}
    return {
        "tid": trial.number,
        "state": 2 if trial.status == "ok" else 3,
        "result": _result(trial),
        "misc": {"tid": trial.number, "vals": vals, "idxs": idxs},
    }
