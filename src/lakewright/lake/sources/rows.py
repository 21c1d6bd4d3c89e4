"""Python dicts as one Arrow stream, whatever the order in which their keys and types turn up.

The type of a column is only known after the last row: batches wait, each with its own types, in a temporary file (in
memory while small) and are then read back with the types of all of them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any

import pyarrow as pa

from lakewright.errors import DataError
from lakewright.lake.columns import cast, storable

_ROWS = 5_000
_IN_MEMORY_BYTES = 64 << 20


def from_rows(
    rows: Iterable[tuple[str, Any]], types: Mapping[str, pa.DataType]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The rows' columns and batches. Each row comes with its place ("data.json line 3"), for messages.

    A key that a row lacks is null. `types` fixes columns; the others take the type that holds all their values: whole
    numbers become floats where floats turn up. Raises DataError naming the place where a column changes its kind.
    """
    waiting = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - it is read as long as the stream lives
    schema = pa.schema([])
    rows = iter(rows)
    while chunk := list(islice(rows, _ROWS)):
        batch = _batch(chunk, types)
        schema = _widened(schema, batch, chunk)
        with pa.ipc.new_stream(waiting, batch.schema) as writer:
            writer.write_batch(batch)
    written = waiting.tell()
    schema = storable(schema)

    def batches() -> Iterator[pa.RecordBatch]:
        with waiting:
            waiting.seek(0)
            while waiting.tell() < written:
                for batch in pa.ipc.open_stream(waiting):
                    yield _completed(batch, schema)

    return schema, batches()


def _batch(chunk: list[tuple[str, Any]], types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    names: dict[str, None] = {}
    for place, row in chunk:
        if not isinstance(row, Mapping):
            raise DataError(
                f"{place}: this is no row but a {type(row).__name__}", "each row is an object: {column: value}"
            )
        names.update(dict.fromkeys(row))
    columns = [_column(name, chunk, types.get(name)) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=[str(name) for name in names])


def _column(name: str, chunk: list[tuple[str, Any]], kind: pa.DataType | None) -> pa.Array:
    values = [row.get(name) for _, row in chunk]
    if kind == pa.string():
        values = [
            value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values
        ]
    try:
        return pa.array(values, type=kind, from_pandas=True)
    except (pa.ArrowException, OverflowError) as error:
        # the first row that does not go together with those before it
        row = bisect_left(range(len(values)), True, key=lambda last: not _go_together(values[: last + 1], kind))
        raise _changed(name, chunk[row][0], str(error)) from error


def _go_together(values: list[Any], kind: pa.DataType | None) -> bool:
    try:
        pa.array(values, type=kind, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def _widened(schema: pa.Schema, batch: pa.RecordBatch, chunk: list[tuple[str, Any]]) -> pa.Schema:
    for field in batch.schema:
        position = schema.get_field_index(field.name)
        if position < 0:
            schema = schema.append(field)
            continue
        try:
            both = [pa.schema([schema.field(position)]), pa.schema([field])]
            schema = schema.set(position, pa.unify_schemas(both, promote_options="permissive").field(0))
        except pa.ArrowException as error:
            place = next(place for place, row in chunk if row.get(field.name) is not None)
            cause = f"{schema.field(position).type} before, {field.type} here"
            raise _changed(field.name, place, cause) from error
    return schema


def _changed(column: str, place: str, cause: str) -> DataError:
    return DataError(
        f"{place}: the value of column {column!r} does not go together with those before it: {cause}",
        f"make its values one type, or read them as text with options: {{types: {{{column}: string}}}}",
    )


def _completed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    for field in schema:
        if field.name not in batch.schema.names:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
    return cast(batch, schema)
