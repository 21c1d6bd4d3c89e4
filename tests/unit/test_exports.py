"""Rows as files for other programs: what is read back is what was there, by readers that know nothing of ours."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lakewright.data.exports import writing
from lakewright.data.exports.crc32c import crc32c
from lakewright.data.exports.writing import Exported, export
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import DataError, UsageError

TABLE = "main.shop.rows"
TIME = pa.timestamp("us", "UTC")
Row = dict[str, Any]
# a row has its values in the message, and making it smaller takes minutes
DRAWN = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    return Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))


def exported(lake: Lake, rows: pa.Table, file: Path, **options: Any) -> Exported:
    return export(lake, lake.write(TABLE, rows), file, **options)


# Readers ------------------------------------------------------------------------------------------------------------


def from_copy(text: bytes) -> list[list[str | None]]:
    """PostgreSQL's COPY text format, by its page."""
    marks = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
    lines = text.decode().split("\n")
    assert lines.pop() == ""
    return [
        [
            None if field == "\\N" else re.sub(r"\\(.)", lambda each: marks.get(each[1], each[1]), field)
            for field in line.split("\t")
        ]
        for line in lines
    ]


@cache
def example_class() -> Any:
    """tensorflow/core/example/feature.proto and example.proto, for Google's own runtime."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: Any, into: Any = file.message_type) -> Any:
        made = into.add(name=name)
        made.field.extend(fields)
        return made

    for name, kind in {
        "BytesList": field.TYPE_BYTES,
        "FloatList": field.TYPE_FLOAT,
        "Int64List": field.TYPE_INT64,
    }.items():
        message(name, field(name="value", number=1, type=kind, label=field.LABEL_REPEATED))
    of_list = [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")]
    feature = message(
        "Feature",
        *(
            field(
                name=name, number=at, type=field.TYPE_MESSAGE, type_name=f".tensorflow.{kind}", oneof_index=0, label=1
            )
            for at, (name, kind) in enumerate(of_list, 1)
        ),
    )
    feature.oneof_decl.add(name="kind")
    entry = ".tensorflow.Features.FeatureEntry"
    features = message(
        "Features", field(name="feature", number=1, type=11, type_name=entry, label=field.LABEL_REPEATED)
    )
    inner = message(
        "FeatureEntry",
        field(name="key", number=1, type=field.TYPE_STRING, label=1),
        field(name="value", number=2, type=11, type_name=".tensorflow.Feature", label=1),
        into=features.nested_type,
    )
    inner.options.map_entry = True
    message("Example", field(name="features", number=1, type=11, type_name=".tensorflow.Features", label=1))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def checksum(data: bytes) -> int:
    """CRC-32C bit by bit, and its mask as tensorflow/core/lib/hash/crc32c.h has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def from_records(data: bytes) -> list[dict[str, list[Any]]]:
    rows, at = [], 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        assert struct.unpack("<I", data[at + 8 : at + 12]) == (checksum(data[at : at + 8]),)
        record = data[at + 12 : at + 12 + length]
        assert struct.unpack("<I", data[at + 12 + length : at + 16 + length]) == (checksum(record),)
        at += 16 + length
        example = example_class().FromString(record)
        size = example.ByteSize()
        example.DiscardUnknownFields()
        assert example.ByteSize() == size
        kinds = {name: value.WhichOneof("kind") for name, value in example.features.feature.items()}
        rows.append({name: [*getattr(example.features.feature[name], kind).value] for name, kind in kinds.items()})
    return rows


# Round trips --------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["\\N", "\\.", "\t\n\r\\", '"\x00\x1f\u2028']
)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 200)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text\there": (pa.string(), TEXTS),
    "whole": (pa.int64(), WHOLE),
    "small": (pa.int8(), st.integers(-128, 127)),
    "single": (pa.float32(), FLOATS),
    "truth": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
    "at": (TIME, TIMES.map(lambda time: time.replace(tzinfo=UTC))),
    "local": (pa.timestamp("us"), TIMES),
    "price": (pa.decimal128(38, 9), st.decimals(-(10**28), 10**28, places=9)),
    "raw": (pa.binary(), st.binary(max_size=9)),
    "numbers": (pa.list_(pa.int32()), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)),
    "words": (pa.list_(pa.string()), st.lists(TEXTS, max_size=3)),
    "vector": (pa.list_(pa.float32()), st.lists(FLOATS, max_size=3)),
}  # fmt: skip
NESTED: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "double": (pa.float64(), DOUBLES),
    "gaps": (pa.list_(pa.int64()), st.lists(st.none() | WHOLE, max_size=3)),
    "lists": (pa.list_(pa.list_(pa.string())), st.lists(st.none() | st.lists(TEXTS, max_size=2), max_size=3)),
    "pair": (
        pa.struct([("a", pa.float64()), ("b", pa.list_(pa.date32()))]),
        st.fixed_dictionaries({"a": st.none() | DOUBLES, "b": st.none() | st.lists(st.dates(), max_size=2)}),
    ),
    "map": (
        pa.map_(pa.string(), pa.int64()),
        st.lists(st.tuples(TEXTS, st.none() | WHOLE), max_size=3, unique_by=lambda pair: pair[0]),
    ),
}
Columns = dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]]


def rows_of(columns: Columns) -> st.SearchStrategy[list[Row]]:
    row = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in columns.items()})
    return st.lists(row, min_size=1, max_size=8)


def table(columns: Columns, rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in columns.items()})


def in_json(value: Any) -> Any:
    """A value as JSON has it: numbers and truth values as they are, times in ISO 8601, binary in base64."""
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}{'Z' if value.tzinfo else ''}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return ("decimal", value)
    if isinstance(value, dict):
        return {name: in_json(each) for name, each in value.items()}
    return [in_json(each) for each in value] if isinstance(value, list | tuple) else value


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):  # a decimal
        return isinstance(found, str) and Decimal(found) == expected[1] and Decimal(found).as_tuple().exponent == -9
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    if isinstance(expected, float):
        found = pa.scalar(found, pa.float32()).as_py() if isinstance(found, Single) else found
        return isinstance(found, float) and struct.pack("d", found) == struct.pack("d", expected)
    return type(found) is type(expected) and found == expected


class Single(float):
    """Written in the fewest digits that give 32 bits back."""


@settings(DRAWN)
@given(rows=rows_of(COLUMNS | NESTED))
def test_json_lines_read_back(lake: Lake, tmp_path: Path, rows: list[Row]) -> None:
    exported(lake, table(COLUMNS | NESTED, rows), tmp_path / "rows.jsonl")
    found = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").split("\n")[:-1]]
    for line in found:
        if line["single"] is not None:
            line["single"] = Single(line["single"])
        line["vector"] = line["vector"] and [Single(each) for each in line["vector"]]
    for line, row in zip(found, in_json(rows), strict=True):
        for name in row:
            assert same(line[name], row[name]), (name, line[name], row[name])


@settings(DRAWN)
@given(rows=rows_of(COLUMNS | NESTED))
def test_tsv_reads_back(lake: Lake, tmp_path: Path, rows: list[Row]) -> None:
    for row in rows:  # PostgreSQL has no such texts
        row["text\there"] = row["text\there"] and row["text\there"].replace("\0", "")
    exported(lake, table(COLUMNS | NESTED, rows), tmp_path / "rows.tsv")
    names, *lines = from_copy((tmp_path / "rows.tsv").read_bytes())
    assert names == [*COLUMNS, *NESTED] and len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        for name, text in zip(names, line, strict=True):
            assert name is not None
            value, kind = row[name], (COLUMNS | NESTED)[name][0]
            if value is None or text is None:
                assert text is value
            elif pa.types.is_nested(kind):
                found = json.loads(text)
                assert same([Single(each) for each in found] if name == "vector" else found, in_json(value))
            elif pa.types.is_floating(kind):
                assert same(Single(text) if name == "single" else float(text), value)
            elif name == "price":
                assert same(text, in_json(value))
            elif name == "raw":
                assert text == f"\\x{value.hex()}"
            else:
                assert text == (json.dumps(value) if isinstance(value, bool) else str(in_json(value)))


@settings(DRAWN)
@given(rows=rows_of(COLUMNS))
def test_records_read_back(lake: Lake, tmp_path: Path, rows: list[Row]) -> None:
    exported(lake, table(COLUMNS, rows), tmp_path / "rows.tfrecord")
    found = from_records((tmp_path / "rows.tfrecord").read_bytes())
    assert len(found) == len(rows)
    for example, row in zip(found, rows, strict=True):
        for name, value in row.items():
            if value is None:
                assert name not in example
                continue
            values = value if isinstance(value, list) else [value]
            given = example.pop(name)
            assert len(given) == len(values)
            for one, other in zip(given, values, strict=True):
                if name == "price":
                    assert Decimal(one.decode()) == other
                else:
                    assert same(one, in_feature(other))
        assert not example


def in_feature(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    return int(value) if isinstance(value, bool) else value.encode() if isinstance(value, str) else value


@given(
    st.lists(st.binary(max_size=30) | st.builds(lambda each, n: each * n, st.binary(max_size=9), st.integers(0, 200)))
)
def test_checksums(strings: list[bytes]) -> None:
    def plain(data: bytes) -> int:
        rotated = checksum(data) - 0xA282EAD8 & 0xFFFFFFFF
        return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF

    assert crc32c(pa.array([b"123456789", *strings], pa.binary())).tolist() == [0xE3069283, *map(plain, strings)]


# What is written, to the letter -------------------------------------------------------------------------------------

LETTERS = pa.table(
    {
        "id": pa.array([1, 2**53 + 1], pa.int64()),
        "share": pa.array([-0.0, 1e22], pa.float64()),
        "at": pa.array([datetime(2024, 1, 31, 12, tzinfo=UTC), None], TIME),
        "note": ["a\tb\\", None],
    }
)


def test_tsv_to_the_letter(lake: Lake, tmp_path: Path) -> None:
    made = exported(lake, LETTERS, tmp_path / "rows.tsv")
    text = "id\tshare\tat\tnote\n1\t-0\t2024-01-31T12:00:00.000000Z\ta\\tb\\\\\n9007199254740993\t1e+22\t\\N\t\\N\n"
    assert made.file.read_text() == text
    assert (made.rows, made.bytes, made.format, made.findings) == (2, len(text), "tsv", [])


def test_numbers_that_are_no_numbers(lake: Lake, tmp_path: Path) -> None:
    rows = pa.table({"x": pa.array([float("nan"), float("inf"), -float("inf"), None], pa.float64())})
    exported(lake, rows, tmp_path / "rows.tsv")
    assert (tmp_path / "rows.tsv").read_text().split() == ["x", "NaN", "Infinity", "-Infinity", "\\N"]
    exported(lake, rows, tmp_path / "rows.tfrecord")
    found = [each.get("x") for each in from_records((tmp_path / "rows.tfrecord").read_bytes())]
    assert str(found) == "[[nan], [inf], [-inf], None]"


def test_json_lines_to_the_letter(lake: Lake, tmp_path: Path) -> None:
    made = exported(lake, LETTERS, tmp_path / "rows.ndjson")
    first, second = made.file.read_text().splitlines()
    assert first == '{"id":1,"share":-0.0,"at":"2024-01-31T12:00:00.000000Z","note":"a\\tb\\\\"}'
    assert second == '{"id":9007199254740993,"share":1e+22,"at":null,"note":null}'
    (finding,) = made.findings
    assert (finding.name, finding.count) == ("large_numbers", 1)


@pytest.mark.parametrize("name", ["rows.tsv", "rows.jsonl", "rows.tfrecord"])
def test_packed_is_the_same(lake: Lake, tmp_path: Path, name: str) -> None:
    rows = LETTERS.drop_columns(["share"])
    plain = exported(lake, rows, tmp_path / name).file.read_bytes()
    one, two = (exported(lake, rows, tmp_path / f"{at}-{name}.gz").file.read_bytes() for at in (1, 2))
    assert gzip.decompress(one) == plain and one == two


@pytest.mark.parametrize("name", ["rows.tsv", "rows.jsonl", "rows.tfrecord"])
def test_portions_change_nothing(lake: Lake, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table(
        {
            "id": range(100),
            "text": pa.array([None if each % 7 == 0 else "x" * each * 40 for each in range(100)]),
            "words": pa.array([["a"] * (each % 3) if each % 5 else None for each in range(100)], pa.list_(pa.string())),
        }
    )
    whole = exported(lake, rows, tmp_path / name).file.read_bytes()
    monkeypatch.setattr(writing, "AT_ONCE", 5_000)
    assert exported(lake, rows, tmp_path / name).file.read_bytes() == whole


def test_a_version_and_a_table_without_rows(lake: Lake, tmp_path: Path) -> None:
    version = lake.write(TABLE, pa.table({"id": [1]}))
    lake.write(TABLE, pa.table({"id": [2]}))
    assert export(lake, version, tmp_path / "old.tsv").file.read_text() == "id\n1\n"
    empty = lake.create("main.shop.empty", pa.schema([("id", pa.int64())]))
    assert export(lake, empty, tmp_path / "empty.tsv").file.read_text() == "id\n"
    assert export(lake, empty, tmp_path / "empty.tfrecord").file.read_bytes() == b""


# What a format cannot hold ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column", "why", "remedy"),
    [
        ("tsv", pa.array(["a", "b\0", None, "\0"]), r"NUL.*in 2 rows \(1, 3\)", "replace"),
        ("jsonl", pa.array([1.0, float("nan"), float("inf")]), r"which JSON lacks, in 2 rows \(1, 2\)", "isfinite"),
        ("jsonl", pa.array([[{"a": float("nan")}], []]), r"which JSON lacks, in 1 row \(0\)", "isfinite"),
        ("tfrecord", pa.array([0.5, 0.1, None, 0.3]), r"32 bits do not hold, in 2 rows \(1, 3\)", "--float32"),
        ("tfrecord", pa.array([[0.5], [0.5, 0.1]]), r"32 bits do not hold, in 1 row \(1\)", "--float32"),
        ("tfrecord", pa.array([[1], [None, 2], None]), r"a list with a null.*in 1 row \(1\)", "list_filter"),
        ("tfrecord", pa.array([[[1]], None]), "one list of numbers or of texts", "to_json"),
        ("tfrecord", pa.array([{"a": 1}, None]), "one list of numbers or of texts", "to_json"),
    ],
)
def test_a_loss_is_an_error_and_leaves_no_file(
    lake: Lake, tmp_path: Path, name: str, column: pa.Array, why: str, remedy: str
) -> None:
    file = tmp_path / f"rows.{name}"
    file.write_text("of before")
    with pytest.raises(DataError, match=why) as failure:
        exported(lake, pa.table({"id": range(len(column)), "x": column}), file)
    assert remedy in failure.value.remedy and "'x'" in failure.value.cause
    assert file.read_text() == "of before" and [each.name for each in tmp_path.iterdir()] == [file.name]


def test_losses_are_counted_over_all_portions(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "AT_ONCE", 100)
    rows = pa.table({"x": [float("nan") if each % 2 else 1.0 for each in range(200)]})
    with pytest.raises(DataError, match=r"in 100 rows \(1, 3, 5, 7, 9, …\)"):
        exported(lake, rows, tmp_path / "rows.jsonl")


def test_doubles_are_rounded_only_where_somebody_says_so(lake: Lake, tmp_path: Path) -> None:
    rows = pa.table({"x": [0.1, 0.5, None]})
    made = exported(lake, rows, tmp_path / "rows.tfrecord", float32=True)
    found = [each.get("x") for each in from_records(made.file.read_bytes())]
    assert found == [[pytest.approx(0.1, rel=1e-7)], [0.5], None]
    assert [(each.name, each.count) for each in made.findings] == [("rounded_numbers", 1)]
    with pytest.raises(DataError, match=r"beyond the range of 32 bits, in 1 row \(0\)"):
        exported(lake, pa.table({"x": [1e300]}), tmp_path / "other.tfrecord", float32=True)
    with pytest.raises(UsageError, match="float32 rounds doubles for tfrecord"):
        exported(lake, rows, tmp_path / "rows.tsv", float32=True)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("rows.csv", {}, "shows no format"),
        ("rows.gz", {}, "shows no format"),
        ("rows.tsv", {"format_name": "csv"}, "no format 'csv'"),
        ("", {}, "shows no format"),
        ("", {"format_name": "tsv"}, "is a folder"),
        ("taken/rows.tsv", {}, "cannot be written"),
    ],
)
def test_a_name_that_cannot_be(lake: Lake, tmp_path: Path, name: str, options: dict[str, Any], why: str) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match=why):
        exported(lake, LETTERS, tmp_path / name, **options)


def test_the_named_format_wins(lake: Lake, tmp_path: Path) -> None:
    assert exported(lake, LETTERS, tmp_path / "rows.txt", format_name="jsonl").file.read_text().startswith('{"id"')
