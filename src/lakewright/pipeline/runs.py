"""A run, one execution of a project: its records, its status and its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import lakewright
from lakewright.errors import LakewrightError, NotFound
from lakewright.records import Decision, ModelVersion, Record, Report, StageResult, Trained, plain
from lakewright.settings.project import Project
from lakewright.system.secrets import concealed
from lakewright.workspace import Workspace
from lakewright.workspace.run_folder import NotedRun, RunFolder

LOG = logging.getLogger("lakewright")


@dataclass(frozen=True)
class Run:
    """One execution of a project, with the result and the record of each stage."""

    run_id: str
    stages: dict[str, StageResult] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    error: LakewrightError | None = None

    @property
    def report(self) -> Report:
        return cast(Report, self._record("evaluate"))

    @property
    def decision(self) -> Decision:
        return cast(Decision, self._record("gate"))

    @property
    def model_version(self) -> ModelVersion | None:
        return cast(ModelVersion | None, self.records.get("register"))

    @property
    def model_folder(self) -> Path:
        return Path(cast(Trained, self._record("train")).model_folder)

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed (2 wrong usage), 3 below the gate, 4 waiting for approval."""
        if self.error is not None:
            return self.error.exit_code
        if not self.decision.passed:
            return 3
        version = self.model_version
        if version is None or version.tags.get("lakewright.approval") != "manual":
            return 0
        return 4 if "challenger" in version.aliases and "champion" not in version.aliases else 0

    def _record(self, stage: str) -> Record:
        if stage not in self.records:
            raise NotFound(
                f"run {self.run_id} has no record of {stage}", "the run ended before this stage: read its log"
            )
        return self.records[stage]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; parts that the run did not reach are null."""
        report, trained = (
            cast(Report | None, self.records.get("evaluate")),
            cast(Trained | None, self.records.get("train")),
        )
        decision, version = cast(Decision | None, self.records.get("gate")), self.model_version
        values: dict[str, Any] = {
            "run_id": self.run_id,
            "stages": {name: plain(result) for name, result in self.stages.items()},
            "metrics": {name: plain(metric) for name, metric in report.metrics.items()} if report else {},
            "decision": plain(decision) if decision else None,
            "model_version": plain(version) if version else None,
            "model_folder": trained.model_folder if trained else None,
            "report": report.html if report else None,
        }
        if self.error is not None:
            values["error"] = self.error.as_json()
        return values


def noted_runs(project: Project, workspace: Workspace) -> list[NotedRun]:
    """The runs of the project of this name with any settings, the newest first."""
    notes = []
    for folder in RunFolder.noted(workspace.folder):
        try:
            note = folder.read_note()
            if (note.resolved["schema"], note.resolved["name"]) == (project.schema_, project.name):
                notes.append(note)
        except (ValueError, KeyError, TypeError):
            LOG.warning("%s is damaged and left out", folder.note)
    return sorted(notes, key=lambda run: run.began, reverse=True)


def runs_of(project: Project, workspace: Workspace) -> list[NotedRun]:
    """The runs of the project with exactly these settings, the newest first."""
    return [run for run in noted_runs(project, workspace) if run.project == project.digest]


def unfinished(project: Project, workspace: Workspace) -> NotedRun | None:
    """The newest run with exactly these settings that is not closed: it was killed, or it failed."""
    return next((run for run in runs_of(project, workspace) if run.status != "done"), None)


def worked_on(notes: Sequence[NotedRun], project: Project, workspace: Workspace) -> NotedRun | None:
    """The run that a process of this machine works on now: of the running ones, the last written; None without one."""
    running = [run for run in notes if run.status == "running"]
    if not running or not workspace.is_locked(f"{project.schema_}.{project.name}"):
        return None
    return max(running, key=lambda run: RunFolder.of(workspace.folder, run.run_id).note.stat().st_mtime_ns)


def open_run(project: Project, workspace: Workspace, name: str | None = None) -> str:
    """The id of the run of this name; without a name, of the project's unfinished run, or of a new run."""
    same = runs_of(project, workspace)
    # MLflow finds the run by its name, so a run that was killed before run.json was written is continued as well.
    new = f"{project.name}-{project.digest[:8]}-{len(same) + 1}"
    resumed = unfinished(project, workspace)
    name = name or (resumed.name if resumed is not None else new)
    tags = {"lakewright.project": project.digest, "lakewright.version": lakewright.__version__}
    run_id = workspace.tracking.start(f"{project.schema_}.{project.name}", name, tags)
    began = next((run.began for run in same if run.run_id == run_id), datetime.now(UTC).isoformat())
    note = NotedRun(run_id, name, project.digest, "running", began, project.resolved)
    RunFolder.of(workspace.folder, run_id).write_note(note)
    return run_id


def close_run(project: Project, workspace: Workspace, run_id: str, status: Literal["done", "failed"]) -> None:
    note = next(run for run in runs_of(project, workspace) if run.run_id == run_id)
    RunFolder.of(workspace.folder, run_id).write_note(replace(note, status=status))


class _Concealing(logging.Formatter):
    """Conceals secrets: tracebacks repeat messages of libraries, with passwords in addresses and keys to a storage."""

    hidden: Sequence[str] = ()

    def format(self, record: logging.LogRecord) -> str:
        return concealed(super().format(record), self.hidden)


@contextmanager
def log_to(workspace: Workspace, run_id: str) -> Iterator[str]:
    """Writes what Lakewright logs inside the block to the run's log.txt; yields its path."""
    with log_into(RunFolder.of(workspace.folder, run_id).log, workspace) as path:
        yield path


@contextmanager
def log_into(path: Path, workspace: Workspace) -> Iterator[str]:
    """Writes what Lakewright logs inside the block to the end of the file; yields its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    formatter = _Concealing("%(asctime)s %(levelname)s %(message)s")
    formatter.hidden = workspace.profile.hidden
    handler.setFormatter(formatter)
    previous = LOG.level, LOG.propagate
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # a library that sets up the root logger would print all this again
    try:
        yield str(path)
    finally:
        LOG.removeHandler(handler)
        LOG.level, LOG.propagate = previous
        handler.close()
