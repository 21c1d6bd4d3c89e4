"""SQL on Spark: the answers of DuckDB over the same lake, on a standalone cluster, a Connect server and Sail.

The standalone cluster comes first: once a process has had a session of Connect, PySpark starts no other kind in it.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

import clusters
from lakewright import api
from lakewright.data.lake.spark_sql import OnSpark
from lakewright.data.lake.sql import insert_once, run_sql
from lakewright.data.lake.tables import Lake
from lakewright.data.rows.kinds import Kind
from lakewright.errors import DataError, LakewrightError, UsageError
from lakewright.model.recipe import Recipe, Wanted
from lakewright.model.recipe.export import as_sql
from lakewright.records import TableVersion
from lakewright.settings.recipe import choose
from lakewright.settings.sections import Prepare
from lakewright.workers.spark import SparkSettings, SparkWorkers
from sql_statements import NAMES, NOT_ON_SPARK, OF_KINDS, OLD, PIVOTS, SELECTS, K, P, T, lake_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not()),
]

EQUAL = [
    *(select.replace("{f}", "{o} as orders").format(**NAMES) for select in SELECTS if select not in NOT_ON_SPARK),
    *(select.format(**NAMES) for select in (*OF_KINDS, *PIVOTS)),
]
FEW = EQUAL[::12]
RECIPE = {
    "impute": {"inputs": ["age", "size"]},
    "derive": {"columns": {"ratio": "fare / age", "short": "lower(substring(city, 1, 1))"}},
    "days": {"step": "part_of", "parts": ["days", "month"]},
    "aggregate": {"by": "short", "of": ["fare"], "statistics": ["median", "count"]},
    "log": {"inputs": ["fare", "ratio"]},
    "ordinal": {"order": {"size": ["low", "high"]}},
    "bin": {"inputs": ["age"], "n_bins": 2, "result": "category"},
    "frequency": {"inputs": ["short"]},
    "one_hot": {"inputs": ["age", "short"]},
    "native": {},
}
CONFIG: dict[str, Any] = {"spark.sql.shuffle.partitions": "2", "spark.driver.maxResultSize": "8m"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake_in(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(scope="class")  # stopped before a session of Connect begins
def on_cluster(master: str) -> Iterator[OnSpark]:
    workers = SparkWorkers.open(SparkSettings(url=master, config=CONFIG), 2)
    yield OnSpark(workers)
    workers.session.stop()


@pytest.fixture(scope="module")
def on_connect(master: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSpark]:
    with clusters.connect_server(tmp_path_factory.mktemp("connect"), master) as url:
        workers = SparkWorkers.open(SparkSettings(url=url, config=CONFIG), 2)
        yield OnSpark(workers)
        workers.session.stop()


def rows(lake: Lake, statement: str, by: OnSpark | None = None) -> pa.Table:
    found = run_sql(lake, statement) if by is None else run_sql(lake, statement, by)
    assert isinstance(found, pa.Table)
    return found


def alike(one: Any, other: Any) -> bool:
    """Equal; floats to the rounding of another order of sums."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other) and type(one) is type(other)


def assert_equal(found: pa.Table, expected: pa.Table, statement: str) -> None:
    assert found.schema.equals(expected.schema)
    one, other = (list(zip(*(each.to_pylist() for each in table.columns), strict=True)) for table in (found, expected))
    if "order by" not in statement.rpartition(")")[2]:
        one, other = sorted(one, key=repr), sorted(other, key=repr)
    assert alike(one, other), f"{one}\n{other}"


def test_there_are_enough() -> None:
    assert len(EQUAL) == len(set(EQUAL)) >= 100


class TestStandalone:
    @pytest.mark.parametrize("statement", EQUAL)
    def test_the_answers_are_duckdbs(self, lake: Lake, on_cluster: OnSpark, statement: str) -> None:
        assert_equal(rows(lake, statement, on_cluster), rows(lake, statement), statement)

    @pytest.mark.parametrize(
        ("statement", "kind", "message"),
        [
            ("select first(i) f from {k}", UsageError, "Spark does not run.* first.*order of rows"),
            ("select row_number() over () n from {k}", UsageError, "row_number.*without an order"),
            ("select random() r from {k}", UsageError, "another value at each call"),
            ("select interval 1 day i", UsageError, "INTERVAL, which Spark lacks"),
            ("select i from {k} a asof join {p} p on a.i >= p.id", UsageError, "ASOF"),
            ("select txt from {k}", UsageError, "txt"),  # DuckDB's own message
            ("select t::int n from {k}", DataError, "Could not convert string"),
            ("select i + 2000000000 n from {k} where i > 0", DataError, "OVERFLOW"),
            ("select (select i from {k}) n", DataError, "SUBQUERY_TOO_MANY_ROWS|More than one row"),
        ],
    )
    def test_a_refusal_says_why(
        self, lake: Lake, on_cluster: OnSpark, statement: str, kind: type[LakewrightError], message: str
    ) -> None:
        with pytest.raises(kind, match=message) as caught:
            rows(lake, statement.format(**NAMES), on_cluster)
        assert caught.value.remedy

    def test_a_recipe_as_a_statement(self, lake: Lake, on_cluster: OnSpark) -> None:
        draw = random.Random(7)
        values: dict[str, Any] = {
            "age": [None if draw.random() < 0.1 else draw.gauss(7, 1) for _ in range(400)],
            "fare": [draw.choice([draw.gauss(0, 30), 0.0, None]) for _ in range(400)],
            "size": [draw.choice(["low", "high", None]) for _ in range(400)],
            "city": [draw.choice(["Aachen", "Bonn", "aachen", "Köln", None, ""]) for _ in range(400)],
            "sold": [datetime(1969, 12, 30) + timedelta(hours=draw.randrange(500_000)) for _ in range(400)],
        }
        kinds: dict[str, Kind] = {"age": "number", "fare": "number", "size": "category", "city": "category"}
        kinds["sold"] = "time"
        learner: Any = SimpleNamespace(name="trees", reads={"number": "native", "category": "native"})
        steps: list[Any] = []
        for step, own, inputs in choose([learner], kinds, Prepare.model_validate({"recipe": RECIPE}).recipe).values():
            before = [Recipe(tuple(steps)).transformed(values)]
            steps.append(step.fit(before, inputs, own, Wanted("row"))[0])
        types = {"sold": pa.timestamp("us"), "size": pa.string(), "city": pa.string()}
        lake.write("main.w.sales", pa.table({n: pa.array(v, types.get(n, pa.float64())) for n, v in values.items()}))
        statement = as_sql(Recipe(tuple(steps)), kinds, "main.w.sales")
        found, expected = rows(lake, statement, on_cluster), rows(lake, statement)
        assert found.num_rows == 400 and found.num_columns > 15
        assert_equal(found, expected, statement)

    def test_written_tables_are_equal(self, lake: Lake, on_cluster: OnSpark) -> None:
        steps = [
            "create table main.w.{t} as select id, customer, amount, sum(id) over () s from {o} where id < 4",
            "insert into main.w.{t} select id + 10, upper(customer), amount / 2, 7 from {o}",
            "insert into main.w.{t} select 1, null::varchar, null::double, null::int",
        ]
        for step in steps:
            made = run_sql(lake, step.format(t="spark", **NAMES), on_cluster)
            expected = run_sql(lake, step.format(t="duckdb", **NAMES))
            assert isinstance(made, TableVersion) and isinstance(expected, TableVersion)
            assert (made.version, made.rows) == (expected.version, expected.rows)
        statement = "select * from main.w.{} order by all"
        assert_equal(rows(lake, statement.format("spark")), rows(lake, statement.format("duckdb")), statement)
        assert [each["properties"] for each in lake.history("main.w.spark")] == [
            {"sql": each["properties"]["sql"].replace("duckdb", "spark")} for each in lake.history("main.w.duckdb")
        ]
        with pytest.raises(UsageError, match="exists already"):
            run_sql(lake, "create table main.w.spark as select 1 as a", on_cluster)
        run_sql(lake, f"create or replace table main.w.spark as select i, words, point from {K}", on_cluster)
        statement = "select i, words, point from {} order by i"
        assert_equal(rows(lake, statement.format("main.w.spark")), rows(lake, statement.format(K)), statement)
        for wrong, message in (("select 1", "has 3 columns"), ("select 'x', [], null", "column 'i' .* is of type")):
            with pytest.raises(DataError, match=message):
                run_sql(lake, f"insert into main.w.spark {wrong}", on_cluster)
        with pytest.raises(DataError, match="no rows"):
            run_sql(lake, f"create table main.w.none as select i from {K} where i > 5 and i < 5", on_cluster)

    def test_rows_are_inserted_once_under_a_name(self, lake: Lake, on_cluster: OnSpark) -> None:
        run_sql(lake, "create table main.w.once as select 1 as n", on_cluster)
        insert = f"insert into main.w.once select id from {P}"
        assert [insert_once(lake, insert, "tonight", on_cluster)[1] for _ in range(2)] == [True, False]
        assert lake.version("main.w.once").rows == 4
        assert insert_once(lake, insert, "tonight")[1] is False  # nor by DuckDB
        with pytest.raises(UsageError, match="another statement"):
            insert_once(lake, insert + " where id > 1", "tonight", on_cluster)

    def test_tables_of_every_shape_are_read(self, lake: Lake, on_cluster: OnSpark, tmp_path: Path) -> None:
        numbers = pa.table({"n": list(range(5_000)), "part": ["a b", "c/d"] * 2_500})
        lake.write("main.w.parted", numbers.slice(0, 1))  # in the catalog, at its place
        folder = lake.version("main.w.parted").uri
        write_deltalake(folder, numbers, mode="overwrite", partition_by=["part"], schema_mode="overwrite")
        statement = "select part, count(*) c, sum(n) s, min(n) m from main.w.parted group by part order by part"
        assert_equal(rows(lake, statement, on_cluster), rows(lake, statement), statement)
        with pytest.raises(UsageError, match="partitions by part"):
            run_sql(lake, "insert into main.w.parted select 1, 'x'", on_cluster)
        lake.write("main.w.masked", numbers)
        delta = DeltaTable(lake.version("main.w.masked").uri)
        delta.alter.set_table_properties({"delta.enableDeletionVectors": "true"}, raise_if_not_exists=False)
        DeltaTable(lake.version("main.w.masked").uri).delete("n % 3 = 0")
        statement = "select count(*) c, sum(n) s, max(n) m from main.w.masked"
        assert_equal(rows(lake, statement, on_cluster), rows(lake, statement), statement)
        assert rows(lake, statement, on_cluster)["c"].to_pylist() == [3_333]

    def test_a_file_that_is_gone(self, lake: Lake, on_cluster: OnSpark) -> None:
        lake.write("main.w.gone", pa.table({"n": [1, 2, 3]}))
        for path in Path(lake.version("main.w.gone").uri).glob("*.parquet"):
            path.unlink()
        before = lake.list()
        with pytest.raises(DataError, match=r"main\.w\.gone") as caught:
            run_sql(lake, "create table main.w.copy as select * from main.w.gone", on_cluster)
        assert caught.value.remedy and lake.list() == before

    def test_a_killed_executor_loses_and_doubles_no_row(
        self, lake: Lake, on_cluster: OnSpark, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        root = tmp_path_factory.getbasetemp()
        count = 400_000
        lake.write("main.w.many", pa.table({"n": list(range(count))}))
        killed: list[int] = []

        def kill() -> None:
            deadline = time.monotonic() + 60
            while not killed and time.monotonic() < deadline:
                found = subprocess.run(["pgrep", "-f", "pyspark.daemon"], capture_output=True, text=True, check=False)
                for pid in map(int, found.stdout.split()):
                    if executor := _executor_of(pid, root):
                        time.sleep(1.5)
                        os.kill(executor, signal.SIGKILL)
                        killed.append(executor)
                        return
                time.sleep(0.1)

        thread = threading.Thread(target=kill)
        thread.start()
        statement = (
            "create table main.w.slow as select n, max(m) m from (select n, sha256(repeat(n::varchar, 4000)) m "
            "from main.w.many) group by n"
        )
        made = run_sql(lake, statement, on_cluster)
        thread.join()
        assert killed and isinstance(made, TableVersion) and made.rows == count
        assert rows(lake, "select count(distinct n) c from main.w.slow")["c"].to_pylist() == [count]

    def test_the_profile_says_who_runs_it(
        self, lake: Lake, on_cluster: OnSpark, master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spark = {"workspace": "w", "sql": "spark", "workers": {"name": "spark", "url": master, "config": CONFIG}}
        profiles = {"local": {"workspace": "w"}, "spark": spark}
        (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}), "utf-8")
        monkeypatch.chdir(tmp_path)
        api.sql("create table main.h.t as select 1 as n, 'a' as t union all select 2, 'b'", profile="spark")
        assert api.insert_once("insert into main.h.t select 3, 'c'", "x", profile="spark")[1]
        statement = "select t, sum(n) s from main.h.t group by t order by t"
        assert api.sql(statement, profile="spark").equals(api.sql(statement))
        with pytest.raises(UsageError, match="Spark"):
            api.sql("select first(n) f from main.h.t", profile="spark")
        assert api.sql("select first(n) f from main.h.t").num_rows == 1

    def test_a_result_larger_than_the_driver_takes(self, lake: Lake, on_cluster: OnSpark) -> None:
        with pytest.raises(DataError, match="more than the driver") as caught:
            rows(lake, "select range n, sha256(range::varchar) s from range(300000)", on_cluster)
        assert "create table" in caught.value.remedy


def _executor_of(pid: int, root: Path) -> int | None:
    """The JVM that started PySpark's daemon, if it is an executor of this test's own cluster."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        command = Path(f"/proc/{parent}/cmdline").read_bytes()
        folder = str(Path(f"/proc/{parent}/cwd").readlink())
    except (OSError, ValueError):
        return None
    return (
        parent
        if b"CoarseGrainedExecutorBackend" in command and str(os.getpid()) != "" and "cluster" in folder
        else None
    )


@pytest.mark.connect
class TestConnect:
    @pytest.mark.parametrize("statement", FEW)
    def test_the_answers_are_duckdbs(self, lake: Lake, on_connect: OnSpark, statement: str) -> None:
        assert_equal(rows(lake, statement, on_connect), rows(lake, statement), statement)

    def test_one_table_by_this_many_names(self, lake: Lake, on_connect: OnSpark) -> None:
        statement = f"select a.id, b.id o from {T} a left join {OLD} b on a.id = b.id order by 1"
        assert_equal(rows(lake, statement, on_connect), rows(lake, statement), statement)

    def test_tables_and_errors(self, lake: Lake, on_connect: OnSpark) -> None:
        run_sql(lake, f"create table main.c.t as select i, upper(t) u from {K}", on_connect)
        assert lake.version("main.c.t").rows == 7
        with pytest.raises(DataError, match="Could not convert string"):
            run_sql(lake, "create table main.c.u as select u::int n from main.c.t", on_connect)
        assert [each["full_name"] for each in lake.list() if "main.c" in each["full_name"]] == ["main.c.t"]


@pytest.mark.connect
def test_sail_is_refused(lake: Lake, tmp_path: Path) -> None:
    with clusters.sail(tmp_path) as url:
        workers = SparkWorkers.open(SparkSettings(url=url, processes=1), 1)
        with pytest.raises(UsageError, match="not Spark"):
            rows(lake, f"select i from {K}", OnSpark(workers))
        workers.session.stop()
