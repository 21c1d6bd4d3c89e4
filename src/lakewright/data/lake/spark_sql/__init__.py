"""SQL over the lake on a Spark cluster: the statement as translated.py makes it, the tables as parts.py cuts them.

    meaning     DuckDB reads what sqlglot wrote as it reads the user's text, or the statement is refused
    pivots      PIVOT and UNPIVOT as plain selects
    resolved    the statement in a few plain forms, with every name resolved
    planned     Spark's statement: queries, expressions (some of them native), aggregates, windows; types (typed)
    computed    what Spark's workers compute of it
    kinds       a type in DuckDB, Spark and Arrow; nodes: what a part of a statement is

No jar of Delta is needed, and no row passes this machine but those of a plain select: the workers read the tables'
files and write those of a new version, which the driver commits at once. DuckDB binds the statement over empty tables
before anything runs, so that its names, types and errors are the same as without Spark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pyarrow as pa

from lakewright.data.lake.parts import Part, Written, parts_of, remove
from lakewright.data.lake.portions import check_seen
from lakewright.data.lake.spark_sql.computed import (
    WRITTEN,
    OfTable,
    as_of,
    failure_in,
    files_of_rows,
    rows_of_parts,
    values,
    values_of_lists,
)
from lakewright.data.lake.spark_sql.kinds import Computed, Kind, kind_of, refused
from lakewright.data.lake.spark_sql.pivots import with_values
from lakewright.data.lake.spark_sql.translated import Tables, Translated, translated
from lakewright.data.lake.sql import Rows, Session, by_position
from lakewright.data.lake.statements import Statement
from lakewright.data.lake.types import storable
from lakewright.data.lake.writing import fit
from lakewright.errors import DataError, LakewrightError, UsageError
from lakewright.records import TableVersion
from lakewright.workers.spark import SparkWorkers, context_of, explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakewright.data.lake.tables import Lake

ROWS = 1 << 20  # of a part at most: a task costs more than one of its rows
# What a statement means must not depend on how the cluster is set.
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.cteRecursionLevelLimit": "-1",
    "spark.sql.cteRecursionRowLimit": "-1",
}
_TOO_LARGE = "spark.driver.maxResultSize"


@dataclass(frozen=True)
class OnSpark:
    """Runs statements by these workers."""

    workers: SparkWorkers

    def rows(self, lake: Lake, statement: Statement) -> pa.Table:
        with self._prepared(lake, statement) as (session, kinds, schema, frame):
            table: pa.Table = _run(lake, session, lambda: frame().toArrow())
            arrow = [kind.arrow for kind in kinds]
            batches = [as_of(batch, arrow, schema) for batch in table.to_batches() if batch.num_rows]
            return pa.Table.from_batches(batches, schema)

    def write(
        self,
        lake: Lake,
        statement: Statement,
        *,
        mode: Literal["overwrite", "create", "append"],
        properties: Mapping[str, str],
        transactions: Mapping[str, tuple[int | None, int]] = {},
    ) -> TableVersion:
        assert statement.target is not None, "the statement writes"
        table = str(statement.target)
        columns = lake.shape(lake.version(table)).schema if mode == "append" else None
        with self._prepared(lake, statement) as (session, kinds, schema, frame):
            if columns is not None:
                schema = by_position(schema, columns.names, table)
            stored = storable(schema) if columns is None else fit(storable(schema), columns, statement.target)
            place = lake.place_to_write(table)
            check_seen(self.workers, place)
            task = partial(files_of_rows, [kind.arrow for kind in kinds], schema, stored, place)
            made = _run(lake, session, lambda: frame().mapInArrow(_alone(task), WRITTEN).collect())
            files = [Written(row["path"], row["rows"], row["size"]) for row in made]
            if not files:
                raise DataError(
                    f"there are no rows to write to {table}", "check the source or the query that the rows come from"
                )
        try:
            return lake.add_files(table, stored, files, mode=mode, properties=properties, transactions=transactions)
        except UsageError:  # refused before its commit
            remove(files, place)
            raise

    @contextmanager
    def _prepared(
        self, lake: Lake, statement: Statement
    ) -> Iterator[tuple[Session, list[Kind], pa.Schema, Callable[[], DataFrame]]]:
        """DuckDB's session over the empty tables, the columns' kinds and schema, and Spark's rows."""
        if statement.files:
            raise UsageError(
                "Spark reads no files in a statement",
                "write their rows into a table first (a profile with sql: duckdb)",
            )
        prefix = f"lw_{uuid4().hex[:12]}_"
        with Session(lake, statement, empty=True, prefix=prefix) as session:
            if session.named:
                raise UsageError(
                    f"Spark reads no views, and {next(iter(session.named))} is one",
                    "name a profile with sql: duckdb, or write the view's rows into a table there",
                )
            tables, columns = _tables(session)
            # of a PIVOT that DuckDB does not show, the columns are values of rows
            bound = None if statement.tree is None else _bound(session, tables)
            ((zone,),) = session.connection.execute("SELECT current_setting('TimeZone')").fetchall()
            check_seen(self.workers, *(lake.place(rows.table) for rows in session.views.values()))
            spark = _run(lake, session, lambda: _session(self.workers.session))

            def frame(made: Translated, columns: int) -> DataFrame:
                for function in made.functions:
                    _register(spark, function, zone)
                return _frame(spark, made, columns)

            def values(query: str) -> list[str]:
                made = translated(query, session.connection, tables)
                found: pa.Table = _run(lake, session, lambda: frame(made, 1).toArrow())
                return [str(value) for value in found["c0"].to_pylist()]

            try:
                for number, (rows, own) in enumerate(zip(session.views.values(), columns, strict=True)):
                    _run(lake, session, partial(_view, spark, lake, f"{prefix}{number}", number, rows, own))
                if bound is None:
                    session.query = with_values(session.query, values)
                    bound = _bound(session, tables)
                kinds, schema, made = bound
                yield session, kinds, schema, partial(frame, made, len(schema))
            finally:
                for number in range(len(session.views)):
                    with suppress(Exception):  # the cluster may be gone
                        spark.catalog.dropTempView(f"{prefix}{number}")


def _tables(session: Session) -> tuple[Tables, list[list[Kind]]]:
    """The view of each table, and the kinds of its columns."""
    tables: Tables = {}
    columns = []
    for number, (catalog, table) in enumerate(session.views):
        view = f"{session.prefix}{number}"
        seen = session.connection.sql(f"FROM {view}")
        columns.append([kind_of(kind, session.connection) for kind in seen.types])
        tables[catalog, table.schema, table.table] = (view, dict(zip(seen.columns, map(str, seen.types), strict=True)))
    return tables, columns


def _bound(session: Session, tables: Tables) -> tuple[list[Kind], pa.Schema, Translated]:
    """The kinds and schema that DuckDB gives the statement's columns, and the statement for Spark."""
    schema = session.stream().schema
    relation = session.explained(lambda: session.connection.sql(session.query))
    kinds = [kind_of(kind, session.connection) for kind in relation.types]
    return kinds, schema, translated(session.query, session.connection, tables)


def _session(session: SparkSession) -> SparkSession:
    """One with the settings that a statement needs: beside this one, which the user may have set, but on Connect.
    Raises UsageError where they have no effect."""
    if context_of(session) is not None:
        session = session.newSession()
    for name, value in _SETTINGS.items():
        with suppress(Exception):  # what a server does not know, it shows below
            session.conf.set(name, value)
    try:
        session.sql("SELECT CAST(2147483647 AS INT) + CAST(1 AS INT)").collect()
    except Exception as failure:
        if "OVERFLOW" not in str(failure):
            raise
        return session
    raise UsageError(
        "the workers' server is not Spark, or an older one: it computes 2147483647 + 1 without an error, so that its "
        "answers are not DuckDB's",
        "name a cluster or a Connect server of Spark 4 (Sail is for other work), or let DuckDB run SQL (profiles.yml: "
        "sql: duckdb)",
    )


def _view(spark: SparkSession, lake: Lake, name: str, number: int, rows: Rows, kinds: list[Kind]) -> None:
    """The table as a view, whose partitions are its parts, read by the workers."""
    parts: list[Part] = list(parts_of(lake.files(rows.table), ROWS))
    shape = lake.shape(rows.table, rows.columns)
    task = partial(rows_of_parts, number, parts, shape, lake.place(rows.table), [kind.carried for kind in kinds])
    columns = [f"`{column.replace('`', '``')}` {kind.spark}" for column, kind in zip(rows.columns, kinds, strict=True)]
    numbers = spark.range(0, len(parts), 1, max(1, len(parts)))
    numbers.mapInArrow(_alone(task), ", ".join(columns)).createOrReplaceTempView(name)


def _register(spark: SparkSession, function: Computed, zone: str) -> None:
    from pyspark.sql.functions import arrow_udf

    of = values_of_lists if function.grouped else values
    kinds = [(kind.name, kind.arrow) for kind in function.arguments]
    text, carried = function.text, function.result.carried

    def computed(*columns: pa.Array) -> pa.Array:
        return of(text, kinds, carried, zone, columns)

    spark.udf.register(function.name, arrow_udf(computed, function.result.spark))


def _frame(spark: SparkSession, made: Translated, columns: int) -> DataFrame:
    return spark.sql(made.text).toDF(*(f"c{at}" for at in range(columns)))


def _alone(task: Callable[..., Any]) -> Callable[[Any], Any]:
    """A plain function: PySpark looks for a name and a signature."""
    return lambda batches: task(batches)


def _run(lake: Lake, session: Session, step: Callable[[], Any]) -> Any:
    """Turns what Spark, or a worker, says of a failure into an error of ours."""
    try:
        return step()
    except LakewrightError:
        raise
    except Exception as failure:
        message = str(failure)
        from_worker = failure_in(message)
        if isinstance(from_worker, OfTable):
            of = list(session.views.values())[from_worker.table].table
            raise lake.explained(of, OSError(str(from_worker))) from failure
        if from_worker is not None:
            raise from_worker from failure
        if _TOO_LARGE in message:
            raise DataError(
                f"the statement's rows are more than the driver of Spark takes ({_TOO_LARGE})",
                "write them into a table (create table … as select …), or set it in the profile: workers: {config: "
                f"{{{_TOO_LARGE}: 4g}}}}",
            ) from failure
        conditions = re.findall(r"\[([A-Z_]+)", message)
        if type(failure).__name__ in ("AnalysisException", "ParseException"):
            raise refused(f"Spark: {_first(message)}") from failure
        if any(condition.startswith(_OF_VALUES) for condition in conditions):
            raise DataError(
                f"the query failed on Spark: {_first(message)}", "correct the statement or its rows"
            ) from failure
        raise explained(failure, "run the statement") from failure


_OF_VALUES = (
    "ARITHMETIC_OVERFLOW", "DIVIDE_BY_ZERO", "CAST_", "NUMERIC_VALUE_OUT_OF_RANGE", "SCALAR_SUBQUERY_TOO_MANY_ROWS",
    "INVALID_ARRAY_INDEX", "BINARY_ARITHMETIC_OVERFLOW", "NUMERIC_OUT_OF_SUPPORTED_RANGE",
)  # fmt: skip


def _first(message: str) -> str:
    """What it says, without the plan and the stack."""
    begin = re.search(r"\[[A-Z_]+", message)
    lines = [line.strip() for line in message[begin.start() if begin else 0 :].splitlines()]
    return " ".join(line for line in lines[:4] if line and not line.startswith(("at ", "'", "+-", "==")))[:400]
