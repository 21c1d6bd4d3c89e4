"""A project for rows that have none yet: an ordinary project file, written beside the user's work.

The task follows from the label: texts, truth values and whole numbers of few values are classes, other numbers are
numbers to predict.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lakewright.data.lake.names import TableName
from lakewright.data.sources import format_of_file
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError, nearest
from lakewright.settings.yamlfile import Key, lay
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.workspace import Workspace

FEW = 20  # whole numbers of at most so many values are classes
TASKS = ("classification", "regression")
HEADER = "# Written by lakewright automl."
ORIGIN, LEADERBOARD = "origin.json", "leaderboard.json"  # in a search's folder: which file was searched; its end


@dataclass(frozen=True)
class Dataset:
    """Rows without a project: a table of the lake, or a source that `data.source` can name."""

    table: str | None = None  # catalog.schema.table, or …@v3
    source: str | None = None

    @property
    def name(self) -> str:
        """A project's name made of the table's or the file's."""
        if self.table is not None:
            return TableName.parse(self.table)[0].table
        last = re.split(r"[/\\:]", (self.source or "").rstrip("/"))[-1].split(".")[0]
        words = re.sub(r"\W+", "_", last, flags=re.ASCII).strip("_").lower() or "rows"
        return words if not words[0].isdigit() else f"rows_{words}"


@dataclass(frozen=True)
class Written:
    path: Path
    task: str
    why: str  # of the task
    replaced: bool = False  # a file of an earlier call, whose search has not ended


def dataset_of(name: str) -> Dataset:
    """What a user named: a file, folder or URI where there is one, else a table. Raises UsageError for neither."""
    if "://" in name or name.startswith("python:") or Path(name).exists():
        return Dataset(source=name)
    try:
        TableName.parse(name)
    except UsageError as error:
        if "/" in name or format_of_file(name) is not None:
            folder = Path(name).parent
            beside = [each.name for each in folder.iterdir() if format_of_file(each.name)] if folder.is_dir() else []
            raise NotFound(f"there is no file {name}", nearest(Path(name).name, beside)) from None
        raise UsageError(f"{name} is no file, and not the name of a table", error.remedy) from None
    return Dataset(table=name)


def write_project(
    dataset: Dataset,
    label: str,
    workspace: Workspace,
    folder: Path,
    *,
    task: str | None = None,
    name: str | None = None,
    more: Mapping[Key, Any] = {},
) -> Written:
    """Writes NAME.yml into the folder. `more` are further settings by key. A file of other content is replaced only if
    automl wrote it, nobody changed it since, and no search of it has ended: an earlier call was refused or stopped.

    Raises UsageError for a name that is none, for a file that holds another project, and for a label that is neither
    classes nor numbers; DataError for a column that is not there; Busy if the other project is being searched.
    """
    called = name or dataset.name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", called):
        raise UsageError(f"{called!r} cannot be the name of a project", "name it by letters, digits and underscores")
    if task is not None and task not in TASKS:
        raise UsageError(f"automl writes no project of the task {task!r}", nearest(task, TASKS))
    if task is None:
        task, why = _task_of(dataset, label, workspace, folder)
    else:
        _check_label(_schema(dataset, workspace, folder), dataset, label)
        why = "it was named"
    data: dict[str, Any] = {"columns": {"label": label}}
    schema = "main.default"
    if dataset.table is not None:
        table = TableName.parse(dataset.table)[0]
        schema = f"{table.catalog}.{table.schema}"
        data = {"table": dataset.table, **data}
    else:
        data = {"source": _from(folder, str(dataset.source)), **data}
    values: dict[str, Any] = {"name": called, "schema": schema, "task": task, "data": data}
    for key, value in more.items():
        if key[0] == "task" and isinstance(values["task"], str):
            values["task"] = {"name": task}
        lay(values, key, value)
    text = f"{HEADER} {task}: {why}.\n{_dumped(values)}"
    path = folder / f"{called}.yml"
    before = _values(path) if path.exists() else None
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    elif before != values:
        if before is None or not _is_leftover(path, before, workspace):
            raise UsageError(
                f"{path} holds another project, or is another file",
                f"choose another name, or search that project: lakewright automl {path}",
            )
        with workspace.lock(f"{before['schema']}.{before['name']}", "searching this project"):
            write_whole(path, text)
        return Written(path, task, why, replaced=True)
    return Written(path, task, why)


def _is_leftover(path: Path, values: Any, workspace: Workspace) -> bool:
    """Whether automl wrote the file, as it is, for a search that has not ended."""
    text = path.read_text(encoding="utf-8")
    header, _, rest = text.partition("\n")
    if not header.startswith(HEADER) or rest != _dumped(values):
        return False
    for origin in (workspace.folder / "automl").glob(f"{values['name']}-*/{ORIGIN}"):
        with suppress(OSError, ValueError):
            searched = json.loads(origin.read_text(encoding="utf-8")).get("digest")
            if searched == digest_of(text) and (origin.parent / LEADERBOARD).exists():
                return False
    return True


def digest_of(text: str) -> str:
    """Of a project file."""
    return hashlib.sha256(text.encode()).hexdigest()


def _dumped(values: Any) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def distinct(dataset: Dataset, column: str, workspace: Workspace, folder: Path, most: int) -> list[Any]:
    """The different values of a column, None left out, at most one more than `most`."""
    values: dict[Any, None] = {}
    for batch in _batches(dataset, workspace, folder, column):
        values |= dict.fromkeys(value for value in batch.column(0).unique().to_pylist() if value is not None)
        if len(values) > most:
            break
    return [*values]


def _task_of(dataset: Dataset, label: str, workspace: Workspace, folder: Path) -> tuple[str, str]:
    import pyarrow as pa

    kind = _check_label(_schema(dataset, workspace, folder), dataset, label)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "classification", f"{label} holds texts"
    if pa.types.is_boolean(kind):
        return "classification", f"{label} holds true and false"
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = distinct(dataset, label, workspace, folder, FEW)
        whole = all(float(value).is_integer() for value in values)
        if whole and len(values) <= FEW:
            return "classification", f"{label} holds {len(values)} whole numbers, and at most {FEW} are classes"
        what = f"more than {FEW} whole numbers" if whole else "numbers with fractions"
        return "regression", f"{label} holds {what}"
    raise UsageError(
        f"the column {label!r} holds {kind}, neither classes nor numbers", "name a column of classes or numbers"
    )


def _check_label(schema: pa.Schema, dataset: Dataset, label: str) -> Any:
    """The label's type."""
    if label not in schema.names:
        where = dataset.table or dataset.source
        raise DataError(f"{where} has no column {label!r}, which is to be predicted", nearest(label, schema.names))
    return schema.field(label).type


def _schema(dataset: Dataset, workspace: Workspace, folder: Path) -> pa.Schema:
    if dataset.table is not None:
        return workspace.lake.scan(workspace.lake.version(dataset.table)).schema
    with closing(_reader(dataset, workspace, folder)) as reader:
        return reader.schema


def _reader(dataset: Dataset, workspace: Workspace, folder: Path) -> pa.RecordBatchReader:
    from lakewright.data.sources.opening import open_source

    assert dataset.source is not None
    secrets = workspace.profile.secrets()
    source, uri = open_source(dataset.source, None, secrets, Path.cwd())
    return source.open(uri, {}, secrets)


def _batches(dataset: Dataset, workspace: Workspace, folder: Path, column: str) -> Iterable[pa.RecordBatch]:
    if dataset.table is not None:
        yield from workspace.lake.scan(workspace.lake.version(dataset.table), [column])
        return
    with closing(_reader(dataset, workspace, folder)) as reader:
        for batch in reader:
            yield batch.select([column])


def _from(folder: Path, source: str) -> str:
    """The source as a project file in `folder` names it."""
    if "://" in source or source.startswith("python:"):
        return source
    return os.path.relpath(source, folder)


def _values(path: Path) -> Any:
    """What a YAML file holds; None where it cannot be read as one."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, LakewrightError):
        return None
