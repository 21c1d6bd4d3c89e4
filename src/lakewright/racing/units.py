"""The smallest work of a search: one candidate, trained outside one fold, predicts the fold. Each in a process.

A unit lies in a folder of its own, which a second attempt finds again: the network, what it predicted, and how long it
took. The network is exactly that which the learner `ensemble` would train for the same settings.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import LakewrightError
from lakewright.learning import members
from lakewright.learning.blending import log_losses, squared_errors
from lakewright.learning.members import held_out, member_of
from lakewright.racing.portfolio import learner_of
from lakewright.racing.shared import Shared
from lakewright.system import jsonfile
from lakewright.system.files import write_whole
from lakewright.system.memory import limit

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """What a unit gave."""

    candidate: int
    fold: int
    seconds: float
    loss: float = 0.0  # on the fold: log loss or squared error, by the rows' weights
    failure: str = ""  # why it gave nothing


def unit_folder(folder: Path, candidate: int, fold: int) -> Path:
    return folder / "units" / f"{candidate:03d}" / str(fold)


def run(shared: Path, settings: Mapping[str, Any], candidate: int, fold: int, folds: int, folder: Path) -> Outcome:
    """Trains and predicts, or finds what an earlier attempt left in the folder. A learner's own error is an outcome."""
    began = time.monotonic()
    if (folder / OUTCOME).exists():
        return Outcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    try:
        loss = _loss(Shared.open(shared), settings, candidate, fold, folds, folder)
    except LakewrightError as error:
        return Outcome(candidate, fold, time.monotonic() - began, failure=error.cause)
    except MemoryError:
        why = "its memory is short: raise workers.memory, or run fewer processes (profiles.yml)"
        return Outcome(candidate, fold, time.monotonic() - began, failure=why)
    except (ValueError, ArithmeticError) as error:
        return Outcome(candidate, fold, time.monotonic() - began, failure=f"{type(error).__name__}: {error}")
    outcome = Outcome(candidate, fold, time.monotonic() - began, loss)
    write_whole(folder / OUTCOME, jsonfile.text(asdict(outcome)))
    return outcome


def _loss(shared: Shared, settings: Mapping[str, Any], candidate: int, fold: int, folds: int, folder: Path) -> float:
    training = shared.training(folder)
    own, without = learner_of(settings)
    member = member_of(candidate, own, training, without)
    view = member.view(shared.examples)
    learn, held = rows_of(shared, fold, folds)
    shown = view.take(held)
    values = held_out(replace(training, train=view.take(learn), validation=shown), member)
    truth = truths(shared)[held]
    losses = log_losses(values, truth) if shared.task.truth == "class" else squared_errors(values, truth)
    return float(np.average(losses, weights=shown.weights))


def rows_of(shared: Shared, fold: int, folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to learn from, and those to predict."""
    return members.rows_of(shared.examples, shared.train, fold, folds)


def truths(shared: Shared) -> NDArray[Any]:
    """[rows] Places of classes, or numbers."""
    kind = np.int64 if shared.task.truth == "class" else np.float64
    return np.asarray(shared.examples.targets.values).astype(kind)


def alone(memory: int | None = None) -> None:
    """Makes this process one thread of the search: its libraries compute with one thread each. `memory`: the bytes that
    it may have."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which ends its processes
    threading.Thread(target=_end_with_the_search, name="parent", daemon=True).start()
    os.environ["TTY_COMPATIBLE"] = "0"  # no progress bar: several processes would draw over each other
    os.dup2(2, 1)  # what a library prints belongs to no result
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(1)
    if memory is not None:
        limit(memory)


def _end_with_the_search() -> None:
    """Ends this process when the search was killed. Its own parent does not tell: that is the server of processes,
    which itself lives as long as one of them."""
    search = multiprocessing.parent_process()
    if search is not None:
        search.join()
        os._exit(1)
