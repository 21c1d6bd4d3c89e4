"""`lakewright sql --out` and `tables schemas`: what was written is what can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakewright as lw
from lakewright.errors import DataError
from projects import Call

VALUES = "(1, 'a,b', 1.5, date '2026-01-02'), (2, '', null, null), (null, null, -0.25, null)"
ROWS = f"select * from (values {VALUES}) v(i, t, n, d)"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_the_rows_come_back(call: Call, ending: str) -> None:
    expected = call("sql", ROWS, "--json").json["rows"]
    written = call("sql", ROWS, "--limit", "1", "--out", f"rows.{ending}")
    assert (written.code, written.out) == (0, f"wrote rows.{ending} (3 rows)\n")
    columns = "i, t, n::double n, d" if ending == "parquet" else "*"
    assert call("sql", f"select {columns} from {ending}.`rows.{ending}`", "--json").json["rows"] == expected


@pytest.mark.parametrize(
    ("query", "out", "reason"),
    [
        ("select 1 a", "rows.xlsx", "ends in .csv, .parquet, .json"),
        ("create table main.a.b as select 1 a", "rows.csv", "gives no rows"),
        ("drop table main.a.b", "rows.csv", "not supported here"),
        ("select [1] a", "rows.csv", "CSV cannot hold the column 'a'"),
        ("select 1 a", "profiles.yml/rows.csv", "cannot be written"),
    ],
)
def test_what_is_not_written(call: Call, place: Path, query: str, out: str, reason: str) -> None:
    (place / "profiles.yml").write_text("{}")
    refused = call("sql", query, "--out", out)
    assert refused.code in (1, 2) and reason in refused.err
    assert [path.name for path in place.iterdir() if not path.name.startswith(".")] == ["profiles.yml"]
    assert lw.tables() == []


def test_schemas_are_counted(call: Call) -> None:
    for name in ("main.b.x", "main.b.y", "main.a.x"):
        lw.sql(f"create table {name} as select 1 a")
    assert call("tables", "schemas", "--json").json == {
        "schemas": [{"schema": "main.a", "tables": 1}, {"schema": "main.b", "tables": 2}]
    }


def test_json_has_no_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="'e' has them in 2 rows") as failure:
        lw.sql("select * from (values ('nan'::double), (1.0), ('-inf'::double), (null)) t(e)", out="rows.json")
    assert "isfinite" in failure.value.remedy and not (tmp_path / "rows.json").exists()
