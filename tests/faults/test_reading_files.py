"""Sources as people have them: codes, encodings, folders and escapes of other programs, and odd values."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lakewright import api, pipeline
from lakewright.data.sources import Intake
from lakewright.data.sources.opening import open_source
from lakewright.data.sources.written import types_of
from lakewright.errors import DataError, ProjectError, UsageError
from lakewright.records import Finding, Ingested
from lakewright.settings.project import load_project

ODD = ["250.0", "250.00", "250", "+4915112345678", "0e0", "007", "1e5", "0x1F", "1_000", "True", "true", "2024-01-05",
       "1.10", "1.1", "-0", "0", "NaN", "12:30"]  # fmt: skip


def read(folder: Path, uri: str, format: str | None = None, intake: Intake | None = None, **options: Any) -> pa.Table:
    source, located = open_source(uri, format, {}, folder)
    return source.open(located, options, {}, intake or Intake()).read_all()


def noticed(folder: Path, uri: str, intake: Mapping[str, Any] = {}, **options: Any) -> list[Finding]:
    findings: list[Finding] = []
    read(folder, uri, intake=Intake(**intake, notice=findings.append), **options)
    return findings


def written(folder: Path, rows: list[dict[str, Any]], name: str = "data.csv", **options: Any) -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def column(*values: str) -> bytes:
    return ("x,y\n" + "".join(f"{value},.\n" for value in values)).encode()


# The form in which values are written -------------------------------------------------------------------------------


LABELS = Intake(as_written=frozenset({"label"}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.sampled_from(ODD) | st.text("0123456789.eE+-_xT:", min_size=1, max_size=8), min_size=1, max_size=8))
def test_a_label_is_the_same_from_csv_and_from_json(tmp_path: Path, labels: list[str]) -> None:
    rows = [{"label": label, "n": number} for number, label in enumerate(labels)]
    written(tmp_path, rows)
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("data.csv", "data.jsonl"):
        table = read(tmp_path, name, intake=LABELS)
        assert table["label"].to_pylist() == labels
        assert table["n"].type == pa.int64()


def test_types_that_a_source_tells_are_kept(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1.5, 2.5]}), tmp_path / "data.parquet")
    (tmp_path / "data.jsonl").write_text('{"label": 1}\n{"label": 2}\n')
    assert read(tmp_path, "data.parquet", intake=LABELS)["label"].type == pa.float64()
    assert read(tmp_path, "data.jsonl", intake=LABELS)["label"].type == pa.int64()
    (tmp_path / "data.csv").write_bytes(column("1", "2"))
    intake = Intake(as_written=frozenset({"x"}))
    assert read(tmp_path, "data.csv", intake=intake, types={"x": "bigint"})["x"].to_pylist() == [1, 2]


def test_json_numbers_as_text_are_as_written(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"v": 1.10}, {"v": 1.1}, {"v": 1e5}, {"v": 3}, {"v": true}, {"v": "x"}]')
    table = read(tmp_path, "data.json", types={"v": "string"})
    assert table["v"].to_pylist() == ["1.10", "1.1", "1e5", "3", "true", "x"]


@pytest.mark.parametrize(
    ("values", "count", "forms"),
    [
        (["1.10", "1.1", "2.5", "1.1"], 3, "'1.1', '1.10'"),
        (["1", "1.0", "2"], 2, "'1', '1.0'"),
        (["True", "true", "false"], 2, "'True', 'true'"),
        (["-0", "0", "5"], 2, "'-0', '0'"),
        (["1e2", "100", "7"], 2, "'100', '1e2'"),
        (["2024-01-01 10:00", "2024-01-01T10:00:00", "2024-01-02 10:00"], 2, "10:00', '2024-01-01T10:00:00'"),
        ([".5", "0.5"], 2, "'.5', '0.5'"),
        (["10e1", "20e1", "1e02"], 2, "'10e1', '1e02'"),
        (["2024-01-01T10:00+02:00", "2024-01-01T09:00+01:00"], 2, "'2024-01-01T09:00+01:00'"),
        (["0.12345678901234567890", "0.12345678901234567891"], 2, "'0.12345678901234567890'"),
    ],
)  # fmt: skip
def test_two_forms_of_one_value_are_noticed(tmp_path: Path, values: list[str], count: int, forms: str) -> None:
    (tmp_path / "data.csv").write_bytes(column(*values))
    (finding,) = noticed(tmp_path, "data.csv")
    assert (finding.name, finding.count) == ("written_forms", count)
    assert forms in finding.detail and "'x'" in finding.detail and "types: {x: string}" in finding.detail
    assert finding.rows
    assert noticed(tmp_path, "data.csv", types={"x": "string"}) == []
    assert noticed(tmp_path, "data.csv", {"as_written": frozenset({"x"})}) == []
    if all(value.replace(".", "").isdecimal() for value in values):  # the project says that it is a number
        assert noticed(tmp_path, "data.csv", {"numbers": {"x": "numbers"}}) == []


@pytest.mark.parametrize(
    "values",
    [
        ["12.50", "3.00", "0.10"],
        ["1", "2.5", "-3"],
        ["1.0", "2.5", "1e-05", "7.1e-05", "1e+16", "0.0001"],
        ["True", "False"],
        ["2024-01-01 10:00:00", "2024-01-01 10:00:01"],
        ["1", "2", "1"],
        [str(0.1 + 0.2), str(1 / 3), "2.0"],
    ],
)
def test_forms_of_different_values_are_not(tmp_path: Path, values: list[str]) -> None:
    (tmp_path / "data.csv").write_bytes(column(*values))
    assert noticed(tmp_path, "data.csv") == []
    assert read(tmp_path, "data.csv")["x"].type != pa.string()


FORMS = ["1", "1.0", "1.00", "2.5", "2.50", "1e-05", "0.00001", "1e1", "10", "10.0", "-3", "-3.0", ".5", "0.5", "5.",
         "1e+16", "10000000000000000", "123456789012345678", "123456789012345679"]  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.sampled_from(FORMS), min_size=1, max_size=4).flatmap(
    lambda some: st.lists(st.lists(st.sampled_from(some), max_size=5), min_size=1, max_size=3)
))  # fmt: skip
def test_a_finding_exactly_where_forms_fall_together(parts: list[list[str]]) -> None:
    values = [value for part in parts for value in part]
    assume(values)
    findings: list[Finding] = []
    batches = [pa.record_batch({"x": pa.array(part, pa.string())}) for part in parts]
    kinds, _ = types_of(lambda names: iter(batches), ["x"], findings.append)
    number = {"bigint": int, "double": float}.get(kinds["x"], str)
    assert bool(findings) == (len(set(values)) > len(set(map(number, values))))


def test_the_fingerprint_tells_how_a_column_is_read(tmp_path: Path) -> None:
    written(tmp_path, [{"x": "1"}])
    source, located = open_source("data.csv", None, {}, tmp_path)
    ways = [Intake(), Intake(as_written=frozenset("x")), Intake(numbers={"x": "numbers"}), Intake(times={"x": "time"})]
    assert len({source.fingerprint(located, {}, {}, way) for way in ways}) == len(ways)


def test_a_telephone_number_stays_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(column("+4915112345678", "+4930123456"))
    assert read(tmp_path, "data.csv")["x"].to_pylist() == ["+4915112345678", "+4930123456"]


def rows_of(*labels: str, each: int = 12) -> list[dict[str, Any]]:
    words = ["alpha", "beta", "gamma", "delta"]
    return [
        {"text": f"note {words[at]} about case {number}", "label": label, "version": ["1.10", "1.1"][number % 2]}
        for at, label in enumerate(labels)
        for number in range(each)
    ]


@pytest.fixture
def project(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes project.yml, beside the data, with the linear learner."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    (tmp_path / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())

    def make(source: str, columns: Mapping[str, Any] = {}, **data: Any) -> Path:
        content = {
            "name": "t",
            "schema": "main.h",
            "task": "text_classification",
            "data": {"source": source, "columns": {"text": "text", "label": "label", **columns}, **data},
            "train": {"learner": "linear"},
            "evaluate": {"resamples": 100},
        }
        (tmp_path / "project.yml").write_text(yaml.safe_dump(content))
        return tmp_path / "project.yml"

    return make


def ingested_by(project: Path, *settings: str) -> Ingested:
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    workspace = Workspace.open(load_profile(None, project.parent))
    record = pipeline.run_stage("ingest", load_project(project, settings), workspace, f"run {settings}")
    assert isinstance(record, Ingested)
    return record


def columns_of(folder: Path) -> list[str]:
    """Of the project's table, as it is now."""
    from deltalake import DeltaTable

    return [field.name for field in DeltaTable(folder / ".lakewright/tables/main/h/t").schema().fields]


def test_codes_are_classes_and_findings_are_seen(
    tmp_path: Path, project: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from lakewright.cli.show import print_run

    written(tmp_path, rows_of("250.0", "250.00", "401.0"))
    run = api.run(project("data.csv"))
    ingested = run.records["ingest"]
    assert isinstance(ingested, Ingested)
    assert [finding.name for finding in ingested.findings] == ["written_forms"]
    assert run.records["prepare"].labels == ["250.0", "250.00", "401.0"]  # type: ignore[attr-defined]
    assert "types: {version: string}" in Path(run.report.html).read_text(encoding="utf-8")
    print_run(run)
    assert "written_forms: column 'version'" in capsys.readouterr().out

    # The table is there: who finds it as it is notices the same, though it is not read again.
    for record in (tmp_path / ".lakewright" / "records").rglob("ingest-*.json"):
        record.unlink()
    again = ingested_by(tmp_path / "project.yml")
    assert again.table == ingested.table and again.findings == ingested.findings
    grouped = ingested_by(tmp_path / "project.yml", "data.columns.group=version")  # a group is read as written
    assert grouped.table.version == 1 and grouped.findings == []


# Encodings ---------------------------------------------------------------------------------------------------------


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030", "shift_jis", "euc_kr"]
LETTERS = {"cp1252": "aé–“€", "gb18030": "aé中文", "shift_jis": "a日本", "euc_kr": "a한국"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data(), st.sampled_from(ENCODINGS), st.sampled_from(["csv", "json"]))
def test_text_of_any_encoding_is_read(tmp_path: Path, data: st.DataObject, encoding: str, kind: str) -> None:
    letters = st.text(LETTERS.get(encoding, "aé–日𝒳") + ' ,"\n;', min_size=1, max_size=30)
    texts = data.draw(st.lists(letters, min_size=1, max_size=20))
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    if kind == "csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, ["id", "text"], quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        content = stream.getvalue()
    else:
        content = json.dumps(rows, ensure_ascii=False)
    (tmp_path / f"data.{kind}").write_bytes(content.encode(encoding))
    used = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    table = read(tmp_path, f"data.{kind}", intake=Intake(as_written=frozenset({"text"})), **used)
    assert table["text"].to_pylist() == texts


def test_long_text_in_utf_16(tmp_path: Path) -> None:
    rows = [{"id": number, "text": f"{number} – “€” 日本 " * 20} for number in range(8_000)]
    written(tmp_path, rows)
    (tmp_path / "data.csv").write_bytes((tmp_path / "data.csv").read_text(encoding="utf-8").encode("utf-16"))
    assert read(tmp_path, "data.csv", encoding="utf-16").to_pylist() == rows


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", content)
    return stream.getvalue()


def parquet(content: bytes) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), stream)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"encoding": "latin-1"}])
@pytest.mark.parametrize("name", ["data.csv", "data.json"])
@pytest.mark.parametrize(
    ("write", "cause", "remedy"),
    [
        (lambda content: content.decode().encode("utf-16"), "is utf-16", "{encoding: utf-16}"),
        (lambda content: b"\xfe\xff" + content.decode().encode("utf-16-be"), "is utf-16", "{encoding: utf-16}"),
        (lambda content: content.decode().encode("utf-32"), "is utf-32", "{encoding: utf-32}"),
        (lambda content: content.decode().encode("utf-16-le"), "is utf-16-le", "{encoding: utf-16-le}"),
        (lambda content: content.decode().encode("utf-16-be"), "is utf-16-be", "{encoding: utf-16-be}"),
        (gzip.compress, "compressed by gzip", "name it data.KIND.gz"),
        (bz2.compress, "compressed by bzip2", "name it data.KIND.bz2"),
        (lzma.compress, "compressed by xz", "xz -d"),
        (lambda content: pa.compress(content, "zstd", asbytes=True), "compressed by zstd", "name it data.KIND.zst"),
        (zipped, "a zip archive or an Excel workbook", "save the sheet as csv"),
        (parquet, "a Parquet file", "data.format: parquet"),
    ],
)
def test_marks_tell_the_cause(
    tmp_path: Path, write: Callable[[bytes], bytes], cause: str, remedy: str, name: str, options: dict[str, str]
) -> None:
    content = b"text,label\nhello,a\n" if name == "data.csv" else b'{"text": "hello", "label": "a"}\n'
    (tmp_path / name).write_bytes(write(content))
    with pytest.raises(DataError, match=f"{name} is .*{cause.removeprefix('is ')}") as caught:
        read(tmp_path, name, **options)
    assert remedy.replace("KIND", name.rpartition(".")[2]) in caught.value.remedy


@pytest.mark.parametrize("name", ["PAR1", "BZh", "ORCID", "Obj", "PK"])
def test_headers_that_look_like_marks(tmp_path: Path, name: str) -> None:
    (tmp_path / "data.csv").write_text(f"{name},text\n1,a\n")
    assert read(tmp_path, "data.csv").column_names == [name, "text"]


@pytest.mark.parametrize(
    ("text", "encoding", "first", "others"),
    [
        ("caf\u00e9 – “quoted” €5", "cp1252", "cp1252", []),
        ("na\u00efve. caf\u00e9", "latin-1", "cp1252", []),
        ("我被收了两次钱，为什么？", "gb18030", "gb18030", []),
        ("二重に請求されました。なぜですか", "shift_jis", "gb18030", ["shift_jis (Japanese)"]),
        ("왜 두 번 청구되었나요", "euc_kr", "gb18030", ["euc_kr (Korean)"]),
    ],
)
def test_the_encodings_that_fit_are_proposed(
    tmp_path: Path, text: str, encoding: str, first: str, others: list[str]
) -> None:
    (tmp_path / "data.csv").write_bytes(b"id,text\n1,plain\n" + f"2,{text}\n".encode(encoding))
    with pytest.raises(DataError, match=r"data\.csv line 3 is not utf-8") as caught:
        read(tmp_path, "data.csv")
    assert f"encoding: {first}" in caught.value.remedy
    assert all(other in caught.value.remedy for other in others)
    assert "encoding: latin-1" not in caught.value.remedy


def test_the_wrong_line_is_found_far_into_a_file(tmp_path: Path) -> None:
    good = b"".join(b"%d,%s\n" % (number, "日本語".encode() * 20) for number in range(20_000))
    (tmp_path / "data.csv").write_bytes(b"id,text\n" + good + b"7,caf\xe9 x\n" + good)
    with pytest.raises(DataError, match=r"line 20002 is not utf-8: byte 0xe9.* the rest is utf-8") as caught:
        read(tmp_path, "data.csv")
    assert "options" not in caught.value.remedy  # another encoding would break the other lines
    (tmp_path / "none.csv").write_bytes(b"id,text\n1,\xff\x81\x8d \x81\n")
    with pytest.raises(DataError, match="line 2") as caught:
        read(tmp_path, "none.csv")
    assert "latin-1 would accept any bytes" in caught.value.remedy


def test_ascii_that_is_called_utf_16(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,text\n1,plain\n")
    with pytest.raises(DataError, match="not utf-16") as caught:
        read(tmp_path, "data.csv", encoding="utf-16")
    assert "encoding: utf-8" in caught.value.remedy


@pytest.mark.parametrize("encoding", ["latin-one", "hex", "undefined", 7])
def test_what_is_no_encoding(tmp_path: Path, encoding: object) -> None:
    (tmp_path / "data.csv").write_text("id,text\n1,plain\n")
    with pytest.raises(UsageError, match="no encoding"):
        read(tmp_path, "data.csv", encoding=encoding)


def test_latin_1_never_without_a_word(tmp_path: Path) -> None:
    written(tmp_path, [{"text": "plain"}])
    assert [each.name for each in noticed(tmp_path, "data.csv", encoding="latin-1")] == ["any_bytes"]
    assert noticed(tmp_path, "data.csv", encoding="cp1252") == []
    (tmp_path / "data.json").write_text('{"a": "x"}')
    assert [each.name for each in noticed(tmp_path, "data.json", encoding="latin-1")] == ["any_bytes"]


def test_prepare_notices_broken_characters() -> None:
    import numpy as np

    from lakewright.data.rows.contents import of_texts
    from lakewright.data.rows.usable import Usable
    from lakewright.model.tasks.classification import TextClassificationColumns

    texts = [
        "fine é – €",
        "caf\u00c3\u00a9",
        "it\u00e2\u20ac\u2122s",
        "lost \ufffd",
        "quote \u0093x\u0094",
        "bell \x07",
        None,
        "tab\tnl\n",
    ]
    check = Usable(TextClassificationColumns(text="text", label="label"))
    check.usable_rows(np.arange(len(texts)), of_texts(texts), ["a"] * len(texts), np.ones(len(texts), np.bool_), None)
    found = {each.name: each for each in check.findings(lambda rows: [])}
    assert {name: found[name].count for name in ("control_characters", "replacement_characters", "mojibake")} == {
        "control_characters": 2,
        "replacement_characters": 1,
        "mojibake": 2,
    }
    assert found["mojibake"].rows[0].startswith("row 1: ")


# Folders -----------------------------------------------------------------------------------------------------------


def as_kind(rows: list[dict[str, Any]], kind: str) -> bytes:
    if kind == "parquet":
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), stream)
        return stream.getvalue()
    if kind == "json":
        return "\n".join(map(json.dumps, rows)).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def put(folder: Path, path: str, rows: list[dict[str, Any]]) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(as_kind(rows, path.rpartition(".")[2]))


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("source", ["data", "data/**/*.{kind}", "data/label=*/*/*.{kind}"])
def test_folders_name_columns(tmp_path: Path, kind: str, source: str) -> None:
    for label, year in (("1.10", 2023), ("a b/c", 2024), (None, 2024)):
        folder = f"label={'__HIVE_DEFAULT_PARTITION__' if label is None else quote(label, safe='')}/the%20year={year}"
        put(tmp_path / "data", f"{folder}/part-0.{kind}", [{"text": f"{label} {year}"}])
    for nothing in (
        "_SUCCESS",
        ".part-0.crc",
        "_temporary/0/x." + kind,
        ".ipynb_checkpoints/y." + kind,
        f"z.{kind}.crc",
    ):
        put(tmp_path / "data", nothing, [{"other": 1}])
    table = read(tmp_path, source.format(kind=kind), intake=LABELS)
    assert table.to_pylist() == [
        {"text": "1.10 2023", "label": "1.10", "the year": 2023},
        {"text": "None 2024", "label": None, "the year": 2024},
        {"text": "a b/c 2024", "label": "a b/c", "the year": 2024},
    ]
    assert read(tmp_path, source.format(kind=kind))["label"].type == pa.string()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_folders_that_do_not_go_together(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "d", f"label=a/x.{kind}", [{"text": "t", "label": "b"}])
    with pytest.raises(DataError, match=r"'label' is in label=a/x.* and in the name of its folder"):
        read(tmp_path, "d")
    assert read(tmp_path, "d", intake=Intake(exclude=frozenset({"label"}))).column_names == ["text"]
    put(tmp_path / "e", f"label=a/x.{kind}", [{"text": "t"}])
    put(tmp_path / "e", f"x.{kind}", [{"text": "t"}])
    with pytest.raises(DataError, match=rf"^x\.{kind} is not in a folder label="):
        read(tmp_path, "e")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_each_rows_file_is_a_column(tmp_path: Path, kind: str) -> None:
    for name in ("b", "a"):
        put(tmp_path / "d", f"year=2024/{name}.{kind}", [{"text": f"from {name}"}])
    named = read(tmp_path, "d", file_column="file").to_pylist()
    assert [(row["text"], row["file"], row["year"]) for row in named] == [
        ("from a", f"year=2024/a.{kind}", 2024),
        ("from b", f"year=2024/b.{kind}", 2024),
    ]
    alone = read(tmp_path, f"d/year=2024/a.{kind}", file_column="file").to_pylist()
    assert [row["file"] for row in alone] == [f"a.{kind}"]
    for column, cause in {"text": "'text' is in", "year": "the name of a folder", 3: "no name of a column"}.items():
        with pytest.raises(DataError, match=cause):
            read(tmp_path, "d", file_column=column)
    with pytest.raises(DataError, match="is one file"):
        read(tmp_path, f"d/year=2024/a.{kind}", split="train")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_folders_are_typed_as_csv_is_and_can_be_left_out(tmp_path: Path, kind: str) -> None:
    for at, (day, version) in enumerate((("2024-01-01", "1.10"), ("2024-01-02", "1.1"))):
        put(tmp_path / "d", f"day={day}/version={version}/x.{kind}", [{"text": str(at) + "t"}])
    table = read(tmp_path, "d")
    assert table["day"].to_pylist() == [date(2024, 1, 1), date(2024, 1, 2)]
    assert table["version"].to_pylist() == [1.1, 1.1]
    assert [each.name for each in noticed(tmp_path, "d")] == ["written_forms"]
    assert noticed(tmp_path, "d", {"exclude": frozenset({"version"})}) == []
    assert read(tmp_path, "d", intake=Intake(exclude=frozenset({"version", "day"}))).column_names == ["text"]


def test_the_fixed_part_of_a_glob_names_columns_too(tmp_path: Path) -> None:
    put(tmp_path / "d", "lang=en/a.csv", [{"text": "t"}])
    put(tmp_path / "d", "lang=de/a.csv", [{"text": "u"}])
    assert read(tmp_path, "d/lang=en/*.csv").to_pylist() == [{"text": "t", "lang": "en"}]
    assert read(tmp_path, "d/lang=en").to_pylist() == [{"text": "t", "lang": "en"}]


def test_a_delta_log_is_no_data(tmp_path: Path) -> None:
    put(tmp_path / "d", "label=a/x.parquet", [{"text": "t"}])
    put(tmp_path / "d", "_delta_log/0.checkpoint.parquet", [{"other": 1}])
    assert read(tmp_path, "d/**/*.parquet").to_pylist() == [{"text": "t", "label": "a"}]


def test_files_that_differ_in_a_column_without_values(tmp_path: Path) -> None:
    put(tmp_path / "d", "1.parquet", [{"n": None, "of": {"a": None}, "tags": [], "m": 1}])
    put(tmp_path / "d", "2.parquet", [{"n": 1.5, "of": {"a": "x"}, "tags": ["t"], "m": 2.5}])
    assert read(tmp_path, "d").to_pylist() == [
        {"n": None, "of": {"a": None}, "tags": [], "m": 1.0},
        {"n": 1.5, "of": {"a": "x"}, "tags": ["t"], "m": 2.5},
    ]


# Escapes -----------------------------------------------------------------------------------------------------------


def as_spark(value: str, delimiter: str) -> str:
    """As Spark's writer does: quoted where it has to be, quotes and the escape itself escaped within quotes alone."""
    if value and not (set(value) & {delimiter, '"', "\n", "\r"} or value != value.strip()):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_mysql(value: str, delimiter: str) -> str:
    """SELECT … INTO OUTFILE: no quotes."""
    for special in ("\\", delimiter, "\n"):
        value = value.replace(special, "\\" + special)
    return value


odd_texts = st.text('ab"\\,;\t\nN \u00e9', max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(odd_texts, odd_texts), min_size=1, max_size=6),
    st.sampled_from([as_spark, as_mysql]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_spark_and_mysql_write_is_read(
    tmp_path: Path, rows: list[tuple[str, str]], write: Callable[[str, str], str], end: str
) -> None:
    delimiter, quoted = (",", {}) if write is as_spark else ("\t", {"quote": ""})
    lines = [delimiter.join(write(value, delimiter) for value in row) for row in [("a", "b"), *rows]]
    (tmp_path / "data.csv").write_text(end.join(lines) + end, newline="")
    intake = Intake(as_written=frozenset({"a", "b"}))
    table = read(tmp_path, "data.csv", intake=intake, delimiter=delimiter, escape="\\", **quoted)
    found = [tuple(value or "" for value in row.values()) for row in table.to_pylist()]
    assert found == rows


def test_the_error_proposes_the_escape(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('text,label\n"he said \\"hi\\", twice",a\n"C:\\\\temp",b\nC:\\temp,c\n')
    with pytest.raises(DataError, match="line 2") as caught:
        read(tmp_path, "data.csv")
    assert r"{escape: '\\'}" in caught.value.remedy
    for escape in ("\\", "\\\\"):  # in YAML's single quotes both stay
        assert read(tmp_path, "data.csv", escape=escape).to_pylist() == [
            {"text": 'he said "hi", twice', "label": "a"},
            {"text": "C:\\temp", "label": "b"},
            {"text": "C:\\temp", "label": "c"},
        ]
    (tmp_path / "data.csv").write_text('text,label\n"a \\",b\\" c",x\n')
    with pytest.raises(DataError) as caught:
        read(tmp_path, "data.csv")
    assert "escape" in caught.value.remedy
    with pytest.raises(UsageError, match="one character"):
        read(tmp_path, "data.csv", escape="\\\\\\")
    with pytest.raises(UsageError, match="the quote itself"):
        read(tmp_path, "data.csv", escape='"')


def test_missing_is_missing_with_an_escape(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("a\tb\n\\N\t\n1\tx\\\ty\n")
    table = read(tmp_path, "data.tsv", quote="", escape="\\", null_values=["\\N"])
    assert table.to_pylist() == [{"a": None, "b": None}, {"a": 1, "b": "x\ty"}]


# Errors that lead out ----------------------------------------------------------------------------------------------


def test_what_made_a_column_text_is_named_and_the_way_out_works(tmp_path: Path) -> None:
    rows = [{"n": str(number), "w": f"2024-01-{number + 1:02}"} for number in range(20)]
    rows[4]["n"], rows[9]["n"], rows[11]["w"] = "NA", "-", "2024-02-30"
    written(tmp_path, rows)
    numbers, times = Intake(numbers={"n": "numbers"}), Intake(times={"w": "event_time"})
    with pytest.raises(
        DataError,
        match=r"'n' \(data.columns.numbers\): 2 of 20 values are not a number: 'NA' \(data.csv line 6\), '-' ",
    ) as caught:
        read(tmp_path, "data.csv", intake=numbers, missing=[])
    assert 'null_values: ["NA", "-"]' in caught.value.remedy
    assert read(tmp_path, "data.csv", intake=numbers, null_values=["NA", "-"])["n"].null_count == 2
    with pytest.raises(
        DataError, match=r"1 of 20 values is not of type date: '2024-02-30' \(data.csv line 13\)"
    ) as caught:
        read(tmp_path, "data.csv", intake=times)
    with pytest.raises(
        DataError, match=r"1 of 20 values is not of type date: '2024-02-30' \(data.csv line 13\)"
    ) as declared:
        read(tmp_path, "data.csv", types={"w": "date"})
    assert "types" not in caught.value.remedy and "string" not in declared.value.remedy


def test_mixed_times_name_those_of_the_rarer_kind(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(column("2024-01-01", "2024-01-02", "2024-01-03 10:00"))
    with pytest.raises(DataError, match=r"1 of 3 values is not of type date: '2024-01-03 10:00' \(data.csv line 4\)"):
        read(tmp_path, "data.csv", intake=Intake(times={"x": "event_time"}))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2024-01-03 10:00:00", "2024-01-03T10:00:00Z", "2024-01-04T10:00:00+02:00"], "timestamp"),
        (["2024-01-03 10:00", "2024-01-03", "2024-01-04T11:00Z"], "timestamp"),
        (["2024-01-01", "2024-01-02", "2024-01-03 10:00"], "timestamp_ntz"),
    ],
)
def test_the_type_proposed_for_mixed_times_reads_them(tmp_path: Path, values: list[str], kind: str) -> None:
    (tmp_path / "data.csv").write_bytes(column(*values))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "data.csv", intake=Intake(times={"x": "event_time"}))
    assert f"data.options: {{types: {{x: {kind}}}}}" in caught.value.remedy
    assert read(tmp_path, "data.csv", types={"x": kind})["x"].null_count == 0


@pytest.mark.parametrize("value", ["01.02.2024", "1/31/24 10:30", "31-01-2024"])
def test_the_error_proposes_the_year_first(tmp_path: Path, value: str) -> None:
    (tmp_path / "data.csv").write_bytes(column(value, value))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "data.csv", intake=Intake(times={"x": "event_time"}))
    assert "2024-01-31" in caught.value.remedy and "strptime(column, '%d.%m.%Y')" in caught.value.remedy


def test_quoted_words_are_missing_too(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('n\n"1"\n"NA"\n""\n-9\n')
    assert read(tmp_path, "data.csv", null_values=["NA"])["n"].to_pylist() == [1, None, None, -9]
    assert read(tmp_path, "data.csv", null_values=["NA", -9])["n"].to_pylist() == [1, None, None, None]
    with pytest.raises(UsageError, match="null_values holds False"):
        read(tmp_path, "data.csv", null_values=["NA", False])


@pytest.mark.parametrize("digits", range(1, 10))
@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
def test_fractions_of_a_second(tmp_path: Path, digits: int, zone: str) -> None:
    fraction = "123456789"[:digits]
    (tmp_path / "data.csv").write_bytes(column(f"2024-01-01T10:00:00.{fraction}{zone}"))
    (value,) = read(tmp_path, "data.csv")["x"].to_pylist()
    assert value.microsecond == int(fraction.ljust(9, "0")[:6])
    for findings in (noticed(tmp_path, "data.csv"), noticed(tmp_path, "data.csv", types={"x": "timestamp"})):
        assert [(each.name, each.count) for each in findings] == ([("cut_times", 1)] if digits > 6 else [])
    (declared,) = read(tmp_path, "data.csv", types={"x": "timestamp"})["x"].to_pylist()
    assert declared.utcoffset() == timedelta(0)


def test_declared_times_in_json(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"t": "2024-01-01T10:00:00.1234567"}, {"t": null}, {"t": "2024-01-02"}]')
    table = read(tmp_path, "data.json", types={"t": "timestamp_ntz"})
    assert table["t"].to_pylist() == [datetime(2024, 1, 1, 10, 0, 0, 123456), None, datetime(2024, 1, 2)]
    (tmp_path / "data.json").write_text('[{"t": "2024-01-01"},\n{"t": "soon"}]')
    with pytest.raises(DataError, match=r"data.json line 2: the value of column 't' is not of type date") as caught:
        read(tmp_path, "data.json", types={"t": "date"})
    assert "types" not in caught.value.remedy
    with pytest.raises(UsageError, match="did you mean 't'"):
        read(tmp_path, "data.json", types={"tt": "date"})
    with pytest.raises(UsageError, match=r"options.types is 'date'"):
        read(tmp_path, "data.json", types="date")
    (tmp_path / "data.json").write_text('[{"n": 1}, {"n": "2"}, {"n": ""}]')
    assert read(tmp_path, "data.json", types={"n": "bigint"})["n"].to_pylist() == [1, 2, None]


def test_times_that_a_table_cannot_hold(tmp_path: Path) -> None:
    values = {
        "ns": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
        "zoned": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "Europe/Berlin")),
        "at": pa.array([time(12, 30)], pa.time64("us")),
        "took": pa.array([1500], pa.duration("ms")),
    }
    pq.write_table(pa.table(values), tmp_path / "data.parquet")
    (row,) = read(tmp_path, "data.parquet").to_pylist()
    assert row["ns"] == datetime(2023, 11, 14, 22, 13, 20, 123456)
    assert row["zoned"].microsecond == 123456
    assert (row["at"], row["took"]) == ("12:30:00.000000", 1.5)
    names = [each.name for each in noticed(tmp_path, "data.parquet")]
    assert names == ["cut_times", "cut_times", "times_of_day", "durations"]
    deep = pa.array([[{"t": 1_700_000_000_123_456_789}]], pa.list_(pa.struct([("t", pa.timestamp("ns"))])))
    pq.write_table(pa.table({"deep": deep}), tmp_path / "deep.parquet")
    (row,) = read(tmp_path, "deep.parquet")["deep"].to_pylist()
    assert row == [{"t": datetime(2023, 11, 14, 22, 13, 20, 123456)}]
    assert [each.name for each in noticed(tmp_path, "deep.parquet")] == ["cut_times"]
    kept = Intake(exclude=frozenset({"ns", "zoned", "at"}))
    assert read(tmp_path, "data.parquet", intake=kept).column_names == ["took"]


def test_times_of_a_function(tmp_path: Path) -> None:
    (tmp_path / "origin.py").write_text(
        "from datetime import time, timedelta\n"
        "def rows():\n    return [{'at': time(1, 2), 'took': timedelta(seconds=90)}]\n"
        "def frame():\n    import pandas\n"
        "    t = pandas.to_datetime(['2024-01-01 10:00:00.123456789'])\n"
        "    return pandas.DataFrame({'t': t, 'd': [pandas.Timedelta(1, 's')]})\n"
    )
    assert read(tmp_path, "python:origin:rows").to_pylist() == [{"at": "01:02:00.000000", "took": 90.0}]
    (row,) = read(tmp_path, "python:origin:frame").to_pylist()
    assert row == {"t": datetime(2024, 1, 1, 10, 0, 0, 123456), "d": 1.0}


SECRET = [{"text": "t", "label": "a", "Secret": "x", "n": 1}, {"text": "u", "label": "b", "Secret": "y", "n": 2}]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "python", "delta"])
def test_columns_are_left_out_of_any_source(tmp_path: Path, kind: str) -> None:
    from deltalake import write_deltalake

    if kind == "python":
        (tmp_path / "origin.py").write_text(f"def rows():\n    return {SECRET!r}\n")
    elif kind == "delta":
        write_deltalake(tmp_path / "data.delta", pa.Table.from_pylist(SECRET))
    else:
        put(tmp_path, f"data.{kind}", SECRET)
    intake = Intake(exclude=frozenset({"Secret", "n", "gone"}))
    source = "python:origin:rows" if kind == "python" else f"data.{kind}"
    assert read(tmp_path, source, "delta" if kind == "delta" else None, intake).column_names == ["text", "label"]
    assert intake.left_out == {"Secret", "n"}


def test_what_is_left_out_is_part_of_the_project(tmp_path: Path, project: Callable[..., Path]) -> None:
    path = project(written(tmp_path, SECRET).joinpath("data.csv").name, exclude=["Secret", "n"])
    before = ingested_by(path)
    assert columns_of(tmp_path) == ["text", "label"]
    assert load_project(path).resolved["data"]["exclude"] == ["Secret", "n"]
    after = ingested_by(path, "data.exclude=[Secret]")
    assert after.fingerprint != before.fingerprint and columns_of(tmp_path) == ["text", "label", "n"]
    with pytest.raises(DataError, match=r"no column 'secret' \(data.exclude\)"):
        ingested_by(path, "data.exclude=[secret]")
    with pytest.raises(ProjectError, match="exclude leaves out the column 'label'"):
        load_project(path, ["data.exclude=[label]"])
    with pytest.raises(ProjectError, match="there is no source"):
        load_project(path, ["data.source=null"])


def test_a_column_of_two_kinds_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": "y", "b": "z"}\n')
    with pytest.raises(DataError, match="line 2") as caught:
        read(tmp_path, "data.jsonl")
    assert "data.exclude: [a]" in caught.value.remedy
    assert read(tmp_path, "data.jsonl", intake=Intake(exclude=frozenset({"a"}))).column_names == ["b"]


SPANS = [[0, 4, "PER"], [5, 9, "LOC"]]


@pytest.mark.parametrize("first", [[SPANS], [[]] * 6_000, [None] * 6_000, [SPANS] * 6_000])
@pytest.mark.parametrize("last", [[SPANS], [[], None] * 3_000])
def test_lists_of_several_types_are_json(tmp_path: Path, first: list[Any], last: list[Any]) -> None:
    """As doccano exports them; whatever stands before and after, in batches of their own."""
    values = [*first, SPANS, None, *last]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"s": value}) + "\n" for value in values))
    kept = read(tmp_path, "data.jsonl")["s"].to_pylist()
    assert [value if value is None else json.loads(value) for value in kept] == values


@pytest.mark.parametrize("other", ["x", 5, {"start": 0}])
@pytest.mark.parametrize("count", [1, 6_000])
def test_lists_and_other_values_do_not_go_together(tmp_path: Path, other: Any, count: int) -> None:
    values = [SPANS] * count + [other]
    for some in (values, values[::-1]):
        (tmp_path / "data.jsonl").write_text("".join(json.dumps({"s": value}) + "\n" for value in some))
        with pytest.raises(DataError, match=r"the value of column 's' does not fit"):
            read(tmp_path, "data.jsonl")


@pytest.mark.parametrize(
    "row",
    ['{"text": "\\ud83d"}', '{"text": {"deep": ["\\ude00 x"]}}', '{"text\\ud83d": "x"}', '{"text": ["\\ud83d"]}'],
)
def test_half_a_surrogate_pair(tmp_path: Path, row: str) -> None:
    good = "\n".join(json.dumps({"n": number}) for number in range(6))
    (tmp_path / "data.jsonl").write_text(f"{good}\n{row}\n{good}")
    with pytest.raises(DataError, match=r"data.jsonl line 7: the value of column 'text.* half of a surrogate pair"):
        read(tmp_path, "data.jsonl")
    (tmp_path / "data.jsonl").write_text('{"text": "\\ud83d\\ude00"}')
    assert read(tmp_path, "data.jsonl")["text"].to_pylist() == ["\U0001f600"]


def frames() -> dict[str, str]:
    import pandas

    frame = pandas.DataFrame({"text": [f"text {n} " * 50 for n in range(500)], "label": ["a", "b"] * 250})
    return {orient: frame.to_json(orient=orient) for orient in ("columns", "split", "index", "table")} | {
        "lists": json.dumps(frame.to_dict("list")),
        "nested": json.dumps({"version": 1, "data": frame.to_dict("records")}),
    }


@pytest.mark.parametrize("shape", ["columns", "split", "index", "table", "lists", "nested"])
def test_one_object_that_holds_all_rows(tmp_path: Path, shape: str) -> None:
    (tmp_path / "data.json").write_text(frames()[shape])
    with pytest.raises(DataError, match=r"data.json is one object") as caught:
        read(tmp_path, "data.json")
    assert len(str(caught.value)) < 600
    if shape not in ("table", "nested"):
        assert 'orient="records"' in caught.value.remedy


def test_one_object_a_file_is_a_row(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "d", f"{number}.json", [{"text": "t", "spans": [{"start": 0}, {"start": 1}]}])
    assert read(tmp_path, "d").num_rows == 2


def test_errors_are_cut(tmp_path: Path) -> None:
    wide = {f"key {number}": number for number in range(500)}
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, [{"a": wide}] * 30 + [{"a": "x" * 10**6}])))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "data.jsonl")
    assert len(str(caught.value)) < 1000
    error = DataError("x" * 10**6, "y" * 10**6)
    assert len(str(error)) < 10_000 and error.cause.endswith("…")


def test_formats_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "array.jsonl").write_text('\ufeff[{"a": 1}, {"a": 2}]', encoding="utf-8")
    assert read(tmp_path, "lines.json").to_pylist() == read(tmp_path, "array.jsonl").to_pylist() == [{"a": 1}, {"a": 2}]
    for content in ('{"a": 1, "b": 2}\n{"a": 2, "b": 2}\n', '[{"a": 1}]', '[\n  {\n "a": 1}]', '{\n "a": 1}'):
        (tmp_path / "data.csv").write_text(content)
        with pytest.raises(DataError, match="holds JSON") as caught:
            read(tmp_path, "data.csv")
        assert "data.format: json" in caught.value.remedy
    (tmp_path / "data.json").write_text("text,label\nhello,a\n")
    with pytest.raises(DataError, match="line 1") as caught:
        read(tmp_path, "data.json")
    assert "data.format: csv" in caught.value.remedy


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": 1}\n{"a": ' + "7" * 5000 + "}")
    with pytest.raises(DataError, match="line 2"):
        read(tmp_path, "data.json")


# Memory ------------------------------------------------------------------------------------------------------------


READ = """
import resource, sys
from pathlib import Path
from lakewright.errors import DataError
from lakewright.data.sources.opening import open_source
import pyarrow.csv, pyarrow.compute
source, uri = open_source(sys.argv[1], None, {}, Path())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    source.open(uri, {}, {}).read_all()
except DataError as error:
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(grown, error.cause)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head", "piece", "tail"),
    [
        ("bomb.jsonl.zst", b'{"a": "x"}\n{"a": "', b"a", b'"}\n'),
        ("list.json.zst", b'{"a": [1]}\n{"a": [1', b",1", b"]}"),
        ("wide.csv.zst", b"a,b\nx,", b"a,", b"\n"),
        ("bomb.tsv.zst", b'a\tb\nx\t"', b"a", b'"\n'),
    ],
)
def test_an_endless_line_takes_little_memory(tmp_path: Path, name: str, head: bytes, piece: bytes, tail: bytes) -> None:
    piece *= (1 << 20) // len(piece)
    with pa.CompressedOutputStream(str(tmp_path / name), "zstd") as stream:
        stream.write(head)
        for _ in range(500):
            stream.write(piece)
        stream.write(tail)
    limits = (4 << 30, 4 << 30)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limits),
    )
    grown, _, cause = done.stdout.partition(" ")
    assert "line 2" in cause and name in cause
    assert int(grown) < 250  # MiB


def test_lines_are_bounded_and_long_ones_are_read(tmp_path: Path) -> None:
    long = "x" * (5 << 20)
    for name, content in (("data.csv", f"a,b\n{long},{long}\n"), ("data.json", json.dumps([{"a": long, "b": long}]))):
        (tmp_path / name).write_text(content)
        assert read(tmp_path, name).to_pylist() == [{"a": long, "b": long}]
