"""Sends a deployment with azure-ai-ml, and reads the state of its runs.

azure-ai-ml loads every entity from the files that `lakewright deploy --dry-run --out DIR` writes.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError, MissingPackage
from lakewright.pipeline import STAGES
from lakewright.settings.project import Project
from lakewright.targets import Deployment, Execution, OpenWorkspace, Request, Status
from lakewright.targets.azureml.endpoint import model_asset
from lakewright.targets.azureml.settings import AzureMLSettings
from lakewright.targets.files import write
from lakewright.targets.owned import TAG, full_name, refuse_foreign

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from lakewright.workspace import Workspace

DIGEST, VERSION = "lakewright.digest", "lakewright.model_version"
SHOWN = 20  # executions whose steps are read
MANAGEMENT = "https://management.azure.com"
STATUS: Mapping[str, Status] = {  # JobStatus of Azure ML's API
    **dict.fromkeys(
        ("NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Scheduled", "Paused"), "waiting"
    ),
    **dict.fromkeys(("Running", "Finalizing", "CancelRequested", "NotResponding"), "running"),
    **dict.fromkeys(("Failed", "Unknown"), "failed"),
    "Completed": "done",
    "Canceled": "stopped",
}


def connect(settings: AzureMLSettings) -> MLClient:
    """A client with the credential of DefaultAzureCredential: a managed identity, the environment, `az login`."""
    try:
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise MissingPackage("azure-ai-ml", "azure") from None
    logging.getLogger("azure.identity").setLevel(logging.ERROR)  # it also logs what it raises, at length
    return MLClient(
        DefaultAzureCredential(), settings.subscription, settings.resource_group, workspace_name=settings.workspace
    )


@contextmanager
def answered(settings: AzureMLSettings) -> Iterator[None]:
    """Refusals of Azure ML, and files that azure-ai-ml cannot read, become LakewrightErrors."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError
    from marshmallow import ValidationError

    try:
        yield
    except ClientAuthenticationError as failure:
        raise LakewrightError(
            f"signing in to Azure failed: {str(failure).splitlines()[0]}",
            "az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; check the subscription, the "
            "resource group, and the permissions of your identity",
        ) from failure
    except (AzureError, MlException, ValidationError) as failure:
        raise LakewrightError(
            f"Azure ML ({settings.workspace or 'no workspace'}) answered: {failure}",
            "check the subscription, the resource group, the workspace, and the permissions of your identity",
        ) from failure


def send(
    client: MLClient,
    deployment: Deployment,
    project: Project,
    workspace: OpenWorkspace,
    settings: AzureMLSettings,
) -> Iterator[str]:
    """Sends clusters and environments first, endpoints last: their deployments name a model, which exists after an
    approval."""
    from azure.ai.ml import load_compute, load_data, load_environment
    from azure.ai.ml.entities._load_functions import load_schedule  # `az ml` imports it from there, too

    _refuse_foreign(client, project, settings)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(deployment, folder)
        for name in fnmatch.filter(deployment.files, "compute-*.yml"):
            compute = load_compute(folder / name)
            client.compute.begin_create_or_update(compute).result()
            yield f"cluster {compute.name}"
        for request in deployment.requests:
            yield _attach(client, request)
        for name in fnmatch.filter(deployment.files, "environment*.yml"):
            environment = client.environments.create_or_update(load_environment(folder / name))
            yield f"environment {environment.name}:{environment.version}"
        if "data.yml" in deployment.files:
            data = client.data.create_or_update(load_data(folder / "data.yml"))
            yield f"data asset {data.name}:{data.version}"
        for name in fnmatch.filter(deployment.files, "*schedule.yml"):
            schedule = client.schedules.begin_create_or_update(load_schedule(folder / name)).result()
            yield f"schedule {schedule.name}"
        yield from _endpoints(client, deployment, folder, project, workspace, settings)


def _refuse_foreign(client: MLClient, project: Project, settings: AzureMLSettings) -> None:
    """Raises ProfileError if an existing endpoint belongs to another project."""
    for kind, requested, operations in (
        ("online", settings.online, client.online_endpoints),
        ("batch", settings.batch, client.batch_endpoints),
    ):
        for endpoint in operations.list() if requested is not None else ():
            if requested is not None and endpoint.name == requested.name:
                owner = (endpoint.tags or {}).get(TAG)
                refuse_foreign(
                    f"{kind} endpoint {requested.name}", owner, project, f"name another (target.{kind}.name)"
                )


def _endpoints(
    client: MLClient,
    deployment: Deployment,
    folder: Path,
    project: Project,
    workspace: OpenWorkspace,
    settings: AzureMLSettings,
) -> Iterator[str]:
    from azure.ai.ml import load_batch_endpoint, load_online_deployment, load_online_endpoint
    from azure.ai.ml.entities._load_functions import load_model_batch_deployment

    if "endpoint.yml" not in deployment.files and "batch-endpoint.yml" not in deployment.files:
        return
    asset = registered(client, project, workspace(), model_asset(project, settings))
    if asset is None:
        yield f"the endpoints wait: {project.model} has no champion yet; run the project, then deploy again"
        return
    yield asset
    if "endpoint.yml" in deployment.files:
        # Traffic needs existing deployments: a new endpoint has none.
        endpoint = load_online_endpoint(folder / "endpoint.yml")
        traffic, mirror = endpoint.traffic, endpoint.mirror_traffic
        if not any(each.name == endpoint.name for each in client.online_endpoints.list()):
            endpoint.traffic, endpoint.mirror_traffic = {}, {}
            client.online_endpoints.begin_create_or_update(endpoint).result()
            yield f"online endpoint {endpoint.name}"
        for name in fnmatch.filter(deployment.files, "deployment-*.yml"):
            online = load_online_deployment(folder / name)
            client.online_deployments.begin_create_or_update(online).result()
            yield f"deployment {online.name} of {online.endpoint_name}"
        endpoint.traffic, endpoint.mirror_traffic = traffic, mirror
        client.online_endpoints.begin_create_or_update(endpoint).result()
        yield f"traffic of {endpoint.name}: {json.dumps(traffic)}"
    if "batch-endpoint.yml" in deployment.files:
        batch = load_batch_endpoint(folder / "batch-endpoint.yml")
        client.batch_endpoints.begin_create_or_update(batch).result()
        yield f"batch endpoint {batch.name}"
        scoring = load_model_batch_deployment(folder / "batch-deployment.yml")
        client.batch_deployments.begin_create_or_update(scoring).result()
        yield f"deployment {scoring.name} of {scoring.endpoint_name}"


def registered(client: MLClient, project: Project, workspace: Workspace, name: str) -> str | None:
    """Makes the champion the newest version of the model asset, if it is not; None without a champion.

    An asset has a version for each served model, not for each trained one: an earlier champion that returns is a new
    version.
    """
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import ResourceNotFoundError

    from lakewright.model.folder import verify
    from lakewright.registry.versions import champion, download

    version = champion(workspace.tracking, project.model)
    if version is None:
        return None
    try:
        numbered = [model for model in client.models.list(name=name) if str(model.version).isdigit()]
    except ResourceNotFoundError:
        numbered = []
    newest = max(numbered, key=lambda model: int(model.version), default=None)
    if newest is not None:
        served = (newest.tags or {}).get(VERSION, "").partition(" version ")[0]
        remedy = "name another (target.model)"
        refuse_foreign(f"model asset {name}", None, project, remedy, serves=[served], model=project.model)
    if newest is not None and newest.tags.get(DIGEST) == version.digest:
        return f"model asset {name}:{newest.version}, which is {version} already"
    folder = download(workspace.tracking, version, workspace.folder / "downloads")
    verify(folder)
    tags = {DIGEST: version.digest, VERSION: str(version)}
    asset = client.models.create_or_update(Model(name=name, path=str(folder), type="custom_model", tags=tags))
    return f"model asset {name}:{asset.version}, from {version}"


def start(client: MLClient, files: Mapping[str, Any], file: str) -> Execution:
    from azure.ai.ml import load_job

    with TemporaryDirectory() as scratch:
        write(Deployment(files), Path(scratch))
        job = client.jobs.create_or_update(load_job(Path(scratch) / file))
    return Execution(job.name, STATUS[job.status or "NotStarted"], _began(job), page=job.studio_url or "")


def executions(client: MLClient, project: Project) -> list[Execution]:
    ours = [job for job in client.jobs.list() if (job.tags or {}).get(TAG) == full_name(project)]
    ours.sort(key=_began, reverse=True)
    return [_execution(client, job) for job in ours[:SHOWN]]


def _execution(client: MLClient, job: Any) -> Execution:
    steps = {step.display_name: STATUS[step.status] for step in client.jobs.list(parent_job_name=job.name)}
    failed = [name for name, status in steps.items() if status == "failed"]
    return Execution(
        id=job.name,
        status=STATUS[job.status],
        began=_began(job),
        stages=steps,
        why=f"the step {', '.join(failed)} failed" if failed else "",
        page=job.studio_url or "",
    )


def log(client: MLClient, execution: Execution) -> Iterator[str]:
    """The output of each step's command so far, as Azure ML keeps it."""
    order = [stage.name for stage in STAGES]
    steps = [step for step in client.jobs.list(parent_job_name=execution.id) if step.display_name in order]
    for step in sorted(steps, key=lambda step: order.index(step.display_name)):
        # The same signed addresses that jobs.stream reads, which would wait for the end
        files = client.jobs._runs_operations.get_run_details(step.name).log_files or {}
        for name in sorted(fnmatch.filter(files, "user_logs/*")):
            with urllib.request.urlopen(files[name], timeout=60) as lines:
                for line in lines:
                    yield f"{step.display_name}: {line.decode(errors='replace').rstrip()}"


def _began(job: Any) -> str:
    created = job.creation_context.created_at if job.creation_context else None
    at = datetime.fromisoformat(created) if isinstance(created, str) else created or datetime.now(UTC)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _attach(client: MLClient, request: Request) -> str:
    """Attaches the compute. The access token is a secret, so it is added here and is not in the request."""
    token = os.environ.get("DATABRICKS_TOKEN")
    if not token:
        raise LakewrightError(
            "attaching the Databricks workspace needs the environment variable DATABRICKS_TOKEN, which is not set",
            "export DATABRICKS_TOKEN=…, or remove target.databricks",
        )
    method, path = request.operation.split(" ", 1)
    body = json.loads(json.dumps(request.body))
    body["properties"]["properties"]["databricksAccessToken"] = token
    body["location"] = body["location"] or client.workspaces.get(client.workspace_name).location
    bearer = client._credential.get_token(f"{MANAGEMENT}/.default").token
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    request_to_azure = urllib.request.Request(MANAGEMENT + path, json.dumps(body).encode(), headers, method=method)
    try:
        urllib.request.urlopen(request_to_azure, timeout=60).close()
    except urllib.error.HTTPError as failure:
        raise LakewrightError(
            f"Azure answered {failure.code}: {failure.read(2000).decode(errors='replace')}",
            "check target.databricks, and the permissions of your identity in the workspace",
        ) from None
    return f"attached compute {path.partition('?')[0].rpartition('/')[2]}"
