"""What DuckDB says of a statement's expressions: their types, over empty tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlglot import exp, parse_one

from lakewright.data.lake.names import quoted
from lakewright.data.lake.spark_sql.kinds import Kind, refused
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.data.lake.spark_sql.nodes import (
    Probed,
    ctes_around,
    is_aggregate,
    is_predicate,
    is_special,
    sources_of,
)


@dataclass
class Typed:
    """The types, and where in the statement one is; `select` is the one that an expression belongs to."""

    probed: Probed
    outer: list[exp.Select] = field(default_factory=list)  # those around a query in an expression
    keys: tuple[exp.Expr, ...] = ()  # what the rows are grouped by, above the grouping
    kinds: dict[tuple[int, str], Kind] = field(default_factory=dict)
    columns: dict[int, dict[str, dict[str, Kind]]] = field(default_factory=dict)

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
            self.kinds[id(select), text] = self._bound(text, node, select)
        return self.kinds[id(select), text]

    def _bound(self, text: str, node: exp.Expr, select: exp.Select) -> Kind:
        """DuckDB's type of the text, over rows that have the columns of the select's tables."""
        named = [each.table.lower() for each in node.find_all(exp.Column) if each.table]
        sources = self._columns_of(select)
        if isinstance(node, exp.Column) and node.name.lower() in sources.get(node.table.lower(), {}):
            return sources[node.table.lower()][node.name.lower()]
        for around in reversed(self.outer):
            if any(name not in sources for name in named):
                sources = {**self._columns_of(around), **sources}
        nulls = [
            f"(SELECT {', '.join(f'NULL::{kind.name} AS {quoted(name)}' for name, kind in columns.items())}) "
            f"AS {quoted(alias)}"
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
                    with self.apart():
                        by_alias[alias.lower()] = {
                            each.alias.lower(): self.kind(each.this, inner) for each in inner.expressions
                        }
                    continue
                text = f"{before}{source.sql(Plain)}"
                names, types = self.probed.columns(f"{ctes_around(select)}SELECT {quoted(alias)}.* FROM {text}")
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

    def kinds_of(self, query: exp.Expr) -> list[Kind]:
        """Of the query's columns."""
        text = query.unnest().sql(Plain) if isinstance(query, exp.Subquery) else query.sql(Plain)
        around = ctes_around(query.parent if query.args.get("with_") else query)
        return [self.probed.kind(of) for of in self.probed.types(f"{around}SELECT * FROM ({text})")]

    def kinds_within(self, query: exp.Expr, select: exp.Select) -> list[Kind]:
        """Of the columns of a query in an expression of the select."""
        if isinstance(query, exp.Select):
            before = self.outer
            self.outer = [*self.outer, select]
            kinds = [self.kind(each.this, query) for each in query.expressions]
            self.outer = before
            return kinds
        return self.kinds_of(query)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """In a query that sees nothing of those around it."""
        before = self.outer, self.keys
        self.outer, self.keys = [], ()
        yield
        self.outer, self.keys = before

    @contextmanager
    def above(self, keys: tuple[exp.Expr, ...]) -> Iterator[None]:
        """Where rows are groups of these keys; of none: below the grouping."""
        before, self.keys = self.keys, keys
        yield
        self.keys = before
