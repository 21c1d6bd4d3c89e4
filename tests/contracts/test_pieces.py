"""Rows that a source has in pieces: the rows of its stream, copied into the same table by however many processes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from lakewright import Workspace, load_profile, load_project
from lakewright.data.sources import pieces
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError
from lakewright.pipeline.stages.ingest import ingest
from lakewright.records import Ingested

ROWS = 1000
TABLE = "main.demo.rows"


def rows(first: int, count: int, **more: pa.Array) -> pa.Table:
    numbers = range(first, first + count)
    columns: dict[str, Any] = {
        "id": pa.array(numbers, pa.int32()),
        "text": [None if number % 11 == 0 else f"row {number} 🦄" for number in numbers],
        "label": [("a", "b")[number % 2] for number in numbers],
        "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC).replace(microsecond=number) for number in numbers]),
        "nested": [{"words": [str(number)] * (number % 3)} for number in numbers],
    }
    return pa.table(columns | more)


def parquet(folder: Path) -> None:
    """Files of several row groups in two folders of a column, with types that differ, one of them without a row."""
    for name, first, kind in (("day=1/a", 0, pa.int32()), ("day=1/b", 300, pa.int64()), ("day=2/c", 600, pa.int16())):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        count = 300 if first < 600 else 400
        table = rows(first, count, id=pa.array(range(first, first + count), kind))
        table = table.set_column(3, "at", table["at"].cast(pa.timestamp("ns", "UTC")))
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=70)
    pq.write_table(rows(0, 0), folder / "day=1/aa.parquet")


def delta(folder: Path) -> None:
    """Files of several commits, in two partitions, of which a row is deleted."""
    for first in (0, 400, 700):
        count = {0: 400, 400: 300, 700: 301}[first]
        table = rows(first, count, part=pa.array([f"p{number % 2}" for number in range(first, first + count)]))
        write_deltalake(str(folder), table, mode="append", partition_by=["part"])
    DeltaTable(str(folder)).delete("id = 17")


WRITERS = {"parquet": parquet, "delta": delta}


def project(folder: Path, processes: int, source: str = "source", **data: Any) -> tuple[Any, Workspace]:
    profile = {"workspace": str(folder / "work"), "workers": {"name": "local", "processes": processes}}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"default": "here", "profiles": {"here": profile}}))
    resolved = {
        "name": "demo",
        "data": {"source": source, "table": TABLE, "columns": {"id": "id"}, **data},
        "task": "text_classification",
        "train": {"learner": "linear"},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(resolved))
    return load_project(folder), Workspace.open(load_profile(None, folder))


def ingested(folder: Path, processes: int, **data: Any) -> tuple[Ingested, pa.Table, Workspace]:
    loaded, workspace = project(folder, processes, **data)
    record = ingest(loaded, workspace)
    return record, workspace.lake.read(record.table), workspace


@pytest.fixture(params=WRITERS)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pieces, "ROWS", 80)
    WRITERS[request.param](tmp_path / "source")
    return tmp_path


def test_the_table_is_the_sources_stream(source: Path) -> None:
    record, table, _ = ingested(source, 1)
    opened, uri = open_source("source", None, {}, source)
    assert table.equals(opened.open(uri, {}, {}).read_all()) and len(table) == ROWS
    assert len(record.parts) == 1 and sum(record.parts.values()) > 10
    assert record.table.rows == ROWS


def test_two_processes_copy_the_same_table(source: Path) -> None:
    _, table, workspace = ingested(source, 1)
    again, opened = project(source, 2)
    record = ingest(again, replace(opened, again=True))
    assert record.table.version == 1 and workspace.lake.read(record.table).equals(table)


def test_columns_are_left_out(source: Path) -> None:
    _, table, _ = ingested(source, 1, exclude=["nested", "at"])
    assert not {"nested", "at"} & set(table.column_names) and len(table) == ROWS


def test_an_unchanged_source_is_not_copied_again(source: Path) -> None:
    first, _, _ = ingested(source, 1)
    second, _, _ = ingested(source, 1)
    assert second.table == first.table and second.parts == {}


def test_an_expression_over_all_rows_is_computed_over_all(source: Path) -> None:
    _, table, _ = ingested(source, 1, derive={"share": "count(*) over ()"})
    assert set(table["share"].to_pylist()) == {ROWS}


def test_a_table_with_partitions_is_overwritten_as_before(source: Path) -> None:
    _, workspace = project(source, 1)
    place = f"{workspace.lake.root}/main/demo/rows"
    write_deltalake(place, rows(0, 5, day=pa.array([1] * 5)), partition_by=["label"])
    assert not workspace.lake.takes_files(TABLE) and workspace.lake.takes_files("main.demo.other")
    _, table, _ = ingested(source, 1)
    assert len(table) == ROWS


def test_a_file_that_is_damaged_leaves_no_version_and_no_file(source: Path) -> None:
    folder = source / "source"
    is_delta = (folder / "_delta_log").is_dir()  # which keeps files that its last version does not hold
    *_, last = map(Path, DeltaTable(str(folder)).file_uris()) if is_delta else sorted(folder.rglob("*.parquet"))
    content = bytearray(last.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)  # its footer is whole
    last.write_bytes(bytes(content))
    loaded, workspace = project(source, 1)
    with pytest.raises(DataError, match="cannot be read"):
        ingest(loaded, workspace)
    assert not list((Path(workspace.lake.root) / "main" / "demo" / "rows").glob("*"))


def test_a_source_without_a_row(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    pq.write_table(rows(0, 0), tmp_path / "source/a.parquet")
    loaded, workspace = project(tmp_path, 1)
    with pytest.raises(DataError, match="has no rows"):
        ingest(loaded, workspace)
