"""The runs of a workspace: which there are, which is unfinished, and each one's log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import lakewright
from lakewright.project import Project
from lakewright.workspace import Workspace, write_whole

LOG = logging.getLogger("lakewright")


@dataclass(frozen=True)
class NotedRun:
    run_id: str
    project: str  # the resolved project's digest
    status: Literal["running", "done", "failed"]


def runs_of(project: Project, workspace: Workspace) -> list[NotedRun]:
    """The runs of this very project, every setting the same; the newest first."""
    paths = sorted((workspace.folder / "runs").glob("*/run.json"), key=lambda path: -path.stat().st_mtime_ns)
    noted = [(path.parent.name, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    found = [NotedRun(run_id, note["project"], note["status"]) for run_id, note in noted]
    return [run for run in found if run.project == project.digest]


def open_run(project: Project, workspace: Workspace) -> str:
    """The id of this project's unfinished run, which goes on, or of a new one."""
    same = runs_of(project, workspace)
    unfinished = next((run for run in same if run.status != "done"), None)
    # A run that MLflow has and run.json lacks (killed in between) is found again by its name.
    name = f"{project.name}-{project.digest[:8]}-{len(same) + (unfinished is None)}"
    tags = {"lakewright.project": project.digest, "lakewright.version": lakewright.__version__}
    started = workspace.tracking.start(f"{project.schema_}.{project.name}", name, tags)
    run_id = unfinished.run_id if unfinished else started
    note(project, workspace, run_id, "running")
    return run_id


def note(project: Project, workspace: Workspace, run_id: str, status: Literal["running", "done", "failed"]) -> None:
    noted = {"project": project.digest, "name": project.name, "status": status, "resolved": project.resolved}
    write_whole(workspace.folder / "runs" / run_id / "run.json", json.dumps(noted, indent=2) + "\n")


@contextmanager
def log_to(workspace: Workspace, run_id: str) -> Iterator[str]:
    """What Lakewright logs meanwhile goes to the run's log.txt, whose path this yields."""
    path = workspace.folder / "runs" / run_id / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield str(path)
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before)
        handler.close()
