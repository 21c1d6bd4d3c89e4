"""The runs of a workspace: which there are, which is unfinished, and each one's log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import lakewright
from lakewright.project import Project
from lakewright.workspace import Workspace, write_whole

LOG = logging.getLogger("lakewright")


@dataclass(frozen=True)
class NotedRun:
    run_id: str
    name: str  # in MLflow
    project: str  # the resolved project's digest
    status: Literal["running", "done", "failed"]


def runs_of(project: Project, workspace: Workspace) -> list[NotedRun]:
    """The runs of this very project, every setting the same; the newest first."""
    paths = sorted((workspace.folder / "runs").glob("*/run.json"), key=lambda path: -path.stat().st_mtime_ns)
    noted = [(path.parent.name, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    found = [NotedRun(run_id, note["name"], note["project"], note["status"]) for run_id, note in noted]
    return [run for run in found if run.project == project.digest]


def open_run(project: Project, workspace: Workspace) -> str:
    """The id of this project's unfinished run, which goes on, or of a new one."""
    same = runs_of(project, workspace)
    # Found by its name, so a run that MLflow has and run.json lacks (killed in between) goes on as well.
    new = f"{project.name}-{project.digest[:8]}-{len(same) + 1}"
    name = next((run.name for run in same if run.status != "done"), new)
    tags = {"lakewright.project": project.digest, "lakewright.version": lakewright.__version__}
    run_id = workspace.tracking.start(f"{project.schema_}.{project.name}", name, tags)
    note(project, workspace, NotedRun(run_id, name, project.digest, "running"))
    return run_id


def close_run(project: Project, workspace: Workspace, run_id: str, status: Literal["done", "failed"]) -> None:
    open_one = next(run for run in runs_of(project, workspace) if run.run_id == run_id)
    note(project, workspace, replace(open_one, status=status))


def note(project: Project, workspace: Workspace, run: NotedRun) -> None:
    noted = {"name": run.name, "project": run.project, "status": run.status, "resolved": project.resolved}
    write_whole(workspace.folder / "runs" / run.run_id / "run.json", json.dumps(noted, indent=2) + "\n")


@contextmanager
def log_to(workspace: Workspace, run_id: str) -> Iterator[str]:
    """What Lakewright logs meanwhile goes to the run's log.txt, whose path this yields."""
    path = workspace.folder / "runs" / run_id / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = LOG.level, LOG.propagate
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # a library that sets up the root logger would print all this again
    try:
        yield str(path)
    finally:
        LOG.removeHandler(handler)
        LOG.level, LOG.propagate = before
        handler.close()
