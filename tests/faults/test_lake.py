"""Tables, SQL, workspaces and what is skipped: inputs that once gave a wrong result, or a traceback."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from conftest import sentences, serving
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.sql import insert_once
from lakewright.data.lake.tables import Lake
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, DiskError, of_disk
from projects import Call, Ended, T, write_linear_project, write_rows


@pytest.fixture
def project(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    (tmp_path / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    return write_linear_project(tmp_path)


# Disks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path, ran_once: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small file system of its own, with a project that has run."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("mounting takes root")
    try:
        shutil.copytree(ran_once, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        yield folder
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


READS = [
    ["sql", f"select count(*) n from {T}", "--json"],
    ["predict", "models:/main.h.t@champion", "the dog is here"],
    ["tables", "show", T],
    ["tables"],
    ["plan"],
]
WRITES = [
    ["run", "--rerun", "train"],
    ["run", "--set", "name=other"],
    ["sql", f"create table main.h.u as select * from {T}"],
    ["sql", f"insert into {T} select * from {T}"],
]


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_full_disk_can_be_read_and_says_so_when_written(disk: Path, call: Call) -> None:
    fill(disk)
    for arguments in READS:
        ended = call(*arguments)
        assert ended.code == 0, ended.err
    for arguments in WRITES:
        ended = call(*arguments)
        assert ended.code == 1
        remedy = "run again; it goes on" if arguments[0] == "run" else "run the command again\n"
        assert re.search(rf"error: the disk of .+ is full\n  → free space and {remedy}", ended.err), ended.err
        assert "Traceback" not in ended.err
    (disk / "filler").unlink()
    assert call("run", "--rerun", "train").code == 0
    assert call(*READS[0]).json["rows"] == [{"n": 60}]


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 3 << 20])
def test_a_full_disk_shows_no_backtrace(disk: Path, free: int) -> None:
    fill(disk)
    filler = disk / "filler"
    os.truncate(filler, max(0, filler.stat().st_size - free))
    for rows in (1, 200_000, 3_000_000):  # delta-rs writes a small file at the end, a large one piece by piece
        query = f"create table main.h.r{rows} as select i, md5(i::varchar) as s from range({rows}) as t(i)"
        command = [sys.executable, "-m", "lakewright.cli", "sql", query]
        environment = {**os.environ, "RUST_BACKTRACE": "1"}
        ended = subprocess.run(command, cwd=disk, capture_output=True, text=True, check=False, env=environment)
        if ended.returncode == 0 and free and rows == 1:
            continue
        assert ended.returncode == 1
        assert re.fullmatch(r"error: the disk of .+ is full\n  → free space and run the command again\n", ended.stderr)
    assert not list(disk.glob("**/*.partial"))


@pytest.mark.slow
def test_a_full_disk_can_be_served_from(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles.yml").write_text(f"profiles:\n  local: {{workspace: {disk}/.lakewright}}\n")
    fill(disk)
    with serving("models:/main.h.t@champion", folder=tmp_path) as server:
        assert server.ask("POST", "/predict", {"texts": ["the dog is here"]}).status == 200


def test_a_read_only_disk_can_be_read(disk: Path, call: Call) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in READS:
        ended = call(*arguments)
        assert ended.code == 0, ended.err
    for arguments in WRITES:
        ended = call(*arguments)
        assert ended.code == 1
        assert re.search(r"error: the disk of .+ is read-only\n", ended.err), ended.err


@pytest.mark.parametrize("damage", [b"", b'{"add":{"path":"part', bytes(300)])
def test_a_cut_commit_is_named_and_the_versions_before_it_are_read(tmp_path: Path, damage: bytes) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    for rows in range(1, 4):
        lake.write(T, pa.table({"n": list(range(rows))}))
    commit = max((tmp_path / "tables").rglob("_delta_log/*.json"))
    commit.write_bytes(damage)
    assert lake.read(lake.version(f"{T}@v1")).num_rows == 2
    for use in (lambda: lake.version(T), lambda: lake.write(T, pa.table({"n": [1]})), lambda: lake.history(T)):
        with pytest.raises(DataError) as caught:
            use()
        assert caught.value.cause == f"the commit {commit} is damaged"
        assert caught.value.remedy == "restore it, or move it away: the table is then at v1"
    commit.unlink()
    assert lake.version(T).version == 1


def test_a_catalog_of_earlier_versions_becomes_readable_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = SqliteCatalog(path)
    with closing(sqlite3.connect(path)) as earlier:
        assert earlier.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    assert catalog.list_tables() == []
    catalog.ensure_schema("main", "h")
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_rows_that_quote_an_error_are_no_full_disk() -> None:
    row = DataError("column 'log' holds '[Errno 28] No space left on device'", "correct it")
    assert of_disk(row, "here") is None
    try:
        raise row from ValueError("[Errno 28] No space left on device")
    except DataError as error:
        assert isinstance(of_disk(error, "here"), DiskError)


# Paths ---------------------------------------------------------------------------------------------------------------

PLAIN = " *%'\"é日 & + @ : ; $ ~ ! , = { } ( ) < > `"  # characters that a workspace may have in its path
REFUSED = {
    **{character: character for character in "#?[]\\^|\n\t\x01\x7f"},
    "a%20b": "%20",
    "%2F": "%2F",
    "C#": "#",
    "sub [x]": "[",
}


@pytest.mark.slow
def test_a_workspace_lies_where_it_is_put(
    tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    folder = tmp_path / "up" / PLAIN
    write_linear_project(folder)
    (folder / ".lakewright").mkdir()
    (folder / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    monkeypatch.chdir(folder)
    for arguments in (
        ["run"],
        ["predict", "models:/main.h.t@champion", "the dog is here"],
        ["score", "--model", "models:/main.h.t@champion", "--input", T],
    ):
        ended = call(*arguments)
        assert ended.code == 0, ended.err
    assert call("models", "list", "--json").json["models"][0]["name"] == T
    assert call("sql", f"select count(*) n from {T} join {T}_predictions on true", "--json").json["rows"] == [
        {"n": 3600}
    ]
    assert [path.name for path in (tmp_path / "up").iterdir()] == [PLAIN]
    assert {path.name for path in folder.iterdir()} == {".lakewright", "m.csv", "project.yml"}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_workspace_that_would_lie_elsewhere_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    folder = tmp_path / "up" / name
    write_linear_project(folder)
    monkeypatch.chdir(folder)
    for arguments in (["run"], ["models"], ["sql", "select 1"], ["tables"]):
        ended = call(*arguments)
        assert ended.code == 2
        assert repr(REFUSED[name]) in ended.err
        assert "profiles.yml" in ended.err
    assert [path.name for path in (tmp_path / "up").iterdir()] == [name]
    assert {path.name for path in folder.iterdir()} == {"m.csv", "project.yml"}

    # The workspace elsewhere, the project is as good as any other.
    (folder / "profiles.yml").write_text(f"profiles:\n  local: {{workspace: {tmp_path / 'elsewhere'}}}\n")
    assert call("tables").code == 0


@pytest.mark.parametrize("name", [*REFUSED, PLAIN, "*", "**", "[ab]", "?"])
def test_a_source_is_read_from_the_folder_that_is_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "in"
    for place in (folder, tmp_path / "xaxbx" / "in", tmp_path / "a" / "in", tmp_path / "b" / "in"):
        for file in ("m.csv", "k.csv"):
            write_rows(place / file, [{"n": str(place)}])
    for source in ("in/m.csv", "in", "in/*.csv", "**/*.csv", "in/[mk].csv", str(folder), str(folder / "*.csv")):
        reader, uri = open_source(source, None, {}, tmp_path / name)
        assert set(reader.open(uri, {}, {}).read_all()["n"].to_pylist()) == {str(folder)}, source


# SQL -----------------------------------------------------------------------------------------------------------------


def test_sql_as_it_is_written(project: Path, call: Call) -> None:
    assert call("stage", "ingest", "--project", "project.yml", "--run", "r1").code == 0
    twice = f"select a.n, b.n from {T} a join {T} b on a.n = b.n - 1 order by a.n limit 2"
    assert call("sql", twice, "--json").json == {
        "columns": ["n", "n_1"],
        "rows": [{"n": 0, "n_1": 1}, {"n": 1, "n_1": 2}],
        "row_count": 2,
    }
    assert call("sql", twice).out.split()[-4:] == ["0", "1", "1", "2"]
    key = """select '{"http.status": 200, "a[0]": 1}'::json j, j->>'http.status' s, j->>'a[0]' a, sum(n) n, 1.5 d"""
    (row,) = call("sql", f"{key} from {T}", "--json").json["rows"]
    assert (row["s"], row["a"], row["n"], row["d"]) == ("200", "1", 1770, 1.5)


def test_rows_inserted_under_a_name_are_there_once(project: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("sql", "create table main.h.into as select 1 as n, 'x' as t")
    insert = "insert into main.h.into select n + 1, t from main.h.into where n = 1"

    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:  # after the commit, before anything is noted or printed
        killed.setattr(Lake, "_register", ends)
        assert call("sql", insert, "--once", "june").code != 0
    again = call("sql", insert, "--once", "june")
    assert again.code == 0
    assert "nothing was written" in again.out
    assert call("sql", insert, "--once", "june", "--json").json["written"] is False
    assert call("sql", insert, "--once", "july", "--json").json["written"] is True
    assert call("sql", "select n, count(*) c from main.h.into group by n order by n", "--json").json["rows"] == [
        {"n": 1, "c": 1},
        {"n": 2, "c": 2},  # june's and july's
    ]

    other = call("sql", insert + " or n = 2", "--once", "june")
    assert other.code == 2
    assert "another statement under the name 'june'" in other.err
    assert call("sql", f"create table {T} as select 1 as n", "--once", "june").code == 2
    assert call("sql", "select 1", "--once", "june").code == 2


def test_two_that_insert_under_a_name_at_once(tmp_path: Path) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    lake.write(T, pa.table({"n": [0]}))
    insert = f"insert into {T} values (1)"
    for name in ("a", "b", "c"):
        with ThreadPoolExecutor(4) as threads:
            ended = list(threads.map(insert_once, [lake] * 4, [insert] * 4, [name] * 4))
        assert sorted(written for _, written in ended) == [False, False, False, True]
        assert len({table.version for table, _ in ended}) == 1
    assert lake.read(lake.version(T))["n"].to_pylist().count(1) == 3


# What is skipped -----------------------------------------------------------------------------------------------------


def stages(ended: Ended) -> dict[str, str]:
    """What became of each stage, of `run --json`."""
    return {name: stage["status"] for name, stage in ended.json["stages"].items()}


def ingest(call: Call, run: str, *settings: str) -> Any:
    ended = call("stage", "ingest", "--project", "project.yml", "--run", run, *settings)
    assert ended.code == 0, ended.err
    return ended.json


def rows_of(call: Call, table: str = T) -> int:
    return int(call("sql", f"select count(*) n from {table}", "--json").json["rows"][0]["n"])


def change(path: Path, rows: int) -> None:
    write_rows(path, [{**row, "n": i} for i, row in enumerate(sentences(rows))])


def test_a_file_in_place_of_its_folder_is_read_anew(project: Path, call: Call) -> None:
    change(project.parent / "data" / "train.csv", 60)
    folder = call("run", "--set", "data.source=data")
    assert folder.code == 1
    assert "column 'split' names no test rows" in folder.err
    assert "files' names" in folder.err
    assert call("run", "--set", "data.source=data/train.csv").code == 0
    assert "split" not in call("sql", f"select * from {T}", "--json").json["columns"]


def test_a_source_that_goes_back_is_written_again(project: Path, call: Call) -> None:
    for version, rows in enumerate((60, 50, 60)):
        change(project.parent / "m.csv", rows)
        assert ingest(call, f"r{version}")["table"]["version"] == version
        assert rows_of(call) == rows
    assert call("plan", "--json").json["stages"][0]["action"] == "skip"
    call("sql", f"insert into {T} select * from {T} limit 5")  # no source's rows
    assert call("plan", "--json").json["stages"][0] == {
        "stage": "ingest",
        "action": "run",
        "why": f"{T} holds other rows than the source",
    }
    assert ingest(call, "r5")["table"]["version"] == 4
    assert rows_of(call) == 60


def test_a_table_that_was_only_tidied_up_is_not_written_again(project: Path, call: Call) -> None:
    for version, rows in enumerate((60, 50)):
        change(project.parent / "m.csv", rows)
        ingest(call, f"r{version}")
    delta(project).vacuum(0, enforce_retention_duration=False, dry_run=False)
    assert delta(project).version() == 3
    assert call("plan", "--json").json["stages"][0]["action"] == "skip"
    assert ingest(call, "r1")["table"]["version"] == 1


def test_the_reader_belongs_to_the_fingerprint(project: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ingest(call, "r1")["table"]["version"] == 0
    monkeypatch.setattr("lakewright.__version__", "99.0")  # which may read the same file otherwise
    assert ingest(call, "r2")["table"]["version"] == 1


def delta(project: Path, table: str = "t") -> DeltaTable:
    return DeltaTable(str(project.parent / ".lakewright" / "tables" / "main" / "h" / table))


@pytest.mark.slow
def test_a_version_whose_files_are_gone(project: Path, call: Call) -> None:
    assert call("run").code == 0
    model = "models:/main.h.t@champion"
    change(project.parent / "m.csv", 50)
    ingest(call, "r2")
    delta(project).vacuum(0, enforce_retention_duration=False, dry_run=False)
    for arguments in (
        ["tables", "show", f"{T}@v0"],
        ["profile", f"{T}@v0"],
        ["sql", f"select max(text) from {T}@v0"],
        ["sql", f"create table main.h.u as select * from {T}@v0"],
        ["score", "--model", model, "--input", f"{T}@v0"],
    ):
        ended = call(*arguments)
        assert ended.code == 1
        assert ended.err.startswith(f"error: the files of {T}@v0 are gone (VACUUM, v3)\n  → read {T}@v3, @v2, @v1, or")
        assert ended.err.count("\n") == 2
    assert rows_of(call, f"{T}@v1") == 50

    change(project.parent / "m.csv", 60)  # the run whose version is gone heals itself
    healed = call("run", "--json")
    assert healed.code == 0
    assert stages(healed)["ingest"] == "done"
    assert rows_of(call) == 60


@pytest.mark.parametrize(
    ("gone", "stage"),
    [
        pytest.param("tables/main/h/t", "ingest", marks=pytest.mark.slow),
        ("tables/main/h/t/*.parquet", "ingest"),
        pytest.param("tables/main/h/t_features", "prepare", marks=pytest.mark.slow),
        pytest.param("tables/main/h/t_features/*.parquet", "prepare", marks=pytest.mark.slow),
        pytest.param("recipes", "prepare", marks=pytest.mark.slow),
        ("models", "train"),
        pytest.param("records/main.h.t/train-*.json", "train", marks=pytest.mark.slow),
    ],
)
def test_a_run_makes_anew_what_is_gone(gone: str, stage: str, ran: Path, call: Call) -> None:
    for path in (ran.parent / ".lakewright").glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    planned = {each["stage"]: each for each in call("plan", "--json").json["stages"]}
    assert planned[stage]["action"] == "run", planned
    again = call("run", "--json")
    assert again.code == 0, again.err
    assert stages(again)[stage] == "done"
    assert rows_of(call) == 60
    assert call("predict", "models:/main.h.t@champion", "the dog is here").code == 0
    assert call("run").code == 0
