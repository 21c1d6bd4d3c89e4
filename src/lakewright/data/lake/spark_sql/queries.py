"""Queries: selects, their sources and groups, set operations, and what is sorted and limited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from lakewright.data.lake.spark_sql.expressions import cast, condition, sorting, sorting_of
from lakewright.data.lake.spark_sql.kinds import WHOLE, Kind, refused
from lakewright.data.lake.spark_sql.nodes import aggregates, aliased, aside, inside, name_of, spark_cast

if TYPE_CHECKING:
    from lakewright.data.lake.spark_sql.planned import Plan


def query(plan: Plan, node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Subquery):
        made: exp.Expr = exp.Subquery(this=plan.query(node.this), alias=_copied(node, "alias"))
        if node.args.get("order") or node.args.get("limit") or node.args.get("joins"):
            raise refused("ORDER BY or LIMIT behind brackets is not translated")
    elif isinstance(node, exp.SetOperation):
        made = _set_operation(plan, node)
    elif isinstance(node, exp.Select):
        made = _select(plan, node)
    else:
        raise refused(f"{node.key} is not translated")
    with_ = node.args.get("with_")
    if with_ is not None:
        ctes = []
        for cte in with_.expressions:
            with plan.apart():
                ctes.append(exp.CTE(this=plan.query(cte.this), alias=_copied(cte, "alias")))
        made.set("with_", exp.With(expressions=ctes, recursive=with_.args.get("recursive")))
    return made


def within(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    """EXISTS, IN or a scalar: a query in an expression of the select."""
    if isinstance(node, exp.Exists):
        return exp.Exists(this=_inner(plan, node.this.unnest(), select))
    if isinstance(node, exp.In):
        query = node.args["query"].unnest()
        if len(kinds := plan.kinds_within(query, select)) != 1:
            raise refused("IN compares several columns", "write it as EXISTS, or as a semi join")
        (other,) = kinds
        own = plan.kind(node.this, select)
        if own.is_nested or (own.name != other.name and not {own.id, other.id} <= {*WHOLE}):
            raise refused(f"IN compares {own.name} with {other.name}", "cast one of them")
        return exp.In(this=plan.value(node.this, select), query=exp.Subquery(this=_inner(plan, query, select)))
    return exp.Subquery(this=_inner(plan, node.unnest() if isinstance(node, exp.Subquery) else node, select))


def _inner(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    """A query within an expression of the select."""
    before = plan.outer, plan.keys
    plan.outer, plan.keys = [*plan.outer, select], ()
    made = plan.query(node)
    plan.outer, plan.keys = before
    return made


def _set_operation(plan: Plan, node: exp.SetOperation) -> exp.Expr:
    if node.args.get("side") or node.args.get("kind") or node.args.get("on"):
        raise refused("this form of a set operation is not translated")
    wanted = plan.kinds_of(node)
    distinct = node.args.get("distinct") or not isinstance(node, exp.Union)
    if distinct and any("MAP" in kind.spark for kind in wanted):
        raise refused("rows with maps are compared")
    sides = []
    for side in (node.this, node.expression):
        kinds = plan.kinds_of(side)
        query = plan.query(side)
        if [kind.name for kind in kinds] != [kind.name for kind in wanted]:
            query = _cast_columns(plan, side, query, kinds, wanted)
        sides.append(query)
    made = type(node)(this=sides[0], expression=sides[1], distinct=node.args.get("distinct"))
    order = node.args.get("order")
    if order is not None:
        names = [each.alias_or_name.lower() for each in node.selects]
        ordered = []
        for each in order.expressions:
            if not isinstance(each.this, exp.Column) or each.this.name.lower() not in names:
                raise refused("a set operation is ordered by an expression", "order by its columns")
            kind = wanted[names.index(each.this.name.lower())]
            ordered.append(sorting_of(plan, each, each.this.copy(), kind))
        made.set("order", exp.Order(expressions=ordered))
    return _limited(plan, made, node)


def _cast_columns(plan: Plan, side: Any, query: exp.Expr, kinds: list[Kind], wanted: list[Kind]) -> exp.Expr:
    names = [each.alias_or_name for each in side.selects]
    columns = []
    for name, kind, other in zip(names, kinds, wanted, strict=True):
        column: exp.Expr = exp.column(name, "lw_side", quoted=True)
        if kind.name != other.name:
            column = cast(plan, column, kind, other)
        columns.append(aliased(column, name))
    inner = query.unnest() if isinstance(query, exp.Subquery) else query
    return exp.Select(expressions=columns).from_(aside(inner, "lw_side"))


def _select(plan: Plan, select: exp.Select) -> exp.Expr:
    for key in (
        "laterals",
        "connect",
        "match",
        "sort",
        "cluster",
        "into",
        "locks",
        "prewhere",
        "sample",
        "settings",
    ):
        if select.args.get(key):
            raise refused(f"{key} is not translated")
    made = exp.Select()
    if select.args.get("from_"):
        made.set("from_", exp.From(this=_source(plan, select.args["from_"].this, select)))
    joins = []
    for join in select.args.get("joins") or ():
        if join.args.get("using"):
            raise refused("USING with columns that are not named is not translated")
        on = join.args.get("on")
        joins.append(
            exp.Join(
                this=_source(plan, join.this, select),
                on=condition(plan, on, select) if on is not None else None,
                **{key: join.args.get(key) for key in ("side", "kind", "method")},
            )
        )
    made.set("joins", joins)
    where = select.args.get("where")
    if where is not None:
        made.set("where", exp.Where(this=condition(plan, where.this, select)))
    keys = _group(plan, select, made)
    with plan.above(keys):
        _above_groups(plan, select, made)
    return _limited(plan, made, select)


def _group(plan: Plan, select: exp.Select, made: exp.Select) -> tuple[exp.Expr, ...]:
    group = select.args.get("group")
    if group is None:
        return ()
    keys = list[exp.Expr]()

    def key(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Tuple):
            return exp.Tuple(expressions=[key(each) for each in node.expressions])
        if isinstance(node, exp.Paren):
            return exp.Paren(this=key(node.this))
        if isinstance(node, exp.Rollup | exp.Cube | exp.GroupingSets):
            return type(node)(expressions=[key(each) for each in node.expressions])
        kind = plan.kind(node, select)
        if "MAP" in kind.spark:
            raise refused("rows are grouped by a map")
        keys.append(node)
        return plan.value(node, select)

    args: dict[str, Any] = {"expressions": [key(each) for each in group.expressions]}
    for form in ("rollup", "cube", "grouping_sets"):
        args[form] = [
            type(each)(expressions=[key(one) for one in each.expressions]) for each in group.args.get(form) or ()
        ]
    made.set("group", exp.Group(**args))
    return tuple(each for each in keys if not isinstance(each, exp.Column))


def _above_groups(plan: Plan, select: exp.Select, made: exp.Select) -> None:
    having = select.args.get("having")
    if having is not None:
        made.set("having", exp.Having(this=condition(plan, having.this, select)))
    distinct = select.args.get("distinct")
    unnested = 0
    projections = []
    for projection in select.expressions:
        value = projection.this
        if isinstance(value, exp.Explode | exp.Unnest):
            unnested += 1
            projections.append(aliased(_unnested(plan, value, select), projection.alias))
            continue
        if any(isinstance(each, exp.Explode | exp.Unnest) for each in inside(value)):
            raise refused("UNNEST within an expression", "unnest in a subquery first")
        kind = plan.kind(value, select)
        if distinct is not None and "MAP" in kind.spark:
            raise refused("rows with maps are compared")
        planned = plan.value(value, select)
        if kind.id in ("decimal", "sqlnull") and not isinstance(value, exp.Column):
            planned = spark_cast(planned, kind)
        projections.append(aliased(planned, projection.alias))
    if unnested > 1:
        raise refused("two lists are unnested side by side", "unnest each in a subquery")
    if unnested and (select.args.get("group") or any(aggregates(each) for each in select.expressions)):
        raise refused("a list is unnested where rows are grouped", "unnest it in a subquery first")
    made.set("expressions", projections)
    if distinct is not None:
        made.set("distinct", exp.Distinct())
    order = select.args.get("order")
    if order is not None:
        made.set("order", exp.Order(expressions=[sorting(plan, each, select) for each in order.expressions]))


def _limited(plan: Plan, made: exp.Expr, node: exp.Expr) -> exp.Expr:
    for key in ("limit", "offset"):
        limit = node.args.get(key)
        if limit is not None:
            if not (isinstance(limit.expression, exp.Literal) and not limit.expression.is_string):
                raise refused(f"{key.upper()} is not a number")
            if not limit.expression.name.isdecimal() or limit.args.get("limit_options"):
                raise refused(f"{key.upper()} is not a whole number")
            made.set(key, limit.copy())
    return made


def _source(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    if isinstance(node, exp.Table):
        if node.args.get("joins"):
            raise refused("joins in brackets are not translated")
        if not isinstance(node.this, exp.Identifier):
            raise refused(f"the table function {name_of(node.this) or node.this.key} is not translated")
        return exp.Table(this=node.this.copy(), alias=_copied(node, "alias"))
    if isinstance(node, exp.Subquery):
        with plan.apart():
            return plan.query(node)
    if isinstance(node, exp.Unnest):
        alias = node.args["alias"]
        if node.args.get("offset") or len(node.expressions) != 1 or len(alias.columns) > 1:
            raise refused("UNNEST of several lists, or with their places")
        columns = alias.columns or [exp.to_identifier("unnest", quoted=True)]
        exploded = exp.Anonymous(this="explode", expressions=[_list(plan, node.expressions[0], select)])
        return exp.Lateral(
            this=exploded,
            alias=exp.TableAlias(this=alias.this.copy(), columns=[each.copy() for each in columns]),
        )
    raise refused(f"{node.key} in FROM is not translated")


def _unnested(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    (of,) = [node.this] if isinstance(node, exp.Explode) else node.expressions
    if node.expressions and isinstance(node, exp.Explode):
        raise refused("UNNEST with options is not translated")
    return exp.Anonymous(this="explode", expressions=[_list(plan, of, select)])


def _list(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr:
    if plan.kind(node, select).id not in ("list", "array"):
        raise refused("UNNEST of what is not a list")
    return plan.value(node, select)


def _copied(node: exp.Expr, key: str) -> exp.Expr | None:
    value = node.args.get(key)
    return None if value is None else value.copy()
