"""Read the rows of one version of a Delta table, always in the same order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from lakewright.data.lake.names import quoted
from lakewright.data.lake.types import storable
from lakewright.errors import DataError, nearest

if TYPE_CHECKING:
    from deltalake import DeltaTable


def scan(delta: DeltaTable, columns: Sequence[str] | None = None, predicate: str | None = None) -> pa.RecordBatchReader:
    """Stream the rows; see `Lake.scan`, which takes the table's name."""
    from deltalake import QueryBuilder

    names = schema_of(delta).names
    for column in columns or ():
        if column not in names:
            raise DataError(f"{delta.table_uri} has no column {column!r}", nearest(column, names))
    query = f"SELECT {', '.join(map(quoted, names if columns is None else columns))} FROM rows"
    if predicate is not None:
        query += f" WHERE ({predicate})"
    session = QueryBuilder().register("rows", delta)
    # DeltaTable.scan reads files in parallel and returns another order each time; one partition reads them in turn.
    session.execute("SET datafusion.execution.target_partitions = 1")
    session.execute("SET datafusion.sql_parser.enable_ident_normalization = false")
    try:
        reader = pa.RecordBatchReader.from_stream(session.execute(query))
    except Exception as error:
        raise DataError(
            f"{delta.table_uri} cannot be read where {predicate}: {cause_of(error)}",
            f"write a condition in SQL over its columns: {', '.join(names)}",
        ) from error
    return reader.cast(storable(reader.schema))


def schema_of(delta: DeltaTable) -> pa.Schema:
    """The table's columns as Arrow types."""
    return pa.schema(delta.schema().to_arrow())


def cause_of(error: Exception) -> str:
    """delta-rs's message on one line, without colours and the Rust backtrace."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("\n   0: ")[0]
    return " ".join(text.replace("↳", "").split())[:400]
