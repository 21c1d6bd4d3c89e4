"""The registry read without MLflow, whose import takes seconds and 200 MB: for what serves and what scores.

The SQLite file of a workspace and the REST API of an MLflow server are read here; any other registry is MLflow's to
read, and `reader` gives None for it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import Request, urlopen

from lakewright.errors import Busy, LakewrightError, NotFound
from lakewright.records import ModelVersion
from lakewright.registry.uri import Registry, record
from lakewright.workspace.mlflow_database import check_database, damaged_database, schema_remedy
from lakewright.workspace.mlflow_server import address, reach, unreachable
from lakewright.workspace.tracking import Tracking, literal

SECONDS = 10.0  # that a registry may take to answer
# With one of these set, MLflow comes to a registry by ways that only MLflow knows.
WAYS = ("AUTH", "AWS_SIGV4", "CLIENT_CERT_PATH", "INSECURE_TLS", "SERVER_CERT_PATH")
ONLY_MLFLOW = ("MLFLOW_ENABLE_WORKSPACES", "MLFLOW_WORKSPACE", *(f"MLFLOW_TRACKING_{way}" for way in WAYS))


def reader(tracking: Tracking) -> Registry | None:
    """What reads this registry without MLflow; None: only MLflow can."""
    uri = tracking.registry_uri or tracking.tracking_uri
    if any(os.environ.get(name) for name in ONLY_MLFLOW):
        return None
    if uri.startswith("sqlite:///") and "?" not in uri:
        return SqliteFile(Path(uri.removeprefix("sqlite:///")))
    if not uri.startswith(("http://", "https://")):
        return None
    server = Server(uri)
    if not server.authorization and (Path.home() / ".mlflow" / "credentials").exists():
        return None
    return server


def alias_version(registry: Registry, name: str, alias: str) -> int | None:
    """The version that the alias points to now; None where the alias or the model is gone."""
    return (registry.aliases(name) or {}).get(alias)


@dataclass(frozen=True)
class SqliteFile:
    """The tables of MLflow's registry in a SQLite file; without workspaces, MLflow has one of its own, `default`."""

    path: Path

    def names(self) -> list[str]:
        return [name for (name,) in self._rows("SELECT name FROM registered_models ORDER BY name")]

    def aliases(self, name: str) -> dict[str, int] | None:
        if not self._rows("SELECT 1 FROM registered_models WHERE name = ?", name):
            return None
        return dict(self._rows("SELECT alias, version FROM registered_model_aliases WHERE name = ?", name))

    def versions(self, name: str) -> list[int]:
        query = "SELECT version FROM model_versions WHERE name = ? AND current_stage <> 'Deleted_Internal'"
        return [number for (number,) in self._rows(f"{query} ORDER BY version", name)]

    def version(self, name: str, number: int) -> ModelVersion:
        place = "SELECT coalesce(storage_location, source) FROM model_versions WHERE name = ? AND version = ?"
        rows = self._rows(place, name, number)
        if not rows:
            raise _deleted(name, number)
        tags = dict(
            self._rows("SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?", name, number)
        )
        aliases = [alias for alias, at in (self.aliases(name) or {}).items() if at == number]
        return record(name, number, aliases, rows[0][0], tags)

    def _rows(self, question: str, *values: str | int) -> list[Any]:
        if not self.path.exists():  # nothing was tracked yet
            return []
        # not mode=ro: that cannot undo the half of a commit which a killed process left; nothing else is written
        place = f"{self.path.resolve().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(place, uri=True, timeout=SECONDS)) as database:
                database.execute("PRAGMA query_only = ON")
                return database.execute(question, values).fetchall()
        except sqlite3.Error as error:
            check_database(self.path)
            if "locked" in str(error):
                raise Busy(
                    f"another process has locked {self.path} for {SECONDS:.0f} seconds",
                    "wait for it to end and run the command again",
                ) from None
            if not str(error).startswith(("no such table", "no such column")):
                raise damaged_database(self.path, error) from None
            cause = f"MLflow's registry in {self.path} cannot be read: {error}"
            raise LakewrightError(cause, schema_remedy(f"sqlite:///{self.path}")) from None


class Server:
    """MLflow's documented REST API."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.at = address(uri)
        env = os.environ.get
        user, password = env("MLFLOW_TRACKING_USERNAME"), env("MLFLOW_TRACKING_PASSWORD")
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
        token = env("MLFLOW_TRACKING_TOKEN")
        self.authorization = f"Bearer {token}" if token else ""
        if user and password is not None:
            self.authorization = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"

    def names(self) -> list[str]:
        return sorted(model["name"] for model in self._pages("registered-models/search", "registered_models"))

    def aliases(self, name: str) -> dict[str, int] | None:
        answer = self._get("registered-models/get", name=name)
        if answer is None:
            return None
        return {entry["alias"]: int(entry["version"]) for entry in answer["registered_model"].get("aliases", [])}

    def versions(self, name: str) -> list[int]:
        results = self._pages("model-versions/search", "model_versions", filter=f"name = {literal(name)}")
        return sorted(int(version["version"]) for version in results)

    def version(self, name: str, number: int) -> ModelVersion:
        answer = self._get("model-versions/get", name=name, version=number)
        place = self._get("model-versions/get-download-uri", name=name, version=number)
        if answer is None or place is None:
            raise _deleted(name, number)
        tags = {tag["key"]: tag.get("value", "") for tag in answer["model_version"].get("tags", [])}
        return record(name, number, answer["model_version"].get("aliases", []), place["artifact_uri"], tags)

    def _pages(self, path: str, key: str, **parameters: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._get(path, **parameters, **({"page_token": token} if token else {})) or {}
            yield from page.get(key, [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def _get(self, path: str, **parameters: str | int) -> dict[str, Any] | None:
        """The answer; None: MLflow has no such thing."""
        reach(self.at)
        request = Request(f"{self.at}/api/2.0/mlflow/{path}?{urlencode(parameters)}")
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)  # for this host's eyes only
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                content = json.load(answer)
            if isinstance(content, dict):
                return content
            raise ValueError
        except HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in text:
                return None
            cause = f"MLflow at {self.at} answered {error.code} {error.reason}: {text[:300]}"
            remedy = "check that the registry URI of the profile is right"
            if error.code in (401, 403):
                remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        except ValueError:
            cause, remedy = f"the server at {self.at} is not an MLflow server", "check the registry URI of the profile"
        except (OSError, HTTPException) as error:
            raise unreachable(self.at, getattr(error, "reason", None) or error) from None
        raise LakewrightError(cause, remedy)


def _deleted(name: str, number: int) -> NotFound:
    return NotFound(f"{name} version {number} was deleted just now", "try again")
