"""source → table: the source's rows as one new version of a Delta table, or an existing version with these rows.

Rows that the source has in pieces are copied by the workers; others are one stream through this process. What the
project expects of them (`data.expect`) is checked on the way. With lookups of feature tables, a second table has the
rows with the values that were known at their time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Self, cast

import pyarrow as pa

import lakewright
from lakewright.data.expectations import quarantine
from lakewright.data.expectations.findings import finding, refusal
from lakewright.data.expectations.together import old
from lakewright.data.expectations.writing import Checked, Writing
from lakewright.data.features.joining import TOO_OLD, WITHOUT, Lookup, join
from lakewright.data.lake.names import TableName, is_table
from lakewright.data.lake.tables import FINGERPRINT, Lake
from lakewright.data.lake.types import name_of, storable
from lakewright.data.sources import Intake, NoRows, Source, SourceInPieces, SourceOfFiles, no_rows
from lakewright.data.sources.arrivals import Adding, arrivals, replacing
from lakewright.data.sources.derived import with_derived
from lakewright.data.sources.files import Files, stamp
from lakewright.data.sources.lake import LakeSource, is_of_lake
from lakewright.data.sources.opening import open_source
from lakewright.data.sources.pieces import Pieces, copied
from lakewright.errors import DataError, NotFound, UsageError, nearest
from lakewright.records import Finding, Ingested, TableVersion, plain
from lakewright.settings.expectations import expectations
from lakewright.settings.project import Project
from lakewright.settings.sections import Data
from lakewright.system.progress import Advance, bar
from lakewright.workspace import Workspace

LOG = logging.getLogger("lakewright")
FINDINGS = "findings"
SHOWN = 5  # files of a finding
QUARANTINE = "quarantine"  # the property of a commit that names the version with the rows that were dropped
NEWEST = "newest"  # … that has what freshness goes by


def fingerprint(project: Project, workspace: Workspace) -> str:
    """A text that changes with the source's content and with how it is read. Without a source: the table's version."""
    data, _ = _source(project, workspace)
    if data.source is None:
        content = str(workspace.lake.version(project.table))
    else:
        content = _Reading.of(project, workspace, data).content
    lookups = _lookups(project, workspace)
    return _of_joined(content, project, lookups) if lookups else content


def unlabeled(project: Project, workspace: Workspace) -> str | None:
    """What the rows of data.unlabeled depend on: a table's version, the newest one or the one that is named, or a
    source's fingerprint. None where it names the project's own table, whose version follows from the source."""
    if (data := _of_unlabeled(project)) is not None:
        return _Reading.of(project, workspace, data).content
    table = _table_of_unlabeled(project, workspace)
    return None if table is None else str(table)


def ingest(project: Project, workspace: Workspace) -> Ingested:
    data, name = _source(project, workspace)
    other, apart = _table_of_unlabeled(project, workspace), _of_unlabeled(project)  # before anything is written
    beside = None if apart is None else _Reading.of(project, workspace, apart)
    lookups = _lookups(project, workspace)
    if data.source is None:
        table, content, findings, hosts = workspace.lake.version(project.table), "", list[Finding](), {}
        dropped, views, reads = None, dict[str, str](), list[TableVersion]()
    else:
        beside_them = [name for each in lookups for name in each.values.values()]
        reading = _Reading.of(project, workspace, data)
        written = _written(reading, name, workspace, beside_them)
        table, content, findings, hosts = written.table, written.content, written.findings, written.parts
        dropped, views, reads = written.dropped, reading.views, reading.reads
    if beside is not None:
        of_unlabeled = _written(beside, f"{_unpinned(project.table)}_unlabeled", workspace)
        other = of_unlabeled.table
        findings += [
            each.model_copy(update={"name": f"unlabeled_{each.name}", "detail": f"data.unlabeled: {each.detail}"})
            for each in of_unlabeled.findings
        ]
    source = data.source or str(table)
    content = content or str(table)
    if lookups:
        reads = [*reads, table]
        table, content, noticed = _with_values(table, content, project, lookups, workspace)
        findings += noticed
    if workspace.log is not None and data.source is not None:
        workspace.log.params({"source": data.source, "table": str(table), "rows": table.rows})
        for each in reads:
            workspace.log.table(each, "reads")
    return Ingested(
        table=table,
        source=source,
        fingerprint=content,
        unlabeled=table if other is None and data.unlabeled is not None else other,
        parts=hosts,
        features=[each.version for each in lookups],
        views=views,
        reads=reads,
        quarantine=dropped,
        findings=findings,
    )


def _source(project: Project, workspace: Workspace) -> tuple[Data, str]:
    """data, and the table that its source's rows are written to. Where data.table is a view, it is the source."""
    data = project.data
    if data.source is None and workspace.lake.view(project.table) is not None:
        return data.model_copy(update={"source": project.table}), f"{_unpinned(project.table)}_rows"
    return data, project.table


def _lookups(project: Project, workspace: Workspace) -> list[Lookup]:
    return [Lookup.of(workspace.lake, each.table, each.keys, each.values) for each in project.features]


def _of_joined(content: str, project: Project, lookups: Sequence[Lookup]) -> str:
    """The fingerprint of rows with the values of these lookups."""
    joined = [[str(each.version), dict(each.keys), dict(each.values)] for each in lookups]
    state = [content, project.data.columns.event_time, joined, lakewright.__version__]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _with_values(
    rows: TableVersion, content: str, project: Project, lookups: Sequence[Lookup], workspace: Workspace
) -> tuple[TableVersion, str, list[Finding]]:
    """The table of these rows with the values that were known at their time, its fingerprint, and values that are
    missing."""
    lake, time = workspace.lake, project.data.columns.event_time
    assert time is not None, "the project is refused without one"
    output, content = f"{_unpinned(project.table)}_joined", _of_joined(content, project, lookups)
    table = None if workspace.again else lake.ingested(output, content)
    if table is None:
        properties = {FINGERPRINT: content, "run": workspace.run_id}
        table = join(lake, rows, time, lookups, output, workspace.workers(), properties).table
    noted = lake.history(str(table))[0]["properties"]
    without: dict[str, int] = json.loads(noted[WITHOUT])
    too_old: dict[str, int] = json.loads(noted[TOO_OLD])
    if workspace.log is not None:
        for each in lookups:
            workspace.log.table(each.version, "features")
    findings = [_not_known(name, count, table.rows) for name, count in without.items() if count]
    return (
        table,
        content,
        [*findings, *(_values_too_old(each, too_old, table.rows) for each in lookups if too_old.get(each.table.name))],
    )


def _not_known(name: str, count: int, rows: int) -> Finding:
    why = "no value of their key was known at their time, or it was null"
    detail = f"{count:,} of {rows:,} rows have no {name!r}: {why}."
    return Finding(name="values_not_known", count=count, detail=detail, rows=[name])


def _values_too_old(lookup: Lookup, counts: dict[str, int], rows: int) -> Finding:
    name, ttl = lookup.table.name, lookup.table.ttl
    detail = (
        f"{counts[name]:,} of {rows:,} rows have no value of {name} because the newest one that was known was older "
        f"than the table's time to live, {ttl}: write its values more often, or make the time to live longer."
    )
    return Finding(name="values_too_old", count=counts[name], detail=detail, rows=[name])


def _of_unlabeled(project: Project) -> Data | None:
    """data.unlabeled as a source, where it names no table: read as the project's own, without what only that has, and
    without its expectations, which are of rows with a label."""
    data = project.data
    if data.unlabeled is None or (is_table(data.unlabeled) and not (project.folder / data.unlabeled).exists()):
        return None
    inputs = {name for _, name in data.columns.inputs}
    derive = {name: sql for name, sql in data.derive.items() if name in inputs}
    return data.model_copy(
        update={"source": data.unlabeled, "exclude": [], "derive": derive, "expect": [], "mode": "replace"}
    )


def _table_of_unlabeled(project: Project, workspace: Workspace) -> TableVersion | None:
    """The version of another table that data.unlabeled names. Raises NotFound where there is no such table."""
    if project.data.unlabeled is None or _of_unlabeled(project) is not None:
        return None
    name, version = TableName.parse(project.data.unlabeled)
    if version is None and name == TableName.parse(project.table)[0]:
        return None
    try:
        return workspace.lake.version(project.data.unlabeled)
    except NotFound as error:
        raise NotFound(
            f"data.unlabeled: {error.cause}",
            f"{error.remedy}; write the table first (lakewright sql 'create table … as select …'), name a file of "
            "rows, or remove data.unlabeled",
        ) from None


def _unpinned(table: str) -> str:
    return str(TableName.parse(table)[0])


@dataclass(frozen=True)
class _Reading:
    """A source, opened, and what was noticed."""

    data: Data
    source: Source
    uri: str
    secrets: dict[str, str]
    intake: Intake
    findings: list[Finding]

    @classmethod
    def of(cls, project: Project, workspace: Workspace, data: Data) -> Self:
        assert data.source is not None
        secrets, findings = workspace.profile.secrets(), list[Finding]()
        if is_of_lake(data.source, project.folder):
            source: Source = LakeSource(workspace.lake, data.source)
            uri = data.source
        else:
            source, uri = open_source(data.source, data.format, secrets, project.folder)
        return cls(data, source, uri, secrets, _intake(project, data, findings), findings)

    @property
    def views(self) -> dict[str, str]:
        return self.source.views if isinstance(self.source, LakeSource) else {}

    @property
    def reads(self) -> list[TableVersion]:
        return self.source.reads if isinstance(self.source, LakeSource) else []

    @property
    def content(self) -> str:
        if self.data.mode == "append":  # a look every few seconds reads no file
            own = json.dumps(
                [[file.name, stamp(file)] for file in self.listing.files] + [self.data.options], default=str
            )
        else:
            own = self.source.fingerprint(self.uri, self.data.options, self.secrets, self.intake)
        return _fingerprint(self.source, own, self.data)

    @cached_property
    def listing(self) -> Files:
        """The files of the source. Raises UsageError where it has none."""
        if not hasattr(self.source, "listing"):
            raise UsageError(
                f"data.mode is append, and {self.data.source} is no folder of files",
                "name a folder, or a glob, of CSV, JSON or Parquet files; or remove data.mode",
            )
        return cast(SourceOfFiles, self.source).listing(self.uri, self.data.options, self.secrets)

    def pieces(self) -> Pieces[Any] | None:
        """None: the rows are one stream. An expression of SQL may look at all of them (a window, an average)."""
        if self.data.derive or not hasattr(self.source, "pieces"):
            return None
        source = cast(SourceInPieces, self.source)
        return source.pieces(self.uri, self.data.options, self.secrets, self.intake)

    def rows(self) -> pa.RecordBatchReader:
        opened = self.source.open(self.uri, self.data.options, self.secrets, self.intake)
        return with_derived(opened, self.data.derive)


@dataclass(frozen=True)
class _Written:
    table: TableVersion  # with the source's rows
    content: str  # their fingerprint
    findings: list[Finding]
    parts: dict[str, int]  # machine → the pieces that it copied
    dropped: TableVersion | None = None  # rows that are not as expected


def _written(reading: _Reading, name: str, workspace: Workspace, beside: Sequence[str] = ()) -> _Written:
    """The source's rows as a table; columns that are joined `beside` them are not the source's."""
    lake, content = workspace.lake, reading.content
    committed, parts = None if workspace.again else lake.ingested(name, content), dict[str, int]()
    if committed is not None and not _stands(lake, committed, name, content):
        committed = None
    if committed is None:
        adding = replacing(lake, name)
        if reading.data.mode == "append":
            reading, adding = _arrived(reading, lake, name, workspace.again)
        if reading.intake.files is not None and not reading.intake.files:  # every file of the source was read
            dropped = quarantine.existing(lake, name) if reading.data.expect else None
            return _Written(lake.version(name), content, reading.findings, parts, dropped)
        try:
            committed, parts = _added(reading, name, workspace, beside, content, adding)
        except NoRows:
            if adding.mode == "overwrite":
                raise
            adding.note(adding.quarantine)  # they are read, and have nothing to add
            schema, transactions = lake.schema(lake.version(name)), adding.transactions
            properties = {FINGERPRINT: content, **_stored(reading.findings)}
            committed = lake.add_files(name, schema, [], properties=properties, transactions=transactions)
        except DataError as failure:
            if adding.mode == "overwrite":
                raise
            files = sorted(reading.intake.files or ())
            some = ", ".join(files[:SHOWN]) + ", …" * (len(files) > SHOWN)
            raise DataError(
                f"the new files of {reading.data.source} ({some}) cannot be added: {failure.cause}",
                f"{failure.remedy}; correct or move away the file: nothing of these was added",
            ) from failure
    stored = lake.history(str(committed))[0]["properties"]
    findings = [Finding.model_validate(each) for each in json.loads(stored.get(FINDINGS, "[]"))]
    findings += _too_old(reading.data, stored, committed)
    dropped = lake.version(stored[QUARANTINE]) if QUARANTINE in stored else None
    return _Written(committed, content, findings, parts, dropped)


def _arrived(reading: _Reading, lake: Lake, name: str, again: bool) -> tuple[_Reading, Adding]:
    """What reads the files that the table does not hold, with its columns' types. Raises UsageError for a source that
    has no files."""
    data, listing = reading.data, reading.listing
    empty = [file.name for file in listing.files if not file.size]  # its rows may come yet
    if empty:
        reading.findings.append(_empty(data, empty))
    files = replace(listing, files=tuple(file for file in listing.files if file.size))
    arrived = arrivals(lake, name, files, again, data.source or "")
    types = dict[str, str]()
    if arrived.adding.mode == "append":
        beside = {*listing.files[0].partition, "split", *data.derive}
        named = {field.name: name_of(field.type) for field in lake.schema(lake.version(name))}
        types = {column: kind for column, kind in named.items() if kind is not None and column not in beside}
    elif not files.files:
        raise no_rows(str(data.source))
    if arrived.changed:
        reading.findings.append(_changed(data, arrived.changed))
    LOG.info("%s: %d new files of %d", data.source, len(arrived.new), len(files.files))
    intake = replace(reading.intake, files=frozenset(arrived.new), types=types)
    return replace(reading, intake=intake), arrived.adding


def _empty(data: Data, names: Sequence[str]) -> Finding:
    detail = f"{len(names):,} files of {data.source} are empty, and are read once they have something in them."
    return Finding(name="files_empty", count=len(names), detail=detail, rows=list(names[:SHOWN]))


def _changed(data: Data, names: Sequence[str]) -> Finding:
    detail = (
        f"{len(names):,} files of {data.source} changed after they were read, and are not read again: write what is "
        "new into files of other names, or read all files anew (lakewright run --rerun ingest)."
    )
    return Finding(name="files_changed", count=len(names), detail=detail, rows=list(names[:SHOWN]))


def _added(
    reading: _Reading, name: str, workspace: Workspace, beside: Sequence[str], content: str, adding: Adding
) -> tuple[TableVersion, dict[str, int]]:
    lake = workspace.lake
    pieces = reading.pieces() if lake.takes_files(name) else None
    if pieces is not None and adding.mode == "append" and pieces.schema != storable(lake.schema(lake.version(name))):
        pieces = None  # a file is written as its piece is, and a stream as the table is
    source = reading.rows() if pieces is None else pieces
    _check_columns(reading.data, [*source.schema.names, *beside], reading.intake)
    properties = {FINGERPRINT: content, "source": str(reading.data.source), "run": workspace.run_id}
    if reading.data.expect:
        writing = Writing(lake, name, str(reading.data.source), expectations(reading.data.expect), adding=adding)
        of_commit = partial(_checked, properties, reading.findings)
        return writing.write(source, workspace.workers, content, of_commit)
    if adding.mode == "overwrite":
        quarantine.empty(lake, name, content)
    properties |= _stored(reading.findings)
    if isinstance(source, Pieces):
        return copied(source, lake, name, workspace.workers, properties, adding)
    adding.note(None)
    with bar(f"writing {name}", None) as advance:
        rows = _counted(source, advance)
        mode, transactions = adding.mode, adding.transactions
        return lake.write(name, rows, mode=mode, properties=properties, transactions=transactions), {}


def _stored(findings: Sequence[Finding]) -> dict[str, str]:
    """In the commit, as an unchanged source is not read again."""
    return {FINDINGS: json.dumps([plain(each) for each in findings])} if findings else {}


def _checked(
    properties: Mapping[str, str], noticed: Sequence[Finding], checked: Checked, findings: Sequence[Finding]
) -> dict[str, str]:
    """The properties of the commit of rows that were checked."""
    dropped = {} if checked.quarantine is None else {QUARANTINE: str(checked.quarantine)}
    newest = {NEWEST: json.dumps(checked.newest)} if checked.newest else {}
    return {**properties, **_stored([*noticed, *findings]), **dropped, **newest}


def _stands(lake: Lake, table: TableVersion, name: str, content: str) -> bool:
    """Whether the rows that were dropped for this version of the table are still there, and no others."""
    dropped = lake.history(str(table))[0]["properties"].get(QUARANTINE)
    if dropped is not None:
        return quarantine.stands(lake, dropped)
    quarantine.empty(lake, name, content)  # a process that was killed before it wrote the table may have left rows
    return True


def _too_old(data: Data, stored: Mapping[str, str], table: TableVersion) -> list[Finding]:
    """Of rows that are ingested: they grow old while their source does not change. Raises DataError where freshness
    has the severity fail."""
    expected = [each for each in expectations(data.expect) if each.kind == "freshness"]
    tallies = old(expected, json.loads(stored.get(NEWEST, "{}")), datetime.now(UTC))
    violated = [(each, tallies[each.name]) for each in expected if tallies[each.name].count]
    if (error := refusal(violated, table.rows, str(data.source), table.name)) is not None:
        raise error
    return [finding(each, tally, table.rows, table.name) for each, tally in violated]


def overdue(project: Project, workspace: Workspace) -> list[str]:
    """The expectations of freshness that fail the run for rows that are ingested already."""
    expected = [each for each in expectations(project.data.expect) if each.kind == "freshness"]
    if not any(each.severity == "fail" for each in expected):
        return []
    content = _Reading.of(project, workspace, project.data).content
    table = workspace.lake.ingested(project.table, content)
    if table is None:
        return []
    stored = json.loads(workspace.lake.history(str(table))[0]["properties"].get(NEWEST, "{}"))
    tallies = old(expected, stored, datetime.now(UTC))
    return [each.name for each in expected if each.severity == "fail" and tallies[each.name].count]


def _intake(project: Project, data: Data, findings: list[Finding]) -> Intake:
    columns = data.columns
    time = columns.event_time if project.prepare.split.method == "time" or project.features else None
    return Intake(
        as_written=frozenset(columns.as_written),
        exclude=frozenset(data.exclude),
        numbers={name: role for role, name in columns.names if role in columns.numeric},
        times={time: "event_time"} if time else {},
        notice=findings.append,
    )


def _fingerprint(source: Source, content: str, data: Data) -> str:
    reader = f"{type(source).__module__} {lakewright.__version__}"  # another version may read the source differently
    more = [*([data.derive] if data.derive else []), *(each.model_dump(mode="json") for each in data.expect)]
    return hashlib.sha256(json.dumps([reader, content, sorted(data.exclude), *more]).encode()).hexdigest()


def _check_columns(data: Data, names: Sequence[str], intake: Intake) -> None:
    """Raises DataError if the project names a column that the source lacks."""
    of_unlabeled = data.source == data.unlabeled
    for role, name in data.columns.inputs if of_unlabeled else data.columns.names:
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
