"""The kinds of expectations that look at one row at a time: one function each, in the table KINDS.

A function gets an expectation and the rows' schema, whose columns are there, and returns what tells the rows that
violate it, vectorised. Raises Misfit where the expectation does not fit the columns. A null passes all but not_null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    floating = pa.types.is_floating(kind)

    def violated(rows: pa.Table) -> pa.ChunkedArray:
        column = rows[name]
        if nothing_fits:
            return pc.is_valid(column)
        outside = [pc.is_nan(column)] if floating else []
        outside += [pc.less(column, low)] if low is not None else []
        outside += [pc.greater(column, high)] if high is not None else []
        return _any(outside, rows)

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
    return lambda rows: _any([pc.invert(pc.match_substring_regex(rows[name], pattern=pattern))], rows)


def among(each: Expectation, schema: pa.Schema) -> Violated:
    (name,), kind = each.columns, schema.field(each.columns[0]).type
    allowed = pa.array([value(written, kind) for written in each.argument], kind)
    floating = pa.types.is_floating(kind)
    zero = pa.scalar(0, kind) if floating else None  # -0.0 + 0.0 is 0.0, which Arrow tells from -0.0

    def violated(rows: pa.Table) -> pa.ChunkedArray:
        column = rows[name]
        one_of = pc.is_in(pc.add(column, zero), value_set=pc.add(allowed, zero)) if floating else None
        one_of = pc.is_in(column, value_set=allowed) if one_of is None else one_of
        return pc.and_not(pc.is_valid(column), one_of)

    return violated


KINDS: dict[str, Callable[[Expectation, pa.Schema], Violated]] = {
    "not_null": not_null,
    "range": within,
    "regex": matches,
    "allowed": among,
    "sql": condition,
}


def _any(conditions: Sequence[pa.ChunkedArray], rows: pa.Table) -> pa.ChunkedArray:
    if not conditions:
        return pc.is_in(rows.column(0), value_set=pa.array([], rows.schema.field(0).type))
    (whole, *others) = conditions
    for other in others:
        whole = pc.or_(whole, other)
    return pc.fill_null(whole, False)
