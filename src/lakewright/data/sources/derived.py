"""Columns that a project derives from a source's, by expressions of SQL, while its table is written.

DuckDB computes them, a batch at a time and in the source's order; it has access to no file and no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lakewright.data.lake.names import quoted
from lakewright.data.lake.writing import keep_failure
from lakewright.errors import ProjectError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 65_536  # of a batch
LOCKED = {"enable_external_access": "false", "lock_configuration": "true"}


def columns_of(expression: str, name: str) -> list[str]:
    """The columns that an expression reads. Raises ProjectError for one that does not parse; `name` is the column that
    it derives."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse_one(expression, dialect="duckdb")
    except SqlglotError as failure:
        raise ProjectError(
            f"data.derive.{name}: {expression!r} is no expression of SQL: {str(failure).splitlines()[0]}",
            'write one over the columns of the source, such as "quality >= 7"',
        ) from None
    return list(dict.fromkeys(column.name for column in parsed.find_all(exp.Column)))


def with_derived(reader: pa.RecordBatchReader, derive: Mapping[str, str]) -> pa.RecordBatchReader:
    """The source's rows with the derived columns after its own. Raises ProjectError for a name that is taken, for an
    unknown column, and for an expression that DuckDB does not compute."""
    import duckdb
    import pyarrow as pa

    if not derive:
        return reader
    for name, expression in derive.items():
        if name in reader.schema.names:
            raise ProjectError(f"data.derive.{name}: the source has a column of this name", "choose another name")
        for column in columns_of(expression, name):
            if column not in reader.schema.names:
                raise ProjectError(
                    f"data.derive.{name} reads the column {column!r}, which the source does not have",
                    nearest(column, reader.schema.names),
                )
    failures: list[BaseException] = []  # DuckDB turns them into text
    rows = pa.RecordBatchReader.from_batches(reader.schema, keep_failure(iter(reader), failures))
    connection = duckdb.connect(config=dict(LOCKED))
    connection.register("rows", rows)
    computed = ", ".join(f"({expression}) AS {quoted(name)}" for name, expression in derive.items())
    try:
        result = connection.sql(f"SELECT *, {computed} FROM rows").to_arrow_reader(ROWS)
    except duckdb.Error as failure:
        raise _refused(derive, failure) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from result
        except (duckdb.Error, pa.ArrowException) as failure:
            raise failures[0] if failures else _refused(derive, failure) from None
        finally:
            connection.close()

    return pa.RecordBatchReader.from_batches(result.schema, batches())


def _refused(derive: Mapping[str, str], failure: Exception) -> ProjectError:
    return ProjectError(
        f"data.derive ({', '.join(derive)}): {str(failure).splitlines()[0]}",
        "correct the expression; try it with: lakewright sql",
    )
