"""What one kind of source alone has to get right: separators, encodings, late types, bad lines, projects' modules."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.sources import files
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, NotFound, UsageError


def read(folder: Path, uri: str, format: str | None = None, **options: Any) -> pa.Table:
    source, located = open_source(uri, format, {}, folder)
    return source.open(located, options, {}).read_all()


def fingerprint(folder: Path, uri: str, **options: Any) -> str:
    source, located = open_source(uri, None, {}, folder)
    return source.fingerprint(located, options, {})


def csv_file(folder: Path, content: str | bytes) -> Path:
    (folder / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


# Choosing the source -----------------------------------------------------------------------------------------------


def test_relative_paths_are_of_the_project_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("project", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(f"place\n{name}\n")
    (tmp_path / "here" / "only.csv").write_text("place\nonly\n")
    monkeypatch.chdir(tmp_path / "here")
    assert read(tmp_path / "project", "data.csv").to_pylist() == [{"place": "project"}]
    assert read(tmp_path / "project", "only.csv").to_pylist() == [{"place": "only"}]
    assert read(tmp_path / "project", str(tmp_path / "here" / "data.csv")).to_pylist() == [{"place": "here"}]


def test_a_format_overrules_the_name(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("a;b\n1;2\n")
    assert read(tmp_path, "data.txt", "csv").to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(NotFound, match="format"):
        read(tmp_path, "data.txt")
    with pytest.raises(UsageError, match="did you mean 'csv'"):
        read(tmp_path, "data.txt", "cvs")


def test_a_folder_of_several_formats_wants_a_choice(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text("n\n1\n")
    (tmp_path / "d" / "b.jsonl").write_text('{"n": 2}\n')
    with pytest.raises(DataError, match="csv, json"):
        read(tmp_path, "d")
    assert read(tmp_path, "d", "json").to_pylist() == [{"n": 2}]


def test_an_unknown_scheme(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 's3'"):
        read(tmp_path, "s4://bucket/data.csv")


def test_abfss_addresses() -> None:
    from pyarrow.fs import AzureFileSystem

    keys = {"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}
    system, path = files.file_system("abfss://texts@account.dfs.core.windows.net/in/data.csv", keys)
    assert isinstance(system, AzureFileSystem)
    assert path == "texts/in/data.csv"
    with pytest.raises(UsageError, match="abfss://CONTAINER@ACCOUNT"):
        files.file_system("abfss://texts/in/data.csv", keys)


# csv ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    text = separator.join(["id", "text"]) + "\n" + f'1{separator}"one, two; three"\n2{separator}"four | five\tsix"\n'
    assert read(csv_file(tmp_path, text), "data.csv").to_pylist() == [
        {"id": 1, "text": "one, two; three"},
        {"id": 2, "text": "four | five\tsix"},
    ]


def test_one_column_and_any_separator(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, "text\nhello\nworld\n"), "data.csv").to_pydict() == {"text": ["hello", "world"]}
    assert read(csv_file(tmp_path, "a:b\n1:2\n"), "data.csv", delimiter=":").to_pylist() == [{"a": 1, "b": 2}]
    with pytest.raises(UsageError, match="one character"):
        read(tmp_path, "data.csv", delimiter="::")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "0", ""], "int64"),
        (["001", "002"], "string"),
        (["1", "007"], "string"),
        (["1", "2.5", "-3e2", ""], "double"),
        (["1", "99999999999999999999"], "string"),
        (["1", "n/b"], "string"),
        (["NA", "NaN", "null"], "string"),
        (["true", "False", ""], "bool"),
        (["2024-02-29", "2024-12-31"], "date32[day]"),
        (["2024-02-30"], "string"),
        (["2024-02-29 10:00", "2024-02-29T10:00:01.5"], "timestamp[us]"),
        (["2024-02-29T10:00:00Z", "2024-02-29T10:00:00+02:00"], "timestamp[us, tz=UTC]"),
        (["1.2.3"], "string"),
        (["12e45678"], "string"),
        (["", ""], "string"),
    ],
)
def test_the_type_is_one_that_all_values_fit(tmp_path: Path, values: list[str], kind: str) -> None:
    text = "x,y\n" + "".join(f"{value},.\n" for value in values)
    column = read(csv_file(tmp_path, text), "data.csv")["x"]
    assert str(column.type) == kind
    assert column.is_null().to_pylist() == [value == "" for value in values]
    if kind == "string":
        assert column.to_pylist() == [value or None for value in values]


def test_a_type_that_shows_late(tmp_path: Path) -> None:
    """Blocks of whole numbers before the first code, on which pyarrow's own inference fails."""
    filler = "x" * 90
    rows = "".join(f"{number},{filler}\n" for number in range(100_000, 200_000))
    table = read(csv_file(tmp_path, f"code,text\n{rows}00A1,end\n"), "data.csv")
    assert table["code"].type == pa.string()
    assert table["code"].to_pylist()[::100_000] == ["100000", "00A1"]


def test_declared_types(tmp_path: Path) -> None:
    csv_file(tmp_path, "id,n\n1,2\n3,x\n")
    assert read(tmp_path, "data.csv", types={"id": "string"}).to_pydict() == {"id": ["1", "3"], "n": ["2", "x"]}
    with pytest.raises(DataError, match=r"column 'n' .* not of type bigint: 'x' \(data\.csv line 3\)"):
        read(tmp_path, "data.csv", types={"n": "bigint"})
    with pytest.raises(UsageError, match="did you mean 'id'"):
        read(tmp_path, "data.csv", types={"idd": "string"})
    with pytest.raises(UsageError, match="did you mean 'string'"):
        read(tmp_path, "data.csv", types={"id": "strng"})


def test_missing_and_empty_are_two_things(tmp_path: Path) -> None:
    csv_file(tmp_path, 'text,n\n"",""\n,\nNA,1\n')
    assert read(tmp_path, "data.csv").to_pydict() == {"text": ["", None, "NA"], "n": [None, None, 1]}
    assert read(tmp_path, "data.csv", null_values=["NA"])["text"].to_pylist() == ["", None, None]


def test_headers(tmp_path: Path) -> None:
    assert read(csv_file(tmp_path, ",text\n0,a\n"), "data.csv").to_pylist() == [{"_c0": 0, "text": "a"}]
    assert read(csv_file(tmp_path, "0,a\n1,b\n"), "data.csv", column_names=["n", "text"]).to_pydict() == {
        "n": [0, 1], "text": ["a", "b"],
    }  # fmt: skip
    assert read(csv_file(tmp_path, b"\xef\xbb\xbfid,text\r\n1,a\r\n"), "data.csv").column_names == ["id", "text"]
    assert read(csv_file(tmp_path, '"two\nlines",b\n1,2\n'), "data.csv").to_pylist() == [{"two\nlines": 1, "b": 2}]
    with pytest.raises(DataError, match="two columns are named 'a' and 'a'"):
        read(csv_file(tmp_path, "a,a\n1,2\n"), "data.csv")
    with pytest.raises(DataError, match="empty"):
        read(csv_file(tmp_path, ""), "data.csv")


def test_encodings(tmp_path: Path) -> None:
    csv_file(tmp_path, "id,text\n1,plain\n2,déjà\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"data\.csv line 3 is not utf-8") as caught:
        read(tmp_path, "data.csv")
    assert "encoding: cp1252" in caught.value.remedy
    assert read(tmp_path, "data.csv", encoding="latin-1")["text"].to_pylist() == ["plain", "déjà"]
    csv_file(tmp_path, "id,text\n1,日本\n".encode("utf-16"))
    assert read(tmp_path, "data.csv", encoding="utf-16").to_pylist() == [{"id": 1, "text": "日本"}]
    with pytest.raises(UsageError, match="no encoding 'latin-one'"):
        read(tmp_path, "data.csv", encoding="latin-one")


def test_ragged_rows_are_named_by_line(tmp_path: Path) -> None:
    csv_file(tmp_path, 'id,text\n1,"two\nlines"\n2,a,b\n3,fine\n4\n')
    with pytest.raises(DataError, match=r"data\.csv has 2 columns, but line 4 has 3, line 6 has 1\n"):
        read(tmp_path, "data.csv")
    csv_file(tmp_path, "id,text\n" + "1,a,b\n" * 50)
    with pytest.raises(DataError, match="line 6 has 3 and so on: 50 such rows"):
        read(tmp_path, "data.csv", delimiter=",")


def test_stray_quotes(tmp_path: Path) -> None:
    csv_file(tmp_path, 'id\ttext\n1\t"so it goes\n2\tb"c\n')
    assert read(tmp_path, "data.csv", quote="")["text"].to_pylist() == ['"so it goes', 'b"c']
    for rest in ("2,b\n", "2,b\n" * 3_000_000, '2,"b"\n'):
        csv_file(tmp_path, 'id,text\n0,a\n1,"never closed\n' + rest)
        with pytest.raises(DataError, match=r"data\.csv line 3: .* not closed") as caught:
            read(tmp_path, "data.csv")
        assert "quote: ''" in caught.value.remedy


def test_files_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.csv").write_text("id,label\n1,a\n")
    (tmp_path / "d" / "test.csv").write_text("id\n2\n")
    with pytest.raises(DataError, match=r"test\.csv and train\.csv .* 'label'"):
        read(tmp_path, "d")


def test_a_type_is_of_all_files_together(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.csv").write_text("code\n1\n")
    (tmp_path / "d" / "2.csv").write_text("code\nA\n")
    assert read(tmp_path, "d")["code"].to_pylist() == ["1", "A"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=20), st.sampled_from(",;\t|"))
def test_what_csv_writers_write_is_read(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str) -> None:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("first", "second"), *rows])
    csv_file(tmp_path, written.getvalue())
    types = {"first": "string", "second": "string"}
    table = read(tmp_path, "data.csv", delimiter=delimiter, types=types)
    assert list(zip(table["first"].to_pylist(), table["second"].to_pylist(), strict=True)) == rows


# json --------------------------------------------------------------------------------------------------------------


def json_file(folder: Path, content: str, name: str = "data.json") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_shapes_of_json(tmp_path: Path) -> None:
    rows = [{"text": "a]\n,[", "tags": ["x", "y"], "of": {"n": 1}}, {"text": "b", "tags": [], "of": {"n": 2}}]
    for content in (
        json.dumps(rows),
        json.dumps(rows, indent=2),
        "\n".join(map(json.dumps, rows)),
        "\n\n".join(json.dumps(row, indent=2) for row in rows),
        "\ufeff" + json.dumps(rows),
        " \n" + json.dumps(rows) + "\n ",
    ):
        assert read(json_file(tmp_path, content), "data.json").to_pylist() == rows


def test_late_keys_and_types_in_json(tmp_path: Path) -> None:
    first: list[dict[str, Any]] = [{"n": 1, "tags": [], "gone": None}] * 6_000
    last = {"n": 2.5, "tags": ["x"], "late": {"deep": True}, "gone": None}
    table = read(json_file(tmp_path, "\n".join(map(json.dumps, [*first, last]))), "data.json")
    assert [str(kind) for kind in table.schema.types] == [
        "double", "list<element: string>", "string", "struct<deep: bool>",
    ]  # fmt: skip
    assert table.slice(6_000).to_pylist() == [last]
    assert table.slice(0, 1).to_pylist() == [{"n": 1.0, "tags": [], "gone": None, "late": None}]


@pytest.mark.parametrize("count", [3, 6_000])
def test_a_column_of_two_kinds_names_the_line(tmp_path: Path, count: int) -> None:
    lines = [json.dumps({"id": number}) for number in range(count)] + ['{"id": "A1"}', '{"id": 7}']
    json_file(tmp_path, "\n".join(lines))
    with pytest.raises(DataError, match=rf"data\.json line {count + 1}: the value of column 'id'") as caught:
        read(tmp_path, "data.json")
    assert "{types: {id: string}}" in caught.value.remedy
    ids = read(tmp_path, "data.json", types={"id": "string"})["id"].to_pylist()
    assert ids == [*map(str, range(count)), "A1", "7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": 2,}\n{"a": 3}\n', "line 2"),
        ('{"a": 1}\n\n{"a": tru}\n', "line 3"),
        ('[\n{"a": 1},\n{"a": "x\n"}]', "line 3: Invalid control character"),
        ('{"a": 1}\n{"a": "cut of', "line 2"),
        ('[{"a": 1}, {"a": 2}', "not closed"),
        ('[{"a": 1}]\n{"a": 2}', "after the array"),
        ('{"a": 1}\n2\n', "line 2: the row is of type int, not an object"),
        ('[["a"]]', "line 1: the row is of type list, not an object"),
        ('{"a": 1, "a": 2}\n', "'a' occurs twice"),
        ("", "no rows"),
        ("[]", "no rows"),
    ],
)
def test_bad_json_names_the_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(json_file(tmp_path, content), "data.json")


def test_json_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes('{"a": "x"}\n{"a": "é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"data\.jsonl line 2 is not utf-8"):
        read(tmp_path, "data.jsonl")
    assert read(tmp_path, "data.jsonl", encoding="latin-1")["a"].to_pylist() == ["x", "é"]


values = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries({"text": st.text(st.characters(exclude_categories=["Cs"]), max_size=40)}), min_size=1
    ),
    st.sampled_from(["array", "lines", "indented"]),
    st.integers(1, 50),
)
def test_json_is_read_alike_in_pieces_of_any_size(
    tmp_path: Path, rows: list[dict[str, str]], shape: str, size: int
) -> None:
    content = {
        "array": json.dumps(rows, ensure_ascii=False),
        "lines": "\n".join(json.dumps(row) for row in rows),
        "indented": "\n".join(json.dumps(row, indent=1) for row in rows),
    }[shape]
    from lakewright.data.sources import json as source

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_CHARACTERS", size)
        assert [row for _, row in source._objects(io.StringIO(content), "data.json")] == rows


# parquet, delta ----------------------------------------------------------------------------------------------------


def test_parquet_files_agree_or_say_where_not(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"n": pa.array([1], pa.int32()), "t": ["a"]}), tmp_path / "d" / "1.parquet")
    pq.write_table(pa.table({"t": ["b"], "n": pa.array([2], pa.int64())}), tmp_path / "d" / "2.parquet")
    assert read(tmp_path, "d").to_pydict() == {"n": [1, 2], "t": ["a", "b"]}
    pq.write_table(pa.table({"t": ["b"], "m": [2]}), tmp_path / "d" / "2.parquet")
    with pytest.raises(DataError, match=r"column 'm' is missing in 1\.parquet"):
        read(tmp_path, "d")
    pq.write_table(pa.table({"t": ["b"], "n": ["x"]}), tmp_path / "d" / "2.parquet")
    with pytest.raises(DataError, match="do not fit"):
        read(tmp_path, "d")
    (tmp_path / "d" / "2.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"2\.parquet is not a Parquet file"):
        read(tmp_path, "d")


def test_a_version_of_a_delta_table(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    for n in range(2):
        write_deltalake(tmp_path / "t", pa.table({"n": [n]}), mode="overwrite")
    assert read(tmp_path, "t").to_pylist() == [{"n": 1}]
    assert read(tmp_path, "t", version=0).to_pylist() == [{"n": 0}]
    assert fingerprint(tmp_path, "t", version=0) != fingerprint(tmp_path, "t") == fingerprint(tmp_path, "t", version=1)
    with pytest.raises(NotFound, match="no version 7"):
        read(tmp_path, "t", version=7)
    with pytest.raises(UsageError, match="whole number"):
        read(tmp_path, "t", version="0")


# python ------------------------------------------------------------------------------------------------------------


def module(folder: Path, text: str, name: str = "origin") -> Path:
    (folder / f"{name}.py").write_text(text)
    return folder


def test_options_are_arguments(tmp_path: Path) -> None:
    module(tmp_path, "def rows(count, word='w'):\n    return [{'n': n, 'w': word} for n in range(count)]")
    assert read(tmp_path, "python:origin:rows", count=2).to_pylist() == [{"n": 0, "w": "w"}, {"n": 1, "w": "w"}]
    with pytest.raises(UsageError, match=r"(?s)no parameter .cuont.*did you mean .count."):
        read(tmp_path, "python:origin:rows", cuont=2)


def test_a_module_is_read_as_it_is_now_and_each_project_has_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        module(tmp_path / name, f"VALUE = '{name}'", "words")
        module(tmp_path / name, "import words\ndef rows():\n    yield {'v': words.VALUE}")
    assert read(tmp_path / "one", "python:origin:rows").to_pylist() == [{"v": "one"}]
    assert read(tmp_path / "two", "python:origin:rows").to_pylist() == [{"v": "two"}]
    before = fingerprint(tmp_path / "two", "python:origin:rows")
    module(tmp_path / "two", "VALUE = 'now another'", "words")
    assert fingerprint(tmp_path / "two", "python:origin:rows") != before
    assert read(tmp_path / "two", "python:origin:rows").to_pylist() == [{"v": "now another"}]
    assert str(tmp_path / "two") not in sys.path


def test_the_fingerprint_of_a_function(tmp_path: Path) -> None:
    module(tmp_path, "import pyarrow\nimport os\ndef rows(n=1):\n    yield {'n': n}\ndef other():\n    yield {'n': 1}")
    one = fingerprint(tmp_path, "python:origin:rows")
    assert one != fingerprint(tmp_path, "python:origin:other")
    assert one != fingerprint(tmp_path, "python:origin:rows", n=2)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "origin.py").rename(moved / "origin.py")
    assert one == fingerprint(moved, "python:origin:rows")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def rows():\n    return 1 / 0", r"ZeroDivisionError.*origin\.py line 2: return 1 / 0"),
        ("def rows():\n    yield {'n': 1}\n    raise ValueError('late')", r"ValueError: late.*origin\.py line 3"),
        ("import json\ndef rows():\n    return json.loads('{')", r"JSONDecodeError.*origin\.py line 3"),
        ("def rows(:\n    pass", r"SyntaxError.*origin\.py line 1"),
        ("import nothing_like_it\ndef rows():\n    pass", "nothing_like_it"),
        ("def rows():\n    return 5", "returned a int"),
        ("def rows():\n    return {'n': 1}", "returned a dict"),
        ("def rows():\n    yield 5", "row 1: the row is of type int, not an object"),
        ("def rows():\n    yield {'n': 1}\n    yield {'n': 'x'}", "row 2: the value of column 'n'"),
        ("def rows():\n    return iter(())", "no rows"),
        ("def row():\n    pass", "did you mean 'row'"),
    ],
)
def test_what_goes_wrong_in_a_function(tmp_path: Path, code: str, message: str) -> None:
    module(tmp_path, code)
    with pytest.raises(DataError, match=message):
        read(tmp_path, "python:origin:rows")


def test_names_of_functions(tmp_path: Path) -> None:
    for uri in ("python:origin", "python:origin:", "python::rows"):
        with pytest.raises(UsageError, match="does not name a function"):
            read(tmp_path, uri)
    with pytest.raises(NotFound, match="the module 'origin' is neither"):
        read(tmp_path, "python:origin:rows")
    with pytest.raises(NotFound, match="the module 'no"):
        fingerprint(tmp_path, "python:no.such.module:rows")


# Files -------------------------------------------------------------------------------------------------------------


def test_small_files_are_known_by_content_and_large_ones_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_file(tmp_path, "n\n1\n")
    by_content = fingerprint(tmp_path, "data.csv")
    os.utime(tmp_path / "data.csv", (1, 1))
    assert fingerprint(tmp_path, "data.csv") == by_content
    assert fingerprint(tmp_path, "data.csv", delimiter=";") != by_content
    monkeypatch.setattr(files, "_HASHED_BYTES", 0)
    by_time = fingerprint(tmp_path, "data.csv")
    os.utime(tmp_path / "data.csv", (2, 2))
    assert fingerprint(tmp_path, "data.csv") != by_time


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*.csv", ["a.csv", "b.csv"]),
        ("d/?.csv", ["a.csv", "b.csv"]),
        ("d/[b-z].csv", ["b.csv"]),
        ("d/**/*.csv", ["a.csv", "b.csv", "deep/er/d.csv"]),
        ("d/*/er/*.csv", ["deep/er/d.csv"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    for name in ("a.csv", "b.csv", "c.json", "deep/er/d.csv"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("n\n1\n")
    located = files.locate(pattern, tmp_path)
    assert [file.path for file in files.find(located, {}, "csv", {}).files] == [
        str(tmp_path / "d" / name) for name in found
    ]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Three times the rows, and at most a little more memory: the smaller file already fills every queue there is."""
    code = """
import resource, sys
from pathlib import Path
import pyarrow.csv, pyarrow.compute, pyarrow.fs
from lakewright.data.sources import rows
from lakewright.data.sources.opening import open_source
rows._IN_MEMORY_BYTES = 1 << 20
source, uri = open_source(sys.argv[1], None, {}, Path())
assert sum(batch.num_rows for batch in source.open(uri, {}, {})) == int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

    def peak(name: str, count: int) -> int:
        text = "x" * 980
        with (tmp_path / name).open("w") as written:
            if name.endswith(".csv"):
                written.write("n,text\n")
            for number in range(count):
                row = f"{number},{text}" if name.endswith(".csv") else json.dumps({"n": number, "text": text})
                written.write(row + "\n")
        command = [sys.executable, "-c", code, str(tmp_path / name), str(count)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    for name in ("data.csv", "data.jsonl"):
        small, large = peak(name, 45_000), peak(name, 150_000)  # 45 and 150 MB
        assert large - small < 40, f"{name}: {small} and {large} MiB"


def test_a_row_longer_than_a_block(tmp_path: Path) -> None:
    text = 'é"' * 1_000_000
    csv_file(tmp_path, "id,text\n1,a\n2," + '"' + text.replace('"', '""') + '"\n3,b\n')
    assert read(tmp_path, "data.csv").to_pydict() == {"id": [1, 2, 3], "text": ["a", text, "b"]}
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": text}) + '\n{"text": "b"}\n')
    assert read(tmp_path, "data.jsonl")["text"].to_pylist() == [text, "b"]


def test_errors_are_the_trees_own(tmp_path: Path) -> None:
    whole = gzip.compress(b"n\n" + b"1\n" * 10_000)
    for name in ("bad.csv.gz", "bad.jsonl.gz"):
        for content in (b"this is not gzip", whole[:-20]):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(DataError, match=re.escape(name)):
                read(tmp_path, name)


def test_only_the_splits_that_are_asked_for(tmp_path: Path) -> None:

    for name in ("train", "test", "unsupervised"):
        pq.write_table(pa.table({"text": [name]}), tmp_path / f"{name}.parquet")
    source, uri = open_source(str(tmp_path), None, {}, tmp_path)
    rows = source.open(uri, {"split": ["train", "test"]}, {}).read_all().to_pylist()
    assert rows == [{"text": "test", "split": "test"}, {"text": "train", "split": "train"}]
    assert source.fingerprint(uri, {"split": ["train", "test"]}, {}) != source.fingerprint(uri, {"split": "train"}, {})
    with pytest.raises(NotFound, match=r"options\.split"):
        source.open(uri, {"split": "holdout"}, {})
