"""Every request against botocore's model of the service that takes it; and the whole definition, reviewed by eye."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
import yaml
from botocore.stub import Stubber

from lakewright.api.places import opener
from lakewright.errors import ProfileError
from lakewright.settings.profile import Profile, load_profile
from lakewright.settings.project import Project, load_project
from lakewright.targets import Deployment, Execution
from lakewright.targets.sagemaker import TARGET, sending
from lakewright.targets.sagemaker.endpoint import endpoint, updating
from lakewright.targets.sagemaker.features import feature_group
from lakewright.targets.sagemaker.names import settings_of
from platforms.everywhere import ROOT
from platforms.sagemaker.given import ACCOUNT, DOCKERFILE, WHOLE
from platforms.sagemaker.given import TARGET as LEAST
from platforms.sagemaker.runner import Outcome, Refused, Runner, refusals

GOLDEN = Path(__file__).parent / "banking77.pipeline.json"


class Dry(Runner):
    """Every request is made and checked, and nothing is run: containers leave what the test says."""

    outcome_of_the_gate = "passed"

    def __post_init__(self) -> None:
        self.running = []
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def _request(self, step: dict[str, Any]) -> dict[str, Any]:
        request = super()._request(step)
        self.requests.append((step["Name"], request))
        return request

    def _container(self, step: Any, opt: Any, command: Any, environment: Any) -> None:
        pass

    def _fetch(self, uri: str, folder: Path, empty: bool = False) -> None:
        pass

    def _upload(self, path: Path, uri: str) -> None:
        pass

    def _register(self, request: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _property(self, asked: dict[str, Any]) -> Any:
        assert asked["Path"] == "outcome"
        return self.outcome_of_the_gate


@pytest.fixture
def banking77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, with the profiles `least` and `whole`; no credentials anywhere."""
    folder = tmp_path / "banking77"
    folder.mkdir()
    (folder / "project.yml").write_text((ROOT / "examples" / "banking77" / "project.yml").read_text())
    more = {"workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org"}
    profiles = {"least": {"target": LEAST, **more}, "whole": {"target": WHOLE, **more}}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}, sort_keys=False))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def loaded(profile: str, *settings: str) -> tuple[Project, Profile, Deployment]:
    project, place = load_project("project.yml", settings), load_profile(profile)
    return project, place, TARGET.deployment(project, place)


def run_dry(deployment: Deployment, folder: Path, **values: Any) -> tuple[Outcome, dict[str, dict[str, Any]]]:
    runner = Dry(Path("/"), DOCKERFILE, folder, {})
    outcome = runner.execute(json.loads(json.dumps(deployment.files["pipeline.json"])), "a1b2c3d4e5f6", values)
    return outcome, dict(runner.requests)


@pytest.mark.parametrize("profile", ["least", "whole"])
def test_every_steps_arguments_are_a_request_that_the_api_takes(profile: str, banking77: Path, tmp_path: Path) -> None:
    outcome, requests = run_dry(loaded(profile)[2], tmp_path)  # which raises Refused for what botocore does not know
    assert outcome.status == "Succeeded"
    assert list(requests) == ["ingest", "prepare", "train", "evaluate", "gate", "register", "package"]


def test_what_the_api_does_not_take_is_refused(banking77: Path, tmp_path: Path) -> None:
    """The check itself can fail: for a name, an enum, a pattern."""
    for spoilt in ({"InstanceTyp": "x"}, {"InstanceType": "ml.none.xlarge"}, {"VolumeSizeInGB": 99999}):
        deployment = loaded("least")[2]
        definition = json.loads(json.dumps(deployment.files["pipeline.json"]))
        definition["Steps"][0]["Arguments"]["ProcessingResources"]["ClusterConfig"].update(spoilt)
        with pytest.raises(Refused, match=re.escape(next(iter(spoilt)))):
            run_dry(Deployment({"pipeline.json": definition}), tmp_path)


@pytest.mark.parametrize("profile", ["least", "whole"])
def test_every_other_request_is_one_that_the_api_takes(profile: str, banking77: Path) -> None:
    project, place, deployment = loaded(profile)
    waiting = endpoint(project, place)  # for the number of the version that is approved
    requests = [request for request in deployment.requests if request not in waiting]
    requests += endpoint(project, place, {"champion": 3})
    for request in requests:
        service, _, call = request.operation.partition(".")
        operation = "".join(part.capitalize() for part in call.split("_"))
        body = dict(request.body)
        if operation == "CreatePipeline":
            body["ClientRequestToken"] = "0" * 32  # botocore adds one itself
        assert refusals(service, operation, body) == "", request.operation
        if operation == "CreateEndpoint":
            assert refusals("sagemaker", "UpdateEndpoint", updating(body)) == ""
    if profile == "whole":
        assert refusals("sagemaker", "CreateTransformJob", deployment.files["transform.json"]) == ""


def test_every_parameter_reaches_every_stage(banking77: Path, tmp_path: Path) -> None:
    """A value that is given at the start is in the command of each step, and never the default beside it."""
    deployment = loaded("whole", "train.dropout=0.1")[2]
    given = {"LearningRate": 0.0002, "Seed": 99, "MaxSeqLength": "64", "MinAccuracyValue": 0.75, "LabelSmoothing": 0.2}
    given |= {"ProcessingInstanceType": "ml.c7i.xlarge", "TrainingInstanceType": "ml.g6.xlarge"}
    given |= {"ModelApprovalStatus": "PendingManualApproval", "DeployInstanceType": "ml.c7i.large"}
    _, requests = run_dry(deployment, tmp_path, **given)
    package = requests.pop("package")
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["InferenceSpecification"]["SupportedRealtimeInferenceInstanceTypes"] == ["ml.c7i.large"]
    training = requests.pop("train")
    assert training["ResourceConfig"]["InstanceType"] == "ml.g6.xlarge"
    told = training["HyperParameters"]
    wanted = [f"{name}={value}" for name, value in told.items() if "." in name]
    wanted = [*json.loads(told["given"]), *wanted]
    assert {"train.dropout=0.1", "train.learning_rate=2.0E-4", "train.seed=99"} < set(wanted)
    for request in requests.values():
        assert request["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.c7i.xlarge"
        command = request["AppSpecification"]["ContainerArguments"]
        settings = [command[at + 1] for at, part in enumerate(command) if part == "--set"]
        assert settings == wanted  # one run: every stage must be given the same
        assert command[command.index("--run") + 1] == told["run"] == "a1b2c3d4e5f6"
    project = load_project("project.yml", wanted)
    assert project.train.learning_rate == 0.0002 and project.prepare.recipe["tokens"].max_length == 64  # type: ignore[attr-defined]
    assert project.gate.minimum == {"accuracy": 0.75} and project.train.dropout == 0.1  # type: ignore[attr-defined]


def test_the_other_branch_fails_with_a_message_of_its_own(banking77: Path, tmp_path: Path) -> None:
    Dry.outcome_of_the_gate = "refused"
    try:
        outcome, _ = run_dry(loaded("least")[2], tmp_path, MinAccuracyValue=0.99)
    finally:
        Dry.outcome_of_the_gate = "passed"
    assert outcome.status == "Failed" and "package" not in outcome.steps
    assert outcome.message == (
        "the gate refused the model of a1b2c3d4e5f6 (wanted: accuracy at least 0.99, not worse than the champion, on "
        "the test split); why: s3://our-lake/lakewright/sagemaker/executions/a1b2c3d4e5f6/decision/decision.json"
    )


def test_the_definition_is_the_one_that_was_reviewed(banking77: Path) -> None:
    """Changed on purpose? Read the difference, then: cp the definition that the failure names."""
    written = json.dumps(loaded("whole")[2].files["pipeline.json"], indent=1, ensure_ascii=False) + "\n"
    written = re.sub(r"(/code/main-bank-banking77/)[0-9a-f]{16}", r"\1DIGEST", written)
    found = banking77 / GOLDEN.name
    found.write_text(written)
    assert written == GOLDEN.read_text(), f"cp {found} {GOLDEN}"


def test_a_feature_group_has_typed_columns(banking77: Path) -> None:
    settings = settings_of(load_profile("whole")).model_copy(update={"feature_store": "s3://our-lake/features"})
    schema = pa.schema(
        {
            "record_id": pa.string(),
            "event_time": pa.timestamp("us", "UTC"),
            "row": pa.int64(),
            "weight": pa.float32(),
            "ids": pa.list_(pa.int32()),
            "inputs": pa.struct({"text": pa.string()}),
        }
    )
    body = feature_group("banking77-features", schema, settings)
    assert refusals("sagemaker", "CreateFeatureGroup", body) == ""
    types = {each["FeatureName"]: each["FeatureType"] for each in body["FeatureDefinitions"]}
    assert types == {
        "record_id": "String", "event_time": "Fractional", "row": "Integral", "weight": "Fractional", "ids": "String",
        "inputs": "String",
    }  # fmt: skip
    assert body["RecordIdentifierFeatureName"] in types and body["EventTimeFeatureName"] in types


def test_two_variants_share_the_traffic_and_shift_it_back_on_alarm(banking77: Path) -> None:
    project, place, _ = loaded("whole")
    requests = {request.operation: request.body for request in endpoint(project, place, {"champion": 7})}
    variants = requests["sagemaker.create_endpoint_config"]["ProductionVariants"]
    assert [(each["VariantName"], each["ModelName"], each["InitialVariantWeight"]) for each in variants] == [
        ("champion", "banking77-7", 90.0),
        ("challenger", "banking77-2", 10.0),
    ]
    shift = requests["sagemaker.create_endpoint"]["DeploymentConfig"]
    assert shift["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["CanarySize"]["Value"] == 10
    assert shift["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "banking77-5xx"}]}
    # Another version is another configuration, and the same one is the same
    names = {v: endpoint(project, place, {"champion": v})[2].body["EndpointConfigName"] for v in (7, 8)}
    assert names[7] == requests["sagemaker.create_endpoint_config"]["EndpointConfigName"] != names[8]


def test_traffic_that_goes_over_in_steps_has_alarms(banking77: Path) -> None:
    project = loaded("whole")[0]
    written = Path("profiles.yml").read_text().replace("kind: canary", "kind: linear")
    Path("profiles.yml").write_text(re.sub(r" +alarms:\n +- banking77-5xx\n", "", written))
    place = load_profile("whole")
    requests = endpoint(project, place, {"champion": 7})
    made = [request.body for request in requests if request.operation == "cloudwatch.put_metric_alarm"]
    assert [refusals("cloudwatch", "PutMetricAlarm", body) for body in made] == ["", ""]
    (shift,) = [r.body["DeploymentConfig"] for r in requests if r.operation == "sagemaker.create_endpoint"]
    named = [alarm["AlarmName"] for alarm in shift["AutoRollbackConfiguration"]["Alarms"]]
    assert named == [body["AlarmName"] for body in made] == ["banking77-champion-5xx", "banking77-challenger-5xx"]
    assert shift["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["LinearStepSize"]["Value"] == 10


# What moto does not know is answered by botocore's own stub, which checks both sides against the service's model


@pytest.fixture
def stubbed() -> Iterator[tuple[Any, Stubber, Stubber]]:
    keys = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s"}
    made = {name: boto3.client(name, **keys) for name in ("sagemaker", "logs")}
    with Stubber(made["sagemaker"]) as sagemaker, Stubber(made["logs"]) as logs:
        yield made.__getitem__, sagemaker, logs
        sagemaker.assert_no_pending_responses()
        logs.assert_no_pending_responses()


ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:pipeline/main-bank-banking77"


def test_an_endpoint_that_is_there_is_moved_to_the_new_configuration(banking77: Path, stubbed: Any) -> None:
    clients, sagemaker, _ = stubbed
    body = {
        "EndpointName": "banking77",
        "EndpointConfigName": "banking77-new",
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}
            }
        },
    }
    there = {
        "EndpointName": "banking77",
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/banking77",
        "EndpointConfigName": "banking77-old",
        "EndpointStatus": "InService",
        "CreationTime": 0,
        "LastModifiedTime": 0,
    }
    sagemaker.add_response("describe_endpoint", there, {"EndpointName": "banking77"})
    sagemaker.add_response("update_endpoint", {"EndpointArn": there["EndpointArn"]}, updating(body))
    assert sending.made("sagemaker.create_endpoint", body, clients) == "changed endpoint banking77"
    sagemaker.add_response("describe_endpoint", {**there, "EndpointConfigName": "banking77-new"})
    assert sending.made("sagemaker.create_endpoint", body, clients) == ""


def test_executions_are_told_in_lakewrights_words(banking77: Path, stubbed: Any) -> None:
    clients, sagemaker, logs = stubbed
    project = loaded("least")[0]

    def at(second: int) -> datetime:  # as botocore gives times
        return datetime.fromtimestamp(1700000000 + second, tz=UTC)

    summaries = [
        {"PipelineExecutionArn": f"{ARN}/execution/exec000002", "StartTime": at(60),
         "PipelineExecutionStatus": "Failed"},
        {"PipelineExecutionArn": f"{ARN}/execution/exec000001", "StartTime": at(0),
         "PipelineExecutionStatus": "Executing"},
    ]  # fmt: skip
    why = "the gate refused the model"
    ran = [{"StepName": name, "StepStatus": "Succeeded"} for name in ("ingest", "prepare", "train", "evaluate", "gate")]
    fail = {"StepName": "refuse", "StepStatus": "Failed", "Metadata": {"Fail": {"ErrorMessage": why}}}
    job = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:processing-job/pipelines-exec-ingest"
    began = {"StepName": "ingest", "StepStatus": "Executing", "Metadata": {"ProcessingJob": {"Arn": job}}}
    sagemaker.add_response("describe_pipeline", {"PipelineArn": ARN}, {"PipelineName": "main-bank-banking77"})
    sagemaker.add_response("list_pipeline_executions", {"PipelineExecutionSummaries": summaries})
    sagemaker.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [*ran, fail]})
    sagemaker.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [began]})
    refused, running = sending.executions(project, clients)
    assert (refused.id, refused.status, refused.why) == ("exec000002", "failed", why)
    assert refused.stages["gate"] == "done" and refused.stages["register"] == "skipped"
    assert running.status == "running" and running.stages["ingest"] == "running"
    assert running.stages["prepare"] == "waiting" and running.began == "2023-11-14T22:13:20+00:00"

    sagemaker.add_response("describe_pipeline", {"PipelineArn": ARN})
    sagemaker.add_response(
        "list_pipeline_execution_steps",
        {"PipelineExecutionSteps": [began]},
        {"PipelineExecutionArn": f"{ARN}/execution/exec000001", "SortOrder": "Ascending"},
    )
    asked = {"logGroupName": "/aws/sagemaker/ProcessingJobs", "logStreamNamePrefix": "pipelines-exec-ingest/"}
    events = [{"message": "ingest: has not run yet\n"}, {"message": "300 rows\n"}]
    logs.add_response("filter_log_events", {"events": events}, asked)
    assert list(sending.log(Execution("exec000001", "running", ""), project, clients)) == [
        "ingest: ingest: has not run yet",
        "ingest: 300 rows",
    ]


def test_a_pipeline_is_started_with_values(banking77: Path, stubbed: Any) -> None:
    clients, sagemaker, _ = stubbed
    project = loaded("least")[0]
    sent: dict[str, Any] = {}
    clients("sagemaker").meta.events.register(
        "before-parameter-build.sagemaker.StartPipelineExecution", lambda params, **_: sent.update(params)
    )
    sagemaker.add_response("start_pipeline_execution", {"PipelineExecutionArn": f"{ARN}/execution/exec000003"})
    started = sending.start(project, load_profile("least"), {"Seed": "7"}, clients)
    assert (started.id, started.status) == ("exec000003", "running")
    assert sent["PipelineParameters"] == [{"Name": "Seed", "Value": "7"}]


def test_variants_of_one_version_share_its_model(banking77: Path) -> None:
    """Champion and challenger at one version share the model."""
    project, place, _ = loaded("whole")
    made = endpoint(project, place, {"champion": 2})
    assert [request.operation for request in made].count("sagemaker.create_model") == 1


@pytest.mark.slow
def test_what_is_of_another_project_is_left_alone(
    banking77: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On moto: a pipeline by its description, an endpoint by its tag, or by the model package that it serves."""
    for name, value in {**s3, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    serves = {"endpoint": "shared", "instance_type": "ml.m5.large"}
    place = {"workspace": "s3://lake/owners", "tracking": "https://mlflow.example.org"}
    profiles = {"profiles": {"prod": {"target": {**LEAST, "region": "us-east-1", "endpoint": serves}, **place}}}
    Path("profiles.yml").write_text(yaml.safe_dump(profiles))
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    shown = {"SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}
    packed = {"Containers": [{"Image": "image", "ModelDataUrl": "s3://lake/m.tar.gz"}], **shown}

    def send(schema: str) -> list[str]:
        project, profile = load_project("project.yml", [f"schema={schema}"]), load_profile("prod")
        return list(TARGET.deploy(TARGET.deployment(project, profile), project, profile, opener(profile)))

    send("main.support")
    package = sagemaker.create_model_package(
        ModelPackageGroupName="main-support-banking77", ModelApprovalStatus="Approved", InferenceSpecification=packed
    )
    assert send("main.support")[-1] == "made endpoint shared" and send("main.support") == []
    served = sagemaker.describe_endpoint(EndpointName="shared")
    for tagged in (True, False):
        with pytest.raises(ProfileError, match="the endpoint shared serves main-support-banking77") as refused:
            send("main.sales")
        assert "target.endpoint.endpoint" in refused.value.remedy
        assert ("is of the project main.support.banking77" in refused.value.cause) == tagged
        sagemaker.delete_tags(ResourceArn=served["EndpointArn"], TagKeys=["lakewright.project"])
    assert sagemaker.describe_endpoint(EndpointName="shared")["EndpointConfigName"] == served["EndpointConfigName"]
    names = [each["PipelineName"] for each in sagemaker.list_pipelines()["PipelineSummaries"]]
    assert "main-support-banking77" in names and "main-sales-banking77" not in names
    assert send("main.support") == []  # its own, though no tag says so

    # The model that an endpoint of that name had before it was deleted
    sagemaker.delete_endpoint(EndpointName="shared")
    send_sales = send("main.sales")
    assert "is approved" in send_sales[-1]
    sagemaker.create_model_package(
        ModelPackageGroupName="main-sales-banking77", ModelApprovalStatus="Approved", InferenceSpecification=packed
    )
    with pytest.raises(ProfileError, match=re.escape(f"the model shared-1 is made from {package['ModelPackageArn']}")):
        send("main.sales")

    body = {"PipelineDefinition": "{}", "RoleArn": LEAST["role"], "ClientRequestToken": "0" * 32}
    sagemaker.create_pipeline(PipelineName="main-theirs-banking77", PipelineDescription="by hand", **body)
    with pytest.raises(ProfileError, match="the pipeline main-theirs-banking77 was not made by Lakewright"):
        send("main.theirs")
