"""Sends and watches through databricks-sdk. A request is sent as the Deployment has it, or as a change if its thing
exists already. The SDK finds its credentials itself (DATABRICKS_TOKEN, a profile of ~/.databrickscfg, OAuth)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import lakewright
from lakewright.errors import LakewrightError, MissingPackage, NotFound
from lakewright.pipeline import STAGES
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Deployment, Execution, Status
from lakewright.targets.databricks.bundle import BUNDLE, CATALOG, full_name
from lakewright.targets.databricks.jobs import name_of, single_name
from lakewright.targets.databricks.settings import DatabricksSettings
from lakewright.targets.owned import TAG, refuse_foreign

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.compute import ClusterDetails
    from databricks.sdk.service.jobs import BaseRun, RunState

NEWEST = 50  # runs that are read
PATIENCE = 60  # seconds for which an address is tried; the SDK's default is five minutes
Body = Mapping[str, Any]


@contextmanager
def client_of(profile: Profile) -> Iterator[WorkspaceClient]:
    """A client; errors that Databricks answers become LakewrightErrors."""
    try:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config
        from databricks.sdk.errors.base import DatabricksError
    except ImportError:
        raise MissingPackage("databricks-sdk", "databricks") from None
    settings = cast(DatabricksSettings, profile.target)
    where = settings.host or "the workspace"
    try:
        config = Config(
            host=settings.host,
            retry_timeout_seconds=PATIENCE,
            product="lakewright",
            product_version=lakewright.__version__,
        )
        yield WorkspaceClient(config=config)
    except DatabricksError as error:
        raise LakewrightError(
            f"Databricks at {where} answered: {error}",
            f"{profile.where('target')}: check that the things it names exist, and that you have the permission",
        ) from None
    except (ValueError, OSError) as error:  # the SDK's, without credentials or workspace
        raise LakewrightError(
            f"databricks-sdk cannot reach {where}: {error}",
            "export DATABRICKS_TOKEN=…, or `databricks auth login`",
        ) from None


@dataclass
class Sending:
    """Sends one deployment; one method for each kind of request returns a line about the change, or an empty one."""

    client: WorkspaceClient
    deployment: Deployment
    project: Project
    ids: dict[str, int] = field(default_factory=dict)  # job's name → its id

    def lines(self) -> Iterator[str]:
        self._refuse_foreign()
        yield from self._uploads()
        steps: dict[str, Callable[[str, Body], str]] = {
            f"POST {CATALOG}/schemas": self._catalog,
            f"POST {CATALOG}/volumes": self._catalog,
            f"POST {CATALOG}/models": self._catalog,
            f"PATCH {CATALOG}/permissions": self._grants,
            "POST /api/2.0/mlflow/experiments": self._experiment,
            "POST /api/2.1/clusters": self._cluster,
            "POST /api/2.2/jobs": self._job,
            "PATCH /api/2.0/mlflow/unity-catalog": self._deployment_job,
            "POST /api/2.0/serving-endpoints": self._endpoint,
        }
        for request in self.deployment.requests:
            step = next(step for start, step in steps.items() if request.operation.startswith(start))
            line = step(request.operation.split(" ")[1], request.body)
            if line:
                yield line

    def _refuse_foreign(self) -> None:
        """Raises ProfileError if something of another project, or without a known owner, would be changed."""
        for request in self.deployment.requests:
            path, body = request.operation.split(" ")[1], request.body
            if path == "/api/2.0/serving-endpoints":
                self._refuse_foreign_endpoint(body["name"], self._get(f"{path}/{body['name']}"))
            elif path == "/api/2.2/jobs/create":
                number = job_id(self.client, body["name"])
                job = self._get("/api/2.2/jobs/get", {"job_id": number}) if number is not None else None
                if job is not None:
                    self._refuse_unmarked(f"job {body['name']}", job.get("settings", {}).get("tags"))
            elif path == "/api/2.1/clusters/create":
                cluster = self._cluster_named(body["cluster_name"])
                if cluster is not None:
                    self._refuse_unmarked(f"cluster {body['cluster_name']}", cluster.custom_tags)

    def _refuse_foreign_endpoint(self, name: str, existing: Body | None) -> None:
        if existing is None:
            return
        config = existing.get("config") or existing.get("pending_config") or {}
        refuse_foreign(
            f"endpoint {name}",
            next((tag.get("value") for tag in existing.get("tags") or () if tag["key"] == TAG), None),
            self.project,
            "name another (target.endpoint.name)",
            serves=[entity.get("entity_name", "") for entity in config.get("served_entities", ())],
            model=self.project.model,
        )

    def _refuse_unmarked(self, thing: str, tags: Body | None) -> None:
        """Jobs and clusters have the whole name of their project, so only the mark can be missing."""
        if "lakewright" not in (tags or {}):
            refuse_foreign(thing, None, self.project, "give that one another name, or delete it")

    def _uploads(self) -> Iterator[str]:
        from databricks.sdk.service.workspace import ExportFormat, ImportFormat

        folders = {place.rpartition("/")[0].removeprefix("/Workspace") for place in self.deployment.uploads}
        for folder in sorted(folders):
            self.client.workspace.mkdirs(folder)
        for place, content in self.deployment.uploads.items():
            path = place.removeprefix("/Workspace")
            status = self._get("/api/2.0/workspace/get-status", {"path": path})
            if status is not None:
                with self.client.workspace.download(path, format=ExportFormat.AUTO) as file:
                    if file.read() == content:
                        continue
            self.client.workspace.upload(path, content, format=ImportFormat.AUTO, overwrite=True)
            yield f"{place}: uploaded"

    def _catalog(self, path: str, body: Body) -> str:
        name = full_name(dict(body))
        if self._get(f"{path}/{name}") is not None:
            return ""
        self._do("POST", path, body)
        return f"{path.rpartition('/')[2].removesuffix('s')} {name}: made"

    def _grants(self, path: str, body: Body) -> str:
        granted = {
            each["principal"]: {*each.get("privileges", ())}
            for each in (self._get(path) or {}).get("privilege_assignments", ())
        }
        new = [change for change in body["changes"] if not {*change["add"]} <= granted.get(change["principal"], set())]
        if not new:
            return ""
        self._do("PATCH", path, {"changes": new})
        return f"{path.rpartition('/')[2]}: granted to {', '.join(change['principal'] for change in new)}"

    def _experiment(self, path: str, body: Body) -> str:
        if self._get("/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": body["name"]}) is not None:
            return ""
        self._do("POST", path, body)
        return f"experiment {body['name']}: made"

    def _cluster(self, path: str, body: Body) -> str:
        name = body["cluster_name"]
        existing = self._cluster_named(name)
        if existing is None:
            self._do("POST", path, body)
            return f"cluster {name}: made"
        if within(body, existing.as_dict()):  # an edit would restart it while it is in use
            return ""
        self._do("POST", "/api/2.1/clusters/edit", {"cluster_id": existing.cluster_id, **body})
        return f"cluster {name}: changed"

    def _cluster_named(self, name: str) -> ClusterDetails | None:
        return next((each for each in self.client.clusters.list() if each.cluster_name == name), None)

    def _job(self, path: str, body: Body) -> str:
        body, name = self._filled(body), body["name"]
        number = job_id(self.client, name)
        if number is None:
            self.ids[name] = self._do("POST", path, body)["job_id"]
            return f"job {name}: made, {self.ids[name]}"
        self.ids[name] = number
        old = self._get("/api/2.2/jobs/get", {"job_id": number}) or {}
        self._do("POST", "/api/2.2/jobs/reset", {"job_id": number, "new_settings": body})
        return "" if within(body, old.get("settings", {})) else f"job {name}: changed, {number}"

    def _deployment_job(self, path: str, body: Body) -> str:
        body = self._filled(body)
        existing = self._get(path.replace("/update", "/get"), {"name": body["name"]}) or {}
        if str(existing.get("registered_model", {}).get("deployment_job_id")) == str(body["deployment_job_id"]):
            return ""
        self._do("PATCH", path, {**body, "deployment_job_id": str(body["deployment_job_id"])})
        return f"model {body['name']}: approved by the job {body['deployment_job_id']}"

    def _endpoint(self, path: str, body: Body) -> str:
        name = body["name"]
        versions: dict[str, str] = {}
        for entity in body["config"]["served_entities"]:
            model, alias = entity["entity_name"], entity["name"]
            version = self._get(f"{CATALOG}/models/{model}/aliases/{alias}")
            if version is None:
                return (
                    f"endpoint {name}: waits for a version of {model} with the alias {alias}; deploy again after that"
                )
            versions[f"${{var.{alias}_version}}"] = str(version["version_num"])
        body = _replaced(body, versions)
        existing = self._get(f"{path}/{name}")
        if existing is None:
            self._do("POST", path, body)
            return f"endpoint {name}: made"
        changed = not within(body["config"], existing.get("pending_config") or existing.get("config") or {})
        if changed:
            self._do("PUT", f"{path}/{name}/config", body["config"])
        if "ai_gateway" in body and not within(body["ai_gateway"], existing.get("ai_gateway") or {}):
            self._do("PUT", f"{path}/{name}/ai-gateway", body["ai_gateway"])
            changed = True
        return f"endpoint {name}: changed" if changed else ""

    def _filled(self, body: Body) -> Body:
        """The body with the ids of jobs in place of ${resources.jobs.KEY.id}."""
        jobs = self.deployment.files[BUNDLE]["resources"]["jobs"]
        ids = {f"${{resources.jobs.{key}.id}}": self.ids.get(job["name"]) for key, job in jobs.items()}
        return cast(Body, _replaced(body, ids))

    def _get(self, path: str, query: Body | None = None) -> dict[str, Any] | None:
        """The answer to a GET; None if the thing does not exist."""
        from databricks.sdk.errors import NotFound

        try:
            return cast(dict[str, Any], self.client.api_client.do("GET", path, query=dict(query or {})))
        except NotFound:
            return None

    def _do(self, method: str, path: str, body: Body) -> dict[str, Any]:
        return cast(dict[str, Any], self.client.api_client.do(method, path, body=dict(body)))


def within(requested: Any, existing: Any) -> bool:
    """Whether the existing thing has every requested value; Databricks adds its own defaults, and may omit empty
    values."""
    if isinstance(requested, Mapping):
        parts = existing if isinstance(existing, Mapping) else {}
        return all(within(value, parts.get(name)) for name, value in requested.items())
    if isinstance(requested, list | tuple):
        values = existing or []
        return len(requested) == len(values) and all(map(within, requested, values))
    return bool(requested == existing)


def job_id(client: WorkspaceClient, name: str) -> int | None:
    match = next((job for job in client.jobs.list(name=name) if job.settings and job.settings.name == name), None)
    return match.job_id if match else None


def deployed_job(client: WorkspaceClient, project: Project, profile: Profile, job: str | None = None) -> int:
    name = name_of(project) if job is None else single_name(job, project)
    number = job_id(client, name)
    if number is None:
        raise NotFound(f"there is no job {name} on Databricks", f"lakewright deploy --profile {profile.name}")
    return number


def executions(client: WorkspaceClient, job: int) -> list[Execution]:
    return [execution(run) for run in islice(client.jobs.list_runs(job_id=job, expand_tasks=True), NEWEST)]


def execution(run: BaseRun) -> Execution:
    names = [stage.name for stage in STAGES]
    tasks = {task.task_key: task for task in run.tasks or ()}  # of a retried task, the last try
    stages = {name: status_of(tasks[name].state) for name in names if name in tasks}
    failed = [name for name, status in stages.items() if status == "failed"]
    message = (run.state and run.state.state_message) or ""
    return Execution(
        id=str(run.run_id),
        status=status_of(run.state),
        began=datetime.fromtimestamp((run.start_time or 0) / 1000, UTC).isoformat(),
        stages=stages,
        why=" ".join(part for part in (f"{', '.join(failed)} failed:" if failed else "", message) if part),
        page=run.run_page_url or "",
    )


def status_of(state: RunState | None) -> Status:
    """https://docs.databricks.com/api/workspace/jobs/getrun (life_cycle_state, result_state)."""
    cycle = state.life_cycle_state.value if state and state.life_cycle_state else "PENDING"
    if cycle in ("TERMINATED", "TERMINATING") and state and state.result_state:
        if cycle == "TERMINATING":
            return "running"
        return {
            "SUCCESS": "done",
            "SUCCESS_WITH_FAILURES": "done",
            "EXCLUDED": "skipped",
            "DISABLED": "skipped",
            "UPSTREAM_FAILED": "skipped",
            "UPSTREAM_CANCELED": "skipped",
            "CANCELED": "stopped",
        }.get(state.result_state.value, "failed")  # type: ignore[return-value]
    return {
        "RUNNING": "running",
        "TERMINATING": "running",
        "SKIPPED": "skipped",
        "INTERNAL_ERROR": "failed",
        "TERMINATED": "failed",
    }.get(cycle, "waiting")  # type: ignore[return-value]


def log(client: WorkspaceClient, run: int) -> Iterator[str]:
    """The output of the tasks so far, in their order."""
    tasks = sorted(client.jobs.get_run(run).tasks or (), key=lambda task: task.start_time or 0)
    for task in tasks:
        if task.python_wheel_task is None or not task.start_time or task.run_id is None:
            continue
        output = client.jobs.get_run_output(task.run_id)
        yield from (f"{task.task_key}: {line}" for line in (output.logs or "").splitlines())
        if output.error:
            yield f"{task.task_key}: {output.error}"


def _replaced(value: Any, by: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _replaced(part, by) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(part, by) for part in value]
    return by.get(value, value) if isinstance(value, str) else value
