"""The notebooks under notebooks/databricks, run here cell by cell; and what Model Serving asks of a model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lakewright.targets.databricks import dbutils as stand_in
from platforms.everywhere import ROOT

NOTEBOOKS = ROOT / "notebooks" / "databricks"
HEADER, CELL, MAGIC = "# Databricks notebook source\n", "# COMMAND ----------", "# MAGIC "


def cells(name: str) -> list[str]:
    """The Python cells; others are Markdown."""
    text = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    found = [cell.strip("\n") for cell in text.removeprefix(HEADER).split(CELL)]
    for cell in found:
        lines = cell.splitlines()
        if any(line.startswith(MAGIC) for line in lines):
            assert lines[0] == f"{MAGIC}%md" and all(line.startswith(MAGIC) for line in lines), cell
    return [cell for cell in found if not cell.startswith(MAGIC)]


def run(name: str, monkeypatch: pytest.MonkeyPatch, **widgets: str) -> dict[str, Any]:
    """What the notebook's last cell leaves, with these values of its widgets."""
    monkeypatch.setattr(stand_in, "dbutils", stand_in.DbUtils())
    for widget, value in widgets.items():
        monkeypatch.setenv(f"LAKEWRIGHT_WIDGET_{widget.upper()}", value)
    scope: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(name):
        exec(compile(cell, f"{name}.py", "exec"), scope)
    return scope


def test_the_three_notebooks_run_here(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = project.read_text()
    project.write_text(re.sub(r"train:\n(  .*\n)+", "train: {learner: linear}\n", text))
    data = run("data", monkeypatch)
    assert sum(data["prepared"].splits.values()) == 300
    train = run("train", monkeypatch)
    assert train["decision"].passed and train["version"].aliases == ["challenger", "champion"]
    inference = run("inference", monkeypatch, text="the dog is here", input="main.demo.things")
    assert inference["answers"][0]["label"] == "animal"
    assert inference["scored"].rows == 300
    assert "300 rows → main.demo.things_predictions" in capsys.readouterr().out

    demanding = {"settings": "gate.minimum.accuracy=1.01", "run": "another"}
    run("data", monkeypatch, **demanding)
    train = run("train", monkeypatch, **demanding)
    assert not train["decision"].passed and train["version"] is None


def test_widgets_have_their_defaults_and_refuse_what_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    dbutils = stand_in.DbUtils()
    dbutils.widgets.text("epochs", "3")
    assert (dbutils.widgets.get("epochs"), dbutils.widgets.getAll()) == ("3", {"epochs": "3"})
    monkeypatch.setenv("LAKEWRIGHT_WIDGET_SIZE", "huge")
    with pytest.raises(ValueError, match="not one of small, large"):
        dbutils.widgets.dropdown("size", "small", ["small", "large"])
    with pytest.raises(ValueError, match="no widget"):
        dbutils.widgets.get("rows")
    with pytest.raises(TypeError, match="debugValue"):
        dbutils.jobs.taskValues.get(taskKey="gate", key="passed")
    with pytest.raises(stand_in.Exit, match="done"):
        dbutils.notebook.exit("done")


def test_files_of_this_machine(tmp_path: Path) -> None:
    fs = stand_in.DbUtils().fs
    fs.put(f"file:{tmp_path}/folder/a.txt", "one")
    with pytest.raises(FileExistsError):
        fs.put(f"{tmp_path}/folder/a.txt", "two")
    fs.cp(f"{tmp_path}/folder", f"{tmp_path}/copy", recurse=True)
    assert [(each.name, each.size) for each in fs.ls(f"{tmp_path}/copy")] == [("a.txt", 3)]
    assert fs.head(f"{tmp_path}/copy/a.txt") == "one"


def test_model_serving_answers_the_golden_rows(greeter: Path, tmp_path: Path) -> None:
    """MLflow's scoring server, which Model Serving runs, asked as its endpoints are: `dataframe_split`."""
    import mlflow.pyfunc
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    from lakewright.model import pyfunc

    samples = json.loads((greeter / "samples.json").read_text())
    golden_ones = samples["predictions"]["onnx"]
    pyfunc.save_model(greeter, tmp_path / "model", samples["rows"])
    server = TestClient(init(mlflow.pyfunc.load_model(str(tmp_path / "model"))))
    columns = [*samples["rows"][0]]
    data = [[row[column] for column in columns] for row in samples["rows"]]
    answer = server.post("/invocations", json={"dataframe_split": {"columns": columns, "data": data}})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == len(golden_ones) > 0
    for given, golden in zip(answer.json()["predictions"], golden_ones, strict=True):
        assert {**given, "confidence": None, "probabilities": None} == {
            **golden,
            "confidence": None,
            "probabilities": None,
        }
        assert given["confidence"] == pytest.approx(golden["confidence"], abs=1e-6)
    assert (
        server.post("/invocations", json={"dataframe_split": {"columns": ["nothing"], "data": [[1]]}}).status_code
        == 400
    )
