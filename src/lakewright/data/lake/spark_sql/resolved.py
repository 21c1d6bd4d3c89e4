"""A statement with all its names resolved, in forms that Spark has, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlglot import exp, parse_one

from lakewright.data.lake.spark_sql.kinds import refused
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.data.lake.spark_sql.nodes import Probed, aggregates, aliased, aside, from_of, inside_of

_NOW = {"now": "now()", "today": "today()", "current_date": "today()", "current_timestamp": "now()"}
_NOT_TRANSLATED = {
    exp.TableSample: "a sample", exp.Describe: "DESCRIBE", exp.Summarize: "SUMMARIZE",
    exp.Command: "this command", exp.Parameter: "a parameter",
    exp.Placeholder: "a parameter", exp.Fetch: "FETCH",
}  # fmt: skip


def with_views(tree: exp.Expr, tables: Mapping[tuple[str, str, str], tuple[str, Mapping[str, str]]]) -> exp.Expr:
    """The tables' views in place of their names; a table's name of three parts before a column becomes its alias."""
    views = {tuple(part.lower() for part in key): view for key, (view, _) in tables.items()}
    for table in list(tree.find_all(exp.Table)):
        view = views.get((table.catalog.lower(), table.db.lower(), table.name.lower()))
        if view is None:
            continue
        if table.args.get("sample"):
            continue
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        if not alias.args.get("this"):
            alias.set("this", exp.to_identifier(table.name, quoted=True))
        table.replace(
            expression=exp.Table(this=exp.to_identifier(view, quoted=True), alias=alias, joins=table.args.get("joins"))
        )
    for column in list(tree.find_all(exp.Column)):
        if (
            column.args.get("catalog")
            and (column.catalog.lower(), column.text("db").lower(), column.table.lower()) in views
        ):
            column.set("catalog", None)
            column.set("db", None)
    return tree


def prepared(tree: exp.Expr, probed: Probed) -> exp.Expr:
    """In forms that sqlglot resolves the names of."""
    for node in tree.walk():
        for refused_form, form in _NOT_TRANSLATED.items():
            if isinstance(node, refused_form):
                raise refused(f"{form} is not translated")
        if isinstance(node, exp.Join) and node.args.get("method") in ("ASOF", "POSITIONAL"):
            raise refused(f"{node.args['method']} JOIN is not translated")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                cte.set("materialized", None)
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(_of_values(tree, named=False))
    for values in list(tree.find_all(exp.Values)):
        values.replace(expression=_of_values(values))
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Func) and table.this.name.lower() in ("range", "generate_series"):
            table.replace(expression=_of_series(table, table.this))
    for node in tree.find_all(exp.Identifier):  # the names of fields stay as they are written
        if isinstance(node.parent, exp.PropertyEQ | exp.ColumnDef | exp.Kwarg | exp.Dot):
            node.meta["case_sensitive"] = True
    for node in list(tree.find_all(exp.Comprehension)):
        _as_lambdas(node)
    for node in list(tree.find_all(exp.Func)):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if (name in _NOW and not node.expressions and not node.this) or (
            isinstance(node, exp.Anonymous) and name in _NOW
        ):
            node.replace(expression=probed.constant(_NOW[name]))
    tree = _all(tree, exp.Select, lambda each: _of_names(each, probed))
    return _all(tree, exp.SetOperation, lambda each: _by_place(each, probed))


def _all(tree: exp.Expr, kind: type[exp.Expr], change: Callable[[Any], exp.Expr]) -> exp.Expr:
    """The tree, with each node of the kind changed, the inner ones first."""
    for node in reversed(list(tree.find_all(kind))):
        made = change(node)
        if made is node:
            continue
        if node is tree:
            tree = made
        else:
            node.replace(expression=made)
    return tree


def _of_values(values: exp.Values, named: bool = True) -> exp.Subquery:
    rows = values.expressions
    alias = values.args.get("alias")
    width = len(rows[0].expressions) if isinstance(rows[0], exp.Tuple) else 1
    columns = [each.name for each in alias.columns] if alias is not None else []
    columns += [f"col{at}" for at in range(len(columns), width)]

    def of(row: exp.Expr) -> exp.Expr:
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        return exp.Select(expressions=[aliased(cell.copy(), name) for cell, name in zip(cells, columns, strict=True)])

    def joined(some: list[exp.Expr]) -> exp.Expr:
        if len(some) == 1:
            return of(some[0])
        middle = len(some) // 2  # so that the tree is not deep
        return exp.Union(this=joined(some[:middle]), expression=joined(some[middle:]), distinct=False)

    name = alias.name if alias is not None and alias.name else "valueslist"
    return exp.Subquery(this=joined(rows), alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))


def _of_series(table: exp.Table, series: exp.Func) -> exp.Subquery:
    function = series.name.lower()
    alias = table.args.get("alias")
    column = alias.columns[0].name if alias is not None and alias.columns else function
    name = alias.name if alias is not None and alias.name else function
    inner = exp.Select(expressions=[exp.alias_(exp.Explode(this=series.copy()), column, quoted=True)])
    of = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
    return exp.Subquery(this=inner, alias=of, joins=table.args.get("joins"))


def _as_lambdas(node: exp.Comprehension) -> None:
    name, each, where = node.args["expression"].sql(Plain), node.this.sql(Plain), node.args.get("condition")
    iterated = node.args["iterator"].sql(Plain)
    if where is not None:
        iterated = f"list_filter({iterated}, lambda {name} : {where.sql(Plain)})"
    made = parse_one(f"list_transform({iterated}, lambda {name} : {each})", dialect=Plain)
    place = node.parent if isinstance(node.parent, exp.Array) else node
    place.replace(expression=made)


def _of_names(select: exp.Select, probed: Probed) -> exp.Select:
    """With a WINDOW's text for its name, the names of COLUMNS('…'), and USING for NATURAL."""
    windows = {each.name.lower(): each for each in select.args.get("windows") or ()}
    for window in list(select.find_all(exp.Window)) if windows else ():
        named = windows.get(window.args["alias"].name.lower()) if window.args.get("alias") else None
        if named is None or window in windows.values():
            continue
        window.set("alias", None)
        for key in ("partition_by", "order", "spec"):
            if named.args.get(key) and not window.args.get(key):
                value = named.args[key]
                window.set(key, [each.copy() for each in value] if isinstance(value, list) else value.copy())
    select.set("windows", None)
    source = from_of(select)
    for at, projection in enumerate(list(select.expressions)):
        if isinstance(projection, exp.Columns):
            names = probed.names(f"SELECT {projection.sql(Plain)} FROM {source}", select)
            select.expressions[at].replace(expression=[exp.column(name, quoted=True) for name in names])
        elif projection.find(exp.Columns):
            raise refused("COLUMNS(…) within an expression is not translated")
    for place in [each for each in inside_of(select) if isinstance(each, exp.PositionalColumn)]:
        names = probed.names(f"SELECT * FROM {source}", select)
        if not 0 < int(place.name) <= len(names):
            raise refused(f"there is no column #{place.name}")
        place.replace(expression=exp.column(names[int(place.name) - 1], quoted=True))
    joins = select.args.get("joins") or []
    for at, join in enumerate(joins):
        if join.args.get("method") != "NATURAL":
            continue
        before = exp.Select(from_=select.args["from_"].copy(), joins=[each.copy() for each in joins[:at]])
        left = probed.names(f"SELECT * FROM {from_of(before)}", select)
        right = {name.lower() for name in probed.names(f"SELECT * FROM {join.this.sql(Plain)}", select)}
        join.set("method", None)
        join.set("using", [exp.to_identifier(name, quoted=True) for name in left if name.lower() in right])
    return select


def _by_place(union: exp.SetOperation, probed: Probed) -> exp.SetOperation:
    """BY NAME as by place."""
    if not union.args.get("by_name"):
        return union
    sides = [union.this, union.expression]
    names = [probed.names(each.sql(Plain), union) for each in sides]
    known = [{name.lower() for name in each} for each in names]
    wanted = names[0] + [name for name in names[1] if name.lower() not in known[0]]
    for key, side, there in zip(("this", "expression"), sides, known, strict=True):
        query = side.unnest() if isinstance(side, exp.Subquery) else side
        columns = [
            exp.alias_(exp.column(name, quoted=True) if name.lower() in there else exp.Null(), name, quoted=True)
            for name in wanted
        ]
        union.set(key, exp.Select(expressions=columns).from_(aside(query.copy(), "lw_side")))
    union.set("by_name", None)
    return union


def expanded(tree: exp.Expr) -> exp.Expr:
    """With all that ALL means, and QUALIFY and DISTINCT ON as windows in a subquery."""
    for select in list(tree.find_all(exp.Select)):
        names = _distinct_aliases(select)
        group, order = select.args.get("group"), select.args.get("order")
        if group is not None and group.args.get("all"):
            keys = [each.unalias().copy() for each in select.expressions if not aggregates(each)]
            select.set("group", exp.Group(expressions=keys) if keys else None)
        _expand_order(order, names)
    for union in list(tree.find_all(exp.SetOperation)):
        _expand_order(union.args.get("order"), [each.alias_or_name for each in union.selects])
    return _all(tree, exp.Select, _without_qualify)


def _distinct_aliases(select: exp.Select) -> list[str]:
    names: list[str] = []
    for at, projection in enumerate(list(select.expressions)):
        name = projection.alias_or_name or f"_col_{at}"
        if name.lower() in (each.lower() for each in names):  # nothing refers to the second one
            name = f"{name}_lw{at}"
            projection.replace(expression=aliased(projection.unalias().copy(), name))
        elif not isinstance(projection, exp.Alias):
            projection.replace(expression=aliased(projection.copy(), name))
        names.append(name)
    return names


def _expand_order(order: exp.Order | None, names: list[str]) -> None:
    for each in list(order.expressions) if order is not None else ():
        if (
            isinstance(each.this, exp.Var | exp.Column)
            and not each.this.text("table")
            and each.this.name.upper() == "ALL"
        ):
            if each.this.name.upper() in (name.upper() for name in names):
                continue
            made = []
            for name in names:
                ordered = each.copy()
                ordered.set("this", exp.column(name, quoted=True))
                made.append(ordered)
            each.replace(expression=made)


def _without_qualify(select: exp.Select) -> exp.Select:
    """A select over the rows that it keeps, by a row's number or by QUALIFY."""
    condition, distinct = select.args.get("qualify"), select.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if condition is None and on is None:
        return select
    aliases = [each.alias for each in select.expressions]
    by_alias = {each.alias.lower(): each.this for each in select.expressions}

    def resolved(node: exp.Expr) -> exp.Expr:
        def change(each: exp.Expr) -> exp.Expr:
            if isinstance(each, exp.Column) and not each.table and each.name.lower() in by_alias:
                found: exp.Expr = by_alias[each.name.lower()].copy()
                return found
            return each

        made: exp.Expr = node.copy().transform(change)
        return made

    order = select.args.get("order")
    if on is not None:
        if order is None:
            raise refused("DISTINCT ON without ORDER BY keeps any of the rows", "add ORDER BY")
        if condition is not None:
            raise refused("DISTINCT ON and QUALIFY together are not translated")
        keys = on.expressions if isinstance(on, exp.Tuple) else [on]
        made: exp.Expr = exp.Window(
            this=exp.RowNumber(),
            partition_by=[resolved(each) for each in keys],
            order=resolved(order),
        )
        select.set("distinct", None)
    else:
        assert condition is not None
        made = resolved(condition.this)
    outer = exp.Select(
        expressions=[exp.alias_(exp.column(name, "lw_kept", quoted=True), name, quoted=True) for name in aliases],
        distinct=select.args.get("distinct"),
    )
    extra: list[exp.Expr] = []
    for each in order.expressions if order is not None else ():
        if not (isinstance(each.this, exp.Column) and not each.this.table):
            extra.append(exp.alias_(each.this.copy(), f"lw_order{len(extra)}", quoted=True))
            each.set("this", exp.column(f"lw_order{len(extra) - 1}", "lw_kept", quoted=True))
    for key in ("order", "limit", "offset", "with_"):
        outer.set(key, select.args.get(key))
        select.set(key, None)
    select.set("qualify", None)
    select.set("distinct", None)
    select.set("expressions", [*select.expressions, *extra, exp.alias_(made, "lw_keep", quoted=True)])
    kept: exp.Expr = exp.column("lw_keep", "lw_kept", quoted=True)
    if on is not None:
        kept = exp.EQ(this=kept, expression=exp.Literal.number(1))
    outer.set("where", exp.Where(this=kept))
    inner = exp.Subquery(this=select.copy(), alias=exp.TableAlias(this=exp.to_identifier("lw_kept", quoted=True)))
    outer.set("from_", exp.From(this=inner))
    return outer
