"""A bound of a range, or an allowed value, in the type of its column: exactly, or as the nearest value inside.

A bound beyond what the column's type can hold is `BELOW` or `ABOVE` all of its values. A float32 column reads a bound
as it reads its values: 0.7 is the float32 nearest to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lakewright.settings.expectations import in_utc, moment

BELOW, ABOVE = "below", "above"  # in place of a bound
Written = bool | int | float | str  # in the project file
End = Literal["min", "max"]
_EXACT = Context(prec=400)  # decimal digits


class DoesNotFit(ValueError):
    """A value in the project file that is none of the column's type; the text says why."""


def bound(written: int | float | str, kind: pa.DataType, end: End) -> Any:
    """The least (`min`) or greatest (`max`) value of the column's type that is not outside the bound; BELOW or ABOVE
    where all values lie on one side of it. Raises DoesNotFit."""
    types = pa.types
    if types.is_date(kind) or types.is_timestamp(kind):
        return _of_time(written, kind, end)
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        raise DoesNotFit(f"has the type {kind}, and a range is of numbers or times")
    if isinstance(written, str):
        raise DoesNotFit(f"holds numbers, and {written!r} is a time")
    if types.is_floating(kind):
        return _of_float(written, kind, end)
    number = Decimal(repr(written))
    scale = kind.scale if types.is_decimal(kind) else 0
    up = end == "min"
    rounded = number.quantize(Decimal(1).scaleb(-scale), ROUND_CEILING if up else ROUND_FLOOR, _EXACT)
    if types.is_decimal(kind):
        most = Decimal(10) ** (kind.precision - scale) - Decimal(1).scaleb(-scale, _EXACT)
        return ABOVE if rounded > most else BELOW if rounded < -most else rounded
    info = np.iinfo(kind.to_pandas_dtype())
    return ABOVE if rounded > info.max else BELOW if rounded < info.min else int(rounded)


def _of_float(written: int | float, kind: pa.DataType, end: End) -> float:
    if pa.types.is_float32(kind):
        with np.errstate(over="ignore"):
            return float(np.float32(written))
    try:
        value = float(written)
    except OverflowError:
        value = math.copysign(math.inf, written)
    if end == "min" and value < written:
        return math.nextafter(value, math.inf)
    if end == "max" and value > written:
        return math.nextafter(value, -math.inf)
    return value


def _of_time(written: int | float | str, kind: pa.DataType, end: End) -> Any:
    time = _time(written, kind)
    if not pa.types.is_date(kind):
        return time
    day = time.date()
    if end == "max" or time == datetime.combine(day, datetime.min.time()):
        return day
    return ABOVE if day == date.max else day + timedelta(days=1)


def _time(written: Written, kind: pa.DataType) -> datetime:
    if not isinstance(written, str):
        raise DoesNotFit(f"holds dates or times, and {_yaml(written)} is none")
    try:
        time = moment(written)
    except ValueError:
        raise DoesNotFit(f"holds dates or times, and {written!r} is none") from None
    if getattr(kind, "tz", None):
        return in_utc(time)
    if time.tzinfo is not None:
        raise DoesNotFit(f"holds times without a zone, and {written} has one")
    return time


def _text(written: Written, kind: pa.DataType) -> str:
    if not isinstance(written, str):
        raise DoesNotFit(f"holds texts, and {_yaml(written)} is none: write it in quotes")
    return written


def _truth(written: Written, kind: pa.DataType) -> bool:
    if not isinstance(written, bool):
        raise DoesNotFit(f"holds truth values, and {_yaml(written)} is none")
    return written


def _number(written: Written, kind: pa.DataType) -> int | float | Decimal:
    if isinstance(written, bool | str):
        raise DoesNotFit(f"holds numbers, and {_yaml(written)} is none")
    low, high = (bound(written, kind, end) for end in ("min", "max"))
    if low != high:
        raise DoesNotFit(f"has the type {kind}, which does not hold {written}")
    return low  # type: ignore[no-any-return]


def _day(written: Written, kind: pa.DataType) -> date:
    time = _time(written, kind)
    if time != datetime.combine(time.date(), datetime.min.time()):
        raise DoesNotFit(f"holds dates, and {written!r} is a time")
    return time.date()


_VALUES: list[tuple[Callable[[pa.DataType], bool], Callable[[Written, pa.DataType], Any]]] = [
    (pa.types.is_string, _text),
    (pa.types.is_boolean, _truth),
    (pa.types.is_integer, _number),
    (pa.types.is_floating, _number),
    (pa.types.is_decimal, _number),
    (pa.types.is_date, _day),
    (pa.types.is_timestamp, _time),
]


def value(written: Written, kind: pa.DataType) -> Any:
    """The value in the column's type. Raises DoesNotFit if it holds no such value."""
    for is_kind, read in _VALUES:
        if is_kind(kind):
            return read(written, kind)
    raise DoesNotFit(f"has the type {kind}, whose values cannot be listed")


def _yaml(written: Written) -> str:
    return str(written).lower() if isinstance(written, bool) else repr(written)


def micros(time: datetime) -> int:
    """Microseconds since 1970, of a time without a zone in UTC."""
    return (in_utc(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
