"""The search itself: units in processes until the time is over.

Nothing is fitted again at the end: the networks of the folds are the model. Whatever is done lies in the folder of its
unit, so a search that is killed goes on from there, with the time that it has not used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.learning.members import HELD
from lakewright.racing import units
from lakewright.racing.on_workers import OnWorkers
from lakewright.racing.portfolio import MANY_CLASSES, VECTORS, ways_to_read
from lakewright.racing.processes import Processes
from lakewright.racing.race import Race, Unit
from lakewright.racing.selection import LEAST_FOLDS, Found, selected
from lakewright.racing.shared import Shared
from lakewright.system import jsonfile
from lakewright.system.files import write_whole
from lakewright.system.progress import bar

LARGE, MEDIUM = 20_000, 3_000  # rows: from these on, one or two first folds tell candidates apart
RESERVE, LEAST_RESERVE, MOST_RESERVE = 0.08, 0.5, 6.0  # share of the time, and seconds, for the end: joining networks
MOST_FOLDS = 8
TERMS = "terms"
TRIAL_ROUNDS = 30  # trees that tell what a fold costs
FOLDS, SPENT, PROPOSALS = "folds.json", "spent.json", "proposals.json"


def search(
    folder: Path,
    learners: Sequence[str],
    seconds: float,
    *,
    pool: Processes | OnWorkers,
    folds: int | None = None,
    trials: int | None = None,
    seed: int = 13,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Searches in `folder`, where `shared/` holds the examples. `folds` None: as many as the time allows. The pool's
    processes end with the search.

    Raises TrainingError if no candidate came to its end.
    """
    shared = Shared.open(folder / "shared")
    began = clock()
    with pool:
        folds = _folds(folder, shared, folds, seconds, pool)
        race = _race(folder, shared, learners, folds, pool.count, seed, trials)
        earlier = _replay(folder, race)
        left = seconds - earlier
        end = began + left - min(max(RESERVE * left, LEAST_RESERVE), MOST_RESERVE)
        interrupted = _run(folder, race, pool, folds, end, seconds, earlier, clock)
    return selected(folder, race, folds, clock() - began, earlier, interrupted, seconds)


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
            kept[candidate, fold] = np.load(units.unit_folder(folder, candidate, fold) / HELD)
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
        any(step.name == TERMS for step in shared.recipe.steps),
    )


def _folds(folder: Path, shared: Shared, folds: int | None, seconds: float, pool: Processes | OnWorkers) -> int:
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
        one = pool.submit(_cost_of_trees, folder / "shared").result() * 8
        able = (each for each in (8, 5) if one * each * 5 / pool.count < seconds / 2)
        folds = next((each for each in able if each < 8 or len(shared.examples) < LARGE), 3)
        folds = next(each for each in reversed(known_folds) if each <= folds or each == known_folds[0])
    write_whole(folder / FOLDS, json.dumps(folds))
    return folds


def _without_an_empty_one(shared: Shared) -> list[int]:
    """The numbers of folds that leave no fold without rows, ascending."""
    parts = shared.examples.parts
    assert parts is not None
    return [count for count in range(LEAST_FOLDS, MOST_FOLDS + 1) if len(np.unique(np.asarray(parts) % count)) == count]


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
    paths = (units.unit_folder(folder, candidate, fold) / units.OUTCOME for fold in folds)
    return [units.Outcome(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def _read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _write_proposals(folder: Path, race: Race) -> None:
    proposals = [{"settings": each.settings, "proposal": each.proposal} for each in race.candidates if each.proposal]
    write_whole(folder / PROPOSALS, jsonfile.text(proposals))


def _run(
    folder: Path,
    race: Race,
    pool: Processes | OnWorkers,
    folds: int,
    end: float,
    seconds: float,
    earlier: float,
    clock: Callable[[], float],
) -> bool:
    """Whether a person interrupted it."""
    running: dict[Future[units.Outcome], Unit] = {}
    suspects: list[Unit] = []  # one of them has killed its process: each again, alone
    began, done = clock(), 0
    try:
        with bar("automl", round(end - began)) as advance:
            while clock() < end:
                while len(running) < (1 if suspects else pool.count):
                    unit = suspects[0] if suspects else race.next(end - clock(), 1 - (end - clock()) / seconds)
                    if unit is None:
                        break
                    running[_submitted(pool, folder, race, unit, folds)] = unit
                if not running:
                    break
                finished, _ = wait(running, timeout=min(1.0, max(end - clock(), 0.0)), return_when=FIRST_COMPLETED)
                died: list[Unit] = []
                for future in finished:
                    unit = running.pop(future)
                    if unit in suspects:
                        suspects.remove(unit)
                    try:
                        race.tell(future.result())
                    except BrokenProcessPool:
                        died.append(unit)
                if died:
                    died += running.values()
                    running.clear()
                    pool.renew()
                    if len(died) == 1:
                        race.tell(_killed(died[0]))
                    else:
                        suspects += died
                write_whole(folder / SPENT, json.dumps(earlier + clock() - began))
                advance(max(0, round(clock() - began) - done), _progress(race))
                done = round(clock() - began)
    except KeyboardInterrupt:
        return True
    finally:
        for unit in [*running.values(), *suspects]:
            race.give_back(unit)
    return False


def _submitted(pool: Processes | OnWorkers, folder: Path, race: Race, unit: Unit, folds: int) -> Future[units.Outcome]:
    candidate, fold = unit
    if candidate.proposal and not candidate.losses:
        _write_proposals(folder, race)
    place = units.unit_folder(folder, candidate.number, fold)
    return pool.submit(units.run, folder / "shared", candidate.settings, candidate.number, fold, folds, place)


def _killed(unit: Unit) -> units.Outcome:
    candidate, fold = unit
    why = "its process was killed, which is how the system ends one when memory is short"
    return units.Outcome(candidate.number, fold, 0.0, failure=why)


def _progress(race: Race) -> str:
    best = race.complete()
    tried = sum(bool(each.losses) for each in race.candidates)
    shown = f", best: {best[0].learner} {best[0].loss(race.all):.5g}" if best else ""
    return f"{tried} candidates{shown}"
