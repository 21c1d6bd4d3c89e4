"""The rows of the input that are not scored yet, streamed."""

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
WINDOW = 2048  # rows predicted together: sorted by length in the window, so that there is little padding


@dataclass(frozen=True, eq=False)
class Job:
    table: TableVersion  # the input, at the version that is scored
    kind: int
    since: int  # the version that was completely scored before; -1: none
    begin: int  # rows of the job that are scored already
    replaces: bool  # the output's rows are replaced
    why: str
    total: int | None  # rows of the job; None: not known
    batches: Iterator[pa.RecordBatch]  # of all its rows, always in the same order and in the same batches

    @property
    def rows(self) -> str:
        """The rows that the job counts from 0, for messages."""
        if self.kind == ALL:
            return str(self.table)
        return f"the rows of {self.table} that are new{f' since v{self.since}' * (self.kind == ADDED)}"

    def progress(self, rows: int, last: bool, model: int, explain: int | None, columns: int) -> Progress:
        """The progress after so many rows of the job are scored."""
        done = self.table.version if last else self.since
        return Progress(done, self.table.version, rows, self.kind, model, explain, columns)


def all_rows(lake: Lake, table: TableVersion, columns: Sequence[str], begin: int = 0, replaces: bool = False) -> Job:
    why = f"all rows of {table}" + _from_row(begin)
    return Job(table, ALL, -1, begin, replaces, why, table.rows, iter(lake.scan(table, columns)))


def new_rows(
    lake: Lake, pinned: TableVersion, output: str, progress: Progress, columns: Sequence[str], id: str | None
) -> Job | None:
    """The job that was interrupted, else the new rows up to the pinned version; None if there are no new rows.

    Raises UsageError if the version is older than the scored one, DataError if the new rows cannot be determined.
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
            "name no version, or score all its rows again (--full)",
        )
    between = f"{pinned.name} after v{since}, up to v{pinned.version}"
    because = "continuing the interrupted job" if progress.under_way and progress.kind == MISSING else ""
    if not because:
        try:
            total, batches = lake.added(pinned, since, columns)
            why = f"rows added to {between}" + _from_row(begin)
            return Job(pinned, ADDED, since, begin, False, why, total, iter(batches))
        except Rewritten as rewritten:
            because = rewritten.cause
    if id is None:
        raise DataError(
            f"the new rows of {between} cannot be determined: {because}",
            "name the column that identifies a row (--id NAME), or score all rows again (--full)",
        )
    why = f"rows of {pinned} whose {id} has no prediction yet ({because})"
    batches = _without_prediction(lake, pinned, output, columns, id)
    return Job(pinned, MISSING, since, 0, False, why, None, batches)


@dataclass(eq=False)
class Window:
    """Rows that are predicted together. A window's start depends on the table's files alone, never on the commits: no
    digit of a prediction changes with --commit-rows or after a kill."""

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
    """The parts of each commit, from the job's row `begin` on, at most `rows` rows; and whether it is the last."""
    parts: list[Part] = []
    count = size = 0
    for window in _windows(job.batches):
        for start in range(max(0, job.begin - window.first), window.rows.num_rows, rows):
            part = Part(window, start, min(start + rows, window.rows.num_rows))
            length = part.stop - part.start
            if parts and (count + length > rows or size + window.rows.nbytes > CHUNK_BYTES):
                yield parts, False
                parts, count, size = [], 0, 0
            parts.append(part)
            count, size = count + length, size + window.rows.nbytes
    if parts:
        yield parts, True


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
    """The rows whose id has no prediction; of rows with the same id, the first. An id takes 8 bytes in memory, 64 bits
    of its hash: with a million new rows and a million old ones, the chance that a new row is missed is about one in
    twenty million."""
    ids = (value for batch in lake.scan(lake.version(output), ["record_id"]) for value in batch[0].to_pylist())
    scored = np.unique(digests(ids))
    for batch in lake.scan(pinned, columns):
        hashes = digests(batch.column(id).to_pylist())
        distinct, first = np.unique(hashes, return_index=True)
        new = np.sort(first[~np.isin(distinct, scored)])
        if len(new):
            scored = np.union1d(scored, hashes[new])
            yield batch.take(pa.array(new))


def _from_row(begin: int) -> str:
    return f", from row {begin:,} on" if begin else ""
