"""Amazon Redshift: PostgreSQL's protocol without COPY to the client, so rows come in pages by a key."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from lakewright.data.databases.postgresql import PostgreSQL
from lakewright.data.databases.types import Column, Read, as_declared, cannot_be_read, schema_of, selected
from lakewright.errors import DataError, UsageError

PAGE = 50_000  # rows: the driver holds a page whole


class Redshift(PostgreSQL):
    statement_options: ClassVar[Mapping[str, str]] = {"adbc.postgresql.use_copy": "false"}
    text: ClassVar[str] = "varchar(65535)"  # its text has 256 characters

    def key(self, table: Sequence[str]) -> list[str]:
        return []  # primary keys are declared and not enforced

    def read(
        self, rows: str, columns: Sequence[Column], order_by: Sequence[str]
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch, None, None]]:
        if not order_by:
            raise UsageError(
                f"{self.address} is read in pages, and no column orders its rows",
                "name a column with another value in each row: data.options: {order_by: id}",
            )
        (key,) = order_by
        (measured,) = self.rows(
            f"select count(*), count({self.quoted(key)}), count(distinct {self.quoted(key)}) from {rows} as rows"
        )
        if measured[1] != measured[0] or measured[2] != measured[0]:
            raise DataError(
                f"{self.address} is read in pages by {key!r}, which has no value in some row, or another row's value",
                "name a column with another value in each row: data.options: {order_by: id}",
            )
        reads = [self._read(column) for column in columns]
        schema = schema_of(reads, {})
        return schema, as_declared(self._pages(rows, reads, key), schema)

    def state(self, rows: str, columns: Sequence[Column], changed: str | None) -> list[Any]:
        if changed is None:
            raise UsageError(
                f"whether {self.address} changed cannot be seen",
                "name the column that shows it: data.options: {changed: updated_at}",
            )
        return super().state(rows, columns, changed)

    def _pages(self, rows: str, reads: Sequence[Read], key: str) -> Generator[pa.RecordBatch, None, None]:
        names = selected(reads, [self.quoted(read.name) for read in reads])
        ordered = f"order by {self.quoted(key)} limit {PAGE}"
        last: tuple[Any, ...] = ()
        while True:
            after = f" where {self.quoted(key)} > $1" if last else ""
            page = f"select {names}, {self.quoted(key)} as lakewright_key from {rows} as rows{after} {ordered}"
            read = 0
            for batch in self._stream(page, *last):
                read += batch.num_rows
                *columns, keys = batch.columns
                last = (keys[-1].as_py(),) if batch.num_rows else last
                yield pa.RecordBatch.from_arrays(columns, names=[each.name for each in reads])
            if read < PAGE:
                return

    def _read(self, column: Column) -> Read:
        read = super()._read(column)
        if read.kind is None:
            raise cannot_be_read(column.name, "decimals of no certain number of digits", None)
        return Read(read.name, read.sql, read.kind)  # it has neither NaN nor infinite times

    def _snapshot(self) -> None:
        self.connection.rollback()  # each transaction is a snapshot
