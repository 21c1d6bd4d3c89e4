"""Views: what a statement reads through them, and what the lake refuses to do with them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest

from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.changes import change
from lakewright.data.lake.names import TableName
from lakewright.data.lake.spark_sql import OnSpark
from lakewright.data.lake.sql import run_sql
from lakewright.data.lake.tables import Lake
from lakewright.data.lake.upkeep import drop, parse_upkeep
from lakewright.data.lake.views import create_view, drop_view, is_view_statement, parse_view_statement
from lakewright.errors import NotFound, UsageError
from lakewright.records import Changed
from lakewright.workers.spark import SparkWorkers
from sql_statements import FROMS, SELECTS, K, P, T, lake_in

V, W = "main.shop.newest", "main.shop.cities"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def run(lake: Lake, query: str) -> Changed:
    statement = parse_view_statement(query, lake.default_catalog)
    return drop_view(lake, statement) if statement.drops else create_view(lake, statement)


def rows(lake: Lake, query: str) -> list[tuple[object, ...]]:
    table = run_sql(lake, query)
    assert isinstance(table, pa.Table)
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_view_gives_the_rows_that_there_are_when_it_is_read(lake: Lake) -> None:
    made = run(lake, f"create view {V} as select Customer, id from shop.orders where id > 5")
    assert (made.table, made.did, made.note) == (V, "made", f"it reads {T}@v1")
    assert rows(lake, f"select count(*), max(v.id) from {V} v join {T} o using (id)") == [(3, 8)]
    change(lake, f"delete from {T} where id = 8")
    assert rows(lake, f"select max(id), max({V}.id) from {V}") == [(7, 7)]
    assert rows(lake, f"select id from {V} union all select id from {T}@v0 order by 1 desc limit 1") == [(7,)]


def test_a_view_over_views_reads_each_version_that_they_name(lake: Lake) -> None:
    run(lake, f"create view {V} as with o as (select * from {T}@v0) select count(*) as n from o;")
    run(lake, f"CREATE OR REPLACE VIEW {W} AS\nfrom (select n, (select count(*) from {T}) as m from {V}) -- all\n")
    assert rows(lake, f"select n, m, (select n from {V}) from {W}") == [(5, 8, 5)]
    run(lake, f"create or replace view {V} as select 7 as n")
    assert rows(lake, f"from {W}") == [(7, 8)]
    run_sql(lake, f"create table main.shop.kept as select * from {W}")
    assert rows(lake, "from main.shop.kept") == [(7, 8)]
    change(lake, f"update main.shop.kept set n = v.n + 1 from {V} v")
    assert rows(lake, "from main.shop.kept") == [(8, 8)]


@pytest.mark.parametrize("select", SELECTS[::4])
def test_a_select_over_a_view_answers_as_over_its_table(lake: Lake, select: str) -> None:
    run(lake, f"create view main.shop.people_view as select * from {P}")
    run(lake, f"create view main.shop.kinds_view as from {K}")
    run(lake, f'create view main.shop.orders_view as select * replace ("Customer" as "Customer") from {T}')
    tables = {"o": T, "p": P, "k": K, "v": T}
    views = {"o": "main.shop.orders_view", "p": "main.shop.people_view", "k": "main.shop.kinds_view", "v": T}
    for of in (FROMS[1], FROMS[4]):
        over = [select.replace("{f}", of).format(**names) for names in (tables, views)]
        first, second = (run_sql(lake, query) for query in over)
        assert isinstance(first, pa.Table) and isinstance(second, pa.Table) and first.equals(second)


def test_views_in_a_circle_are_refused_when_they_are_made_and_when_they_are_read(lake: Lake) -> None:
    run(lake, f"create view {V} as select id from {T}")
    run(lake, f"create view {W} as select id from {V}")
    with pytest.raises(UsageError, match=f"the view {V} reads itself: {V} → {W} → {V}"):
        run(lake, f"create or replace view {V} as select id from {W}")
    assert rows(lake, f"select count(*) from {W}") == [(8,)]
    assert isinstance(lake.catalog, SqliteCatalog)  # two processes that made them at once
    lake.catalog.register_view(
        TableName.parse(V)[0],
        view_definition=f"select id from {W}",
        columns=[],
        properties={"view.default_catalog": "main"},
    )
    with pytest.raises(UsageError, match="reads itself"):
        rows(lake, f"from {W}")


def test_a_view_is_no_table(lake: Lake) -> None:
    run(lake, f"create view {V} as select id from {T}")
    listed = {each["full_name"]: each for each in lake.list()}
    assert (listed[V]["table_type"], listed[V]["version"], listed[V]["storage_location"]) == ("VIEW", None, None)
    assert listed[T]["table_type"] == "MANAGED"
    for statement in (
        f"insert into {V} select 1",
        f"create table {V} as select 1 as x",
        f"create or replace table {V} as select 1 as x",
    ):
        with pytest.raises(UsageError, match=f"{V} is a view, not a table"):
            run_sql(lake, statement)
    with pytest.raises(UsageError, match="is a view, not a table"):
        change(lake, f"delete from {V}")
    with pytest.raises(UsageError, match="is a view, not a table") as refused:
        drop(lake, parse_upkeep(f"drop table {V}"))
    assert refused.value.remedy == f"write: drop view {V}"
    for read in (lambda: lake.version(V), lambda: lake.history(V)):
        with pytest.raises(UsageError, match="is a view, not a table"):
            read()
    assert rows(lake, f"select count(*) from {V}") == [(8,)]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (f"create view {T} as select 1 as x", f"{T} is a table"),
        (f"create view {V} as select 1 as x", f"the view {V} exists already"),
        (f"create view {W}", "not supported here"),
        (f"create view {W} (a, b) as select 1, 2", "not supported here"),
        (f"create view {W}@v1 as select 1", "not supported here"),
        (f"create view {W} as insert into {T} select 1", "no select"),
        (f"create view {W} as delete from {T}", "'delete' statements are not supported"),
        (f"create view {W} as select 1; select 2", "statements"),
        (f"create view {W} as select nothing from {T}", "nothing"),
        (f"create view {W} as select * from csv.`rows.csv`", "its text names a file"),
        (f"create view {W} as from (pivot {T} on note using sum(id))", "cannot find the columns of a pivot"),
        (f"select * from {V}@v0", "has no versions"),
        (f"drop view {T}", f"write: drop table {T}"),
    ],
)
def test_what_is_refused_says_why(lake: Lake, statement: str, reason: str) -> None:
    run(lake, f"create view {V} as select 1 as x")
    with pytest.raises(UsageError) as refused:
        run(lake, statement) if is_view_statement(statement) else run_sql(lake, statement)
    assert reason in f"{refused.value.cause}: {refused.value.remedy}"
    assert lake.view(W) is None


def test_a_view_is_dropped_and_its_name_is_free(lake: Lake) -> None:
    with pytest.raises(NotFound, match="there is no view"):
        run(lake, f"drop view {V}")
    assert run(lake, f"drop view if exists {V}").did == "nothing"
    run(lake, f"create view {V} as select 1 as x")
    assert run(lake, f"DROP VIEW {V};").did == "dropped"
    with pytest.raises(NotFound):
        rows(lake, f"from {V}")
    run_sql(lake, f"create table {V} as select 2 as x")
    assert rows(lake, f"from {V}") == [(2,)]


def test_a_view_whose_columns_are_gone_says_so(lake: Lake) -> None:
    run(lake, f"create view {V} as select city from {P}")
    run_sql(lake, f"create or replace table {P} as select 1 as x")
    with pytest.raises(UsageError, match=f"the view {V} cannot be read: .*city"):
        rows(lake, f"from {V}")
    run_sql(lake, f"create or replace table {P} as select 'Ulm' as city")
    assert rows(lake, f"from {V}") == [("Ulm",)]


def test_the_catalog_keeps_a_view_in_unity_catalogs_fields(lake: Lake, tmp_path: Path) -> None:
    run(lake, f"create view {V} as select id from {T}")
    entry = lake.view(V)
    assert entry is not None
    assert (entry["view_definition"], entry["table_type"]) == (f"select id from {T}", "VIEW")
    assert [(each["name"], each["type_name"]) for each in entry["columns"]] == [("id", "LONG")]
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:  # the layout that earlier versions open
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_names_of_two_parts_stay_those_of_the_catalog_that_the_view_was_made_in(lake: Lake) -> None:
    run(lake, f"create view {V} as select count(*) as n from shop.orders")
    other = Lake(lake.catalog, lake.root, default_catalog="elsewhere")
    assert rows(other, f"from {V}") == [(8,)]


def test_spark_says_that_it_reads_no_views_before_it_asks_its_cluster(lake: Lake) -> None:
    run(lake, f"create view {V} as select id from {T}")
    no_cluster = OnSpark(cast(SparkWorkers, None))
    with pytest.raises(UsageError, match=f"Spark reads no views, and {V} is one"):
        run_sql(lake, f"select * from {V}", no_cluster)
    with pytest.raises(UsageError, match="Spark reads no views"):
        run_sql(lake, f"create table {W} as select * from {V}", no_cluster)
