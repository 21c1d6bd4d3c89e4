"""(project, profile) → a Declarative Automation Bundle, and the same as requests.

https://docs.databricks.com/aws/en/dev-tools/bundles/resources. `databricks.yml` is for the Databricks CLI (with the
files that `deploy --out` writes beside it); the requests are for `lakewright deploy`, which needs no CLI.
Both are made from the same resources. Values that only the workspace knows have the form of bundles in both:
`${resources.jobs.stages.id}`, `${var.champion_version}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Deployment, Request
from lakewright.targets.databricks import jobs
from lakewright.targets.databricks.settings import DatabricksSettings
from lakewright.targets.files import as_yaml
from lakewright.targets.owned import TAG
from lakewright.targets.project_files import shipped
from lakewright.targets.single_jobs import single_jobs

BUNDLE = "databricks.yml"
CATALOG = "/api/2.1/unity-catalog"
PARTS = ("catalog_name", "schema_name", "name")
# The names in Unity Catalog's permissions; "the securable type for models is FUNCTION" (databricks-sdk,
# RegisteredModelsAPI).
SECURABLES = {"schemas": "schema", "volumes": "volume", "registered_models": "function"}


def deployment(project: Project, profile: Profile) -> Deployment:
    settings = cast(DatabricksSettings, profile.target)
    things = resources(project, profile, settings)
    uploads = _uploads(project, profile, settings)
    folder = jobs.folder_of(project, settings)
    bundle = {
        "bundle": {"name": project.name},
        "workspace": {
            **({"host": settings.host} if settings.host else {}),
            "root_path": f"{folder}/.bundle",
            "file_path": folder,
        },
        "sync": {"include": [place.removeprefix(f"{folder}/") for place in uploads]},
        "variables": _variables(project, settings),
        "resources": _in_schema(things),
    }
    return Deployment({BUNDLE: {name: part for name, part in bundle.items() if part}}, tuple(requests(things)), uploads)


def resources(project: Project, profile: Profile, settings: DatabricksSettings) -> dict[str, dict[str, Any]]:
    """kind → key → the resource, in the form of bundles."""
    catalog, schema = project.schema_.split(".")
    grants: dict[str, list[dict[str, Any]]] = {}
    for grant in settings.grants:
        grants.setdefault(grant.securable, []).append({"principal": grant.to, "privileges": grant.privileges})

    def granted(on: str) -> dict[str, Any]:
        return {"grants": grants[on]} if on in grants else {}

    things: dict[str, dict[str, Any]] = {
        "schemas": {"schema": {"catalog_name": catalog, "name": schema, **granted("schema")}},
        "registered_models": {
            key: {
                **dict(zip(("catalog_name", "schema_name", "name"), name.split("."), strict=True)),
                **granted("model"),
            }
            for key, name in models(project, settings).items()
        },
        "experiments": {"runs": {"name": f"/Shared/{jobs.name_of(project)}"}},
        "jobs": {"stages": jobs.stages_job(project, profile, settings)},
    }
    if settings.volume is not None:
        volume = {"catalog_name": catalog, "schema_name": schema, "name": settings.volume, "volume_type": "MANAGED"}
        things["volumes"] = {"volume": {**volume, **granted("volume")}}
    if settings.interactive is not None:
        things["clusters"] = {
            "interactive": {
                "cluster_name": jobs.name_of(project),
                **jobs.machines_of(settings.interactive, settings.environment, project),
                "autotermination_minutes": settings.interactive.minutes,
            }
        }
    for job in single_jobs(project, profile):
        things["jobs"][job] = jobs.single_job(job, project, profile, settings)
    if settings.base_models:
        things["jobs"]["base_models"] = jobs.base_models_job(project, settings)
    if settings.approval is not None:
        endpoint = endpoint_name(project, settings) if settings.endpoint else ""
        things["jobs"]["approval"] = jobs.approval_job(project, profile, settings, endpoint)
    if settings.endpoint is not None:
        things["model_serving_endpoints"] = {"endpoint": _endpoint(project, settings)}
    return things


def _in_schema(things: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Resources of the schema name it by reference, so that the Databricks CLI makes the schema first."""
    schema = things["schemas"]["schema"]

    def bound(resource: dict[str, Any]) -> dict[str, Any]:
        if (resource.get("catalog_name"), resource.get("schema_name")) != (schema["catalog_name"], schema["name"]):
            return resource
        return {**resource, "schema_name": "${resources.schemas.schema.name}"}

    return {kind: {key: bound(resource) for key, resource in named.items()} for kind, named in things.items()}


def requests(things: dict[str, dict[str, Any]]) -> Iterator[Request]:
    """The resources as calls of the REST API, ordered so that the things that each one names exist."""
    paths = {
        "schemas": f"{CATALOG}/schemas",
        "volumes": f"{CATALOG}/volumes",
        "registered_models": f"{CATALOG}/models",
        "experiments": "/api/2.0/mlflow/experiments/create",
        "clusters": "/api/2.1/clusters/create",
        "jobs": "/api/2.2/jobs/create",
        "model_serving_endpoints": "/api/2.0/serving-endpoints",
    }
    for kind, path in paths.items():
        for resource in things.get(kind, {}).values():
            body = {name: part for name, part in resource.items() if name != "grants"}
            yield Request(f"POST {path}", body)
            if "grants" in resource:
                changes = [
                    {"principal": grant["principal"], "add": grant["privileges"]} for grant in resource["grants"]
                ]
                place = f"{CATALOG}/permissions/{SECURABLES[kind]}/{full_name(resource)}"
                yield Request(f"PATCH {place}", {"changes": changes})
    if "approval" in things["jobs"]:  # databricks_uc_registry_messages.proto of MLflow; bundles have no field for it
        for model in things["registered_models"].values():
            body = {"name": full_name(model), "deployment_job_id": "${resources.jobs.approval.id}"}
            yield Request("PATCH /api/2.0/mlflow/unity-catalog/registered-models/update", body)


def models(project: Project, settings: DatabricksSettings) -> dict[str, str]:
    """key → catalog.schema.name: the project's model, and one for each base model."""
    others = {f"model_{suffix}": f"{project.model}_{suffix}" for suffix in settings.base_models}
    return {"model": project.model, **others}


def full_name(resource: dict[str, Any]) -> str:
    parts = (resource.get(name) for name in PARTS)
    return ".".join(part for part in parts if part)


def endpoint_name(project: Project, settings: DatabricksSettings) -> str:
    """The default contains the schema: an endpoint's name is unique in the whole workspace."""
    return (settings.endpoint and settings.endpoint.name) or jobs.name_of(project).replace(".", "-")


def _variables(project: Project, settings: DatabricksSettings) -> dict[str, Any]:
    aliases = settings.endpoint.traffic if settings.endpoint else {}
    return {
        f"{alias}_version": {"description": f"the version of {project.model} that has the alias {alias}"}
        for alias in aliases
    }


def _endpoint(project: Project, settings: DatabricksSettings) -> dict[str, Any]:
    """https://docs.databricks.com/api/workspace/servingendpoints/create: one served entity for each alias."""
    endpoint = settings.endpoint
    assert endpoint is not None
    served = [
        {
            "name": alias,
            "entity_name": project.model,
            "entity_version": f"${{var.{alias}_version}}",
            "workload_size": endpoint.workload_size,
            "workload_type": endpoint.workload_type,
            "scale_to_zero_enabled": endpoint.scale_to_zero,
        }
        for alias in endpoint.traffic
    ]
    routes = [{"served_entity_name": alias, "traffic_percentage": part} for alias, part in endpoint.traffic.items()]
    body: dict[str, Any] = {
        "name": endpoint_name(project, settings),
        "config": {"served_entities": served, "traffic_config": {"routes": routes}},
        "tags": [{"key": TAG, "value": jobs.name_of(project)}],
    }
    if endpoint.inference_table is not None:
        catalog, schema = project.schema_.split(".")
        table = {"catalog_name": catalog, "schema_name": schema, "table_name_prefix": endpoint.inference_table}
        body["ai_gateway"] = {"inference_table_config": {**table, "enabled": True}}
    return body


def _uploads(project: Project, profile: Profile, settings: DatabricksSettings) -> dict[str, bytes]:
    """Path in the workspace → content: the project, its profile and Python, and files that the workspace lacks."""
    files = [project.path]
    wheel, _ = jobs.package(settings)
    if wheel:
        files.append((profile.folder or Path()) / wheel)
    if settings.approval is not None:
        files.append(Path(__file__).with_name(jobs.APPROVAL))
    # `problems` reports a missing wheel
    contents = {file.name: file.read_bytes() for file in files if file.is_file()}
    contents |= shipped(project.folder, ".py").read()
    contents["profiles.yml"] = as_yaml(profile.as_sent).encode()
    return {f"{jobs.folder_of(project, settings)}/{name}": content for name, content in contents.items()}
