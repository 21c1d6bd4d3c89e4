"""Windows, whose rows Spark orders as DuckDB does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from lakewright.data.lake.spark_sql.aggregates import IN_ORDER, aggregated
from lakewright.data.lake.spark_sql.expressions import cast, sorting
from lakewright.data.lake.spark_sql.kinds import Kind, refused
from lakewright.data.lake.spark_sql.nodes import arguments_of, is_aggregate, name_of, spark_cast

if TYPE_CHECKING:
    from lakewright.data.lake.spark_sql.planned import Plan

_WINDOWS = ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile")
_OF_ROWS = ("lag", "lead", "first_value", "last_value", "nth_value")


def window(plan: Plan, node: exp.Window, select: exp.Select) -> exp.Expr:
    kind = plan.kind(node, select)
    partition = [plan.value(each, select) for each in node.args.get("partition_by") or ()]
    if any("MAP" in plan.kind(each, select).spark for each in node.args.get("partition_by") or ()):
        raise refused("a window is divided by a map")
    order = node.args.get("order")
    ordered = [sorting(plan, each, select) for each in order.expressions] if order is not None else []
    spec = node.args.get("spec")
    if spec is not None:
        spec = spec.copy()
        frame = str(spec.args.get("kind")).upper()
        bounds = [spec.args.get("start"), spec.args.get("end")]
        if spec.args.get("exclude") or frame not in ("ROWS", "RANGE"):
            raise refused("a window with GROUPS or EXCLUDE")
        if frame == "RANGE" and any(isinstance(each, exp.Expr) for each in bounds):
            raise refused("a window with a RANGE of values", "write ROWS")
        if any(isinstance(each, exp.Expr) and not isinstance(each, exp.Literal) for each in bounds):
            raise refused("a window's bound that is not a number")
        spec.set("kind", frame)
    inner = node.this
    nulls = type(inner) if isinstance(inner, exp.IgnoreNulls | exp.RespectNulls) else None
    function = inner.this if nulls else inner
    name = name_of(function)
    if name in (*_WINDOWS, *_OF_ROWS):
        if not ordered:
            raise refused(f"{name}() over rows without an order", f"write {name}() over (order by …)")
        made: exp.Expr = _of_rows(plan, function, name, select, kind)
        if spec is not None and name not in ("first_value", "last_value", "nth_value"):
            spec = None  # it means nothing to them
        if name in ("lag", "lead", *_WINDOWS) and function.find(exp.Order):
            raise refused(f"{name} with an order of its own")
        made = nulls(this=made) if nulls else made
    elif is_aggregate(inner) and name_of(inner.this if isinstance(inner, exp.Filter) else inner) not in IN_ORDER:
        made = aggregated(plan, inner, select)
    else:
        raise refused(f"{name or inner.key} over a window")
    # A cast, or the function of a list, goes around the window.
    around: list[exp.Expr] = []
    while isinstance(made, exp.Cast) or (isinstance(made, exp.Anonymous) and made.name in plan.functions):
        around.append(made)
        made = made.this if isinstance(made, exp.Cast) else made.expressions[0]
    over: exp.Expr = exp.Window(
        this=made,
        partition_by=partition,
        order=exp.Order(expressions=ordered) if ordered else None,
        spec=spec,
    )
    for each in reversed(around):
        if isinstance(each, exp.Cast):
            over = exp.Cast(this=over, to=each.to)
        else:
            over = exp.Anonymous(this=each.this, expressions=[over])
    return spark_cast(over, kind) if name in _WINDOWS else over


def _of_rows(plan: Plan, function: exp.Expr, name: str, select: exp.Select, kind: Kind) -> exp.Expr:
    if name in ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"):
        return exp.Anonymous(this=name)
    parts = arguments_of(function)
    if name == "ntile":
        if len(parts) != 1 or not isinstance(parts[0], exp.Literal):
            raise refused("ntile of what is not a number")
        return exp.Anonymous(this=name, expressions=[parts[0].copy()])
    nulls = type(parts[0]) if isinstance(parts[0], exp.IgnoreNulls | exp.RespectNulls) else None
    parts = [parts[0].this if nulls else parts[0], *parts[1:]]
    first = plan.value(parts[0], select)
    if plan.kind(parts[0], select).name != kind.name:
        first = cast(plan, first, plan.kind(parts[0], select), kind)
    arguments = [first]
    if len(parts) > 1:
        if not isinstance(parts[1], exp.Literal) or not parts[1].name.isdecimal():
            raise refused(f"{name} with an offset that is not a number")
        arguments.append(parts[1].copy())
    if len(parts) > 2:
        default = plan.kind(parts[2], select)
        third = plan.value(parts[2], select)
        arguments.append(third if default.name == kind.name else cast(plan, third, default, kind))
    made = exp.Anonymous(this=name, expressions=arguments)
    return nulls(this=made) if nulls else made
