"""Values of feature tables for rows that are scored: what the table lacks and the model reads.

A row gets what was known at its time, if the table has the column of its time, and otherwise what is known now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from lakewright.data.features import TIME
from lakewright.data.features.joining import Lookup, Stored, check, looked_up
from lakewright.data.lake.duck import session
from lakewright.data.lake.names import TableName
from lakewright.data.lake.portions import check_seen
from lakewright.data.lake.types import storable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lakewright.data.lake.parts import Window
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion
    from lakewright.workers import Workers

NOW = "(the time of scoring)"  # a column beside those of the table


@dataclass(eq=False)
class Values:
    """Sent to another process, it reads the feature tables there, once."""

    stored: tuple[Stored, ...]
    time: str | None  # the column of each row's time; None: as of `now`
    now: datetime
    _opened: list[tuple[Lookup, DuckDBPyConnection]] | None = None
    _open: ExitStack | None = None

    @classmethod
    def of(
        cls,
        lake: Lake,
        table: TableVersion,
        schema: pa.Schema,
        described: Sequence[Mapping[str, Any]],
        inputs: Collection[str],
        time: str | None,
        workers: Workers,
        columns: Mapping[str, str] = {},
    ) -> Self | None:
        """Of the lookups that a model folder describes, those of which the table lacks an input; None: it lacks none.

        `columns` maps a key's name in a row to the table's column, where that has another name. Raises DataError where
        it lacks the key as well, NotFound where there is no such feature table.
        """
        at, now = time if time in schema.names else None, datetime.now(UTC)
        lookups = []
        for each in described:
            absent = {
                value: name for value, name in each["values"].items() if name in inputs and name not in schema.names
            }
            if absent:
                keys = {key: columns.get(column, column) for key, column in each["keys"].items()}
                lookups.append(Lookup.of(lake, str(TableName.parse(each["table"])[0]), keys, absent))
        if not lookups:
            return None
        with_time = schema if at is not None else schema.append(pa.field(NOW, TIME))
        check(table, with_time, at or NOW, lookups)
        stored = tuple(Stored.of(lake, each) for each in lookups)
        for one in stored:
            check_seen(workers, one.location)
        return cls(stored, at, now)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_open": None}

    @property
    def versions(self) -> list[TableVersion]:
        return [each.lookup.version for each in self.stored]

    @property
    def schema(self) -> pa.Schema:
        """The columns that are joined."""
        of = [
            (each.lookup.table.values[before], after)
            for each in self.stored
            for before, after in each.lookup.values.items()
        ]
        return storable(pa.schema([pa.field(name, kind) for kind, name in of]))

    @property
    def reads(self) -> list[str]:
        """The columns of the rows by which values are looked up."""
        keys = [column for each in self.stored for column in each.lookup.keys.values()]
        return [*keys, *([] if self.time is None else [self.time])]

    def joined(self, windows: Iterable[Window], unknown: Counter[str]) -> Iterator[Window]:
        """The windows, a part's, with the values beside their rows; `unknown` counts the rows of the part without."""
        several = list(windows)
        rows = pa.Table.from_batches([each.rows for each in several])
        time = self.time
        if time is None:
            time = NOW
            rows = rows.append_column(time, pa.array([self.now] * len(rows), TIME))
        columns: dict[str, pa.ChunkedArray] = {}
        for lookup, connection in self._values():
            columns |= looked_up(rows, time, lookup, connection, Counter())
        begin = 0
        for window in several:
            batch = window.rows
            for field in self.schema:
                column = columns[field.name].slice(begin, batch.num_rows).cast(field.type).combine_chunks()
                unknown[field.name] += column.slice(window.start, window.stop - window.start).null_count
                batch = batch.append_column(field, column)
            begin += batch.num_rows
            yield replace(window, rows=batch)

    def _values(self) -> list[tuple[Lookup, DuckDBPyConnection]]:
        if self._opened is None:
            self._open, self._opened = ExitStack(), []
            for each in self.stored:
                connection = self._open.enter_context(session())
                connection.register("of the lake", each.rows())
                connection.execute('CREATE TABLE stored AS SELECT * FROM "of the lake"')
                connection.unregister("of the lake")
                self._opened.append((each.lookup, connection))
        return self._opened

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._opened = None
