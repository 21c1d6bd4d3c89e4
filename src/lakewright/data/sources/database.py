"""A table of a database by its address, `postgresql://HOST/DATABASE/SCHEMA.TABLE`, or the rows of a query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked
from lakewright.errors import NotFound, UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.databases import Database
    from lakewright.data.databases.address import Address
    from lakewright.data.databases.types import Column

_OPTIONS = {"query", "order_by", "changed"}


class DatabaseSource:
    """Options: `query` (in place of a table), `order_by` (a column: the order of the rows; by default a table's primary
    key) and `changed` (a column whose newest value changes when any row does; by default all rows are compared).

    The storage options PGUSER and PGPASSWORD (REDSHIFT_…, MYSQL_…) are the user and the password.
    """

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        with ExitStack() as opened:
            chosen = _Chosen.of(uri, options)
            database = opened.enter_context(chosen.connected(storage_options))
            columns = chosen.columns(database)
            kept = set(intake.kept([column.name for column in columns]))
            schema, batches = database.read(
                chosen.rows(database), [each for each in columns if each.name in kept], chosen.order(database)
            )
            reader = checked(schema, _closing(database, batches), str(chosen.address), intake)
            opened.pop_all()  # the last of its rows closes the connection
        return reader

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        chosen = _Chosen.of(uri, options)
        with chosen.connected(storage_options) as database:
            columns = [each for each in chosen.columns(database) if each.name not in intake.exclude]
            rows = database.state(chosen.rows(database), columns, chosen.changed)
        described = [[each.name, each.type, each.digits] for each in columns]
        state = [str(chosen.address), chosen.query, chosen.order_by, described, rows]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()


@dataclass(frozen=True)
class _Chosen:
    """What is read of a database."""

    address: Address
    query: str | None
    order_by: str | None
    changed: str | None

    @classmethod
    def of(cls, uri: str, options: Mapping[str, Any]) -> _Chosen:
        from lakewright.data.databases.address import Address

        address = Address.parse(uri)
        check_options(options, _OPTIONS, address.kind)
        for name, value in options.items():
            if not isinstance(value, str):
                raise UsageError(f"data.options.{name} is {value!r}, which is no text", "write a query, or a column")
        query: str | None = options.get("query")
        if (query is None) != bool(address.table):
            cause = f"{address} names no table" if query is None else f"{address} names a table, and there is a query"
            raise UsageError(
                cause, f"name a table ({address.kind}://HOST/DATABASE/SCHEMA.TABLE), or a query (data.options.query)"
            )
        return cls(address, query, options.get("order_by"), options.get("changed"))

    def connected(self, secrets: Mapping[str, str]) -> Database:
        from lakewright.data.databases import connect

        return connect(self.address, secrets)

    def rows(self, database: Database) -> str:
        """As SQL reads from them."""
        if self.query is None:
            return database.quoted(*self.address.table)
        return f"({self.query.strip().rstrip(';')}\n)"  # a line of its own: the query may end in a comment

    def columns(self, database: Database) -> list[Column]:
        """Raises NotFound for a table or a column that does not exist."""
        try:
            columns = database.describe(self.rows(database))
        except NotFound as failure:
            if self.query is not None:
                raise
            raise NotFound(
                f"there is no table {self.address}", nearest(self.address.name, database.tables())
            ) from failure
        names = [column.name for column in columns]
        for option, name in (("order_by", self.order_by), ("changed", self.changed)):
            if name is not None and name not in names:
                raise NotFound(f"{self.address} has no column {name!r} (data.options.{option})", nearest(name, names))
        return columns

    def order(self, database: Database) -> list[str]:
        if self.order_by is not None:
            return [self.order_by]
        return [] if self.query is not None else database.key(self.address.table)


def _closing(database: Database, batches: Generator[pa.RecordBatch, None, None]) -> Iterator[pa.RecordBatch]:
    with database, closing(batches):
        yield from batches


SOURCE = DatabaseSource()
