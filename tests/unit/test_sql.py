"""SQL over the lake: pinned versions, repeated tables, writing, and everything else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.changes import change
from lakewright.data.lake.tables import Lake
from lakewright.data.lake.upkeep import parse_upkeep
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError
from lakewright.records import TableVersion

T = "main.default.t"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    lake.write(T, pa.table({"Id": [1, 2, 3], "text": ["a", "b", "c"], "kind": ["x", "y", "x"]}))
    lake.write(T, pa.table({"Id": [4], "text": ["d"], "kind": ["z"]}), mode="append")
    lake.write("main.default.kinds", pa.table({"kind": ["x", "y"], "name": ["iks", "ypsilon"]}))
    return lake


def rows(lake: Lake, query: str) -> list[tuple[object, ...]]:
    table = lake.sql(query)
    assert isinstance(table, pa.Table)
    return list(zip(*table.to_pydict().values(), strict=True))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"select * from {T} order by id limit 1", [(1, "a", "x")]),
        (f"select count(*) from {T}", [(4,)]),
        (f"select count(*) from {T}@v0", [(3,)]),
        (f"select count(*) from {T} version as of 0", [(3,)]),
        (f"select count(*) from {T} FOR VERSION AS OF 0 AS old", [(3,)]),
        ("select count(*) from `MAIN`.`default`.t@V0 x", [(3,)]),
        (f"select t.id, {T}.text from {T} where kind = 'y'", [(2, "b")]),
        (f"select id from {T} except select id from {T}@v0", [(4,)]),
        (f"select a.id, b.id as before from {T} a join {T} b on a.id = b.id + 1 order by 1", [(2, 1), (3, 2), (4, 3)]),
        (f"select count(*) from {T} a, {T}@v0 b, {T} version as of 1 c", [(48,)]),
        (f"with q as (select id from {T}) select count(*) from q x cross join q y", [(16,)]),
        ("select id, name from default.t join default.kinds k using (kind) where id < 2", [(1, "iks")]),
        ("select count(*) from default.t, \"default\".t@v0 a, `default`.kinds version as of 0 b", [(24,)]),
        ("select count(*) from (describe default.t)", [(3,)]),
        ("with t as (select 1 as id) select count(*) from t, default.t u", [(4,)]),
        (f"with q as (select * from {T}), r as (from q) select sum(r.id)::int from q join r using (id)", [(10,)]),
        (f"select id, name from {T} join main.default.kinds using (kind) where id < 3", [(1, "iks"), (2, "ypsilon")]),
        (f"select text, name from {T} natural join main.default.kinds where id = 2", [("b", "ypsilon")]),
        (f"select text from {T} where kind in (select kind from main.default.kinds) order by 1 desc limit 1", [("c",)]),
        (f"select t from (select id from {T} where id = 1) t", [({"Id": 1},)]),
        (f"select t.kind from {T} t where t.id = 4", [("z",)]),
        (f"select columns('^t') from {T} where id = 4", [("d",)]),
        (f"from {T} select id where kind = 'z'", [(4,)]),
        (f"select '{T}@v0', \"Id\" from {T}@v0 where id = 1 -- {T}@v9", [(f"{T}@v0", 1)]),
        (f"select kind, count(*) from {T} group by all order by all", [("x", 2), ("y", 1), ("z", 1)]),
        ("select * from range(2)", [(0,), (1,)]),
        ("with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select max(n) from r", [(3,)]),
        ("values (1, 'a')", [(1, "a")]),
    ],
)  # fmt: skip
def test_queries(lake: Lake, query: str, expected: list[tuple[object, ...]]) -> None:
    assert rows(lake, query) == expected


def test_only_the_columns_a_query_names_are_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    scan = lake.scan

    def noted(table: TableVersion, columns: list[str] | None = None, **options: Any) -> object:
        read.append(columns)
        return scan(table, columns, **options)

    monkeypatch.setattr(lake, "scan", noted)
    rows(lake, f"select kind from {T} where id > 1")
    assert ["Id", "kind"] in read
    assert ["Id", "text", "kind"] not in read


def test_a_name_of_two_parts_is_in_the_default_catalog(lake: Lake) -> None:
    lake.default_catalog = "dev"
    made = lake.sql(f"create table default.demo as select id from {T}")
    assert isinstance(made, TableVersion) and made.name == "dev.default.demo"
    lake.sql("insert into default.demo select id + 10 from default.demo where id = 1")
    assert (
        rows(lake, "select max(id) from default.demo") == [(11,)] == rows(lake, "select max(id) from dev.default.demo")
    )
    change(lake, "update default.demo set id = 0 where id in (select max(id) from default.demo)")
    change(lake, f"merge into default.demo t using {T} s on t.id = s.id when matched then delete")
    assert rows(lake, "from default.demo") == [(0,)]
    assert parse_upkeep("drop table `default`.demo", "dev").table == "dev.default.demo"


def test_create_insert_and_replace(lake: Lake) -> None:
    created = lake.sql(f"create table main.default.u as select id, text from {T} where id < 3")
    assert isinstance(created, TableVersion)
    assert (created.name, created.version, created.rows) == ("main.default.u", 0, 2)
    with pytest.raises(UsageError, match="exists already") as caught:
        lake.sql("create table main.default.u as select 1 as id")
    assert "create or replace" in caught.value.remedy

    # by position, from the table itself, with narrower numbers, with a CTE
    lake.sql("insert into main.default.u select id + 10, text from main.default.u")
    lake.sql("insert into `main`.default.u values (7, 'seven')")
    last = lake.sql("with q as (select 8 as n) insert into main.default.u select n, 'eight' from q")
    assert str(last) == "main.default.u@v3"
    assert rows(lake, "select * from main.default.u order by all") == [
        (1, "a"), (2, "b"), (7, "seven"), (8, "eight"), (11, "a"), (12, "b"),
    ]  # fmt: skip

    lake.sql("create or replace table main.default.u as select *, true as ok from main.default.u where id > 10")
    assert rows(lake, "select * from main.default.u order by all") == [(11, "a", True), (12, "b", True)]
    assert lake.history("main.default.u")[0]["properties"]["sql"].startswith("create or replace")


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (f"insert into {T} select 1, 'x'", DataError, "has 3 columns .* gives 2"),
        (f"insert into {T} select 'x', 'x', 'x'", DataError, "column 'Id' .* is of type int64"),
        (f"insert into {T} (id) select 1", UsageError, "not supported here"),
        (f"insert into {T} by name select 1 as id", UsageError, "by name"),
        (f"insert or replace into {T} select * from {T}", UsageError, "not supported"),
        (f"insert into {T}@v0 select * from {T}", UsageError, "supported"),
        ("insert into main.default.none select 1", NotFound, "main.default.none"),
        ("create table main.default.n as select interval 1 day as i", DataError, "column 'i'"),
        ("create table main.default.n as select 1 as a where false", DataError, "no rows"),
        (f"create table main.default.n as select text::int as a from {T}", DataError, "Could not convert string"),
        ("create table if not exists main.default.n as select 1 as a", UsageError, "exists"),
        ("create temp table main.default.n as select 1 as a", UsageError, "not supported"),
        ("create table main.default.n (a int)", UsageError, "not supported"),
        ("create view main.default.n as select 1", UsageError, "not supported"),
        ("create table n as select 1 as a", UsageError, "main.default.n"),
        (f"drop table {T}", UsageError, "'drop' statements"),
        (f"update {T} set id = 1", UsageError, "'update' statements"),
        (f"delete from {T}", UsageError, "'delete' statements"),
        ("attach 'x.db'", UsageError, "'attach' statements"),
        (f"copy (select * from {T}) to 'out.csv'", UsageError, "'copy' statements"),
        ("install httpfs", UsageError, "'install' statements"),
        ("pragma database_list", UsageError, "'pragma' statements"),
        ("set threads = 1", UsageError, "'set' statements"),
        (f"explain select * from {T}", UsageError, "'explain' statements"),
        ("select 1; select 2", UsageError, "2 statements"),
        (f"select * into x from {T}", UsageError, "not SQL"),
        ("", UsageError, "empty"),
        ("-- nothing", UsageError, "empty"),
        ("select * from read_csv('/etc/hostname')", UsageError, "no file can be read here"),
        ("select * from read_text('/etc/hostname')", UsageError, "disabled"),
        ("select * from '/etc/hostname'", UsageError, "not the name of a table"),
        ("select * from glob('/etc/*')", UsageError, "disabled"),
        ("select * from lake", UsageError, "main.default.lake"),
        ("select * from information_schema.tables", NotFound, "main.information_schema.tables"),
        ("select * from lake.main.default.t", UsageError, "not the name of a table"),
        ("select * from main.default.tt", NotFound, r"did you mean 'main\.default\.t'"),
        (f"select * from {T}@v7", NotFound, "v0 to v1"),
        (f"select * from {T}@old", UsageError, "@old"),
        (f"select * from {T} at (version => 0)", UsageError, "@v3"),
        (f"select * from {T} timestamp as of '2024-01-01'", UsageError, "@v3"),
        (f"select txt from {T}", UsageError, "txt"),
        ("select nofunction(1)", UsageError, "nofunction"),
        ("select 1 +", UsageError, "not SQL"),
        (f"select text::int from {T}", DataError, "Could not convert string"),
    ],
)
def test_what_is_refused_says_why_and_changes_nothing(
    lake: Lake, query: str, kind: type[LakewrightError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = lake.list()
    with pytest.raises(kind, match=message) as caught:
        lake.sql(query)
    assert type(caught.value) is kind
    assert caught.value.remedy
    assert lake.list() == before
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"catalog.sqlite", "tables"}
