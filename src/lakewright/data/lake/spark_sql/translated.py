"""A statement in DuckDB's SQL as one of Spark's, with DuckDB's answers.

Spark reads, joins, groups and sorts. Of values it computes by itself only those that it computes as DuckDB does, bit
for bit: comparisons and sums of plain numbers, texts and dates (native.py). All others, and every function, are
computed by DuckDB in Spark's workers (`Computed`), in the types that DuckDB gives them over empty tables. What neither
way makes equal is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from lakewright.data.lake.spark_sql.kinds import Computed, first_line, refused
from lakewright.data.lake.spark_sql.meaning import Plain, check_meaning, parsed
from lakewright.data.lake.spark_sql.nodes import Probed
from lakewright.data.lake.spark_sql.pivots import without_pivots
from lakewright.data.lake.spark_sql.planned import Plan
from lakewright.data.lake.spark_sql.resolved import expanded, prepared, with_views

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


Tables = dict[tuple[str, str, str], tuple[str, dict[str, str]]]  # by catalog, schema, name: the view, and column → type


@dataclass(frozen=True)
class Translated:
    text: str  # of Spark's SQL
    functions: list[Computed]


def translated(
    text: str,
    connection: DuckDBPyConnection,
    tables: Tables,
) -> Translated:
    """The statement for Spark. `connection` has the tables' columns, without rows, under their names in `text` and as
    views.

    Raises UsageError for what Spark cannot do, or would do in another way.
    """
    tree = parsed(text)
    check_meaning(text, tree.sql(Plain), connection)
    probed = Probed(connection)
    try:
        tree = with_views(without_pivots(tree, probed), tables)
        tree = prepared(tree, probed)
        schema: dict[str, object] = {view: dict(columns) for view, columns in tables.values()}
        tree = qualify(tree, schema=schema, dialect=Plain)
        tree = expanded(tree)
    except (SqlglotError, RecursionError) as error:
        raise refused(f"it cannot be translated ({first_line(error)})") from None
    wanted = [str(kind).lower() for kind in connection.sql(text).types]
    if [str(kind).lower() for kind in probed.types(tree.sql(Plain))] != wanted:
        raise refused("its columns have other types once its names are resolved")
    shown = [each.this for each in tree.expressions] if isinstance(tree, exp.Select) else []
    if any(not any(each is one for one in shown) for each in tree.find_all(exp.TableColumn)) and text != text.lower():
        raise refused("a whole row is a value, whose names sqlglot writes in lower case", "name its columns")
    plan = Plan(probed)
    try:
        query = plan.query(tree)
        return Translated(query.sql("spark"), list(plan.functions.values()))
    except (SqlglotError, RecursionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise refused(f"it has a form that the translation does not know ({first_line(error)})") from error
