"""One run of a workspace: what each stage made, and where the parts of that were computed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from lakewright.errors import DataError, NotFound, nearest
from lakewright.pipeline import STAGES
from lakewright.records import Decision, Ingested, ModelVersion, Prepared, Record, Report, Trained
from lakewright.registry.in_use import tables_of
from lakewright.workspace import Workspace
from lakewright.workspace.run_folder import RunFolder


def shown(run_id: str, workspace: Workspace) -> dict[str, Any]:
    """As `api.shown_run` explains."""
    folder = RunFolder.of(workspace.folder, run_id)
    if not folder.note.exists():
        known = [each.run_id for each in RunFolder.noted(workspace.folder)]
        raise NotFound(f"the workspace {workspace.folder} has no run {run_id!r}", nearest(run_id, known))
    try:
        note = folder.read_note()
    except (ValueError, KeyError, TypeError) as failure:
        raise DataError(f"{folder.note} is damaged: {failure}", "read the run in MLflow (lakewright ui)") from None
    stages = {}
    for stage in STAGES:
        with suppress(FileNotFoundError):
            record = folder.read_record(stage.name, stage.record)
            stages[stage.name] = {"made": _made(record), "parts": getattr(record, "parts", {})}
    return {
        "run": run_id,
        "name": note.name,
        "project": f"{note.resolved['schema']}.{note.resolved['name']}",
        "status": note.status,
        "began": note.began,
        "stages": stages,
        "not_rebuildable": [
            f"rows of {table.name} were erased with v{erased}: {table} is gone"
            for table in tables_of(folder)
            if (erased := workspace.lake.erased_in(table)) is not None
        ],
        "log": str(folder.log),
    }


def _made(record: Record) -> str:
    """What a stage handed on, in a few words."""
    match record:
        case Ingested():
            through = [*record.views, *map(str, record.reads)]
            return f"{record.table}, of {', '.join(through)}" if through else str(record.table)
        case Prepared():
            return str(record.features)
        case Trained():
            return record.model_folder
        case Report():
            return record.html
        case Decision():
            return "passed" if record.passed else "not passed"
        case ModelVersion():
            return record.at
    return type(record).__name__
