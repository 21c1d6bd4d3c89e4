"""Values that an expression begins with: inputs, and what is written out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from lakewright.errors import nearest
from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Expression, missing_values, objects
from lakewright.model.recipe.expressions.reading import ONE, Operation, Reader
from lakewright.model.recipe.values import categories, numbers, times


def _column(reader: Reader, node: Any, depth: int) -> Expression:
    name = node.name
    if name not in reader.inputs:
        raise reader.error(
            f"reads {name[:80]!r}, which is none of the step's inputs",
            f"{nearest(name[:80], reader.inputs)}; a step reads the inputs that are there when its turn comes",
        )
    kind = reader.inputs[name]
    if kind == "number":
        return Expression("number", sql.double(name), lambda rows: numbers(rows.values[name]))
    if kind == "category":
        return Expression("text", sql.name(name), lambda rows: categories(rows.values[name]))
    return Expression("time", f"epoch_us({sql.name(name)})", lambda rows: times(rows.values[name]))


def _literal(reader: Reader, node: Any, depth: int) -> Expression:
    if node.is_string:
        text = node.name
        return Expression("text", sql.text(text), lambda rows: objects([text] * rows.count))
    try:
        number = float(node.name)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise reader.error(f"holds the number {node.name[:40]}", "write a number that a double holds")
    return Expression("number", sql.number(number), lambda rows: np.full(rows.count, number))


def written_time(reader: Reader, node: Any, depth: int) -> Expression:
    if node.args["to"].this.name not in ("DATE", "TIMESTAMP", "TIMESTAMPNTZ") or not node.this.is_string:
        raise reader.error(
            f"converts {node.this.sql('duckdb')[:80]!r}",
            "write TRY_CAST(text AS DOUBLE), CAST(number AS VARCHAR), or a time: DATE '2024-02-29'",
        )
    try:
        time = np.datetime64(datetime.fromisoformat(node.this.name).replace(tzinfo=None), "us")
    except ValueError:
        raise reader.error(f"holds the time {node.this.name[:40]!r}", "write DATE '2024-02-29'") from None
    return Expression("time", f"{time.astype(np.int64)}::BIGINT", lambda rows: np.full(rows.count, time))


def _boolean(reader: Reader, node: Any, depth: int) -> Expression:
    value = bool(node.this)
    return Expression("truth", str(value).lower(), lambda rows: np.full(rows.count, float(value)))


NULL = Expression("null", "NULL", lambda rows: missing_values("number", rows.count))


def _paren(reader: Reader, node: Any, depth: int) -> Expression:
    return reader.read(node.this, depth)


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "Column": (ONE, _column),
    "Literal": (frozenset({"this", "is_string"}), _literal),
    "Boolean": (ONE, _boolean),
    "Null": (frozenset(), lambda reader, node, depth: NULL),
    "Paren": (ONE, _paren),
}
