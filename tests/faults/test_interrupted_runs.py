"""However a run ends, what is told of it is true: in run.json, in MLflow, by `lakewright runs list` and `compare`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from conftest import sentences, small_project, write_csv
from lakewright import pipeline
from lakewright.api import compare
from lakewright.api.places import opener
from lakewright.errors import DataError, LakewrightError
from lakewright.plugins import TARGETS
from lakewright.system import files
from lakewright.targets.remote import follow
from lakewright.workspace.tracking import Tracking


class Killed(BaseException):
    """Nothing of Lakewright's catches it, as nothing catches kill -9."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture
def project(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    shutil.copy(mlflow_template, tmp_path / ".lakewright" / "mlflow.db")
    write_csv(tmp_path / "things.csv", sentences(60))
    path = tmp_path / "project.yml"
    values = {**small_project(tmp_path), "train": {"learner": "linear"}, "gate": {"minimum": {"accuracy": 0.1}}}
    path.write_text(yaml.safe_dump(values))
    return path


def listed(project: Path) -> list[tuple[str, str]]:
    """Status and why of each run, as `lakewright runs list` shows them."""
    profile = lw.load_profile()
    executions = TARGETS.find("local").executions(lw.load_project(project), profile, opener(profile))
    return [(each.status, each.why) for each in executions]


def in_mlflow(project: Path) -> list[Any]:
    """The project's runs, without those of their stages."""
    with lw.Workspace.open(lw.load_profile()).tracking.client() as client:
        experiment = client.get_experiment_by_name("main.demo.things")
        found = client.search_runs([experiment.experiment_id])
    return [run for run in found if "mlflow.parentRunId" not in run.data.tags]


def test_a_run_killed_before_it_was_closed_is_closed_by_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Tracking, "finish", killed)
        lw.run(project)
    (dead,) = in_mlflow(project)
    assert dead.info.status == "RUNNING"
    ((status, why),) = listed(project)
    assert status == "stopped" and "no process works on it" in why
    assert lw.plan(project)[-1].skip

    closed = lw.run(project)
    assert closed.run_id == dead.info.run_id and {stage.status for stage in closed.stages.values()} == {"skipped"}
    (run,) = in_mlflow(project)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == closed.report.metrics["accuracy"].value
    assert listed(project) == [("done", "")]

    monkeypatch.setattr(Tracking, "finish", killed)  # there is nothing left to close
    assert lw.run(project).run_id == closed.run_id
    monkeypatch.undo()
    monkeypatch.chdir(project.parent)
    lw.run(project, settings=["train.C=0.01"])
    assert {run["run_id"] for run in compare()["runs"]} >= {closed.run_id}


def test_killed_again_and_again_it_is_one_run_that_ends_done(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt dies before a file is in its place, three files later than the one before it."""
    write, left, attempts = files.write_whole, 0, 0

    def dies(path: Path, text: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        write(path, text)

    for module in (
        "lakewright.workspace.ledger",
        "lakewright.pipeline.skipping",
        "lakewright.workspace.run_folder",
    ):
        monkeypatch.setattr(f"{module}.write_whole", dies)
    ended = None
    while ended is None:
        left, attempts = 3 * attempts, attempts + 1
        try:
            ended = lw.run(project)
        except Killed:
            assert attempts < 20
            statuses = [status for status, _ in listed(project)]
            assert statuses in ([], ["stopped"])
    assert attempts > 3 and listed(project) == [("done", "")]
    (run,) = in_mlflow(project)
    assert (run.info.status, run.info.run_id) == ("FINISHED", ended.run_id)
    assert set(pipeline.records_of(lw.Workspace.open(lw.load_profile()), ended.run_id)) == {
        stage.name for stage in pipeline.STAGES
    }


def test_a_run_that_is_worked_on_is_running_and_others_of_the_project_are_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_record", killed)
        for setting in ("train.C=1", "train.C=2"):
            with pytest.raises(Killed):
                lw.run(project, settings=[setting])
    opened = lw.Workspace.open(lw.load_profile())
    assert [status for status, _ in listed(project)] == ["stopped", "stopped"]
    with opened.lock("main.demo.things"):
        assert [status for status, _ in listed(project)] == ["running", "stopped"]
    target = TARGETS.find("local")
    newest, _ = target.executions(lw.load_project(project), opened.profile, lambda: opened)
    *_, last = follow(target, newest, lw.load_project(project), opened.profile, lambda: opened, lambda *_: None)
    assert last.status == "stopped"  # where it would have waited for ever


def test_an_interrupted_run_is_killed_in_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pipeline, "_record", stops)
        lw.run(project)
    (run,) = in_mlflow(project)
    assert run.info.status == "KILLED"
    assert lw.run(project).run_id == run.info.run_id
    assert listed(project) == [("done", "")]


def test_a_failure_is_told_though_mlflow_is_away_as_well(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise LakewrightError("MLflow cannot be reached", "start it")

    def fails(*_: object) -> None:
        raise DataError("the table has no rows", "add some")

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "finish", away)
        patched.setattr(pipeline, "_record", fails)
        with pytest.raises(DataError, match="the table has no rows"):
            lw.run(project)
    assert listed(project) == [("failed", "")]
    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "finish", away)
        with pytest.raises(LakewrightError, match="cannot be reached") as failure:
            lw.run(project)  # all is done but what MLflow is to be told: nothing is lost in silence
    assert failure.value.log is not None and Path(failure.value.log).exists()
    assert listed(project)[0][0] == "stopped"
    assert lw.run(project).error is None
    assert listed(project) == [("done", "")]
    (run,) = in_mlflow(project)
    assert run.info.status == "FINISHED" and run.data.metrics
    assert json.loads((project.parent / ".lakewright/runs" / run.info.run_id / "run.json").read_text())["status"] == (
        "done"
    )
