"""A project says what it expects of its rows: they are checked, dropped into a quarantine, or refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import KINDS, sentences
from lakewright import Workspace, load_profile, load_project
from lakewright.data.expectations.sieve import SOURCE_ROW, VIOLATED
from lakewright.data.lake.tables import Lake
from lakewright.data.sources import pieces
from lakewright.errors import DataError, ProjectError
from lakewright.pipeline.stages import ingest as stage
from lakewright.pipeline.stages.ingest import ingest
from lakewright.records import Ingested, TableVersion
from projects import Call, write_rows

BAD = {3: {"n": -1}, 7: {"n": ""}, 11: {"id": 5}, 12: {"label": "bird"}}  # row → what is wrong with it
DROP = [
    {"not_null": "n", "severity": "drop"},
    {"range": {"n": {"min": 0, "max": 1000}}, "severity": "drop"},
    {"unique": "id", "severity": "drop"},
]
WARN = [{"allowed": {"label": sorted(KINDS)}, "name": "known_label"}, {"row_count": {"min": 10}}]


def project(folder: Path, expect: list[dict[str, Any]], bad: dict[int, dict[str, Any]] = BAD, **data: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**row, "id": number, "n": number} for number, row in enumerate(sentences(60))]
    for number, changed in bad.items():
        rows[number].update(changed)
    write_rows(folder / "m.csv", rows)
    source = {"source": "m.csv", "columns": {"text": "text", "label": "label"}, "expect": expect, **data}
    if not (folder / "profiles.yml").exists():
        (folder / "profiles.yml").write_text("profiles: {local: {workspace: .lakewright}}\ndefault: local\n")
    path = folder / "project.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "t",
                "schema": "main.h",
                "task": "text_classification",
                "data": source,
                "train": {"learner": "linear"},
                "evaluate": {"resamples": 100},
                "gate": {"minimum": {"accuracy": 0.0}},
            }
        )
    )
    return path


def opened(path: Path) -> tuple[Any, Workspace]:
    loaded = load_project(path)
    return loaded, Workspace.open(load_profile(None, loaded.folder))


def ingested(path: Path) -> tuple[Ingested, Workspace]:
    loaded, workspace = opened(path)
    return ingest(loaded, workspace), workspace


def dropped(workspace: Workspace, record: Ingested) -> dict[int, list[str]]:
    assert record.quarantine is not None
    assert workspace.lake.version(record.quarantine.name) == record.quarantine
    return {row[SOURCE_ROW]: row[VIOLATED] for row in workspace.lake.read(record.quarantine).to_pylist()}


GONE = {3: ["range_n"], 7: ["not_null_n"], 11: ["unique_id"]}


def test_a_run_drops_rows_and_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, [*DROP, *WARN], {number: BAD[number] for number in (3, 7, 11)})
    ended = call("run")
    assert ended.code == 0
    first = "noticed: not_as_expected: not_null_n (drop): n is null in 1 of 60 rows (row 7). They are in "
    assert first + "main.h.t_quarantine." in ended.out and "unique_id (drop)" in ended.out
    _, workspace = opened(tmp_path)
    assert workspace.lake.version("main.h.t").rows == 57
    assert workspace.lake.version("main.h.t_quarantine").rows == 3
    again = call("run")
    assert again.code == 0 and "unchanged" in again.out + again.err


def test_warnings_keep_the_rows(tmp_path: Path) -> None:
    record, workspace = ingested(project(tmp_path, WARN))
    assert record.table.rows == 60 and record.quarantine is None
    (finding,) = record.findings
    assert (finding.name, finding.count, finding.rows) == ("not_as_expected", 1, ["row 12: 'bird'"])
    assert ingested(tmp_path)[0].findings == record.findings  # which is kept with the table
    assert len(workspace.lake.history("main.h.t")) == 1


def test_a_failure_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, [{**DROP[2], "severity": "fail"}, {"sql": "n >= 0", "severity": "fail"}, *WARN])
    ended = call("run")
    assert ended.code == 1
    assert "unique_id (fail): id has the value of a row before in 1 of 60 rows (row 11: 5)." in ended.err
    assert "sql_1 (fail): 'n >= 0' is not true in 1 of 60 rows (row 3: -1)." in ended.err
    assert "known_label" in ended.err and "set the expectation's severity" in ended.err
    assert not list(tmp_path.rglob("tables/**/*.parquet"))


def test_an_unchanged_source_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path, DROP)
    record, workspace = ingested(path)
    assert dropped(workspace, record) == GONE

    def read(*_: object) -> None:
        raise AssertionError("it is read")

    monkeypatch.setattr(stage._Reading, "rows", read)
    assert ingested(path)[0] == record
    monkeypatch.undo()
    changed = project(tmp_path, [*DROP, {"sql": "n <> 20", "severity": "drop"}])
    record, workspace = ingested(changed)  # other expectations are another content
    assert dropped(workspace, record) == GONE | {20: ["sql_1"]} and record.table.version == 1


@pytest.mark.parametrize("then", [DROP, WARN, []], ids=["drop", "warn", "none"])
def test_a_source_that_is_right_again_leaves_no_row_in_quarantine(tmp_path: Path, then: list[dict[str, Any]]) -> None:
    ingested(project(tmp_path, DROP))
    record, workspace = ingested(project(tmp_path, then, {}))
    assert record.table.rows == 60 and workspace.lake.version("main.h.t_quarantine").rows == 0
    assert workspace.lake.version("main.h.t_quarantine@v0").rows == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from lakewright import Workspace, load_profile, load_project
from lakewright.data.lake.tables import Lake
from lakewright.pipeline.stages.ingest import ingest

add = Lake.add_files
def add_or_die(lake, name, *arguments, **named):
    if name == "main.h.t":
        os.kill(os.getpid(), signal.SIGKILL)
    return add(lake, name, *arguments, **named)
Lake.add_files = add_or_die
folder = Path(sys.argv[1])
ingest(load_project(folder), Workspace.open(load_profile(None, folder)))
"""


def killed(folder: Path) -> None:
    """Ingests in a process that is killed after the quarantine's commit and before the table's."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def rows_of(lake: Lake, name: str) -> list[str]:
    return sorted(map(str, lake.read(lake.version(name)).to_pylist()))


def test_killed_between_the_commits(tmp_path: Path) -> None:
    undisturbed, workspace = ingested(project(tmp_path / "undisturbed", DROP))
    wanted = [rows_of(workspace.lake, name) for name in ("main.h.t", "main.h.t_quarantine")]
    project(tmp_path / "killed", DROP)
    killed(tmp_path / "killed")
    _, workspace = opened(tmp_path / "killed")
    assert workspace.lake.version("main.h.t_quarantine").rows == 3
    with pytest.raises(DataError, match=r"no table main\.h\.t"):
        workspace.lake.version("main.h.t")
    record, workspace = ingested(tmp_path / "killed")
    assert [rows_of(workspace.lake, name) for name in ("main.h.t", "main.h.t_quarantine")] == wanted
    assert record.findings == undisturbed.findings
    assert ingested(tmp_path / "killed")[0] == record


@pytest.mark.parametrize("before", [{}, BAD], ids=["nothing dropped", "rows dropped"])
def test_a_source_that_goes_back_after_a_kill(tmp_path: Path, before: dict[int, dict[str, Any]]) -> None:
    """The table is as it was, and so is its quarantine, which the killed process had written already."""
    first, _ = ingested(project(tmp_path, DROP, before))
    project(tmp_path, DROP, {20: {"n": -5}})
    killed(tmp_path)
    record, workspace = ingested(project(tmp_path, DROP, before))
    assert rows_of(workspace.lake, "main.h.t") == sorted(map(str, workspace.lake.read(first.table).to_pylist()))
    assert workspace.lake.version("main.h.t_quarantine").version == (2 if before else 1)
    if before:
        assert dropped(workspace, record) == GONE
    else:
        assert workspace.lake.version("main.h.t_quarantine").rows == 0 and record.table == first.table


def test_a_quarantine_that_was_changed_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, DROP, {number: BAD[number] for number in (3, 7, 11)})
    assert call("run").code == 0
    _, workspace = opened(tmp_path)
    kept = workspace.lake.version("main.h.t_quarantine")
    workspace.lake.write(kept.name, workspace.lake.read(kept).slice(0, 1), mode="append")
    ended = call("run")
    assert "holds other rows than those that were dropped" in ended.out + ended.err
    assert workspace.lake.version(kept.name).rows == 3


def parquet(folder: Path) -> None:
    number = pa.array(range(1000))
    rows = pa.table(
        {
            "id": [value if value % 97 else 1 for value in range(1000)],
            "text": [f"row {value}" for value in range(1000)],
            "label": ["ab"[value % 2] for value in range(1000)],
            "n": pa.array([None if value % 31 == 0 else value % 50 for value in range(1000)], pa.int16()),
            "at": pa.array(number, pa.timestamp("us", "UTC")),
        }
    )
    (folder / "source").mkdir(parents=True)
    pq.write_table(rows, folder / "source" / "rows.parquet", row_group_size=60)


EXPECT_MANY = [
    {"not_null": "n", "severity": "drop"},
    {"range": {"n": {"max": 45}}},
    {"unique": "id", "severity": "drop"},
    {"unique": "n"},
    {"sql": "id <> 499", "severity": "drop"},
    {"regex": {"text": "^row [0-9]+$"}},
]


def of_pieces(folder: Path, processes: int) -> tuple[Ingested, Workspace]:
    profile = {"workspace": str(folder / "work"), "workers": {"name": "local", "processes": processes}}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"default": "here", "profiles": {"here": profile}}))
    path = project(folder, EXPECT_MANY, source="source")
    return ingested(path)


def test_pieces_and_the_stream_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setattr(pieces, "ROWS", 100)
    for name, processes in (("one", 1), ("two", 2), ("stream", 1)):
        parquet(tmp_path / name)
        with pytest.MonkeyPatch.context() as patch:
            if name == "stream":
                patch.setattr(stage._Reading, "pieces", lambda reading: None)
            record, workspace = of_pieces(tmp_path / name, processes)
        assert bool(record.parts) == (name != "stream") and sum(record.parts.values()) in (0, 16)
        table = workspace.lake.read(record.table)
        found.append((table, dropped(workspace, record), record.findings))
    (one, gone, findings), two, stream = found
    assert one.equals(two[0]) and one.equals(stream[0])
    assert gone == two[1] == stream[1] and findings == two[2] == stream[2]
    assert gone[0] == ["not_null_n"] and gone[194] == ["unique_id"] and gone[499] == ["range_n", "sql_1"]
    assert len({*one["id"].to_pylist()}) == len(one) == 1000 - len(gone)


def test_rows_grow_old_while_their_source_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    newest = datetime.now(UTC) - timedelta(hours=2)
    expect = [{"freshness": {"at": "3h"}, "severity": "fail"}, {"freshness": {"at": "1h"}, "name": "soon"}]
    project(tmp_path, expect, {number: {"at": newest.isoformat()} for number in range(60)})
    ended = call("run")
    assert ended.code == 0 and "soon (warn): the newest value of at is older than 1h" in ended.out

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=2)

    monkeypatch.setattr(stage, "datetime", Later)
    ended = call("run")
    assert ended.code == 1 and "freshness_at (fail): the newest value of at is older than 3h" in ended.err
    assert "soon" in ended.err  # what else is too old


def test_rows_without_a_label_are_not_checked(tmp_path: Path) -> None:
    path = project(tmp_path, [{"not_null": "label", "severity": "drop"}], unlabeled="more.csv")
    write_rows(tmp_path / "more.csv", [{"text": f"more {number}", "label": ""} for number in range(5)])
    record, _ = ingested(path)
    assert record.unlabeled is not None and record.unlabeled.rows == 5 and record.findings == []


@pytest.mark.parametrize(
    ("expect", "cause", "remedy"),
    [
        ([{"not_nul": "id"}], "project.yml:", "did you mean 'not_null'"),
        ([{"range": {"n": {"minimum": 0}}}], "'data.expect.0.range.n.minimum' is not a known key", "did you mean"),
        ([{"range": {"n": {"min": 3, "max": 2}}}], "no value lies between them", "exchange them"),
        ([{"unique": "id"}, {"unique": "id"}], "have the name 'unique_id'", "name"),
        ([{"freshness": {"n": "soon"}}], "data.expect.0.freshness.n", ""),
    ],
)
def test_a_project_that_expects_nothing_clear(
    tmp_path: Path, expect: list[dict[str, Any]], cause: str, remedy: str
) -> None:
    with pytest.raises(ProjectError) as failure:
        load_project(project(tmp_path, expect))
    assert cause in failure.value.cause and remedy in failure.value.remedy


def test_a_table_that_exists_already_is_not_checked(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no source"):
        load_project(project(tmp_path, WARN, source=None, table="main.h.t"))


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    loaded, workspace = opened(project(tmp_path, [{"not_null": "labell"}]))
    with pytest.raises(DataError, match=r"m.csv has no column 'labell' \(data.expect.not_null\)") as failure:
        ingest(loaded, workspace)
    assert "did you mean 'label'" in failure.value.remedy and not list(tmp_path.rglob("*.parquet"))


def test_a_forced_ingest_doubles_nothing(tmp_path: Path) -> None:
    path = project(tmp_path, DROP)
    ingested(path)
    loaded, workspace = opened(path)
    record = ingest(loaded, replace(workspace, again=True))
    assert record.table.version == 1 and record.table.rows == 57 and dropped(workspace, record) == GONE
    assert isinstance(record.quarantine, TableVersion) and record.quarantine.version == 1
