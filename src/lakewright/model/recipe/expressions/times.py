"""Times: how far apart they are, and their parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Array, Expression, Rows, objects
from lakewright.model.recipe.expressions.reading import ONE, Operation, Reader
from lakewright.model.recipe.part_of import PARTS

UNITS = {"SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 24 * 3600 * 10**6}  # microseconds
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _days(values: Array, unit: int) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = values.astype(np.int64) // unit
    return whole


def _date_diff(reader: Reader, node: Any, depth: int) -> Expression:
    """How often a unit begins from the first time to the second."""
    unit = UNITS.get(str(node.args["unit"].name).upper()) if node.args.get("unit") is not None else None
    if unit is None:
        raise reader.error("counts an unknown unit", f"date_diff counts {', '.join(UNITS).lower()}")
    until, since = (reader.of("time", each, depth) for each in (node.this, node.expression))

    def computed(rows: Rows) -> Array:
        last, first = until.compute(rows), since.compute(rows)
        count = (_days(last, unit) - _days(first, unit)).astype(np.float64)
        return np.where(np.isnat(last) | np.isnat(first), np.nan, count)

    return Expression("number", f"({_begun(until.sql, unit)} - {_begun(since.sql, unit)})::DOUBLE", computed)


def _begun(written: str, unit: int) -> str:
    """How many units have begun since 1970. SQL's division rounds to zero."""
    return f"({written} - ({written} % {unit} + {unit}) % {unit}) // {unit}"


def _weekday(written: str) -> str:
    """1 is Monday. Not isodow, which other dialects count in another way."""
    return f"(({_begun(written, UNITS['DAY'])} % 7 + 10) % 7 + 1)"


def _part(count: Callable[[Array], Array], written: Callable[[str], str]) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        time = reader.of("time", node.this, depth)

        def computed(rows: Rows) -> Array:
            each = time.compute(rows)
            return np.where(np.isnat(each), np.nan, count(each).astype(np.float64))

        return Expression("number", f"({written(time.sql)})::DOUBLE", computed)

    return operation


def _called(call: str) -> Callable[[str], str]:
    return lambda written: f"{call}(make_timestamp({written}))"


def _name(names: tuple[str, ...], count: Callable[[Array], Array], written: Callable[[str], str]) -> Operation:
    """The part's name, in English, as DuckDB has it."""

    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        time = reader.of("time", node.this, depth)

        def computed(rows: Rows) -> Array:
            each = time.compute(rows)
            absent = np.isnat(each)
            places = np.where(absent, 1, count(np.where(absent, np.datetime64(0, "us"), each)))
            return objects([None if none else names[place - 1] for none, place in zip(absent, places, strict=True)])

        return Expression("text", f"({sql.texts(names)})[{written(time.sql)}]", computed)

    return operation


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "DateDiff": (frozenset({"this", "expression", "unit"}), _date_diff),
    "Year": (ONE, _part(PARTS["year"], _called("year"))),
    "Quarter": (ONE, _part(lambda read: (PARTS["month"](read) + 2) // 3, _called("quarter"))),
    "Month": (ONE, _part(PARTS["month"], _called("month"))),
    "Day": (ONE, _part(PARTS["day"], _called("day"))),
    "DayOfYear": (ONE, _part(PARTS["yearday"], _called("dayofyear"))),
    "DayOfWeekIso": (ONE, _part(PARTS["weekday"], _weekday)),
    "Hour": (ONE, _part(PARTS["hour"], _called("hour"))),
    "Minute": (ONE, _part(PARTS["minute"], _called("minute"))),
    "Second": (ONE, _part(lambda read: read.astype(np.int64) % UNITS["MINUTE"] // UNITS["SECOND"], _called("second"))),
    "Dayname": (ONE, _name(DAYS, PARTS["weekday"], _weekday)),
    "Monthname": (ONE, _name(MONTHS, PARTS["month"], _called("month"))),
}
