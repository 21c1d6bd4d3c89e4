"""A feature table from files to training rows, by the command line and from Python."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import lakewright as lw
from lakewright.cli.app import app
from lakewright.errors import LakewrightError, NotFound, UsageError
from lakewright.records import Prepared

SPEND = """customer,day,loaded,spend,plan
1,2024-01-01,2024-01-02T00:00:00Z,1.5,01
1,2024-01-05,2024-01-09T00:00:00Z,2.5,
2,2024-01-02,2024-01-02T00:00:00Z,3,02
"""
CREATE = (
    "create main.shop.daily --key customer:bigint --event-time day --known-at loaded --value spend:double "
    "--value plan:string --ttl 30d --owner ann"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spend.csv").write_text(SPEND)
    return tmp_path


def features(words: str, *more: str) -> str:
    result = CliRunner().invoke(app, ["features", *words.split(), *more])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def orders() -> None:
    times = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 3, 9, 30)]
    rows = {"id": [1, 2, 3, 4], "buyer": [1, 1, 1, 2], "at": pa.array(times, pa.timestamp("us", "UTC"))}
    lw.Workspace.open(lw.load_profile()).lake.write("main.shop.orders", pa.table(rows))


def test_a_table_from_a_file_to_training_rows() -> None:
    features(CREATE)
    assert "3 rows → main.shop.daily@v1 (3 rows)" in features("write main.shop.daily spend.csv")
    again = json.loads(features("write main.shop.daily spend.csv --json"))
    assert (again["rows"], again["known"], again["table"]) == (0, 3, "main.shop.daily@v1")

    orders()
    lookup = "{table: main.shop.daily, keys: {customer: buyer}, values: {spend: spent, plan: plan}}"
    line = features("join main.shop.orders main.shop.training --time at --lookup", lookup)
    assert "4 rows → main.shop.training@v0" in line and "plan: 2 rows without a value" in line
    rows = lw.sql("select id, spent, plan from main.shop.training order by id")
    assert isinstance(rows, pa.Table)
    assert rows["spent"].to_pylist() == [None, 1.5, 2.5, 3.0] and rows["plan"].to_pylist() == [None, "01", None, "02"]
    properties = lw.history("main.shop.training")[0]["properties"]
    assert (properties["table"], properties["features"]) == ("main.shop.orders@v0", "main.shop.daily@v1")

    (values,) = json.loads(features("get main.shop.daily customer=1 --at 2024-01-08 --json"))["values"]
    assert values == {"customer": 1, "spend": 1.5, "plan": "01"}
    status = json.loads(features("status main.shop.daily --json"))
    assert (status["rows"], status["keys"], status["expired"], status["missing"]["spend"]) == (3, 2, 2, 0.0)
    assert [each["name"] for each in status["findings"]] == ["expired_keys"]
    assert "customer bigint" in features("show main.shop.daily") and "main.shop.daily" in features("list")


def test_keys_of_other_types() -> None:
    features("create main.shop.days --key day_of:date --key open:boolean --event-time at --value visits:int")
    row = "select date '2026-01-31' day_of, true as open, timestamptz '2026-02-01' as \"at\", 3::int visits"
    assert lw.features.write("main.shop.days", row).rows == 1
    (values,) = json.loads(features("get main.shop.days day_of=2026-01-31 open=true --json"))["values"]
    assert values["visits"] == 3
    (row_of,) = json.loads(features("history main.shop.days day_of=2026-01-31 open=true --json"))["rows"]
    assert row_of["visits"] == 3
    features(CREATE)
    for key, why in (("9223372036854775808", "does not fit"), ("abc", "no whole number")):
        with pytest.raises(UsageError, match=why):
            features(f"get main.shop.daily customer={key}")


def test_other_rows_than_files() -> None:
    features(CREATE)
    lw.features.write("main.shop.daily", "spend.csv")
    features(CREATE.replace("daily", "other"))
    assert lw.features.write("main.shop.other", "select * from main.shop.daily where customer = 1").rows == 2
    added = lw.features.write("main.shop.other", "main.shop.daily")
    assert (added.rows, added.known) == (1, 2)
    rows = lw.sql("from main.shop.daily")
    assert isinstance(rows, pa.Table) and lw.features.write("main.shop.other", rows).rows == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("create main.shop.daily --key customer --event-time day --value spend:double", "not of the form COLUMN:TYPE"),
        ("write main.shop.orders spend.csv", "a table, and no feature table"),
        ("write main.shop.daily nothing.csv", "there is no file"),
        ("get main.shop.daily client=1", "is no key of main.shop.daily"),
        ("get main.shop.daily customer=one", "no whole number"),
        ("get main.shop.daily customer=1 --at yesterday", "is no time"),
        ("join main.shop.orders main.shop.t --time at --lookup main.shop.dayly", "there is no table main.shop.dayly"),
        ("join main.shop.orders main.shop.t --time at --lookup {table", "is no YAML"),
        ("join main.shop.orders main.shop.t --time at --lookup {tables:x}", "a lookup has no 'tables:x'"),
    ],
)
def test_what_cannot_be(words: str, why: str) -> None:
    orders()
    if not words.startswith("create"):
        features(CREATE)
    with pytest.raises(LakewrightError) as failure:
        features(words)
    assert why in failure.value.cause and isinstance(failure.value, (UsageError, NotFound))
    assert failure.value.remedy


# In a project -------------------------------------------------------------------------------------------------------

PROJECT = """
name: buyers
schema: main.shop
task: classification
data:
  source: orders.csv
  columns: {label: kept, event_time: at, numbers: [spent, price], id: id}
features:
  - {table: main.shop.daily, keys: {customer: buyer}, values: {spend: spent}}
train: {learner: linear}
gate: {champion: false}
"""


def write_project(folder: Path, project: str = PROJECT, rows: int = 300, create: str = CREATE) -> None:
    """Whether a buyer keeps what was ordered depends on what was known of the buyer alone."""
    features(create)
    spend = [
        f"{buyer},2024-01-0{day},2024-01-0{day}T12:00:00Z,{(buyer * 7 + day) % 20},x"
        for buyer in range(40)
        for day in range(1, 9)
    ]
    (folder / "spend.csv").write_text("\n".join(["customer,day,loaded,spend,plan", *spend]) + "\n")
    lw.features.write("main.shop.daily", "spend.csv")
    lines = ["id,buyer,at,price,kept"]
    for row in range(rows):
        buyer, day = row % 41, 2 + row // 41
        known = (buyer * 7 + day - 1) % 20  # of the day before: today's is known at noon
        lines.append(f"{row},{buyer},2024-01-0{day}T06:00:00Z,{row % 5},{'yes' if known > 9 else 'no'}")
    (folder / "orders.csv").write_text("\n".join(lines) + "\n")
    (folder / "project.yml").write_text(project)


def test_a_project_learns_from_what_was_known(folder: Path) -> None:
    write_project(folder)
    run = lw.run("project.yml")
    prepared = run.records["prepare"]
    assert isinstance(prepared, Prepared)
    joined = prepared.table
    assert joined.name == "main.shop.buyers_joined" and joined.rows == 300
    assert lw.history(str(joined))[0]["properties"]["features"] == "main.shop.daily@v1"
    (finding,) = [each for each in prepared.findings if each.name == "values_not_known"]
    assert finding.count == sum(row % 41 == 40 for row in range(300)) and "'spent'" in finding.detail
    assert run.report.metrics["accuracy"].value > 0.9
    page = Path(run.report.html).read_text(encoding="utf-8")
    assert "customer = buyer: spend as spent; the last day that was known (loaded) at each row’s time" in page
    assert "not older than 30 days" in page
    assert prepared.columns is not None and prepared.columns["numbers"] == ["spent", "price"]

    for table in ("buyers", "buyers_joined", "daily"):
        with pytest.raises(UsageError, match="is in use"):
            lw.sql(f"drop table main.shop.{table}")

    again = lw.run("project.yml")
    assert again.records["prepare"] == prepared and again.stages["prepare"].status == "skipped"
    new = "select 1::bigint customer, timestamptz '2025-01-01' as day, timestamptz '2025-01-01' as loaded"
    added = lw.sql(f"{new}, 1.5::double spend, 'x' plan")
    assert isinstance(added, pa.Table)
    lw.features.write("main.shop.daily", added)
    later = lw.run("project.yml")
    table = later.records["prepare"].table  # type: ignore[attr-defined]
    assert table.version == joined.version + 1
    assert lw.history(str(table))[0]["properties"]["features"] == "main.shop.daily@v2"


def test_a_version_of_the_values_may_be_pinned(folder: Path) -> None:
    write_project(folder, PROJECT.replace("main.shop.daily,", "main.shop.daily@v1,"))
    first = lw.stage("ingest", "project.yml", run="first")
    lw.features.write("main.shop.daily", "select 77 as customer, day, loaded, spend, plan from main.shop.daily limit 1")
    assert lw.stage("ingest", "project.yml", run="second").table == first.table  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("event_time: at, ", "", "data.columns.event_time names no column"),
        ("main.shop.daily", "main.shop.weekly", "there is no table main.shop.weekly"),
        ("{customer: buyer}", "{client: buyer}", "has no key 'client'"),
        ("{customer: buyer}", "{customer: who}", "has no column 'who', the key 'customer'"),
        ("{spend: spent}", "[spends]", "has no value 'spends'"),
        ("{spend: spent}", "{spend: price, plan: spent}", "two columns would be named 'price'"),
        ("numbers: [spent, price]", "numbers: [spends, price]", "has no column 'spends'"),
        ("columns:", "unlabeled: main.shop.more\n  columns:", "not joined to the rows of data.unlabeled"),
    ],
)
def test_lookups_of_a_project_that_cannot_be(folder: Path, before: str, after: str, why: str) -> None:
    assert before in PROJECT
    write_project(folder, PROJECT.replace(before, after), rows=20)
    with pytest.raises(LakewrightError) as failure:
        lw.stage("ingest", "project.yml", run="first")
    assert why in failure.value.cause and failure.value.remedy
