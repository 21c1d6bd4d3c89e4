"""What names a table, or one of its versions: the lake's views, the workspace's runs, the registered model versions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from lakewright.data.lake.names import TableName, is_table
from lakewright.data.lake.views import views_naming
from lakewright.records import Ingested, Prepared, Record, TableVersion
from lakewright.registry.versions import list_models
from lakewright.workspace import Workspace
from lakewright.workspace.run_folder import RunFolder

LOG = logging.getLogger("lakewright")
_RECORDS: dict[str, type[Record]] = {"ingest": Ingested, "prepare": Prepared}
TAGS = (
    "lakewright.table",
    "lakewright.unlabeled",
    "lakewright.features",
    "lakewright.reads",
)  # of a model version: the tables behind it


@dataclass(frozen=True)
class Use:
    table: str
    version: int | None  # None: whichever there is
    by: str  # view main.shop.newest, run 0f3a…, models:/main.health.icd10/3, …
    run: str | None = None  # the run's id
    model: tuple[str, int] | None = None  # the model version's name and number

    def __str__(self) -> str:
        return f"{self.by} ({self.table if self.version is None else f'v{self.version}'})"


def uses_of(workspace: Workspace, table: str) -> list[Use]:
    """All that names the table. Raises LakewrightError where the registry cannot be reached."""
    of_views = (Use(named, version, f"view {view}") for view, named, version in views_naming(workspace.lake))
    return [use for use in (*of_views, *_of_runs(workspace), *_of_models(workspace)) if use.table == table]


def _of_runs(workspace: Workspace) -> Iterator[Use]:
    for folder in RunFolder.noted(workspace.folder):
        by = f"run {folder.run_id}"
        for version in tables_of(folder):
            yield Use(version.name, version.version, by, run=folder.run_id)
        try:
            note = folder.read_note()
            project, data = note.resolved, note.resolved["data"]
            named = [data["table"] or f"{project['schema']}.{project['name']}"]
            named += [data[key] for key in ("unlabeled",) if data.get(key)]
            named += [each["table"] for each in project.get("features", ())]
        except (ValueError, KeyError, TypeError):
            LOG.warning("%s is damaged and left out", folder.note)
            continue
        for each in named:
            if is_table(each):
                name, number = TableName.parse(each)
                if number is not None or note.status == "running":  # it may read any version yet
                    yield Use(str(name), number, by, run=folder.run_id)


def tables_of(folder: RunFolder) -> list[TableVersion]:
    """The versions that a run has read or written, as far as it came."""
    found: list[TableVersion] = []
    for stage, record in _RECORDS.items():
        try:
            read = folder.read_record(stage, record)
        except FileNotFoundError:
            continue
        except ValueError:
            LOG.warning("%s is damaged and left out", folder.record(stage))
            continue
        values = chain.from_iterable(each if isinstance(each, list) else [each] for each in vars(read).values())
        found += [each for each in values if isinstance(each, TableVersion)]
    return list(dict.fromkeys(found))


def _of_models(workspace: Workspace) -> Iterator[Use]:
    for model in list_models(workspace.tracking):
        named = (text for tag in TAGS if tag in model.tags for text in model.tags[tag].split(", "))
        for text in dict.fromkeys(named):
            if is_table(text):
                name, number = TableName.parse(text)
                yield Use(str(name), number, model.at, model=(model.name, model.version))
