"""`lakewright sql --engine athena`: a statement goes as it is, and its rows come back with their types. The stand-in is
held to botocore's model, and DuckDB answers the statements."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from lakewright.data.lake import athena
from lakewright.errors import LakewrightError, ProfileError, UsageError
from platforms.sagemaker.feature_store import FeatureStore, served

Lakewright = Callable[..., subprocess.CompletedProcess[str]]
ROWS = (
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.orders AS SELECT * FROM (VALUES (1::BIGINT, 'a', 1.5::DOUBLE, true, DATE '2026-01-31', "
    "TIMESTAMP '2026-01-31 14:00:00.25', 12.30::DECIMAL(10,2)), (2, NULL, NULL, NULL, NULL, NULL, NULL), "
    "(9007199254740993, '', -0.5, false, DATE '1969-12-31', TIMESTAMP '1969-12-31 23:59:59', -1)) "
    "t(id, name, price, paid, day, moment, total)",
)
PROFILE = {
    "athena": {"output": "s3://our-lake/athena", "database": "shop", "workgroup": "analysts", "region": "us-east-1"}
}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text(
        yaml.safe_dump({"default": "prod", "profiles": {"prod": PROFILE, "here": {}}})
    )
    monkeypatch.setattr(athena, "SECONDS", 0.01)
    made = FeatureStore(tables=ROWS)
    with served(made) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


def test_rows_come_back_with_their_types(stand_in: FeatureStore) -> None:
    rows = lw.sql("select * from shop.orders order by id", engine="athena")
    assert isinstance(rows, pa.Table) and rows.num_rows == 3  # of two pages
    assert [str(each.type) for each in rows.schema] == [
        "int64", "string", "double", "bool", "date32[day]", "timestamp[us]", "decimal128(12, 2)",
    ]  # fmt: skip
    first, nulls, last = rows.to_pylist()
    assert first == {
        "id": 1, "name": "a", "price": 1.5, "paid": True, "day": date(2026, 1, 31),
        "moment": datetime(2026, 1, 31, 14, 0, 0, 250_000), "total": Decimal("12.30"),
    }  # fmt: skip
    assert {*nulls.values()} == {2, None} and (last["id"], last["name"]) == (9007199254740993, "")
    none = lw.sql("select id, name from shop.orders where id < 0", engine="athena")
    assert isinstance(none, pa.Table) and none.num_rows == 0 and none.column_names == ["id", "name"]
    assert stand_in.calls[0] == "StartQueryExecution"


def test_the_command(stand_in: FeatureStore, lakewright: Lakewright, tmp_path: Path) -> None:
    query = "select id, price from shop.orders order by id"
    shown = lakewright("sql", query, "--engine", "athena", "--json")
    assert json.loads(shown.stdout)["rows"][0] == {"id": 1, "price": 1.5}, shown.stderr
    assert lakewright("sql", query, "--engine", "athena", "--out", "rows.csv").returncode == 0
    assert (tmp_path / "rows.csv").read_text().splitlines()[1] == "1,1.5"
    refused = lakewright("sql", "select nothing from shop.orders", "--engine", "athena")
    assert refused.returncode == 1 and "Athena ended the query as FAILED" in refused.stderr


def test_what_is_refused(stand_in: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProfileError, match="does not say where Athena writes") as failure:
        lw.sql("select 1", engine="athena", profile="here")
    assert "athena: {output: s3://BUCKET/PREFIX}" in failure.value.remedy
    with pytest.raises(UsageError, match="empty"):
        lw.sql("  ", engine="athena")
    with pytest.raises(UsageError, match="as it is"):
        lw.sql("select 1", engine="athena", plot="bar")
    monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(LakewrightError, match="did not answer"):
        lw.sql("select 1", engine="athena")
