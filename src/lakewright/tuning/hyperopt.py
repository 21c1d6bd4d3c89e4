"""Hyperopt's names: code that used `fmin` only changes its import.

    from lakewright.tune import STATUS_OK, Trials, fmin, hp, space_eval, tpe

The conventions are Hyperopt's, too: `hp.loguniform` takes the logarithms of its bounds, `hp.randint` leaves out the
upper end, and `fmin` returns label → value, of a choice the index.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from lakewright.errors import UsageError, shown
from lakewright.spaces import Choice, Parameter, PChoice, Point, Space, fill, parameters, point_in
from lakewright.spaces.hyperopt import distribution_of
from lakewright.system.files import cores
from lakewright.tuning.minimize import Minimum, minimize, structure_of
from lakewright.tuning.samplers import STARTUP, RandomSampler, Sampler, TpeSampler
from lakewright.tuning.trials import Trial, best_of
from lakewright.workers import Workers
from lakewright.workers.local import LocalWorkers

Stop = Callable[..., tuple[bool, list[Any]]]


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
    labels: tuple[str, ...] = ()  # of the space, also those that no trial has drawn

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.trials)

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [self._document(trial) for trial in self.made]

    @property
    def results(self) -> list[dict[str, Any]]:
        return [_result(trial) for trial in self.made]

    @property
    def miscs(self) -> list[dict[str, Any]]:
        return [document["misc"] for document in self.trials]

    @property
    def best_trial(self) -> dict[str, Any]:
        return self._document(self._best())

    @property
    def argmin(self) -> Point:
        return dict(self._best().point)

    @property
    def tids(self) -> list[int]:
        return [trial.number for trial in self.made]

    @property
    def vals(self) -> dict[str, list[Any]]:
        """Label → its values, of the trials that drew it."""
        return {label: [each.point[label] for each in self.made if label in each.point] for label in self._labels()}

    @property
    def idxs(self) -> dict[str, list[int]]:
        """Label → the numbers of the trials that drew it."""
        return {label: [each.number for each in self.made if label in each.point] for label in self._labels()}

    def average_best_error(self) -> float:
        """The least loss: losses have no variances here."""
        return float(self._best().loss or 0.0)

    def refresh(self) -> None:
        """Nothing is behind: the trials are told as they end."""

    def losses(self) -> list[float | None]:
        return [trial.loss for trial in self.made]

    def statuses(self) -> list[str]:
        return [trial.status for trial in self.made]

    def _labels(self) -> list[str]:
        return [*dict.fromkeys((*self.labels, *(label for trial in self.made for label in trial.point)))]

    def _document(self, trial: Trial) -> dict[str, Any]:
        """As Hyperopt writes a trial: what was not drawn has an empty list."""
        drawn = {label: label in trial.point for label in self._labels()}
        vals = {label: [trial.point[label]] if here else [] for label, here in drawn.items()}
        idxs = {label: [trial.number] if here else [] for label, here in drawn.items()}
        return {
            "tid": trial.number,
            "state": 2 if trial.status == "ok" else 3,
            "result": _result(trial),
            "misc": {"tid": trial.number, "vals": vals, "idxs": idxs},
        }

    def _best(self) -> Trial:
        best = best_of(self.made)
        if best is None:
            raise UsageError("no trial succeeded", "read the reasons: trials.results")
        return best


class SparkTrials(Trials):
    """Trials as tasks of a Spark cluster: of `spark_session`, else of the session that is active. Where there is none,
    `parallelism` processes of this machine compute them, and a warning says so.

    `parallelism` None: as many at once as the cluster, or this machine, has cores for.
    """

    def __init__(
        self,
        parallelism: int | None = None,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        spark_session: Any = None,
    ) -> None:
        super().__init__()
        self.parallelism, self.timeout, self.loss_threshold = parallelism, timeout, loss_threshold
        session = spark_session if spark_session is not None else _active_session()
        self.workers: Workers = LocalWorkers(parallelism or cores(), cores())
        if session is not None:
            from lakewright.workers.spark import SparkWorkers

            self.workers = SparkWorkers.of(session, parallelism)
        else:
            warnings.warn(
                f"SparkTrials runs {self.workers.processes} processes of this machine: no Spark session is active",
                stacklevel=2,
            )


def _active_session() -> Any:
    """Spark's session of this process, if it has one; without pyspark there is none."""
    if "pyspark" not in sys.modules and "DATABRICKS_RUNTIME_VERSION" not in os.environ:
        return None
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession()


def no_progress_loss(iteration_stop_count: int = 20, percent_increase: float = 0.0) -> Stop:
    """For `fmin(early_stop_fn=…)`: ends the search after so many trials in a row whose loss is not below the least one
    by more than `percent_increase` percent. Before the first better one, the first trial counts."""

    def stop(trials: Trials, least: float | None = None, waited: int = 0) -> tuple[bool, list[Any]]:
        loss = trials.losses()[-1]
        if least is None:
            waited += 1
            least = loss
        elif loss is not None and loss < least - abs(least) * percent_increase / 100:
            least, waited = loss, 0
        else:
            waited += 1
        return waited >= iteration_stop_count, [least, waited]

    return stop


def fmin(
    fn: Callable[[Any], Any],
    space: Any,
    algo: Any = None,
    max_evals: int | None = None,
    timeout: float | None = None,
    loss_threshold: float | None = None,
    trials: Trials | None = None,
    rstate: Any = None,
    allow_trials_fmin: bool = True,
    pass_expr_memo_ctrl: bool | None = None,
    catch_eval_exceptions: bool = True,
    verbose: bool = True,
    return_argmin: bool = True,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    max_queue_len: int = 1,
    show_progressbar: bool = True,
    early_stop_fn: Stop | None = None,
    trials_save_file: str | Path = "",
) -> Any:
    """As Hyperopt's: label → value of the trial with the least loss, of a choice the index; `space_eval` makes the
    objective's argument of it. `minimize` does the work.

    An objective that raises is a failed trial, and an error only if all do; with `catch_eval_exceptions=False` it ends
    the search. `early_stop_fn` gets the trials after each, and what it returned before; it returns whether to stop, and
    a list for its next call. `trials_save_file` is a folder, which keeps each trial as JSON; the same call goes on from
    there. `allow_trials_fmin` changes nothing. Raises UsageError for what is not offered.
    """
    _refuse(fn, pass_expr_memo_ctrl, trials, points_to_evaluate, trials_save_file)
    trials = trials if trials is not None else Trials()
    trials.labels = (*parameters(structure_of(space)[0]),)
    workers: Workers | None = None
    if isinstance(trials, SparkTrials):
        workers = trials.workers
        timeout = trials.timeout if timeout is None else timeout
        loss_threshold = trials.loss_threshold if loss_threshold is None else loss_threshold
    if (max_evals, timeout, loss_threshold, early_stop_fn) == (None,) * 4:
        raise UsageError("the search has no end", "set max_evals, timeout, loss_threshold or early_stop_fn")
    earlier, state = trials.made, list[Any]()

    def stop(ended: Sequence[Trial]) -> bool:
        nonlocal state
        trials.made = tuple(ended)  # now, so that a search that is stopped leaves them
        if early_stop_fn is None:
            return False
        stops, state = early_stop_fn(trials, *state)
        return bool(stops)

    found: Minimum = minimize(
        fn,
        space,
        algo=_sampler(algo),
        max_evals=max_evals,
        max_queue_len=max(max_queue_len, workers.processes if workers else 1),
        seed=_seed(rstate),
        timeout=timeout,
        loss_threshold=loss_threshold,
        points=points_to_evaluate or (),
        folder=trials_save_file or None,
        workers=workers or 1,
        trials=earlier,
        progress=bool(show_progressbar and verbose),
        stop=stop,
        catch=catch_eval_exceptions,
    )
    return dict(found.point) if return_argmin else space_eval(space, found.point)


def _refuse(fn: Any, pass_expr_memo_ctrl: bool | None, trials: Any, points: Any, trials_save_file: str | Path) -> None:
    """Raises UsageError for what Hyperopt takes and this `fmin` does not."""
    if pass_expr_memo_ctrl or (pass_expr_memo_ctrl is None and getattr(fn, "fmin_pass_expr_memo_ctrl", False)):
        raise UsageError(
            "pass_expr_memo_ctrl: an objective gets what was drawn, and no expression, memo and ctrl of Hyperopt's",
            "write it as a function of the drawn values; what it is to keep beside its loss it returns in a dict",
        )
    if trials is not None and not isinstance(trials, Trials):
        raise UsageError(
            f"trials is a {type(trials).__name__}, which is not of lakewright.tune",
            "make it by its Trials() or SparkTrials()",
        )
    if points is not None and (isinstance(points, Mapping | str) or not isinstance(points, Sequence)):
        raise UsageError(f"points_to_evaluate is {shown(points)}", "write a list of points: [{'label': value}, …]")
    if trials_save_file and Path(trials_save_file).is_file():
        raise UsageError(
            f"trials_save_file: {trials_save_file} is a file, and trials are kept here in a folder, as JSON; a pickle "
            "of Hyperopt's is not read",
            "name another path",
        )


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
    if isinstance(rstate, Integral):
        return int(rstate)
    draw = getattr(rstate, "integers", None) or getattr(rstate, "randint", None)  # numpy's Generator, or RandomState
    if draw is None:
        raise UsageError(f"rstate is {shown(rstate)}", "give numpy.random.default_rng(13), or a whole number")
    return int(draw(2**31 - 1))


def _result(trial: Trial) -> dict[str, Any]:
    loss = {} if trial.loss is None else {"loss": trial.loss}
    reason = {"reason": trial.reason} if trial.reason else {}
    return {**loss, "status": trial.status, **reason, **trial.results}
