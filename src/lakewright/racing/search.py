"""The search itself: units in processes until the time is over, then the models that stay and their weights.

Nothing is fitted again at the end: the networks of the folds are the model. Whatever is done lies in the folder of its
unit, so a search that is killed goes on from there, with the time that it has not used.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.learning.blending import log_losses, shares, squared_errors
from lakewright.learning.members import HELD
from lakewright.racing import units
from lakewright.racing.portfolio import MANY_CLASSES, VECTORS, ways_to_read
from lakewright.racing.race import Candidate, Race
from lakewright.racing.shared import Shared
from lakewright.system import jsonfile
from lakewright.system.files import write_whole
from lakewright.system.progress import bar

LARGE, MEDIUM = 20_000, 3_000  # rows: from these on, one or two first folds tell candidates apart
MOST_MEMBERS = 8  # of the mean
RESERVE, LEAST_RESERVE = 0.04, 0.5  # share of the time, and seconds at least, for the end
MOST_FOLDS = 8
TRIAL_ROUNDS = 30  # trees that tell what a fold costs
FOLDS, SPENT, PROPOSALS = "folds.json", "spent.json", "proposals.json"
SURE = 1.64  # standard errors by which the mean of several must be better than the best alone: 5 %, one-sided


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found."""

    candidates: Sequence[Candidate]
    folds: int
    members: Sequence[Candidate]  # of the recommended model, the heaviest first
    weights: tuple[float, ...]
    why: str  # of the choice between one candidate and several
    loss: float  # of the recommended model on all folds
    single: Candidate  # the best alone
    seconds: float  # of this attempt
    earlier: float = 0.0  # of attempts before it
    interrupted: bool = False
    ensemble: dict[int, float] = field(default_factory=dict)  # candidate → its share in the mean of several


def search(
    folder: Path,
    learners: Sequence[str],
    seconds: float,
    *,
    processes: int,
    folds: int | None = None,
    trials: int | None = None,
    seed: int = 13,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Searches in `folder`, where `shared/` holds the examples. `folds` None: as many as the time allows.

    Raises TrainingError if no candidate came to its end.
    """
    shared = Shared.open(folder / "shared")
    began = clock()
    with _Processes(processes) as pool:
        folds = _folds(folder, shared, folds, seconds, pool, processes)
        race = _race(folder, shared, learners, folds, processes, seed, trials)
        earlier = _replay(folder, race)
        left = seconds - earlier
        end = began + left - max(RESERVE * left, LEAST_RESERVE)
        interrupted = _run(folder, race, pool, processes, folds, end, seconds, earlier, clock)
    return _chosen(race, folds, clock() - began, earlier, interrupted, seconds)


def warm_up() -> None:
    """Starts the server that makes the processes, which imports what a unit needs while rows are prepared."""
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload(["lakewright.racing.ready"])
    forkserver.ensure_running()


@contextmanager
def _main_aside() -> Iterator[None]:
    """Inside, a process that is made does not run the main script again: a script or notebook has no guard for that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Processes:
    """Processes with one thread each, made by a server that computes nothing itself."""

    def __init__(self, count: int) -> None:
        warm_up()
        context = multiprocessing.get_context("forkserver")
        self.pool = ProcessPoolExecutor(count, mp_context=context, initializer=units.alone)

    def __enter__(self) -> ProcessPoolExecutor:
        return self.pool

    def __exit__(self, *_: object) -> None:
        running = [*(self.pool._processes or {}).values()]
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in running:  # whatever still runs is not needed, and would compute for nobody
            process.kill()
        for process in running:
            process.join(5)


def _race(
    folder: Path, shared: Shared, learners: Sequence[str], folds: int, processes: int, seed: int, trials: int | None
) -> Race:
    truth, weights = units.truths(shared), np.asarray(shared.examples.weights, np.float64)
    held_rows = [units.rows_of(shared, fold, folds)[1] for fold in range(folds)]
    rows = len(shared.examples)
    first = 1 if rows >= LARGE else 2 if rows >= MEDIUM else 3
    kept: dict[tuple[int, int], NDArray[np.float64]] = {}

    def held(candidate: int, fold: int) -> NDArray[np.float64]:
        if (candidate, fold) not in kept:
            kept[candidate, fold] = np.load(unit_folder(folder, candidate, fold) / HELD)
        return kept[candidate, fold]

    return Race(
        learners,
        folds,
        first,
        processes,
        held,
        lambda fold: truth[held_rows[fold]],
        lambda fold: weights[held_rows[fold]],
        seed,
        trials,
        ways_to_read(learners, shared.recipe, shared.task.outputs),
        shared.task.outputs if shared.task.truth == "class" else 1,
    )


def unit_folder(folder: Path, candidate: int, fold: int) -> Path:
    return folder / "units" / f"{candidate:03d}" / str(fold)


def _folds(
    folder: Path,
    shared: Shared,
    folds: int | None,
    seconds: float,
    pool: ProcessPoolExecutor,
    processes: int,
) -> int:
    """As many as the time allows: 8, 5 or 3, by what a few trees cost; 1 where rows have no parts."""
    if shared.examples.parts is None:
        return 1
    if (known := _read(folder / FOLDS, None)) is not None:
        return int(known)
    known_folds = _without_an_empty_one(shared)
    if not known_folds:
        return 1
    if folds is not None and folds not in known_folds:
        raise TrainingError(
            f"{len(shared.examples):,} rows are too few for {folds} folds: one would be empty",
            f"set automl.folds to {known_folds[-1]}, or leave it out",
        )
    if folds is None:
        # A start of few trees costs about an eighth of a whole candidate, and a portfolio has some ten
        with _main_aside():
            cost = pool.submit(_cost_of_trees, folder / "shared")
        one = cost.result() * 8
        able = (each for each in (8, 5) if one * each * 5 / processes < seconds / 2)
        folds = next((each for each in able if each < 8 or len(shared.examples) < LARGE), 3)
        folds = next(each for each in reversed(known_folds) if each <= folds or each == known_folds[0])
    write_whole(folder / FOLDS, json.dumps(folds))
    return folds


def _without_an_empty_one(shared: Shared) -> list[int]:
    """The numbers of folds that leave no fold without rows, ascending."""
    parts = shared.examples.parts
    assert parts is not None
    return [count for count in range(3, MOST_FOLDS + 1) if len(np.unique(np.asarray(parts) % count)) == count]


def _cost_of_trees(shared: Path) -> float:
    """Seconds for TRIAL_ROUNDS trees on all rows, without the hundreds of columns of vectors, which few candidates
    read."""
    import lightgbm

    opened = Shared.open(shared)
    columns, classes = opened.examples.encoded.columns, opened.task.outputs
    read = [step.name != VECTORS for step in opened.recipe.encodings for _ in step.columns]
    if columns is None or not any(read):
        return 1.0
    columns = np.ascontiguousarray(columns[:, read])
    rounds = TRIAL_ROUNDS if classes <= MANY_CLASSES else TRIAL_ROUNDS // 10
    objective = "regression" if opened.task.truth == "number" else "binary" if classes == 2 else "multiclass"
    more = {"num_class": classes} if objective == "multiclass" else {}
    began = time.monotonic()
    settings = {"objective": objective, "num_leaves": 31, "num_threads": 1, "verbosity": -1, **more}
    lightgbm.train(settings, lightgbm.Dataset(columns, units.truths(opened)), rounds)
    return (time.monotonic() - began) * TRIAL_ROUNDS / rounds


def _replay(folder: Path, race: Race) -> float:
    """Tells the race what earlier attempts did. Returns the seconds that they took."""
    for candidate in [*race.candidates]:
        for outcome in _outcomes(folder, candidate.number, race.all):
            race.tell(outcome)
    for described in _read(folder / PROPOSALS, []):
        number = len(race.candidates)
        race.restore(described["settings"], described["proposal"], _outcomes(folder, number, race.all))
    return float(_read(folder / SPENT, 0.0))


def _outcomes(folder: Path, candidate: int, folds: Sequence[int]) -> list[units.Outcome]:
    paths = (unit_folder(folder, candidate, fold) / units.OUTCOME for fold in folds)
    return [units.Outcome(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def _read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _write_proposals(folder: Path, race: Race) -> None:
    proposals = [{"settings": each.settings, "proposal": each.proposal} for each in race.candidates if each.proposal]
    write_whole(folder / PROPOSALS, jsonfile.text(proposals))


def _run(
    folder: Path,
    race: Race,
    pool: ProcessPoolExecutor,
    processes: int,
    folds: int,
    end: float,
    seconds: float,
    earlier: float,
    clock: Callable[[], float],
) -> bool:
    """Whether a person interrupted it."""
    running: dict[Future[units.Outcome], tuple[Candidate, int]] = {}
    began, done = clock(), 0
    try:
        with bar("automl", round(end - began)) as advance:
            while clock() < end:
                while len(running) < processes:
                    unit = race.next(end - clock(), 1 - (end - clock()) / seconds)
                    if unit is None:
                        break
                    candidate, fold = unit
                    if candidate.proposal and not candidate.losses:
                        _write_proposals(folder, race)
                    place = unit_folder(folder, candidate.number, fold)
                    arguments = (folder / "shared", candidate.settings, candidate.number, fold, folds, place)
                    with _main_aside():
                        running[pool.submit(units.run, *arguments)] = unit
                if not running:
                    break
                finished, _ = wait(running, timeout=min(1.0, max(end - clock(), 0.0)), return_when=FIRST_COMPLETED)
                for future in finished:
                    running.pop(future)
                    race.tell(future.result())
                write_whole(folder / SPENT, json.dumps(earlier + clock() - began))
                advance(max(0, round(clock() - began) - done), _progress(race))
                done = round(clock() - began)
    except KeyboardInterrupt:
        return True
    finally:
        for unit in running.values():
            race.give_back(unit)
    return False


def _progress(race: Race) -> str:
    best = race.complete()
    tried = sum(bool(each.losses) for each in race.candidates)
    shown = f", best: {best[0].learner} {best[0].loss(race.all):.5g}" if best else ""
    return f"{tried} candidates{shown}"


class TooShort(TrainingError):
    """No candidate came to its end in time."""


def _too_short(race: Race, folds: int, seconds: float) -> TooShort:
    """What would fit: all folds of the quickest candidate that began, or where none did, the start of processes."""
    units_of = [np.mean([*each.seconds.values()]) for each in race.candidates if each.seconds]
    whole = float(min(units_of)) * folds / race.processes if units_of else None
    needed = max(2 * seconds, 30.0, 3 * whole if whole is not None else 0.0)
    begun = (
        "none had ended its first fold" if whole is None else f"the quickest takes about {whole:.2g} s for all folds"
    )
    return TooShort(
        f"no candidate came to its end within {seconds:.3g} s of {folds} folds: {begun}",
        f"give it more time, {needed / 60:.2g} minutes or more (--minutes, automl.minutes), or fewer folds "
        "(automl.folds: 3)",
    )


def _chosen(race: Race, folds: int, took: float, earlier: float, interrupted: bool, seconds: float) -> Found:
    complete = race.complete()
    if not complete:
        failures = [each.failure for each in race.candidates if each.failure]
        if failures and (all(each.failure for each in race.candidates if each.started) or race.most == len(failures)):
            rows, more = len(race.rows(race.all)[0]), "" if folds == 1 else f" of {folds} folds"
            raise TrainingError(
                f"no candidate could be trained on the {rows:,} rows{more}: {failures[0]}",
                "read the cause and mend it; more rows, of every label, if there are few",
            )
        if interrupted:
            raise TrainingError(
                "the search was stopped before a candidate came to its end",
                "run the same command again: what is done is kept, and it goes on from there",
            )
        raise _too_short(race, folds, seconds)
    pool: list[Candidate] = []
    for each in complete:  # few of each learner: twins add nothing
        if sum(other.family == each.family for other in pool) < 6:
            pool.append(each)
    predictions = race.predictions(pool, race.all)
    truth, weights = race.rows(race.all)
    share = shares(predictions, truth, weights)
    heaviest = np.argsort(-share, kind="stable")[:MOST_MEMBERS]
    share = np.where(np.isin(np.arange(len(share)), heaviest), share, 0.0)
    share = share / share.sum()
    mean = np.tensordot(share, np.stack(predictions), axes=1)
    losses_of: Any = log_losses if np.issubdtype(truth.dtype, np.integer) else squared_errors
    alone, together = losses_of(predictions[0], truth), losses_of(mean, truth)
    gain = weights * (alone - together)
    error = float(gain.std() * np.sqrt(len(gain)))
    several, better = int((share > 0).sum()), float(gain.sum()) > SURE * error
    if several > 1 and better:
        order = [int(place) for place in heaviest if share[place] > 0]
        members, chosen = [pool[place] for place in order], tuple(share[order].tolist())
        why = f"the mean of {several} is significantly better than the best alone"
        loss = float(np.average(together, weights=weights))
    else:
        members, chosen = [pool[0]], (1.0,)
        loss = float(np.average(alone, weights=weights))
        why = "no mean of several is significantly better than the best alone"
    ensemble = {pool[place].number: float(share[place]) for place in np.flatnonzero(share)}
    return Found(race.candidates, folds, members, chosen, why, loss, pool[0], took, earlier, interrupted, ensemble)
