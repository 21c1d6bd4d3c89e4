"""What Spark's workers compute of a statement: rows of a table's parts, values by DuckDB, files of a result.

Values go to Spark and back as Arrow, in the types that Spark has for DuckDB's (`translated.Kind`); fields of structs go
by their places.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.lake.catalogs import Location
from lakewright.data.lake.duck import connect
from lakewright.data.lake.parts import Part, Shape, read, write
from lakewright.data.lake.types import cast, within_years
from lakewright.errors import DataError, DiskError, LakewrightError, UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MARK = re.compile(r"lakewright-error:(\{.*?\}):lakewright-error", re.DOTALL)
_KINDS: tuple[type[LakewrightError], ...] = (DataError, UsageError, DiskError)
WRITTEN = "path string, rows bigint, size bigint"
_OWN = threading.local()  # a connection of DuckDB's for each thread: on Sail several compute in one process


class OfTable(Exception):
    """A file of a table could not be read; `table` is its number in the statement."""

    def __init__(self, table: int, cause: str) -> None:
        super().__init__(cause)
        self.table = table


def failure_in(message: str) -> LakewrightError | OfTable | None:
    """The worker's own error, in the text that Spark makes of it."""
    match = _MARK.search(message)
    if match is None:
        return None
    described = json.loads(match[1])
    if described["kind"] == "OfTable":
        return OfTable(described["table"], described["cause"])
    kind = next((each for each in _KINDS if each.__name__ == described["kind"]), LakewrightError)
    return kind(described["cause"], described["remedy"])


def _marked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Its errors in a form that passes through Spark's text."""

    @wraps(function)
    def marked(*arguments: Any) -> Iterator[Any]:
        try:
            yield from function(*arguments)
        except Exception as failure:
            raise _passed(failure) from failure

    return marked


def _passed(failure: Exception) -> RuntimeError:
    described: dict[str, Any] = {"kind": type(failure).__name__, "cause": str(failure), "remedy": ""}
    if isinstance(failure, LakewrightError):
        described |= {"cause": failure.cause, "remedy": failure.remedy}
    elif isinstance(failure, OfTable):
        described["table"] = failure.table
    else:
        described |= {"cause": f"{type(failure).__name__}: {failure}", "remedy": "read the executors' log"}
    return RuntimeError(f"lakewright-error:{json.dumps(described)}:lakewright-error")


@_marked
def rows_of_parts(
    table: int,
    parts: list[Part],
    shape: Shape,
    location: Location,
    carried: list[pa.DataType],
    batches: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """The rows of the parts whose numbers come."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            try:
                for rows in read(parts[number], shape, location):
                    columns = [shaped(column, kind) for column, kind in zip(rows.columns, carried, strict=True)]
                    yield pa.RecordBatch.from_arrays(columns, names=shape.schema.names)
            except (OSError, pa.ArrowException) as failure:
                raise OfTable(table, f"{type(failure).__name__}: {failure}") from failure


@_marked
def files_of_rows(
    kinds: list[pa.DataType],
    schema: pa.Schema,
    stored: pa.Schema,
    location: Location,
    batches: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """The file that holds these rows, if there are any: it belongs to a table once the driver commits it."""
    filled = (batch for batch in batches if batch.num_rows)
    first = next(filled, None)
    if first is None:
        return

    def each() -> Iterator[pa.RecordBatch]:
        yield first
        yield from filled

    rows = (cast(as_of(batch, kinds, schema), stored) for batch in each())
    written = write(within_years(rows), stored, location)
    yield pa.RecordBatch.from_pydict({"path": [written.path], "rows": [written.rows], "size": [written.size]})


def as_of(batch: pa.RecordBatch, kinds: list[pa.DataType], schema: pa.Schema) -> pa.RecordBatch:
    """Spark's rows as DuckDB gives them, with the schema of the statement's rows."""
    columns = [
        pa.nulls(batch.num_rows) if pa.types.is_null(field.type) else shaped(column, kind)
        for column, kind, field in zip(batch.columns, kinds, schema, strict=True)
    ]
    return cast(pa.RecordBatch.from_arrays(columns, names=schema.names), schema)


def values(
    text: str, kinds: list[tuple[str, pa.DataType]], result: pa.DataType, zone: str, columns: tuple[pa.Array, ...]
) -> pa.Array:
    """DuckDB's value of the expression in each row; `kinds` are the columns' types in DuckDB and in Arrow."""
    try:
        inputs = {
            f"a{at}": shaped(column, arrow) for at, (column, (_, arrow)) in enumerate(zip(columns, kinds, strict=False))
        }
        casts = [f"CAST(a{at} AS {name}) AS lw{at}" for at, (name, _) in enumerate(kinds)]
        rows = pa.table(inputs or {"a0": columns[0]})
        answers = _answers(f"SELECT {text} AS v FROM (SELECT {', '.join(casts) or 'a0'} FROM lw_rows)", rows, zone)
        return shaped(answers, result)
    except Exception as failure:
        raise _passed(failure) from failure


def values_of_lists(
    text: str, kinds: list[tuple[str, pa.DataType]], result: pa.DataType, zone: str, columns: tuple[pa.Array, ...]
) -> pa.Array:
    """DuckDB's value of the aggregate over each row's list of rows."""
    try:
        (lists,) = columns
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
        inner = pc.list_flatten(lists)
        fields = inner.flatten() if len(kinds) else []
        inputs = {
            f"a{at}": shaped(column, arrow) for at, (column, (_, arrow)) in enumerate(zip(fields, kinds, strict=True))
        }
        numbers = np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
        casts = [f"CAST(a{at} AS {name}) AS lw{at}" for at, (name, _) in enumerate(kinds)]
        rows = pa.table({"lw_row": numbers, **inputs})
        each = f"(SELECT {', '.join(['lw_row', *casts])} FROM lw_rows)"
        query = (
            f"SELECT CASE WHEN g.lw_row IS NULL THEN (SELECT {text} FROM {each} WHERE false) ELSE g.v END AS v "
            f"FROM range({len(lists)}) n(lw_row) LEFT JOIN (SELECT lw_row, {text} AS v FROM {each} GROUP BY lw_row) g "
            "USING (lw_row) ORDER BY n.lw_row"
        )
        return shaped(_answers(query, rows, zone), result)
    except Exception as failure:
        raise _passed(failure) from failure


def _answers(query: str, rows: pa.Table, zone: str) -> pa.Array:
    import duckdb

    connection = _connection(zone)
    connection.register("lw_rows", rows)
    try:
        answers = connection.sql(query).to_arrow_table().column(0)
    except duckdb.Error as failure:
        raise DataError(f"the query failed: {failure}", "correct the statement or the rows it reads") from failure
    finally:
        connection.unregister("lw_rows")
    return answers.combine_chunks() if answers.num_chunks != 1 else answers.chunk(0)


def _connection(zone: str) -> DuckDBPyConnection:
    if getattr(_OWN, "zone", None) != zone:
        _OWN.connection, _OWN.zone = connect(zone, threads=1), zone
    return _OWN.connection


def shaped(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values in another type; fields of structs by their places."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.type == kind or isinstance(kind, pa.BaseExtensionType):
        return array if array.type == kind else pa.ExtensionArray.from_storage(kind, shaped(array, kind.storage_type))
    if pa.types.is_struct(kind):
        fields = [shaped(each, field.type) for each, field in zip(array.flatten(), kind, strict=True)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=array.is_null())
    if pa.types.is_map(kind) and pa.types.is_map(array.type):
        entries = pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])
        offsets, inner = _within(array.cast(pa.list_(entries)))
        keys, items = (
            shaped(each, of) for each, of in zip(inner.flatten(), (kind.key_type, kind.item_type), strict=True)
        )
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=array.is_null())
    if _is_list(kind) and _is_list(array.type):
        offsets, inner = _within(array)
        if pa.types.is_fixed_size_list(kind):
            plain = pa.list_(kind.value_field)
            return pa.ListArray.from_arrays(
                offsets, shaped(inner, kind.value_type), type=plain, mask=array.is_null()
            ).cast(kind)
        return pa.ListArray.from_arrays(offsets, shaped(inner, kind.value_type), type=kind, mask=array.is_null())
    return array.cast(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _within(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Where each list of the array begins, and their elements."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.array(offsets, pa.int32()), pc.list_flatten(array)
