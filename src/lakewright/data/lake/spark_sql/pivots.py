"""PIVOT as aggregates with FILTER, and UNPIVOT as a list of each row's values that is unnested.

DuckDB itself does the first so: a row counts for the value whose text its key has. The names and types of the columns
are those that DuckDB gives PIVOT and UNPIVOT over empty tables.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from sqlglot import exp, parse_one

from lakewright.data.lake.names import quoted
from lakewright.data.lake.spark_sql.kinds import refused
from lakewright.data.lake.spark_sql.meaning import Plain, parsed
from lakewright.data.lake.spark_sql.nodes import Probed, ctes_around


def with_values(text: str, values_of: Callable[[str], list[str]]) -> str:
    """The statement with IN (…) where PIVOT names no values: those of the column, which the given query reads."""
    while True:
        missing = [
            (pivot, on)
            for pivot in parsed(text).find_all(exp.Pivot)
            if not pivot.args.get("unpivot") and not pivot.args.get("fields")
            for on in pivot.expressions
            if not isinstance(on, exp.In)
        ]
        if not missing:
            return text
        pivot, on = missing[-1]  # the innermost, which the others may read
        if not isinstance(on, exp.Column):
            raise refused("PIVOT … ON an expression without its values", "add IN (…), or select it in a subquery first")
        column, source = on.sql(Plain), pivot.this.sql(Plain)
        values = values_of(
            f"{ctes_around(pivot)}SELECT DISTINCT CAST({column} AS VARCHAR) AS v FROM {source} "
            f"WHERE {column} IS NOT NULL ORDER BY v"
        )
        if not values:
            raise refused(f"PIVOT … ON {column}, which has no values")
        end = on.this.meta["end"] + 1
        text = f"{text[:end]} IN ({', '.join(exp.Literal.string(value).sql(Plain) for value in values)}){text[end:]}"


def without_pivots(tree: exp.Expr, probed: Probed) -> exp.Expr:
    """As selects, the inner ones first."""
    for pivot in reversed(list(tree.find_all(exp.Pivot))):
        make = _unpivoted if pivot.args.get("unpivot") else _pivoted
        if not pivot.args.get("fields"):  # PIVOT table ON …, in brackets or WITH
            whole = f"({pivot.sql(Plain)})"
            pivot.replace(
                expression=parse_one(make(pivot, pivot.this, pivot.expressions, whole, probed), dialect=Plain)
            )
            continue
        table = pivot.parent  # FROM table PIVOT (…)
        assert table is not None
        if len(table.args["pivots"]) > 1:
            raise refused("PIVOT after PIVOT is not translated", "put the first in a subquery")
        whole, alias = table.sql(Plain), pivot.args.get("alias")
        source = table.copy()
        source.set("pivots", None)
        select = parse_one(make(pivot, source, pivot.args["fields"], whole, probed), dialect=Plain)
        if alias is None:
            alias = exp.TableAlias(this=exp.to_identifier("lw_pivot", quoted=True))
        table.replace(expression=exp.Subquery(this=select, alias=alias.copy()))
    return tree


def _pivoted(pivot: exp.Pivot, source: exp.Expr, ons: list[exp.Expr], whole: str, probed: Probed) -> str:
    is_statement = not pivot.args.get("fields")
    uses = (pivot.args.get("using") or [exp.Count(this=exp.Star())]) if is_statement else pivot.expressions
    filters = []
    for at, on in enumerate(ons):
        if not isinstance(on, exp.In) or not on.expressions:
            raise refused("PIVOT of what is not a list of values")
        filters.append([f"lw_on{at} IS NOT DISTINCT FROM {_text(value, probed)}" for value in on.expressions])
    columns = [(" AND ".join(each), use.unalias()) for each in product(*filters) for use in uses]
    names = probed.names(f"SELECT * FROM {whole}", pivot)
    groups, made = [quoted(name) for name in names[: -len(columns)]], []
    for (condition, use), name in zip(columns, names[-len(columns) :], strict=True):
        if isinstance(use, exp.Filter):
            raise refused("PIVOT with FILTER, which DuckDB leaves out", "filter the rows in a subquery first")
        made.append(f"{use.sql(Plain)} FILTER (WHERE {condition}) AS {quoted(name)}")
    keys = ", ".join(f"CAST({on.this.sql(Plain)} AS VARCHAR) AS lw_on{at}" for at, on in enumerate(ons))
    return (
        f"SELECT {', '.join([*groups, *made])} FROM (SELECT *, {keys} FROM {source.sql(Plain)}) AS lw_rows"
        f"{' GROUP BY ' * bool(groups)}{', '.join(groups)}"
    )


def _text(value: exp.Expr, probed: Probed) -> str:
    """The text that DuckDB compares with a row's."""
    value = value.this if isinstance(value, exp.PivotAlias) else value
    if not isinstance(
        value.this if isinstance(value, exp.Neg | exp.Cast) else value, exp.Literal | exp.Null | exp.Boolean
    ):
        raise refused(f"PIVOT has the value {value.sql(Plain)}")
    ((text,),) = probed.connection.sql(f"SELECT CAST({value.sql(Plain)} AS VARCHAR)").fetchall()
    return "NULL" if text is None else exp.Literal.string(text).sql(Plain)


def _unpivoted(pivot: exp.Pivot, source: exp.Expr, ons: list[exp.Expr], whole: str, probed: Probed) -> str:
    listed = ons[0].expressions if pivot.args.get("fields") else ons
    if not all(isinstance(each, exp.Column | exp.Columns | exp.Star) for each in listed):
        raise refused("UNPIVOT of what are not columns", "select them in a subquery first")
    of = source.sql(Plain)
    columns = probed.names(f"SELECT {', '.join(each.sql(Plain) for each in listed)} FROM {of}", pivot)
    names, types = probed.columns(f"{ctes_around(pivot)}SELECT * FROM {whole}")
    others = [quoted(name) for name in names[:-2]]
    name, value, kind = quoted(names[-2]), quoted(names[-1]), types[-1]
    each = ", ".join(
        f"{{'k': {exp.Literal.string(column).sql(Plain)}, 'v': CAST({quoted(column)} AS {kind})}}" for column in columns
    )
    made = f"lw_rows.lw_each.k AS {name}", f"lw_rows.lw_each.v AS {value}"
    where = "" if pivot.args.get("include_nulls") else " WHERE lw_rows.lw_each.v IS NOT NULL"
    inner = f"SELECT {', '.join([*others, f'unnest([{each}]) AS lw_each'])} FROM {of}"
    return f"SELECT {', '.join([*others, *made])} FROM ({inner}) AS lw_rows{where}"
