"""State that was damaged, made twice at once or moved: tables, keys, timers, MLflow's database, records."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakewright import Workspace, load_profile
from lakewright.data.lake import sql
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import UsageError
from lakewright.service.server.protocols import mlflow
from projects import Call, T

# Tables --------------------------------------------------------------------------------------------------------------


def zeros(whole: bytes) -> bytes:
    return bytes(len(whole))


def without_footer(whole: bytes) -> bytes:
    return whole[:-200] + bytes(196) + whole[-4:]


def without_rows(whole: bytes) -> bytes:
    """The footer is as it was, so only reading the rows tells."""
    return whole[:4] + bytes(b ^ 0x5A for b in whole[4 : len(whole) // 2]) + whole[len(whole) // 2 :]


def damage(table: Path, how: Callable[[bytes], bytes]) -> None:
    for path in table.glob("*.parquet"):
        path.write_bytes(how(path.read_bytes()))


def rows_of(call: Call, table: str = T) -> int:
    return len(call("sql", f"select * from {table}", "--json").json["rows"])


@pytest.mark.slow
@pytest.mark.parametrize(("table", "stage", "how"), [("t", "ingest", zeros), ("t_features", "prepare", without_footer)])
def test_a_damaged_file_of_the_same_size_is_written_anew(
    table: str, stage: str, how: Any, ran: Path, call: Call
) -> None:
    damage(ran.parent / ".lakewright" / "tables" / "main" / "h" / table, how)
    read = call("sql", f"select * from main.h.{table}")
    assert read.code == 1
    assert "is damaged: its footer is not Parquet" in read.err
    assert f"lakewright run --rerun {stage}" in read.err
    planned = {each["stage"]: each for each in call("plan", "--json").json["stages"]}
    assert planned[stage] == {
        "stage": stage,
        "action": "run",
        "why": f"the files of main.h.{table}@v0 are gone or damaged",
    }
    assert call("run").code == 0
    assert rows_of(call, f"main.h.{table}") == 60


def test_a_rerun_writes_rows_anew_that_cannot_be_read(ran: Path, call: Call) -> None:
    damage(ran.parent / ".lakewright" / "tables" / "main" / "h" / "t", without_rows)
    failed = call("run", "--rerun", "prepare")
    assert failed.code == 1
    assert "(lakewright run --rerun ingest)" in failed.err
    assert call("run", "--rerun", "ingest").code == 0
    assert rows_of(call) == 60


# Two at once ---------------------------------------------------------------------------------------------------------


def test_one_of_many_creates_a_table(tmp_path: Path) -> None:
    def create(number: int) -> Any:
        lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
        try:
            return sql.run_sql(lake, f"create table main.h.one as select {number} as n")
        except UsageError as error:
            return error

    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(create, range(4)))
    refused = [error.cause for error in ended if isinstance(error, UsageError)]
    assert refused == ["the table main.h.one exists already"] * 3
    made = lake.version("main.h.one")
    (winner,) = (number for number, table in enumerate(ended) if table == made)
    assert (made.version, lake.read(made)["n"].to_pylist()) == (0, [winner])


def test_a_table_that_was_made_while_the_query_ran_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    lake.write(T, pa.table({"n": [1]}))
    monkeypatch.setattr(sql, "_exists", lambda *_: False)  # as it was when the statement began
    with pytest.raises(UsageError, match="exists already"):
        sql.run_sql(lake, f"create table {T} as select 2 as n")
    assert lake.read(lake.version(T))["n"].to_pylist() == [1]
    sql.run_sql(lake, f"create or replace table {T} as select 3 as n")
    assert lake.read(lake.version(T))["n"].to_pylist() == [3]


# MLflow's database ---------------------------------------------------------------------------------------------------


def cut_short(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def emptied(whole: bytes) -> bytes:
    return b""


def with_zeros(whole: bytes) -> bytes:
    return whole[:8192] + bytes(4096) + whole[12288:]


def of_something_else(whole: bytes) -> bytes:
    return b"key: value\n" * 2000


@pytest.mark.parametrize("how", [cut_short, emptied, zeros, with_zeros, of_something_else])
def test_a_damaged_database_is_not_to_be_upgraded(how: Any, ran: Path, call: Call) -> None:
    path = ran.parent / ".lakewright" / "mlflow.db"
    path.write_bytes(how(path.read_bytes()))
    for arguments in (["models"], ["plan"], ["predict", "models:/main.h.t@champion", "x"], ["run", "--rerun", "gate"]):
        ended = call(*arguments)
        assert ended.code == 1
        assert re.search(
            rf"^error: MLflow's database {path} is damaged and cannot be read: .+\n  → restore it", ended.err, re.M
        ), ended.err
        assert "upgrade" not in ended.err


def test_models_are_registered_anew_where_the_database_was_moved_away(ran: Path, call: Call) -> None:
    (ran.parent / ".lakewright" / "mlflow.db").write_bytes(b"")
    (ran.parent / ".lakewright" / "mlflow.db").rename(ran.parent / "damaged.db")
    again = call("run", "--json")
    assert again.code == 0
    assert {name: stage["status"] for name, stage in again.json["stages"].items()} == {
        **dict.fromkeys(("ingest", "prepare", "train", "evaluate", "gate"), "skipped"),
        "register": "done",
    }
    assert call("predict", "models:/main.h.t@champion", "the dog is here").code == 0


def test_an_old_database_is_to_be_upgraded(ran: Path, call: Call) -> None:
    path = ran.parent / ".lakewright" / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'bda7b8c39065'")
    ended = call("run", "--rerun", "gate")
    assert ended.code == 1
    assert f"mlflow db upgrade sqlite:///{path}" in ended.err


# Records -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"table": 1}', "\0"])
def test_a_damaged_record_hides_no_run(text: str, ran: Path, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = (ran.parent / ".lakewright" / "runs").glob("*/records/train.json")
    path.write_text(text)
    listed = call("runs", "list", "--json")
    assert listed.code == 0
    assert f"{path} is damaged and left out" in caplog.text
    (run,) = listed.json["runs"]
    assert set(run["stages"]) == {"ingest", "prepare", "evaluate", "gate", "register"}
    stage = ["--project", "project.yml", "--run", path.parent.parent.name]
    needing = call("stage", "gate", *stage)
    assert needing.code == 1
    assert "run the stage train first" in needing.err
    assert call("stage", "train", *stage).code == call("stage", "gate", *stage).code == 0


# Timers --------------------------------------------------------------------------------------------------------------


def test_a_timer_is_named_for_its_command(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("schedule", "systemd", "--out", "units", "run").code == 0
    assert call("schedule", "systemd", "--out", "units", "tables", "list").code == 0
    files = {"lakewright-run.service", "lakewright-run.timer", "lakewright-tables.service", "lakewright-tables.timer"}
    assert {path.name for path in (tmp_path / "units").iterdir()} == files
    assert ".lakewright-run.lock" in call("schedule", "cron", "run").out


def test_a_timer_is_not_written_over_by_another_command(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    units = str(tmp_path / "units")
    assert call("schedule", "systemd", "--out", units, "run", "a.yml").code == 0
    before = {path.name: path.read_text() for path in Path(units).iterdir()}
    refused = [call("schedule", "systemd", "--out", units, "run", "b.yml")]
    monkeypatch.chdir(tmp_path / "other")
    refused.append(call("schedule", "systemd", "--out", units, "run", "a.yml"))
    for ended in refused:
        assert ended.code == 2
        assert "--name NAME" in ended.err
    assert {path.name: path.read_text() for path in Path(units).iterdir()} == before
    assert call("schedule", "systemd", "--out", units, "--name", "other", "run", "a.yml").code == 0
    monkeypatch.chdir(tmp_path)
    assert call("schedule", "systemd", "--out", units, "--at", "05:10", "run", "a.yml").code == 0
    assert "05:10" in (Path(units) / "lakewright-run.timer").read_text()


# Workspaces that are moved -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("left", ["moved", "copied"])
def test_a_workspace_works_where_it_was_moved_to(
    left: str, ran_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    old, new = tmp_path / "old, ü", tmp_path / "new %"
    shutil.copytree(ran_once, old)
    monkeypatch.chdir(old)
    assert call("models").code == 0  # MLflow's places are below `old` now, as if it had run there
    before = content(old)
    shutil.copytree(old, new)
    if left == "moved":
        old.rename(tmp_path / "away")
    monkeypatch.chdir(new)
    (table,) = (each for each in call("tables", "list", "--json").json["tables"] if each["full_name"] == T)
    assert table["storage_location"] == str(new / ".lakewright" / "tables" / "main" / "h" / "t")
    assert call("predict", "models:/main.h.t@champion", "the dog is here").code == 0
    assert {each["action"] for each in call("plan", "--json").json["stages"]} == {"skip"}
    again = call("run", "--rerun", "train", "--json")
    assert again.code == 0
    assert again.json["model_folder"].startswith(str(new))
    with closing(sqlite3.connect(new / ".lakewright" / "mlflow.db")) as database:
        places = [uri for (uri,) in database.execute("SELECT artifact_uri FROM runs")]
    assert len(places) > 7
    assert all(place.startswith((new / ".lakewright" / "artifacts").as_uri() + "/") for place in places)
    if left == "moved":
        assert not old.exists()
    else:
        assert content(old) == before


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_places_stay_where_the_files_did_not_come_along(ran: Path, ran_once: Path, call: Call) -> None:
    assert call("predict", "models:/main.h.t@champion", "the dog is here").code == 0
    with closing(sqlite3.connect(ran.parent / ".lakewright" / "mlflow.db")) as database:
        (place,) = next(database.execute("SELECT source FROM model_versions"))
    assert place.startswith((ran_once / ".lakewright" / "artifacts").as_uri())


# What is read from people --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ['{"text":"where is', '{"text": "a"} b', '  {"a', '{ "text": "a", }'],
)
@pytest.mark.parametrize("by", ["argument", "stdin"])
def test_half_an_object_is_no_text(
    line: str, by: str, greeter: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
    ended = call("predict", str(greeter), *([line] if by == "argument" else []))
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {'argument' if by == 'argument' else 'stdin line'} 1 is not a JSON object" in ended.err
    assert 'write {"text": "…", …}, one a line; a text that begins with a brace' in ended.err


@pytest.mark.parametrize(
    ("line", "cause", "remedy"),
    [
        ('{"text": NaN}', "NaN is not JSON", "write null"),
        ('{"text": -Infinity}', "-Infinity is not JSON", "write null"),
        ('{"text":"a","text":"b"}', "the key 'text' occurs twice", "keep one of them"),
        ('{"text": [1e999]}', "the number 1e999 is too large for a float", "give a number within that range"),
    ],
)
def test_an_object_with_a_value_that_no_row_holds(
    line: str, cause: str, remedy: str, greeter: Path, call: Call
) -> None:
    ended = call("predict", str(greeter), "good morning", line)
    assert ended.code == 2 and f"error: argument 2: {cause}" in ended.err and remedy in ended.err


@pytest.mark.parametrize("line", ["{", "{name} says good morning", "{}}", "[1", '"good', json.dumps({"text": '{"a'})])
def test_a_brace_makes_no_object(line: str, greeter: Path, call: Call) -> None:
    ended = call("predict", str(greeter), line)
    assert ended.code == 0, ended.err
    assert "label" in ended.json


@pytest.mark.parametrize("arguments", [["caf\udce9"], ["cafe", "--where", "text = '\udce9'"]])
def test_a_search_for_bytes(arguments: list[str], ran: Path, call: Call) -> None:
    ended = call("search", T, *arguments)
    assert ended.code == 1
    assert "is not UTF-8: character" in ended.err


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (b"text\n007\n1.0\n\nnan\n", ["007", "1.0", "", "nan"]),
        (b"text\r\n\r\na\r\n", ["", "a"]),
        (b'text\n""\n\na', ["", "", "a"]),
    ],
)
def test_a_blank_line_of_one_column_is_a_row(body: bytes, texts: list[str]) -> None:
    assert mlflow.read(body, "csv", {"text": "text"}, 10) == [{"text": text} for text in texts]


def test_a_blank_line_between_columns_is_none() -> None:
    rows = mlflow.read(b"text,age\na,1\n\nb,2\n", "csv", {"text": "text", "age": "number"}, 10)
    assert rows == [{"text": "a", "age": 1.0}, {"text": "b", "age": 2.0}]


# SQL -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Lake:
    """Of the current folder's workspace, with one table."""
    monkeypatch.chdir(tmp_path)
    assert call("sql", f"create table {T} as select 1::integer as i, 'x' as s, timestamp '2026-01-02' as d").code == 0
    return Workspace.open(load_profile()).lake


@pytest.mark.parametrize("name", ["", " "])
def test_once_needs_a_name(name: str, lake: Lake, call: Call) -> None:
    ended = call("sql", "--once", name, f"insert into {T} select * from {T}")
    assert ended.code == 2
    assert "--once has no name" in ended.err
    assert lake.version(T).version == 0


@pytest.mark.parametrize(
    ("row", "cast"),
    [("null, 'a', null", "null::int"), ("2, 'a', null", "null::timestamp"), ("'2', 'a', now()", "2::int")],
)
def test_an_insert_says_which_cast_is_needed(row: str, cast: str, lake: Lake, call: Call) -> None:
    refused = call("sql", f"insert into {T} select {row}")
    assert refused.code == 1
    assert f"cast(… as {cast.partition('::')[2]})" in refused.err
    assert lake.version(T).version == 0


@pytest.mark.parametrize("kind", ["int[]", "map(varchar, bigint)", 'struct(a int, "b c" timestamptz)', "decimal(9,2)"])
def test_a_null_of_any_type_can_be_cast_as_the_error_says(kind: str, lake: Lake, call: Call) -> None:
    table = f"{T}_{abs(hash(kind))}"
    assert call("sql", f"create table {table} as select null::{kind} as v").code == 0
    refused = call("sql", f"insert into {table} select 'x'::blob")
    (wanted,) = re.findall(r"cast\(… as (.+)\); or", refused.err)
    assert call("sql", f"insert into {table} select cast(null as {wanted})").code == 0


def test_sums_beyond_bigint_say_that_a_cast_helps(lake: Lake, call: Call) -> None:
    beyond = call("sql", "select sum(9223372036854775807::bigint) s from range(3)")
    assert beyond.code == 1
    assert "cast(… as double)" in beyond.err
    helped = call("sql", "select cast(sum(9223372036854775807::bigint) as double) s from range(3)", "--json")
    assert helped.json["rows"] == [{"s": 27670116110564327421.0}]


def test_times_of_a_day_keep_their_zone(lake: Lake, call: Call) -> None:
    query = """select '10:00:00+02'::timetz t, ['10:00:00-01:30'::timetz] t, {a: '23:59:59+00'::timetz} s, n
        from range(3) r(n) order by n desc"""
    rows = call("sql", query, "--json").json["rows"]
    assert rows == [
        {"t": "10:00:00+02", "t_1": ["10:00:00-01:30"], "s": {"a": "23:59:59+00"}, "n": n} for n in (2, 1, 0)
    ]
    assert call("sql", "create table main.h.zoned as select '10:00:00+02'::timetz t").code == 0
    assert lake.read(lake.version("main.h.zoned"))["t"].to_pylist() == ["10:00:00+02"]


def test_a_terminal_does_not_act_on_data(lake: Lake, call: Call) -> None:
    query = (
        """select 'a' || chr(27) || '[2J' || chr(155) || chr(13) || chr(8238) as "n[b]", 'ü' || chr(10) || 'é' as o"""
    )
    out = call("sql", query).out
    assert r"a\x1b[2J\x9b\r\u202e" in out
    assert "n[b]" in out and "ü" in out and "é" in out
    assert not set(out) & {"\x1b", "\x9b", "\r", "\u202e"}
    assert call("sql", query, "--json").json["rows"] == [{"n[b]": "a\x1b[2J\x9b\r\u202e", "o": "ü\né"}]
    refused = call("sql", "select error('a' || chr(27) || '[2J')")
    assert "\x1b" not in refused.err and r"\x1b[2J" in refused.err


def test_times_of_commits_are_shown_as_people_read_them(lake: Lake, call: Call) -> None:
    iso = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    for arguments in (["history", T], ["list"], ["show", T]):
        assert re.search(iso, call("tables", *arguments).out), arguments
    (commit,) = call("tables", "history", T, "--json").json["history"]
    assert isinstance(commit["timestamp"], int)


def test_a_refused_statement_leaves_no_other_noise(
    tmp_path: Path, lakewright: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ended = lakewright("sql", f"create table {T} as select 18446744073709551615::ubigint u", cwd=tmp_path)
    assert ended.returncode == 1
    assert [line[:9] for line in ended.stderr.splitlines()] == ["error: co", "  → corre"]
