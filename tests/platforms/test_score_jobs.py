"""A scoring as one job of each platform, `target.score`: the schemas take it, a schedule starts it, `check` says what
is wrong with it, and what was sent is executed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import randint
from threading import Thread
from typing import Any
from uuid import uuid4

import boto3
import pyarrow as pa
import pytest
import yaml
from databricks.bundles.jobs import Job

import lakewright as lw
from clusters import why_not
from conftest import one_object, sentences
from lakewright.api.places import opener
from lakewright.errors import NotFound, ProfileError, UsageError
from lakewright.plugins import TARGETS
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Execution
from lakewright.targets.files import write
from lakewright.targets.owned import TAG
from lakewright.workspace import Workspace
from platforms.databricks.work import check_job
from platforms.everywhere import Everywhere
from platforms.one_step import PLATFORMS, Dry, deployed, noticed, write_banking77
from platforms.sagemaker.given import ACCOUNT, DOCKERFILE, on_moto
from platforms.sagemaker.runner import Runner, end, refusals
from projects import Call, write_linear_project
from small_parts import small_parts

LETTERS = "main.bank.letters"
SCORE: dict[str, Any] = {"input": LETTERS, "keep": ["branch"], "columns": {"text": "body"}}
SCHEDULES: dict[str, dict[str, Any]] = {
    "databricks": {"schedule": {"quartz": "0 30 4 * * ?", "timezone": "Europe/Berlin"}},
    "sagemaker": {"schedule": "cron(30 4 * * ? *)", "time_zone": "Europe/Berlin"},
    "azureml": {"schedule": "30 4 * * *", "time_zone": "W. Europe Standard Time"},
}
every_platform = pytest.mark.parametrize("name", sorted(PLATFORMS))


@pytest.fixture
def banking77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_banking77(tmp_path, {name: {"score": SCORE | schedule} for name, schedule in SCHEDULES.items()})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_target(name: str, **target: Any) -> None:
    noticed(name, **target)


def test_databricks_has_a_job_of_one_task(banking77: Path) -> None:
    jobs = deployed("databricks").files["databricks.yml"]["resources"]["jobs"]
    assert [*jobs] == ["stages", "score"]
    score = jobs["score"]
    check_job(score)
    Job.from_dict(score)  # refuses unknown fields and words
    assert score["name"] == "main.bank.banking77 score"
    assert score["schedule"] == {
        "quartz_cron_expression": "0 30 4 * * ?",
        "timezone_id": "Europe/Berlin",
        "pause_status": "UNPAUSED",
    }
    (task,) = score["tasks"]
    words = task["python_wheel_task"]["parameters"]
    place = "/Workspace/Shared/lakewright/main.bank.banking77/project.yml"
    assert words == ["stage", "score", "--project", place, "--profile", "databricks"]  # serverless: one machine

    # Its cluster's Spark are the workers, as they are of prepare, on machines without a GPU
    set_target("databricks", cluster={"node_type": "i3.xlarge", "gpu_node_type": "g5.xlarge"})
    score = deployed("databricks").files["databricks.yml"]["resources"]["jobs"]["score"]
    check_job(score)
    (task,) = score["tasks"]
    assert task["python_wheel_task"]["parameters"][-2:] == ["--workers", "databricks"]
    assert task["job_cluster_key"] == "stages" and len(score["job_clusters"]) == 1


def test_sagemaker_has_a_pipeline_of_one_job_and_its_schedule(banking77: Path) -> None:
    set_target("sagemaker", processing={"count": 3, "hours": 2})
    found = deployed("sagemaker")
    bodies = {request.body.get("PipelineName", request.operation): request.body for request in found.requests}
    (name,) = [name for name in bodies if name.startswith("main-bank-banking77-score-")]
    assert json.loads(bodies[name]["PipelineDefinition"]) == found.files["score.json"]
    runner = Dry(Path("/"), DOCKERFILE, banking77 / "ran", {})
    assert runner.execute(found.files["score.json"], "a1b2c3d4e5f6").steps == {"score": "Succeeded"}
    command, *others = runner.commands
    assert others == [command, command]
    container = ["python", "-m", "lakewright.targets.sagemaker.container"]
    assert command == [*container, "stage", "score", "--project", "project.yml", "--profile", "sagemaker"]
    (request,) = runner.requests
    machine = request["ProcessingResources"]["ClusterConfig"]
    assert (machine["InstanceType"], machine["InstanceCount"]) == ("ml.m6i.xlarge", 3)
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 2 * 3600}

    schedule = bodies["scheduler.create_schedule"]
    pipeline = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:pipeline/{name}"
    assert schedule["Target"]["Arn"] == pipeline and schedule["ScheduleExpression"] == "cron(30 4 * * ? *)"
    assert schedule["Target"]["RoleArn"] == PLATFORMS["sagemaker"]["role"]
    for operation in ("CreateSchedule", "UpdateSchedule"):
        # botocore adds a token itself
        assert refusals("scheduler", operation, {**schedule, "ClientToken": "0" * 32}) == ""
    assert "Mode" in refusals("scheduler", "CreateSchedule", {**schedule, "FlexibleTimeWindow": {"Mode": "NEVER"}})
    own = f"arn:aws:iam::{ACCOUNT}:role/lakewright-schedule"
    set_target("sagemaker", score={"input": LETTERS, "schedule": "rate(1 day)", "role": own})
    (schedule,) = [each.body for each in deployed("sagemaker").requests if "schedule" in each.operation]
    assert schedule["Target"]["RoleArn"] == own and schedule["ScheduleExpressionTimezone"] == "UTC"


def test_the_schedule_of_a_long_name_is_one_that_the_api_takes(banking77: Path) -> None:
    Path("project.yml").write_text(Path("project.yml").read_text().replace("name: banking77", f"name: {'b' * 80}"))
    (schedule,) = [each.body for each in deployed("sagemaker").requests if "schedule" in each.operation]
    assert refusals("scheduler", "CreateSchedule", {**schedule, "ClientToken": "0" * 32}) == ""


def test_azure_has_a_pipeline_of_one_step_and_its_schedule(banking77: Path, tmp_path: Path) -> None:
    from azure.ai.ml import load_job
    from azure.ai.ml.entities._load_functions import load_schedule

    set_target("azureml", prepare_instances=3)
    sent = tmp_path / "sent"
    write(deployed("azureml"), sent)
    job = load_job(sent / "score.yml")
    assert job._validate().passed and job.tags[TAG] == "main.bank.banking77 score"  # not among the pipeline's runs
    (step,) = job.jobs.values()
    stage = "lakewright stage score --project project.yml --profile azureml"
    assert step.command == f"python -m lakewright.workers.standalone {stage}"
    assert step.compute == "cpu" and step.limits.timeout == 300 * 60
    assert step.resources.instance_count == 3 and step.distribution.process_count_per_instance == 1
    profiles = yaml.safe_load((sent / "code" / "profiles.yml").read_text())["profiles"]
    assert profiles["azureml"]["target"]["score"]["input"] == LETTERS  # what the step reads
    schedule = load_schedule(sent / "score-schedule.yml")
    assert schedule.name == "main-bank-banking77-score" and schedule.trigger.expression == "30 4 * * *"
    (step,) = schedule.create_job.jobs.values()
    step._component = "azureml:score:1"  # as if it were registered
    properties = schedule._to_rest_object().serialize()["properties"]  # which azure-ai-ml refuses for other jobs
    assert properties["trigger"]["timeZone"] == "W. Europe Standard Time"
    assert properties["action"]["jobDefinition"]["settings"]["force_rerun"]  # the same step each time, and new rows

    set_target("azureml", prepare_instances=1, score={"input": LETTERS})
    write(deployed("azureml"), tmp_path / "alone")
    (step,) = load_job(tmp_path / "alone" / "score.yml").jobs.values()
    assert step.command == stage and step.resources is None
    assert not (tmp_path / "alone" / "score-schedule.yml").exists()


@every_platform
def test_a_target_without_it_has_no_such_job(name: str, banking77: Path) -> None:
    set_target(name, score=None)
    found = deployed(name)
    assert "score" not in [file.partition(".")[0] for file in found.files]
    assert not [request for request in found.requests if "score" in str(request.body.get("name", ""))]


@every_platform
@pytest.mark.parametrize(
    ("score", "at", "said"),
    [
        ({"input": "letters"}, "input", "'letters' is not the name of a table"),
        ({"input": f"{LETTERS}@v3"}, "input", "score.input is pinned to version 3"),
        ({"output": "predictions"}, "output", "'predictions' is not the name of a table"),
        ({"output": LETTERS}, "output", "score.output is the table that is scored"),
        ({"model": "champion"}, "model", "'champion' names no model version"),
        ({"model": "models:/main.bank.banking77"}, "model", "names no model version"),
        ({"model": "models/local"}, "model", "no path that the job's machines see"),
        ({"model": "models:/main.bank.banking77/3"}, "", ""),
        ({"model": "/Volumes/main/bank/model"}, "", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    name: str, score: dict[str, Any], at: str, said: str, banking77: Path
) -> None:
    found = [each for each in noticed(name, score={**SCORE, **score}) if "score" in each.cause]
    assert [each.kind for each in found] == (["error"] if said else []), found
    for each in found:
        line = int(each.where.partition(":")[2])
        assert said in each.cause and each.remedy
        assert Path("profiles.yml").read_text().splitlines()[line - 1].strip().startswith(f"{at}:")


@pytest.mark.parametrize(
    ("name", "schedule", "said"),
    [
        ("sagemaker", "cron(30 4 * * *)", "has 5 fields, and EventBridge Scheduler reads six"),
        ("sagemaker", "cron(30 4 * * * *)", "must have ? for the day of the month or for the weekday"),
        ("sagemaker", "rate(daily)", "is no rate"),
        ("azureml", "0 30 4 * * *", "does not have five fields"),
    ],
)
def test_a_schedule_of_another_form_is_a_problem(name: str, schedule: str, said: str, banking77: Path) -> None:
    (found,) = [each for each in noticed(name, score={**SCORE, "schedule": schedule}) if "schedule" in each.cause]
    assert said in found.cause and found.kind == "error"
    line = int(found.where.partition(":")[2])
    assert schedule in Path("profiles.yml").read_text().splitlines()[line - 1]


@pytest.mark.parametrize(
    ("name", "score", "said"),
    [
        ("databricks", {"model": "models:/main.bank.banking77@champion"}, "target.score.input"),
        ("azureml", {**SCORE, "inputs": LETTERS}, "did you mean 'input'"),
        ("sagemaker", {**SCORE, "least_confidence": 2}, "least_confidence"),
        ("sagemaker", {**SCORE, "schedule": "30 4 * * *"}, "target.score.schedule"),
        ("databricks", {**SCORE, "schedule": {"quartz": "30 4 * * *"}}, "target.score.schedule.quartz"),
    ],
)
def test_what_is_no_setting_is_refused(name: str, score: dict[str, Any], said: str, banking77: Path) -> None:
    with pytest.raises(ProfileError) as refused:
        set_target(name, score=score)
    assert said in f"{refused.value.cause} {refused.value.remedy}" and "profiles.yml:" in refused.value.cause


# The command


@every_platform
def test_the_command_starts_it_there(name: str, banking77: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = TARGETS.find(name), list[tuple[Any, ...]]()

    def start(project: Any, profile: Any, values: Any = None, job: str | None = None) -> Execution:
        seen.append((project.name, [*project.overrides], job))
        return Execution("e-1", "running", "2026-01-01")

    monkeypatch.setattr(type(target), "start", staticmethod(start))
    monkeypatch.setattr(type(target), "deploy", staticmethod(lambda *_: iter(())))
    monkeypatch.setattr("lakewright.targets.remote.problems", lambda *_: [])
    ended = call("score", "--profile", name)
    assert ended.code == 0, ended.err
    assert f"started on {name}: score e-1" in ended.out and f"{LETTERS}_predictions" in ended.out
    ended = call("score", str(banking77), "--profile", name, "--set", "train.seed=7", "--json")
    assert ended.code == 0 and ended.json["id"] == "e-1"
    assert lw.start_scoring(profile=name).id == "e-1"
    assert seen == [("banking77", [], "score"), ("banking77", ["train.seed=7"], "score"), ("banking77", [], "score")]


def test_a_scoring_here_and_one_there_are_not_mixed(banking77: Path, call: Call) -> None:
    for words, said in (
        (("--model", "models:/main.bank.banking77@champion"), "--input is not named"),
        (("--input", LETTERS), "--model is not named"),
        (("--output", "main.bank.said"), "--model and --input is not named"),
        (("banking77", "--model", "m", "--input", LETTERS), "project is for a scoring on a platform"),
        (("--set", "train.seed=7", "--model", "m", "--input", LETTERS), "--set is for a scoring on a platform"),
    ):
        ended = call("score", *words, "--profile", "sagemaker")
        assert ended.code == 2 and said in ended.err, (words, ended.err)


def test_without_a_table_both_ways_are_named(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call("score")
    assert ended.code == 2 and "no table is named" in ended.err
    assert "--model models:/NAME@champion --input catalog.schema.table" in ended.err and "target.score" in ended.err


@pytest.mark.slow
def test_a_stage_scores_whatever_the_target(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a platform's machine does: the champion of the project, and every option of the profile."""
    project = write_linear_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    score = {"input": "main.h.letters", "output": "main.h.said", "columns": {"text": "body"}, "id": "letter"}
    score |= {"keep": ["branch"], "least_confidence": 0.999999, "probabilities": False}
    place = {"workspace": str(tmp_path / "there"), "tracking": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    target = {**PLATFORMS["databricks"], "score": score}
    profiles = {"local": place, "prod": {"target": target, **place}, "none": {"target": PLATFORMS["databricks"]}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"default": "local", "profiles": profiles}))
    run = lw.run(project, profile="local")
    assert run.model_version is not None
    lake = Workspace.open(load_profile("local")).lake
    rows = [{"letter": f"l{n}", "body": each["text"], "branch": n % 3} for n, each in enumerate(sentences(40))]
    lake.write("main.h.letters", pa.Table.from_pylist(rows))
    words = ("stage", "score", "--project", str(project), "--profile", "prod")
    ended = call(*words)
    assert ended.code == 0, ended.err
    record = one_object(ended.out)
    assert record["rows"] == 40 and record["abstained"] > 0 and record["output"]["name"] == "main.h.said"
    assert record["model"] == run.model_version.at
    said = lake.read(lake.version("main.h.said"))
    assert {*said["record_id"].to_pylist()} == {row["letter"] for row in rows}
    assert "branch" in said.column_names and "probabilities" not in said.column_names
    assert one_object(call(*words).out)["rows"] == 0
    assert "--run out" in call(*words, "--run", "x").err
    without = call("stage", "score", "--project", str(project), "--profile", "none")
    assert without.code == 2 and "has no section score" in without.err


# What was sent is executed


class Killing(Runner):
    """Ends all instances of the job once some rows are written."""

    output, ended = "", 0

    def _containers(self, step: Any, opts: list[Path], command: list[str], environment: Any) -> None:
        killer = Thread(target=self._kill)
        killer.start()
        super()._containers(step, opts, command, environment)
        killer.join()

    def _kill(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not self.ended:
            if len(rows_written(self.output)) >= 40:
                running = [*self.running]
                self.ended = len(running)
                for process in running:
                    end(process)
            time.sleep(0.2)


def rows_written(output: str) -> list[str]:
    lake = Workspace.open(load_profile("prod")).lake
    try:
        found: list[str] = lake.read(lake.version(output))["record_id"].to_pylist()
    except NotFound:
        return []
    return found


@pytest.fixture
def letters(everywhere: Everywhere) -> Iterator[str]:
    """A table in the lake that all machines share, beside the project, which has a champion."""
    everywhere.profile("train", {"name": "local"})
    assert lw.run("project.yml", profile="train").model_version is not None
    name = f"main.demo.letters_{uuid4().hex[:8]}"
    add(name, 0, 1000)
    yield name


def add(name: str, start: int, stop: int) -> None:
    rows = [{**row, "id": f"letter {n}"} for n, row in enumerate(sentences(stop))][start:]
    Workspace.open(load_profile("train")).lake.write(name, pa.Table.from_pylist(rows), mode="append")


class Sent:
    """The job as it was sent to SageMaker, whose instances are processes with addresses that no other test has."""

    def __init__(self, everywhere: Everywhere, environment: Path, folder: Path, definition: Any) -> None:
        self.definition, self.folder = definition, folder
        role = {**everywhere.environment, "PYTHONPATH": small_parts(folder.with_name("site"))}
        net = f"127.{randint(1, 250)}.{randint(1, 250)}"
        self.machines = (environment, DOCKERFILE, folder, role, net)

    def killed(self, output: str) -> Killing:
        runner = Killing(*self.machines)
        runner.output = output
        outcome = runner.execute(self.definition, "a1b2c3d4e5f6")
        assert outcome.status == "Failed", outcome.message
        return runner

    def rows_scored(self, execution: str) -> tuple[int, int]:
        """How many, and by how many instances."""
        outcome = Runner(*self.machines).execute(self.definition, execution)
        assert outcome.status == "Succeeded", outcome.message
        log = (self.folder / outcome.id / "score" / "opt" / "log").read_text()  # of the first instance
        record = json.JSONDecoder().raw_decode(log[log.index("\n{") + 1 :])[0]
        return record["rows"], len(record["parts"])


def deploy() -> list[str]:
    project, profile = load_project("project.yml"), load_profile("prod")
    target = TARGETS.find("sagemaker")
    return list(target.deploy(target.deployment(project, profile), project, profile, opener(profile)))


@pytest.mark.slow
def test_the_job_that_was_sent_scores_each_row_once(
    everywhere: Everywhere, environment: Path, tmp_path: Path, letters: str
) -> None:
    """Killed, run again, run with nothing new, and with new rows; found by what its schedule starts."""
    on_moto(everywhere, score={"input": letters, "schedule": "rate(1 day)"})
    (made,) = [line for line in deploy() if "schedule" in line]
    name = made.removeprefix("made schedule ")
    assert deploy() == []
    on_moto(everywhere, score={"input": letters, "schedule": "rate(2 hours)"})
    assert deploy()[-1] == f"changed schedule {name}" and deploy() == []
    schedule = boto3.client("scheduler", region_name="us-east-1").get_schedule(Name=name)
    assert schedule["ScheduleExpression"] == "rate(2 hours)"
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    pipeline = sagemaker.describe_pipeline(PipelineName=schedule["Target"]["Arn"].rpartition("/")[2])
    assert pipeline["PipelineArn"] == schedule["Target"]["Arn"]
    job = Sent(everywhere, environment, tmp_path / "machines", json.loads(pipeline["PipelineDefinition"]))
    output = f"{letters}_predictions"
    assert job.killed(output).ended == 1
    before = rows_written(output)
    assert 40 <= len(before) < 1000 and len(before) == len(set(before))
    assert job.rows_scored("b1b2c3d4e5f6") == (1000 - len(before), 1)
    assert job.rows_scored("c1b2c3d4e5f6")[0] == 0
    add(letters, 1000, 1100)
    assert job.rows_scored("d1b2c3d4e5f6")[0] == 100
    assert sorted(rows_written(output)) == sorted(f"letter {n}" for n in range(1100))


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_two_instances_score_each_row_once(
    everywhere: Everywhere, environment: Path, tmp_path: Path, letters: str
) -> None:
    on_moto(everywhere, processing={"count": 2}, score={"input": letters})
    definition = TARGETS.find("sagemaker").deployment(load_project("project.yml"), load_profile("prod"))
    deploy()
    job = Sent(everywhere, environment, tmp_path / "machines", definition.files["score.json"])
    output = f"{letters}_predictions"
    assert job.killed(output).ended == 2
    before = rows_written(output)
    assert 40 <= len(before) < 1000 and len(before) == len(set(before))
    assert job.rows_scored("b1b2c3d4e5f6") == (1000 - len(before), 2)
    assert sorted(rows_written(output)) == sorted(f"letter {n}" for n in range(1000))


def test_a_project_without_the_section_starts_nothing(banking77: Path) -> None:
    set_target("sagemaker", score=None)
    with pytest.raises(UsageError, match="no table is named, and the target of the profile sagemaker"):
        lw.start_scoring(profile="sagemaker")
