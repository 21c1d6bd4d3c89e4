"""A run's folder, runs/RUN_ID of a workspace: which file is where, and how its JSON is written and read.

run.json            the run as a whole
log.txt             what Lakewright logged
records/STAGE.json  what each stage handed to those after it
report.html         evaluate's page, beside its evaluation.json, attributions.json and test_rows.parquet
decision.json       what the gate decided
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lakewright.records import Decision, Record, Report, as_json, stored_values
from lakewright.system import jsonfile
from lakewright.system.files import write_whole

NOTED = ("name", "project", "status", "began", "resolved")  # run.json's keys
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class NotedRun:
    """What run.json says of a run."""

    run_id: str
    name: str  # in MLflow
    project: str  # the resolved project's digest
    status: Literal["running", "done", "failed"]
    began: str  # ISO 8601, UTC
    resolved: Mapping[str, Any]  # the project, every setting


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @classmethod
    def of(cls, workspace: Path, run_id: str) -> RunFolder:
        return cls(workspace / "runs" / run_id)

    @classmethod
    def noted(cls, workspace: Path) -> list[RunFolder]:
        """Of every run that has a run.json."""
        return [cls(note.parent) for note in (workspace / "runs").glob("*/run.json")]

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def note(self) -> Path:
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def attributions(self) -> Path:
        return self.path / "attributions.json"

    @property
    def test_rows(self) -> Path:
        return self.path / "test_rows.parquet"

    @property
    def decision(self) -> Path:
        return self.path / "decision.json"

    def record(self, stage: str) -> Path:
        return self.path / "records" / f"{stage}.json"

    def read_note(self) -> NotedRun:
        """Raises ValueError, KeyError or TypeError where run.json is damaged."""
        noted = json.loads(self.note.read_text(encoding="utf-8"))
        return NotedRun(self.run_id, **{name: noted[name] for name in NOTED})

    def write_note(self, run: NotedRun) -> None:
        write_whole(self.note, jsonfile.text({name: getattr(run, name) for name in NOTED}))

    def read_record(self, stage: str, record: type[R]) -> R:
        """Raises FileNotFoundError where the stage left none, ValueError where it is damaged."""
        return record.from_stored(json.loads(self.record(stage).read_text(encoding="utf-8")), self._workspace)

    def write_record(self, stage: str, record: Record) -> None:
        write_whole(self.record(stage), jsonfile.text(stored_values(record, self._workspace)))

    def write_evaluation(self, report: Report) -> None:
        """The whole report, so at least {"metrics": {"accuracy": {"value": x, "low": …, "high": …}}}."""
        write_whole(self.evaluation, as_json(report))

    def write_decision(self, decision: Decision) -> None:
        write_whole(self.decision, as_json(decision))

    @property
    def _workspace(self) -> Path:
        return self.path.parent.parent
