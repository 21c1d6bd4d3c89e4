"""Sends a deployment, and reads the state of its runs: the only part that needs boto3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from lakewright.errors import LakewrightError, MissingPackage, NotFound, ProfileError
from lakewright.pipeline import STAGES
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Deployment, Execution, OpenWorkspace, Status
from lakewright.targets.owned import TAG, refuse_foreign
from lakewright.targets.sagemaker.endpoint import endpoint, package_arn, updating
from lakewright.targets.sagemaker.names import described, group_of, name_of, owner_described, settings_of
from lakewright.targets.sagemaker.settings import SageMakerSettings

Clients = Callable[[str], Any]
SHOWN = 10  # executions whose steps are read
# For each thing: the key of its name, and the call that describes it; then the call that changes it, and its fields.
KINDS = {
    "sagemaker.create_pipeline": ("PipelineName", "describe_pipeline"),
    "sagemaker.create_model_package_group": ("ModelPackageGroupName", "describe_model_package_group"),
    "sagemaker.create_model": ("ModelName", "describe_model"),
    "sagemaker.create_endpoint_config": ("EndpointConfigName", "describe_endpoint_config"),
    "sagemaker.create_endpoint": ("EndpointName", "describe_endpoint"),
    "scheduler.create_schedule": ("Name", "get_schedule"),
}
CHANGED = {
    "sagemaker.create_pipeline": ("update_pipeline", ("PipelineDefinition", "RoleArn")),
    "sagemaker.create_endpoint": ("update_endpoint", ("EndpointConfigName",)),
    "scheduler.create_schedule": ("update_schedule", ("ScheduleExpression", "ScheduleExpressionTimezone", "Target")),
}
STEP: Mapping[str, Status] = {"Succeeded": "done", "Failed": "failed", "Stopped": "stopped"}
EXECUTION: Mapping[str, Status] = {**STEP, "CompletedWithFailures": "failed"}
JOBS = {"ProcessingJob": "/aws/sagemaker/ProcessingJobs", "TrainingJob": "/aws/sagemaker/TrainingJobs"}


def clients(settings: SageMakerSettings) -> Clients:
    """Service → its client, in the profile's region. Raises MissingPackage."""
    try:
        import boto3
    except ImportError:
        raise MissingPackage("boto3", "aws") from None
    session = boto3.Session(region_name=settings.region)
    return cache(lambda service: session.client(service))


@contextmanager
def answering() -> Iterator[None]:
    """Refusals of AWS become LakewrightErrors."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, WaiterError

    try:
        yield
    except WaiterError as failure:
        raise LakewrightError(
            f"the endpoint is not in service: {failure}",
            "read its log in CloudWatch, /aws/sagemaker/Endpoints/NAME; deploy again once it is",
        ) from None
    except ClientError as refusal:
        details = refusal.response["Error"]
        denied = "AccessDenied" in details["Code"] or "Unauthorized" in details["Code"]
        raise LakewrightError(
            f"AWS refused {refusal.operation_name}: {details.get('Message') or details['Code']}",
            "give your credentials, or the role, this permission (infrastructure/ has the policies)"
            if denied
            else "correct the profile (lakewright check), or wait if a limit is reached",
        ) from refusal
    except (BotoCoreError, Boto3Error) as failure:
        raise LakewrightError(
            f"AWS did not answer: {failure}", "set credentials (aws configure, AWS_PROFILE), and check the network"
        ) from None


def send(
    deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace, clients: Clients
) -> Iterator[str]:
    """Yields one line for each thing that is made or changed."""
    with answering():
        _refuse_foreign(project, profile, clients("sagemaker"))
        yield from _upload(deployment, profile, clients)
        placeholders = endpoint(project, profile)
        for request in deployment.requests:
            if request not in placeholders and (line := made(request.operation, request.body, clients)):
                yield line
        yield from _carry_approval(project, profile, workspace, clients)
        if placeholders:
            yield from _send_endpoint(project, profile, clients)


def _refuse_foreign(project: Project, profile: Profile, sagemaker: Any) -> None:
    """Raises ProfileError if the existing pipeline or endpoint belongs to another project."""
    settings, name = settings_of(profile), name_of(project)
    pipeline = existing_thing(sagemaker, "describe_pipeline", {"PipelineName": name})
    if pipeline is not None:
        owner = owner_described(pipeline.get("PipelineDescription", ""))
        refuse_foreign(f"pipeline {name}", owner, project, "delete that one, or give the project another name")
    if settings.endpoint is None:
        return
    name = settings.endpoint.endpoint
    existing = existing_thing(sagemaker, "describe_endpoint", {"EndpointName": name})
    if existing is not None:
        tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=existing["EndpointArn"])["Tags"]}
        refuse_foreign(
            f"endpoint {name}",
            tags.get(TAG),
            project,
            "name another (target.endpoint.endpoint)",
            serves=_groups_served(existing["EndpointConfigName"], sagemaker),
            model=group_of(project, settings),
        )


def _groups_served(configuration: str, sagemaker: Any) -> list[str]:
    """The model package groups of an endpoint's models; "" for a model without one."""
    config = existing_thing(sagemaker, "describe_endpoint_config", {"EndpointConfigName": configuration}) or {}
    names = [variant["ModelName"] for variant in config.get("ProductionVariants", ()) if "ModelName" in variant]
    packages = [_package_of(existing_thing(sagemaker, "describe_model", {"ModelName": name})) for name in names]
    return [package.rpartition("/")[0].rpartition("/")[2] for package in packages]


def _package_of(model: Mapping[str, Any] | None) -> str:
    """The ARN of the model package that a model is made from: …:model-package/GROUP/VERSION."""
    containers = (model or {}).get("Containers") or [(model or {}).get("PrimaryContainer") or {}]
    return str(containers[0].get("ModelPackageName", ""))


def made(operation: str, body: Mapping[str, Any], clients: Clients) -> str:
    """A line about the thing that was made or changed; empty if nothing had to change."""
    service, _, call = operation.partition(".")
    client = clients(service)
    if operation not in KINDS:  # sent again, these change nothing
        getattr(client, call)(**body)
        return ""
    key, describe = KINDS[operation]
    existing = existing_thing(client, describe, {key: body[key]})
    thing = f"{call.removeprefix('create_').replace('_', ' ')} {body[key]}"
    if existing is None:
        getattr(client, call)(**body)
        return f"made {thing}"
    if operation == "sagemaker.create_model" and _package_of(existing) != _package_of(body):
        raise ProfileError(
            f"the model {body['ModelName']} is made from {_package_of(existing) or 'no model package'}",
            "use another name for the endpoint (target.endpoint.endpoint), or delete that model",
        )
    change, fields = CHANGED.get(operation, ("", ()))
    if all(_same(existing.get(field), body.get(field)) for field in fields):
        return ""
    changed = updating(body) if change == "update_endpoint" else body
    getattr(client, change)(**changed)
    return f"changed {thing}"


def start(
    project: Project, profile: Profile, values: Mapping[str, str], clients: Clients, job: str | None = None
) -> Execution:
    with answering():
        answer = clients("sagemaker").start_pipeline_execution(
            PipelineName=name_of(project, job),
            PipelineParameters=[{"Name": name, "Value": value} for name, value in values.items()],
        )
    return Execution(_id(answer["PipelineExecutionArn"]), "running", datetime.now(UTC).isoformat(timespec="seconds"))


def executions(project: Project, clients: Clients) -> list[Execution]:
    """The newest first, at most SHOWN; none if the pipeline does not exist yet."""
    sagemaker = clients("sagemaker")
    with answering():
        if existing_thing(sagemaker, "describe_pipeline", {"PipelineName": name_of(project)}) is None:
            return []
        answer = sagemaker.list_pipeline_executions(
            PipelineName=name_of(project), SortBy="CreationTime", SortOrder="Descending", MaxResults=SHOWN
        )
        return [_execution(each, sagemaker) for each in answer["PipelineExecutionSummaries"]]


def log(execution: Execution, project: Project, clients: Clients) -> Iterator[str]:
    """CloudWatch's lines of each step's job, in the order of the steps."""
    sagemaker, logs = clients("sagemaker"), clients("logs")
    with answering():
        pipeline = sagemaker.describe_pipeline(PipelineName=name_of(project))
        for step in _steps(f"{pipeline['PipelineArn']}/execution/{execution.id}", sagemaker):
            for kind, group in JOBS.items():
                arn = step.get("Metadata", {}).get(kind, {}).get("Arn")
                if arn is not None:
                    yield from _lines(step["StepName"], group, arn.rpartition("/")[2], logs)


def _execution(summary: Mapping[str, Any], sagemaker: Any) -> Execution:
    arn = summary["PipelineExecutionArn"]
    steps = {step["StepName"]: step for step in _steps(arn, sagemaker)}
    status = EXECUTION.get(summary["PipelineExecutionStatus"], "running")
    absent: Status = "waiting" if status == "running" else "skipped"
    stages = {
        stage.name: STEP.get(steps[stage.name]["StepStatus"], "running") if stage.name in steps else absent
        for stage in STAGES
    }
    failed = [step["FailureReason"] for step in steps.values() if step.get("FailureReason")]
    refused = steps.get("refuse", {}).get("Metadata", {}).get("Fail", {}).get("ErrorMessage")
    why = refused or (failed[0] if failed else summary.get("PipelineExecutionFailureReason", ""))
    began = summary["StartTime"].astimezone(UTC).isoformat(timespec="seconds")
    return Execution(_id(arn), status, began, stages, why if status != "done" else "")


def _steps(arn: str, sagemaker: Any) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending"
    )
    return [step for page in pages for step in page["PipelineExecutionSteps"]]


def _lines(step: str, group: str, job: str, logs: Any) -> Iterator[str]:
    from botocore.exceptions import ClientError

    try:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNamePrefix=f"{job}/")
        for page in pages:
            yield from (f"{step}: {event['message'].rstrip()}" for event in page["events"])
    except ClientError as refusal:
        if refusal.response["Error"]["Code"] != "ResourceNotFoundException":  # no job has written a line yet
            raise


def _carry_approval(project: Project, profile: Profile, workspace: OpenWorkspace, clients: Clients) -> Iterator[str]:
    """`lakewright models approve` alone approves; SageMaker's registry follows here."""
    from lakewright.pipeline.runs import noted_runs
    from lakewright.registry.versions import champion

    if project.register_.approval != "manual":
        return
    sagemaker = clients("sagemaker")
    waiting = sagemaker.list_model_packages(
        ModelPackageGroupName=group_of(project, settings_of(profile)), ModelApprovalStatus="PendingManualApproval"
    )["ModelPackageSummaryList"]
    if not waiting:
        return
    opened = workspace()
    approved = champion(opened.tracking, project.model)
    if approved is None:
        return
    run = approved.tags.get("lakewright.run_id")
    executions = {described(project, note.name) for note in noted_runs(project, opened) if note.run_id == run}
    for each in waiting:
        if each.get("ModelPackageDescription") in executions:
            sagemaker.update_model_package(
                ModelPackageArn=each["ModelPackageArn"],
                ModelApprovalStatus="Approved",
                ApprovalDescription=f"{approved} is the champion",
            )
            yield f"approved version {each['ModelPackageVersion']} of {each['ModelPackageGroupName']}"


def _send_endpoint(project: Project, profile: Profile, clients: Clients) -> Iterator[str]:
    settings = settings_of(profile)
    assert settings.endpoint is not None
    versions = {}
    for name, variant in settings.endpoint.variants.items():
        number = _approved(project, profile, variant.version, name, clients)
        if number is None:
            yield (
                f"endpoint {settings.endpoint.endpoint} is not made yet: no version in {group_of(project, settings)} "
                "is approved; deploy again once one is"
            )
            return
        versions[name] = number
    for request in endpoint(project, profile, versions):
        if request.operation == "application-autoscaling.register_scalable_target":
            clients("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName=settings.endpoint.endpoint)
        if line := made(request.operation, request.body, clients):
            yield line


def _approved(project: Project, profile: Profile, version: int | str, variant: str, clients: Clients) -> int | None:
    """The version's number. Raises ProfileError if it is not approved, NotFound if it does not exist."""
    settings, sagemaker = settings_of(profile), clients("sagemaker")
    group = group_of(project, settings)
    if version == "approved":
        answer = sagemaker.list_model_packages(
            ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending"
        )
        newest = answer["ModelPackageSummaryList"]
        return int(newest[0]["ModelPackageVersion"]) if newest else None
    where = profile.where("target", "endpoint", variant, "version")
    name = package_arn(project, settings, version)
    package = existing_thing(sagemaker, "describe_model_package", {"ModelPackageName": name})
    if package is None:
        raise NotFound(f"{where}: {group} has no version {version}", "name an existing version, or `approved`")
    if package["ModelApprovalStatus"] != "Approved":
        raise ProfileError(
            f"{where}: version {version} of {group} is {package['ModelApprovalStatus']}",
            "approve it first: `lakewright models approve`, then deploy; or, in SageMaker alone, "
            f"aws sagemaker update-model-package --model-package-arn {name} --model-approval-status Approved",
        )
    return int(version)


def _upload(deployment: Deployment, profile: Profile, clients: Clients) -> Iterator[str]:
    """Sends the files. The prefix names their content, so existing files are the same."""
    s3, settings = clients("s3"), settings_of(profile)
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key} if settings.kms_key else {}
    existing: dict[str, set[str]] = {}
    for uri, content in deployment.uploads.items():
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        folder = key.rpartition("/")[0]
        if folder not in existing:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/")
            existing[folder] = {each["Key"] for page in pages for each in page.get("Contents", ())}
        if key not in existing[folder]:
            s3.put_object(Bucket=bucket, Key=key, Body=content, **encrypted)
            yield f"sent {uri}"


def existing_thing(client: Any, describe: str, name: Mapping[str, Any]) -> dict[str, Any] | None:
    """The thing's description; None if it does not exist, which services report in several ways."""
    from botocore.exceptions import ClientError

    try:
        description: dict[str, Any] = getattr(client, describe)(**name)
        return description
    except ClientError as refusal:
        code, message = refusal.response["Error"]["Code"], refusal.response["Error"].get("Message", "").lower()
        unknown = any(words in message for words in ("could not find", "does not exist", "not found"))
        if code in ("ResourceNotFound", "ResourceNotFoundException") or (code.startswith("Validation") and unknown):
            return None
        raise


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; definitions are JSON in a string."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except (TypeError, ValueError):
        return bool(one == other)


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
