"""Spark's statement for one of DuckDB's whose names are resolved: what Spark computes, and what DuckDB does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp, parse_one

from lakewright.data.lake.spark_sql.kinds import Computed, Kind, refused, spark_type
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.data.lake.spark_sql.nodes import (
    Probed,
    aggregates,
    aliased,
    arguments_of,
    aside,
    ctes_around,
    inside,
    is_aggregate,
    is_key,
    is_leaf,
    is_predicate,
    is_special,
    is_volatile,
    leaves_of,
    name_of,
    sources_of,
)

# Their values depend on the order in which rows come, which Spark does not keep.
_IN_ORDER = {
    *("any_value", "arbitrary", "arg_max", "arg_max_null", "arg_min", "arg_min_null", "array_agg", "first", "last"),
    *("group_concat", "list", "listagg", "max_by", "min_by", "mode", "string_agg", "approx_quantile", "approx_top_k"),
    *("reservoir_quantile", "argmax", "argmin", "histogram_exact", "fsum", "kahan_sum", "sumkahan", "favg"),
}
# Words and functions that mean this connection or moment, beside those that DuckDB itself lists as volatile.
_OF_HERE = {
    *("alias", "current_catalog", "current_role", "current_time", "current_user", "session_user", "user", "version"),
    *("localtime", "localtimestamp", "current_localtime", "current_localtimestamp", "query", "query_table", "getenv"),
    *("rand", "age"),
}
_WHOLE = ("tinyint", "smallint", "integer", "bigint")
_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_WINDOWS = ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile")
_OF_ROWS = ("lag", "lead", "first_value", "last_value", "nth_value")


@dataclass
class Plan:
    """Makes Spark's tree of DuckDB's; `select` is the one that an expression belongs to."""

    probed: Probed
    functions: dict[str, Computed] = field(default_factory=dict)
    outer: list[exp.Select] = field(default_factory=list)  # those around a query in an expression
    kinds: dict[tuple[int, str], Kind] = field(default_factory=dict)
    columns: dict[int, dict[str, dict[str, Kind]]] = field(default_factory=dict)
    keys: tuple[exp.Expr, ...] = ()  # what the rows are grouped by, above the grouping

    # Types

    def kind(self, node: exp.Expr, select: exp.Select) -> Kind:
        if isinstance(node, exp.Paren):
            return self.kind(node.this, select)
        if isinstance(node, exp.Column) and not node.table:  # a column of the result, in ORDER BY
            (named,) = [each for each in select.expressions if each.alias.lower() == node.name.lower()] or [None]
            if named is None:
                raise refused(f"the column {node.name} cannot be resolved")
            return self.kind(named.this, select)
        if isinstance(node, exp.Grouping):
            return self.probed.kind(self.probed.types("SELECT 1::BIGINT")[0])
        text = self._typed(node, select)
        if (id(select), text) not in self.kinds:
            self.kinds[id(select), text] = self._asked(text, node, select)
        return self.kinds[id(select), text]

    def _asked(self, text: str, node: exp.Expr, select: exp.Select) -> Kind:
        """DuckDB's type of the text, over rows that have the columns of the select's tables."""
        named = [each.table.lower() for each in node.find_all(exp.Column) if each.table]
        sources = self._columns_of(select)
        if isinstance(node, exp.Column) and node.name.lower() in sources.get(node.table.lower(), {}):
            return sources[node.table.lower()][node.name.lower()]
        for around in reversed(self.outer):
            if any(name not in sources for name in named):
                sources = {**self._columns_of(around), **sources}
        nulls = [
            f"(SELECT {', '.join(f'NULL::{kind.name} AS {_quoted(name)}' for name, kind in columns.items())}) "
            f"AS {_quoted(alias)}"
            for alias, columns in sources.items()
            if columns
        ]
        within = any(isinstance(each, exp.Query) for each in node.walk())
        around_it = ctes_around(select) if within else ""
        (of,) = self.probed.types(f"{around_it}SELECT {text} FROM {', '.join(nulls) or '(SELECT 1)'}")
        return self.probed.kind(of)

    def _columns_of(self, select: exp.Select) -> dict[str, dict[str, Kind]]:
        """The columns of each table of the select, by its alias."""
        if id(select) not in self.columns:
            before = ""
            by_alias: dict[str, dict[str, Kind]] = {}
            for source in sources_of(select):
                alias = source.alias_or_name
                if not alias:
                    raise refused("a table without a name")
                inner = source.this
                renamed = isinstance(source, exp.Subquery) and bool(source.args["alias"].columns)
                if isinstance(source, exp.Subquery) and isinstance(inner, exp.Select) and not renamed:
                    with self._apart():
                        by_alias[alias.lower()] = {
                            each.alias.lower(): self.kind(each.this, inner) for each in inner.expressions
                        }
                    continue
                text = f"{before}{source.sql(Plain)}"
                names, types = self.probed.columns(f"{ctes_around(select)}SELECT {_quoted(alias)}.* FROM {text}")
                by_alias[alias.lower()] = {
                    name.lower(): self.probed.kind(of) for name, of in zip(names, types, strict=True)
                }
                if not isinstance(source, exp.Subquery):
                    before = f"{text}, "  # a list that is unnested may be one of their columns
            self.columns[id(select)] = by_alias
        return self.columns[id(select)]

    def _typed(self, node: exp.Expr, select: exp.Select) -> str:
        """The node's text, of which DuckDB tells the type: NULLs of their types for windows and aggregates in it."""
        if isinstance(node, exp.Query) or is_predicate(node):
            return node.sql(Plain)
        changed = {}
        own = list[exp.Expr]()  # a window's function, which belongs to it
        inner = node.this if isinstance(node, exp.Window) else node if is_aggregate(node) else None
        while isinstance(inner, exp.Expr):
            own.append(inner)
            inner = None if isinstance(inner, exp.Func) else inner.this
        for each in node.walk(prune=lambda n: n is not node and is_special(n) and n not in own):
            if any(each is one for one in own):
                continue
            typed = is_special(each) or (isinstance(each, exp.Column) and not each.table)
            if each is not node and typed and not isinstance(each, exp.Query) and not is_predicate(each):
                changed[id(each)] = self.kind(each, select).name
        copy = node.copy()
        places = list(zip(node.walk(bfs=False), copy.walk(bfs=False), strict=True))
        for each, place in places:
            if id(each) in changed:
                place.replace(expression=parse_one(f"CAST(NULL AS {changed[id(each)]})", dialect=Plain))
        return copy.sql(Plain)

    # Queries

    def query(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Subquery):
            made: exp.Expr = exp.Subquery(this=self.query(node.this), alias=_copied(node, "alias"))
            if node.args.get("order") or node.args.get("limit") or node.args.get("joins"):
                raise refused("ORDER BY or LIMIT behind brackets is not translated")
        elif isinstance(node, exp.SetOperation):
            made = self._set_operation(node)
        elif isinstance(node, exp.Select):
            made = self._select(node)
        else:
            raise refused(f"{node.key} is not translated")
        with_ = node.args.get("with_")
        if with_ is not None:
            ctes = []
            for cte in with_.expressions:
                with self._apart():
                    ctes.append(exp.CTE(this=self.query(cte.this), alias=_copied(cte, "alias")))
            made.set("with_", exp.With(expressions=ctes, recursive=with_.args.get("recursive")))
        return made

    @contextmanager
    def _apart(self) -> Iterator[None]:
        before = self.outer, self.keys
        self.outer, self.keys = [], ()
        yield
        self.outer, self.keys = before

    @contextmanager
    def _above(self, keys: tuple[exp.Expr, ...]) -> Iterator[None]:
        before, self.keys = self.keys, keys
        yield
        self.keys = before

    def _inner(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """A query within an expression of the select."""
        before = self.outer, self.keys
        self.outer, self.keys = [*self.outer, select], ()
        made = self.query(node)
        self.outer, self.keys = before
        return made

    def _set_operation(self, node: exp.SetOperation) -> exp.Expr:
        if node.args.get("side") or node.args.get("kind") or node.args.get("on"):
            raise refused("this form of a set operation is not translated")
        wanted = self._kinds(node)
        distinct = node.args.get("distinct") or not isinstance(node, exp.Union)
        if distinct and any("MAP" in kind.spark for kind in wanted):
            raise refused("rows with maps are compared")
        sides = []
        for side in (node.this, node.expression):
            kinds = self._kinds(side)
            query = self.query(side)
            if [kind.name for kind in kinds] != [kind.name for kind in wanted]:
                query = self._cast_columns(side, query, kinds, wanted)
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
                ordered.append(self._ordered(each, each.this.copy(), kind))
            made.set("order", exp.Order(expressions=ordered))
        return self._limited(made, node)

    def _kinds(self, query: exp.Expr) -> list[Kind]:
        text = query.unnest().sql(Plain) if isinstance(query, exp.Subquery) else query.sql(Plain)
        around = ctes_around(query.parent if query.args.get("with_") else query)
        return [self.probed.kind(of) for of in self.probed.types(f"{around}SELECT * FROM ({text})")]

    def _cast_columns(self, side: Any, query: exp.Expr, kinds: list[Kind], wanted: list[Kind]) -> exp.Expr:
        names = [each.alias_or_name for each in side.selects]
        columns = []
        for name, kind, other in zip(names, kinds, wanted, strict=True):
            column: exp.Expr = exp.column(name, "lw_side", quoted=True)
            if kind.name != other.name:
                column = self._as(column, kind, other)
            columns.append(aliased(column, name))
        inner = query.unnest() if isinstance(query, exp.Subquery) else query
        return exp.Select(expressions=columns).from_(aside(inner, "lw_side"))

    def _as(self, made: exp.Expr, kind: Kind, other: Kind) -> exp.Expr:
        """A value of Spark's as one of another type, as DuckDB casts it."""
        if kind.id == "sqlnull" or (kind.id in _WHOLE and other.id in (*_WHOLE, "double")):
            return _spark_cast(made, other)
        return self._call(f"CAST(lw0 AS {other.name})", [made], [kind], other)

    def _select(self, select: exp.Select) -> exp.Expr:
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
            made.set("from_", exp.From(this=self._source(select.args["from_"].this, select)))
        joins = []
        for join in select.args.get("joins") or ():
            if join.args.get("using"):
                raise refused("USING with columns that are not named is not translated")
            on = join.args.get("on")
            joins.append(
                exp.Join(
                    this=self._source(join.this, select),
                    on=self._condition(on, select) if on is not None else None,
                    **{key: join.args.get(key) for key in ("side", "kind", "method")},
                )
            )
        made.set("joins", joins)
        where = select.args.get("where")
        if where is not None:
            made.set("where", exp.Where(this=self._condition(where.this, select)))
        keys = self._group(select, made)
        with self._above(keys):
            self._above_groups(select, made)
        return self._limited(made, select)

    def _group(self, select: exp.Select, made: exp.Select) -> tuple[exp.Expr, ...]:
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
            kind = self.kind(node, select)
            if "MAP" in kind.spark:
                raise refused("rows are grouped by a map")
            keys.append(node)
            return self.value(node, select)

        args: dict[str, Any] = {"expressions": [key(each) for each in group.expressions]}
        for form in ("rollup", "cube", "grouping_sets"):
            args[form] = [
                type(each)(expressions=[key(one) for one in each.expressions]) for each in group.args.get(form) or ()
            ]
        made.set("group", exp.Group(**args))
        return tuple(each for each in keys if not isinstance(each, exp.Column))

    def _above_groups(self, select: exp.Select, made: exp.Select) -> None:
        having = select.args.get("having")
        if having is not None:
            made.set("having", exp.Having(this=self._condition(having.this, select)))
        distinct = select.args.get("distinct")
        unnested = 0
        projections = []
        for projection in select.expressions:
            value = projection.this
            if isinstance(value, exp.Explode | exp.Unnest):
                unnested += 1
                projections.append(aliased(self._unnested(value, select), projection.alias))
                continue
            if any(isinstance(each, exp.Explode | exp.Unnest) for each in inside(value)):
                raise refused("UNNEST within an expression", "unnest in a subquery first")
            kind = self.kind(value, select)
            if distinct is not None and "MAP" in kind.spark:
                raise refused("rows with maps are compared")
            planned = self.value(value, select)
            if kind.id in ("decimal", "sqlnull") and not isinstance(value, exp.Column):
                planned = _spark_cast(planned, kind)
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
            made.set("order", exp.Order(expressions=[self._order(each, select) for each in order.expressions]))

    def _limited(self, made: exp.Expr, node: exp.Expr) -> exp.Expr:
        for key in ("limit", "offset"):
            limit = node.args.get(key)
            if limit is not None:
                if not (isinstance(limit.expression, exp.Literal) and not limit.expression.is_string):
                    raise refused(f"{key.upper()} is not a number")
                if not limit.expression.name.isdecimal() or limit.args.get("limit_options"):
                    raise refused(f"{key.upper()} is not a whole number")
                made.set(key, limit.copy())
        return made

    def _source(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Table):
            if node.args.get("joins"):
                raise refused("joins in brackets are not translated")
            if not isinstance(node.this, exp.Identifier):
                raise refused(f"the table function {name_of(node.this) or node.this.key} is not translated")
            return exp.Table(this=node.this.copy(), alias=_copied(node, "alias"))
        if isinstance(node, exp.Subquery):
            with self._apart():
                return self.query(node)
        if isinstance(node, exp.Unnest):
            alias = node.args["alias"]
            if node.args.get("offset") or len(node.expressions) != 1 or len(alias.columns) > 1:
                raise refused("UNNEST of several lists, or with their places")
            columns = alias.columns or [exp.to_identifier("unnest", quoted=True)]
            exploded = exp.Anonymous(this="explode", expressions=[self._list(node.expressions[0], select)])
            return exp.Lateral(
                this=exploded,
                alias=exp.TableAlias(this=alias.this.copy(), columns=[each.copy() for each in columns]),
            )
        raise refused(f"{node.key} in FROM is not translated")

    def _unnested(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        (of,) = [node.this] if isinstance(node, exp.Explode) else node.expressions
        if node.expressions and isinstance(node, exp.Explode):
            raise refused("UNNEST with options is not translated")
        return exp.Anonymous(this="explode", expressions=[self._list(of, select)])

    def _list(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if self.kind(node, select).id not in ("list", "array"):
            raise refused("UNNEST of what is not a list")
        return self.value(node, select)

    def _order(self, ordered: exp.Ordered, select: exp.Select) -> exp.Expr:
        return self._ordered(ordered, self.value(ordered.this, select), self.kind(ordered.this, select))

    def _ordered(self, ordered: exp.Ordered, made: exp.Expr, kind: Kind) -> exp.Expr:
        down, nulls_first = bool(ordered.args.get("desc")), bool(ordered.args.get("nulls_first"))
        if kind.is_nested:  # Spark compares lists and structs in another way, and maps not at all
            key = f"create_sort_key(lw0, '{'DESC' if down else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}')"
            blob = self.probed.kind(self.probed.types("SELECT ''::BLOB")[0])
            made, down, nulls_first = self._call(key, [made], [kind], blob), False, False
        return exp.Ordered(this=made, desc=down, nulls_first=nulls_first)

    # Values

    def _condition(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """Of WHERE, ON and HAVING. Its parts that DuckDB computes are one part: each may rely on the one before."""
        parts = list(node.flatten()) if isinstance(node, exp.And) else [node]
        own, others = [], []
        for part in parts:
            part = part.unnest()
            made = self.native(part, select)
            if made is None and any(is_predicate(each) for each in inside(part)):
                made = self.value(part, select)
            if made is None and isinstance(part, exp.EQ):
                sides = [self.kind(part.this, select), self.kind(part.expression, select)]
                if sides[0].name == sides[1].name and not sides[0].is_nested and _carries_all(sides[0]):
                    made = exp.EQ(this=self.value(part.this, select), expression=self.value(part.expression, select))
            if made is None:
                others.append(part)
            else:
                own.append(made)
        if others:
            rest = others[0] if len(others) == 1 else exp.and_(*others, copy=True, dialect=Plain)
            own.append(self.value(rest, select))
        return exp.and_(*(exp.Paren(this=each) for each in own), copy=False) if len(own) > 1 else own[0]

    def value(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """The expression for Spark: its own, or a function that DuckDB computes."""
        if is_key(node, self.keys):
            with self._above(()):
                return self.value(node, select)
        made = self.native(node, select)
        if made is not None:
            return made
        node = node.unnest()
        if isinstance(node, exp.And | exp.Or | exp.Not) and any(is_predicate(each) for each in inside(node)):
            return type(node)(
                **{key: exp.Paren(this=self.value(each, select)) for key, each in node.args.items() if each is not None}
            )
        _check_functions(node)
        leaves = {leaf.sql(Plain): leaf for leaf in leaves_of(node, self.keys)}
        numbers = {text: at for at, text in enumerate(leaves)}

        def change(each: exp.Expr) -> exp.Expr:
            at = numbers.get(each.sql(Plain)) if is_leaf(each, self.keys) else None
            return each if at is None else exp.column(f"lw{at}")

        text = _changed(node, change).sql(Plain)
        arguments = [self.value(leaf, select) for leaf in leaves.values()]
        return self._call(
            text, arguments, [self.kind(leaf, select) for leaf in leaves.values()], self.kind(node, select)
        )

    def _call(
        self, text: str, arguments: list[exp.Expr], kinds: list[Kind], result: Kind, grouped: bool = False
    ) -> exp.Expr:
        for kind in (*kinds, result):
            spark_type(kind.of)  # raises, where Spark lacks it
        of = "\0".join([text, *(kind.name for kind in kinds), result.name, str(grouped)])
        name = f"lw_{hashlib.sha256(of.encode()).hexdigest()[:16]}"
        self.functions[name] = Computed(name, text, tuple(kinds), result, grouped)
        return exp.Anonymous(this=name, expressions=arguments or [exp.Literal.number(1)])

    def native(self, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
        """The expression, where Spark computes it as DuckDB does; else None."""
        if is_key(node, self.keys):
            return self.value(node, select)
        if isinstance(node, exp.Paren):
            inner = self.native(node.this, select)
            return None if inner is None else exp.Paren(this=inner)
        if is_special(node):
            return self._special(node, select)
        if isinstance(node, exp.Column):
            spark_type(self.kind(node, select).of)  # raises, where Spark lacks it
            return node.copy()
        if isinstance(node, exp.TableColumn):  # a whole row
            fields: list[exp.Expr] = []
            for at, (name, _) in enumerate(self.kind(node, select).of.children):
                fields += [exp.Literal.string(f"f{at}"), exp.column(name, node.name, quoted=True)]
            return exp.Anonymous(this="named_struct", expressions=fields)
        if isinstance(node, exp.Literal):
            if node.is_string or (node.name.isdecimal() and int(node.name) < 2**63):
                return node.copy()
            return None
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and node.this.name.isdecimal():
            return node.copy() if int(node.this.name) < 2**31 else None
        if isinstance(node, exp.Boolean):
            return node.copy()
        if isinstance(node, exp.Null):
            return node.copy()
        if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
            return self._native_cast(node, select)
        if isinstance(node, exp.And | exp.Or):
            return self._rebuilt(node, (node.this, node.expression), select)
        if isinstance(node, exp.Not):
            return self._rebuilt(node, (node.this,), select)
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            made = self.native(node.this, select)
            return None if made is None else exp.Is(this=made, expression=exp.Null())
        if isinstance(node, _COMPARED):
            return self._compared(node, (node.this, node.expression), select)
        if isinstance(node, exp.Between) and not node.args.get("symmetric"):
            return self._compared(node, (node.this, node.args["low"], node.args["high"]), select)
        if isinstance(node, exp.In) and node.expressions and not node.args.get("unnest"):
            return self._compared(node, (node.this, *node.expressions), select)
        if isinstance(node, exp.Add | exp.Sub | exp.Mul):
            return self._arithmetic(node, select)
        if isinstance(node, exp.Case | exp.Coalesce):
            return self._chosen(node, select)
        return None

    def _rebuilt(self, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
        made = [self.native(each, select) for each in parts]
        if any(each is None for each in made) or any(self.kind(each, select).id != "boolean" for each in parts):
            return None
        keys = ("this", "expression")
        return type(node)(**{key: exp.Paren(this=each) for key, each in zip(keys, made, strict=False)})

    def _compared(self, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
        kinds = [self.kind(each, select) for each in parts]
        if not all(kind.spark for kind in kinds):
            return None
        names = {kind.id for kind in kinds if kind.id != "sqlnull"}
        has_double = "double" in names
        if has_double:  # plain 0.5 is a decimal, which both compare as a double
            names -= (
                {"decimal"}
                if all(
                    isinstance(each.unnest(), exp.Literal)
                    for each, kind in zip(parts, kinds, strict=True)
                    if kind.id == "decimal"
                )
                else set()
            )
        equal = len(names) <= 1 or names <= {*_WHOLE} or (has_double and names <= {*_WHOLE, "double"})
        if not equal or names & {"enum", "uuid", "uhugeint", "hugeint", "ubigint"} or any(k.is_nested for k in kinds):
            return None
        if "decimal" in names and len({kind.name for kind in kinds}) > 1:
            return None
        made = []
        for each, kind in zip(parts, kinds, strict=True):
            one = _double(each) if has_double and kind.id == "decimal" else self.native(each, select)
            if one is None:
                return None
            made.append(one)
        if isinstance(node, exp.In):
            return exp.In(this=made[0], expressions=made[1:])
        keys = ("this", "low", "high") if isinstance(node, exp.Between) else ("this", "expression")
        return type(node)(**dict(zip(keys, made, strict=True)))

    def _arithmetic(self, node: exp.Binary, select: exp.Select) -> exp.Expr | None:
        result = self.kind(node, select).id
        parts = (node.this, node.expression)
        kinds = [self.kind(each, select).id for each in parts]
        if result not in ("integer", "bigint", "double"):
            return None
        made = []
        for each, kind in zip(parts, kinds, strict=True):
            if kind == "decimal" and result == "double" and isinstance(each.unnest(), exp.Literal):
                one: exp.Expr | None = _double(each)
            elif kind in ("integer", "bigint") or (kind == "double" and result == "double"):
                one = self.native(each, select)
            else:
                return None
            if one is None:
                return None
            made.append(one)
        if result == "integer" and kinds != ["integer", "integer"]:
            return None
        return type(node)(this=exp.Paren(this=made[0]), expression=exp.Paren(this=made[1]))

    def _native_cast(self, node: exp.Cast, select: exp.Select) -> exp.Expr | None:
        of, to = self.kind(node.this, select), self.kind(node, select)
        if isinstance(node.this, exp.Literal) and node.this.is_string and to.id == "date":
            parts = node.this.name.split("-")
            if [len(each) for each in parts] == [4, 2, 2] and all(each.isdecimal() for each in parts):
                return _spark_cast(node.this.copy(), to)
            return None
        wider = of.id in _WHOLE and to.id in _WHOLE and _WHOLE.index(of.id) <= _WHOLE.index(to.id)
        if wider or (of.id in (*_WHOLE, "float") and to.id == "double") or (of.name == to.name and of.id != "varchar"):
            made = self.native(node.this, select)
            return None if made is None else _spark_cast(made, to)
        return None

    def _chosen(self, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
        result = self.kind(node, select)
        if isinstance(node, exp.Coalesce):
            parts: list[exp.Expr] = [node.this, *node.expressions]
        else:
            if node.args.get("this"):
                return None
            parts = [each.args["true"] for each in node.args["ifs"]]
            parts += [node.args["default"]] if node.args.get("default") else []
        if result.is_nested or any(
            self.kind(each, select).name not in (result.name,) and not isinstance(each, exp.Null) for each in parts
        ):
            return None
        made = [self.native(each, select) for each in parts]
        if any(each is None for each in made):
            return None
        if isinstance(node, exp.Coalesce):
            return exp.Coalesce(this=made[0], expressions=made[1:])
        conditions = [self.native(each.this, select) for each in node.args["ifs"]]
        if any(each is None for each in conditions):
            return None
        if any(self.kind(each.this, select).id != "boolean" for each in node.args["ifs"]):
            return None
        ifs = [exp.If(this=one, true=each) for one, each in zip(conditions, made, strict=False)]
        return exp.Case(ifs=ifs, default=made[len(ifs)] if len(made) > len(ifs) else None)

    # What Spark computes of several rows

    def _special(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Window):
            return self._window(node, select)
        if isinstance(node, exp.Exists):
            return exp.Exists(this=self._inner(node.this.unnest(), select))
        if isinstance(node, exp.In):
            query = node.args["query"].unnest()
            if len(kinds := self._kinds_of_inner(query, select)) != 1:
                raise refused("IN compares several columns", "write it as EXISTS, or as a semi join")
            (other,) = kinds
            own = self.kind(node.this, select)
            if own.is_nested or (own.name != other.name and not {own.id, other.id} <= {*_WHOLE}):
                raise refused(f"IN compares {own.name} with {other.name}", "cast one of them")
            return exp.In(this=self.value(node.this, select), query=exp.Subquery(this=self._inner(query, select)))
        if isinstance(node, exp.Query):
            return exp.Subquery(this=self._inner(node.unnest() if isinstance(node, exp.Subquery) else node, select))
        return self._aggregate(node, select)

    def _kinds_of_inner(self, query: exp.Expr, select: exp.Select) -> list[Kind]:
        if isinstance(query, exp.Select):
            before = self.outer
            self.outer = [*self.outer, select]
            kinds = [self.kind(each.this, query) for each in query.expressions]
            self.outer = before
            return kinds
        return self._kinds(query)

    def _aggregate(self, node: exp.Expr, select: exp.Select, window: bool = False) -> exp.Expr:
        with self._above(()):
            return self._aggregated(node, select)

    def _aggregated(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Grouping):
            columns = [each.copy() for each in node.expressions]
            if len(columns) == 1:
                return exp.Cast(
                    this=exp.Anonymous(this="grouping", expressions=columns), to=exp.DataType.build("bigint")
                )
            raise refused("GROUPING of several columns", "name one in each")
        where, inner = None, node
        if isinstance(inner, exp.Filter):
            where, inner = self._condition(inner.expression.this, select), inner.this
        kind = self.kind(inner, select)
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
            of = self.kind(parts[0], select)
            value = self.value(parts[0], select)
            if name == "count" and not (distinct and (of.is_nested or not _carries_all(of))):
                return called("count", kept(value))
            if name == "sum" and (of.id in _WHOLE or of.id == "decimal"):
                return _spark_cast(called("sum", kept(_spark_cast(value, kind))), kind)
            if name == "sum" and of.id in ("double", "float"):
                return called("sum", kept(_spark_cast(value, kind)))
            if name in ("avg", "mean") and of.id in (*_WHOLE, "double", "float"):
                return called("avg", kept(_spark_cast(value, kind)))
            if name in ("min", "max") and not of.is_nested and _carries_all(of):
                return called(name, kept(value))
            if name in ("bool_and", "bool_or") and of.id == "boolean":
                return called(name, kept(value))
        return self._by_lists(inner, kept, kind, select)

    def _by_lists(
        self, inner: exp.Expr, kept: Callable[[exp.Expr], exp.Expr], kind: Kind, select: exp.Select
    ) -> exp.Expr:
        """An aggregate that DuckDB computes, of the list of a group's rows."""
        func = inner.this if isinstance(inner, exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls) else inner
        name = name_of(func)
        if name in _IN_ORDER and not inner.find(exp.Order):
            raise refused(
                f"{name}(…) depends on the order of rows, which Spark does not keep", f"write {name}(… order by …)"
            )
        _check_functions(inner)
        leaves = {leaf.sql(Plain): leaf for part in inner.iter_expressions() for leaf in leaves_of(part)}
        numbers = {text: at for at, text in enumerate(leaves)}

        def change(each: exp.Expr) -> exp.Expr:
            at = numbers.get(each.sql(Plain)) if is_leaf(each, ()) else None
            return each if at is None else exp.column(f"lw{at}")

        text = inner.copy().transform(change).sql(Plain)
        fields: list[exp.Expr] = []
        for at, leaf in enumerate(leaves.values()):
            fields += [exp.Literal.string(f"f{at}"), self.value(leaf, select)]
        row = exp.Anonymous(
            this="named_struct", expressions=fields or [exp.Literal.string("f0"), exp.Literal.number(1)]
        )
        listed = exp.Anonymous(this="collect_list", expressions=[kept(row)])
        kinds = [self.kind(leaf, select) for leaf in leaves.values()]
        return self._call(text, [listed], kinds, kind, grouped=True)

    def _window(self, node: exp.Window, select: exp.Select) -> exp.Expr:
        kind = self.kind(node, select)
        partition = [self.value(each, select) for each in node.args.get("partition_by") or ()]
        if any("MAP" in self.kind(each, select).spark for each in node.args.get("partition_by") or ()):
            raise refused("a window is divided by a map")
        order = node.args.get("order")
        ordered = [self._order(each, select) for each in order.expressions] if order is not None else []
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
            made: exp.Expr = self._of_rows(function, name, select, kind)
            if spec is not None and name not in ("first_value", "last_value", "nth_value"):
                spec = None  # it means nothing to them
            if name in ("lag", "lead", *_WINDOWS) and function.find(exp.Order):
                raise refused(f"{name} with an order of its own")
            made = nulls(this=made) if nulls else made
        elif is_aggregate(inner) and name_of(inner.this if isinstance(inner, exp.Filter) else inner) not in _IN_ORDER:
            made = self._aggregated(inner, select)
        else:
            raise refused(f"{name or inner.key} over a window")
        # A cast, or the function of a list, goes around the window.
        around: list[exp.Expr] = []
        while isinstance(made, exp.Cast) or (isinstance(made, exp.Anonymous) and made.name in self.functions):
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
        return _spark_cast(over, kind) if name in _WINDOWS else over

    def _of_rows(self, function: exp.Expr, name: str, select: exp.Select, kind: Kind) -> exp.Expr:
        if name in ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"):
            return exp.Anonymous(this=name)
        parts = arguments_of(function)
        if name == "ntile":
            if len(parts) != 1 or not isinstance(parts[0], exp.Literal):
                raise refused("ntile of what is not a number")
            return exp.Anonymous(this=name, expressions=[parts[0].copy()])
        nulls = type(parts[0]) if isinstance(parts[0], exp.IgnoreNulls | exp.RespectNulls) else None
        parts = [parts[0].this if nulls else parts[0], *parts[1:]]
        first = self.value(parts[0], select)
        if self.kind(parts[0], select).name != kind.name:
            first = self._as(first, self.kind(parts[0], select), kind)
        arguments = [first]
        if len(parts) > 1:
            if not isinstance(parts[1], exp.Literal) or not parts[1].name.isdecimal():
                raise refused(f"{name} with an offset that is not a number")
            arguments.append(parts[1].copy())
        if len(parts) > 2:
            default = self.kind(parts[2], select)
            third = self.value(parts[2], select)
            arguments.append(third if default.name == kind.name else self._as(third, default, kind))
        made = exp.Anonymous(this=name, expressions=arguments)
        return nulls(this=made) if nulls else made


def _copied(node: exp.Expr, key: str) -> exp.Expr | None:
    value = node.args.get(key)
    return None if value is None else value.copy()


def _changed(node: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    return node.copy().transform(change)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _double(literal: exp.Expr) -> exp.Expr:
    return exp.Cast(this=literal.unnest().copy(), to=exp.DataType.build("double"))


def _spark_cast(made: exp.Expr, kind: Kind) -> exp.Expr:
    return exp.Cast(this=made, to=exp.DataType.build(kind.spark, dialect="spark"))


def _carries_all(kind: Kind) -> bool:
    """Whether Spark's values of the type are DuckDB's, also in their order."""
    return kind.id not in ("enum", "uhugeint", "hugeint") and kind.spark != "MAP"


def _check_functions(node: exp.Expr) -> None:
    for each in node.find_all(exp.Func):
        name = name_of(each)
        if name in _OF_HERE or is_volatile(name):
            raise refused(f"{name}(…) has another value at each call, or in each worker")
