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
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Deployment, Execution, Problem
from lakewright.targets.checks import problems
from lakewright.targets.files import write
from lakewright.targets.owned import TAG
from platforms.databricks.given import SMALL as DATABRICKS
from platforms.databricks.work import check_job
from platforms.everywhere import ROOT, Everywhere
from platforms.sagemaker.given import DOCKERFILE
from platforms.sagemaker.given import TARGET as SAGEMAKER
from platforms.sagemaker.runner import Runner
from projects import Call, write_linear_project

TARGETS_WITH_IT: dict[str, dict[str, Any]] = {
    "databricks": {**DATABRICKS, "package": "lakewright[tables,train]==0.1.0", "timeout_minutes": 300},
    "sagemaker": {**SAGEMAKER, "training": {"instance_type": "ml.g5.xlarge", "hours": 5}},
    "azureml": {
        "name": "azureml",
        "subscription": "00000000-0000-0000-0000-000000000000",
        "resource_group": "our-group",
        "workspace": "our-workspace",
        "gpu": {"name": "gpu", "size": "Standard_NC24ads_A100_v4"},
        "environment": {"packages": ["lakewright[tables, train]==0.1.0"], "variables": {"HF_HUB_OFFLINE": "1"}},
        "timeout_minutes": 300,
    },
}
SPACE = "{train.learning_rate: {loguniform: [1.0e-5, 1.0e-3]}}"
SECTION = f"tune={{minutes: 60, space: {SPACE}}}"


@pytest.fixture
def banking77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project.yml").write_text((ROOT / "examples" / "banking77" / "project.yml").read_text())
    monkeypatch.chdir(tmp_path)
    place = {"workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org"}
    profiles = {name: {"target": target, **place} for name, target in TARGETS_WITH_IT.items()}
    Path("profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}))
    return tmp_path


def deployed(name: str, *settings: str) -> Deployment:
    project, profile = load_project("project.yml", settings), load_profile(name)
    found: Deployment = TARGETS.find(name).deployment(project, profile)
    return found


def noticed(name: str, *settings: str, **target: Any) -> list[Problem]:
    profiles = yaml.safe_load(Path("profiles.yml").read_text())
    profiles["profiles"][name]["target"] |= target
    Path("profiles.yml").write_text(yaml.safe_dump(profiles))
    found = problems(load_project("project.yml", settings), load_profile(name))
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


class Dry(Runner):
    """Every request is made and checked against botocore's model, and nothing is run."""

    def __post_init__(self) -> None:
        self.running = []
        self.commands: list[list[str]] = []
        self.requests: list[dict[str, Any]] = []

    def _request(self, step: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(super()._request(step))
        return self.requests[-1]

    def _container(self, step: Any, opt: Any, command: Any, environment: Any) -> None:
        self.commands.append(command)

    def _fetch(self, uri: str, folder: Path, empty: bool = False) -> None:
        pass


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


def test_azure_has_a_command_job(banking77: Path, tmp_path: Path) -> None:
    from azure.ai.ml import load_job

    write(deployed("azureml", SECTION), tmp_path / "sent")
    job = load_job(tmp_path / "sent" / "tune.yml")
    assert job.command.startswith("lakewright stage tune --project project.yml --profile azureml --set ")
    assert job.compute == "gpu" and job.limits.timeout == 300 * 60
    assert job.tags[TAG] == "main.bank.banking77 tune"  # not among the pipeline's runs
    assert Path(tmp_path / "sent" / job.code).is_dir() or Path(str(job.code)).is_dir()
    assert job.environment_variables["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("name", sorted(TARGETS_WITH_IT))
def test_what_stops_a_search_is_a_problem(name: str, banking77: Path) -> None:
    assert noticed(name, SECTION) == []
    (long,) = noticed(name, f"tune={{minutes: 400, space: {SPACE}}}")
    assert "tune.minutes is 400, and the platform ends the job after 300 minutes" in long.cause
    (wrong,) = noticed(name, f"tune={{metric: rmse, space: {SPACE}}}")
    assert "has no metric 'rmse'" in wrong.cause and wrong.where == "project.yml" and wrong.kind == "error"
    lacks: dict[str, Any] = {
        "databricks": {"package": "lakewright[train]==0.1.0"},
        "azureml": {"environment": {"packages": ["lakewright[train]", "optional-tables"]}},
    }
    if name in lacks:
        (package,) = noticed(name, SECTION, **lacks[name])
        assert "optuna" in package.cause and package.remedy.startswith("write the extra: lakewright[tables,train]")


@pytest.mark.parametrize("name", sorted(TARGETS_WITH_IT))
def test_the_command_starts_it_there(name: str, banking77: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = TARGETS.find(name), []

    def start(project: Any, profile: Any, values: Any = None, search: str | None = None) -> Execution:
        seen.append((project.automl is not None, search))
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
    with pytest.raises(UsageError, match="the target local runs no searches"):
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
