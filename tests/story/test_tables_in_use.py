"""What runs and models name stays, or is said to be gone: drop, vacuum, --erase after a real run."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakewright as lw
from lakewright.errors import NotFound
from projects import Call, T

MODEL = f"models:/{T}/1"


def test_a_table_in_use_is_dropped_only_when_told_so(ran: Path, call: Call) -> None:
    run = lw.runs("project.yml")[0].id
    refused = call("sql", f"drop table {T}")
    assert (
        refused.code == 2 and f"run {run}" in refused.err and MODEL in refused.err and "--even-if-used" in refused.err
    )
    assert call("sql", f"drop table {T}_features").code == 2
    assert lw.table(T)["version"] == 0
    dropped = call("sql", f"drop table {T}", "--even-if-used", "--json")
    assert dropped.code == 0 and dropped.json["did"] == "dropped" and dropped.json["version"] is None
    assert T not in [each["full_name"] for each in lw.tables()]
    lw.sql("create table main.h.free as select 1 as x")
    assert call("sql", "drop table main.h.free").out == "main.h.free: dropped\n"


def test_vacuum_leaves_the_versions_of_runs_and_models(ran: Path, call: Call) -> None:
    run = lw.runs("project.yml")[0].id
    assert call("sql", f"delete from {T} where n < 10").out == f"{T}@v1: deleted, 10 rows deleted\n"
    assert call("sql", f"delete from {T} where n < 20").code == 0
    vacuumed = call("sql", f"vacuum {T} retain 0 hours")
    assert vacuumed.code == 0 and "1 files removed" in vacuumed.out
    kept = next(line for line in vacuumed.out.splitlines() if line.startswith("kept v0"))
    assert f"run {run}" in kept and MODEL in kept
    assert lw.table(f"{T}@v0")["rows"] == 60
    with pytest.raises(NotFound):
        lw.sql(f"select * from {T}@v1")
    assert lw.run("project.yml").exit_code == 0  # the champion's table is there to compare with


def test_what_depends_on_erased_rows_is_said_to_be_so(ran: Path, call: Call) -> None:
    run = lw.runs("project.yml")[0].id
    erased = call("sql", f"delete from {T} where text like '%number 7 %'", "--erase")
    assert erased.code == 0 and "1 rows deleted" in erased.out
    assert f"cannot be made again: run {run}" in erased.out and f"cannot be made again: {MODEL}" in erased.out
    assert all("number 7" not in str(commit) for commit in lw.history(T))
    shown = call("runs", "show", run)
    assert f"rows of {T} were erased with v1" in shown.out
    assert lw.models()[0].tags["lakewright.not_rebuildable"] == f"rows of {T} were erased in v1"
    read = call("sql", f"select * from {T}@v0")
    assert read.code == 1 and "rows of it were erased with v1" in read.err
    plan = call("plan")
    assert "erased" in plan.out + plan.err
    again = call("sql", f"delete from {T} where text like '%number 7 %'", "--erase", "--json")
    assert again.code == 0 and again.json["deleted"] == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["select 1", "--erase"], "--erase needs a statement that changes rows"),
        ([f"optimize {T}", "--erase"], "--erase needs a statement that changes rows"),
        ([f"delete from {T}", "--even-if-used"], "--even-if-used needs drop table"),
        ([f"vacuum {T}", "--even-if-used"], "--even-if-used needs drop table"),
        ([f"delete from {T}", "--once", "x"], "'delete' statements are not supported here"),
        ([f"insert into {T} from {T}", "--once", "x", "--erase"], "--once goes with none"),
    ],
)
def test_an_option_belongs_to_its_statement(ran: Path, call: Call, arguments: list[str], reason: str) -> None:
    refused = call("sql", *arguments)
    assert refused.code == 2 and reason in refused.err
    assert lw.table(T)["version"] == 0


def test_spark_says_that_it_does_not_change_rows(ran: Path, call: Call) -> None:
    Path("profiles.yml").write_text(
        "default: s\nprofiles: {s: {sql: spark, workers: {name: spark, url: 'spark://x:7077'}}}"
    )
    refused = call("sql", f"delete from {T}")
    assert refused.code == 2 and "do not run on Spark" in refused.err and "sql: duckdb" in refused.err
    assert call("sql", f"optimize {T}").code == 0
