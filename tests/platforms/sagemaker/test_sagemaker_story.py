"""The project on SageMaker, as far as this machine can tell: what was sent to the platform (moto) is executed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
import yaml

from conftest import Server, free_port
from lakewright.api.places import opener
from lakewright.errors import ProfileError
from lakewright.pipeline.runs import noted_runs
from lakewright.records import Decision, Prepared
from lakewright.registry.versions import champion
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets.sagemaker import TARGET
from lakewright.workspace import Workspace
from platforms.everywhere import FAILING, Everywhere, metrics_here
from platforms.sagemaker.feature_store import FeatureStore, served
from platforms.sagemaker.given import DOCKERFILE, on_moto, pipeline_name, runner_in, sent
from platforms.sagemaker.runner import Runner, end

Lakewright = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def feature_store() -> Iterator[tuple[FeatureStore, dict[str, str]]]:
    """A stand-in, since moto has no records, and the variables with which a step finds it."""
    store = FeatureStore()
    with served(store) as environment:
        yield store, {name: value for name, value in environment.items() if "KEY" not in name}


def deployed() -> list[str]:
    """What `lakewright deploy --profile prod` says that it made or changed."""
    project, profile = load_project("project.yml"), load_profile("prod")
    assert not [problem for problem in TARGET.problems(project, profile) if problem.kind == "error"]
    return list(TARGET.deploy(TARGET.deployment(project, profile), project, profile, opener(profile)))


def left(everywhere: Everywhere, name: str, execution: str) -> Any:
    """A property file, as the steps sent it to S3."""
    key = f"{everywhere.workspace}/sagemaker/executions/{execution}/{name}/{name}.json".removeprefix("s3://lake/")
    return json.loads(boto3.client("s3").get_object(Bucket="lake", Key=key)["Body"].read())


def packages(group: str) -> list[dict[str, Any]]:
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    found = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    return [sagemaker.describe_model_package(ModelPackageName=each["ModelPackageArn"]) for each in found]


def configuration(endpoint: str) -> str:
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    name: str = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    return name


@pytest.mark.slow
def test_what_was_sent_runs_as_it_does_here(
    everywhere: Everywhere,
    environment: Path,
    tmp_path: Path,
    lakewright: Lakewright,
    feature_store: tuple[FeatureStore, dict[str, str]],
) -> None:
    project_file = yaml.safe_load(everywhere.project.read_text()) | {"register": {"approval": "manual"}}
    project_file["data"]["columns"]["event_time"] = "seen"
    everywhere.project.write_text(yaml.safe_dump(project_file, sort_keys=False))
    with_times(project_file["data"]["source"], everywhere)
    group = pipeline_name(everywhere)
    serves = {"endpoint": group, "instance_type": "ml.m5.large"}  # moto knows no newer one
    on_moto(everywhere, endpoint=serves, feature_store="s3://lake/features")
    told = lakewright("deploy", "--profile", "prod", "--json")
    assert told.returncode == 0, told.stderr
    *made, waits = json.loads(told.stdout)["sent"]
    assert made[-2:] == [f"made model package group {group}", f"made pipeline {group}"]
    assert f"no version in {group} is approved" in waits
    assert deployed() == [waits]  # sent again, nothing changes
    runner, definition = runner_in(environment, everywhere, tmp_path / "machines"), sent(everywhere)
    runner.role = {**runner.role, **feature_store[1]}

    # Passed: each stage on a machine of its own, the model in both registries
    passed = runner.execute(definition, "a1b2c3d4e5f6")
    assert (passed.status, passed.message) == ("Succeeded", "")
    assert list(passed.steps) == ["ingest", "prepare", "train", "evaluate", "gate", "decide", "register", "package"]
    measured = left(everywhere, "evaluation", passed.id)["metrics"]
    assert {name: metric["value"] for name, metric in measured.items()} == metrics_here(everywhere)
    (package,) = packages(group)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageDescription"].endswith(f"run {passed.id}")

    # The prepare step has put the rows of the features table into Feature Store, each once
    store = feature_store[0]
    types = {
        each["FeatureName"]: each["FeatureType"] for each in store.groups[f"{group}-features"]["FeatureDefinitions"]
    }
    assert (types["record_id"], types["event_time"], types["row"]) == ("String", "Fractional", "Integral")
    assert types["weight"] == "Fractional" and types["inputs"] == "String"
    assert_records_are_rows(store.offline[f"{group}-features"], features_of(passed.id))

    # Approved, in one place: SageMaker's registry follows, and the endpoint
    assert "no version in" in deployed()[-1]
    project, profile = load_project("project.yml"), load_profile("prod")
    approved = lakewright("models", "approve", f"models:/{project.model}/1", "--profile", "prod")
    assert approved.returncode == 0, approved.stderr
    assert deployed() == [
        f"approved version 1 of {group}",
        f"made model {group}-1",
        f"made endpoint config {configuration(group)}",
        f"made endpoint {group}",
    ]
    assert packages(group)[0]["ModelApprovalStatus"] == "Approved"
    assert deployed() == []
    registered = champion(Workspace.open(profile).tracking, project.model)
    assert registered is not None and registered.version == 1

    # What SageMaker would serve is what was registered, and it answers as it did when it was made
    container = package["InferenceSpecification"]["Containers"][0]
    endpoint_answers(container["ModelDataUrl"], registered.digest, runner, tmp_path / "endpoint")

    # Refused: the other branch, its own message, and nothing registered
    refused = runner.execute(definition, "f6e5d4c3b2a1", {"MinAccuracyValue": FAILING})
    assert refused.status == "Failed" and list(refused.steps)[-2:] == ["decide", "refuse"]
    assert f"wanted: accuracy at least {FAILING}" in refused.message
    assert refused.message.endswith(f"/executions/{refused.id}/decision/decision.json")
    assert left(everywhere, "decision", refused.id)["reasons"]
    assert len(packages(group)) == 1
    workspace = Workspace.open(profile)
    again = load_project("project.yml", [f"gate.minimum.accuracy={FAILING}"])
    (noted,) = [run for run in noted_runs(again, workspace) if run.name == refused.id]
    record = json.loads((workspace.folder / "runs" / noted.run_id / "records" / "gate.json").read_text())
    assert Decision.model_validate(record).passed is False and noted.status == "done"

    # Its prepare had nothing to do, and Feature Store got no row again
    assert features_of(refused.id) == features_of(passed.id)
    assert_records_are_rows(store.offline[f"{group}-features"], features_of(passed.id))

    # Failed: the cause is where SageMaker looks for it
    failed = runner.execute(definition, "0a1b2c3d4e5f", {"InputData": "s3://lake/nowhere/none.parquet"})
    assert failed.steps == {"ingest": "Failed"} and "none.parquet" in failed.message

    # Another number of instances than the profile's
    two = runner.execute(definition, "123456789abc", {"TrainingInstanceCount": 2})
    assert two.steps["train"] == "Failed" and "the job has 2 instances, and the profile's" in two.message


def endpoint_answers(archive: str, digest: str, runner: Runner, folder: Path) -> None:
    """`docker run IMAGE serve`, with the model that SageMaker unpacks into /opt/ml/model."""
    from lakewright.model.folder import verify

    opt, port = folder / "opt" / "ml", free_port()
    (opt / "model").mkdir(parents=True)
    bucket, _, key = archive.removeprefix("s3://").partition("/")
    boto3.client("s3").download_file(bucket, key, str(folder / "model.tar.gz"))
    with tarfile.open(folder / "model.tar.gz") as packed:
        packed.extractall(opt / "model", filter="data")
    assert verify(opt / "model") == digest
    command, given = runner.container(opt, [*runner.entrypoint, "serve"], {"SAGEMAKER_BIND_TO_PORT": str(port)})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=given, cwd=folder, stdout=log, stderr=log)
    server = Server(port, process, folder / "log")
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                if server.ask("GET", "/ping").status == 200:
                    break
            except OSError:
                time.sleep(0.1)
        samples = json.loads((opt / "model" / "samples.json").read_text())
        answer = server.ask("POST", "/invocations", {"dataframe_records": samples["rows"]})
        assert answer.status == 200
        assert answer.json["predictions"] == samples["predictions"]["onnx"]
        lines = "\n".join(json.dumps(row) for row in samples["rows"])  # as batch transform asks
        batch = server.ask("POST", "/invocations", lines, {"Content-Type": "application/jsonlines"})
        said = [json.loads(line)["predicted_label"] for line in batch.body.splitlines()]
        assert said == [prediction["label"] for prediction in samples["predictions"]["onnx"]]
    finally:
        process.terminate()
        process.wait(60)


def test_an_endpoint_is_made_once_a_version_is_approved(everywhere: Everywhere) -> None:
    name = pipeline_name(everywhere)
    serves = {"endpoint": name, "instance_type": "ml.m5.large", "shift": {"kind": "canary"}}  # moto knows no m6i
    on_moto(everywhere, endpoint={**serves, "least": 1, "most": 3})
    assert any("no version in" in line for line in deployed())

    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    waiting = sagemaker.create_model_package(
        ModelPackageGroupName=name,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": "image", "ModelDataUrl": "s3://lake/model.tar.gz"}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    assert any("no version in" in line for line in deployed())
    on_moto(everywhere, endpoint={**serves, "champion": {"version": 1}})
    with pytest.raises(ProfileError, match=rf"profiles.yml:\d+: version 1 of {name} is PendingManualApproval"):
        deployed()

    sagemaker.update_model_package(ModelPackageArn=waiting, ModelApprovalStatus="Approved")
    on_moto(everywhere, endpoint={**serves, "least": 1, "most": 3})
    lines = deployed()  # the profile is among the files that a step gets, so the pipeline has changed with it
    assert f"changed pipeline {name}" in lines and lines[-1] == f"made endpoint {name}"
    model = sagemaker.describe_model(ModelName=f"{name}-1")
    assert model["Containers"][0]["ModelPackageName"] == waiting
    served = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=served)["ProductionVariants"]
    assert (variant["VariantName"], variant["ModelName"]) == ("champion", f"{name}-1")
    alarms = boto3.client("cloudwatch", region_name="us-east-1").describe_alarms(AlarmNames=[f"{name}-champion-5xx"])
    assert alarms["MetricAlarms"][0]["MetricName"] == "Invocation5XXErrors"
    scaling = boto3.client("application-autoscaling", region_name="us-east-1")
    (target,) = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{name}/variant/champion"]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    assert deployed() == []


def features_of(execution: str) -> pa.Table:
    """The features table's version of a run."""
    workspace = Workspace.open(load_profile("prod"))
    (run,) = [each for each in noted_runs(load_project("project.yml"), workspace) if each.name == execution]
    record = json.loads((workspace.folder / "runs" / run.run_id / "records" / "prepare.json").read_text())
    return workspace.lake.read(Prepared.model_validate(record).features)


def assert_records_are_rows(records: list[dict[str, str]], table: pa.Table) -> None:
    rows = table.sort_by("row").to_pylist()
    assert len(records) == len(rows) > 0
    for record, row in zip(sorted(records, key=lambda each: int(each["row"])), rows, strict=True):
        assert set(record) == {name for name, value in row.items() if value is not None}
        seconds, _, microseconds = record["event_time"].partition(".")
        assert (
            datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds)) == row["event_time"]
        )
        for name, text in record.items():
            value = row[name]
            if isinstance(value, str):
                assert text == value
            elif isinstance(value, dict):
                assert json.loads(text) == value
            elif isinstance(value, list):
                assert json.loads(text) == pytest.approx(value, rel=1e-6)  # float32 in the fewest digits
            elif name != "event_time":
                assert float(text) == pytest.approx(value, rel=1e-6)


def with_times(source: str, everywhere: Everywhere) -> None:
    import pyarrow.parquet as pq

    from lakewright.data.sources.files import file_system

    system, path = file_system(source, everywhere.environment)
    table = pq.read_table(path, filesystem=system)
    began = datetime(2026, 1, 1, microsecond=250_001, tzinfo=UTC)
    times = [began + timedelta(minutes=row) for row in range(table.num_rows)]
    pq.write_table(table.append_column("seen", pa.array(times, pa.timestamp("us", "UTC"))), path, filesystem=system)


class Spot(Runner):
    """Takes the training instance away once a checkpoint is in /opt/ml/checkpoints, and gives another one."""

    taken_away = 0

    def _container(self, step: Any, opt: Path, command: list[str], environment: Any) -> None:
        if step["Name"] != "train" or self.taken_away:
            super()._container(step, opt, command, environment)
            return
        kept = step["Arguments"]["CheckpointConfig"]
        started, given = self.container(opt, command, environment)
        process = subprocess.Popen(
            started, env=given, cwd=opt.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while not list((opt / "checkpoints").rglob("checkpoint.pt")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        end(process)
        process.communicate()
        self.taken_away += 1
        place = self._resolved(kept["S3Uri"])
        self._send(opt / "checkpoints", place)
        for folder in (opt / "checkpoints", opt.parent / "cache"):
            shutil.rmtree(folder)
        self._fetch(place, opt / "checkpoints")
        super()._container(step, opt, command, environment)


@pytest.mark.slow
def test_spot_training_goes_on_where_it_was_taken_away(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path
) -> None:
    project = yaml.safe_load(everywhere.project.read_text())
    project["train"] = {"learner": "encoder", "base_model": str(tiny_base), "num_train_epochs": 100}
    project["train"] |= {"learning_rate": 0.005, "dropout": 0.0, "early_stopping_patience": None, "quantize": "never"}
    everywhere.project.write_text(yaml.safe_dump(project, sort_keys=False))
    on_moto(everywhere, training={"spot": True})
    deployed()
    definition = sent(everywhere)
    definition["Steps"] = definition["Steps"][:3]
    spot = Spot(environment, DOCKERFILE, tmp_path / "machines", everywhere.environment)
    outcome = spot.execute(definition, "a1b2c3d4e5f6")
    assert (outcome.status, spot.taken_away) == ("Succeeded", 1), outcome.message
    # Each machine told MLflow of the steps that it took: the second one did not take the first again.
    with Workspace.open(load_profile("prod")).tracking.client() as client:
        experiment = client.get_experiment_by_name(f"main.demo.{project['name']}")
        runs = client.search_runs([experiment.experiment_id])
        steps = [metric.step for run in runs for metric in client.get_metric_history(run.info.run_id, "loss")]
    # What the first one had not yet sent is lost with it.
    assert steps.count(1) <= 1 and len(steps) < 1.2 * max(steps)
