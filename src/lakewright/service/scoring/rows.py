"""Which rows of the input are still to be scored, and the rows themselves, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lakewright.data.lake.appended import Rewritten
from lakewright.data.rows.keys import digests
from lakewright.errors import DataError, UsageError
from lakewright.records import TableVersion
from lakewright.service.scoring.ledger import ADDED, ALL, MISSING, Progress

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.service.scoring.predictions import Predicted

CHUNK_BYTES = 64 << 20  # of input rows that wait for their commit
WINDOW = 2048  # rows predicted at once: within them the longest come first, so that little is padded


@dataclass(frozen=True, eq=False)
class Job:
    table: TableVersion  # the input, at the version that is scored
    kind: int
    since: int  # the version that was scored whole before; -1: none
    begin: int  # rows of the job that are there already
    replaces: bool  # what the output holds goes
    why: str
    total: int | None  # rows of the job, where that is known
    batches: Iterator[pa.RecordBatch]  # of all its rows, always in the same order and cut alike

    def progress(self, rows: int, last: bool, model: int) -> Progress:
        """Where things stand once so many of the job's rows are there."""
        return Progress(self.table.version if last else self.since, self.table.version, rows, self.kind, model)


def all_rows(lake: Lake, table: TableVersion, columns: Sequence[str], begin: int = 0, replaces: bool = False) -> Job:
    why = f"all rows of {table}" + _from_row(begin)
    return Job(table, ALL, -1, begin, replaces, why, table.rows, iter(lake.scan(table, columns)))


def new_rows(
    lake: Lake, pinned: TableVersion, output: str, progress: Progress, columns: Sequence[str], id: str | None
) -> Job | None:
    """What was begun and not ended, else what is new up to the pinned version; None where there is nothing new.

    Raises UsageError for a version before the one that is scored, DataError where nothing tells which rows are new.
    """
    begin, since = 0, progress.done
    if progress.under_way:
        pinned, begin = lake.version(f"{pinned.name}@v{progress.target}"), progress.rows
        if progress.kind == ALL:
            return all_rows(lake, pinned, columns, begin)
    if pinned.version == since:
        return None
    if pinned.version < since:
        raise UsageError(
            f"{output} holds predictions up to {pinned.name}@v{since}, which is newer than v{pinned.version}",
            "leave the version out, or score all its rows again (--full)",
        )
    between = f"{pinned.name} after v{since}, up to v{pinned.version}"
    because = "as it was begun" if progress.under_way and progress.kind == MISSING else ""
    if not because:
        try:
            total, batches = lake.added(pinned, since, columns)
            why = f"rows added to {between}" + _from_row(begin)
            return Job(pinned, ADDED, since, begin, False, why, total, iter(batches))
        except Rewritten as told:
            because = told.cause
    if id is None:
        raise DataError(
            f"which rows are new in {between}, cannot be told: {because}",
            "name the column that identifies a row (--id NAME), or score all rows again (--full)",
        )
    why = f"rows of {pinned} whose {id} has no prediction yet ({because})"
    batches = _without_prediction(lake, pinned, output, columns, id)
    return Job(pinned, MISSING, since, 0, False, why, None, batches)


@dataclass(eq=False)
class Window:
    """Rows that are predicted together. Where it begins hangs on the table's files alone, never on what was committed
    at once: a prediction does not change, not even in its last digit, with --commit-rows or after a kill."""

    rows: pa.RecordBatch
    first: int  # the number of its first row in the job
    predictions: Predicted | None = None  # once they are computed


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a window that are committed together."""

    window: Window
    start: int
    stop: int


def commits(job: Job, rows: int) -> Iterator[tuple[list[Part], bool]]:
    """What is committed at once, from the job's row `begin` on: at most so many rows; and whether they are the last."""
    held: list[Part] = []
    count = size = 0
    for window in _windows(job.batches):
        for start in range(max(0, job.begin - window.first), window.rows.num_rows, rows):
            part = Part(window, start, min(start + rows, window.rows.num_rows))
            taken = part.stop - part.start
            if held and (count + taken > rows or size + window.rows.nbytes > CHUNK_BYTES):
                yield held, False
                held, count, size = [], 0, 0
            held.append(part)
            count, size = count + taken, size + window.rows.nbytes
    if held:
        yield held, True


def _windows(batches: Iterable[pa.RecordBatch]) -> Iterator[Window]:
    first = 0
    for batch in batches:
        for start in range(0, batch.num_rows, WINDOW):
            rows = batch.slice(start, WINDOW)
            yield Window(rows, first + start)
        first += batch.num_rows


def _without_prediction(
    lake: Lake, pinned: TableVersion, output: str, columns: Sequence[str], id: str
) -> Iterator[pa.RecordBatch]:
    """Of rows that share an id, the first. Ids are held as 8 bytes each: 64 bits of their hash, so that of a million
    new rows beside a million old ones one is taken for known with a chance of one in twenty million."""
    there = (value for batch in lake.scan(lake.version(output), ["record_id"]) for value in batch[0].to_pylist())
    seen = np.unique(digests(there))
    for batch in lake.scan(pinned, columns):
        hashes = digests(batch.column(id).to_pylist())
        distinct, first = np.unique(hashes, return_index=True)
        new = np.sort(first[~np.isin(distinct, seen)])
        if len(new):
            seen = np.union1d(seen, hashes[new])
            yield batch.take(pa.array(new))


def _from_row(begin: int) -> str:
    return f", from row {begin:,} on" if begin else ""
