"""A table of PostgreSQL becomes a table of the lake, and predictions become rows of PostgreSQL: each once, in the same
transaction as the note of it, whatever is killed and whoever else writes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import database_servers
import lakewright as lw
from conftest import one_object, sentences, small_project, write_csv
from database_servers import PASSWORD, Server
from lakewright import Workspace, load_profile, load_project
from lakewright.data.databases import redshift
from lakewright.data.lake.tables import Lake
from lakewright.data.sources.opening import open_source
from lakewright.errors import Busy, DataError, NoStore, NotFound, UsageError
from lakewright.model.predictor import Predictor
from lakewright.pipeline.stages.ingest import ingest
from lakewright.records import Ingested
from lakewright.service import scoring
from lakewright.service.scoring.outputs import DatabaseOutput, Wave
from lakewright.workers import parts

INPUT = "main.demo.posts"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile that has the password by reference."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    options = {"PGPASSWORD": "${env:SHOP_PASSWORD}", "MYSQL_PASSWORD": "${env:SHOP_PASSWORD}"}
    names = ("local", "other", "two")
    profiles: dict[str, Any] = {
        name: {"workspace": name, "lake": "lake", "storage_options": options, "threads": 2} for name in names
    }
    profiles["two"]["workers"] = {"name": "local", "processes": 2}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"default": "local", "profiles": profiles}))
    return tmp_path


@pytest.fixture
def fresh(postgresql: Server) -> Server:
    """With no table."""
    postgresql.sql("drop schema public cascade", "create schema public")
    return postgresql


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A model folder."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / ".lakewright").mkdir()
    shutil.copy(mlflow_template, folder / ".lakewright" / "mlflow.db")
    write_csv(folder / "things.csv", sentences(300))
    values = {**small_project(folder), "train": {"learner": "linear"}}
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "lakewright.cli", "run", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(one_object(done.stdout)["model_folder"])


def posts(rows: int, first: int = 0) -> pa.Table:
    texts = [row["text"] for row in sentences(rows, seed=first + 1)]
    return pa.table({"id": [f"p{first + number}" for number in range(rows)], "text": texts})


def lake() -> Lake:
    return Workspace.open(load_profile()).lake


# As a source -------------------------------------------------------------------------------------------------------


def orders(server: Server, rows: int = 200) -> None:
    server.sql(
        "create table orders (id int primary key, text text, label text, price numeric(9,2), changed_at timestamptz)",
        "insert into orders select g, 'text ' || g, 'l' || g % 3, g / 4.0, timestamptz '2026-01-01Z' + g * interval "
        f"'1 s' from generate_series({rows}, 1, -1) g",
    )


def ingested(folder: Path, source: str, **data: Any) -> Ingested:
    section = {"source": source, "columns": {"text": "text", "label": "label"}, **data}
    project = {"name": "orders", "schema": "main.shop", "task": "text_classification", "data": section}
    (folder / "project.yml").write_text(yaml.safe_dump({**project, "train": {"learner": "linear"}}))
    return ingest(load_project(folder / "project.yml"), Workspace.open(load_profile()))


def test_a_table_is_read_and_read_again_where_it_changed(here: Path, fresh: Server) -> None:
    orders(fresh)
    address = f"{fresh.database}/public.orders"
    first = ingested(here, address)
    rows = lake().read(first.table)
    assert rows["id"].to_pylist() == list(range(1, 201))  # in the order of the primary key
    assert str(rows.schema.field("price").type) == "decimal128(9, 2)"
    assert ingested(here, address).table == first.table
    fresh.sql("update orders set text = 'another' where id = 7")
    assert ingested(here, address).table.version == 1
    changed: dict[str, Any] = {"options": {"changed": "changed_at"}}
    by_column = ingested(here, address, **changed)
    fresh.sql("update orders set text = 'unseen' where id = 8")
    assert ingested(here, address, **changed).table == by_column.table
    fresh.sql("update orders set text = 'seen', changed_at = timestamptz '2027-01-01Z' where id = 8")
    assert ingested(here, address, **changed).table.version == by_column.table.version + 1
    without = ingested(here, address, exclude=["price"])
    fresh.sql("update orders set price = 1 where id = 9")
    assert ingested(here, address, exclude=["price"]).table == without.table
    query = {"query": "select id, text, label from orders where id <= 10 -- the first ones", "order_by": "id"}
    assert ingested(here, fresh.database, options=query).table.rows == 10
    for path in here.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("kind", ["postgresql", "redshift"])
def test_rows_are_those_of_one_moment(fresh: Server, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though others delete, move and add rows between two batches. Redshift's way is tried on PostgreSQL, of which each
    transaction is a snapshot as in Redshift."""
    orders(fresh, 120_000)
    fresh.sql("update orders set text = repeat('long ', 100)")  # more than the driver holds at once
    if kind == "redshift":
        fresh.sql("alter role tester set default_transaction_isolation = 'repeatable read'")
    monkeypatch.setattr(redshift, "PAGE", 30_000)
    source, uri = open_source(f"{fresh.database}/public.orders".replace("postgresql", kind), None, {}, Path())
    read = list[int]()
    for batch in source.open(uri, {"order_by": "id"}, {**fresh.secrets, "REDSHIFT_PASSWORD": PASSWORD}):
        if not read:
            fresh.sql(
                "delete from orders where id % 10 = 0",
                "update orders set id = id + 1000000 where id % 10 = 1",
                "insert into orders select g, 'new', 'l', 1, null from generate_series(-500, -1) g",
            )
        read += batch.column("id").to_pylist()
    fresh.sql("alter role tester reset default_transaction_isolation")
    assert read == list(range(1, 120_001))


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("/public.ordres", {}, NotFound, "did you mean 'public.orders'"),
        ("/public.orders", {"order_by": "idd"}, NotFound, "did you mean 'id'"),
        ("/public.orders", {"changed": "no"}, NotFound, "data.options.changed"),
        ("/public.orders", {"querry": "x"}, UsageError, "did you mean 'query'"),
        ("/public.orders", {"query": "select 1"}, UsageError, "names a table, and there is a query"),
        ("", {}, UsageError, "names no table"),
        ("", {"query": "select nope from orders"}, DataError, 'column "nope" does not exist'),
        ("", {"query": "select * from nowhere"}, NotFound, 'relation "nowhere" does not exist'),
        ("", {"query": "select 1 as a; drop table orders"}, DataError, "it is one statement"),
        ("", {"query": "select 1) as a; drop table orders; --"}, DataError, "refuses data.options.query"),
        ("", {"query": "with a as (delete from orders returning *) select * from a"}, DataError, "query: WITH clause"),
        ("", {"query": "select 10 / (id - 2) as tenth from orders order by id"}, DataError, "division by zero"),
    ],
)
def test_what_is_wrong_is_an_error_and_changes_nothing(
    fresh: Server, source: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    orders(fresh, 3)
    opened, uri = open_source(fresh.database + source, None, {}, Path())
    with pytest.raises(error) as caught:
        opened.open(uri, options, fresh.secrets).read_all()
    assert message in str(caught.value)
    assert fresh.sql("select count(*) from orders") == [(3,)]


def test_a_wrong_password_and_a_server_that_is_away(fresh: Server) -> None:
    source, uri = open_source(f"{fresh.database}/public.orders", None, {}, Path())
    with pytest.raises(DataError, match=r"refuses the user: .*password authentication failed") as caught:
        source.open(uri, {}, {"PGPASSWORD": "falsch-und-lang"})
    assert "falsch" not in str(caught.value) and "storage_options: {PGPASSWORD:" in caught.value.remedy
    with pytest.raises(NoStore, match=r"does not answer: .*Connection refused"):
        source.open(uri.replace(str(fresh.port), "1"), {}, fresh.secrets)


@pytest.mark.slow
def test_a_million_rows_take_no_more_memory_than_few(fresh: Server, tmp_path: Path) -> None:
    orders(fresh, 1_000_000)
    script = tmp_path / "read.py"
    script.write_text(
        "import resource, sys\nfrom pathlib import Path\nfrom lakewright.data.sources.opening import open_source\n"
        "source, uri = open_source(sys.argv[1], None, {}, Path())\n"
        "reader = source.open(uri, {'query': sys.argv[2]}, {'PGPASSWORD': sys.argv[3]})\n"
        "rows = sum(batch.num_rows for batch in reader)\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)\n"
    )
    found = []
    for rows in (100_000, 1_000_000):
        query = f"select * from orders where id <= {rows}"
        command = [sys.executable, str(script), fresh.database, query, PASSWORD]
        found.append([int(word) for word in subprocess.check_output(command, text=True).split()])
    assert [rows for rows, _ in found] == [100_000, 1_000_000]
    assert found[1][1] < found[0][1] + 60


# As an output ------------------------------------------------------------------------------------------------------


def predictions(server: Server, table: str = "public.scored") -> list[tuple[Any, ...]]:
    return server.sql(f"select record_id, label, confidence, input_version from {table} order by record_id")


def test_a_table_is_scored_into_postgresql_and_then_only_what_is_new(here: Path, fresh: Server, trained: Path) -> None:
    lake().write(INPUT, posts(300))
    output = f"{fresh.database}/public.scored"
    first = lw.score(trained, INPUT, output, commit_rows=100)
    assert (first.rows, str(first.output), first.output.rows) == (300, output, 300)
    expected = Predictor.open(trained).predict(posts(300)["text"].to_pylist())
    by_id = {f"p{number}": each for number, each in enumerate(expected)}
    for id, label, confidence, _ in predictions(fresh):
        assert label == by_id[id]["label"] and confidence == pytest.approx(by_id[id]["confidence"])
    ((shares,),) = fresh.sql("select (probabilities ->> 'animal')::float8 from public.scored where record_id = 'p0'")
    assert shares == pytest.approx(by_id["p0"]["probabilities"]["animal"])
    assert lw.score(trained, INPUT, output).rows == 0
    lake().write(INPUT, posts(50, first=290), mode="append")  # ten of them again
    second = lw.score(trained, INPUT, output)
    assert (second.rows, second.replaced, second.output.rows) == (50, 10, 340)
    again = lw.score(trained, INPUT, output, full=True, commit_rows=100)
    assert (again.rows, again.replaced, again.output.rows) == (350, 10, 340)
    lake().write(INPUT, posts(360))  # all anew, so the ids alone show what is new
    by_ids = lw.score(trained, INPUT, output)
    assert (by_ids.rows, by_ids.replaced, by_ids.output.rows) == (20, 0, 360)
    with pytest.raises(UsageError, match=r"has other columns .*: probabilities: jsonb"):
        lw.score(trained, INPUT, output, full=True, probabilities=False)
    lake().write("main.demo.others", posts(10))
    with pytest.raises(DataError, match=r"holds no predictions for main.demo.others"):
        lw.score(trained, "main.demo.others", output)
    assert len(predictions(fresh)) == 360
    for path in here.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_a_table_that_is_there_needs_the_columns_and_the_key(here: Path, fresh: Server, trained: Path) -> None:
    lake().write(INPUT, posts(20))
    output = f"{fresh.database}/public.scored"
    fresh.sql("create table scored (record_id text primary key, label text)")
    with pytest.raises(UsageError, match="has other columns") as caught:
        lw.score(trained, INPUT, output)
    assert "label" not in caught.value.cause.partition(": ")[2] and fresh.sql("select count(*) from scored") == [(0,)]
    fresh.sql("drop table scored")
    lw.score(trained, INPUT, f"{fresh.database}/public.model")
    fresh.sql("create table scored (like model)")
    with pytest.raises(UsageError, match="record_id is not the primary key"):
        lw.score(trained, INPUT, output)
    fresh.sql("alter table scored add primary key (record_id)")
    assert lw.score(trained, INPUT, output).output.rows == 20
    with pytest.raises(UsageError, match="names no table"):
        lw.score(trained, INPUT, fresh.database)
    with pytest.raises(UsageError, match="Redshift has no insert"):
        lw.score(trained, INPUT, "redshift://host/db/a.b")


def test_who_goes_on_from_the_same_note_is_refused(
    here: Path, fresh: Server, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake().write(INPUT, posts(300))
    output, commit, commits = f"{fresh.database}/public.scored", DatabaseOutput.commit, list[Wave]()

    def overtaken(self: DatabaseOutput, wave: Wave) -> int:
        commits.append(wave)
        if len(commits) == 2:  # another workspace scores all that is left
            assert lw.score(trained, INPUT, output, profile="other").rows == 200
        return commit(self, wave)

    monkeypatch.setattr(DatabaseOutput, "commit", overtaken)
    with pytest.raises(Busy, match="another process wrote"):
        lw.score(trained, INPUT, output, commit_rows=100)
    assert len(predictions(fresh)) == 300
    assert lw.score(trained, INPUT, output).rows == 0


def test_what_several_processes_compute_is_written_by_one(
    here: Path, fresh: Server, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake().write(INPUT, posts(300))
    monkeypatch.setattr(scoring, "COMMIT_ROWS", 50)
    monkeypatch.setattr(parts, "WORTH", 1)
    for profile in ("local", "two"):
        scored = lw.score(trained, INPUT, f"{fresh.database}/public.{profile}", commit_rows=50, profile=profile)
        assert (sum(scored.parts.values()), scored.output.rows) == (6, 300)
    assert predictions(fresh, "public.two") == predictions(fresh, "public.local")


def killed(server: Server, trained: Path, kills: int, rows: int) -> int:
    """How often the command was killed while it scored; it goes on each time."""
    command = [sys.executable, "-m", "lakewright.cli", "score", "--model", str(trained), "--input", INPUT]
    command += ["--output", f"{server.database}/public.scored", "--commit-rows", "100"]
    draw, count = random.Random(7), 0
    for _ in range(kills):
        before = there(server)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while there(server) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        count += process.returncode != 0
        assert there(server) % 100 == 0 or there(server) == rows  # whole commits
    return count


def there(server: Server) -> int:
    if server.sql("select to_regclass('public.scored') is null") == [(True,)]:
        return 0
    return int(server.sql("select count(*) from public.scored")[0][0])


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_amid_it_every_row_is_there_once(here: Path, fresh: Server, trained: Path, kills: int) -> None:
    rows = 12_000 if kills > 1 else 3000
    lake().write(INPUT, posts(rows))
    assert killed(fresh, trained, kills, rows) > 0
    lw.score(trained, INPUT, f"{fresh.database}/public.scored")
    lw.score(trained, INPUT, f"{fresh.database}/public.undisturbed")
    found, expected = predictions(fresh), predictions(fresh, "public.undisturbed")
    assert len(found) == rows and [row[:2] for row in found] == [row[:2] for row in expected]


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may stop."""
    if why := database_servers.why_not_postgresql():
        pytest.skip(why)
    with database_servers.postgresql() as server:
        yield server


def test_a_server_that_stops_amid_reading_and_amid_writing(
    here: Path, own: Server, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders(own, 50_000)
    own.sql("update orders set text = repeat('long ', 200)")  # more than the driver holds at once
    address, commit, commits = f"{own.database}/public.orders", DatabaseOutput.commit, list[Wave]()
    source, uri = open_source(address, None, {}, Path())
    reader = source.open(uri, {}, own.secrets)
    next(reader)
    own.stop()
    with pytest.raises(NoStore, match="does not answer") as caught:
        reader.read_all()
    assert "run the command again" in caught.value.remedy
    with pytest.raises(NoStore):
        ingested(here, address)
    own.start()
    assert ingested(here, address).table.rows == 50_000

    def stopping(self: DatabaseOutput, wave: Wave) -> int:
        commits.append(wave)
        if len(commits) == 2:
            own.stop()
        return commit(self, wave)

    lake().write(INPUT, posts(300))
    monkeypatch.setattr(DatabaseOutput, "commit", stopping)
    with pytest.raises(NoStore, match="does not answer"):
        lw.score(trained, INPUT, f"{own.database}/public.scored", commit_rows=100)
    own.start()
    assert len(predictions(own)) == 100
    last = lw.score(trained, INPUT, f"{own.database}/public.scored", commit_rows=100)
    assert (last.rows, last.output.rows) == (200, 300)
