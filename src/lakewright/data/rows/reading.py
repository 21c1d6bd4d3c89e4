"""A pinned table as a task reads it, a batch at a time, any number of times: nothing is held between two batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.rows.arrays import KINDS, column_values
from lakewright.data.rows.kinds import Kind, whole_rows
from lakewright.data.rows.objects import Objects
from lakewright.system.progress import Advance, bar

if TYPE_CHECKING:
    from lakewright.data.lake.parts import Part
    from lakewright.data.lake.portions import Portion
    from lakewright.model.tasks import Reader, Task
    from lakewright.records import TableVersion
    from lakewright.settings.sections import TaskSettings

ROWS = 2048  # in a batch at most: with texts, more is not faster and costs memory
ROWS_OF_COLUMNS = 8192  # without texts: each column costs the same however many rows a batch has
BYTES = 4 << 20  # in a batch, about: fewer rows if texts are long


@dataclass(frozen=True, eq=False)
class Batch:
    rows: npt.NDArray[np.int64]  # their numbers in the table
    table: pa.Table  # the table's columns
    task_columns: pa.Table  # the columns as the task reads them: inputs, and `truth`
    kinds: Mapping[str, Kind]  # of the inputs

    @cached_property
    def values(self) -> dict[str, Any]:
        """Input → the value of each row, as recipe/values.py reads them: arrays, and lists of texts and words."""
        return {
            name: column_values(self.task_columns[name], kind)
            for name, kind in self.kinds.items()
            if name in self.task_columns.column_names
        }

    @cached_property
    def inputs(self) -> Sequence[dict[str, Any]]:
        """The rows as mappings."""
        return Objects(pa.chunked_array([self.task_columns.drop_columns("truth").to_struct_array().combine_chunks()]))

    @cached_property
    def truths(self) -> Sequence[Any]:
        return Objects(self.task_columns["truth"])


class Scans(Protocol):
    """A lake, or what stands for one where a part of a table is read."""

    def scan(self, table: TableVersion, columns: Sequence[str] | None = None) -> pa.RecordBatchReader: ...


class NoLake:
    """In the place of a lake, where a reading is sent to a worker, which has none."""

    def scan(self, table: TableVersion, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        raise AssertionError("a worker reads parts")


@dataclass(frozen=True, eq=False)
class PartOf:
    portion: Portion[Any]

    def scan(self, table: TableVersion, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.portion.shape.schema, self.portion.read())


@dataclass(frozen=True, eq=False)
class InputsAlone:
    """In the place of a task's reader, where every truth is null."""

    inputs: Callable[[pa.Table, Mapping[str, Any]], Mapping[str, pa.ChunkedArray]]
    roles: Mapping[str, Any]

    def read(self, table: pa.Table) -> pa.Table:
        return pa.table({**self.inputs(table, self.roles), "truth": pa.nulls(len(table), pa.string())})

    def merge(self, later: Self) -> None: ...

    def check(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Reading:
    """Each iteration streams the table again, in the table's order."""

    lake: Scans
    table: TableVersion
    task: type[Task]
    settings: TaskSettings
    roles: Mapping[str, Any]  # role → column or columns
    inputs: Mapping[str, Kind]
    columns: Sequence[str]  # all columns to read
    selection: npt.NDArray[np.bool_] | None = field(default=None)  # the table's rows to read; None: all
    # Reads the inputs of a table without a column of truths: every truth is null then. None: the task reads both.
    inputs_alone: Callable[[pa.Table, Mapping[str, Any]], Mapping[str, pa.ChunkedArray]] | None = None
    part: Part | None = None  # of the table, which alone is read; what only all rows together show is not checked
    progress: Advance | None = None  # None: a bar of its own, for a whole table

    def only(self, selection: npt.NDArray[np.bool_]) -> Reading:
        return replace(self, selection=selection)

    def of_part(self, portion: Portion[Any], progress: Advance | None) -> Reading:
        """Reads the part alone; `selection` is then of its rows."""
        return replace(self, lake=PartOf(portion), part=portion.part, progress=progress)

    @property
    def first(self) -> int:
        """The number of the first row that is read."""
        return 0 if self.part is None else self.part.first

    def __iter__(self) -> Iterator[Batch]:
        reader = self.reader()
        yield from self.batches(reader)
        if self.part is None:  # what only all rows together show
            reader.check()

    def reader(self) -> Reader:
        """The task's, which has read nothing."""
        if self.inputs_alone is None:
            return self.task.reader(self.roles, self.settings, self.first)
        return InputsAlone(self.inputs_alone, self.roles)

    def batches(self, reader: Reader) -> Iterator[Batch]:
        done = 0
        with self._bar() as advance:
            for table in self._tables():
                task_columns = reader.read(table)
                rows = np.arange(self.first + done, self.first + done + len(table))
                done += len(table)
                advance(len(table), "")
                if self.selection is not None:
                    places = np.flatnonzero(self.selection[done - len(table) : done])
                    if len(places) < len(rows):
                        rows, table, task_columns = rows[places], table.take(places), task_columns.take(places)
                if len(rows) or self.selection is None:
                    yield Batch(rows, table, task_columns, self.inputs)

    def _bar(self) -> AbstractContextManager[Advance]:
        if self.part is None:
            return bar(f"reading {self.table}", self.table.rows)
        return nullcontext(self.progress or (lambda rows, note: None))

    def texts(self, rows: Collection[int]) -> dict[int, tuple[str | None, Any]]:
        """The inputs as one text, and the truth, of a few rows, by number."""
        texts: dict[int, tuple[str | None, Any]] = {}
        if rows:
            selection = np.zeros(self.table.rows, np.bool_)
            selection[list(rows)] = True
            for batch in self.only(selection):
                pairs = zip(whole_rows(batch.task_columns, self.inputs), batch.truths, strict=True)
                texts.update(zip(batch.rows.tolist(), pairs, strict=True))
                if len(texts) == len(rows):
                    break
        return texts

    def values(self, column: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        """One column of the table at these rows (ascending), without the task."""
        values: list[Any] = []
        first = 0
        for batch in self.lake.scan(self.table, [column]):
            start, end = np.searchsorted(rows, [first, first + len(batch)])
            values += batch.column(0).take(pa.array(rows[start:end] - first)).to_pylist()
            first += len(batch)
        return values

    def _tables(self) -> Iterator[pa.Table]:
        """At least one table; one without rows if the table has none."""
        reader = self.lake.scan(self.table, self.columns)
        empty, most = True, ROWS_OF_COLUMNS if {*self.inputs.values()} <= KINDS else ROWS
        for batch in reader:
            parts = max(-(-batch.num_rows // most), -(-batch.nbytes // BYTES))
            size = -(-batch.num_rows // max(1, parts))
            for start in range(0, batch.num_rows, max(1, size)):
                empty = False
                yield pa.Table.from_batches([batch.slice(start, size)])
        if empty:
            yield reader.schema.empty_table()


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs' values in a reading's rows, a batch at a time; each iteration streams them again."""

    reading: Reading

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (batch.values for batch in self.reading)
