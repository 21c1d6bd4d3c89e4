"""A strict Databricks: real HTTP on loopback, for the real databricks-sdk.

What the SDK's types do not allow is refused; so is what a job names and does not have. A job that is started runs
(runner.py); model versions are those of an MLflow server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from databricks.sdk.service import catalog, compute, jobs, ml, serving, workspace

from platforms.databricks.strict import Refused, conforms, conforms_to_call

TOKEN = "dapi-of-the-test"
TASKS = ("python_wheel_task", "condition_task", "run_job_task", "spark_python_task")


class Missing(Exception):
    """404"""


@dataclass
class Databricks:
    """One workspace. `files` is what a machine sees as /Workspace."""

    folder: Path
    registry: str = ""  # an MLflow server, whose model versions are Unity Catalog's
    secrets: Mapping[str, str] = field(default_factory=dict)  # SCOPE/KEY
    start: Callable[[Databricks, dict[str, Any]], None] = lambda workspace, run: None
    calls: list[tuple[str, str]] = field(default_factory=list)  # what changed something
    catalog: dict[str, dict[str, Any]] = field(default_factory=dict)  # schemas/main.demo → as it was made
    grants: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployment_jobs: dict[str, str] = field(default_factory=dict)  # model → job
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1001, 10**6)))
    host: str = ""

    def file(self, path: str) -> Path:
        """Where a machine finds what lies at /Shared/… in the workspace, which it sees as /Workspace/Shared/…"""
        if not path.startswith("/") or path.startswith("/Workspace"):
            raise Refused(f"{path} is no path of the workspace")
        return self.folder / "Workspace" / path.lstrip("/")

    def answer(self, method: str, path: str, body: Mapping[str, Any], content: bytes = b"") -> Any:
        if method != "GET":
            self.calls.append((method, path))
        for wanted, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                return handler(self, body, *found.groups(), *([content] if content else []))
        raise Missing(f"no such call here: {method} {path}")


def _catalog(made_by: Callable[..., Any], kind: str) -> Callable[..., Any]:
    def make(self: Databricks, body: Mapping[str, Any]) -> Any:
        conforms_to_call(body, made_by)
        schema = f"{body['catalog_name']}.{body.get('schema_name', body['name'])}"
        if kind != "schemas" and f"schemas/{schema}" not in self.catalog:
            raise Missing(f"Schema '{schema}' does not exist.")
        name = schema if kind == "schemas" else f"{schema}.{body['name']}"
        if f"{kind}/{name}" in self.catalog:
            raise Refused(f"{kind} {name} already exists")
        self.catalog[f"{kind}/{name}"] = {**body, "full_name": name}
        return self.catalog[f"{kind}/{name}"]

    return make


def _catalogued(self: Databricks, query: Mapping[str, Any], kind: str, name: str) -> Any:
    if f"{kind}/{name}" not in self.catalog:
        raise Missing(f"{kind} '{name}' does not exist.")
    return self.catalog[f"{kind}/{name}"]


PRIVILEGES = {  # https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges
    "schema": {"USE_SCHEMA", "SELECT", "MODIFY", "EXECUTE", "READ_VOLUME", "WRITE_VOLUME", "APPLY_TAG", "MANAGE"}
    | {"CREATE_TABLE", "CREATE_MODEL", "CREATE_VOLUME", "CREATE_FUNCTION", "CREATE_MATERIALIZED_VIEW"},
    "volume": {"READ_VOLUME", "WRITE_VOLUME", "APPLY_TAG", "MANAGE"},
    "function": {"EXECUTE", "APPLY_TAG", "MANAGE"},
}


def _grant(self: Databricks, body: Mapping[str, Any], kind: str, name: str) -> Any:
    conforms_to_call(body, catalog.GrantsAPI.update, ("securable_type", "full_name"))
    at = {"schema": "schemas", "volume": "volumes", "function": "models"}.get(kind)
    if at is None or f"{at}/{name}" not in self.catalog:
        raise Missing(f"{kind} '{name}' does not exist.")
    for change in body["changes"]:
        for privilege in change["add"]:
            if privilege not in PRIVILEGES[kind] | {"ALL_PRIVILEGES"}:
                raise Refused(f"Privilege {privilege} is not applicable to this entity [{name}:{kind}]")
        self.grants.setdefault(name, {}).setdefault(change["principal"], set()).update(change["add"])
    return _granted(self, {}, kind, name)


def _granted(self: Databricks, query: Mapping[str, Any], kind: str, name: str) -> Any:
    held = self.grants.get(name, {})
    return {"privilege_assignments": [{"principal": who, "privileges": sorted(what)} for who, what in held.items()]}


def _experiment(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, ml.ExperimentsAPI.create_experiment)
    if not body["name"].startswith("/"):
        raise Refused(f"Got an invalid experiment name '{body['name']}'. An experiment name must be an absolute path")
    self.experiments[body["name"]] = str(next(self.numbers))
    return {"experiment_id": self.experiments[body["name"]]}


def _experiment_named(self: Databricks, query: Mapping[str, Any]) -> Any:
    conforms_to_call(query, ml.ExperimentsAPI.get_by_name)
    name = query["experiment_name"]
    if name not in self.experiments:
        raise Missing(f"Node {name} does not exist.")
    return {"experiment": {"experiment_id": self.experiments[name], "name": name}}


def _cluster(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, compute.ClustersAPI.create)
    check_cluster(body)
    identity = f"cluster-{next(self.numbers)}"
    self.clusters[identity] = dict(body)
    return {"cluster_id": identity}


def _cluster_edited(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, compute.ClustersAPI.edit)
    check_cluster(body)
    self.clusters[body["cluster_id"]] = {name: part for name, part in body.items() if name != "cluster_id"}
    return {}


def check_cluster(cluster: Mapping[str, Any]) -> None:
    sizes = [name for name in ("autoscale", "num_workers", "is_single_node") if name in cluster]
    if len(sizes) != 1:
        raise Refused(f"a cluster has one of autoscale, num_workers and is_single_node, not {sizes}")
    if "is_single_node" in cluster and cluster.get("kind") != "CLASSIC_PREVIEW":
        raise Refused("is_single_node can only be used when kind = CLASSIC_PREVIEW")
    scale = cluster.get("autoscale")
    if scale and scale["min_workers"] > scale["max_workers"]:
        raise Refused("min_workers cannot be greater than max_workers")


def check_job(job: Mapping[str, Any]) -> None:
    """What a job's parts name must be in it."""
    conforms(dict(job), jobs.JobSettings)
    tasks = {task["task_key"]: task for task in job["tasks"]}
    if len(tasks) < len(job["tasks"]):
        raise Refused("two tasks have the same task_key")
    clusters = {each["job_cluster_key"] for each in job.get("job_clusters", ())}
    environments = {each["environment_key"] for each in job.get("environments", ())}
    for each in job.get("job_clusters", ()):
        check_cluster(each["new_cluster"])
    for key, task in tasks.items():
        kinds = [kind for kind in TASKS if kind in task]
        if len(kinds) != 1:
            raise Refused(f"the task {key} is {kinds or 'nothing'}")
        for need in task.get("depends_on", ()):
            if need["task_key"] not in tasks:
                raise Refused(f"{key} depends on {need['task_key']}, which is not there")
            if ("outcome" in need) != ("condition_task" in tasks[need["task_key"]]):
                raise Refused(f"{key}: an outcome is a condition's, and a condition's alone")
        if kinds[0] in ("python_wheel_task", "spark_python_task"):
            serverless = task.get("environment_key") in environments
            if serverless == (task.get("job_cluster_key") in clusters):
                raise Refused(f"{key} runs on nothing that the job has, or on two things")
            if serverless and "libraries" in task:
                raise Refused(f"{key}: libraries of serverless tasks belong into the environment")
        elif {"environment_key", "job_cluster_key", "libraries", "max_retries"} & {*task} and kinds[
            0
        ] == "condition_task":
            raise Refused(f"{key}: a condition runs on no machine")
    known = {each["name"] for each in job.get("parameters", ())}
    for name in re.findall(r"\{\{job\.parameters\.([^}]+)\}\}", json.dumps(job["tasks"])):
        if name not in known:
            raise Refused(f"the job has no parameter {name}")
    for name in re.findall(r"\{\{tasks\.([^.}]+)\.", json.dumps(job["tasks"])):
        if name not in tasks:
            raise Refused(f"the job has no task {name}")


def _job(self: Databricks, body: Mapping[str, Any]) -> Any:
    check_job(body)
    number = next(self.numbers)
    self.jobs[number] = dict(body)
    return {"job_id": number}


def _job_reset(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, jobs.JobsAPI.reset)
    check_job(body["new_settings"])
    self.jobs[_known_job(self, body["job_id"])] = body["new_settings"]
    return {}


def _known_job(self: Databricks, number: Any) -> int:
    if int(number) not in self.jobs:
        raise Missing(f"Job {number} does not exist.")
    return int(number)


def _jobs(self: Databricks, query: Mapping[str, Any]) -> Any:
    found = [{"job_id": number, "settings": {"name": job["name"]}} for number, job in self.jobs.items()]
    wanted = query.get("name", "").lower()
    return {"jobs": [job for job in found if not wanted or job["settings"]["name"].lower() == wanted]}


def _job_got(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = _known_job(self, query["job_id"])
    return {"job_id": number, "settings": {"format": "MULTI_TASK", "timeout_seconds": 0, **self.jobs[number]}}


def _run_now(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, jobs.JobsAPI.run_now)
    job = self.jobs[_known_job(self, body["job_id"])]
    defaults = {each["name"]: each["default"] for each in job.get("parameters", ())}
    unknown = {*body.get("job_parameters", {})} - {*defaults}
    if unknown:
        raise Refused(f"Invalid job parameter {', '.join(unknown)}")
    number = next(self.numbers)
    values = {**defaults, **body.get("job_parameters", {})}
    tasks = [
        {**task, "run_id": next(self.numbers), "attempt_number": 0, "state": {"life_cycle_state": "BLOCKED"}}
        for task in job["tasks"]
    ]
    self.runs[number] = {
        "run_id": number,
        "job_id": body["job_id"],
        "run_name": job["name"],
        "run_page_url": f"{self.host}/jobs/{body['job_id']}/runs/{number}",
        "start_time": 1_780_000_000_000 + number,
        "state": {"life_cycle_state": "PENDING", "state_message": ""},
        "job_parameters": [{"name": name, "value": value} for name, value in values.items()],
        "job_clusters": job.get("job_clusters", []),
        "tasks": tasks,
    }
    self.start(self, self.runs[number])
    return {"run_id": number}


def _run(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = int(query["run_id"])
    if number not in self.runs:
        raise Missing(f"Run {number} does not exist.")
    run = json.loads(json.dumps(self.runs[number]))
    conforms(run, jobs.Run, "our own answer")
    return run


def _runs(self: Databricks, query: Mapping[str, Any]) -> Any:
    wanted = [number for number, run in self.runs.items() if str(run["job_id"]) == query["job_id"]]
    return {"runs": [_run(self, {"run_id": number}) for number in sorted(wanted, reverse=True)]}


def _output(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = int(query["run_id"])
    task = next((task for run in self.runs.values() for task in run["tasks"] if task["run_id"] == number), None)
    if task is None:
        raise Refused(f"Run {number} has several tasks: ask for the output of one")
    failed = task["state"].get("result_state") == "FAILED"
    return {"logs": self.logs.get(number, ""), **({"error": task["state"]["state_message"]} if failed else {})}


def _endpoint(self: Databricks, body: Mapping[str, Any]) -> Any:
    # The SDK's type of `config` is that of its update, too, whose name is in the path
    named = {**body, "config": {"name": body["name"], **body["config"]}}
    conforms_to_call(named, serving.ServingEndpointsAPI.create)
    if body["name"] in self.endpoints:
        raise Refused(f"the endpoint {body['name']} already exists")
    _check_served(self, body["config"])
    self.endpoints[body["name"]] = dict(body)
    return body


def _served(self: Databricks, body: Mapping[str, Any], name: str) -> Any:
    conforms_to_call(body, serving.ServingEndpointsAPI.update_config, ("name",))
    _check_served(self, body)
    _endpoint_got(self, {}, name)["config"] = dict(body)
    return self.endpoints[name]


def _gateway(self: Databricks, body: Mapping[str, Any], name: str) -> Any:
    conforms_to_call(body, serving.ServingEndpointsAPI.put_ai_gateway, ("name",))
    _endpoint_got(self, {}, name)["ai_gateway"] = dict(body)
    return body


def _endpoint_got(self: Databricks, query: Mapping[str, Any], name: str) -> Any:
    if name not in self.endpoints:
        raise Missing(f"Endpoint with name '{name}' does not exist.")
    return self.endpoints[name]


def _check_served(self: Databricks, config: Mapping[str, Any]) -> None:
    served = {entity["name"]: entity for entity in config["served_entities"]}
    routes = config["traffic_config"]["routes"]
    if sum(route["traffic_percentage"] for route in routes) != 100:
        raise Refused("the traffic does not sum to 100")
    for route in routes:
        if route["served_entity_name"] not in served:
            raise Refused(f"a route names {route['served_entity_name']}, which is not served")
    for entity in served.values():
        if not str(entity["entity_version"]).isdigit():
            raise Refused(f"{entity['entity_version']!r} is no version")


def _alias(self: Databricks, query: Mapping[str, Any], name: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        version = MlflowClient(self.registry, self.registry).get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise Missing(str(error)) from None
    return {"model_name": name, "version_num": int(version.version)}


def _registered(self: Databricks, body: Mapping[str, Any]) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError
    from mlflow.protos.databricks_uc_registry_messages_pb2 import UpdateRegisteredModelRequest

    try:
        ParseDict(dict(body), UpdateRegisteredModelRequest())
    except ParseError as error:
        raise Refused(str(error)) from None
    _known_job(self, body["deployment_job_id"])
    self.deployment_jobs[body["name"]] = body["deployment_job_id"]
    return _registered_got(self, body)


def _registered_got(self: Databricks, query: Mapping[str, Any]) -> Any:
    name = query["name"]
    _catalogued(self, {}, "models", name)
    return {"registered_model": {"name": name, "deployment_job_id": self.deployment_jobs.get(name, "")}}


def _folder(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, workspace.WorkspaceAPI.mkdirs)
    self.file(body["path"]).mkdir(parents=True, exist_ok=True)
    return {}


def _import(self: Databricks, form: Mapping[str, Any], content: bytes = b"") -> Any:
    if form["format"] not in [each.value for each in workspace.ImportFormat]:
        raise Refused(f"no format is called {form['format']}")
    path = self.file(form["path"])
    if not path.parent.is_dir():
        raise Missing(f"The parent folder ({path.parent}) does not exist.")
    if path.exists() and form.get("overwrite") != "true":
        raise Refused(f"{form['path']} already exists")
    path.write_bytes(content)
    return {}


def _file_status(self: Databricks, query: Mapping[str, Any]) -> Any:
    if not self.file(query["path"]).exists():
        raise Missing(f"Path ({query['path']}) doesn't exist.")
    return {"path": query["path"], "object_type": "FILE"}


def _export(self: Databricks, query: Mapping[str, Any]) -> Any:
    _file_status(self, query)
    return self.file(query["path"]).read_bytes()


UC, MODELS = "/api/2.1/unity-catalog", "/api/2.0/mlflow/unity-catalog/registered-models"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("POST", f"{UC}/schemas", _catalog(catalog.SchemasAPI.create, "schemas")),
    ("POST", f"{UC}/volumes", _catalog(catalog.VolumesAPI.create, "volumes")),
    ("POST", f"{UC}/models", _catalog(catalog.RegisteredModelsAPI.create, "models")),
    ("GET", f"{UC}/(schemas|volumes|models)/([^/]+)", _catalogued),
    ("GET", f"{UC}/models/([^/]+)/aliases/([^/]+)", _alias),
    ("PATCH", f"{UC}/permissions/([^/]+)/([^/]+)", _grant),
    ("GET", f"{UC}/permissions/([^/]+)/([^/]+)", _granted),
    ("POST", "/api/2.0/mlflow/experiments/create", _experiment),
    ("GET", "/api/2.0/mlflow/experiments/get-by-name", _experiment_named),
    ("PATCH", f"{MODELS}/update", _registered),
    ("GET", f"{MODELS}/get", _registered_got),
    ("POST", "/api/2.1/clusters/create", _cluster),
    ("POST", "/api/2.1/clusters/edit", _cluster_edited),
    ("GET", "/api/2.1/clusters/list", lambda self, query: {
        "clusters": [{"cluster_id": identity, **each} for identity, each in self.clusters.items()]
    }),
    ("POST", "/api/2.2/jobs/create", _job),
    ("POST", "/api/2.2/jobs/reset", _job_reset),
    ("POST", "/api/2.2/jobs/run-now", _run_now),
    ("GET", "/api/2.2/jobs/list", _jobs),
    ("GET", "/api/2.2/jobs/get", _job_got),
    ("GET", "/api/2.2/jobs/runs/list", _runs),
    ("GET", "/api/2.2/jobs/runs/get", _run),
    ("GET", "/api/2.2/jobs/runs/get-output", _output),
    ("POST", "/api/2.0/serving-endpoints", _endpoint),
    ("GET", "/api/2.0/serving-endpoints/([^/]+)", _endpoint_got),
    ("PUT", "/api/2.0/serving-endpoints/([^/]+)/config", _served),
    ("PUT", "/api/2.0/serving-endpoints/([^/]+)/ai-gateway", _gateway),
    ("POST", "/api/2.0/workspace/mkdirs", _folder),
    ("POST", "/api/2.0/workspace/import", _import),
    ("GET", "/api/2.0/workspace/get-status", _file_status),
    ("GET", "/api/2.0/workspace/export", _export),
]  # fmt: skip


@contextmanager
def served(workspace: Databricks) -> Iterator[Databricks]:
    """Its address is `workspace.host` meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            status, answer = _answered(workspace, self)
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    workspace.host = f"http://127.0.0.1:{server.server_port}"
    try:
        yield workspace
    finally:
        server.shutdown()
        server.server_close()


def _answered(workspace: Databricks, asked: BaseHTTPRequestHandler) -> tuple[int, Any]:
    sent = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
    parts = urlsplit(asked.path)
    if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
        return (404, {}) if parts.path.startswith("/.well-known") else (401, _error("UNAUTHENTICATED", "no token"))
    try:
        body, content = _read(asked, sent)
        query = dict(parse_qsl(parts.query))
        return 200, workspace.answer(asked.command, parts.path, {**query, **body}, content)
    except Missing as error:
        return 404, _error("RESOURCE_DOES_NOT_EXIST", str(error))
    except Refused as error:
        return 400, _error("INVALID_PARAMETER_VALUE", str(error))


def _read(asked: BaseHTTPRequestHandler, sent: bytes) -> tuple[dict[str, Any], bytes]:
    """JSON, or a form with a file."""
    kind = asked.headers.get("Content-Type", "")
    if not kind.startswith("multipart/"):
        return json.loads(sent or b"{}"), b""
    form, content = {}, b""
    for part in sent.split(b"--" + kind.partition("boundary=")[2].encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        found = re.search(rb' name="([^"]+)"', head)
        assert found is not None, head
        name, value = found.group(1).decode(), value.removesuffix(b"\r\n")
        if name == "content":
            content = value
        else:
            form[name] = value.decode()
    return form, content


def _error(code: str, message: str) -> dict[str, str]:
    return {"error_code": code, "message": message}
