"""source → table: the source's rows as one new version of a Delta table, or the version that holds them already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import pyarrow as pa

import lakewright
from lakewright.errors import DataError, nearest
from lakewright.lake.sources import open_source
from lakewright.lake.tables import FINGERPRINT
from lakewright.progress import Advance, bar
from lakewright.project import Project
from lakewright.records import Ingested, Record
from lakewright.workspace import Workspace


def fingerprint(project: Project, workspace: Workspace) -> str:
    """Changes when the source's content, or how it is read, does. Without a source: the table's version."""
    data = project.data
    if data.source is None:
        return str(workspace.lake.version(project.table))
    secrets = workspace.profile.secrets()
    source, uri = open_source(data.source, data.format, secrets, project.folder)
    reader = f"{type(source).__module__} {lakewright.__version__}"  # another one may read the source otherwise
    return hashlib.sha256(f"{reader}: {source.fingerprint(uri, data.options, secrets)}".encode()).hexdigest()


def ingest(inputs: Mapping[str, Record], project: Project, workspace: Workspace) -> Ingested:
    data, lake = project.data, workspace.lake
    if data.source is None:
        table = lake.version(project.table)
        return Ingested(table=table, source=str(table), fingerprint=str(table))

    secrets = workspace.profile.secrets()
    source, uri = open_source(data.source, data.format, secrets, project.folder)
    found = fingerprint(project, workspace)
    committed = lake.ingested(project.table, found)
    if committed is None:
        reader = source.open(uri, data.options, secrets)
        for role, name in data.columns.names:
            if name not in reader.schema.names:
                raise DataError(
                    f"{data.source} has no column {name!r} (data.columns.{role})", nearest(name, reader.schema.names)
                )
        properties = {FINGERPRINT: found, "source": data.source, "run": workspace.run_id}
        with bar(f"writing {project.table}", None) as advance:
            committed = lake.write(project.table, _counted(reader, advance), properties=properties)
    if workspace.log is not None:
        workspace.log.params({"source": data.source, "table": str(committed), "rows": committed.rows})
    return Ingested(table=committed, source=data.source, fingerprint=found)


def _counted(reader: pa.RecordBatchReader, advance: Advance) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            advance(batch.num_rows, "")
            yield batch

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
