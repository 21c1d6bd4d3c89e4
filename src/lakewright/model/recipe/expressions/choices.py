"""Choices: one of several values, by conditions or by what is missing."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from lakewright.model.recipe.expressions.expression import Array, Expression, Rows, missing_values, unknown
from lakewright.model.recipe.expressions.reading import TWO, Operation, Reader
from lakewright.model.recipe.expressions.truths import compared
from lakewright.model.recipe.expressions.values import NULL


def _chosen(conditions: list[Expression], results: list[Expression]) -> Expression:
    """The result of the first condition that is true; the last result if none is."""

    def computed(rows: Rows) -> Array:
        chosen = results[-1].compute(rows)
        for condition, result in zip(reversed(conditions), reversed(results[:-1]), strict=True):
            chosen = np.where(condition.compute(rows) == 1, result.compute(rows), chosen)
        return chosen

    cases = " ".join(f"WHEN {c.sql} THEN {r.sql}" for c, r in zip(conditions, results, strict=False))
    return Expression(results[0].type, f"(CASE {cases} ELSE {results[-1].sql} END)", computed)


def _case(reader: Reader, node: Any, depth: int) -> Expression:
    branches = node.args["ifs"]
    if node.this is None:
        conditions = [reader.of("truth", each.this, depth) for each in branches]
    else:
        subject, *values = reader.alike(reader.several([node.this, *(each.this for each in branches)], depth))
        conditions = [_equal(subject, value) for value in values]
    default = node.args.get("default")
    results = reader.several([each.args["true"] for each in branches], depth)
    return _chosen(conditions, reader.alike([*results, NULL if default is None else reader.read(default, depth)]))


def _equal(left: Expression, right: Expression) -> Expression:
    return Expression(
        "truth",
        f"({left.sql} = {right.sql})",
        lambda rows: compared(operator.eq, left.compute(rows), right.compute(rows)),
    )


def _if(reader: Reader, node: Any, depth: int) -> Expression:
    otherwise = node.args.get("false")
    results = [reader.read(node.args["true"], depth), NULL if otherwise is None else reader.read(otherwise, depth)]
    return _chosen([reader.of("truth", node.this, depth)], reader.alike(results))


def _coalesce(reader: Reader, node: Any, depth: int) -> Expression:
    operands = reader.alike(reader.several([node.this, *node.expressions], depth))

    def computed(rows: Rows) -> Array:
        first, *others = (each.compute(rows) for each in operands)
        return reduce(lambda value, other: np.where(unknown(value), other, value), others, first)

    return Expression(operands[0].type, f"coalesce({', '.join(each.sql for each in operands)})", computed)


def _nullif(reader: Reader, node: Any, depth: int) -> Expression:
    value, other = reader.alike(reader.several([node.this, node.expression], depth))

    def computed(rows: Rows) -> Array:
        each = value.compute(rows)
        equal = compared(operator.eq, each, other.compute(rows)) == 1
        return np.where(equal, missing_values(value.type, rows.count), each)

    return Expression(value.type, f"nullif({value.sql}, {other.sql})", computed)


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "Case": (frozenset({"this", "ifs", "default"}), _case),
    "If": (frozenset({"this", "true", "false"}), _if),
    "Coalesce": (frozenset({"this", "expressions"}), _coalesce),
    "Nullif": (TWO, _nullif),
}
