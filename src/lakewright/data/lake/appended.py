"""The rows that were appended to a Delta table after one of its versions, from its log, commit by commit.

A commit that only adds files adds rows. One that rearranges them (OPTIMIZE: `dataChange` is false) changes none. One
that takes files away with their rows (DELETE, UPDATE, MERGE, overwrite) does not say which rows are new.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-file-and-remove-file
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from lakewright.data.lake.scan import schema_of
from lakewright.data.lake.types import storable
from lakewright.errors import DataError

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import PyFileSystem


REMEDY = "read all rows of the version instead"


class Rewritten(DataError):
    """The log does not show which rows are new."""


def added(
    delta: DeltaTable, since: int, columns: Sequence[str], batch_size: int
) -> tuple[int | None, Iterator[pa.RecordBatch]]:
    """The number of rows, None if the log does not hold it; and the rows, always in the same order, up to the version
    of `delta`.

    Raises Rewritten if a commit in between did more than append, or is no longer in the log.
    """
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    if delta.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise Rewritten("its columns have other names in its files", REMEDY)
    files = PyFileSystem(DeltaStorageHandler.from_table(delta._table))
    appended = [file for commit in range(since + 1, delta.version() + 1) for file in _appended(files, commit)]
    counts = [json.loads(file.get("stats") or "{}").get("numRecords") for file in appended]
    schema = storable(schema_of(delta))
    selected = pa.schema([schema.field(name) for name in columns])
    return None if None in counts else sum(counts), _read(files, appended, selected, batch_size)


def _read(
    files: PyFileSystem, appended: Sequence[dict[str, Any]], schema: pa.Schema, batch_size: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    for file in appended:
        values = file.get("partitionValues") or {}
        with files.open_input_file(unquote(file["path"])) as opened:
            parquet = pq.ParquetFile(opened)
            present = [name for name in schema.names if name in parquet.schema_arrow.names and name not in values]
            for batch in parquet.iter_batches(batch_size, columns=present):
                yield pa.record_batch([_column(batch, field, values) for field in schema], schema=schema)


def _appended(files: PyFileSystem, commit: int) -> list[dict[str, Any]]:
    """The files that a commit added with their rows, by path."""
    try:
        with files.open_input_stream(f"_delta_log/{commit:020}.json") as opened:
            actions = [json.loads(line) for line in opened.read().decode("utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise Rewritten(f"version {commit} is no longer in its log", REMEDY) from None
    of = {kind: [action[kind] for action in actions if kind in action] for kind in ("add", "remove", "commitInfo")}
    new = [file for file in of["add"] if file.get("dataChange", True)]
    if any(file.get("dataChange", True) for file in of["remove"]) or any("deletionVector" in file for file in new):
        operation = next((info.get("operation") for info in of["commitInfo"]), None) or "a commit"
        raise Rewritten(f"version {commit} changed rows ({operation})", REMEDY)
    return sorted(new, key=lambda file: str(file["path"]))


def _column(batch: pa.RecordBatch, field: pa.Field, values: dict[str, str | None]) -> pa.Array:
    """A column of the table: from the file, one value for all its rows (a partition), or null (added later)."""
    if field.name in values:
        return pa.array([values[field.name]] * batch.num_rows, pa.string()).cast(field.type)
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    return batch.column(field.name).cast(field.type)
