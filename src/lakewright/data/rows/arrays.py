"""An Arrow batch's columns as arrays of numbers, categories and times, by the rules of `read_row`.

Whole columns are converted where Arrow's type allows it; of categories and of times in text, each distinct value once.
Values of all other types go one by one through the function that `read_row` uses. An error is `read_row`'s own, for the
first row that it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakewright.data.lake.types import python_rows
from lakewright.data.rows.coded import Coded
from lakewright.data.rows.kinds import Kind, missing
from lakewright.data.rows.request import read_category, read_number, read_row, read_time, refuse_misspelt
from lakewright.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Set

KINDS: Set[Kind] = {"number", "category", "time"}  # those that have an array form
FIRST_DAY, LAST_DAY = np.datetime64(date.min, "D"), np.datetime64(date.max, "D")  # of Python's times
EXACT_DIGITS, EXACT_POWER = 15, 22  # whole numbers of so many digits, and powers of ten, are exact in float64

Array = NDArray[Any] | Coded
"""float64 [rows], NaN without a number; datetime64[us] [rows] in UTC, NaT without a time; or Coded categories."""


def complete_rows(
    inputs: Mapping[str, Kind], rows: pa.RecordBatch | pa.Table, most: int, lacking: NDArray[np.bool_], first: int = 0
) -> Iterator[dict[str, Array]]:
    """The values of the rows that do not lack all inputs, at least one and at most `most` at once: every part but the
    last has exactly `most`. `lacking` [rows] is filled in: whether a row lacks all inputs.

    Reads `most` rows at a time. The inputs' kinds are all in KINDS. Raises DataError, which names the row, counted from
    `first`.
    """
    waiting: list[dict[str, Array]] = []
    count = 0
    for start in range(0, rows.num_rows, most):
        values = read_columns(inputs, rows.slice(start, most), first + start)
        missing = _lacking(values)
        lacking[start : start + len(missing)] = missing
        if missing.any():
            values = {name: each[~missing] for name, each in values.items()}
        waiting.append(values)
        count += int(len(missing) - missing.sum())
        if count >= most:
            values = joined(waiting)
            yield {name: each[:most] for name, each in values.items()}
            waiting, count = [{name: each[most:] for name, each in values.items()}], count - most
    if count:
        yield joined(waiting)


def read_columns(inputs: Mapping[str, Kind], rows: pa.RecordBatch | pa.Table, first: int = 0) -> dict[str, Array]:
    """Input → the values of its column, in the rows' order; an input without a column has none.

    `first` is the number of the first row. Raises DataError as `read_row` does.
    """
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))  # of two columns of one name, the last
    if rows.num_rows:
        refuse_misspelt(inputs, columns, first)
    values, refused = dict[str, Array](), list[int]()
    for name, kind in inputs.items():
        column = columns.get(name)
        plain = pa.nulls(rows.num_rows) if column is None else plain_array(column)
        values[name], wrong = READERS[kind](plain)
        if wrong.any():
            refused.append(int(np.argmax(wrong)))
    if refused:
        row = min(refused)
        named = pa.table({name: columns[name] for name in inputs if name in columns})
        read_row(inputs, python_rows(named.slice(row, 1))[0], first + row)
        raise AssertionError(f"row {first + row} is refused as part of a batch and accepted alone")
    return values


def column_values(column: pa.ChunkedArray, kind: Kind) -> Any:
    """The values of an input that a task read from a table: an Array; of texts and words a list."""
    if kind not in KINDS:
        return column.to_pylist()
    values, _ = READERS[kind](plain_array(column))  # the task refused all that a row must not hold
    return values


def plain_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In one chunk and without a dictionary."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


Read = tuple[Any, NDArray[np.bool_]]  # the values, and whether `read_row` refuses a row


def _numbers(column: pa.Array) -> Read:
    types, kind = pa.types, column.type
    if types.is_decimal128(kind) and kind.precision <= EXACT_DIGITS and abs(kind.scale) <= EXACT_POWER:
        numbers = _decimals(column)
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind):
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        values, refused = _one_by_one(column, read_number)
        return np.array(values, np.float64), refused
    return numbers, np.isinf(numbers)


def _decimals(column: pa.Array) -> NDArray[np.float64]:
    """The nearest floats, as Python has them. Arrow's own cast may be off by a digit."""
    scale = column.type.scale
    end = column.offset + len(column)
    halves = np.frombuffer(column.buffers()[1], "<i8", 2 * end)  # the low 64 bits first, which hold EXACT_DIGITS
    whole = halves[2 * column.offset :: 2].astype(np.float64)
    numbers: NDArray[np.float64] = whole / 10.0**scale if scale >= 0 else whole * 10.0**-scale
    numbers[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return numbers


def _times(column: pa.Array) -> Read:
    types, kind = pa.types, column.type
    if types.is_timestamp(kind) or types.is_date(kind):
        times = _without_nanoseconds(column.to_numpy(zero_copy_only=False))
        days = times.astype("datetime64[D]")
        # A time of Arrow that is NaT in numpy lies beyond these years, too
        refused = (days < FIRST_DAY) | (days > LAST_DAY) | (np.isnat(times) & _valid(column))
        in_days = types.is_date(kind)
        return np.where(refused, np.datetime64("NaT"), days if in_days else times).astype("datetime64[us]"), refused
    codes, values_once = distinct(column)
    values, refused = _one_by_one(values_once, read_time)
    in_utc = [None if value is None else value.replace(tzinfo=None) for value in values]  # numpy has no zones
    return np.array(in_utc, "datetime64[us]")[codes], refused[codes]


def _without_nanoseconds(times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """In microseconds if they were in nanoseconds: numpy's own cast wraps within a microsecond of their first year."""
    if times.dtype != np.dtype("datetime64[ns]"):
        return times
    cut = (times.view(np.int64) // 1000).view("datetime64[us]")
    return np.where(np.isnat(times), np.datetime64("NaT", "us"), cut)


def _categories(column: pa.Array) -> Read:
    codes, values_once = distinct(column)
    values, refused = _one_by_one(values_once, read_category)
    return Coded(codes, Coded.of(values).texts), refused[codes]


READERS: Mapping[Kind, Callable[[pa.Array], Read]] = {"number": _numbers, "category": _categories, "time": _times}


def distinct(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Each row's place among the distinct values, and these, null among them; all values for types that Arrow does not
    compare."""
    types, kind = pa.types, column.type
    if types.is_null(kind):
        return np.zeros(len(column), np.int64), column.slice(0, 1)
    comparable = (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_float32(kind)
        or types.is_float64(kind)
        or types.is_boolean(kind)
        or types.is_decimal128(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
    )
    if not comparable:
        return np.arange(len(column)), column
    encoded = column.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def missing_rows(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """[rows] Whether a row has no value, NaN or a blank text; each distinct value is looked at once."""
    codes, values_once = distinct(plain_array(column))
    return np.fromiter(map(missing, values_once.to_pylist()), np.bool_, len(values_once))[codes]


def _one_by_one(column: pa.Array, read: Callable[[Any, int, str], Any]) -> tuple[list[Any], NDArray[np.bool_]]:
    """Of each value what `read_row` makes of it, and whether it refuses it."""
    values: list[Any] = [row["value"] for row in python_rows(pa.table({"value": column}))]
    refused = np.zeros(len(values), np.bool_)
    for row, value in enumerate(values):
        if value is not None:
            try:
                values[row] = read(value, row, "value")
            except DataError:
                values[row], refused[row] = None, True
    return values, refused


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _lacking(values: Mapping[str, Array]) -> NDArray[np.bool_]:
    """[rows] Whether a row has no value at all."""
    first, *others = values.values()
    lacking = is_missing(first)
    for each in others:
        if not lacking.any():
            break
        lacking = lacking & is_missing(each)
    return lacking


def is_missing(values: Array) -> NDArray[np.bool_]:
    """[rows] Whether a row has no value."""
    if isinstance(values, Coded):
        return values.is_missing
    missing: NDArray[np.bool_] = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return missing


def joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """The rows of all parts, at least one, in order."""
    if len(parts) == 1:
        return parts[0]
    values: dict[str, Array] = {}
    for name, first in parts[0].items():
        columns: list[Any] = [part[name] for part in parts]
        values[name] = Coded.joined(columns) if isinstance(first, Coded) else np.concatenate(columns)
    return values
