"""The search for the least loss of an objective of one's own."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any
from uuid import uuid4

from lakewright.errors import LakewrightError, UsageError
from lakewright.spaces import (
    Choice,
    Parameter,
    PChoice,
    Point,
    Space,
    fill,
    from_hyperopt,
    is_hyperopt,
    parameters,
    placed,
    point_in,
)
from lakewright.system import jsonfile
from lakewright.system.files import cores
from lakewright.system.progress import bar
from lakewright.tuning.loop import Proposal, ahead_of, run_trials
from lakewright.tuning.nested_runs import NestedRuns
from lakewright.tuning.samplers import Sampler, sampler_of
from lakewright.tuning.trials import Trial, TrialFolder, best_of, number_of, plain
from lakewright.workers import Workers
from lakewright.workers.local import LocalWorkers

LOG = logging.getLogger("lakewright")
STATUS_OK, STATUS_FAIL = "ok", "fail"
Objective = Callable[[Any], Any]


@dataclass(frozen=True)
class Minimum:
    """What a search found. `values` are what the objective got, `point` the same as label → number."""

    best: Trial
    trials: tuple[Trial, ...]

    @property
    def values(self) -> Any:
        return self.best.values

    @property
    def point(self) -> Point:
        return self.best.point

    @property
    def loss(self) -> float:
        assert self.best.loss is not None
        return self.best.loss


def minimize(
    fn: Objective,
    space: Any,
    *,
    algo: str | Callable[[Space, int, int], Sampler] = "tpe",
    max_evals: int | None = None,
    max_queue_len: int = 1,
    seed: int = 13,
    timeout: float | None = None,
    loss_threshold: float | None = None,
    points: Sequence[Mapping[str, Any]] = (),
    folder: str | Path | None = None,
    workers: int | Workers = 1,
    experiment: str | None = None,
    tracking: str | None = None,
    trials: Sequence[Trial] = (),
    progress: bool = True,
    stop: Callable[[Sequence[Trial]], bool] | None = None,
    catch: bool = True,
) -> Minimum:
    """Search the space for the arguments with the least loss.

    `fn` gets the space filled with what was drawn, and returns a loss, or a mapping with `loss`, `status` ("ok" or
    "fail") and anything else. `space`: one distribution, or a structure in which parameters stand: a mapping of keys to
    distributions of `lakewright.spaces` or to their YAML form, objects of `hp`, or Hyperopt's own. `algo`: tpe, random
    or grid. `points` are tried first, each a mapping of labels to values (of a choice, the index).

    `max_queue_len` proposals are made ahead. `workers`: so many processes compute trials; with `max_queue_len` 1, tpe
    needs one alone. Without a `timeout` (seconds; no trial starts after it) the trials do not depend on `workers`.
    A `folder` keeps each trial as it ends; the same call goes on from there, and tries those that failed again. An `fn`
    whose own code has changed is refused there; what it calls is not compared. `trials` are earlier ones, which count.
    `experiment`: the name of an MLflow experiment, in which a run of this search gets one nested run a trial; at
    `tracking`, by default where MLflow logs. `stop` gets the trials so far after each, and ends the search where it
    returns True.

    A trial whose `fn` raises, or whose loss is no finite number, failed; without `catch`, what `fn` raises ends the
    search. Raises LakewrightError if all trials failed, and UsageError for arguments that mean nothing.
    """
    structure, bare = structure_of(space)
    parameters(structure)  # raises UsageError
    first = [_checked_point(structure, point) for point in points]
    sampler = algo(structure, seed, len(first)) if callable(algo) else sampler_of(algo, structure, seed, first)
    if (max_evals, timeout, loss_threshold, stop) == (None,) * 4 and sampler.name != "grid":
        raise UsageError("the search has no end", "set max_evals, timeout or loss_threshold")
    for name, value, least in (
        ("max_evals", max_evals, 1),
        ("max_queue_len", max_queue_len, 1),
        ("timeout", timeout, 0),
    ):
        if value is not None and not (isinstance(value, Real) and value >= least):
            raise UsageError(f"{name} is {value!r}", f"set it to {least} or more")
    identity = {"space": _shape(structure), "sampler": sampler.name, "seed": seed, "points": first}
    recorded = {trial.number: trial for trial in trials}
    home = TrialFolder(Path(folder)) if folder is not None else None
    if home is not None:
        home.begin(identity, _code_of(fn))
        kept = home.read()
        if kept:
            LOG.info("%d trials are taken from %s", len(kept), home.path)
        recorded = kept | recorded
    _check_recorded(structure, recorded)
    began = time.monotonic()

    def argument_of(proposal: Proposal) -> Any:
        filled = fill(structure, proposal.point)
        return filled["value"] if bare else filled

    def compute(proposal: Proposal) -> Trial:
        started, argument = time.monotonic(), argument_of(proposal)
        try:
            trial = _judged(proposal, argument, fn(argument))
        except Exception as failure:
            if not catch:
                raise
            trial = Trial(proposal.number, proposal.point, argument, "fail", reason=_reason(failure))
        return finish(trial, time.monotonic() - started)

    def finish(trial: Trial, seconds: float) -> Trial:
        finished = Trial(**{**vars(trial), "seconds": seconds, "ended": time.monotonic() - began})
        if home is not None:
            home.record(finished)
        return finished

    def died(proposal: Proposal, cause: str) -> Trial:
        return finish(Trial(proposal.number, proposal.point, argument_of(proposal), "fail", reason=cause), 0.0)

    def more(number: int, ended: Sequence[Trial]) -> bool:
        best = best_of(ended)
        return (
            (max_evals is None or number < max_evals)
            and (timeout is None or time.monotonic() - began < timeout or number in recorded)
            and (loss_threshold is None or best is None or best.loss is None or best.loss > loss_threshold)
            and not stopped
        )

    stopped = False
    pool = _workers(workers)
    ahead = ahead_of(sampler, pool, max_queue_len)
    if ahead < pool.processes:
        LOG.warning("%d processes: set max_queue_len to more than %d to use them all", pool.processes, max_queue_len)
    runs = None
    if experiment is not None:
        name = f"minimize-{_digest(str(Path(folder).resolve())) if folder is not None else uuid4().hex[:8]}"
        about = {"method": sampler.name, "seed": seed, "max_evals": max_evals, "space": _shape(structure)}
        runs = NestedRuns.begin(tracking, experiment, name, about)
    with bar("trials", max_evals) if progress else nullcontext(_unseen) as advance:

        def note(trial: Trial) -> None:
            nonlocal stopped
            best_so_far.append(trial)
            stopped = stopped or (stop is not None and stop(best_so_far))
            if trial.status != "ok":
                LOG.warning("trial %d failed: %s", trial.number, trial.reason)
            if runs is not None:
                runs.add(trial)
            best = best_of(best_so_far)
            advance(1, "" if best is None else f"best loss {best.loss:.6g}")

        best_so_far: list[Trial] = []
        try:
            made = run_trials(
                sampler,
                compute,
                workers=pool,
                ahead=ahead,
                more=more,
                first=first,
                recorded=recorded,
                died=died,
                note=note,
            )
        except BaseException as failure:
            stopped_by_hand = isinstance(failure, KeyboardInterrupt)
            if runs is not None:
                runs.end(best_of(best_so_far), "KILLED" if stopped_by_hand else "FAILED")
            if stopped_by_hand and home is not None:
                LOG.warning("stopped: %d trials are kept in %s, and the same call goes on", len(best_so_far), home.path)
            raise
    best = best_of(made)
    if runs is not None:
        runs.end(best, "FAILED" if best is None else "FINISHED")
    if best is None:
        raise none_succeeded(made)
    return Minimum(best, tuple(made))


def _unseen(count: int, note: str) -> None:
    pass


def none_succeeded(trials: Sequence[Trial]) -> LakewrightError:
    if not trials:
        return UsageError("no trial was started", "give the search more time")
    first = trials[0]
    return LakewrightError(
        f"all {len(trials)} trials failed; the first, with {shown_values(first.values)}: {first.reason}"
        if len(trials) > 1
        else f"the only trial failed, with {shown_values(first.values)}: {first.reason}",
        "correct its cause, or the space",
    )


def shown_values(values: Any) -> str:
    if isinstance(values, Mapping):
        return ", ".join(f"{key}={_short(value)}" for key, value in values.items()) or "no values"
    return _short(values)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def structure_of(space: Any) -> tuple[Space, bool]:
    """The space in our objects, and whether the objective gets its one value alone."""
    if is_hyperopt(space):
        space = from_hyperopt(space)
    structure = placed(space)
    return (structure, False) if isinstance(structure, Mapping) else ({"value": structure}, True)


def _checked_point(structure: Space, point: Mapping[str, Any]) -> Point:
    unknown = sorted({*point} - {*parameters(structure)})
    if unknown:
        raise UsageError(f"a point names {unknown[0]!r}, which is no parameter", "name the labels of the space")
    return point_in(structure, point)


def _check_recorded(structure: Space, recorded: Mapping[int, Trial]) -> None:
    for trial in recorded.values():
        try:
            point_in(structure, trial.point)
        except UsageError as error:
            raise UsageError(
                f"trial {trial.number} is of another space: {error.cause}", "search another space without these trials"
            ) from None


def _judged(proposal: Proposal, argument: Any, returned: Any) -> Trial:
    results: Mapping[str, Any] = {}
    loss = returned
    if isinstance(returned, Mapping):
        loss = returned.get("loss")
        results = {key: value for key, value in returned.items() if key not in ("loss", "status")}
        if returned.get("status", STATUS_OK) != STATUS_OK:
            why = str(returned.get("reason") or f"the objective returned the status {returned['status']!r}")
            return Trial(proposal.number, proposal.point, argument, "fail", reason=why, results=results)
    number = number_of(loss)
    if number is None:
        why = f"the loss is {loss!r}, not a finite number"
        return Trial(proposal.number, proposal.point, argument, "fail", reason=why, results=results)
    return Trial(proposal.number, proposal.point, argument, "ok", loss=number, results=results)


def _reason(failure: BaseException) -> str:
    return failure.cause if isinstance(failure, LakewrightError) else f"{type(failure).__name__}: {failure}"


def _workers(workers: int | Workers) -> Workers:
    return LocalWorkers(workers, cores()) if isinstance(workers, int) else workers


def _shape(space: Space) -> Any:
    """The space as JSON, to compare it with another and to show it."""
    if isinstance(space, Parameter):
        distribution = space.distribution
        if isinstance(distribution, Choice | PChoice):
            arguments: Any = [_shape(option) for option in distribution.options]
            arguments = arguments if isinstance(distribution, Choice) else [distribution.probabilities, arguments]
        else:
            arguments = list(vars(distribution).values())
        return {distribution.name: arguments, "label": space.label}
    if isinstance(space, Mapping):
        return {str(key): _shape(inner) for key, inner in space.items()}
    if isinstance(space, list | tuple):
        return [_shape(inner) for inner in space]
    if hasattr(space, "__dataclass_fields__"):
        return {name: _shape(inner) for name, inner in vars(space).items()}
    return json.loads(jsonfile.text(space, default=plain))


def _code_of(fn: Any) -> str:
    """A digest of a function's own code, by the Python that compiled it; empty for another callable."""
    code = getattr(fn, "__code__", None)
    if code is None:
        return ""

    def described(value: Any) -> Any:
        if hasattr(value, "co_code"):
            return [value.co_code.hex(), [*value.co_names], [described(each) for each in value.co_consts]]
        return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{version}:{_digest(json.dumps(described(code)))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
