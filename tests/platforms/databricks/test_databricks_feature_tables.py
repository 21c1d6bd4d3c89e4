"""The primary key of a feature table on Databricks, by the grammar of Databricks SQL; rows are written as before."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from deltalake import DeltaTable, Schema
from sqlglot import exp
from typer.testing import CliRunner

import lakewright as lw
from lakewright.cli.app import app
from lakewright.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_primary_key_has_the_time() -> None:
    keys = {"country": "string", "the `customer`": "bigint"}
    lw.features.create("main.shop.daily", keys=keys, event_time="day", values={"spend": "double"})
    statements = lw.features.constraints("main.shop.daily")
    assert statements == [
        "ALTER TABLE `main`.`shop`.`daily` ALTER COLUMN `country` SET NOT NULL",
        "ALTER TABLE `main`.`shop`.`daily` ALTER COLUMN `the ``customer``` SET NOT NULL",
        "ALTER TABLE `main`.`shop`.`daily` ALTER COLUMN `day` SET NOT NULL",
        "ALTER TABLE `main`.`shop`.`daily` ADD CONSTRAINT `daily_key` "
        "PRIMARY KEY (`country`, `the ``customer```, `day` TIMESERIES)",
    ]
    for each in statements:
        parsed = sqlglot.parse_one(each.replace(" TIMESERIES", ""), dialect="databricks")  # which sqlglot does not know
        assert isinstance(parsed, exp.Alter)
    printed = CliRunner().invoke(app, ["features", "constraints", "main.shop.daily"])
    assert printed.stdout == "".join(f"{each};\n" for each in statements)


def test_rows_go_into_a_table_whose_key_may_not_be_null(folder: Path) -> None:
    lw.features.create("main.shop.other", keys={"id": "bigint"}, event_time="day", values={"spend": "double"})
    lake = lw.Workspace.open(lw.load_profile()).lake
    schema, place = lake.schema(lake.version("main.shop.other")), f"{lake.root}/main/shop/daily"
    not_null = pa.schema([each.with_nullable(each.name == "spend") for each in schema])
    DeltaTable.create(place, Schema.from_arrow(not_null))  # as Databricks leaves it
    rows = pa.table(
        {"id": [1], "day": pa.array([0], pa.timestamp("us", "UTC")), "spend": pa.array([None], pa.float64())}
    )
    assert lw.features.write("main.shop.daily", rows).rows == 1
    assert lw.features.write("main.shop.daily", rows).known == 1
    assert [each.nullable for each in DeltaTable(place).schema().fields] == [False, False, True]


def test_two_times_are_refused() -> None:
    lw.features.create(
        "main.shop.daily", keys={"id": "bigint"}, event_time="day", known_at="loaded", values={"spend": "double"}
    )
    with pytest.raises(UsageError, match="has two times, day and loaded, and Databricks joins by one"):
        lw.features.constraints("main.shop.daily")
