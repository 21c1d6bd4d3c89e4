"""A strict Databricks: real HTTP on loopback, for the real databricks-sdk.

What the SDK's types do not allow is refused (strict.py); so is what a job names and does not have (work.py). A job that
is started runs (runner.py); model versions are those of an MLflow server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from databricks.sdk.service import catalog

from platforms.databricks import unity, work
from platforms.databricks.strict import Refused
from platforms.databricks.workspace import Databricks, Missing

TOKEN = "dapi-of-the-test"
UC, MODELS = "/api/2.1/unity-catalog", "/api/2.0/mlflow/unity-catalog/registered-models"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("POST", f"{UC}/schemas", unity.making(catalog.SchemasAPI.create, "schemas")),
    ("POST", f"{UC}/volumes", unity.making(catalog.VolumesAPI.create, "volumes")),
    ("POST", f"{UC}/models", unity.making(catalog.RegisteredModelsAPI.create, "models")),
    ("GET", f"{UC}/(schemas|volumes|models)/([^/]+)", unity.made),
    ("GET", f"{UC}/models/([^/]+)/aliases/([^/]+)", unity.alias),
    ("PATCH", f"{UC}/permissions/([^/]+)/([^/]+)", unity.grant),
    ("GET", f"{UC}/permissions/([^/]+)/([^/]+)", unity.granted),
    ("POST", "/api/2.0/mlflow/experiments/create", unity.experiment),
    ("GET", "/api/2.0/mlflow/experiments/get-by-name", unity.experiment_named),
    ("PATCH", f"{MODELS}/update", unity.registered),
    ("GET", f"{MODELS}/get", unity.registered_got),
    ("POST", "/api/2.1/clusters/create", work.cluster_made),
    ("POST", "/api/2.1/clusters/edit", work.cluster_edited),
    ("GET", "/api/2.1/clusters/list", work.clusters_listed),
    ("POST", "/api/2.2/jobs/create", work.made),
    ("POST", "/api/2.2/jobs/reset", work.reset),
    ("POST", "/api/2.2/jobs/run-now", work.run_now),
    ("GET", "/api/2.2/jobs/list", work.listed),
    ("GET", "/api/2.2/jobs/get", work.got),
    ("GET", "/api/2.2/jobs/runs/list", work.runs_listed),
    ("GET", "/api/2.2/jobs/runs/get", work.run_got),
    ("GET", "/api/2.2/jobs/runs/get-output", work.run_output),
    ("POST", "/api/2.0/serving-endpoints", unity.endpoint),
    ("GET", "/api/2.0/serving-endpoints/([^/]+)", unity.endpoint_got),
    ("PUT", "/api/2.0/serving-endpoints/([^/]+)/config", unity.served),
    ("PUT", "/api/2.0/serving-endpoints/([^/]+)/ai-gateway", unity.gateway),
    ("POST", "/api/2.0/workspace/mkdirs", unity.folder),
    ("POST", "/api/2.0/workspace/import", unity.upload),
    ("GET", "/api/2.0/workspace/get-status", unity.file_status),
    ("GET", "/api/2.0/workspace/export", unity.export),
]  # fmt: skip


def answer(workspace: Databricks, method: str, path: str, body: Mapping[str, Any], content: bytes) -> Any:
    if method != "GET":
        workspace.calls.append((method, path))
    for wanted, pattern, call in ROUTES:
        found = re.fullmatch(pattern, path)
        if wanted == method and found:
            return call(workspace, body, *found.groups(), *([content] if content else []))
    raise Missing(f"no such call here: {method} {path}")


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
    if parts.path == "/.well-known/databricks-config":  # the SDK asks each host what it is
        return 200, {}
    if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
        return 401, _error("UNAUTHENTICATED", "no token")
    try:
        body, content = _read(asked, sent)
        query = dict(parse_qsl(parts.query))
        return 200, answer(workspace, asked.command, parts.path, {**query, **body}, content)
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
