"""A version of a table cut into parts: together they are its rows, in the order of `Lake.scan`, wherever it is cut."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_tables import delete_two

from lakewright.data.lake import parts
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.parts import File, Written, parts_of
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, UsageError
from lakewright.records import TableVersion

NAME = "main.demo.rows"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))


def in_parts(lake: Lake, table: TableVersion, most: int, size: int = 7, begin: int = 0) -> pa.Table:
    """The rows from `begin` on; each part says which they are."""
    shape, place, number = lake.shape(table), lake.place(table), begin
    batches = []
    for part in parts_of(lake.files(table), most, begin):
        rows = [*parts.read(part, shape, place, size)]
        assert [*parts.read(part, shape, parts.in_hand(part, shape, place), size)] == rows
        assert part.first == number and part.rows == sum(each.num_rows for each in rows) <= most
        batches, number = batches + rows, number + part.rows
    return pa.Table.from_batches(batches, shape.schema)


def check(lake: Lake, table: TableVersion) -> None:
    expected = lake.read(table)
    for most, size in ((1, 3), (5, 2), (8, 8), (1000, 16)):
        assert in_parts(lake, table, most, size).equals(expected)
    for begin in range(0, len(expected) + 1, 3):
        assert in_parts(lake, table, 4, begin=begin).equals(expected.slice(begin))


def made(lake: Lake) -> str:
    """A table's folder, known to the catalog."""
    return lake.write(NAME, pa.table({"id": [0]})).uri


# What a table may be like ------------------------------------------------------------------------------------------


def test_many_small_files_and_one_large(lake: Lake) -> None:
    for first, rows in ((0, 3), (3, 1), (4, 30), (34, 2)):
        lake.write(NAME, pa.table({"id": [*range(first, first + rows)]}), mode="append")
    table = lake.version(NAME)
    check(lake, table)
    assert [part.rows for part in parts_of(lake.files(table), 10)] == [10, 10, 10, 6]


@pytest.mark.parametrize("columns", [["id"], ["place", "id"], ["place"], ["day", "moment"]])
def test_partitions(lake: Lake, columns: list[str]) -> None:
    """Their values are in the log alone, and their paths hold what a path cannot."""
    uri = made(lake)
    places = ["a b", "x/y%", "ü+=&", None, "x=y", "12"]
    rows = {
        "id": [*range(36)],
        "place": [places[i % 6] for i in range(36)],
        "day": [date(2026, 1, 1 + i % 2) for i in range(36)],
        "moment": [datetime(2026, 1, 1, 12, 30, i % 2, tzinfo=UTC) for i in range(36)],
    }
    for start in (0, 18):
        half = pa.table({name: values[start : start + 18] for name, values in rows.items()})
        mode = "append" if start else "overwrite"
        overwrite: dict[str, Any] = {} if start else {"schema_mode": "overwrite"}
        write_deltalake(uri, half, mode=mode, partition_by=["place", "day", "moment"], **overwrite)
    table = lake.version(NAME)
    check(lake, table)
    shape = lake.shape(table, columns)
    read = [b for part in parts_of(lake.files(table), 5) for b in parts.read(part, shape, lake.place(table))]
    assert pa.Table.from_batches(read).equals(lake.read(table, columns))
    after = [b for part in parts_of(lake.files(table, 1), 5) for b in parts.read(part, shape, lake.place(table))]
    assert sum(each.num_rows for each in after) == 18 and {str(each.schema) for each in after} == {str(shape.schema)}


def test_columns_that_came_later_and_wider_types(lake: Lake) -> None:
    uri = made(lake)
    write_deltalake(uri, pa.table({"id": [1], "inner": [{"a": 1}]}), mode="append", schema_mode="merge")
    write_deltalake(uri, pa.table({"id": [2], "inner": [{"a": 1, "b": "x"}]}), mode="append", schema_mode="merge")
    check(lake, lake.version(NAME))


def test_rows_that_a_deletion_vector_deletes(lake: Lake) -> None:
    lake.write(NAME, pa.table({"id": [*range(10)]}))
    delete_two(Path(lake.version(NAME).uri))
    table = lake.version(NAME)
    assert lake.read(table)["id"].to_pylist() == [0, 1, 3, 4, 6, 7, 8, 9]
    check(lake, table)


def test_columns_that_have_other_names_in_the_files(lake: Lake) -> None:
    uri = Path(lake.write(NAME, pa.table({"col-1": [1, 2, 3], "col-2": ["a", "b", "c"], "inner": [{"a": 1}] * 3})).uri)
    log = uri / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for place, (field, name) in enumerate(zip(schema["fields"], ("id", "text", "inner"), strict=True), start=1):
                physical = {"delta.columnMapping.id": place, "delta.columnMapping.physicalName": field["name"]}
                field |= {"name": name, "metadata": physical}
            inner = schema["fields"][2]["type"]["fields"][0]
            inner["metadata"] = {"delta.columnMapping.id": 4, "delta.columnMapping.physicalName": "a"}
            action["metaData"]["schemaString"] = json.dumps(schema)
            action["metaData"]["configuration"] = {
                "delta.columnMapping.mode": "name",
                "delta.columnMapping.maxColumnId": "4",
            }
    log.write_text("\n".join(map(json.dumps, actions)))
    table = lake.version(NAME)
    shape = lake.shape(table, ["text", "id"])
    read = [b for part in parts_of(lake.files(table), 2) for b in parts.read(part, shape, lake.place(table))]
    assert pa.Table.from_batches(read).to_pydict() == {"text": ["a", "b", "c"], "id": [1, 2, 3]}
    with pytest.raises(DataError, match=r"'inner'.*have other names"):
        lake.shape(table)


def test_a_table_of_others_with_any_row_groups(lake: Lake, tmp_path: Path) -> None:
    uri = made(lake)
    pq.write_table(pa.table({"id": [*range(1, 41)]}), f"{uri}/other.parquet", row_group_size=9)
    size = Path(f"{uri}/other.parquet").stat().st_size
    lake.add_files(NAME, pa.schema({"id": pa.int64()}), [Written("other.parquet", 40, size)])
    check(lake, lake.version(NAME))


def test_a_file_that_holds_other_rows_than_its_commit_says(lake: Lake) -> None:
    uri = made(lake)
    pq.write_table(pa.table({"id": [1, 2]}), f"{uri}/other.parquet")
    lake.add_files(NAME, pa.schema({"id": pa.int64()}), [Written("other.parquet", 3, 400)])
    with pytest.raises(DataError, match="has 2 rows, and its commit says 3"):
        in_parts(lake, lake.version(NAME), 10)


# However it is cut -------------------------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(0, 30), max_size=6),
    most=st.integers(1, 40),
    size=st.integers(1, 16),
    begin=st.integers(0, 40),
    seed=st.integers(0, 99),
)
def test_each_row_is_in_one_part_and_windows_begin_at_the_same_rows(
    counts: list[int], most: int, size: int, begin: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, draw = tmp_path_factory.mktemp("files"), random.Random(seed)
    files, ids = [], []
    for place, rows in enumerate(counts):
        path = folder / f"{place}.parquet"
        first = 100 * place
        pq.write_table(pa.table({"id": pa.array(range(first, first + rows), pa.int64())}), path, row_group_size=5)
        file = File(path.name, rows, draw.choice([1, 1000, parts.BYTES * 3]))
        kept = np.flatnonzero([draw.random() < 0.7 for _ in range(rows)]) if draw.random() < 0.5 else np.arange(rows)
        files.append(file if len(kept) == rows else file.only(kept))
        ids += (first + kept).tolist()
    shape, place_of = parts.Shape(pa.schema({"id": pa.int64()})), parts.Location(str(folder))
    read, whole = [], {}
    for part in parts_of(files, most, begin):
        assert part.first == begin + len(read) and 0 < part.rows <= most
        for window in parts.windows(part, shape, place_of, size):
            values = window.rows["id"].to_pylist()
            assert values == whole.setdefault(window.place, values) and window.place[1] % size == 0
            assert window.first + window.start == begin + len(read)
            read += values[window.start : window.stop]
        if parts.GRID % size == 0:
            hand = parts.windows(part, shape, parts.in_hand(part, shape, place_of), size)
            for one, other in zip(hand, parts.windows(part, shape, place_of, size), strict=True):
                assert one.rows.equals(other.rows)
                assert {**vars(one), "rows": None} == {**vars(other), "rows": None}
    assert read == ids[begin:]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), max_size=3),
    large=st.integers(1, 20 * parts.GRID),
    most=st.integers(1, 3 * parts.ROWS),
)
def test_no_window_of_a_large_file_is_computed_twice(counts: list[int], large: int, most: int) -> None:
    files = [File(f"{place}", rows, 1) for place, rows in enumerate([*counts, large])]
    cut = [*parts_of(files, most)]
    assert [part.first for part in cut] == [sum(part.rows for part in cut[:at]) for at in range(len(cut))]
    assert sum(part.rows for part in cut) == sum(counts) + large and all(0 < part.rows <= most for part in cut)
    ends = [each.stop for part in cut for each in part.slices if each.file.rows == large and each.stop < large]
    assert most < parts.GRID or all(end % parts.GRID == 0 for end in ends)


# Files of others become a version ----------------------------------------------------------------------------------


def written(lake: Lake, ids: list[int]) -> Written:
    schema = pa.schema({"id": pa.int64()})
    return parts.write([pa.record_batch({"id": pa.array(ids)})], schema, lake.place_to_write(NAME))


def test_files_are_added_in_one_commit(lake: Lake) -> None:
    schema = pa.schema({"id": pa.int64()})
    first = lake.add_files(NAME, schema, [written(lake, [1, 2]), written(lake, [3])], transactions={"app": (None, 1)})
    assert (first.version, first.rows) == (0, 3) and sorted(lake.read(first)["id"].to_pylist()) == [1, 2, 3]
    more = written(lake, [4])
    assert lake.version(NAME).rows == 3  # a file alone is in no version
    with pytest.raises(Busy):
        lake.add_files(NAME, schema, [more], transactions={"app": (None, 2)})
    assert lake.add_files(NAME, schema, [more], transactions={"app": (1, 2)}).rows == 4
    wider = pa.schema({"id": pa.int64(), "text": pa.string()})
    with pytest.raises(DataError, match="no column 'text'"):
        lake.add_files(NAME, wider, [more])
    other = parts.write([pa.record_batch({"name": ["x"]})], pa.schema({"name": pa.string()}), lake.place_to_write(NAME))
    anew = lake.add_files(NAME, pa.schema({"name": pa.string()}), [other], mode="overwrite")
    assert lake.read(anew).to_pydict() == {"name": ["x"]} and lake.show(NAME)["columns"][0]["name"] == "name"


def test_a_table_with_rules_takes_no_files(lake: Lake) -> None:
    table = DeltaTable(made(lake))
    table.alter.add_constraint({"positive": "id >= 0"})
    with pytest.raises(UsageError, match=r"delta\.constraints\.positive"):
        lake.add_files(NAME, pa.schema({"id": pa.int64()}), [written(lake, [-1])])


def test_in_an_object_store(tmp_path: Path, s3: dict[str, str]) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), f"s3://lake/{tmp_path.name}", s3)
    lake.write(NAME, pa.table({"id": [*range(20)]}))
    added = lake.add_files(NAME, pa.schema({"id": pa.int64()}), [written(lake, [20, 21])])
    check(lake, added)
    lost = written(lake, [9])
    parts.remove([lost], lake.place_to_write(NAME))
    with pytest.raises(FileNotFoundError):
        [*parts.read(next(parts_of([File(lost.path, 1, lost.size)])), lake.shape(added), lake.place(added))]
