"""An expression that was read: its type, its SQL, and how numpy computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values
from lakewright.model.recipe.values import absent

Type = Literal["number", "text", "truth", "time", "null"]
Array = NDArray[Any]
TYPES: Mapping[Kind, Type] = {"number": "number", "category": "text", "time": "time"}
SQL_TYPES = {"number": "DOUBLE", "text": "VARCHAR", "truth": "BOOLEAN", "time": "BIGINT"}


class ExpressionError(ValueError):
    """What is wrong, and what to do: `cause` and `remedy`."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause, self.remedy = cause, remedy


@dataclass(frozen=True)
class Rows:
    values: Values
    count: int


@dataclass(frozen=True)
class Expression:
    """A number or a truth is float64 (0 and 1, NaN where it is missing), a text an object (None), a time datetime64[us]
    (NaT), each [rows]. In SQL a time is microseconds since 1970."""

    type: Type
    sql: str
    compute: Callable[[Rows], Array]


def unknown(rows: Array) -> NDArray[np.bool_]:
    """Where a value is missing, [rows]."""
    if rows.dtype == object:
        return absent(rows)
    missing: NDArray[np.bool_] = np.isnat(rows) if rows.dtype.kind == "M" else np.isnan(rows)
    return missing


def missing_values(type: Type, rows: int) -> Array:
    if type == "text":
        return np.full(rows, None, dtype=object)
    return np.full(rows, np.datetime64("NaT"), "datetime64[us]") if type == "time" else np.full(rows, np.nan)


def typed(type: Type, read: Expression) -> Expression:
    """What is always NULL as a missing value of a type; any other expression as it is."""
    if read.type != "null" or type == "null":
        return read
    return Expression(type, f"NULL::{SQL_TYPES[type]}", lambda rows: missing_values(type, rows.count))


def objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
