"""A search as one job of each platform: the schemas take it, it is started by name, and `check` says what stops it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job

import lakewright as lw
from conftest import one_object
from lakewright import automl, tune
from lakewright.errors import UsageError
from lakewright.plugins import TARGETS
from lakewright.targets import Execution, Problem
from lakewright.targets.files import write
from lakewright.targets.owned import TAG
from platforms.databricks.given import SMALL as DATABRICKS
from platforms.databricks.work import check_job
from platforms.everywhere import Everywhere
from platforms.one_step import PLATFORMS, Dry, deployed, noticed, write_banking77
from platforms.sagemaker.given import DOCKERFILE
from projects import Call, write_linear_project

SPACE = "{train.learning_rate: {loguniform: [1.0e-5, 1.0e-3]}}"
SECTION = f"tune={{minutes: 60, space: {SPACE}}}"


@pytest.fixture
def banking77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_banking77(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def about_the_search(name: str, *settings: str, **target: Any) -> list[Problem]:
    found = noticed(name, *settings, **target)
    return [problem for problem in found if "search" in problem.cause or "tune" in problem.cause + problem.where]


def test_databricks_has_a_job_of_one_task(banking77: Path) -> None:
    found = deployed("databricks", SECTION, "automl.minutes=5")
    jobs = found.files["databricks.yml"]["resources"]["jobs"]
    assert [*jobs] == ["stages", "tune", "automl"]
    assert [job["name"] for job in jobs.values()] == [f"main.bank.banking77{more}" for more in ("", " tune", " automl")]
    for search in ("tune", "automl"):
        check_job(jobs[search])
        Job.from_dict(jobs[search])  # refuses unknown fields and words
        (task,) = jobs[search]["tasks"]
        wheel = task["python_wheel_task"]["parameters"]
        assert wheel[:2] == ["stage", search] and "--run" not in wheel and SECTION in wheel
        assert jobs[search]["timeout_seconds"] == 300 * 60
    assert [*deployed("databricks").files["databricks.yml"]["resources"]["jobs"]] == ["stages"]


def test_sagemaker_has_a_pipeline_of_one_job(banking77: Path) -> None:
    found = deployed("sagemaker", SECTION)
    created = [request.body for request in found.requests if request.operation == "sagemaker.create_pipeline"]
    assert created[0]["PipelineName"] == "main-bank-banking77"
    assert created[1]["PipelineName"].startswith("main-bank-banking77-tune-")  # no project's own name
    assert json.loads(created[1]["PipelineDefinition"]) == found.files["tune.json"]
    runner = Dry(Path("/"), DOCKERFILE, banking77 / "ran", {})
    assert runner.execute(found.files["tune.json"], "a1b2c3d4e5f6").steps == {"tune": "Succeeded"}
    (command,), (request,) = runner.commands, runner.requests
    assert command[:5] == ["python", "-m", "lakewright.targets.sagemaker.container", "stage", "tune"]
    assert "--run" not in command and command[-1] == SECTION
    machine = request["ProcessingResources"]["ClusterConfig"]
    assert (machine["InstanceType"], machine["InstanceCount"]) == ("ml.g5.xlarge", 1)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 5 * 3600}


def test_azure_has_a_pipeline_of_one_step(banking77: Path, tmp_path: Path) -> None:
    from azure.ai.ml import load_job

    write(deployed("azureml", SECTION), tmp_path / "sent")
    job = load_job(tmp_path / "sent" / "tune.yml")
    assert job.tags[TAG] == "main.bank.banking77 tune"  # not among the pipeline's runs
    (step,) = job.jobs.values()
    assert step.command.startswith("lakewright stage tune --project project.yml --profile azureml --set ")
    assert step.compute == "gpu" and step.limits.timeout == 300 * 60
    assert (
        tmp_path / "sent" / yaml.safe_load((tmp_path / "sent" / "tune.yml").read_text())["jobs"]["tune"]["code"]
    ).is_dir()
    assert step.environment_variables["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_what_stops_a_search_is_a_problem(name: str, banking77: Path) -> None:
    assert about_the_search(name, SECTION) == []
    (long,) = about_the_search(name, f"tune={{minutes: 400, space: {SPACE}}}")
    assert "tune.minutes is 400, and the platform ends the job after 300 minutes" in long.cause
    (wrong,) = about_the_search(name, f"tune={{metric: rmse, space: {SPACE}}}")
    assert "has no metric 'rmse'" in wrong.cause and wrong.where == "project.yml" and wrong.kind == "error"
    lacks: dict[str, Any] = {
        "databricks": {"package": "lakewright[train]==0.1.0"},
        "azureml": {"environment": {"packages": ["lakewright[train]", "optional-tables"]}},
    }
    if name in lacks:
        (package,) = about_the_search(name, SECTION, **lacks[name])
        assert "optuna" in package.cause and package.remedy.startswith("write the extra: lakewright[tables,train]")


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_the_command_starts_it_there(name: str, banking77: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = TARGETS.find(name), []

    def start(project: Any, profile: Any, values: Any = None, job: str | None = None) -> Execution:
        seen.append((project.automl is not None, job))
        return Execution("e-1", "running", "2026-01-01")

    monkeypatch.setattr(type(target), "start", staticmethod(start))
    monkeypatch.setattr(type(target), "deploy", staticmethod(lambda *_: iter(())))
    monkeypatch.setattr("lakewright.targets.remote.problems", lambda *_: [])
    ended = call("tune", "--profile", name, "--set", SECTION)
    assert ended.code == 0, ended.err
    assert f"started on {name}: tune e-1" in ended.out and "s3://our-lake/lakewright/tune" in ended.out
    assert automl.start("project.yml", profile=name).id == "e-1"
    assert seen == [(False, "tune"), (True, "automl")]
    with pytest.raises(UsageError, match="no section tune"):
        tune.start("project.yml", profile=name)
    with pytest.raises(UsageError, match="this search would run here"):
        tune.search("project.yml", settings=[SECTION], profile=name)
    refused = call("tune", "--profile", name, "--set", SECTION, "--out", "best.yml")
    assert refused.code == 2 and "--out writes the best project here" in refused.err


def test_a_target_without_searches_says_so(banking77: Path) -> None:
    with pytest.raises(UsageError, match="the target local has no job for tune"):
        tune.start("project.yml", settings=[SECTION])


def test_a_stage_runs_the_search_whatever_the_target(tmp_path: Path, call: Call) -> None:
    """As a platform's machine does."""
    project = write_linear_project(tmp_path)
    section = "tune={trials: 2, space: {train.C: {loguniform: [0.1, 10]}}}"
    profiles = {"local": {}, "prod": {"target": DATABRICKS, "workspace": str(tmp_path / "there")}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}))
    ended = call("stage", "tune", "--project", str(project), "--profile", "prod", "--set", section)
    assert ended.code == 0, ended.err
    record = one_object(ended.out)
    assert record["search"] == "tune" and record["metric"] == "macro_f1" and Path(record["project"]).is_file()
    assert call("stage", "tune", "--project", str(project), "--run", "x", "--set", section).code == 2
    without = call("stage", "train", "--project", str(project))
    assert without.code == 2 and "belongs to a run" in without.err


@pytest.mark.slow
def test_another_machine_goes_on_with_the_trials(everywhere: Everywhere, tmp_path: Path) -> None:
    """Of a search that was killed: what it left is its trials, not its end."""
    everywhere.profile("away", {"name": "local"})
    section = "tune={trials: TRIALS, space: {train.C: {loguniform: [0.1, 10]}}}"
    trials = []
    for machine, most in (("a", 2), ("b", 3)):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
            if machine == "a":  # killed before the end, when everything is sent
                environment.setattr("lakewright.tuning.search._Search._verdict", killed)
            settings = [section.replace("TRIALS", str(most))]
            if machine == "a":
                with pytest.raises(SystemExit):
                    lw.stage("tune", everywhere.project, settings=settings, profile="away")
            else:
                lw.stage("tune", everywhere.project, settings=settings, profile="away")
        (home,) = (tmp_path / machine).glob("lakewright/*/tune/*")
        trials.append([json.loads(path.read_text()) for path in sorted(home.glob("trials/*.json"))])
    assert len(trials[0]) == 2 and len(trials[1]) == 3
    assert trials[1][:2] == trials[0]  # to the second that they took


def killed(*_: Any) -> None:
    raise SystemExit(137)
