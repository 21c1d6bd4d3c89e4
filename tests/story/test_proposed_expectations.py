"""A profiled table proposes expectations that it satisfies; they are exported for SageMaker and Databricks."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import lakewright as lw
from lakewright.data.expectations.exported import constraints, databricks
from lakewright.data.expectations.kinds import compiled
from lakewright.pipeline.stages.ingest import ingest
from lakewright.settings.expectations import Expected, expectations
from projects import Call

ROWS = 40
COLUMNS: dict[str, pa.Array] = {
    "id": pa.array(range(10, 10 + ROWS)),
    "a key": pa.array([f"k{number:03}" for number in range(ROWS)]),
    "big": pa.array([2**63 - 1, -(2**63), *range(5)] * 5 + [0] * 5),
    "real": pa.array([0.1, 1e300, -1e-300, 3.0] * 10),
    "single": pa.array([0.1, 0.7, 3.0, None] * 10, pa.float32()),
    "undefined": pa.array([math.nan, 1.0] * 20),
    "endless": pa.array([math.inf, 1.0] * 20),
    "exact": pa.array([Decimal("0.10"), Decimal("12345678901234567.89")] * 20, pa.decimal128(20, 2)),
    "day": pa.array([date(2024, 1, 5), date(1, 1, 1), date(9999, 12, 31), None] * 10),
    "at": pa.array([datetime(2024, 1, 5, 3, 4, 5, 678901, UTC), datetime(2030, 1, 1, tzinfo=UTC)] * 20),
    "local": pa.array([datetime(1970, 1, 1), None] * 20, pa.timestamp("us")),
    "code": pa.array(["NO", "yes", "1.0", "", "2024-01-01", " x", "ü", "~"] * 5),
    "is": pa.array([True, False] * 20),
    "nothing": pa.nulls(ROWS, pa.string()),
    "words": pa.array([["a"], []] * 20),
    'it\'s "so"': pa.array(["a'b", 'c"d'] * 20),
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text("default: local\nprofiles: {local: {workspace: work}}\n")
    lake = lw.Workspace.open(lw.load_profile()).lake
    return lake.write("main.demo.all", pa.table(COLUMNS)).uri


def project(folder: Path, source: str, expect: list[dict[str, Any]]) -> Any:
    values = {
        "name": "again",
        "task": "classification",
        "data": {"source": source, "format": "delta", "expect": expect, "columns": {"label": "is"}},
        "train": {"learner": "linear"},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    return lw.load_project(folder)


def test_a_table_satisfies_what_it_proposes(tmp_path: Path, table: str, call: Call) -> None:
    ended = call("profile", "main.demo.all", "--expect", "--out", "seen", "--json")
    assert ended.code == 0
    files = {Path(file).name: Path(file) for file in ended.json["expectations"]}
    assert {*files} == {"expect.yml", "constraints.json", "expectations.sql"}
    text = files["expect.yml"].read_text(encoding="utf-8")
    proposed = yaml.safe_load(text)["data"]["expect"]
    kinds = [next(iter(each)) for each in proposed]
    assert {*kinds} == {"not_null", "unique", "range", "allowed", "row_count"}
    assert {"unique": "id"} in proposed and {"unique": "a key"} in proposed
    assert {"range": {"big": {"min": -(2**63), "max": 2**63 - 1}}} in proposed
    assert {"row_count": {"min": 20}} in proposed
    (codes,) = [each["allowed"]["code"] for each in proposed if "code" in each.get("allowed", {})]
    assert sorted(codes) == sorted({*COLUMNS["code"].to_pylist()})
    ranges = {column for each in proposed for column in each.get("range", {})}
    assert ranges == {"big", "real", "single", "exact", "day", "at", "local"}  # NaN lies in no range
    assert not {"nothing", "day", "single"} & {*proposed[0]["not_null"]}

    workspace = lw.Workspace.open(lw.load_profile())
    record = ingest(project(tmp_path, table, proposed), workspace)
    assert record.findings == [] and record.table.rows == ROWS
    narrow = [{**each, "name": f"n{number}"} for number, each in enumerate(proposed) if "row_count" not in each]
    workspace.lake.write("main.demo.all", pa.table({**COLUMNS, "id": [1] * ROWS, "real": [2e300] * ROWS}))
    record = ingest(project(tmp_path, table, narrow), workspace)
    assert [each.detail.partition(":")[0].split(" ")[0] for each in record.findings] != []
    assert any("real is not between" in each.detail for each in record.findings)


def test_the_file_is_read_as_it_is_printed(tmp_path: Path, table: str, call: Call) -> None:
    ended = call("profile", "main.demo.all", "--expect", "--out", "seen")
    assert "expectations: " in ended.out and "constraints.json cannot hold" in ended.out
    lines = (tmp_path / "seen" / "expect.yml").read_text(encoding="utf-8").splitlines()
    assert "    - {unique: id}" in lines
    page = (tmp_path / "seen" / "profile.html").read_text(encoding="utf-8")
    assert "constraints.json cannot hold" in page


def test_the_projects_own_are_exported(tmp_path: Path, table: str, call: Call) -> None:
    project(tmp_path, table, [{"range": {"id": {"min": 0, "max": 5}}, "severity": "fail"}, {"sql": "id > 1"}])
    ended = call("profile", "main.demo.all", "--expect", "--out", "seen", "--project", "project.yml")
    assert ended.code == 0, ended.err
    told = (tmp_path / "seen" / "expectations.sql").read_text(encoding="utf-8")
    assert "CONSTRAINT `range_id` EXPECT (coalesce(`id` >= 0 AND `id` <= 5, true)) ON VIOLATION FAIL UPDATE,\n" in told
    assert told.endswith("CONSTRAINT `sql_1` EXPECT (coalesce(id > 1, true))\n")
    stated = json.loads((tmp_path / "seen" / "constraints.json").read_text(encoding="utf-8"))
    (feature,) = [each for each in stated["features"] if each["name"] == "id"]
    assert feature["num_constraints"] == {"is_non_negative": True} and feature["inferred_type"] == "Integral"


def of(entries: list[dict[str, Any]]) -> Any:
    return expectations([Expected.model_validate(each) for each in entries])


SCHEMA = pa.schema([(name, column.type) for name, column in COLUMNS.items()])
COMPLETE = dict.fromkeys(SCHEMA.names, 0.5)


def test_constraints_of_model_monitor() -> None:
    every = of(
        [
            {"not_null": "code"},
            {"allowed": {"code": ["a", "b"]}},
            {"allowed": {"id": [1]}},
            {"range": {"real": {"min": 0}, "id": {"min": 1}, "big": {"max": 5}, "day": {"min": "2024-01-01"}}},
            {"unique": ["id", "code"]},
            {"row_count": {"min": 1}},
        ]
    )
    stated, left = constraints(every, SCHEMA, COMPLETE)
    assert stated["version"] == 0
    features = {each.pop("name"): each for each in stated["features"]}
    assert features["code"] == {
        "inferred_type": "String", "completeness": 1.0, "string_constraints": {"domains": ["a", "b"]},
    }  # fmt: skip
    assert features["real"] == {
        "inferred_type": "Fractional", "completeness": 0.5, "num_constraints": {"is_non_negative": True},
    }  # fmt: skip
    assert features["day"] == {"inferred_type": "Unknown", "completeness": 0.5}
    assert left == [
        "allowed_id", "range_id (its min above 0)", "range_big", "range_day", "unique_id_code", "row_count",
    ]  # fmt: skip


def test_what_databricks_cannot_hold() -> None:
    told, left = databricks(of([{"unique": "id"}, {"row_count": {"min": 1}}, {"not_null": "a key"}]), SCHEMA)
    assert left == ["unique_id", "row_count"]
    assert told.endswith("CONSTRAINT `not_null_a key` EXPECT (`a key` IS NOT NULL)\n")
    (lines,) = [databricks(of([{"not_null": "id", "severity": "drop"}]), SCHEMA)[0].splitlines()[1:]]
    assert lines == ["CONSTRAINT `not_null_id` EXPECT (`id` IS NOT NULL) ON VIOLATION DROP ROW"]


TEXTS = st.text("a'\\`\"é \n", max_size=3)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_conditions_keep_the_same_rows(data: st.DataObject) -> None:
    """sqlglot reads them as Databricks does, and DuckDB computes them."""
    import duckdb
    import sqlglot

    texts = data.draw(st.lists(st.none() | TEXTS, min_size=1, max_size=8))
    floats = data.draw(st.lists(st.none() | st.floats(), min_size=len(texts), max_size=len(texts)))
    days = [date(2024, 1, 1) + timedelta(number) for number in range(len(texts))]
    times = [datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(number) for number in range(len(texts))]
    rows = pa.table(
        {
            "t": pa.array(texts, pa.string()),
            "f": pa.array(floats, pa.float64()),
            "d": pa.array(days),
            "at": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    bound = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5)
    (each,) = of(
        [
            data.draw(
                st.sampled_from(
                    [
                        {"allowed": {"t": data.draw(st.lists(TEXTS, min_size=1, max_size=3))}},
                        {"range": {"f": {"min": data.draw(bound)}}},
                        {"range": {"d": {"min": "2024-01-02T01:00:00"}}},
                        {"range": {"at": {"max": "2024-01-03T14:00:00+02:00"}}},
                        {"sql": "f > 1 and t <> ''"},
                        {"not_null": "t"},
                    ]
                )
            )
        ]
    )
    told, left = databricks([each], rows.schema)
    assert not left
    condition = re.fullmatch(r".*?EXPECT \((.*)\)\n", told.partition("\n")[2], re.DOTALL)
    assert condition is not None
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("rows", rows)
    (query,) = sqlglot.transpile(f"SELECT {condition[1]} AS kept FROM rows", "databricks", "duckdb")
    kept = connection.sql(query).to_arrow_table()["kept"].to_pylist()
    assert kept == [not one for one in compiled(each, rows.schema)(rows).to_pylist()]
