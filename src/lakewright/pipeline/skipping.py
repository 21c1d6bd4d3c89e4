"""Which stages are skipped: each record is kept under the hash of everything that its stage depended on.

A stage is skipped if a record exists for exactly these settings and inputs, and everything that the record names still
exists. By the same rule a killed run resumes: its finished stages are skipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lakewright
from lakewright.data.expectations.quarantine import stands
from lakewright.data.lake.lost import is_parquet
from lakewright.errors import LakewrightError, NotFound
from lakewright.model.folder import content_of, verify
from lakewright.records import Ingested, ModelVersion, Prepared, Record, Report, TableVersion, Trained, stored_values
from lakewright.settings.project import Project
from lakewright.system import jsonfile
from lakewright.system.files import write_whole
from lakewright.workspace import Workspace

BROUGHT = "brought.txt"  # in a stage's folder: why it has something already, though no attempt was interrupted


@dataclass(frozen=True)
class Step:
    """Whether a stage runs or is skipped, and why."""

    stage: str
    skip: bool
    why: str
    key: str = ""  # hash of `depends`
    depends: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None  # of an earlier run, for this key
    run_id: str = ""  # of this earlier run
    again: bool = False  # a user requested that the stage runs again


def look_up(
    stage: str, depends: dict[str, Any], record_type: type[Record], project: Project, workspace: Workspace
) -> Step:
    """Skip, if a valid record for exactly these dependencies exists; else run. With the reason."""
    depends = jsonfile.finite({"lakewright": lakewright.__version__, **depends})  # as reading gives it back
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    path = _folder(project, workspace) / f"{stage}-{key}.json"
    if not path.exists():
        begun = work_folder(workspace, stage, key)
        if (begun / BROUGHT).exists():
            why = (begun / BROUGHT).read_text(encoding="utf-8")
        else:
            why = "was interrupted; goes on from there" if begun.exists() else _what_changed(path, stage, depends)
        return Step(stage, False, why, key, depends)
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        record, run_id = record_type.from_stored(entry["record"], workspace.folder), str(entry["run"])
        defect = _defect(record, workspace)
    except (ValueError, KeyError, TypeError):  # edited by hand, or damaged by the disk
        defect = f"its record {path.name} is damaged"
    if defect:
        return Step(stage, False, defect, key, depends)
    return Step(stage, True, f"unchanged since run {run_id[:8]}", key, depends, record, run_id)


def keep(step: Step, record: Record, run_id: str, project: Project, workspace: Workspace) -> None:
    entry = {
        "stage": step.stage,
        "run": run_id,
        "depends": step.depends,
        "record": stored_values(record, workspace.folder),
    }
    write_whole(_folder(project, workspace) / f"{step.stage}-{step.key}.json", jsonfile.text(entry))


def work_folder(workspace: Workspace, stage: str, key: str) -> Path:
    """A stage's own folder while it runs; it remains after a kill, and the next attempt uses it again."""
    return workspace.folder / "work" / f"{stage}-{key[:16]}"


def _folder(project: Project, workspace: Workspace) -> Path:
    return workspace.folder / "records" / f"{project.schema_}.{project.name}"


def _what_changed(path: Path, stage: str, depends: dict[str, Any]) -> str:
    """The difference from the stage's newest record, in one line."""
    earlier = sorted(path.parent.glob(f"{stage}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not earlier:
        return "has not run yet"
    try:
        old = dict(_leaves(json.loads(earlier[-1].read_text(encoding="utf-8"))["depends"]))
    except (ValueError, KeyError, TypeError):
        return f"its record {earlier[-1].name} is damaged"
    new = dict(_leaves(depends))
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    settings = [name for name in changed if name.startswith("settings.")]
    if settings:
        name = min(settings, key=lambda name: (name not in old or name not in new, settings.index(name)))
        more = f", and {len(settings) - 1} more" if len(settings) > 1 else ""
        return f"{name.removeprefix('settings.')} changed from {old.get(name)} to {new.get(name)}{more}"
    if changed[0].startswith("inputs."):
        return f"{changed[0].split('.')[1]} has a new result"
    return f"the {changed[0]} changed"


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{at}.{name}" if at else name)
    else:
        yield at, value


def _defect(record: Record, workspace: Workspace) -> str:
    """Why a record is no longer valid: something that it names is gone or damaged. Empty if it is valid."""
    for value in vars(record).values():
        if isinstance(value, TableVersion):
            try:
                workspace.lake.version(str(value))
            except NotFound:
                return f"{value} is gone"
            if workspace.lake.is_lost(value):
                erased = workspace.lake.erased_in(value)
                reason = "gone or damaged" if erased is None else f"gone, as rows of it were erased with v{erased}"
                return f"the files of {value} are {reason}"
    if isinstance(record, Ingested) and record.source != str(record.table):
        table = record.table.name
        if workspace.lake.ingested(table, record.fingerprint) != record.table:
            return f"{table} holds other rows than the source"
        if record.quarantine is not None and not stands(workspace.lake, str(record.quarantine)):
            return f"{record.quarantine.name} holds other rows than those that were dropped"
    files: list[str] = []
    if isinstance(record, Prepared):
        files = [record.recipe]
        recipe = Path(record.recipe)
        if recipe.exists() and content_of(recipe) != recipe.name:
            return f"{recipe} is damaged"
    elif isinstance(record, Report):
        files = [record.html, record.json_file, record.test_rows]
        if Path(record.test_rows).exists() and not is_parquet(record.test_rows):
            return f"{record.test_rows} is damaged"
    elif isinstance(record, Trained):
        files = [record.model_folder]
        if Path(record.model_folder).exists() or workspace.mirror is None:
            try:
                verify(Path(record.model_folder))
            except LakewrightError as error:
                return error.cause
    elif isinstance(record, ModelVersion):
        from lakewright.registry.uri import REMOTE
        from lakewright.registry.versions import resolve

        try:
            files = [uri for uri in [resolve(workspace.tracking, record.at).uri] if not REMOTE.match(uri)]
        except NotFound as error:
            return error.cause
    return next((f"{file} is gone" for file in files if not workspace.has(file)), "")
