"""`data.mode: append`: the files that were not read before, each once, whatever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import lakewright as lw
from lakewright.cli.app import app
from lakewright.errors import DataError, NotFound, ProjectError, UsageError
from lakewright.records import Ingested

TABLE = "main.shop.rows"
PROJECT = """
name: rows
schema: main.shop
task: classification
data:
  source: incoming
  mode: append
  columns: {label: kept, numbers: [price], id: id}
train: {learner: linear}
gate: {champion: false}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "incoming").mkdir()
    (tmp_path / "project.yml").write_text(PROJECT)
    return tmp_path


def arrive(folder: Path, name: str, first: int, rows: int = 100, price: str = "") -> None:
    """A file of rows, in place at once, as a loader leaves it."""
    lines = [
        f"r{number},{price or number % 10},{'yes' if number % 10 > 4 else 'no'}"
        for number in range(first, first + rows)
    ]
    path = folder / "incoming" / name
    draft = path.with_name(f".{name}")
    draft.write_text("\n".join(["id,price,kept", *lines]) + "\n")
    draft.rename(path)


def ingest(*settings: str) -> Ingested:
    return lw.ingest("project.yml", settings=settings)


def ids(table: str = TABLE, column: str = "id") -> list[str]:
    rows = lw.sql(f"select {column} from {table}")
    assert isinstance(rows, pa.Table)
    found: list[str] = rows[column].to_pylist()
    return found


def test_new_files_are_added_once(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    first = ingest()
    assert (first.table.version, first.table.rows) == (0, 100)
    assert ingest().table == first.table
    arrive(folder, "c.csv", 200)
    arrive(folder, "b.csv", 100)
    second = ingest()
    assert (second.table.version, second.table.rows) == (1, 300)
    assert lw.history(TABLE)[0]["operation"] == "WRITE"
    (folder / "incoming" / "a.csv").unlink()  # a file that is gone takes no rows away
    assert ingest().table == second.table
    arrive(folder, "d.csv", 300, price="2.5")
    with pytest.raises(DataError, match="price"):
        ingest()
    (folder / "incoming" / "d.csv").unlink()
    arrive(folder, "e.csv", 400, rows=1)
    assert ingest().table.rows == 301
    assert sorted(ids()) == sorted([*(f"r{number}" for number in range(300)), "r400"])
    (notes,) = (folder / ".lakewright" / "tables").rglob("_arrivals")
    assert len(list(notes.iterdir())) <= 3  # one for each commit would grow without an end


def test_a_run_goes_on_with_what_is_new(folder: Path) -> None:
    arrive(folder, "a.csv", 0, 300)
    before = lw.run("project.yml")
    again = lw.run("project.yml")
    assert again.stages["train"].status == "skipped"
    arrive(folder, "b.csv", 300, 300)
    after = lw.run("project.yml")
    assert before.records["ingest"].table.rows == 300 and after.records["ingest"].table.rows == 600  # type: ignore[attr-defined]
    assert after.stages["train"].status != "skipped"


def test_the_types_are_those_of_the_table(folder: Path) -> None:
    """What the new files alone would show is another type."""
    arrive(folder, "a.csv", 0, price="2.5")
    (folder / "incoming" / "z.csv").write_text("id,price,kept\n007,1.0,no\n")
    ingest()
    arrive(folder, "b.csv", 0)
    (folder / "incoming" / "c.csv").write_text("id,price,kept\n008,3,no\n")
    rows = ingest().table.rows
    assert rows == 202 and "008" in ids()
    with pytest.raises(DataError, match=r"no column 'more'|column 'more'"):
        (folder / "incoming" / "d.csv").write_text("id,price,kept,more\n9,3,no,1\n")
        ingest()


def test_a_file_that_changed_is_told_and_not_read_again(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest()
    arrive(folder, "a.csv", 500, 7)
    record = ingest()
    assert record.table.rows == 100
    assert [each.name for each in record.findings] == ["files_changed"]
    arrive(folder, "b.csv", 600, 300)
    result = CliRunner().invoke(app, ["run", "project.yml", "--rerun", "ingest"])
    assert result.exit_code == 0, result.output
    assert len(ids()) == 307


def test_another_way_of_writing_starts_anew(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest("data.mode=replace")
    arrive(folder, "b.csv", 100)
    assert ingest().table.rows == 200  # all files, not the new one beside the old rows
    arrive(folder, "c.csv", 200)
    assert ingest("data.mode=replace").table.rows == 300
    arrive(folder, "d.csv", 300)
    assert ingest().table.rows == 400
    arrive(folder, "e.csv", 400)
    assert ingest().table.rows == 500
    assert len(ids()) == len(set(ids())) == 500


def test_lists_and_decimals_are_read_as_the_source_has_them(folder: Path) -> None:
    """Types that no option can declare."""
    write = (folder / "incoming" / "a.json").write_text
    write('{"id": "1", "price": 1, "kept": "no", "tags": ["x"], "all": {"a": 1}}\n')
    ingest()
    (folder / "incoming" / "b.json").write_text(
        '{"id": "2", "price": 2, "kept": "no", "tags": ["y"], "all": {"a": 2}}\n'
    )
    assert ingest().table.rows == 2


def test_nothing_but_empty_files(folder: Path) -> None:
    (folder / "incoming" / "a.csv").touch()
    with pytest.raises(DataError, match="incoming has no rows"):
        ingest()
    (folder / "incoming" / "a.csv").write_text("id,price,kept\na1,1,no\n")
    assert ingest().table.rows == 1
    (folder / "incoming" / "a.csv").unlink()
    (folder / "incoming" / "b.csv").touch()
    record = ingest()
    assert record.table.rows == 1 and [each.name for each in record.findings] == ["files_empty"]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_other_files(folder: Path, kind: str) -> None:
    def write(name: str, rows: list[dict[str, object]]) -> None:
        path = folder / "incoming" / f"{name}.{kind}"
        if kind == "json":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)

    write("a", [{"id": "1", "price": 1.5, "kept": "no", "note": "x"}])
    ingest()
    write("b", [{"id": "2", "price": 1, "kept": "yes", **({} if kind == "json" else {"note": "y"})}])
    assert ingest().table.rows == 2
    rows = lw.sql(f"select id, price, note from {TABLE} order by id")
    assert isinstance(rows, pa.Table)
    note = None if kind == "json" else "y"
    assert [*rows.to_pylist()[1].values()] == ["2", 1.0, note]


def test_rows_that_are_not_as_expected(folder: Path) -> None:
    """The quarantine grows as the table does."""
    expect = "  expect: [{name: cheap, range: {price: {max: 8}}, severity: drop}]\n"
    write = PROJECT.replace("  columns:", f"{expect}  columns:")
    (folder / "project.yml").write_text(write)
    arrive(folder, "a.csv", 0)
    assert ingest().table.rows == 90
    arrive(folder, "b.csv", 100)
    record = ingest()
    assert record.table.rows == 180 and record.quarantine is not None and record.quarantine.rows == 20
    assert sorted([*ids(), *ids(f"{TABLE}_quarantine")]) == sorted(f"r{number}" for number in range(200))
    arrive(folder, "all-of-it.csv", 300, rows=3, price="9")
    record = ingest()
    assert record.table.rows == 180 and record.quarantine is not None and record.quarantine.rows == 23
    arrive(folder, "c.csv", 200, rows=5)
    record = ingest()
    assert record.table.rows == 185 and record.quarantine is not None and record.quarantine.rows == 23


INGEST = "import lakewright as lw; lw.ingest('project.yml')"


@pytest.mark.parametrize("dropping", [False, True])
def test_killed_at_any_time(folder: Path, dropping: bool) -> None:
    """Files go on arriving; ten times the process that reads them is killed."""
    if dropping:
        expect = "  expect: [{name: cheap, range: {price: {max: 8}}, severity: drop}]\n"
        (folder / "project.yml").write_text(PROJECT.replace("  columns:", f"{expect}  columns:"))
    arrive(folder, "first.csv", 0)
    ingest()
    count = 100
    for turn in range(10):
        for _ in range(2):
            arrive(folder, f"file-{count:06}.csv", count, 50)
            count += 50
        process = subprocess.Popen([sys.executable, "-c", INGEST], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(0.8 + 0.15 * turn)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        arrive(folder, f"file-{count:06}.csv", count, 50)
        count += 50
    ingest()
    found = Counter([*ids(), *(ids(f"{TABLE}_quarantine") if dropping else [])])
    assert found == Counter(f"r{number}" for number in range(count))


def test_two_at_once(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest()
    arrive(folder, "b.csv", 100, 5000)
    both = [subprocess.Popen([sys.executable, "-c", INGEST], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [each.communicate()[1].decode() for each in both]
    assert any(each.returncode == 0 for each in both), errors
    ingest()
    assert len(ids()) == len(set(ids())) == 5100


def test_files_without_rows(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest()
    (folder / "incoming" / "b.csv").write_text("id,price,kept\n")
    (folder / "incoming" / "c.csv").touch()
    record = ingest()
    assert record.table.rows == 100 and [each.name for each in ingest().findings] == ["files_empty"]
    (folder / "incoming" / "c.csv").write_text("id,price,kept\nc1,1,no\n")  # its writer is done now
    assert ingest().table.rows == 101
    (folder / "incoming" / "b.csv").write_text("id,price,kept\nb1,1,no\n")
    assert [each.name for each in ingest().findings] == ["files_changed"]
    (folder / "incoming" / "d.csv").write_text("id,price,kept\nd1,much,no\n")
    with pytest.raises(DataError, match=r"the new files of incoming \(d\.csv\) cannot be added"):
        ingest()


def test_another_folder_is_another_source(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest()
    (folder / "other").mkdir()
    (folder / "other" / "a.csv").write_text("id,price,kept\nx,1,no\n")
    with pytest.raises(DataError, match="holds the files of incoming"):
        ingest("data.source=other")


def test_what_has_no_new_files(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    text = PROJECT.replace("source: incoming", "source: python:rows:all_of_them")
    (folder / "rows.py").write_text("def all_of_them():\n    yield {'id': '1', 'price': 1, 'kept': 'no'}\n")
    (folder / "project.yml").write_text(text)
    with pytest.raises(UsageError, match="no folder of files"):
        ingest()
    (folder / "project.yml").write_text(PROJECT.replace("  source: incoming\n", ""))
    with pytest.raises(ProjectError, match="there is no source"):
        ingest()
    (folder / "project.yml").write_text(PROJECT.replace("append", "apend"))
    with pytest.raises(ProjectError, match="append"):
        ingest()


def test_the_note_is_gone(folder: Path) -> None:
    arrive(folder, "a.csv", 0)
    ingest()
    (notes,) = (folder / ".lakewright" / "tables").rglob("_arrivals")
    for each in notes.iterdir():
        each.unlink()
    arrive(folder, "b.csv", 100)
    with pytest.raises(DataError, match="cannot be read"):
        ingest()


def test_following(folder: Path) -> None:
    """Files become rows and rows become predictions while both commands run; neither is stopped by the other."""
    arrive(folder, "a.csv", 0, 300)
    run = lw.run("project.yml")
    table = str(run.records["ingest"].table.name)  # type: ignore[attr-defined]
    ingesting = follow(folder, "ingest", "project.yml")
    scoring = follow(folder, "score", "--model", str(run.model_folder), "--input", table)
    try:
        for turn in range(3):
            arrive(folder, f"b{turn}.csv", 300 + 10 * turn, 10)
            until(lambda turn=turn: len(ids(f"{table}_predictions", "record_id")) == 310 + 10 * turn)  # type: ignore[misc]
    finally:
        for each in (ingesting, scoring):
            each.send_signal(signal.SIGINT)
        outputs = [each.communicate()[0] for each in (ingesting, scoring)]
    assert [each.returncode for each in (ingesting, scoring)] == [130, 130], outputs
    rows = [json.loads(line) for line in outputs[0].splitlines() if line.startswith('{"table"')]
    assert rows[-1]["table"]["rows"] == 330
    found = ids(f"{table}_predictions", "record_id")
    assert len(found) == len(set(found)) == 330


def follow(folder: Path, *command: str) -> subprocess.Popen[str]:
    options = ("--follow", "--every", "0.3", "--json")
    return subprocess.Popen(
        [sys.executable, "-m", "lakewright.cli", *command, *options], cwd=folder, stdout=subprocess.PIPE, text=True
    )


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not _holds(holds):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.5)


def _holds(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except NotFound:  # no table of predictions yet
        return False
