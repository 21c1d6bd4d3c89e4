"""Rows on their way into a Delta table: at least one, with the table's types; their own errors are kept."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lakewright.data.lake.names import TableName
from lakewright.data.lake.types import accepts, as_duckdb, storable
from lakewright.errors import AGAIN, DataError, UsageError, nearest, of_disk

# delta-rs writes batches in any order, but never splits one: input up to this size is written as one batch, so its rows
# keep their order. Larger input gains nothing from being joined.
_ONE_BATCH_BYTES = 16 << 20
_AMPLE = 64 << 20  # bytes free: more than a file of the size below which delta-rs panics can take
_LOG_BYTES = 64 << 10  # of a commit, about
_WAIT = 5.0  # seconds for a thread of delta-rs to let go of the rows


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
        if waiting:
            whole = pa.concat_batches(waiting)
            waiting.clear()
            yield whole
    while waiting:
        yield waiting.popleft()
    yield from batches


def with_room(batches: Iterator[pa.RecordBatch], folder: str) -> Iterator[pa.RecordBatch]:
    """The batches. Raises DiskError if the disk of a local table is nearly full and does not hold them.

    A file of less than 10 MB is written by delta-rs when it is complete; where that fails, its writer panics, and its
    backtrace hides the error. So on a nearly full disk a file of the first rows is written before, and removed.
    """
    place = next((each for each in (Path(folder), *Path(folder).parents) if each.is_dir()), None)
    if "://" in folder or place is None or shutil.disk_usage(place).free > _AMPLE:
        yield from batches
        return
    first, size = list[pa.RecordBatch](), 0
    for batch in batches:
        first.append(batch)
        size += batch.nbytes
        if size > _AMPLE:
            break
    _try_to_write(first, place)
    yield from first
    yield from batches


def _try_to_write(batches: list[pa.RecordBatch], folder: Path) -> None:
    import pyarrow.parquet as pq

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            pq.write_table(pa.Table.from_batches(batches), file)
            file.write(bytes(_LOG_BYTES))
            file.flush()
    except OSError as failure:
        raise of_disk(failure, folder, AGAIN) or failure from None


class Feed:
    """Rows that a thread of delta-rs reads. Where a write fails, it may go on reading, and Python must not end while it
    does."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches, self._began = batches, False
        self._stopped, self._ended = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._began = True
        try:
            for batch in self._batches:
                if self._stopped.is_set():
                    return
                yield batch
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Returns when nobody reads any more."""
        self._stopped.set()
        if self._began:
            self._ended.wait(_WAIT)


def keep_failure(batches: Iterator[pa.RecordBatch], failures: list[BaseException]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except GeneratorExit:  # the reader stopped early
        raise
    except BaseException as error:
        failures.append(error)
        raise
