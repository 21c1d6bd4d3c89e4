"""The resources that stages and endpoints need: clusters, the data asset, the attached Databricks workspace.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-compute-aml, …/reference-yaml-data
"""

from __future__ import annotations

import re
from typing import Any

from lakewright.settings.project import Project
from lakewright.targets import Request
from lakewright.targets.azureml.pipeline import SCHEMAS, version_of
from lakewright.targets.azureml.settings import AzureMLSettings, Cluster
from lakewright.targets.owned import full_name

API = "2023-10-01"
DATA = re.compile(r"(abfss|wasbs|https|azureml)://")  # the schemes of a data asset's address


def files(project: Project, settings: AzureMLSettings) -> dict[str, Any]:
    files = {f"compute-{cluster.name}.yml": _cluster(cluster, settings) for cluster in clusters(settings)}
    source = project.data.source
    if settings.data is not None and source is not None and DATA.match(source):
        files["data.yml"] = _data(settings.data, source, project)
    return files


def clusters(settings: AzureMLSettings) -> list[Cluster]:
    batch = settings.batch.cluster if settings.batch is not None else None
    return [cluster for cluster in (settings.cpu, settings.gpu, batch) if cluster is not None]


def identity(settings: AzureMLSettings) -> dict[str, Any]:
    if settings.identity is None:
        return {"type": "system_assigned"}
    return {"type": "user_assigned", "user_assigned_identities": [{"resource_id": settings.identity}]}


def _cluster(cluster: Cluster, settings: AzureMLSettings) -> dict[str, Any]:
    return {
        "$schema": f"{SCHEMAS}/amlCompute.schema.json",
        "name": cluster.name,
        "type": "amlcompute",
        **({"location": settings.location} if settings.location is not None else {}),
        "size": cluster.size,
        "tier": "low_priority" if cluster.low_priority else "dedicated",
        "min_instances": cluster.min_instances,
        "max_instances": cluster.max_instances,
        "idle_time_before_scale_down": cluster.idle_seconds,
        "identity": identity(settings),
        "tags": {"made-by": "lakewright"},
    }


def _data(name: str, source: str, project: Project) -> dict[str, Any]:
    last = source.rstrip("/").rpartition("/")[2]
    holds = {"type": "uri_file" if "." in last else "uri_folder", "path": source}
    return {
        "$schema": f"{SCHEMAS}/data.schema.json",
        "name": name,
        "version": version_of(holds),
        "description": f"what {full_name(project)} learns from",
        **holds,
    }


def requests(settings: AzureMLSettings) -> list[Request]:
    """The attached Databricks workspace. azure-ai-ml has no YAML for it: this is the body for Azure ML's own API
    (Microsoft.MachineLearningServices/workspaces/computes), without the access token, which is added at sending."""
    attached = settings.databricks
    if attached is None:
        return []
    compute = {
        "computeType": "Databricks",
        "resourceId": attached.resource_id,
        "properties": {"workspaceUrl": attached.url},
    }
    workspace = (
        f"/subscriptions/{settings.subscription}/resourceGroups/{settings.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{settings.workspace}"
    )
    operation = f"PUT {workspace}/computes/{attached.name}?api-version={API}"
    return [Request(operation, {"location": settings.location, "properties": compute})]
