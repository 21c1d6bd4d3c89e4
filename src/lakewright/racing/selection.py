"""The models that stay when a search ends, and their weights: one candidate, or the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.learning.blending import log_losses, shares, squared_errors
from lakewright.racing.race import Candidate, Race
from lakewright.racing.units import unit_folder

LEAST_FOLDS = 3
MOST_MEMBERS, MOST_BYTES = 8, 28_000_000  # of the mean
MOST_OF_A_FAMILY = 6  # candidates that may be mixed: twins add nothing
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
    fewer = ", or fewer folds (automl.folds: 3)" if folds > LEAST_FOLDS else ""
    return TooShort(
        f"no candidate came to its end within {seconds:.3g} s of {folds} folds: {begun}",
        f"give it more time, {needed / 60:.2g} minutes or more (--minutes, automl.minutes){fewer}",
    )


def selected(
    folder: Path, race: Race, folds: int, took: float, earlier: float, interrupted: bool, seconds: float
) -> Found:
    """The recommended model: one candidate, or the mean of several where that is significantly better.

    Raises TrainingError if no candidate came to its end.
    """
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
    for each in complete:
        if sum(other.family == each.family for other in pool) < MOST_OF_A_FAMILY:
            pool.append(each)
    truth, weights = race.rows(race.all)
    pool, share = _mixed(folder, race, pool)
    predictions = race.predictions([complete[0], *pool], race.all)
    mean = np.tensordot(share, np.stack(predictions[1:]), axes=1)
    losses_of: Any = log_losses if np.issubdtype(truth.dtype, np.integer) else squared_errors
    alone, together = losses_of(predictions[0], truth), losses_of(mean, truth)
    gain = weights * (alone - together)
    error = float(gain.std() * np.sqrt(len(gain)))
    several, better = int((share > 0).sum()), float(gain.sum()) > SURE * error
    if several > 1 and better:
        order = [int(place) for place in np.argsort(-share, kind="stable") if share[place] > 0]
        members, chosen = [pool[place] for place in order], tuple(share[order].tolist())
        why = f"the mean of {several} is significantly better than the best alone"
        loss = float(np.average(together, weights=weights))
    else:
        members, chosen = [complete[0]], (1.0,)
        loss = float(np.average(alone, weights=weights))
        why = "no mean of several is significantly better than the best alone"
    ensemble = {pool[place].number: float(share[place]) for place in np.flatnonzero(share)}
    return Found(
        race.candidates, folds, members, chosen, why, loss, complete[0], took, earlier, interrupted, ensemble
    )  # fmt: skip


def _mixed(folder: Path, race: Race, pool: Sequence[Candidate]) -> tuple[list[Candidate], NDArray[np.float64]]:
    """The candidates that may be mixed, and the share of each: MOST_MEMBERS have one at most, and their networks
    together MOST_BYTES."""
    truth, weights = race.rows(race.all)
    pool = [*pool]
    while True:
        share = shares(race.predictions(pool, race.all), truth, weights)
        heaviest = np.argsort(-share, kind="stable")[:MOST_MEMBERS]
        share = np.where(np.isin(np.arange(len(share)), heaviest), share, 0.0)
        sizes = np.cumsum([_bytes(folder, pool[place].number, race.all) for place in heaviest if share[place] > 0])
        if sizes[-1] <= MOST_BYTES or len(sizes) == 1:
            return pool, share / share.sum()
        del pool[int(heaviest[np.argmax(sizes > MOST_BYTES)])]


def _bytes(folder: Path, candidate: int, folds: Sequence[int]) -> int:
    """Of a candidate's networks of all folds."""
    return sum((unit_folder(folder, candidate, fold) / "model.safetensors").stat().st_size for fold in folds)
