"""Rows on their way into a Delta table: at least one, with the table's types; their own errors are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pyarrow as pa

from lakewright.data.lake.names import TableName
from lakewright.data.lake.types import accepts, as_duckdb, storable
from lakewright.errors import DataError, UsageError, nearest

# delta-rs writes batches in any order, but never splits one: input up to this size is written as one batch, so its rows
# keep their order. Larger input gains nothing from being joined.
_ONE_BATCH_BYTES = 16 << 20


def fit(schema: pa.Schema, target: pa.Schema, table: TableName) -> pa.Schema:
    """The table's schema, after a check that every column of `schema` may go into it."""
    target = storable(target)
    remedy = f"append the columns of {table} ({', '.join(target.names)}), or overwrite the table"
    if unknown := [name for name in schema.names if name not in target.names]:
        raise DataError(f"{table} has no column {unknown[0]!r}; {nearest(unknown[0], target.names)}", remedy)
    if missing := [name for name in target.names if name not in schema.names]:
        raise DataError(f"the column {missing[0]!r} of {table} is missing in the rows to append", remedy)
    for field in target:
        kind = schema.field(field.name).type
        if not accepts(field.type, kind):
            raise DataError(
                f"column {field.name!r} of {table} is of type {field.type}, the rows have {kind}",
                f"cast it, even a null: cast(… as {as_duckdb(field.type)}); or overwrite the table",
            )
    return target


def already_exists(table: TableName) -> UsageError:
    return UsageError(f"the table {table} exists already", "write: create or replace table … as select …")


def not_empty(batches: pa.RecordBatchReader, table: TableName) -> Iterator[pa.RecordBatch]:
    empty = True
    for batch in batches:
        if batch.num_rows:
            empty = False
            yield batch
    if empty:
        raise DataError(
            f"there are no rows to write to {table}", "check the source or the query that the rows come from"
        )


def as_one(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    waiting: deque[pa.RecordBatch] = deque()
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size > _ONE_BATCH_BYTES:
            break
    else:
        whole = pa.concat_batches(waiting)
        waiting.clear()
        yield whole
    while waiting:
        yield waiting.popleft()
    yield from batches


def keep_failure(batches: Iterator[pa.RecordBatch], failures: list[BaseException]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except GeneratorExit:  # the reader stopped early
        raise
    except BaseException as error:
        failures.append(error)
        raise
