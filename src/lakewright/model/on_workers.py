"""A model folder on whichever machine a part is computed, and its predictions of many rows by the workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.parts import ROWS
from lakewright.errors import ModelError
from lakewright.model.predictor import Predictor
from lakewright.workers.local import LocalWorkers
from lakewright.workers.parts import at_once, computed

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Prediction, Row
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers

OPENING = threading.Lock()  # some workers are threads of one process


@dataclass(eq=False)
class OnWorkers:
    """Sent to another process, it opens the folder there, once."""

    folder: Callable[[], Path]  # on the machine that computes
    digest: str
    runtime: str
    threads: int
    opened: Predictor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    @property
    def predictor(self) -> Predictor:
        """Raises ModelError where the folder there is not the one here."""
        with OPENING:
            if self.opened is None:
                folder = self.folder()
                self.opened = Predictor.open(folder, self.runtime, self.threads)
                if self.opened.digest != self.digest:
                    raise ModelError(
                        f"the model folder {folder} of a worker is not the one that is scored with",
                        "let all machines see the same folder, and change nothing in it",
                    )
        return self.opened


@dataclass(frozen=True, eq=False)
class _Some:
    values: Sequence[Row]

    @property
    def rows(self) -> int:
        return len(self.values)


@dataclass(eq=False)
class _Predict:
    model: OnWorkers

    def __call__(self, some: _Some, advance: Advance | None) -> tuple[list[Prediction], float]:
        predictor, began = self.model.predictor, time.perf_counter()
        predictions = predictor.predict(some.values, lambda rows: advance and advance(rows, ""))
        return predictions, time.perf_counter() - began


def predict(
    predictor: Predictor, rows: Sequence[Row], open_workers: Callable[[], Workers], threads: int
) -> tuple[list[Prediction], float]:
    """The predictions of the rows, and the seconds that computing them took, of all workers together. Rows of one part
    are predicted here, and no worker is begun. `predictor` was opened with so many threads."""
    workers = open_workers() if len(rows) > ROWS else LocalWorkers(1, threads)
    most = at_once(workers, len(rows), ROWS)
    model = OnWorkers(workers.bring(predictor.folder), predictor.digest, "auto", workers.threads(most), predictor)

    def parts() -> Iterator[_Some]:
        for start in range(0, len(rows), ROWS):
            yield _Some(rows[start : start + ROWS])

    predictions: list[Prediction] = []
    seconds = 0.0
    for some, took in computed(workers, _Predict(model), parts(), most, title="predict", rows=len(rows)):
        predictions += some
        seconds += took
    return predictions, seconds
