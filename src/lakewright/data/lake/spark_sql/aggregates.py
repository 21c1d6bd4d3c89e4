"""Aggregates: Spark's own, or DuckDB's of the list of a group's rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from lakewright.data.lake.spark_sql.expressions import call, check_functions, condition
from lakewright.data.lake.spark_sql.kinds import WHOLE, Kind, carries_all, refused
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.data.lake.spark_sql.nodes import arguments_of, is_leaf, leaves_of, name_of, spark_cast

if TYPE_CHECKING:
    from lakewright.data.lake.spark_sql.planned import Plan

# Their values depend on the order in which rows come, which Spark does not keep.
IN_ORDER = {
    *("any_value", "arbitrary", "arg_max", "arg_max_null", "arg_min", "arg_min_null", "array_agg", "first", "last"),
    *("group_concat", "list", "listagg", "max_by", "min_by", "mode", "string_agg", "approx_quantile", "approx_top_k"),
    *("reservoir_quantile", "argmax", "argmin", "histogram_exact", "fsum", "kahan_sum", "sumkahan", "favg"),
}


def aggregate(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    """Of the rows below the grouping, where no expression is a key."""
    with plan.above(()):
        return aggregated(plan, node, select)


def aggregated(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    if isinstance(node, exp.Grouping):
        columns = [each.copy() for each in node.expressions]
        if len(columns) == 1:
            return exp.Cast(this=exp.Anonymous(this="grouping", expressions=columns), to=exp.DataType.build("bigint"))
        raise refused("GROUPING of several columns", "name one in each")
    where, inner = None, node
    if isinstance(inner, exp.Filter):
        where, inner = condition(plan, inner.expression.this, select), inner.this
    kind = plan.kind(inner, select)
    parts = arguments_of(inner)
    distinct = len(parts) == 1 and isinstance(parts[0], exp.Distinct)
    parts = parts[0].expressions if distinct else parts
    plain = isinstance(inner, exp.Func) and not inner.find(exp.Order) and len(parts) == 1
    name = name_of(inner)

    def kept(value: exp.Expr) -> exp.Expr:
        """NULL, which counts for nothing, where FILTER does not hold."""
        return value if where is None else exp.Case(ifs=[exp.If(this=where.copy(), true=value)])

    def called(function: str, value: exp.Expr) -> exp.Expr:
        arguments = [exp.Distinct(expressions=[value])] if distinct else [value]
        return exp.Anonymous(this=function, expressions=arguments)

    if name == "count" and (not parts or isinstance(parts[0], exp.Star)):
        return exp.Anonymous(this="count", expressions=[kept(exp.Literal.number(1))])
    if plain and name in ("count", "sum", "avg", "mean", "min", "max", "bool_and", "bool_or"):
        of = plan.kind(parts[0], select)
        value = plan.value(parts[0], select)
        if name == "count" and not (distinct and (of.is_nested or not carries_all(of))):
            return called("count", kept(value))
        if name == "sum" and (of.id in WHOLE or of.id == "decimal"):
            return spark_cast(called("sum", kept(spark_cast(value, kind))), kind)
        if name == "sum" and of.id in ("double", "float"):
            return called("sum", kept(spark_cast(value, kind)))
        if name in ("avg", "mean") and of.id in (*WHOLE, "double", "float"):
            return called("avg", kept(spark_cast(value, kind)))
        if name in ("min", "max") and not of.is_nested and carries_all(of):
            return called(name, kept(value))
        if name in ("bool_and", "bool_or") and of.id == "boolean":
            return called(name, kept(value))
    return _by_lists(plan, inner, kept, kind, select)


def _by_lists(
    plan: Plan, inner: exp.Expr, kept: Callable[[exp.Expr], exp.Expr], kind: Kind, select: exp.Select
) -> exp.Expr:
    """An aggregate that DuckDB computes, of the list of a group's rows."""
    func = inner.this if isinstance(inner, exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls) else inner
    name = name_of(func)
    if name in IN_ORDER and not inner.find(exp.Order):
        raise refused(
            f"{name}(…) depends on the order of rows, which Spark does not keep", f"write {name}(… order by …)"
        )
    check_functions(inner)
    leaves = {leaf.sql(Plain): leaf for part in inner.iter_expressions() for leaf in leaves_of(part)}
    numbers = {text: at for at, text in enumerate(leaves)}

    def change(each: exp.Expr) -> exp.Expr:
        at = numbers.get(each.sql(Plain)) if is_leaf(each, ()) else None
        return each if at is None else exp.column(f"lw{at}")

    text = inner.copy().transform(change).sql(Plain)
    fields: list[exp.Expr] = []
    for at, leaf in enumerate(leaves.values()):
        fields += [exp.Literal.string(f"f{at}"), plan.value(leaf, select)]
    row = exp.Anonymous(this="named_struct", expressions=fields or [exp.Literal.string("f0"), exp.Literal.number(1)])
    listed = exp.Anonymous(this="collect_list", expressions=[kept(row)])
    kinds = [plan.kind(leaf, select) for leaf in leaves.values()]
    return call(plan, text, [listed], kinds, kind, grouped=True)
