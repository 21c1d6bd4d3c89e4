"""Conversions: a text that is a number or a day as such, and a whole number as a text.

Each is strict, so that every engine and every version of it reads the same: DuckDB alone would also read `1e3`, `1_000`
and `inf` as numbers, and Python `١٢`. What is not read has no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Array, Expression, Rows, objects
from lakewright.model.recipe.expressions.reading import Operation, Reader
from lakewright.model.recipe.expressions.texts import mapped
from lakewright.model.recipe.expressions.values import written_time

NUMBER = "^-?[0-9]{1,30}([.][0-9]{1,30})?$"
DAY = "^([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}$"  # the years that Python has
WHOLE = 1e15  # below it, every whole number is a double


def _number(text: str) -> float:
    return float(text) if IS_NUMBER.fullmatch(text) else np.nan


def _day(text: str) -> np.datetime64:
    try:
        return np.datetime64(date.fromisoformat(text) if IS_DAY.fullmatch(text) else "NaT", "us")
    except ValueError:  # such as the 30th of February
        return np.datetime64("NaT", "us")


IS_NUMBER, IS_DAY = re.compile(NUMBER.strip("^$")), re.compile(DAY.strip("^$"))


def _try_cast(reader: Reader, node: Any, depth: int) -> Expression:
    operand, into = reader.of("text", node.this, depth), node.args["to"].this.name
    if into not in ("DOUBLE", "DATE"):
        raise reader.error("converts a text into another type", "write TRY_CAST(NAME AS DOUBLE), or AS DATE")

    def read(rows: Rows) -> Array:
        texts = operand.compute(rows)
        if into == "DOUBLE":
            return np.array(mapped(texts, _number), dtype=np.float64)
        return np.array(mapped(texts, _day), dtype="datetime64[us]")

    exact = f"regexp_extract({operand.sql}, {sql.text(NUMBER if into == 'DOUBLE' else DAY)})"
    if into == "DOUBLE":
        return Expression("number", f"TRY_CAST({exact} AS DOUBLE)", read)
    return Expression("time", f"epoch_us(TRY_CAST({exact} AS DATE)::TIMESTAMP)", read)


def _cast(reader: Reader, node: Any, depth: int) -> Expression:
    """A time that is written out; a whole number as text: 5, not 5.0."""
    if node.args["to"].this.name not in ("TEXT", "VARCHAR"):
        return written_time(reader, node, depth)
    operand = reader.of("number", node.this, depth)

    def computed(rows: Rows) -> Array:
        values = operand.compute(rows)
        with np.errstate(invalid="ignore"):
            whole = (np.floor(values) == values) & (np.abs(values) < WHOLE)
        return objects([str(int(value)) if is_whole else None for value, is_whole in zip(values, whole, strict=True)])

    number, most = operand.sql, sql.number(WHOLE)
    return Expression(
        "text",
        f"(CASE WHEN floor({number}) = {number} AND abs({number}) < {most} "
        f"THEN TRY_CAST(TRY_CAST({number} AS BIGINT) AS VARCHAR) END)",
        computed,
    )


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "TryCast": (frozenset({"this", "to"}), _try_cast),
    "Cast": (frozenset({"this", "to"}), _cast),
}
