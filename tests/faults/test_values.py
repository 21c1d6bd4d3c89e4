"""Values that no model reads or no type holds: shown with their place and a remedy, never changed in silence."""

from __future__ import annotations

import io
import json
from contextlib import chdir
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lakewright as lw
from conftest import sealed_model
from lakewright import api
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.data.lake.types import python_rows, within_years
from lakewright.data.rows.truths.offsets import mistake
from lakewright.data.sources import Intake
from lakewright.data.sources.opening import open_source
from lakewright.data.sources.written import typed, types_of
from lakewright.errors import DataError, NotFound, ProfileError, ProjectError, UsageError
from lakewright.learning.learners.linear import export
from lakewright.model.folder import seal
from lakewright.model.recipe.dense import Dense, Number
from lakewright.model.tasks import read_whole
from lakewright.model.tasks.similarity import GREATEST, SentenceSimilarity
from lakewright.model.tasks.tagging import TokenClassification, TokenClassificationSettings
from lakewright.pipeline.stages.prepare import prepare
from lakewright.records import Ingested, Prepared
from projects import Call
from recipes import store
from recipes import terms as terms_of

ROWS = [
    {"text": f"word{i % 7} alpha{i} beta", "other": f"gamma {i}", "label": "ab"[i % 2], "n": i / 3, "a": 1.0 * (i % 2),
     "b": 1.0 * (i % 3 == 0)}
    for i in range(30)
]  # fmt: skip
LABEL = {"text": "text", "label": "label"}


def read(folder: Path, uri: str, format: str | None = None, intake: Intake | None = None, **options: Any) -> pa.Table:
    source, located = open_source(uri, format, {}, folder)
    return source.open(located, options, {}, intake or Intake()).read_all()


def ingested(folder: Path, uri: str, **options: Any) -> pa.Table:
    lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
    source, located = open_source(uri, None, {}, folder)
    return lake.read(lake.write("main.h.t", source.open(located, options, {}, Intake())))


# Dates and times outside of the years that Python has ----------------------------------------------------------------

FIRST, LAST = (date.min - date(1970, 1, 1)).days, (date.max - date(1970, 1, 1)).days
NESTED = pa.struct({"a": pa.list_(pa.struct({"b": pa.date32()}))})
LAST_MOMENT = (LAST + 1) * 86_400 * 10**6 - 1


def dates(*days: int | None) -> pa.Array:
    return pa.array(days, pa.date32())


def times(*microseconds: int | None, zone: str | None = None) -> pa.Array:
    return pa.array(microseconds, pa.timestamp("us", zone))


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (dates(None, LAST + 1, 0), "in 1 row: row 1 ('10000-01-01')"),
        (dates(FIRST - 1, LAST + 1, 2**31 - 1), "in 3 rows: row 0 ('0000-12-31'), row 1 ('10000-01-01'), row 2"),
        (times(0, 1_673_000_000_000_000_000, 1), "row 1 ('54985-"),
        (times(0, LAST_MOMENT + 1, None, zone="UTC"), "row 1 ('10000-01-01 00:00:00.000000+00:00')"),
        (times(0, LAST_MOMENT, LAST_MOMENT, zone="-01:00"), None),
        (pa.array([[0], None, [1, LAST + 1]], pa.list_(pa.date32())), "in 1 row: row 2"),
        (pa.array([None, {"a": [{"b": FIRST - 1}]}, {"a": []}], NESTED), "in 1 row: row 1"),
        (pa.array([[("a", 1)], [("b", 2), ("c", LAST + 1)], None], pa.map_(pa.string(), pa.date32())), "row 1"),
        (dates(FIRST, LAST, None), None),
    ],
)  # fmt: skip
def test_parquet_of_other_years_is_refused(tmp_path: Path, column: pa.Array, shown: str | None) -> None:
    pq.write_table(pa.table({"d": column, "text": ["a", "b", "c"]}), tmp_path / "m.parquet")
    if shown is None:
        assert len(ingested(tmp_path, "m.parquet")) == 3
        return
    with pytest.raises(DataError) as refused:
        ingested(tmp_path, "m.parquet")
    assert "column 'd' holds dates or times outside of the years 1 to 9999" in refused.value.cause
    assert shown in refused.value.cause
    assert "types: {d: string}" in refused.value.remedy and "data.exclude: [d]" in refused.value.remedy


@pytest.mark.parametrize(
    "value", ["0000-01-01", "0000-05-06 07:08", "9999-12-31T23:30:00-05:00", "0001-01-01T00:00:00+01:00"]
)
def test_csv_of_other_years_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "m.csv").write_text(f"d,text\n{value},a\n{value},b\n")
    with pytest.raises(DataError, match=r"'d'.*in 2 rows: row 0"):
        ingested(tmp_path, "m.csv")
    assert ingested(tmp_path, "m.csv", types={"d": "string"})["d"].to_pylist() == [value] * 2


def test_delta_python_and_pandas_of_other_years_are_refused(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "other", pa.table({"d": dates(0, LAST + 1)}))
    (tmp_path / "source.py").write_text(
        f"import pyarrow as pa\ndef rows():\n    return pa.table({{'d': pa.array([0, {LAST + 1}], pa.date32())}})\n"
    )
    for uri in ("other", "python:source:rows"):
        with pytest.raises(DataError, match=r"in 1 row: row 1 \('10000-01-01'\)"):
            ingested(tmp_path, uri)


def test_rows_are_counted_to_the_end_of_the_stream() -> None:
    batches = [pa.record_batch({"d": dates(*([LAST + 1] * 4), 0)}) for _ in range(3)]
    with pytest.raises(DataError, match=r"in 12 rows: row 0 .*, row 3 [^,]*, row 5 [^,]*, …"):
        list(within_years(batches))


@given(st.lists(st.none() | st.dates(), min_size=1, max_size=6), st.lists(st.none() | st.datetimes(), max_size=6))
def test_dates_and_times_of_python_pass(days: list[date | None], moments: list[datetime | None]) -> None:
    size = min(len(days), len(moments))
    batch = pa.record_batch(
        [pa.array(days[:size], pa.date32()), pa.array(moments[:size], pa.timestamp("us"))], ["d", "t"]
    )
    assert list(within_years([batch])) == [batch]
    assert python_rows(batch) == batch.to_pylist()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("date '10000-01-01'", "10000-01-01"),
        ("'infinity'::date", "infinity"),
        ("'-infinity'::timestamp", "-infinity"),
        ("'infinity'::timestamptz", "infinity"),
        ("timestamptz '9999-12-31 23:59:59+00' + interval 1 day", "10000-01-01 23:59:59.000000+00:00"),
        ("date '0044-03-15 (BC)'", "-043-03-15"),
        ("[date '10000-01-01', null]", ["10000-01-01", None]),
        ("{'x': timestamp '-infinity', 'y': 1}", {"x": "-infinity", "y": 1}),
        ("map {'a': date '10000-01-01'}", [["a", "10000-01-01"]]),
        ("union_value(d := date '10000-01-01')", "10000-01-01"),
    ],
)
def test_sql_prints_times_of_other_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, value: str, shown: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    query = f"select {value} as d, 1 as n"
    assert call("sql", query, "--json").json["rows"] == [{"d": shown, "n": 1}]
    printed = call("sql", query)
    assert printed.code == 0 and (not isinstance(shown, str) or shown in printed.out)


def test_a_table_of_another_writer_is_shown_and_read_by_sql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    api.sql("create table main.h.t as select date '2020-01-01' as d, 'a' as text")
    write_deltalake(api.tables()[0]["storage_location"], pa.table({"d": dates(LAST + 1), "text": ["b"]}), mode="append")
    assert "10000-01-01" in call("tables", "show", "main.h.t").out
    assert {row["d"] for row in call("tables", "show", "main.h.t", "--json").json["first_rows"]} == {
        "2020-01-01", "10000-01-01",
    }  # fmt: skip
    assert "10000-01-01" in call("sql", "select * from main.h.t").out
    for command in (["profile", "main.h.t"], ["sql", "create table main.h.u as select * from main.h.t"]):
        refused = call(*command)
        assert refused.code == 1 and "outside of the years 1 to 9999" in refused.err and "Traceback" not in refused.err
    assert call("sql", "create table main.h.u as select cast(d as varchar) as d from main.h.t").code == 0


# Columns without any value, and infinite numbers ----------------------------------------------------------------------


def prepared(
    folder: Path, table: pa.Table, columns: dict[str, Any], task: str = "text_classification", method: str = "random"
) -> Prepared:
    """The stage `prepare` alone, over this table."""
    learner = "embedding" if task in ("sentence_similarity", "token_classification") else "linear"
    project = {
        "name": "t",
        "schema": "main.h",
        "task": task,
        "data": {"table": "main.h.t", "columns": columns},
        "prepare": {"split": {"method": method}},
        "train": {"learner": learner},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    with chdir(folder):
        loaded, workspace = lw.load_project("project.yml"), lw.Workspace.open(lw.load_profile())
    workspace = replace(workspace, work=workspace.folder / "work" / "prepare", run_id="a run")
    workspace.work.mkdir(parents=True, exist_ok=True)
    written = workspace.lake.write("main.h.t", table)
    record = prepare(loaded, workspace, ingested=Ingested(table=written, source="", fingerprint=""))
    assert isinstance(record, Prepared)
    return record


@pytest.mark.parametrize("kind", [pa.string(), pa.float64()])
@pytest.mark.parametrize(
    ("columns", "task", "method"),
    [
        (LABEL | {"numbers": ["n", "e"]}, "text_classification", "random"),
        (LABEL | {"categories": ["e"]}, "text_classification", "random"),
        (LABEL | {"text_pair": "e"}, "text_classification", "random"),
        (LABEL | {"event_time": "e"}, "text_classification", "time"),
        ({"text": "text", "labels": ["a", "b"], "numbers": ["e"]}, "multilabel_classification", "random"),
        ({"text": "text", "labels": ["a", "e"]}, "multilabel_classification", "random"),
        ({"text": "text", "text_pair": "other", "negative": "e"}, "sentence_similarity", "random"),
        ({"text": "text", "text_pair": "other", "score": "e"}, "sentence_similarity", "random"),
    ],
)
def test_a_column_without_any_value_is_named(
    tmp_path: Path, columns: dict[str, Any], task: str, method: str, kind: pa.DataType
) -> None:
    if columns.get("text_pair") == "e" or columns.get("negative") == "e":
        kind = pa.string()
    table = pa.Table.from_pylist(ROWS).append_column("e", pa.nulls(len(ROWS), kind))
    with pytest.raises(DataError, match=r"'e'.*(empty in all 30 rows|blank in all)") as refused:
        prepared(tmp_path, table, columns, task, method)
    assert "data.columns" in refused.value.remedy or "remove it" in refused.value.remedy


def test_a_column_of_blanks_or_nan_has_no_value(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for role, values in (("categories", [""] * 29 + [" "]), ("numbers", [float("nan")] * 30)):
        with pytest.raises(DataError, match=r"'e'.*is empty in all 30 rows"):
            prepared(tmp_path, table.append_column("e", pa.array(values)), LABEL | {role: ["e"]})
    some = table.append_column("e", pa.array([None] * 29 + [1.5]))
    assert prepared(tmp_path, some, LABEL | {"numbers": ["e"]}).table.rows == 30


@pytest.mark.parametrize(
    ("columns", "task", "method"),
    [
        (LABEL | {"numbers": ["n"]}, "text_classification", "random"),
        (LABEL | {"event_time": "n"}, "text_classification", "time"),
        ({"text": "text", "label": "n"}, "text_classification", "random"),
        ({"text": "text", "labels": ["n", "b"]}, "multilabel_classification", "random"),
        ({"text": "text", "text_pair": "other", "score": "n"}, "sentence_similarity", "random"),
    ],
)
def test_infinite_numbers_are_named_with_their_rows(
    tmp_path: Path, columns: dict[str, Any], task: str, method: str
) -> None:
    numbers = [float(i % 2) for i in range(30)]
    numbers[3], numbers[7] = float("inf"), float("-inf")
    for kind in (pa.float64(), pa.float32()):
        table = pa.Table.from_pylist(ROWS).drop_columns("n").append_column("n", pa.array(numbers, kind))
        with pytest.raises(DataError, match=r"'n'.*infinite in 2 rows \(row 3: inf, row 7: -inf\)") as refused:
            prepared(tmp_path, table, columns, task, method)
        assert "isinf(n)" in refused.value.remedy


def test_infinite_numbers_of_json_come_through_to_the_check(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[4] = '{"text": "word", "label": "a", "n": 1e400}'
    lines[5] = '{"text": "word x", "label": "b", "n": -Infinity}'
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"infinite in 2 rows \(row 4: inf, row 5: -inf\)"):
        prepared(tmp_path, read(tmp_path, "m.jsonl"), LABEL | {"numbers": ["n"]})


@pytest.fixture
def model_of_a_number(tmp_path: Path) -> Path:
    """A whole linear model folder, made without training, that reads a text and the number `n`."""
    folder = tmp_path / "model"
    terms = terms_of(["good morning", "good night"], max_features=10)
    store(folder, terms, Dense((Number("n", 0.0, 1.0, False),), ()))
    weights, of_columns = np.ones((len(terms.idf), 2), dtype=np.float32), np.ones((1, 2), dtype=np.float32)
    export(weights, of_columns, np.zeros(2, dtype=np.float32), folder / "model.onnx")
    inputs = {"text": "text", "n": "number"}
    task = {"name": "text_classification", "labels": ["a", "b"], "inputs": inputs}
    sealed_model(folder, "numbers", task, "linear", [{"text": "Good morning!", "n": 1.0}])
    project = json.loads((folder / "project.json").read_text())
    (folder / "project.json").write_text(json.dumps(project | {"data": {"columns": LABEL | {"numbers": ["n"]}}}))
    seal(folder)
    return folder


def test_predict_and_score_refuse_infinite_numbers(
    model_of_a_number: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(model_of_a_number)
    for number in ("1e400", "-1e400", "1" + 400 * "0"):
        refused = call("predict", model, f'{{"text": "a", "n": {number}}}')
        assert refused.code == 2 and f"argument 1: the number {number[:40]}" in refused.err
        assert "is too large for a float" in refused.err and "or null" in refused.err
    with pytest.raises(DataError, match="row 0: 'n' is a number that is infinite or too large"):
        lw.predict(model, [{"text": "a", "n": float("inf")}])
    refused = call("predict", model, '{"text": "a", "n": Infinity}')
    assert refused.code == 2 and "Infinity is not JSON" in refused.err
    assert call("predict", model, '{"text": "a", "n": null}', '{"text": "a", "n": 1e300}').code == 0

    twice = call("predict", model, '{"text": "a", "n": 1}', '{"text": "a", "n": 1, "n": 2}')
    assert twice.code == 2 and "argument 2: the key 'n' occurs twice" in twice.err

    api.sql("create table main.h.u as select 'a' as text, 1.5 as n union all select 'b', 'inf'::double")
    scored = call("score", "--model", model, "--input", "main.h.u")
    assert scored.code == 1 and "'n' of main.h.u@v0 is infinite in row 1" in scored.err
    profiled = call("profile", "main.h.u")
    assert profiled.code == 0 and "'n': 1 row with an infinite number" in profiled.out


def test_an_error_names_the_row_of_the_input(
    model_of_a_number: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ['{"text": "a", "n": 1}'] * 700 + ['{"text": "a", "n": "x"}']
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    refused = call("predict", str(model_of_a_number))
    assert refused.code == 1 and "row 700: 'n' is str, not a number" in refused.err
    wrong = "case when i = 4500 then 'x' else '1' end"  # of texts that are numbers, as prepare reads them
    text = "case when i % 2 = 0 then 'a' end"  # rows without a text are left out before
    api.sql(f"create table main.h.w as select {text} as text, {wrong} as n from range(5000) as t(i)")
    scored = call("score", "--model", str(model_of_a_number), "--input", "main.h.w")
    assert scored.code == 1 and "main.h.w@v0: row 4500: 'n' is 'x', not a number" in scored.err
    api.sql("create or replace table main.h.w as select 'a' as text, i::varchar as n from range(3) as t(i)")
    api.sql("create table main.h.v as select 'a' as text, i::double as n from range(3) as t(i)")
    for table in ("w", "v"):
        assert call("score", "--model", str(model_of_a_number), "--input", f"main.h.{table}").code == 0
    kept = "select label, probabilities from main.h.{}_predictions order by record_id"
    assert api.sql(kept.format("w")) == api.sql(kept.format("v"))
    number = "case when i = 4500 then 'inf'::double else 1 end"
    rows = f"select {text} as text, {number} as n from range(5000) as t(i)"
    api.sql(f"create table main.h.x as {rows} where i < 10")
    assert call("score", "--model", str(model_of_a_number), "--input", "main.h.x").code == 0
    api.sql(f"insert into main.h.x {rows}")
    scored = call("score", "--model", str(model_of_a_number), "--input", "main.h.x")
    assert scored.code == 1 and "new since v0 is infinite in row 4500" in scored.err


@pytest.mark.parametrize("number", ["1e400", "-1e400", ".inf", ".nan", "inf", "nan"])
def test_settings_are_finite(tmp_path: Path, number: str) -> None:
    project = {"name": "t", "schema": "main.h", "task": "text_classification", "train": {"learner": "linear"},
               "data": {"table": "main.h.t", "columns": LABEL}}  # fmt: skip
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    for setting in ("train.C", "gate.minimum.accuracy", "prepare.split.test"):
        with pytest.raises(ProjectError, match=f"{setting}: Input should be") as refused:
            lw.load_project(tmp_path / "project.yml", [f"{setting}={number}"])
        assert "neither infinite nor nan" in refused.value.remedy
    (tmp_path / "profiles.yml").write_text(f"profiles: {{dev: {{serve: {{deadline_seconds: {number}}}}}}}")
    with pytest.raises(ProfileError, match="deadline_seconds: Input should be"):
        lw.load_profile("dev", tmp_path)


# Lists of several types within objects --------------------------------------------------------------------------------

SPACY = {"entities": [[4, 8, "PER"]]}
OBJECTS: list[Any] = [{"entities": []}, {"cats": {"a": 1}}, {"entities": None, "x": 1.5}, {}, None]


def write_json(folder: Path, rows: list[Any]) -> None:
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("place", [0, 4_999, 10_007])  # of the row that makes the column text
@pytest.mark.parametrize("value", [SPACY, {"a": {"b": [{"c": [True, "x"]}]}}, [{"start": 0, "more": [1, "x"]}]])
def test_objects_with_lists_of_several_types_are_json(tmp_path: Path, place: int, value: Any) -> None:
    others = [[each] for each in OBJECTS] if isinstance(value, list) else OBJECTS
    rows = [{"text": "t", "a": others[i % len(others)]} for i in range(10_008)]
    rows[place] = {"text": "t", "a": value}
    del rows[2]["a"]
    write_json(tmp_path, rows)
    table = read(tmp_path, "m.jsonl")
    assert table["a"].type == pa.string()
    texts = table["a"].to_pylist()
    assert [None if text is None else json.loads(text) for text in texts] == [row.get("a") for row in rows]


NESTED_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["x", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), NESTED_JSON, min_size=1, max_size=3), min_size=1, max_size=5))
def test_nested_json_comes_whole_or_is_refused(tmp_path: Path, values: list[dict[str, Any]]) -> None:
    write_json(tmp_path, [{"text": "t", "a": value} for value in values])
    try:
        table = read(tmp_path, "m.jsonl")
    except DataError as refused:
        assert "'a'" in refused.cause
        return
    if table["a"].type == pa.string():
        assert [json.loads(text) for text in table["a"].to_pylist()] == values
        return
    for held, value in zip(table["a"].to_pylist(), values, strict=True):
        assert {key: held[key] for key in value} == value or any(map(bool, held.values()))


def test_other_kinds_beside_such_objects_are_refused(tmp_path: Path) -> None:
    for rows in (
        [{"a": SPACY}, {"a": 3}],
        [{"a": "x"}] * 5_000 + [{"a": SPACY}],
        [{"a": SPACY}] * 5_000 + [{"a": True}],
    ):
        write_json(tmp_path, rows)
        with pytest.raises(DataError, match="column 'a' does not fit"):
            read(tmp_path, "m.jsonl")
    write_json(tmp_path, [{"a": {"b": 1}}, {"a": {"b": "x"}}])
    with pytest.raises(DataError, match="line 2: the value of column 'a'"):
        read(tmp_path, "m.jsonl")


def test_spans_in_spacys_form_are_read(tmp_path: Path) -> None:
    write_json(tmp_path, [{"text": f"say Anna {i}", "annotations": SPACY} for i in range(3)])
    columns = {"text": "text", "spans": "annotations"}
    tables = [read(tmp_path, "m.jsonl")]
    (rows,) = read_whole(TokenClassification, tables, columns, TokenClassificationSettings())
    assert rows["truth"].to_pylist() == [[{"start": 4, "end": 8, "label": "PER"}]] * 3


# Numbers as csv writes them -------------------------------------------------------------------------------------------


def write_csv(folder: Path, *values: str) -> None:
    (folder / "m.csv").write_text("x;y\n" + "".join(f"{value};.\n" for value in values))


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.sampled_from(["0.5", "-7.25", "3", ""]), st.booleans())
def test_whole_numbers_of_csv_keep_their_digits(number: int, other: str, first: bool) -> None:
    column = pa.array([str(number), other] if first else [other, str(number)])
    kinds, _ = types_of(lambda names: iter([pa.record_batch({"x": column})]), ["x"], lambda finding: None)
    value = typed(column, kinds["x"])[0 if first else 1].as_py()
    assert int(value) == number
    one_by_one = [pa.record_batch({"x": column.slice(at, 1)}) for at in range(2)]
    assert types_of(lambda names: iter(one_by_one), ["x"], lambda finding: None)[0] == kinds


def test_a_long_whole_number_beside_a_fraction_is_text(tmp_path: Path) -> None:
    for values in (["9007199254740993", "1.5"], ["1.5", "-9007199254740993.0"]):
        write_csv(tmp_path, *values)
        assert read(tmp_path, "m.csv")["x"].to_pylist() == values
    write_csv(tmp_path, "9007199254740992", "1.5")
    assert read(tmp_path, "m.csv")["x"].to_pylist() == [2.0**53, 1.5]


@pytest.mark.parametrize("value", ["1e300", "1e308", "+5", "01", "-007", "99999999999999999999", "1E+100"])
@pytest.mark.parametrize("role", ["numbers", "score"])
def test_numbers_in_forms_of_codes_have_a_remedy_that_works(tmp_path: Path, value: str, role: str) -> None:
    write_csv(tmp_path, value, "2.5")
    intake = Intake(numbers={"x": role})
    with pytest.raises(DataError, match=rf"'x' \(data.columns.{role}\): 1 of 2 values is in a form") as refused:
        read(tmp_path, "m.csv", intake=intake)
    assert "not a number" not in refused.value.cause and "types: {x: double}" in refused.value.remedy
    assert read(tmp_path, "m.csv", intake=intake, types={"x": "double"})["x"].to_pylist() == [float(value), 2.5]


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (["1,5", "2"], "replace(x, ',', '.')::double"),
        (["1,5", "-0,25"], "decimal comma, write a point"),
        (["1e400", "2"], "correct them"),
        (["01", "many", "2"], "correct them"),
    ],
)
def test_what_is_no_number_has_its_own_remedy(tmp_path: Path, values: list[str], remedy: str) -> None:
    write_csv(tmp_path, *values)
    with pytest.raises(DataError, match="not a number") as refused:
        read(tmp_path, "m.csv", intake=Intake(numbers={"x": "numbers"}))
    assert remedy in refused.value.remedy


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_at_the_end_of_their_range(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS).drop_columns("n")
    pair = {"text": "text", "text_pair": "other", "score": "n"}
    for size in (1e300, 1e308):
        huge = table.append_column("n", pa.array([(-1) ** i * size for i in range(30)]))
        prepared(tmp_path, huge, LABEL | {"numbers": ["n"]})
        with pytest.raises(DataError, match=r"'n'.*is wrong in 30 places:\n  row 0: .*float32"):
            prepared(tmp_path, huge, pair, "sentence_similarity")
    task = SentenceSimilarity(scored=True, low=-GREATEST, high=GREATEST)
    assert task.targets([-GREATEST, 0.0, GREATEST], Any, []).values.tolist() == [0.0, 0.5, 1.0]


# Options of sources that are misspelt, and sources that end the program ----------------------------------------------


def write_source(folder: Path, text: str) -> None:
    (folder / "rows_of.py").write_text(text)


@pytest.mark.parametrize(
    ("parameters", "options", "cause", "remedy"),
    [
        ("path", {"pth": "a"}, "has no parameter 'pth'", "did you mean 'path'? known: path"),
        ("path, limit=3", {"path": "a", "types": {}}, "has no parameter 'types'", "known: limit, path"),
        ("path, *, limit", {"path": "a"}, "needs the parameter 'limit'", "data.options: {limit: …}"),
        ("", {"split": "a"}, "has no parameter 'split'", "known: (none)"),
    ],
)
def test_options_that_a_function_does_not_take(
    tmp_path: Path, parameters: str, options: dict[str, Any], cause: str, remedy: str
) -> None:
    write_source(tmp_path, f"def rows({parameters}):\n    yield {{'a': 1}}\n")
    with pytest.raises(UsageError, match=cause) as refused:
        read(tmp_path, "python:rows_of:rows", **options)
    assert refused.value.remedy == remedy or refused.value.remedy.endswith(remedy)


def test_options_that_a_function_takes(tmp_path: Path) -> None:
    write_source(tmp_path, "def rows(path, *rest, limit=2, **more):\n    yield {'a': [path, limit, more['x']]}\n")
    assert read(tmp_path, "python:rows_of:rows", path=1, x=3)["a"].to_pylist() == [[1, 2, 3]]


def test_a_python_source_is_not_told_of_types_that_it_does_not_take(tmp_path: Path) -> None:
    write_source(tmp_path, "def rows():\n    yield {'a': 1}\n    yield {'a': 'x'}\n")
    with pytest.raises(DataError, match="row 2: the value of column 'a' does not fit") as refused:
        read(tmp_path, "python:rows_of:rows")
    assert refused.value.remedy == "give all its values one type, or leave the column out: data.exclude: [a]"


@pytest.mark.parametrize(
    "text",
    [
        "import sys\ndef rows():\n    sys.exit(0)\n",
        "import sys\ndef rows():\n    yield {'a': 1}\n    sys.exit(0)\n",
        "import sys\nsys.exit(0)\n",
    ],
)
def test_a_source_that_ends_the_program_is_named(tmp_path: Path, text: str) -> None:
    write_source(tmp_path, text)
    with pytest.raises(DataError, match=r"sys.exit\(0\) would end the whole program \(.*rows_of.py line \d"):
        read(tmp_path, "python:rows_of:rows")


@pytest.mark.parametrize("split", [["train", "test", "nope"], ["train", "dev"], "nope", ["nope", "never"]])
def test_a_split_that_is_not_there_is_named(tmp_path: Path, split: Any) -> None:
    for name in ("train.csv", "test.csv"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("text,label\na,b\n")
    with pytest.raises(NotFound, match=r"no file of the split '(nope|dev)' \(options.split\)") as refused:
        read(tmp_path, "data", split=split)
    assert "train.csv" in refused.value.remedy
    assert read(tmp_path, "data", split=["test", "train"]).num_rows == 2


# What errors say ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "text", "wrong"),
    [
        ((1, 6), "😀 Anna", "span 1–6 begins within a character, counted in UTF-16 units"),
        ((0, 1), "😀 Anna", "span 0–1 ends within a character, counted in UTF-16 units"),
        ((3, 9), "😀 Anna", "span 3–9 is outside its text of 6 characters"),
        ((1, 5), "x Anna", None),
    ],
)
def test_a_span_within_an_emoji(span: tuple[int, int], text: str, wrong: str | None) -> None:
    assert mistake(*span, None, text, "utf16") == wrong


def test_a_span_within_an_emoji_that_is_right_in_characters() -> None:
    assert "begins within a character" in str(mistake(1, 6, " Anna", "😀 Anna", "utf16"))
    assert "correct with task.offsets: characters" in str(mistake(1, 6, " Anna", "😀 Anna", "utf16"))


@pytest.mark.parametrize("name", ["m.csv.gz", "m.csv.bz2", "m.jsonl.zst", "m.tsv.gz"])
def test_a_plain_file_of_a_compressed_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "a"}\n' if "json" in name else "text\na\n")
    with pytest.raises(DataError, match=f"{name} has the name of a compressed file") as refused:
        read(tmp_path, name, format="json" if "json" in name else "csv")
    assert refused.value.remedy == f"rename it to {name.rpartition('.')[0]}"


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv"])
@pytest.mark.parametrize("broken", [b"\xed\xa0\xbd\xed\xb8\x80", b"\xed\xa0\xbd"])  # CESU-8 of an emoji; half of it
def test_surrogates_in_utf_8(tmp_path: Path, name: str, broken: bytes) -> None:
    good = b'{"text": "good"}\n' if name == "m.jsonl" else b"text\n"
    (tmp_path / name).write_bytes(good + good.replace(b"text", b"text").replace(b"good", broken) + broken)
    with pytest.raises(DataError, match="has surrogates") as refused:
        read(tmp_path, name)
    assert "cp1252" not in refused.value.remedy and "surrogatepass" in refused.value.remedy


def test_a_title_above_the_header(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("Export of 2024\ntext,label\na,b\nc,d\n")
    with pytest.raises(DataError, match="has 1 column, but line 2 has 2") as refused:
        read(tmp_path, "m.csv")
    assert "remove line 1 if it is a title" in refused.value.remedy
    (tmp_path / "m.csv").write_text("text,label\na,b\nc,d,e\n")
    with pytest.raises(DataError, match="has 2 columns") as refused:
        read(tmp_path, "m.csv", column_names=["text", "label"])
    assert "title" not in refused.value.remedy


def test_a_line_of_json_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"text": "a"}\n{"text": "say An')
    with pytest.raises(DataError, match=r"""m.jsonl line 2: Unterminated string starting at '"say An'""") as refused:
        read(tmp_path, "m.jsonl")
    assert "cut short" in refused.value.remedy


@pytest.mark.parametrize(
    ("setting", "cause", "remedy"),
    [
        ("data.exclude=[label]", "exclude leaves out the column 'label'", "remove 'label' from data.exclude"),
        ("task={name: text_classification, labels: [1, 2]}", "labels", "labels.0 in quotes"),
        ("task={name: text_classification, labels: [a, yes]}", "labels.1", "labels.1 in quotes"),
        ("data.columns={text: text, label: 5}", "label", "data.columns.label in quotes"),
    ],
)
def test_settings_say_what_to_change(tmp_path: Path, setting: str, cause: str, remedy: str) -> None:
    project = {"name": "t", "schema": "main.h", "task": "text_classification", "train": {"learner": "linear"},
               "data": {"source": "m.csv", "columns": LABEL}}  # fmt: skip
    key, _, value = setting.partition("=")
    held: Any = project
    *outer, last = key.split(".")
    for part in outer:
        held = held[part]
    held[last] = yaml.safe_load(value)
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    with pytest.raises(ProjectError, match=cause) as refused:
        lw.load_project(tmp_path / "project.yml")
    assert remedy in refused.value.remedy and "lakewright schema" not in refused.value.remedy
