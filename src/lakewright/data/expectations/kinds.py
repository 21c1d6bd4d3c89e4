"""The kinds of expectations that look at one row at a time: one function each, in the table KINDS.

A function gets an expectation and the rows' schema, whose columns are there, and returns what tells the rows that
violate it, vectorised. Raises Misfit where the expectation does not fit the columns. A null passes all but not_null.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.expectations.conditions import condition
from lakewright.data.expectations.values import ABOVE, BELOW, DoesNotFit, bound, value
from lakewright.errors import ProjectError
from lakewright.settings.expectations import Expectation

Violated = Callable[[pa.Table], pa.ChunkedArray]  # [rows] of truth values, without a null


def compiled(each: Expectation, schema: pa.Schema) -> Violated:
    """Raises ProjectError if the expectation does not fit the columns."""
    try:
        return KINDS[each.kind](each, schema)
    except DoesNotFit as failure:
        raise ProjectError(
            f"data.expect: {each.name}: the column {each.columns[0]!r} {failure}",
            f"correct data.expect.{each.kind}, or the column's type (data.options: {{types: …}}, or data.derive)",
        ) from None


def not_null(each: Expectation, schema: pa.Schema) -> Violated:
    (name,) = each.columns
    return lambda rows: pc.is_null(rows[name])


def within(each: Expectation, schema: pa.Schema) -> Violated:
    """NaN lies in no range."""
    (name,), kind = each.columns, schema.field(each.columns[0]).type
    limits = each.argument
    low = None if limits.min is None else bound(limits.min, kind, "min")
    high = None if limits.max is None else bound(limits.max, kind, "max")
    nothing_fits = low is ABOVE or high is BELOW
    low, high = (None if limit in (None, BELOW, ABOVE) else pa.scalar(limit, kind) for limit in (low, high))

    def violated(rows: pa.Table) -> pa.ChunkedArray:
        column = rows[name]
        if nothing_fits:
            return pc.is_valid(column)
        inside = [pc.greater_equal(column, low)] if low is not None else []
        inside += [pc.less_equal(column, high)] if high is not None else []
        return _not(reduce(pc.and_, inside or [pc.equal(column, column)]))  # NaN is neither, nor equal to itself

    return violated


def matches(each: Expectation, schema: pa.Schema) -> Violated:
    (name,), kind, pattern = each.columns, schema.field(each.columns[0]).type, each.argument
    if not pa.types.is_string(kind):
        raise DoesNotFit(f"has the type {kind}, and a regex is for texts")
    try:
        pc.match_substring_regex(pa.array([""]), pattern=pattern)
    except pa.ArrowInvalid as failure:
        raise ProjectError(
            f"data.expect: {each.name}: {pattern!r} is no regular expression: {failure}",
            "write it in RE2's syntax, which has no look-around and no references back",
        ) from None
    return lambda rows: _not(pc.match_substring_regex(rows[name], pattern=pattern))


def among(each: Expectation, schema: pa.Schema) -> Violated:
    (name,), kind = each.columns, schema.field(each.columns[0]).type
    zero = pa.scalar(0, kind) if pa.types.is_floating(kind) else None  # Arrow tells -0.0 from 0.0, which it is plus 0.0
    allowed = pa.array([value(written, kind) for written in each.argument], kind)
    allowed = allowed if zero is None else pc.add(allowed, zero)

    def violated(rows: pa.Table) -> pa.ChunkedArray:
        column = rows[name] if zero is None else pc.add(rows[name], zero)
        return pc.and_not(pc.is_valid(column), pc.is_in(column, value_set=allowed))

    return violated


KINDS: dict[str, Callable[[Expectation, pa.Schema], Violated]] = {
    "not_null": not_null,
    "range": within,
    "regex": matches,
    "allowed": among,
    "sql": condition,
}


def _not(fits: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null fits."""
    return pc.fill_null(pc.invert(fits), False)
