"""What the nodes of a statement are, and what DuckDB tells of them over empty tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlglot import exp, parse_one

from lakewright.data.lake.spark_sql.kinds import Kind, first_line, kind_of, lacking, refused
from lakewright.data.lake.spark_sql.meaning import Plain
from lakewright.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_AGGREGATES: set[str] = set()
_VOLATILE: set[str] = set()


def from_of(select: exp.Select) -> str:
    """The text after FROM."""
    if not select.args.get("from_"):
        return "(SELECT 1)"
    rest = [*(select.args.get("joins") or ()), *(select.args.get("laterals") or ())]
    return " ".join([select.args["from_"].this.sql(Plain), *(each.sql(Plain) for each in rest)])


def aside(query: exp.Expr, name: str) -> exp.Subquery:
    """The query in brackets, under a name."""
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))


def aliased(node: exp.Expr, name: str) -> exp.Alias:
    """Also for a subquery, to which `exp.alias_` would give the name."""
    if isinstance(node, exp.Subquery):
        node.set("alias", None)
    return exp.Alias(this=node, alias=exp.to_identifier(name, quoted=True))


def spark_cast(made: exp.Expr, kind: Kind) -> exp.Cast:
    return exp.Cast(this=made, to=exp.DataType.build(kind.spark, dialect="spark"))


def aggregates(node: exp.Expr) -> bool:
    return any(is_aggregate(each) for each in inside(node))


def inside(node: exp.Expr) -> Iterator[exp.Expr]:
    """The node and those below it, but not those of a query within, nor of a window."""
    yield node
    if isinstance(node, exp.Query | exp.Window | exp.Exists) or (isinstance(node, exp.In) and node.args.get("query")):
        return
    for each in node.iter_expressions():
        yield from inside(each)


def inside_of(select: exp.Select) -> list[exp.Expr]:
    return [each for part in select.iter_expressions() for each in inside(part)]


def name_of(node: exp.Expr) -> str:
    """Of a function, as DuckDB calls it."""
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return str(node.name).lower()
    return node.sql(Plain).partition("(")[0].strip().lower() if isinstance(node, exp.Func) else ""


def arguments_of(node: exp.Expr) -> list[exp.Expr]:
    return list(node.expressions if isinstance(node, exp.Anonymous) else node.iter_expressions())


def is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls):
        return is_aggregate(node.this)
    if isinstance(node, exp.Grouping):
        return True
    return isinstance(node, exp.Func) and name_of(node) in _AGGREGATES


def is_volatile(name: str) -> bool:
    """Whether DuckDB's function has another value at each call or in each statement."""
    return name in _VOLATILE


def is_predicate(node: exp.Expr) -> bool:
    return isinstance(node, exp.Exists) or (isinstance(node, exp.In) and bool(node.args.get("query")))


def is_special(node: exp.Expr) -> bool:
    return isinstance(node, exp.Window | exp.Query) or is_aggregate(node) or is_predicate(node)


def leaves_of(node: exp.Expr, keys: tuple[exp.Expr, ...] = ()) -> Iterator[exp.Expr]:
    """The outermost nodes that Spark computes: columns, aggregates, windows, queries, and a group's keys."""
    if is_leaf(node, keys):
        yield node
        return
    for each in node.iter_expressions():
        yield from leaves_of(each, keys)


class Probed:
    """What DuckDB says of a query over the empty tables."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self.connection = connection
        self.kinds: dict[str, Kind] = {}
        self.constants: dict[str, str] = {}
        if not _AGGREGATES:
            listed = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE "
            for names, condition in (
                (_VOLATILE, "stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"),
                (_AGGREGATES, "function_type = 'aggregate'"),
            ):
                names.update(name.lower() for (name,) in connection.execute(listed + condition).fetchall())

    def types(self, query: str) -> list[DuckDBPyType]:
        return self.columns(query)[1]

    def columns(self, query: str) -> tuple[list[str], list[DuckDBPyType]]:
        import duckdb

        try:
            relation = self.connection.sql(query)
            return list(relation.columns), list(relation.types)
        except duckdb.Error as error:
            raise refused(f"it cannot be translated ({first_line(error)})") from None

    def names(self, query: str, within: exp.Expr) -> list[str]:
        return self.columns(ctes_around(within) + query)[0]

    def kind(self, of: DuckDBPyType) -> Kind:
        if str(of) not in self.kinds:
            try:
                self.kinds[str(of)] = kind_of(of, self.connection)
            except UsageError:
                self.kinds[str(of)] = lacking(of)
        return self.kinds[str(of)]

    def constant(self, call: str) -> exp.Expr:
        """The same throughout a statement."""
        if call not in self.constants:
            relation = self.connection.sql(f"SELECT {call} AS v, v::varchar AS t")
            ((_, text),) = relation.fetchall()
            self.constants[call] = f"CAST('{text}' AS {relation.types[0]})"
        return parse_one(self.constants[call], dialect=Plain)


def ctes_around(node: exp.Expr | None) -> str:
    ctes: dict[str, exp.Expr] = {}
    recursive = False
    inside: exp.Expr | None = None
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None:
            recursive = recursive or bool(with_.args.get("recursive"))
            own = {}
            for cte in with_.expressions:
                if cte is inside and not with_.args.get("recursive"):
                    break
                own[cte.alias.lower()] = cte
                if cte is inside:
                    break
            ctes = {**own, **ctes}
        if isinstance(node, exp.CTE):
            inside = node
        node = node.parent
    if not ctes:
        return ""
    return f"WITH {'RECURSIVE ' * recursive}{', '.join(cte.sql(Plain) for cte in ctes.values())} "


def sources_of(select: exp.Select) -> list[exp.Expr]:
    first = [select.args["from_"].this] if select.args.get("from_") else []
    return [*first, *(join.this for join in select.args.get("joins") or ())]


def is_key(node: exp.Expr, keys: tuple[exp.Expr, ...]) -> bool:
    return any(node == key for key in keys)


def is_leaf(node: exp.Expr, keys: tuple[exp.Expr, ...]) -> bool:
    return is_special(node) or isinstance(node, exp.Column | exp.TableColumn) or is_key(node, keys)
