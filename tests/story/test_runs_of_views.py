"""A run of a view's rows: what it records, when it is skipped, and what stays because the view names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lakewright as lw
from lakewright.errors import UsageError
from projects import Call, write_linear_project

ROWS, NAMES, VIEW = "main.h.texts", "main.h.names", "main.h.training"
TEXT = f"select t.text, n.label from {ROWS} t join {NAMES} n on n.code = t.label"


@pytest.fixture
def of_view(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project beside a view of two tables."""
    (tmp_path / ".lakewright").mkdir()
    shutil.copy(mlflow_template, tmp_path / ".lakewright" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    project = write_linear_project(tmp_path)
    lw.sql(f"create table {ROWS} as select * from csv.`m.csv`")
    lw.sql(f"create table {NAMES} as select distinct label as code, upper(label) as label from {ROWS}")
    lw.sql(f"create view {VIEW} as {TEXT}")
    return project


@pytest.mark.parametrize("setting", [f"data.source={VIEW}", f"data.table={VIEW}"])
def test_a_run_records_the_views_text_and_versions_and_is_skipped_while_they_are_the_same(
    of_view: Path, call: Call, setting: str
) -> None:
    settings = [setting, *([] if "source" in setting else ["data.source=null"])]
    rows = f"{VIEW}_rows" if "table" in setting else "main.h.t"
    assert lw.run("project.yml", settings=settings).exit_code == 0
    run = lw.runs("project.yml")[0].id
    shown = call("runs", "show", run, "--json").json
    assert shown["stages"]["ingest"]["made"] == f"{rows}@v0, of {VIEW}, {NAMES}@v0, {ROWS}@v0"
    assert lw.models()[0].tags["lakewright.reads"] == f"{NAMES}@v0, {ROWS}@v0"
    (report,) = Path(".lakewright").glob(f"runs/{run}/**/report.html")
    assert f"{ROWS}@v0" in report.read_text() and f"join {NAMES}" in report.read_text()

    def ingest_is_skipped() -> bool:
        return lw.plan("project.yml", settings=settings)[0].skip

    assert ingest_is_skipped()
    lw.sql(f"create or replace view {VIEW} as {TEXT} where true")
    assert not ingest_is_skipped()
    lw.sql(f"create or replace view {VIEW} as {TEXT}")
    assert ingest_is_skipped()
    lw.sql(f"insert into {NAMES} values ('none', 'NONE')")
    assert not ingest_is_skipped()


def test_what_a_view_names_stays(of_view: Path, call: Call) -> None:
    lw.sql(f"create view main.h.first as select * from {ROWS}@v0")
    refused = call("sql", f"drop table {ROWS}")
    assert refused.code == 2
    assert f"view {VIEW} ({ROWS})" in refused.err and "view main.h.first (v0)" in refused.err
    made = call("sql", f"create view main.h.over as from {VIEW}")
    assert made.out.startswith("main.h.over: made\nit reads ") and VIEW in made.out
    assert "view main.h.over" in call("sql", f"drop view {VIEW}").err
    lw.sql(f"delete from {ROWS} where text like '%number 1 %'")
    vacuumed = call("sql", f"vacuum {ROWS} retain 0 hours")
    assert "kept v0: view main.h.first" in vacuumed.out
    assert lw.sql("select count(*) from main.h.first").to_pylist()[0] == {"count_star()": 60}
    assert call("sql", f"drop table {ROWS}", "--even-if-used").code == 0
    assert call("sql", "drop view main.h.over").out == "main.h.over: dropped\n"


def test_tables_says_what_a_view_is(of_view: Path, call: Call) -> None:
    listed = {each["full_name"]: each for each in call("tables", "list", "--json").json["tables"]}
    assert listed[VIEW]["table_type"] == "VIEW"
    shown = call("tables", "show", VIEW, "--limit", "2", "--json").json
    assert shown["view_definition"] == TEXT and sorted(shown["reads"]) == [f"{NAMES}@v0", f"{ROWS}@v0"]
    assert [each["name"] for each in shown["columns"]] == ["text", "label"] and len(shown["first_rows"]) == 2
    assert f"view_definition: {TEXT}" in call("tables", "show", VIEW).out
    history = call("tables", "history", VIEW)
    assert history.code == 2 and f"{VIEW} is a view, not a table" in history.err
    assert call("features", "list").code == 0
    with pytest.raises(UsageError, match="is a view"):
        lw.export(VIEW, "rows.jsonl")
