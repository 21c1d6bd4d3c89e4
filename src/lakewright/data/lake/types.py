"""Column types: the type that a Delta table stores for each Arrow type, and its names in catalog and project file.

Delta's primitive types are those of its protocol
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md#schema-serialization-format); the catalog's names are those
of Unity Catalog's ColumnInfo (`type_text` bigint, `type_name` LONG).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.errors import DataError, UsageError, nearest, shown
from lakewright.records import Finding

_NAMES: dict[str, tuple[pa.DataType, str]] = {
    "boolean": (pa.bool_(), "BOOLEAN"),
    "tinyint": (pa.int8(), "BYTE"),
    "smallint": (pa.int16(), "SHORT"),
    "int": (pa.int32(), "INT"),
    "bigint": (pa.int64(), "LONG"),
    "float": (pa.float32(), "FLOAT"),
    "double": (pa.float64(), "DOUBLE"),
    "date": (pa.date32(), "DATE"),
    "timestamp": (pa.timestamp("us", "UTC"), "TIMESTAMP"),
    "timestamp_ntz": (pa.timestamp("us"), "TIMESTAMP_NTZ"),
    "string": (pa.string(), "STRING"),
    "binary": (pa.binary(), "BINARY"),
}
_WORDS = {arrow: (text, name) for text, (arrow, name) in _NAMES.items()}
_ROWS_SHOWN = 5
_DIGITS = 38  # of a decimal, in Delta
_FIRST_DAY, _LAST_DAY = np.datetime64(date.min, "D"), np.datetime64(date.max, "D")


def named(text: str) -> pa.DataType:
    """The Arrow type of a SQL type name as written in a project file (`options: {types: {id: string}}`)."""
    if str(text) not in _NAMES:
        raise UsageError(f"there is no column type {text!r}", nearest(str(text), _NAMES))
    return _NAMES[text][0]


def name_of(kind: pa.DataType) -> str | None:
    """The name that `named` reads; None for a type without one: decimals, lists, structures."""
    return _WORDS[kind][0] if kind in _WORDS else None


def storable(schema: pa.Schema, without_value: pa.DataType = _NAMES["string"][0]) -> pa.Schema:
    """The schema that a Delta table stores for `schema`: plain, nullable columns without metadata.

    Dictionary, view and large types become the plain ones, unsigned integers the next wider signed ones, half floats
    floats, timestamps microseconds, and a column without any value a string (or `without_value`). Raises DataError for
    types that Delta lacks (times of day, durations, unions) and for two columns whose names differ at most in case.
    """
    storable_names(schema.names)
    return pa.schema([pa.field(field.name, _storable(field.type, field.name, without_value)) for field in schema])


def simplified(schema: pa.Schema, notice: Callable[[Finding], object]) -> pa.Schema:
    """The schema with a source's times in types that a table can hold: times of day as text, durations as seconds.
    Notices each such column, and nanoseconds; `cast` makes the values."""
    fields = []
    for field in schema:
        kind, name = field.type, field.name
        if pa.types.is_time(kind):
            kind = pa.string()
            notice(_column_finding("times_of_day", f"column {name!r} holds times of day: they are read as text."))
        elif pa.types.is_duration(kind):
            kind = pa.float64()
            notice(_column_finding("durations", f"column {name!r} holds durations: they are read as seconds."))
        elif "timestamp[ns" in str(kind):  # also within lists and structs; `storable` makes them microseconds
            detail = f"column {name!r} has nanoseconds; a table stores microseconds: the other digits are cut."
            notice(_column_finding("cut_times", detail))
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def _column_finding(name: str, detail: str) -> Finding:
    return Finding(name=name, count=1, detail=detail)


def storable_names(names: Iterable[str]) -> None:
    """Raises DataError for two names that differ at most in case: Delta's column names are not case-sensitive."""
    spellings: dict[str, str] = {}
    for name in names:
        if name.lower() in spellings:
            raise DataError(
                f"two columns are named {spellings[name.lower()]!r} and {name!r}",
                "rename or drop one of them at the source",
            )
        spellings[name.lower()] = name


def _storable(kind: pa.DataType, column: str, without_value: pa.DataType) -> pa.DataType:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _storable(kind.storage_type, column, without_value)
    if types.is_dictionary(kind):
        return _storable(kind.value_type, column, without_value)
    if types.is_null(kind):
        return without_value
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_unsigned_integer(kind):
        return {8: pa.int16(), 16: pa.int32()}.get(kind.bit_width, pa.int64())
    if types.is_float16(kind):
        return pa.float32()
    if types.is_date(kind):
        return pa.date32()
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_map(kind):
        key, item = (_storable(each, column, without_value) for each in (kind.key_type, kind.item_type))
        return pa.map_(key, item)
    if types.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(field.name, _storable(field.type, column, without_value)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_list_view(kind):
        return pa.list_(pa.field("element", _storable(kind.value_type, column, without_value)))
    if kind in _WORDS:
        return kind
    if types.is_decimal(kind) and kind.precision <= _DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    raise DataError(
        f"column {column!r} has the type {shown(kind)}, which a Delta table cannot hold",
        f"cast it, for example to string or bigint, or leave it out (of a source: data.exclude: [{column}])",
    )


def columns_info(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns in the shape of Unity Catalog's ColumnInfo; `type_json` is the type in Delta's log."""
    from deltalake import Schema

    as_delta = json.loads(Schema.from_arrow(schema).to_json())["fields"]
    return [
        {
            "name": field.name,
            "type_text": _words(field.type)[0],
            "type_name": _words(field.type)[1],
            "type_json": json.dumps(as_delta[position]["type"], separators=(",", ":")),
            "position": position,
            "nullable": field.nullable,
            "comment": (field.metadata or {}).get(b"comment", b"").decode(),
        }
        for position, field in enumerate(schema)
    ]


def _words(kind: pa.DataType) -> tuple[str, str]:
    if kind in _WORDS:
        return _WORDS[kind]
    if pa.types.is_null(kind):
        return "void", "NULL"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})", "DECIMAL"
    if pa.types.is_list(kind):
        return f"array<{_words(kind.value_type)[0]}>", "ARRAY"
    if pa.types.is_map(kind):
        return f"map<{_words(kind.key_type)[0]},{_words(kind.item_type)[0]}>", "MAP"
    return "struct<" + ",".join(f"{field.name}:{_words(field.type)[0]}" for field in kind) + ">", "STRUCT"


def as_duckdb(kind: pa.DataType) -> str:
    """The name of a storable type in a SQL cast."""
    if pa.types.is_list(kind):
        return f"{as_duckdb(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"map({as_duckdb(kind.key_type)}, {as_duckdb(kind.item_type)})"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f'"{field.name}" {as_duckdb(field.type)}' for field in kind) + ")"
    return {"timestamp": "timestamptz", "timestamp_ntz": "timestamp"}.get(text := _words(kind)[0], text)


def accepts(target: pa.DataType, source: pa.DataType) -> bool:
    """Whether values of the type `source` may go into a column of the type `target` without loss of meaning.

    Both are storable types. Whole numbers go into any number column and decimals into floating ones; the cast checks
    whether each value fits.
    """
    types = pa.types
    if source == target:
        return True
    if types.is_list(source) and types.is_list(target):
        return accepts(target.value_type, source.value_type)
    if types.is_integer(source) or (types.is_decimal(source) and source.scale == 0):
        return bool(types.is_integer(target) or types.is_floating(target) or types.is_decimal(target))
    if types.is_decimal(source):
        return bool(types.is_floating(target) or types.is_decimal(target))
    return bool(types.is_float32(source) and types.is_float64(target))


def cast(batch: pa.RecordBatch, schema: pa.Schema, *, cut_times: bool = False) -> pa.RecordBatch:
    """The batch's columns, by name, in the types of `schema`; raises DataError, which names a column that does not fit.

    `cut_times`: digits beyond the unit of a time are cut instead of an error.
    """
    columns = []
    for field in schema:
        column = batch.column(field.name)
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type, cut_times))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"column {field.name!r} does not fit the type {shown(_words(field.type)[0])}: {shown(error)}",
                "correct the values, give the column another type (in SQL: cast(… as double), or as string), or leave "
                f"it out (of a source: data.exclude: [{field.name}])",
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType, cut_times: bool) -> pa.Array:
    if pa.types.is_duration(column.type):
        units = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
        return pc.divide(column.cast(pa.int64()).cast(pa.float64()), pa.scalar(float(units[column.type.unit])))
    return column.cast(options=pc.CastOptions(kind, allow_time_truncate=cut_times))


def within_years(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches. Raises DataError if a column holds dates or times outside the years 1 to 9999, which are all that
    Python has; it counts them to the end."""
    before, name, count, first = 0, "", 0, list[str]()
    for batch in batches:
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if _has_times(field.type) and name in ("", field.name):
                rows = np.flatnonzero(at_any_depth(column, _beyond_years)).tolist()
                name, count = field.name if rows else name, count + len(rows)
                examples = rows[: _ROWS_SHOWN - len(first)]
                first += [f"row {before + row} ({shown(_python_value(column[row]))})" for row in examples]
        before += batch.num_rows
        if not count:
            yield batch
    if count:
        raise DataError(
            f"column {name!r} holds dates or times outside of the years 1 to 9999 in {count:,} row{'s' * (count > 1)}: "
            f"{', '.join(first)}{', …' * (count > len(first))}",
            f"correct them, read the column as text (csv and json: data.options: {{types: {{{name}: string}}}}; SQL: "
            f"cast({name} as varchar)), or leave it out (of a source: data.exclude: [{name}])",
        )


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_times(kind.field(position).type) for position in range(kind.num_fields))
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _beyond_years(column: pa.Array) -> npt.NDArray[np.bool_]:
    if not (pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)):
        return np.zeros(len(column), np.bool_)
    days = column.to_numpy(zero_copy_only=False).astype("datetime64[D]")
    beyond: npt.NDArray[np.bool_] = (days < _FIRST_DAY) | (days > _LAST_DAY)  # a null is NaT, which is neither
    return beyond


def at_any_depth(column: pa.Array, holds: Callable[[pa.Array], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """[rows]: whether a row of a storable column has a value that `holds`, which takes arrays without nesting."""
    kind, rows = column.type, np.zeros(len(column), np.bool_)
    if not pa.types.is_nested(kind):
        return holds(column)
    if pa.types.is_list(kind):
        parents = pc.list_parent_indices(column).to_numpy()
        rows[parents[at_any_depth(pc.list_flatten(column), holds)]] = True
    elif pa.types.is_map(kind):  # Arrow has these functions only for lists
        entries = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        rows = at_any_depth(column.cast(pa.list_(entries)), holds)
    elif pa.types.is_struct(kind):
        for values in column.flatten():
            rows |= at_any_depth(values, holds)
    return rows


def python_rows(rows: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """The rows for people and for JSON; dates and times that Python cannot hold are text."""
    try:
        values: list[dict[str, Any]] = rows.to_pylist()
    except (OverflowError, ValueError):  # ValueError: of nanoseconds, which pandas reads, and Python without it cannot
        columns = [[_python_value(scalar) for scalar in column] for column in rows.columns]
        values = [dict(zip(rows.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]
    return values


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError) as failure:
        kind = scalar.type
        if isinstance(failure, ValueError) and not (pa.types.is_dictionary(kind) or _has_times(kind)):
            raise
    if pa.types.is_map(kind):
        return [(_python_value(each["key"]), _python_value(each["value"])) for each in scalar.values]
    if pa.types.is_struct(kind):
        return {name: _python_value(value) for name, value in scalar.items()}
    if pa.types.is_union(kind) or pa.types.is_dictionary(kind):
        return _python_value(scalar.value)
    if pa.types.is_nested(kind):
        return [_python_value(each) for each in scalar.values]
    if abs(scalar.value) == np.iinfo(f"int{kind.bit_width}").max:  # DuckDB's infinity
        return "infinity" if scalar.value > 0 else "-infinity"
    unit: Any = "D" if pa.types.is_date(kind) else kind.unit
    text = str(np.datetime64(scalar.value, unit)).replace("T", " ")
    return f"{text}+00:00" if getattr(kind, "tz", None) else text
