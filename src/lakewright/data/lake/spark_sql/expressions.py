"""The value of an expression, for Spark: computed by itself, or by DuckDB in its workers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlglot import exp

from lakewright.data.lake.spark_sql.kinds import WHOLE, Computed, Kind, carries_all, refused, spark_type
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.data.lake.spark_sql.native import native
from lakewright.data.lake.spark_sql.nodes import (
    inside,
    is_key,
    is_leaf,
    is_predicate,
    is_volatile,
    leaves_of,
    name_of,
    spark_cast,
)

if TYPE_CHECKING:
    from lakewright.data.lake.spark_sql.planned import Plan

# Words and functions that mean this connection or moment, beside those that DuckDB itself lists as volatile.
_OF_HERE = {
    *("alias", "current_catalog", "current_role", "current_time", "current_user", "session_user", "user", "version"),
    *("localtime", "localtimestamp", "current_localtime", "current_localtimestamp", "query", "query_table", "getenv"),
    *("rand", "age"),
}


def value(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    """The expression for Spark: its own, or a function that DuckDB computes."""
    if is_key(node, plan.keys):
        with plan.above(()):
            return plan.value(node, select)
    made = native(plan, node, select)
    if made is not None:
        return made
    node = node.unnest()
    if isinstance(node, exp.And | exp.Or | exp.Not) and any(is_predicate(each) for each in inside(node)):
        return type(node)(
            **{key: exp.Paren(this=plan.value(each, select)) for key, each in node.args.items() if each is not None}
        )
    check_functions(node)
    leaves = {leaf.sql(Plain): leaf for leaf in leaves_of(node, plan.keys)}
    numbers = {text: at for at, text in enumerate(leaves)}

    def change(each: exp.Expr) -> exp.Expr:
        at = numbers.get(each.sql(Plain)) if is_leaf(each, plan.keys) else None
        return each if at is None else exp.column(f"lw{at}")

    text = node.copy().transform(change).sql(Plain)
    arguments = [plan.value(leaf, select) for leaf in leaves.values()]
    return call(plan, text, arguments, [plan.kind(leaf, select) for leaf in leaves.values()], plan.kind(node, select))


def condition(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    """Of WHERE, ON and HAVING. Its parts that DuckDB computes are one part: each may rely on the one before."""
    parts = list(node.flatten()) if isinstance(node, exp.And) else [node]
    own, others = [], []
    for part in parts:
        part = part.unnest()
        made = native(plan, part, select)
        if made is None and any(is_predicate(each) for each in inside(part)):
            made = plan.value(part, select)
        if made is None and isinstance(part, exp.EQ):
            sides = [plan.kind(part.this, select), plan.kind(part.expression, select)]
            if sides[0].name == sides[1].name and not sides[0].is_nested and carries_all(sides[0]):
                made = exp.EQ(this=plan.value(part.this, select), expression=plan.value(part.expression, select))
        if made is None:
            others.append(part)
        else:
            own.append(made)
    if others:
        rest = others[0] if len(others) == 1 else exp.and_(*others, copy=True, dialect=Plain)
        own.append(plan.value(rest, select))
    return exp.and_(*(exp.Paren(this=each) for each in own), copy=False) if len(own) > 1 else own[0]


def cast(plan: Plan, made: exp.Expr, kind: Kind, other: Kind) -> exp.Expr:
    """A value of Spark's as one of another type, as DuckDB casts it."""
    if kind.id == "sqlnull" or (kind.id in WHOLE and other.id in (*WHOLE, "double")):
        return spark_cast(made, other)
    return call(plan, f"CAST(lw0 AS {other.name})", [made], [kind], other)


def call(
    plan: Plan, text: str, arguments: list[exp.Expr], kinds: list[Kind], result: Kind, grouped: bool = False
) -> exp.Expr:
    for kind in (*kinds, result):
        spark_type(kind.of)  # raises, where Spark lacks it
    of = "\0".join([text, *(kind.name for kind in kinds), result.name, str(grouped)])
    name = f"lw_{hashlib.sha256(of.encode()).hexdigest()[:16]}"
    plan.functions[name] = Computed(name, text, tuple(kinds), result, grouped)
    return exp.Anonymous(this=name, expressions=arguments or [exp.Literal.number(1)])


def sorting(plan: Plan, ordered: exp.Ordered, select: exp.Select) -> exp.Expr:
    """A key that rows are sorted by."""
    return sorting_of(plan, ordered, plan.value(ordered.this, select), plan.kind(ordered.this, select))


def sorting_of(plan: Plan, ordered: exp.Ordered, made: exp.Expr, kind: Kind) -> exp.Expr:
    down, nulls_first = bool(ordered.args.get("desc")), bool(ordered.args.get("nulls_first"))
    if kind.is_nested:  # Spark compares lists and structs in another way, and maps not at all
        key = f"create_sort_key(lw0, '{'DESC' if down else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}')"
        blob = plan.probed.kind(plan.probed.types("SELECT ''::BLOB")[0])
        made, down, nulls_first = call(plan, key, [made], [kind], blob), False, False
    return exp.Ordered(this=made, desc=down, nulls_first=nulls_first)


def check_functions(node: exp.Expr) -> None:
    """Raises UsageError for a function of this connection or moment."""
    for each in node.find_all(exp.Func):
        name = name_of(each)
        if name in _OF_HERE or is_volatile(name):
            raise refused(f"{name}(…) has another value at each call, or in each worker")
