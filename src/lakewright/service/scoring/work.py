"""A part of the rows → one file of predictions, on a worker."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.lake.parts import Window, Written
from lakewright.data.lake.portions import Portion
from lakewright.errors import DataError
from lakewright.model.on_workers import OnWorkers
from lakewright.service.scoring.predictions import Columns, Predicted, Scoring, Tally
from lakewright.service.scoring.rows import Job
from lakewright.service.scoring.values import Values

if TYPE_CHECKING:
    from lakewright.system.progress import Advance


@dataclass(frozen=True)
class Done:
    """A part whose predictions are written into a file."""

    file: Written
    tally: Tally
    host: str
    unknown: Counter[str]  # input → the part's rows of which no feature table has it


@dataclass(eq=False)
class Work:
    """How parts are scored, wherever that is. Sent to another process, it opens the model folder there."""

    model: OnWorkers
    name: str  # the value of the column `model`
    columns: Columns
    schema: pa.Schema
    least_confidence: float
    explain: int  # reasons a row
    job: Job
    values: Values | None  # inputs that the table lacks
    abstained: int = 0  # of the rows so far, where the parts came back
    _last: tuple[tuple[str, int], Predicted] | None = None  # a window whose other rows are the next part's, often

    def __getstate__(self) -> dict[str, Any]:
        job = replace(self.job, files=())
        return {**self.__dict__, "job": job, "_last": None}

    def __call__(self, portion: Portion[None], advance: Advance | None) -> Done:
        """Scores a part."""
        tally, unknown = Tally(), Counter[str]()
        self.model.predictor  # noqa: B018 - its errors come before a file is begun
        file = portion.write(self._batches(portion, tally, unknown, advance), self.schema)
        return Done(file, tally, socket.gethostname(), unknown)

    def note(self, done: Done) -> str:
        """For the progress bar."""
        self.abstained += done.tally.abstained
        return _abstained(self.abstained)

    def _batches(
        self, portion: Portion[None], tally: Tally, unknown: Counter[str], advance: Advance | None
    ) -> Iterator[pa.RecordBatch]:
        windows = portion.windows()
        for window in windows if self.values is None else self.values.joined(windows, unknown):
            batch = self._batch(window, tally)
            if advance is not None:
                advance(batch.num_rows, _abstained(self.abstained + tally.abstained))
            yield batch

    def _batch(self, window: Window, tally: Tally) -> pa.RecordBatch:
        job, last = self.job, self._last
        if last is None or last[0] != window.place:
            _check_finite(window, job, self.columns.inputs.values())
            scoring = Scoring(self.model.predictor, self.columns, self.least_confidence, self.explain)
            try:
                last = self._last = window.place, scoring.predict(window.rows, window.first)
            except DataError as error:
                raise DataError(f"{job.rows}: {error.cause}", error.remedy) from None
        size = window.stop - window.start
        predicted = last[1].slice(window.start, size)
        rows = window.rows.slice(window.start, size)
        common = {
            "model": self.name,
            "model_digest": self.model.digest,
            "input_table": job.table.name,
            "input_version": job.table.version,
            "scored_at": datetime.now(UTC),
        }
        values: dict[str, Any] = {
            "record_id": _record_ids(rows, job, window.first + window.start, self.columns.id),
            "abstain": predicted.abstain,
            **{name: [value] * size for name, value in common.items()},
            **{name: rows.column(name) for name in self.columns.keep},
        }
        abstained, without = predicted.abstain.true_count, predicted.without.true_count
        tally += Tally(size, without, abstained - without)
        arrays = [
            pa.array(values[field.name], field.type)
            if field.name in values
            else predicted.columns.column(field.name).cast(field.type)
            for field in self.schema
        ]
        return pa.record_batch(arrays, schema=self.schema)


def _abstained(rows: int) -> str:
    return f"{rows:,} abstained" if rows else ""


def _check_finite(window: Window, job: Job, columns: Iterable[str]) -> None:
    """Raises DataError for an infinite number."""
    for name in columns:
        column = window.rows.column(name)
        at = pc.index(pc.is_inf(column), True).as_py() if pa.types.is_floating(column.type) else -1
        if at >= 0:
            raise DataError(
                f"the column {name!r} of {job.rows} is infinite in row {window.first + at}",
                "correct the number at the source, or make it null in SQL",
            )


def _record_ids(rows: pa.RecordBatch, job: Job, first: int, id: str | None) -> list[str]:
    if id is None:
        return [f"{job.table.version}:{number}" for number in range(first, first + rows.num_rows)]
    ids = rows.column(id).to_pylist()
    if None in ids:
        raise DataError(
            f"the column {id!r} of {job.rows} is null in row {first + ids.index(None)}",
            "fill it, name another column (--id), or exclude such rows in SQL",
        )
    return [str(value) for value in ids]
