"""Spark's statement for one of DuckDB's whose names are resolved.

    queries      selects, set operations, and queries within an expression
    expressions  computed by Spark (native), or by DuckDB in its workers
    aggregates   of the rows of a group; windows: of the rows around one
    typed        the type that each of them has

Queries hold expressions, and expressions queries: each comes to the other by Plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from lakewright.data.lake.spark_sql import expressions, queries
from lakewright.data.lake.spark_sql.aggregates import aggregate
from lakewright.data.lake.spark_sql.kinds import Computed
from lakewright.data.lake.spark_sql.nodes import is_predicate
from lakewright.data.lake.spark_sql.typed import Typed
from lakewright.data.lake.spark_sql.windows import window


@dataclass
class Plan(Typed):
    """Makes Spark's tree of DuckDB's."""

    functions: dict[str, Computed] = field(default_factory=dict)

    def query(self, node: exp.Expr) -> exp.Expr:
        return queries.query(self, node)

    def value(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """The expression for Spark: its own, or a function that DuckDB computes."""
        return expressions.value(self, node, select)

    def special(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """What Spark computes of several rows."""
        if isinstance(node, exp.Window):
            return window(self, node, select)
        if isinstance(node, exp.Query) or is_predicate(node):
            return queries.within(self, node, select)
        return aggregate(self, node, select)
