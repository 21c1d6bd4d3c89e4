"""What is sent and watched, through databricks-sdk: a request is sent as it stands in the Deployment, or, where what it
makes is there already, as the one that changes it. Credentials are the SDK's own affair (DATABRICKS_TOKEN, a profile
of ~/.databrickscfg, OAuth)."""

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
from lakewright.targets.databricks.jobs import name_of
from lakewright.targets.databricks.settings import DatabricksSettings
from lakewright.targets.owned import TAG, refuse_foreign

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.compute import ClusterDetails
    from databricks.sdk.service.jobs import BaseRun, RunState

NEWEST = 50  # runs that are looked at
PATIENCE = 60  # seconds that an address is tried for; the SDK itself tries for five minutes
Body = Mapping[str, Any]


@contextmanager
def client_of(profile: Profile) -> Iterator[WorkspaceClient]:
    """What Databricks answers with an error becomes a LakewrightError."""
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
            f"{profile.where('target')}: see that what it names is there, and that you may do this",
        ) from None
    except (ValueError, OSError) as error:  # the SDK's own, where it finds no credentials, or no workspace
        raise LakewrightError(
            f"databricks-sdk cannot reach {where}: {error}",
            "export DATABRICKS_TOKEN=…, or `databricks auth login`",
        ) from None


@dataclass
class Sending:
    """One deployment on its way; a method a kind of request, which returns what it did, or nothing."""

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
        """Raises ProfileError where something of another project, or of nobody that is known, would be changed."""
        for request in self.deployment.requests:
            path, body = request.operation.split(" ")[1], request.body
            if path == "/api/2.0/serving-endpoints":
                self._refuse_foreign_endpoint(body["name"], self._asked(f"{path}/{body['name']}"))
            elif path == "/api/2.2/jobs/create":
                number = job_id(self.client, body["name"])
                job = self._asked("/api/2.2/jobs/get", {"job_id": number}) if number is not None else None
                if job is not None:
                    self._refuse_unmarked(f"job {body['name']}", job.get("settings", {}).get("tags"))
            elif path == "/api/2.1/clusters/create":
                cluster = self._cluster_named(body["cluster_name"])
                if cluster is not None:
                    self._refuse_unmarked(f"cluster {body['cluster_name']}", cluster.custom_tags)

    def _refuse_foreign_endpoint(self, name: str, there: Body | None) -> None:
        if there is None:
            return
        config = there.get("config") or there.get("pending_config") or {}
        refuse_foreign(
            f"endpoint {name}",
            next((tag.get("value") for tag in there.get("tags") or () if tag["key"] == TAG), None),
            self.project,
            "name another (target.endpoint.name)",
            serves=[entity.get("entity_name", "") for entity in config.get("served_entities", ())],
            model=self.project.model,
        )

    def _refuse_unmarked(self, what: str, tags: Body | None) -> None:
        """Jobs and clusters have the whole name of their project, so the mark is all that can be missing."""
        if "lakewright" not in (tags or {}):
            refuse_foreign(what, None, self.project, "give that one another name, or delete it")

    def _uploads(self) -> Iterator[str]:
        from databricks.sdk.service.workspace import ExportFormat, ImportFormat

        folders = {place.rpartition("/")[0].removeprefix("/Workspace") for place in self.deployment.uploads}
        for folder in sorted(folders):
            self.client.workspace.mkdirs(folder)
        for place, content in self.deployment.uploads.items():
            path = place.removeprefix("/Workspace")
            there = self._asked("/api/2.0/workspace/get-status", {"path": path})
            if there is not None:
                with self.client.workspace.download(path, format=ExportFormat.AUTO) as kept:
                    if kept.read() == content:
                        continue
            self.client.workspace.upload(path, content, format=ImportFormat.AUTO, overwrite=True)
            yield f"{place}: uploaded"

    def _catalog(self, path: str, body: Body) -> str:
        name = full_name(dict(body))
        if self._asked(f"{path}/{name}") is not None:
            return ""
        self._do("POST", path, body)
        return f"{path.rpartition('/')[2].removesuffix('s')} {name}: made"

    def _grants(self, path: str, body: Body) -> str:
        held = {
            each["principal"]: {*each.get("privileges", ())}
            for each in (self._asked(path) or {}).get("privilege_assignments", ())
        }
        new = [change for change in body["changes"] if not {*change["add"]} <= held.get(change["principal"], set())]
        if not new:
            return ""
        self._do("PATCH", path, {"changes": new})
        return f"{path.rpartition('/')[2]}: granted to {', '.join(change['principal'] for change in new)}"

    def _experiment(self, path: str, body: Body) -> str:
        if self._asked("/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": body["name"]}) is not None:
            return ""
        self._do("POST", path, body)
        return f"experiment {body['name']}: made"

    def _cluster(self, path: str, body: Body) -> str:
        name = body["cluster_name"]
        there = self._cluster_named(name)
        if there is None:
            self._do("POST", path, body)
            return f"cluster {name}: made"
        if within(body, there.as_dict()):  # an edit would restart it under its users
            return ""
        self._do("POST", "/api/2.1/clusters/edit", {"cluster_id": there.cluster_id, **body})
        return f"cluster {name}: changed"

    def _cluster_named(self, name: str) -> ClusterDetails | None:
        return next((each for each in self.client.clusters.list() if each.cluster_name == name), None)

    def _job(self, path: str, body: Body) -> str:
        body, name = self._filled(body), body["name"]
        there = job_id(self.client, name)
        if there is None:
            self.ids[name] = self._do("POST", path, body)["job_id"]
            return f"job {name}: made, {self.ids[name]}"
        self.ids[name] = there
        before = self._asked("/api/2.2/jobs/get", {"job_id": there}) or {}
        self._do("POST", "/api/2.2/jobs/reset", {"job_id": there, "new_settings": body})
        return "" if within(body, before.get("settings", {})) else f"job {name}: changed, {there}"

    def _deployment_job(self, path: str, body: Body) -> str:
        body = self._filled(body)
        there = self._asked(path.replace("/update", "/get"), {"name": body["name"]}) or {}
        if str(there.get("registered_model", {}).get("deployment_job_id")) == str(body["deployment_job_id"]):
            return ""
        self._do("PATCH", path, {**body, "deployment_job_id": str(body["deployment_job_id"])})
        return f"model {body['name']}: approved by the job {body['deployment_job_id']}"

    def _endpoint(self, path: str, body: Body) -> str:
        name = body["name"]
        versions: dict[str, str] = {}
        for entity in body["config"]["served_entities"]:
            model, alias = entity["entity_name"], entity["name"]
            found = self._asked(f"{CATALOG}/models/{model}/aliases/{alias}")
            if found is None:
                return f"endpoint {name}: waits for a version of {model} with the alias {alias}; deploy again then"
            versions[f"${{var.{alias}_version}}"] = str(found["version_num"])
        body = _replaced(body, versions)
        there = self._asked(f"{path}/{name}")
        if there is None:
            self._do("POST", path, body)
            return f"endpoint {name}: made"
        changed = not within(body["config"], there.get("pending_config") or there.get("config") or {})
        if changed:
            self._do("PUT", f"{path}/{name}/config", body["config"])
        if "ai_gateway" in body and not within(body["ai_gateway"], there.get("ai_gateway") or {}):
            self._do("PUT", f"{path}/{name}/ai-gateway", body["ai_gateway"])
            changed = True
        return f"endpoint {name}: changed" if changed else ""

    def _filled(self, body: Body) -> Body:
        """With the ids of jobs in place of ${resources.jobs.KEY.id}."""
        jobs = self.deployment.files[BUNDLE]["resources"]["jobs"]
        known = {f"${{resources.jobs.{key}.id}}": self.ids.get(job["name"]) for key, job in jobs.items()}
        return cast(Body, _replaced(body, known))

    def _asked(self, path: str, query: Body | None = None) -> dict[str, Any] | None:
        """None where there is no such thing."""
        from databricks.sdk.errors import NotFound

        try:
            return cast(dict[str, Any], self.client.api_client.do("GET", path, query=dict(query or {})))
        except NotFound:
            return None

    def _do(self, method: str, path: str, body: Body) -> dict[str, Any]:
        return cast(dict[str, Any], self.client.api_client.do(method, path, body=dict(body)))


def within(wanted: Any, there: Any) -> bool:
    """Whether what is there has all that is wanted; Databricks adds its own defaults. What is empty may be left out."""
    if isinstance(wanted, Mapping):
        named = there if isinstance(there, Mapping) else {}
        return all(within(value, named.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        known = there or []
        return len(wanted) == len(known) and all(map(within, wanted, known))
    return bool(wanted == there)


def job_id(client: WorkspaceClient, name: str) -> int | None:
    found = next((job for job in client.jobs.list(name=name) if job.settings and job.settings.name == name), None)
    return found.job_id if found else None


def deployed_job(client: WorkspaceClient, project: Project, profile: Profile) -> int:
    found = job_id(client, name_of(project))
    if found is None:
        raise NotFound(
            f"there is no job {name_of(project)} on Databricks", f"lakewright deploy --profile {profile.name}"
        )
    return found


def executions(client: WorkspaceClient, job: int) -> list[Execution]:
    return [execution(run) for run in islice(client.jobs.list_runs(job_id=job, expand_tasks=True), NEWEST)]


def execution(run: BaseRun) -> Execution:
    names = [stage.name for stage in STAGES]
    tasks = {task.task_key: task for task in run.tasks or ()}  # of a task that was tried again, the last
    stages = {name: status_of(tasks[name].state) for name in names if name in tasks}
    failed = [name for name, status in stages.items() if status == "failed"]
    said = (run.state and run.state.state_message) or ""
    return Execution(
        id=str(run.run_id),
        status=status_of(run.state),
        began=datetime.fromtimestamp((run.start_time or 0) / 1000, UTC).isoformat(),
        stages=stages,
        why=" ".join(part for part in (f"{', '.join(failed)} failed:" if failed else "", said) if part),
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
    """What the tasks wrote so far, in their order."""
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
