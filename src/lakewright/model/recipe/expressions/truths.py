"""Truths: comparisons and logic, with SQL's rules for what is missing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from lakewright.model.recipe.expressions.expression import Array, Expression, Rows, typed, unknown
from lakewright.model.recipe.expressions.reading import ONE, TWO, Operation, Reader


def compared(compare: Callable[[Any, Any], Any], left: Array, right: Array) -> Array:
    missing = unknown(left) | unknown(right)
    if left.dtype == object:
        left, right = np.where(missing, "", left), np.where(missing, "", right)
    return np.where(missing, np.nan, compare(left, right).astype(np.float64))


def _comparison(symbol: str, compare: Callable[[Any, Any], Any]) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        left, right = reader.alike(reader.several([node.this, node.expression], depth))
        return Expression(
            "truth",
            f"({left.sql} {symbol} {right.sql})",
            lambda rows: compared(compare, left.compute(rows), right.compute(rows)),
        )

    return operation


def _and(left: Array, right: Array) -> Array:
    either = np.isnan(left) | np.isnan(right)
    return np.where((left == 0) | (right == 0), 0.0, np.where(either, np.nan, 1.0))


def _or(left: Array, right: Array) -> Array:
    return 1.0 - _and(1.0 - left, 1.0 - right)


def _logic(symbol: str, compute: Callable[[Array, Array], Array]) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        left, right = (reader.of("truth", each, depth) for each in (node.this, node.expression))
        return Expression(
            "truth", f"({left.sql} {symbol} {right.sql})", lambda rows: compute(left.compute(rows), right.compute(rows))
        )

    return operation


def _not(reader: Reader, node: Any, depth: int) -> Expression:
    operand = reader.of("truth", node.this, depth)
    return Expression("truth", f"(NOT {operand.sql})", lambda rows: 1.0 - operand.compute(rows))


def _is(reader: Reader, node: Any, depth: int) -> Expression:
    kind = type(node.expression).__name__
    if kind == "Null":
        operand = typed("number", reader.read(node.this, depth))
        return Expression(
            "truth", f"({operand.sql} IS NULL)", lambda rows: unknown(operand.compute(rows)).astype(np.float64)
        )
    if kind != "Boolean":
        raise reader.error("holds IS", "write IS NULL, IS NOT NULL, IS TRUE or IS FALSE")
    operand, value = reader.of("truth", node.this, depth), bool(node.expression.this)
    return Expression(
        "truth",
        f"({operand.sql} IS NOT DISTINCT FROM {str(value).lower()})",
        lambda rows: (operand.compute(rows) == float(value)).astype(np.float64),
    )


def _distinct(symbol: str, same: bool) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        left, right = reader.alike(reader.several([node.this, node.expression], depth))

        def computed(rows: Rows) -> Array:
            one, other = left.compute(rows), right.compute(rows)
            both = unknown(one) & unknown(other)
            equal = both | (compared(operator.eq, one, other) == 1)
            return np.where(equal == same, 1.0, 0.0)

        return Expression("truth", f"({left.sql} {symbol} {right.sql})", computed)

    return operation


def _in(reader: Reader, node: Any, depth: int) -> Expression:
    if not node.expressions:
        raise reader.error("holds IN without a list", "write IN ('a', 'b')")
    first, *others = reader.alike(reader.several([node.this, *node.expressions], depth))

    def computed(rows: Rows) -> Array:
        value = first.compute(rows)
        return reduce(_or, (compared(operator.eq, value, each.compute(rows)) for each in others))

    return Expression("truth", f"({first.sql} IN ({', '.join(each.sql for each in others)}))", computed)


def _between(reader: Reader, node: Any, depth: int) -> Expression:
    value, low, high = reader.alike(reader.several([node.this, node.args["low"], node.args["high"]], depth))

    def computed(rows: Rows) -> Array:
        each = value.compute(rows)
        above, below = (
            compared(operator.ge, each, low.compute(rows)),
            compared(operator.le, each, high.compute(rows)),
        )
        return _and(above, below)

    return Expression("truth", f"({value.sql} BETWEEN {low.sql} AND {high.sql})", computed)


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "EQ": (TWO, _comparison("=", operator.eq)),
    "NEQ": (TWO, _comparison("<>", operator.ne)),
    "LT": (TWO, _comparison("<", operator.lt)),
    "LTE": (TWO, _comparison("<=", operator.le)),
    "GT": (TWO, _comparison(">", operator.gt)),
    "GTE": (TWO, _comparison(">=", operator.ge)),
    "NullSafeEQ": (TWO, _distinct("IS NOT DISTINCT FROM", True)),
    "NullSafeNEQ": (TWO, _distinct("IS DISTINCT FROM", False)),
    "And": (TWO, _logic("AND", _and)),
    "Or": (TWO, _logic("OR", _or)),
    "Not": (ONE, _not),
    "Is": (TWO, _is),
    "In": (frozenset({"this", "expressions"}), _in),
    "Between": (frozenset({"this", "low", "high"}), _between),
}
