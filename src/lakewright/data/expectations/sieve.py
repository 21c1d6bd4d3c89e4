"""The rows of a piece, checked a group at a time: which stay, which are dropped, and how many violate what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.expectations.conditions import columns_of
from lakewright.data.expectations.kinds import KINDS, compiled
from lakewright.data.lake.types import python_rows
from lakewright.errors import shown
from lakewright.settings.expectations import Expectation

VIOLATED, SOURCE_ROW = "violated_expectations", "source_row"  # columns of a quarantine, beside the source's
SHOWN = 5  # rows of a finding
ROWS, BYTES = 1 << 16, 32 << 20  # of a group


@dataclass
class Tally:
    """The rows that violate an expectation, of which some are shown."""

    count: int = 0
    rows: list[str] = field(default_factory=list)

    def add(self, count: int, rows: Sequence[str]) -> None:
        self.count += count
        self.rows += rows[: SHOWN - len(self.rows)]


def quarantined(schema: pa.Schema) -> pa.Schema:
    """The columns of the table of dropped rows."""
    beside = [pa.field(VIOLATED, pa.list_(pa.field("element", pa.string()))), pa.field(SOURCE_ROW, pa.int64())]
    return pa.schema([*schema, *beside])


class Sieve:
    """Of the expectations, those of one row at a time; the others are not looked at."""

    def __init__(self, expectations: Sequence[Expectation], schema: pa.Schema) -> None:
        """Raises ProjectError for an expectation that does not fit the columns."""
        self.expectations = [each for each in expectations if each.kind in KINDS]
        self.schema, self.rows = schema, 0
        self.tallies = {each.name: Tally() for each in self.expectations}
        self.dropped: list[pa.Table] = []
        self._violated = [compiled(each, schema) for each in self.expectations]
        self._shown = [_columns(each, schema) for each in self.expectations]
        self._drops = np.array([each.severity == "drop" for each in self.expectations], np.bool_)

    def kept(self, batches: Iterable[pa.RecordBatch], first: int) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """The rows that stay, and their numbers in the source, of rows that begin with number `first`. `rows` counts
        all that were seen, and `dropped` has those that do not stay."""
        for rows in groups(batches):
            violated = self.violated(rows)
            for tally, column, names in zip(self.tallies.values(), violated, self._shown, strict=True):
                places = np.flatnonzero(column)
                if len(places):
                    tally.add(len(places), examples(rows.select(names), places, first))
            drop: npt.NDArray[np.bool_] = np.any(violated[self._drops], axis=0)
            numbers = np.arange(first, first + len(rows))
            if drop.any():
                places = np.flatnonzero(drop)
                self.dropped.append(self.with_names(rows.take(places), numbers[places], violated[:, places]))
                rows, numbers = rows.filter(pa.array(~drop)), numbers[~drop]
            yield rows, numbers
            first += len(drop)
            self.rows += len(drop)

    def violated(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """[expectations, rows]"""
        masks = [each(rows).to_numpy() for each in self._violated]
        return np.array(masks, np.bool_).reshape(len(masks), len(rows))

    def with_names(
        self,
        rows: pa.Table,
        numbers: npt.NDArray[np.int64],
        violated: npt.NDArray[np.bool_],
        more: Sequence[str] = (),
    ) -> pa.Table:
        """Rows of a quarantine: `violated` [expectations, rows] are those of one row, and `more` by their names."""
        schema = quarantined(self.schema)
        _, which = np.nonzero(violated.T)
        ends = np.concatenate([[0], np.cumsum(violated.sum(axis=0))])
        names = pa.array([*(each.name for each in self.expectations), *more], pa.string()).take(pa.array(which))
        of_rows = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names, type=schema.field(VIOLATED).type)
        return pa.table([*rows.columns, of_rows, pa.array(numbers, pa.int64())], schema=schema)


def groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held, rows, size = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= ROWS or size >= BYTES:
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held)


def examples(rows: pa.Table, places: npt.NDArray[np.int64], first: int) -> list[str]:
    """The first of these rows, with their numbers and their values."""
    places = places[:SHOWN]
    values = python_rows(rows.take(places)) if rows.num_columns else [{} for _ in places]
    return [example(first + place, each) for place, each in zip(places.tolist(), values, strict=True)]


def example(number: int, values: dict[str, object]) -> str:
    each = [shown(value) if len(values) == 1 else f"{name} = {shown(value)}" for name, value in values.items()]
    return f"row {number}: {', '.join(each)}" if each else f"row {number}"


def _columns(each: Expectation, schema: pa.Schema) -> list[str]:
    """The columns that show why a row violates it: a null shows nothing."""
    if each.kind == "sql":
        return columns_of(each, schema.names)
    return [] if each.kind == "not_null" else list(each.columns)
