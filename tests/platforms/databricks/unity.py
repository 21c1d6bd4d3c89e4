"""Unity Catalog, its models and their endpoints, experiments and files: the calls of the strict Databricks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from databricks.sdk.service import catalog, ml, serving, workspace

from platforms.databricks.strict import Refused, conforms_to_call
from platforms.databricks.work import known_job
from platforms.databricks.workspace import Databricks, Missing


def making(made_by: Callable[..., Any], kind: str) -> Callable[..., Any]:
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


def made(self: Databricks, query: Mapping[str, Any], kind: str, name: str) -> Any:
    if f"{kind}/{name}" not in self.catalog:
        raise Missing(f"{kind} '{name}' does not exist.")
    return self.catalog[f"{kind}/{name}"]


PRIVILEGES = {  # https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges
    "schema": {"USE_SCHEMA", "SELECT", "MODIFY", "EXECUTE", "READ_VOLUME", "WRITE_VOLUME", "APPLY_TAG", "MANAGE"}
    | {"CREATE_TABLE", "CREATE_MODEL", "CREATE_VOLUME", "CREATE_FUNCTION", "CREATE_MATERIALIZED_VIEW"},
    "volume": {"READ_VOLUME", "WRITE_VOLUME", "APPLY_TAG", "MANAGE"},
    "function": {"EXECUTE", "APPLY_TAG", "MANAGE"},
}


def grant(self: Databricks, body: Mapping[str, Any], kind: str, name: str) -> Any:
    conforms_to_call(body, catalog.GrantsAPI.update, ("securable_type", "full_name"))
    at = {"schema": "schemas", "volume": "volumes", "function": "models"}.get(kind)
    if at is None or f"{at}/{name}" not in self.catalog:
        raise Missing(f"{kind} '{name}' does not exist.")
    for change in body["changes"]:
        for privilege in change["add"]:
            if privilege not in PRIVILEGES[kind] | {"ALL_PRIVILEGES"}:
                raise Refused(f"Privilege {privilege} is not applicable to this entity [{name}:{kind}]")
        self.grants.setdefault(name, {}).setdefault(change["principal"], set()).update(change["add"])
    return granted(self, {}, kind, name)


def granted(self: Databricks, query: Mapping[str, Any], kind: str, name: str) -> Any:
    held = self.grants.get(name, {})
    return {"privilege_assignments": [{"principal": who, "privileges": sorted(what)} for who, what in held.items()]}


def experiment(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, ml.ExperimentsAPI.create_experiment)
    if not body["name"].startswith("/"):
        raise Refused(f"Got an invalid experiment name '{body['name']}'. An experiment name must be an absolute path")
    self.experiments[body["name"]] = str(next(self.numbers))
    return {"experiment_id": self.experiments[body["name"]]}


def experiment_named(self: Databricks, query: Mapping[str, Any]) -> Any:
    conforms_to_call(query, ml.ExperimentsAPI.get_by_name)
    name = query["experiment_name"]
    if name not in self.experiments:
        raise Missing(f"Node {name} does not exist.")
    return {"experiment": {"experiment_id": self.experiments[name], "name": name}}


def endpoint(self: Databricks, body: Mapping[str, Any]) -> Any:
    # The SDK's type of `config` is that of its update, too, whose name is in the path
    named = {**body, "config": {"name": body["name"], **body["config"]}}
    conforms_to_call(named, serving.ServingEndpointsAPI.create)
    if body["name"] in self.endpoints:
        raise Refused(f"the endpoint {body['name']} already exists")
    check_served(self, body["config"])
    self.endpoints[body["name"]] = dict(body)
    return body


def served(self: Databricks, body: Mapping[str, Any], name: str) -> Any:
    conforms_to_call(body, serving.ServingEndpointsAPI.update_config, ("name",))
    check_served(self, body)
    endpoint_got(self, {}, name)["config"] = dict(body)
    return self.endpoints[name]


def gateway(self: Databricks, body: Mapping[str, Any], name: str) -> Any:
    conforms_to_call(body, serving.ServingEndpointsAPI.put_ai_gateway, ("name",))
    endpoint_got(self, {}, name)["ai_gateway"] = dict(body)
    return body


def endpoint_got(self: Databricks, query: Mapping[str, Any], name: str) -> Any:
    if name not in self.endpoints:
        raise Missing(f"Endpoint with name '{name}' does not exist.")
    return self.endpoints[name]


def check_served(self: Databricks, config: Mapping[str, Any]) -> None:
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


def alias(self: Databricks, query: Mapping[str, Any], name: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        version = MlflowClient(self.registry, self.registry).get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise Missing(str(error)) from None
    return {"model_name": name, "version_num": int(version.version)}


def registered(self: Databricks, body: Mapping[str, Any]) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError
    from mlflow.protos.databricks_uc_registry_messages_pb2 import UpdateRegisteredModelRequest

    try:
        ParseDict(dict(body), UpdateRegisteredModelRequest())
    except ParseError as error:
        raise Refused(str(error)) from None
    known_job(self, body["deployment_job_id"])
    self.deployment_jobs[body["name"]] = body["deployment_job_id"]
    return registered_got(self, body)


def registered_got(self: Databricks, query: Mapping[str, Any]) -> Any:
    name = query["name"]
    made(self, {}, "models", name)
    return {"registered_model": {"name": name, "deployment_job_id": self.deployment_jobs.get(name, "")}}


def folder(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, workspace.WorkspaceAPI.mkdirs)
    self.file(body["path"]).mkdir(parents=True, exist_ok=True)
    return {}


def upload(self: Databricks, form: Mapping[str, Any], content: bytes = b"") -> Any:
    if form["format"] not in [each.value for each in workspace.ImportFormat]:
        raise Refused(f"no format is called {form['format']}")
    path = self.file(form["path"])
    if not path.parent.is_dir():
        raise Missing(f"The parent folder ({path.parent}) does not exist.")
    if path.exists() and form.get("overwrite") != "true":
        raise Refused(f"{form['path']} already exists")
    path.write_bytes(content)
    return {}


def file_status(self: Databricks, query: Mapping[str, Any]) -> Any:
    if not self.file(query["path"]).exists():
        raise Missing(f"Path ({query['path']}) doesn't exist.")
    return {"path": query["path"], "object_type": "FILE"}


def export(self: Databricks, query: Mapping[str, Any]) -> Any:
    file_status(self, query)
    return self.file(query["path"]).read_bytes()
