"""source → table: the source's rows as one new version of a Delta table, or an existing version with these rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import pyarrow as pa

import lakewright
from lakewright.data.lake.names import TableName
from lakewright.data.lake.tables import FINGERPRINT
from lakewright.data.sources import Intake, Source
from lakewright.data.sources.derived import with_derived
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, NotFound, nearest
from lakewright.records import Finding, Ingested, TableVersion, plain
from lakewright.settings.project import Project
from lakewright.settings.sections import Data
from lakewright.system.progress import Advance, bar
from lakewright.workspace import Workspace

FINDINGS = "findings"


def fingerprint(project: Project, workspace: Workspace) -> str:
    """A text that changes with the source's content and with how it is read. Without a source: the table's version."""
    data = project.data
    if data.source is None:
        return str(workspace.lake.version(project.table))
    secrets = workspace.profile.secrets()
    source, uri = open_source(data.source, data.format, secrets, project.folder)
    return _fingerprint(source, source.fingerprint(uri, data.options, secrets, _intake(project, [])), data)


def unlabeled(project: Project, workspace: Workspace) -> TableVersion | None:
    """The version of data.unlabeled that a run reads now: the newest one, or the one that it names. None where it names
    the project's own table, whose version follows from the source. Raises NotFound where there is no such table."""
    if project.data.unlabeled is None:
        return None
    name, version = TableName.parse(project.data.unlabeled)
    if version is None and name == TableName.parse(project.table)[0]:
        return None
    try:
        return workspace.lake.version(project.data.unlabeled)
    except NotFound as error:
        raise NotFound(
            f"data.unlabeled: {error.cause}",
            f"{error.remedy}; write the table first (lakewright sql 'create table … as select …'), or remove "
            "data.unlabeled",
        ) from None


def ingest(project: Project, workspace: Workspace) -> Ingested:
    data, lake = project.data, workspace.lake
    other = unlabeled(project, workspace)  # before anything is written
    if data.source is None:
        table = lake.version(project.table)
        return Ingested(
            table=table,
            source=str(table),
            fingerprint=str(table),
            unlabeled=_own(data, table) if other is None else other,
        )

    findings: list[Finding] = []
    secrets, intake = workspace.profile.secrets(), _intake(project, findings)
    source, uri = open_source(data.source, data.format, secrets, project.folder)
    content = _fingerprint(source, source.fingerprint(uri, data.options, secrets, intake), data)
    committed = None if workspace.again else lake.ingested(project.table, content)
    if committed is None:
        reader = with_derived(source.open(uri, data.options, secrets, intake), data.derive)
        _check_columns(data, reader.schema.names, intake)
        properties = {FINGERPRINT: content, "source": data.source, "run": workspace.run_id}
        if findings:  # in the commit: an unchanged source is not read again
            properties[FINDINGS] = json.dumps([plain(finding) for finding in findings])
        with bar(f"writing {project.table}", None) as advance:
            committed = lake.write(project.table, _counted(reader, advance), properties=properties)
    if workspace.log is not None:
        workspace.log.params({"source": data.source, "table": str(committed), "rows": committed.rows})
    stored = lake.history(str(committed))[0]["properties"].get(FINDINGS, "[]")
    findings = [Finding.model_validate(finding) for finding in json.loads(stored)]
    return Ingested(
        table=committed,
        source=data.source,
        fingerprint=content,
        unlabeled=_own(data, committed) if other is None else other,
        findings=findings,
    )


def _own(data: Data, table: TableVersion) -> TableVersion | None:
    """The project's own table, where data.unlabeled names it."""
    return None if data.unlabeled is None else table


def _intake(project: Project, findings: list[Finding]) -> Intake:
    columns = project.data.columns
    time = columns.event_time if project.prepare.split.method == "time" else None
    return Intake(
        as_written=frozenset(columns.as_written),
        exclude=frozenset(project.data.exclude),
        numbers={name: role for role, name in columns.names if role in columns.numeric},
        times={time: "event_time"} if time else {},
        notice=findings.append,
    )


def _fingerprint(source: Source, content: str, data: Data) -> str:
    reader = f"{type(source).__module__} {lakewright.__version__}"  # another version may read the source differently
    return hashlib.sha256(
        json.dumps([reader, content, sorted(data.exclude), *([data.derive] if data.derive else [])]).encode()
    ).hexdigest()


def _check_columns(data: Data, names: Sequence[str], intake: Intake) -> None:
    """Raises DataError if the project names a column that the source lacks."""
    for role, name in data.columns.names:
        if name not in names:
            raise DataError(f"{data.source} has no column {name!r} (data.columns.{role})", nearest(name, names))
    for name in sorted(intake.exclude - intake.left_out):
        raise DataError(f"{data.source} has no column {name!r} (data.exclude)", nearest(name, names))


def _counted(reader: pa.RecordBatchReader, advance: Advance) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            advance(batch.num_rows, "")
            yield batch

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
