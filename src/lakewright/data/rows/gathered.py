"""Rows of numbers, categories and times as one array for each input, by the rules of `read_row`: what a request of many
rows is computed from. Needs no pyarrow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.coded import Coded
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import read_category, read_time
from lakewright.errors import DataError

NUMBERS = {float, int, bool, type(None)}  # of these numpy makes the floats that `read_number` makes
PLAIN = {str, int, float, bool, type(None)}
Array = NDArray[Any] | Coded


@dataclass(frozen=True, eq=False)
class Gathered:
    """Rows that `read_row` accepts."""

    values: Mapping[str, Array]
    """Input, at least one → float64 [rows], NaN without a number; datetime64[us] [rows] in UTC, NaT without a time; or
    Coded categories."""

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def part(self, start: int, stop: int) -> Gathered:
        return Gathered({name: each[start:stop] for name, each in self.values.items()})

    @property
    def lacking(self) -> NDArray[np.bool_]:
        """[rows] Whether a row has no value at all."""
        lacking = np.ones(len(self), np.bool_)
        for each in self.values.values():
            if not lacking.any():
                break
            lacking = lacking & _is_missing(each)
        return lacking

    def rows(self) -> list[dict[str, Any]]:
        """As `read_row` gives them."""
        columns = [_python(each) for each in self.values.values()]
        return [dict(zip(self.values, row, strict=True)) for row in zip(*columns, strict=True)]


def gathered(inputs: Mapping[str, Kind], rows: Sequence[Any]) -> Gathered | None:
    """The rows of mappings, at least one; None where one is not plain, and `read_row` must read it or refuse it: no
    mapping, without one of the inputs, or with a value that its input does not take as it is in JSON.

    Categories and times are read once for each distinct value.
    """
    values: dict[str, Array] = {}
    try:
        for name, kind in inputs.items():
            values[name] = READERS[kind]([row[name] for row in rows])
    except (KeyError, TypeError, ValueError, OverflowError, DataError):  # TypeError: a row that is no mapping
        return None
    return Gathered(values)


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    if not {*map(type, values)} <= NUMBERS:
        raise TypeError
    numbers = np.array(values, np.float64)
    if np.isinf(numbers).any():
        raise OverflowError
    return numbers


def _categories(values: list[Any]) -> Coded:
    return _coded(values, read_category)


def _times(values: list[Any]) -> NDArray[np.datetime64]:
    coded = _coded(values, lambda value, at, name: None if value is None else read_time(value, at, name))
    # numpy has no zones
    distinct = [None if value is None else value.replace(tzinfo=None) for value in coded.texts.tolist()]
    return np.array(distinct, "datetime64[us]")[coded.codes]


def _coded(values: list[Any], read: Callable[[Any, int, str], Any]) -> Coded:
    kinds = {*map(type, values)}
    if not kinds <= PLAIN:
        raise TypeError
    # 1, 1.0 and true are one key to a dictionary
    keys: list[Any] = values if kinds <= {str, type(None)} else [(type(value), value) for value in values]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    distinct = np.empty(len(places), dtype=object)
    distinct[:] = [read(key[1] if isinstance(key, tuple) else key, 0, "") for key in places]
    return Coded(np.fromiter(map(places.__getitem__, keys), np.int64, len(keys)), distinct)


READERS: Mapping[Kind, Callable[[list[Any]], Array]] = {"number": _numbers, "category": _categories, "time": _times}


def _is_missing(values: Array) -> NDArray[np.bool_]:
    if isinstance(values, Coded):
        return values.is_missing
    missing: NDArray[np.bool_] = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return missing


def _python(values: Array) -> list[Any]:
    if isinstance(values, Coded):
        return list(values)
    if values.dtype.kind == "M":
        times: list[datetime | None] = values.tolist()
        return [None if time is None else time.replace(tzinfo=UTC) for time in times]
    return [None if math.isnan(number) else number for number in values.tolist()]
