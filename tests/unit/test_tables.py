"""Delta tables: one atomic commit a write, pinned versions, and a catalog that a crash does not part from the lake."""

from __future__ import annotations

import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.names import TableName
from lakewright.data.lake.tables import Lake
from lakewright.errors import DataError, NotFound, UsageError
from lakewright.records import TableVersion

NAME = "main.default.reviews"
ROWS = pa.table({"id": [1, 2, 3], "text": ["a", "b", None], "tags": [["x"], [], ["y", "z"]]})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))


def many(batches: int, rows: int = 1_000) -> Iterator[pa.RecordBatch]:
    for i in range(batches):
        yield pa.record_batch({"id": pa.array(range(i * rows, (i + 1) * rows)), "text": pa.array(["t" * 100] * rows)})


def reader(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64()), ("text", pa.string())]), batches)


# Write and read ----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(lake: Lake) -> None:
    written = lake.write(NAME, ROWS, comment="what people say")
    assert written == TableVersion(
        name=NAME, version=0, uri=str(Path(lake.root) / "main" / "default" / "reviews"), rows=3
    )
    assert lake.version(NAME) == lake.version("`MAIN`.Default.reviews@v0") == written
    assert lake.read(written).equals(ROWS)
    assert lake.read(written, ["text"], "id > 1").to_pydict() == {"text": ["b", None]}
    assert isinstance(lake.scan(written), pa.RecordBatchReader)


def test_versions_stay_as_they_were(lake: Lake) -> None:
    first = lake.write(NAME, ROWS)
    second = lake.write(NAME, pa.table({"id": ["other", "columns"]}))
    third = lake.write(NAME, pa.table({"id": ["more"]}), mode="append")
    assert [t.version for t in (first, second, third)] == [0, 1, 2]
    assert lake.read(first).equals(ROWS)
    assert lake.read(lake.version(f"{NAME}@v1")).to_pydict() == {"id": ["other", "columns"]}
    assert sorted(lake.read(lake.version(NAME))["id"].to_pylist()) == ["columns", "more", "other"]
    assert third.rows == 3


def test_rows_keep_their_order(lake: Lake) -> None:
    table = lake.write(NAME, reader(many(50)))
    assert lake.read(table)["id"].to_pylist() == list(range(50_000))


def test_a_version_of_many_files_is_read_in_one_order(lake: Lake) -> None:
    for batch in many(12):
        lake.write(NAME, pa.Table.from_batches([batch]), mode="append")
    table = lake.version(NAME)
    orders = {tuple(lake.read(table)["id"].to_pylist()) for _ in range(5)}
    assert len(orders) == 1
    assert sorted(orders.pop()) == list(range(12_000))


def test_types_that_delta_does_not_have(lake: Lake) -> None:
    given = pa.table(
        {
            "word": pa.array(["a", "b"]).dictionary_encode(),
            "byte": pa.array([200, 0], pa.uint8()),
            "moment": pa.array([1_000, 2_000], pa.timestamp("ns")),
            "nothing": pa.nulls(2),
            "view": pa.array(["x", "y"], pa.string_view()),
            "vector": pa.array([[1, 2], [3, 4]], pa.list_(pa.float16(), 2)),
        }
    )
    stored = lake.read(lake.write(NAME, given))
    assert [str(kind) for kind in stored.schema.types] == [
        "string", "int16", "timestamp[us]", "string", "string", "list<element: float>",
    ]  # fmt: skip
    assert stored["byte"].to_pylist() == [200, 0]
    with pytest.raises(DataError, match="column 'day' has the type time32"):
        lake.write(NAME, pa.table({"day": pa.array([1], pa.time32("s"))}))


def test_no_rows_is_an_error_and_leaves_no_table(lake: Lake) -> None:
    for empty in (ROWS.slice(0, 0), reader(iter(()))):
        with pytest.raises(DataError, match="no rows"):
            lake.write(NAME, empty)
    assert lake.list() == []
    with pytest.raises(NotFound):
        lake.version(NAME)


def test_a_failing_stream_changes_nothing_and_comes_through_as_it_is(lake: Lake) -> None:
    before = lake.write(NAME, ROWS)

    def failing(batches: int) -> Iterator[pa.RecordBatch]:
        yield from many(batches)
        raise DataError("line 7 is not JSON", "correct it")

    for batches in (0, 5, 1_000):  # before anything is written, in the first 16 MiB, and past them
        with pytest.raises(DataError, match="line 7 is not JSON"):
            lake.write(NAME, reader(failing(batches)))
    assert lake.version(NAME) == before


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ({"id": [1], "txt": ["a"]}, r"no column 'txt'; did you mean 'text'"),
        ({"id": [1]}, r"column 'text' .* is missing"),
        ({"id": ["1"], "text": ["a"]}, r"column 'id' .* is of type int64, the rows have string"),
        ({"id": [1.5], "text": ["a"]}, r"column 'id' .* is of type int64, the rows have double"),
        ({"id": [1], "text": [2]}, r"column 'text' .* is of type string, the rows have int64"),
    ],
)
def test_an_append_keeps_the_columns(lake: Lake, rows: dict[str, list[object]], cause: str) -> None:
    before = lake.write(NAME, ROWS.select(["id", "text"]))
    with pytest.raises(DataError, match=cause):
        lake.write(NAME, pa.table(rows), mode="append")
    assert lake.version(NAME) == before


def test_an_append_may_bring_columns_in_another_order_and_narrower_numbers(lake: Lake) -> None:
    lake.write(NAME, ROWS.select(["id", "text"]))
    table = lake.write(NAME, pa.table({"text": ["d"], "id": pa.array([4], pa.int32())}), mode="append")
    assert sorted(lake.read(table).to_pylist(), key=lambda row: row["id"])[-1] == {"id": 4, "text": "d"}
    with pytest.raises(DataError, match="column 'id' does not fit"):
        lake.write(NAME, pa.table({"text": ["e"], "id": pa.array([2**63], pa.uint64())}), mode="append")


# Names, versions, history ------------------------------------------------------------------------------------------


def test_what_is_not_there_is_said_with_what_is(lake: Lake) -> None:
    lake.write(NAME, ROWS)
    lake.write(NAME, ROWS)
    with pytest.raises(NotFound, match=r"did you mean 'main\.default\.reviews'"):
        lake.version("main.default.revews")
    with pytest.raises(NotFound, match="no version 7\nits versions go from v0 to v1"):
        lake.version(f"{NAME}@v7")
    with pytest.raises(DataError, match="no column 'txt'\ndid you mean 'text'"):
        lake.scan(lake.version(NAME), ["txt"])
    with pytest.raises(DataError, match="cannot be read where id >"):
        lake.scan(lake.version(NAME), predicate="id >")
    with pytest.raises(UsageError, match="one version"):
        lake.write(f"{NAME}@v1", ROWS)


def test_history_and_finding_a_commit(lake: Lake) -> None:
    assert lake.find_commit(NAME, "fingerprint", "f1") is None
    first = lake.write(NAME, ROWS, properties={"fingerprint": "f1", "source": "a.csv"})
    lake.write(NAME, ROWS.slice(1), properties={"fingerprint": "f2"})
    again = lake.write(NAME, ROWS, properties={"fingerprint": "f1"})
    history = lake.history(NAME)
    assert [(c["version"], c["operation"], c["rows"]) for c in history] == [
        (2, "WRITE", 3), (1, "WRITE", 2), (0, "WRITE", 3),
    ]  # fmt: skip
    assert history[2]["properties"] == {"fingerprint": "f1", "source": "a.csv"}
    assert abs(history[0]["timestamp"] - time.time() * 1_000) < 60_000
    assert [c["version"] for c in lake.history(f"{NAME}@v1")] == [1, 0]
    assert lake.find_commit(NAME, "fingerprint", "f1") == again != first
    assert lake.find_commit(NAME, "fingerprint", "f3") is None


def test_list_and_show(lake: Lake) -> None:
    lake.write(NAME, ROWS, comment="what people say")
    lake.write("main.default.other", ROWS)
    assert [(t["full_name"], t["version"], t["rows"]) for t in lake.list()] == [
        ("main.default.other", 0, 3), (NAME, 0, 3),
    ]  # fmt: skip
    shown = lake.show(NAME)
    assert (shown["rows"], shown["comment"], shown["bytes"] > 0) == (3, "what people say", True)
    assert [(c["name"], c["type_text"], c["type_name"]) for c in shown["columns"]] == [
        ("id", "bigint", "LONG"), ("text", "string", "STRING"), ("tags", "array<string>", "ARRAY"),
    ]  # fmt: skip


def test_a_lake_can_be_moved(lake: Lake, tmp_path: Path) -> None:
    table = lake.write(NAME, ROWS)
    shutil.move(lake.root, tmp_path / "elsewhere")
    moved = Lake(lake.catalog, str(tmp_path / "elsewhere"))
    assert moved.version(NAME).uri != table.uri
    assert moved.read(moved.version(NAME)).equals(ROWS)


# Deletion vectors --------------------------------------------------------------------------------------------------


def test_deletion_vectors_are_applied(lake: Lake) -> None:
    table = lake.write(NAME, pa.table({"id": list(range(10))}))
    delete_two(Path(table.uri))
    table = lake.version(NAME)
    assert table.rows == 8
    assert lake.read(table)["id"].to_pylist() == [0, 1, 3, 4, 6, 7, 8, 9]


def delete_two(folder: Path) -> None:
    """Rows 2 and 5 of ten are deleted the way Spark does it: delta-rs reads such tables and writes none."""
    bitmap = struct.pack("<IQI", 1681511377, 1, 0) + struct.pack("<IIHHIHH", 12346, 1, 0, 1, 16, 2, 5)
    log = folder / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            features = ["deletionVectors"]
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7} | dict.fromkeys(
                ["readerFeatures", "writerFeatures"], features
            )
        if "add" in action:
            vector = {"storageType": "i", "pathOrInlineDv": z85(bitmap), "sizeInBytes": len(bitmap), "cardinality": 2}
            action["add"]["deletionVector"] = vector
    log.write_text("\n".join(map(json.dumps, actions)))


def z85(raw: bytes) -> str:
    """ZeroMQ's base 85 (RFC 32), as Delta writes small deletion vectors into its log."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    raw += bytes(-len(raw) % 4)
    words = [int.from_bytes(raw[i : i + 4], "big") for i in range(0, len(raw), 4)]
    return "".join(digits[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))


# Crashes and company -----------------------------------------------------------------------------------------------


def test_a_catalog_entry_lost_to_a_crash_is_written_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lake.catalog, "register_table", crash)
        with pytest.raises(KeyboardInterrupt):
            lake.write(NAME, ROWS)
    assert lake.list() == []
    assert lake.version(NAME).rows == 3
    assert [(t["full_name"], t["rows"]) for t in lake.list()] == [(NAME, 3)]


WRITER = """
import sys
import pyarrow as pa
from pathlib import Path
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake

folder, start = Path(sys.argv[1]), int(sys.argv[2])
lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
print("ready", flush=True)
for n in range(start, start + 1000):
    batches = (pa.record_batch([pa.array([n] * 500), pa.array([f"{n} " * 20] * 500)], schema=schema) for _ in range(20))
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    lake.write("main.default.killed", reader, properties={"n": str(n)})
    print(n, flush=True)
"""


def test_a_table_survives_kill_9_whole(tmp_path: Path) -> None:
    """A writer is killed at random moments: the table is at the last version it told of, or at the next, and whole."""
    draw = random.Random(7)
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    told = -1
    for attempt in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(told + 1)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout and writer.stdout.readline() == "ready\n"
        lines = [int(writer.stdout.readline())] if attempt else []  # the first time, it may not have begun
        time.sleep(draw.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        lines += [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        told = max([told, *lines])
        try:
            table = lake.version("main.default.killed")
        except NotFound:
            assert told == -1
            continue
        rows = lake.read(table)
        assert len(rows) == table.rows == 10_000
        (n,) = set(rows["n"].to_pylist())
        assert told <= n <= told + 1
        assert lake.history("main.default.killed")[0]["properties"] == {"n": str(n)}
        assert lake.find_commit("main.default.killed", "n", str(n)) == table
        entry = lake.catalog.get_table(TableName("main", "default", "killed"))
        assert entry is not None
        assert entry["properties"]["delta.lastUpdateVersion"] == str(table.version)
        told = n
    assert told > 0


def test_two_processes_appending_lose_nothing(tmp_path: Path) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    lake.write(NAME, pa.table({"n": [-1]}))
    code = f"""
import sys
import pyarrow as pa
from pathlib import Path
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
lake = Lake(SqliteCatalog(Path({str(tmp_path)!r}) / "catalog.sqlite"), str(Path({str(tmp_path)!r}) / "tables"))
for i in range(8):
    n = int(sys.argv[1]) * 100 + i
    table = lake.write({NAME!r}, pa.table({{"n": [n]}}), mode="append")
    assert n in lake.read(table)["n"].to_pylist()
    assert lake.history(str(table))[0]["rows"] == 1
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(i)]) for i in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    table = lake.version(NAME)
    assert sorted(lake.read(table)["n"].to_pylist()) == [-1, *(100 * p + i for p in range(3) for i in range(8))]
    assert table.version == 24


# Elsewhere ---------------------------------------------------------------------------------------------------------


def test_a_lake_on_s3(s3: dict[str, str], tmp_path: Path) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), "s3://lake/tables", s3)
    with pytest.raises(NotFound):
        lake.version(NAME)
    first = lake.write(NAME, ROWS, properties={"fingerprint": "f1"})
    assert first.uri == "s3://lake/tables/main/default/reviews"
    second = lake.write(NAME, ROWS.slice(0, 1), mode="append")
    assert lake.read(first).equals(ROWS)
    assert second == lake.version(NAME)
    assert second.rows == 4
    assert lake.find_commit(NAME, "fingerprint", "f1") == first
    counted = lake.sql(f"select count(*) as n from {NAME} join {NAME}@v0 using (id)")
    assert isinstance(counted, pa.Table)
    assert counted.to_pydict() == {"n": [4]}


def test_a_lake_that_cannot_be_reached(s3: dict[str, str], tmp_path: Path) -> None:
    away = {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "max_retries": "0"}
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9") as caught:
        Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), "s3://lake/tables", away).version(NAME)
    assert not isinstance(caught.value, NotFound)
