"""What a Databricks workspace of the tests holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platforms.databricks.strict import Refused


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
