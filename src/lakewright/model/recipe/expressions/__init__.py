"""Expressions over a row's inputs: a small, strict subset of SQL, computed by numpy and by DuckDB alike, bit for bit.

Four kinds of values: numbers (all of them doubles), texts (of categories), truths, times. Each may be missing. Not a
number counts as missing, so `0 / 0` is; a division by zero has no value either, whatever the engine makes of it. Truths
are SQL's: true, false or missing. A text is compared by its code points. lower and upper know the Latin, Greek and
Cyrillic letters that have exactly one counterpart, so that no version of Unicode changes a row's result.

An expression may come from a stranger (recipe.json): its length, its depth and its SQL are bounded, and nothing in it
is computed by Python or sent to DuckDB as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe.expressions import choices, conversions, numbers, patterns, texts, times, truths, values
from lakewright.model.recipe.expressions.expression import TYPES, Expression, ExpressionError, Rows, Type, unknown
from lakewright.model.recipe.expressions.reading import HINT, Operation, Reader
from lakewright.model.recipe.expressions.texts import PAIRS

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

__all__ = ["FUNCTIONS", "PAIRS", "TYPES", "Expression", "ExpressionError", "Rows", "Type", "parse", "unknown"]

LONGEST = 2_000  # characters of an expression
NESTED = 20  # brackets, calls, CASE and NOT within each other: sqlglot takes some 25 frames of Python's stack for each
PARTS = (values, numbers, times, truths, choices, texts, patterns, conversions)
OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    name: operation for part in PARTS for name, operation in part.OPERATIONS.items()
}
FUNCTIONS = (
    "abs, ceil, coalesce, concat, contains, date_diff, day, dayname, dayofyear, ends_with, floor, greatest, hour, if, "
    "ifnull, isodow, least, left, length, lower, minute, month, monthname, nullif, quarter, regexp_extract, "
    "regexp_full_match, regexp_replace, replace, right, round, second, split_part, sqrt, starts_with, substring, trim, "
    "try_cast, upper, year"
)


def parse(text: str, inputs: Mapping[str, Kind]) -> Expression:
    """The expression that the text writes over these inputs. Raises ExpressionError."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has {len(text):,} characters", f"write at most {LONGEST:,}")
    try:
        node = sqlglot.parse_one(text, dialect="duckdb")
    except (SqlglotError, RecursionError, ValueError) as failure:
        first = next(iter(str(failure).splitlines()), "")
        raise ExpressionError(f"{text[:200]!r} is no SQL expression: {first[:200]}", HINT) from None
    if _nested(node) > NESTED:
        raise ExpressionError(
            f"the expression {text[:200]!r} is nested deeper than {NESTED} brackets", "split it into several"
        )
    return Reader(text, inputs, OPERATIONS, FUNCTIONS).read(node, 0)


def _nested(root: Node) -> int:
    """The most brackets, calls, CASE and NOT around any part."""
    from sqlglot import exp

    deepest, waiting = 0, [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        depth += isinstance(node, exp.Func | exp.Unary) and not isinstance(node, exp.Connector)
        deepest = max(deepest, depth)
        waiting.extend((inner, depth) for inner in node.iter_expressions())
    return deepest
