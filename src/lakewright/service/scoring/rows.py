"""The rows of the input that are not scored yet, as parts of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lakewright.data.lake.appended import Rewritten
from lakewright.data.lake.parts import File, Part, Slice, read
from lakewright.data.rows.keys import digests
from lakewright.errors import DataError, UsageError
from lakewright.records import TableVersion
from lakewright.service.scoring.ledger import ADDED, ALL, MISSING, Progress

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.service.scoring.outputs import Output


@dataclass(frozen=True, eq=False)
class Job:
    table: TableVersion  # the input, at the version that is scored
    kind: int
    since: int  # the version that was completely scored before; -1: none
    begin: int  # rows of the job that are scored already
    replaces: bool  # the output's rows are replaced
    why: str
    files: Sequence[File]  # that hold its rows, always in the same order

    @property
    def total(self) -> int:
        """Rows of the job."""
        return sum(file.count(0, file.rows) for file in self.files)

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


def all_rows(lake: Lake, table: TableVersion, begin: int = 0, replaces: bool = False) -> Job:
    return Job(table, ALL, -1, begin, replaces, f"all rows of {table}" + _from_row(begin), lake.files(table))


def new_rows(lake: Lake, pinned: TableVersion, output: Output, progress: Progress, id: str | None) -> Job | None:
    """The job that was interrupted, else the new rows up to the pinned version; None if there are no new rows.

    Raises UsageError if the version is older than the scored one, DataError if the new rows cannot be determined.
    """
    begin, since = 0, progress.done
    if progress.under_way:
        pinned, begin = lake.version(f"{pinned.name}@v{progress.target}"), progress.rows
        if progress.kind == ALL:
            return all_rows(lake, pinned, begin)
    if pinned.version == since:
        return None
    if pinned.version < since:
        raise UsageError(
            f"{output.name} holds predictions up to {pinned.name}@v{since}, which is newer than v{pinned.version}",
            "name no version, or score all its rows again (--full)",
        )
    between = f"{pinned.name} after v{since}, up to v{pinned.version}"
    because = "continuing the interrupted job" if progress.under_way and progress.kind == MISSING else ""
    if not because:
        try:
            why = f"rows added to {between}" + _from_row(begin)
            return Job(pinned, ADDED, since, begin, False, why, lake.files(pinned, since))
        except Rewritten as rewritten:
            because = rewritten.cause
    if id is None:
        raise DataError(
            f"the new rows of {between} cannot be determined: {because}",
            "name the column that identifies a row (--id NAME), or score all rows again (--full)",
        )
    why = f"rows of {pinned} whose {id} has no prediction yet ({because})"
    return Job(pinned, MISSING, since, 0, False, why, [*_without_prediction(lake, pinned, output.ids(), id)])


def _without_prediction(lake: Lake, pinned: TableVersion, ids: Iterator[str], id: str) -> Iterator[File]:
    """The files with rows whose id has no prediction, and of them these rows; of rows with the same id, the first. An
    id takes 8 bytes in memory, 64 bits of its hash: with a million new rows and a million old ones, the chance that a
    new row is missed is about one in twenty million."""
    scored = np.unique(digests(ids))
    shape, place = lake.shape(pinned, [id]), lake.place(pinned)
    for file in lake.files(pinned):
        every = Slice(file, 0, file.rows)
        batches = read(Part(0, file.count(0, file.rows), (every,)), shape, place)
        hashes = digests(value for batch in batches for value in batch.column(0).to_pylist())
        distinct, first = np.unique(hashes, return_index=True)
        new = np.sort(first[~np.isin(distinct, scored)])
        if len(new):
            scored = np.union1d(scored, hashes[new])
            yield file.only(every.places()[new])


def _from_row(begin: int) -> str:
    return f", from row {begin:,} on" if begin else ""
