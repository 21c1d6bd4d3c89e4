"""Numbers: arithmetic, rounding, the least and the greatest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Array, Expression, Rows
from lakewright.model.recipe.expressions.reading import ONE, TWO, Operation, Reader


def _arithmetic(symbol: str, compute: Callable[[Array, Array], Array], by_zero: bool = True) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        left, right = (reader.of("number", each, depth) for each in (node.this, node.expression))

        def computed(rows: Rows) -> Array:
            other = right.compute(rows)
            if not by_zero:
                other = np.where(other == 0, np.nan, other)
            with np.errstate(all="ignore"):  # beyond the range of numbers: infinite, as in SQL
                return compute(left.compute(rows), other)

        other = right.sql if by_zero else f"nullif({right.sql}, {sql.number(0.0)})"
        return Expression("number", f"nullif({left.sql} {symbol} {other}, 'nan'::DOUBLE)", computed)

    return operation


def _of_number(call: str, compute: Callable[[Array], Array]) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        operand = reader.of("number", node.this, depth)

        def computed(rows: Rows) -> Array:
            with np.errstate(invalid="ignore"):
                return compute(operand.compute(rows))

        return Expression("number", f"nullif({call}({operand.sql}), 'nan'::DOUBLE)", computed)

    return operation


def _nearest_whole(values: Array) -> Array:
    """Halves go away from zero."""
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # infinite numbers are whole
        half = np.abs(values - whole) >= 0.5
    rounded: Array = np.where(half, whole + np.copysign(1.0, values), whole)
    return rounded


def _round(reader: Reader, node: Any, depth: int) -> Expression:
    operand = reader.of("number", node.this, depth)
    if node.args.get("decimals") is None:
        return Expression("number", f"round({operand.sql})", lambda rows: _nearest_whole(operand.compute(rows)))
    digits = reader.whole(node.args["decimals"], 0, 15)

    def computed(rows: Rows) -> Array:
        values = operand.compute(rows)
        with np.errstate(over="ignore"):
            rounded = _nearest_whole(values * 10.0**digits) / 10.0**digits
        return np.where(np.isfinite(rounded), rounded, values)

    return Expression("number", f"round({operand.sql}, {digits})", computed)


def _extreme(call: str, better: Callable[[Array, Array], Any]) -> Operation:
    """The least or greatest of the values that are not missing; of equal ones the first."""

    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        operands = [reader.of("number", each, depth) for each in (node.this, *node.expressions)]

        def further(best: Array, other: Array) -> Array:
            return np.where(np.isnan(best) | better(other, best), other, best)

        written = ", ".join(each.sql for each in operands)
        return Expression(
            "number", f"{call}({written})", lambda rows: reduce(further, (each.compute(rows) for each in operands))
        )

    return operation


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "Add": (TWO, _arithmetic("+", np.add)),
    "Sub": (TWO, _arithmetic("-", np.subtract)),
    "Mul": (TWO, _arithmetic("*", np.multiply)),
    "Div": (TWO, _arithmetic("/", np.divide, by_zero=False)),
    "Mod": (TWO, _arithmetic("%", np.fmod, by_zero=False)),
    "Neg": (ONE, _of_number("-", np.negative)),
    "Abs": (ONE, _of_number("abs", np.abs)),
    "Floor": (ONE, _of_number("floor", np.floor)),
    "Ceil": (ONE, _of_number("ceil", np.ceil)),
    "Sqrt": (ONE, _of_number("sqrt", np.sqrt)),
    "Round": (frozenset({"this", "decimals"}), _round),
    "Least": (frozenset({"this", "expressions"}), _extreme("least", np.less)),
    "Greatest": (frozenset({"this", "expressions"}), _extreme("greatest", np.greater)),
}
