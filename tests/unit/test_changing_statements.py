"""update, delete and merge: the rows are those of plain DuckDB, and a commit holds all of them or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.features import create, defined, feature_table
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.changes import change, is_change
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, LakewrightError, NotFound, UsageError
from sql_statements import KINDS, ORDERS, PEOPLE, K, P, T, lake_in

STATEMENTS = [
    "update {o} set amount = amount * 2, note = null where customer = 'ann'",
    "update {o} set note = 'all', amount = null",
    "update {o} as x set tags = ['z'], s = {{'t': 1, 'u': 'v'}} where x.amount is null or x.customer is null",
    "update {o} set note = p.city from {p} p where {o}.customer = p.customer",
    "update {o} set note = (select max(city) from {p} where {p}.id = {o}.id)",
    "with big as (select id from {o} where amount > 5) update {o} set note = 'big' where id in (from big)",
    "update {o} set amount = id, id = -id where (amount > 5) is distinct from true",
    "update {k} set d = 'nan'::double, m = 1.005, day = day + 1, moment = null where g = 'p'",
    "update {k} set raw = 'x'::blob, zoned = zoned + interval 1 hour, k = k + 1 where i > 0",
    "delete from {o} where id in (select id from {p})",
    "delete from {o} where amount < 5 or note is null;",
    "delete from {o} using {p} p where {o}.customer = p.customer and p.city <> 'Ulm'",
    "delete from {o}",
    "delete from {k} where not (b)",
    "with gone as (select 7 as id) delete from {o} where id in (from gone) -- not all",
    "merge into {o} as t using {p} s on t.id = s.id when matched and s.id = 1 then delete "
    "when matched then update set customer = s.city when not matched by source and t.id = 8 then update set amount = 0 "
    "when not matched then insert (id) values (s.id)",
    "merge into {o} t using (select id + 6 as id, city from {p}) s using (id) "
    "when matched then update set note = s.city when not matched then insert (id, note) values (s.id, s.city)",
    "merge into {o} t using (select * from {o} where id = 3 union all select * replace (99 as id) from {o} limit 1) "
    "s on t.id = s.id when matched then delete when not matched then insert *",
    "merge into {p} using (values ('eve', 'Linz', 9), (null, null, null)) s(customer, city, id) on {p}.id = s.id "
    "when not matched then insert when matched then update",
    "merge into {p} t using {p} s on t.id = s.id and s.id > 1 when matched then do nothing "
    "when not matched by source then delete",
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def plain() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema shop")
    for name, rows in (("orders", ORDERS), ("people", PEOPLE), ("kinds", KINDS)):
        connection.register("rows", rows)
        connection.execute(f"create table shop.{name} as from rows")
        connection.unregister("rows")
    return connection


def rows_of(lake: Lake, name: str) -> list[Any]:
    return lake.read(lake.version(name)).to_pylist()


def in_any_order(rows: list[Any]) -> list[str]:
    return sorted(map(repr, rows))  # repr: a NaN is one, as itself


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_rows_are_those_of_duckdb(lake: Lake, statement: str) -> None:
    before = {name: lake.read(lake.version(name)).schema for name in (T, P, K)}
    changed = change(lake, statement.format(o=T, p=P, k=K))
    connection = plain()
    names = {"o": "shop.orders", "p": "shop.people", "k": "shop.kinds"}
    ((count,),) = connection.execute(statement.format(**names)).fetchall()
    for name in (T, P, K):
        expected = connection.sql(f"from {name.removeprefix('main.')}").to_arrow_table().cast(before[name])
        assert in_any_order(rows_of(lake, name)) == in_any_order(expected.to_pylist()), name
        assert lake.read(lake.version(name)).schema == before[name]
    assert changed.updated + changed.deleted + changed.inserted == count > 0
    assert lake.history(changed.table)[0]["properties"]["sql"] == statement.format(o=T, p=P, k=K)
    assert lake.version(changed.table).version == changed.version


VALUES = st.tuples(st.sampled_from([None, 0, 1, 2, 3]), st.sampled_from([None, "", "a", "b"]), st.integers(-2, 2))
CONDITIONS = st.sampled_from(
    ["t.k = 1", "t.k is null", "t.x < 0", "t.w = 'a' or t.k > 1", "not (t.k = 2)", "t.w is distinct from 'b'", "null"]
)
SETS = st.sampled_from(["w = 'new'", "k = null", "x = x + 1, k = x", "w = coalesce(w, 'none'), x = 0"])
CLAUSES = st.lists(
    st.sampled_from(
        [
            "when matched and s.x > 0 then delete",
            "when matched and t.w is null then update set w = s.w",
            "when matched then update set x = s.x, w = s.w",
            "when not matched and s.k is not null then insert (k, w) values (s.k, s.w)",
            "when not matched then insert (k, w, x) values (s.k, s.w, s.x)",
            "when not matched by source and t.x < 0 then delete",
            "when not matched by source then update set w = null",
        ]
    ),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip


@st.composite
def random_statements(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return f"update {{t}} as t set {draw(SETS)} where {draw(CONDITIONS)}"
    if kind == 1:
        return f"delete from {{t}} as t where {draw(CONDITIONS)}"
    on = draw(st.sampled_from(["t.k = s.k", "t.k is not distinct from s.k and t.x = s.x", "t.x = s.x and t.w = s.w"]))
    return f"merge into {{t}} as t using {{s}} as s on {on} {' '.join(draw(CLAUSES))}"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=st.lists(VALUES, min_size=1, max_size=6), theirs=st.lists(VALUES, min_size=1, max_size=4), data=st.data())
def test_random_statements_on_random_rows(
    tmp_path_factory: pytest.TempPathFactory, ours: list[Any], theirs: list[Any], data: st.DataObject
) -> None:
    statement = data.draw(random_statements())
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
    schema = pa.schema([("k", pa.int32()), ("w", pa.string()), ("x", pa.int64())])
    connection = duckdb.connect()
    for name, values in (("t", ours), ("s", theirs)):
        rows = pa.table([list(column) for column in zip(*values, strict=True)], schema=schema)
        lake.write(f"main.r.{name}", rows)
        connection.register("rows", rows)
        connection.execute(f"create table {name} as from rows")
    try:
        connection.execute(statement.format(t="t", s="s"))
    except duckdb.Error as refused:
        assert isinstance(refused, (duckdb.InvalidInputException, duckdb.ParserException)), refused
        before = lake.version("main.r.t")
        with pytest.raises(LakewrightError):
            change(lake, statement.format(t="main.r.t", s="main.r.s"))
        assert lake.version("main.r.t") == before
        return
    change(lake, statement.format(t="main.r.t", s="main.r.s"))
    expected = connection.sql("from t").to_arrow_table().to_pylist()
    assert in_any_order(rows_of(lake, "main.r.t")) == in_any_order(expected)


def test_rows_keep_their_order_and_the_answer_counts_them(lake: Lake) -> None:
    before = [row["id"] for row in rows_of(lake, T)]
    changed = change(lake, f"delete from {T} where id in (2, 5)")
    assert (changed.did, changed.deleted, changed.version) == ("deleted", 2, 2)
    assert [row["id"] for row in rows_of(lake, T)] == [each for each in before if each not in (2, 5)]
    nothing = change(lake, f"delete from {T} where id = 99")
    assert (nothing.did, nothing.version, lake.version(T).version) == ("nothing", 2, 2)
    assert change(lake, f"delete from {T}").deleted == 6
    assert lake.version(T).rows == 0
    lake.sql(f"insert into {T} from {T}@v0")
    assert lake.version(T).rows == 5


TWICE = f"(select * from {P} union all select * from {P})"


@pytest.mark.parametrize(
    ("statement", "kind", "message"),
    [
        (f"merge into {T} t using {TWICE} s on t.id = s.id when matched then delete", DataError, "two rows of USING"),
        (
            f"merge into {T} t using {TWICE} s on t.id = s.id when matched then update set note = s.city",
            DataError,
            "two",
        ),
        (f"update {T} set note = p.city from {TWICE} p where orders.id = p.id", DataError, "two rows of FROM"),
        (f"update {T}@v0 set note = 'x'", UsageError, "one version of a table, which cannot change"),
        (f"delete from {T} version as of 0", UsageError, "one version of a table, which cannot change"),
        (f"delete from {T}; delete from {P}", UsageError, "2 statements"),
        (f"update {T} set note = 'x'; select 1", UsageError, "2 statements"),
        (f"delete from {T} returning id", UsageError, "returning"),
        ("delete from main.shop.order", NotFound, "main.shop.orders"),
        ("delete from orders", UsageError, "main.default.orders"),
        (f"update {T} set nothing = 1", UsageError, "nothing"),
        (f"update {T} set id = 'x'", DataError, "Could not convert"),
        (f"update {T} set id = 99999999999999999999", DataError, "range"),
        (f"delete from {T} where", UsageError, "not SQL"),
        (f"delete from {T} where note in (select content from read_text('/etc/passwd'))", UsageError, "passwd"),
        (f"update {T} set note = c from read_csv('/etc/passwd') as f(c)", UsageError, "passwd"),
        (f"merge into {T} t using '/etc/passwd' s on true when matched then delete", UsageError, "passwd"),
        (f"delete from {T} where note = getenv('HOME')", UsageError, "getenv"),
    ],
)
def test_what_is_refused_changes_nothing(lake: Lake, statement: str, kind: type[LakewrightError], message: str) -> None:
    before = {name: (lake.version(name), rows_of(lake, name)) for name in (T, P)}
    with pytest.raises(kind, match=message) as caught:
        change(lake, statement)
    assert caught.value.remedy
    assert {name: (lake.version(name), rows_of(lake, name)) for name in (T, P)} == before


def test_what_another_process_writes_meanwhile_stays(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    write = lake.write

    def late(*arguments: Any, **options: Any) -> Any:
        other.write(T, ORDERS.slice(0, 1), mode="append")
        return write(*arguments, **options)

    monkeypatch.setattr(lake, "write", late)
    with pytest.raises(Busy, match="another process wrote"):
        change(lake, f"delete from {T} where id > 0")
    assert lake.version(T).rows == 9


def test_columns_that_mean_something_partitions_and_constraints_stay(lake: Lake, tmp_path: Path) -> None:
    table = defined("main.shop.daily", {"id": "bigint"}, "at", {"spent": "double"})
    create(lake, table)
    lake.sql("insert into main.shop.daily select 1, timestamptz '2026-01-01 00:00:00+00', 2.5::double")
    change(lake, "update main.shop.daily set spent = 3")
    assert feature_table(lake, "main.shop.daily") == table

    place = str(tmp_path / "tables" / "main" / "shop" / "parted")
    write_deltalake(place, pa.table({"p": ["a", "b"], "x": [1, 2]}), partition_by=["p"])
    from deltalake import DeltaTable

    DeltaTable(place).alter.add_constraint({"small": "x < 10"})
    change(lake, "update main.shop.parted set x = x + 1, p = 'c' where p = 'a'")
    assert DeltaTable(place).metadata().partition_columns == ["p"]
    assert in_any_order(rows_of(lake, "main.shop.parted")) == in_any_order([{"p": "c", "x": 2}, {"p": "b", "x": 2}])
    with pytest.raises(DataError):
        change(lake, "update main.shop.parted set x = 10")
    assert lake.version("main.shop.parted").version == 2


KILLED = """
import os, signal, sys
import deltalake
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake import tables
from lakewright.data.lake.changes import change
from pathlib import Path
folder, at = Path(sys.argv[1]), sys.argv[2]
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if at == "before":
    deltalake.write_deltalake = die
if at == "reading":
    real = deltalake.write_deltalake
    def write(place, rows, **options):
        next(iter(rows)); die()
    deltalake.write_deltalake = write
if at == "after":
    tables.Lake._committed = die
lake = tables.Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
change(lake, "delete from main.shop.orders where id > 4")
"""


@pytest.mark.parametrize(("at", "rows"), [("before", 8), ("reading", 8), ("after", 4)])
def test_a_kill_leaves_the_old_version_or_the_new_one(lake: Lake, tmp_path: Path, at: str, rows: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), at], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert lake.version(T).rows == rows == len(rows_of(lake, T))
    change(lake, f"delete from {T} where id > 4")
    assert lake.version(T).rows == 4


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("UPDATE a.b.c set x = 1", True),
        ("-- delete from\nselect 1", False),
        ("with q as (select 1) delete from a.b.c", True),
        ("with q as (select 'delete from') select 1", False),
        ("insert into a.b.c select 1", False),
        ("", False),
    ],
)
def test_which_statements_change_rows(query: str, expected: bool) -> None:
    assert is_change(query) is expected
