"""A condition of SQL over a row's columns, which DuckDB computes for many rows at once.

It reads no other rows, no file and no network. A row for which it is null passes, as it does a CHECK of SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakewright.data.lake.duck import connect
from lakewright.errors import DataError, ProjectError, nearest
from lakewright.settings.expectations import Expectation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SETTINGS: Mapping[str, Any] = {"memory_limit": "1GB", "threads": 1}  # the workers compute pieces, several at once


def condition(each: Expectation, schema: pa.Schema) -> Callable[[pa.Table], pa.ChunkedArray]:
    """Raises ProjectError for one that DuckDB does not compute of a row, or that is no truth value."""
    import duckdb

    used = columns_of(each, schema.names)
    columns = used or schema.names[:1]  # a condition without a column has as many rows
    connection = _connection()
    connection.register("checked", schema.empty_table().select(columns))
    expression = f"({each.argument}\n)"  # it may end with a comment
    try:
        connection.sql(f"SELECT 1 FROM checked WHERE {expression}")  # WHERE takes no aggregate and no window
        ((kind),) = connection.sql(f"SELECT {expression} FROM checked").types
    except duckdb.Error as failure:
        raise _refused(each, failure, schema) from None
    if str(kind) != "BOOLEAN":
        raise ProjectError(
            f"data.expect: {each.name}: {each.argument!r} is of the type {kind}, and a condition is true or false",
            'write a comparison, such as "paid <= total"',
        )
    query = f"SELECT NOT coalesce({expression}, true) FROM checked"

    def violated(rows: pa.Table) -> pa.ChunkedArray:
        connection.register("checked", rows.select(columns))
        try:
            return connection.sql(query).to_arrow_table().column(0)
        except duckdb.Error as failure:
            raise DataError(
                f"data.expect: {each.name}: {str(failure).splitlines()[0]}",
                "write the condition so that it has a value for every row (try_cast in place of cast)",
            ) from None

    return violated


@cache
def _connection() -> DuckDBPyConnection:
    """One for all pieces that a process checks: to make one takes as long as to check a piece."""
    return connect(**SETTINGS)


def columns_of(each: Expectation, names: Sequence[str]) -> list[str]:
    """Those of these columns that a condition reads. Raises ProjectError for one that does not parse, or has a query
    in it."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse_one(each.argument, dialect="duckdb")
    except SqlglotError as failure:
        raise ProjectError(
            f"data.expect: {each.name}: {each.argument!r} is no condition of SQL: {str(failure).splitlines()[0]}",
            'write one over the columns of the source, such as "paid <= total"',
        ) from None
    if not isinstance(parsed, exp.Condition | exp.Paren) or parsed.find(exp.Query) is not None:
        raise ProjectError(
            f"data.expect: {each.name}: {each.argument!r} is a query, or has one in it",
            "write a condition over the columns of one row",
        )
    read = {part.name.lower() for column in parsed.find_all(exp.Column) for part in column.parts}
    return [name for name in names if name.lower() in read]


def _refused(each: Expectation, failure: Exception, schema: pa.Schema) -> ProjectError:
    cause = str(failure).splitlines()[0]
    missing = cause.split('"')[1] if "Referenced column" in cause else ""
    remedy = nearest(missing, schema.names) if missing else "correct the condition; try it with: lakewright sql"
    return ProjectError(f"data.expect: {each.name}: {cause}", remedy)
