"""The endpoints: requests answered by blue and green, files scored on nodes that cost less.

Both serve the model asset, which is made from the champion when a project is deployed (sending.py), so that a model
without approval is never served. The code of a deployment imports score.py from the installed package.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-endpoint-online,
…/reference-yaml-deployment-managed-online, …/reference-yaml-endpoint-batch, …/reference-yaml-deployment-batch
"""

from __future__ import annotations

from typing import Any

from lakewright.settings.project import Project
from lakewright.targets.azureml.pipeline import SCHEMAS, environment_named
from lakewright.targets.azureml.resources import identity
from lakewright.targets.azureml.settings import AzureMLSettings, Batch, Online, Share
from lakewright.targets.owned import TAG, full_name

ONLINE_CODE = "from lakewright.targets.azureml.score import init, run  # noqa: F401\n"
BATCH_CODE = (
    "from lakewright.targets.azureml.score import init  # noqa: F401\n"
    "from lakewright.targets.azureml.score import run_batch as run  # noqa: F401\n"
)
BATCH_DEPLOYMENT = "blue"


def files(project: Project, settings: AzureMLSettings) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if settings.online is not None:
        files |= _online(settings.online, project, settings)
    if settings.batch is not None:
        files |= _batch(settings.batch, project, settings)
    return files


def model_asset(project: Project, settings: AzureMLSettings) -> str:
    return settings.model or project.model.replace(".", "-")


def _online(online: Online, project: Project, settings: AzureMLSettings) -> dict[str, Any]:
    shares = online.deployments
    mirror = {name: share.mirror for name, share in shares.items() if share.mirror}
    endpoint = {
        "$schema": f"{SCHEMAS}/managedOnlineEndpoint.schema.json",
        "name": online.name,
        "description": f"{full_name(project)}, by lakewright",
        "auth_mode": online.auth,
        "public_network_access": "enabled" if online.public else "disabled",
        **({"location": settings.location} if settings.location is not None else {}),
        "identity": identity(settings),
        "traffic": {name: share.traffic for name, share in shares.items()},
        **({"mirror_traffic": mirror} if mirror else {}),
        "tags": {TAG: full_name(project)},
    }
    deployments = {
        f"deployment-{name}.yml": _online_deployment(name, share, online, project, settings)
        for name, share in shares.items()
    }
    return {"endpoint.yml": endpoint, **deployments, "score/score.py": ONLINE_CODE}


def _online_deployment(
    name: str, share: Share, online: Online, project: Project, settings: AzureMLSettings
) -> dict[str, Any]:
    asset = model_asset(project, settings)
    return {
        "$schema": f"{SCHEMAS}/managedOnlineDeployment.schema.json",
        "name": name,
        "endpoint_name": online.name,
        "model": f"azureml:{asset}@latest" if share.model == "latest" else f"azureml:{asset}:{share.model}",
        "code_configuration": {"code": "./score", "scoring_script": "score.py"},
        "environment": environment_named("environment-online.yml", settings),
        "instance_type": online.instance_type,
        "instance_count": online.instances,
        "app_insights_enabled": True,
        "request_settings": {
            "request_timeout_ms": online.timeout_ms,
            "max_concurrent_requests_per_instance": online.concurrent,
        },
    }


def _batch(batch: Batch, project: Project, settings: AzureMLSettings) -> dict[str, Any]:
    endpoint = {
        "$schema": f"{SCHEMAS}/batchEndpoint.schema.json",
        "name": batch.name,
        "description": f"{full_name(project)}, by lakewright",
        "auth_mode": "aad_token",
        "defaults": {"deployment_name": BATCH_DEPLOYMENT},
        "tags": {TAG: full_name(project)},
    }
    deployment = {
        "$schema": f"{SCHEMAS}/batchDeployment.schema.json",
        "name": BATCH_DEPLOYMENT,
        "endpoint_name": batch.name,
        "type": "model",
        "model": f"azureml:{model_asset(project, settings)}@latest",
        "code_configuration": {"code": "./score", "scoring_script": "batch.py"},
        "environment": environment_named("environment-batch.yml", settings),
        "compute": f"azureml:{batch.cluster.name}",
        "resources": {"instance_count": batch.instances},
        "settings": {
            "mini_batch_size": batch.mini_batch_files,
            "max_concurrency_per_instance": batch.concurrency,
            "retry_settings": {"max_retries": batch.retries, "timeout": batch.timeout_seconds},
            "error_threshold": batch.error_threshold,
            "output_action": "summary_only",  # score.py writes the predictions itself
            "logging_level": "info",
        },
    }
    return {"batch-endpoint.yml": endpoint, "batch-deployment.yml": deployment, "score/batch.py": BATCH_CODE}
