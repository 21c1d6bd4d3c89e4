"""Sends what was made, with azure-ai-ml, and asks the workspace what became of it.

Every entity is loaded by azure-ai-ml from the very files that a person reads (`lakewright deploy --dry-run --out DIR`).
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
SHOWN = 20  # executions whose steps are asked for
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
    """By whatever DefaultAzureCredential finds: a managed identity, the environment, `az login`."""
    try:
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise MissingPackage("azure-ai-ml", "azure") from None
    logging.getLogger("azure.identity").setLevel(logging.ERROR)  # it logs what it raises, a page of it
    return MLClient(
        DefaultAzureCredential(), settings.subscription, settings.resource_group, workspace_name=settings.workspace
    )


@contextmanager
def answered(settings: AzureMLSettings) -> Iterator[None]:
    """What Azure ML refuses, or azure-ai-ml cannot read, becomes a LakewrightError."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError
    from marshmallow import ValidationError

    try:
        yield
    except ClientAuthenticationError as failure:
        raise LakewrightError(
            f"signing in to Azure failed: {str(failure).splitlines()[0]}",
            "az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; check the subscription, the "
            "resource group, and what your identity may do there",
        ) from failure
    except (AzureError, MlException, ValidationError) as failure:
        raise LakewrightError(
            f"Azure ML ({settings.workspace or 'no workspace'}) answered: {failure}",
            "check the subscription, the resource group, the workspace, and what your identity may do there",
        ) from failure


def send(
    client: MLClient,
    deployment: Deployment,
    project: Project,
    workspace: OpenWorkspace,
    settings: AzureMLSettings,
) -> Iterator[str]:
    """Clusters and environments first, endpoints last: their deployments name a model, which is there once one was
    approved."""
    from azure.ai.ml import load_compute, load_data, load_environment
    from azure.ai.ml.entities._load_functions import load_schedule  # `az ml` has it from there, too

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
        if "schedule.yml" in deployment.files:
            schedule = client.schedules.begin_create_or_update(load_schedule(folder / "schedule.yml")).result()
            yield f"schedule {schedule.name}"
        yield from _endpoints(client, deployment, folder, project, workspace, settings)


def _refuse_foreign(client: MLClient, project: Project, settings: AzureMLSettings) -> None:
    """Raises ProfileError where an endpoint is there, and of another project."""
    for kind, wanted, there in (
        ("online", settings.online, client.online_endpoints),
        ("batch", settings.batch, client.batch_endpoints),
    ):
        for endpoint in there.list() if wanted is not None else ():
            if wanted is not None and endpoint.name == wanted.name:
                owner = (endpoint.tags or {}).get(TAG)
                refuse_foreign(f"{kind} endpoint {wanted.name}", owner, project, f"name another (target.{kind}.name)")


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
    made = registered(client, project, workspace(), model_asset(project, settings))
    if made is None:
        yield f"the endpoints wait: {project.model} has no champion yet; run the project, then deploy again"
        return
    yield made
    if "endpoint.yml" in deployment.files:
        # Traffic goes to deployments that are there: none at first.
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
    """Makes the champion the newest version of the model asset, where it is not; None where there is no champion.

    An asset's versions count what was served, not what was trained: a champion of before, put back, is a new version.
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
    made = client.models.create_or_update(Model(name=name, path=str(folder), type="custom_model", tags=tags))
    return f"model asset {name}:{made.version}, from {version}"


def start(client: MLClient, files: Mapping[str, Any]) -> Execution:
    from azure.ai.ml import load_job

    with TemporaryDirectory() as scratch:
        write(Deployment(files), Path(scratch))
        job = client.jobs.create_or_update(load_job(Path(scratch) / "pipeline.yml"))
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
    """What each step's command wrote so far, as Azure ML keeps it."""
    order = [stage.name for stage in STAGES]
    steps = [step for step in client.jobs.list(parent_job_name=execution.id) if step.display_name in order]
    for step in sorted(steps, key=lambda step: order.index(step.display_name)):
        # The addresses, signed for a while, that jobs.stream (which waits for the end) reads itself
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
    """Of what is sent, the access token alone is not in the request: it is a secret."""
    token = os.environ.get("DATABRICKS_TOKEN")
    if not token:
        raise LakewrightError(
            "attaching the Databricks workspace needs the environment variable DATABRICKS_TOKEN, which is not set",
            "export DATABRICKS_TOKEN=…, or leave target.databricks out",
        )
    method, path = request.operation.split(" ", 1)
    body = json.loads(json.dumps(request.body))
    body["properties"]["properties"]["databricksAccessToken"] = token
    body["location"] = body["location"] or client.workspaces.get(client.workspace_name).location
    bearer = client._credential.get_token(f"{MANAGEMENT}/.default").token
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    asked = urllib.request.Request(MANAGEMENT + path, json.dumps(body).encode(), headers, method=method)
    try:
        urllib.request.urlopen(asked, timeout=60).close()
    except urllib.error.HTTPError as failure:
        raise LakewrightError(
            f"Azure answered {failure.code}: {failure.read(2000).decode(errors='replace')}",
            "check target.databricks, and what your identity may do in the workspace",
        ) from None
    return f"attached compute {path.partition('?')[0].rpartition('/')[2]}"
