"""Databases by their address: tables and queries that are read, and tables that predictions are written into.

    postgresql://[USER@]HOST[:PORT]/DATABASE[/SCHEMA.TABLE][?PARAMETER=VALUE…]

Each kind of server is one file:

    address.py    what an address names           postgresql.py   by ADBC: Arrow both ways
    types.py      how columns are read exactly    redshift.py     PostgreSQL's protocol, in pages, with less SQL
                                                  mysql.py        MySQL and MariaDB
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from lakewright.data.databases.address import Address

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.databases.types import Column


class Database(Protocol):
    """A connection to a server. What is read of it is one snapshot; whatever fails says so as a LakewrightError that
    shows no secret."""

    address: Address

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def quoted(self, *names: str) -> str:
        """A name as SQL reads it, with its schema."""

    def tables(self) -> list[str]:
        """SCHEMA.TABLE of all that this user sees."""

    def key(self, table: Sequence[str]) -> list[str]:
        """The columns of the table's primary key."""

    def describe(self, rows: str) -> list[Column]:
        """The columns of `rows`, a table or a query in parentheses."""

    def read(
        self, rows: str, columns: Sequence[Column], order_by: Sequence[str]
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch, None, None]]:
        """These columns, streamed. Raises DataError for values that no type of a table holds exactly."""

    def state(self, rows: str, columns: Sequence[Column], changed: str | None) -> list[Any]:
        """Values that change when these columns do: how many rows, and the newest of the column `changed`, or a
        checksum of all, which the server computes."""

    # What is written, in one transaction, from the first statement to `commit`

    def place(self, number: int) -> str:
        """Of a statement's value, counted from 1."""

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Of a query with few of them."""

    def change(self, statement: str, *values: Any) -> int:
        """How many rows the statement changed."""

    def columns(self, table: Sequence[str]) -> dict[str, str]:
        """Column → type of a table; none where there is no such table."""

    def declared(self, schema: pa.Schema, *key: str) -> dict[str, str]:
        """Column → type of a table for rows of this schema; what has parts in it is written as JSON."""

    def create(self, table: Sequence[str], schema: pa.Schema, *key: str) -> None:
        """A table with this primary key."""

    def upsert(self, table: Sequence[str], rows: pa.Table, *key: str) -> int:
        """Inserts the rows, each with a key of its own, in place of those with the same key. Returns how many those
        were."""

    def commit(self) -> None: ...


def connect(address: Address, secrets: Mapping[str, str]) -> Database:
    """Raises NoStore where the server does not answer, DataError where it refuses."""
    if address.kind == "mysql":
        from lakewright.data.databases.mysql import MySQL

        return MySQL(address, secrets)
    if address.kind == "redshift":
        from lakewright.data.databases.redshift import Redshift

        return Redshift(address, secrets)
    from lakewright.data.databases.postgresql import PostgreSQL

    return PostgreSQL(address, secrets)
