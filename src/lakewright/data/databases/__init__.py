"""Databases by their address: tables and queries that are read, and tables that predictions are written into.

postgresql://[USER@]HOST[:PORT]/DATABASE[/SCHEMA.TABLE][?PARAMETER=VALUE…]

address.py      what an address names          postgresql.py   PostgreSQL, by ADBC: Arrow both ways
types.py        how columns are read exactly   redshift.py     its protocol, in pages, with less SQL
                                               mysql.py        MySQL and MariaDB
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """These columns, streamed. Raises DataError for values that no type of a table holds exactly."""

    def state(self, rows: str, columns: Sequence[Column], changed: str | None) -> list[Any]:
        """Values that change when these columns do: how many rows, and the newest of the column `changed`, or a
        checksum of all, which the server computes."""


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
