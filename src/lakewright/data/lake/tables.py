"""Delta tables by name: write one atomically, read one at a pinned version, list its history.

Through delta-rs (https://delta-io.github.io/delta-rs/). The catalog names a table's place; a new one lies at
`root/catalog/schema/table`. The Delta log alone decides what exists; a catalog entry lost in a crash is written again.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import unquote

import pyarrow as pa

from lakewright.data.lake.catalogs import VIEW, Catalog, Denied, Location
from lakewright.data.lake.lost import check_commits, damaged_log, erased_since, lost, unreadable
from lakewright.data.lake.names import TableName
from lakewright.data.lake.parts import File, Shape, Written, files_of, shape_of
from lakewright.data.lake.scan import cause_of, scan, schema_of
from lakewright.data.lake.types import cast, columns_info, storable, within_years
from lakewright.data.lake.writing import Feed, already_exists, as_one, fit, keep_failure, not_empty, with_room
from lakewright.errors import AGAIN, Busy, DataError, DiskError, LakewrightError, NotFound, UsageError, nearest, of_disk
from lakewright.records import TableVersion

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

    from lakewright.data.lake.file_names import Files

LOG = logging.getLogger("lakewright")
T = TypeVar("T")

FINGERPRINT = "fingerprint"  # the property of a commit that holds a source's rows
ERASED = "erased"  # the property of a commit that removed the files of all versions before the one that it names
# A commit's own properties get this prefix in Delta's commitInfo, apart from the fields that writers put there.
_PREFIX = "lakewright."
_ROWS = "rows"  # the property of a commit of files, whose rows delta-rs does not count
_ROW_GROUP = 1 << 14  # rows: a row group stays in memory until it is whole; delta-rs's default is a million rows


class Lake:
    """The tables of one catalog; new ones lie under `root`: a local folder, s3://bucket/…, or abfss://….

    `storage_options` are delta-rs's (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …); a catalog may lend keys instead.
    `readable` are the files that SQL may read beside the tables; None: none. In SQL, a table's name of two parts is in
    the `default_catalog`.
    """

    def __init__(
        self,
        catalog: Catalog,
        root: str,
        storage_options: Mapping[str, str] = {},
        readable: Files | None = None,
        default_catalog: str = "main",
    ) -> None:
        self.catalog = catalog
        self.root = root.rstrip("/") if "://" in root else str(Path(root).resolve())
        self.storage_options = dict(storage_options)
        self.readable = readable
        self.default_catalog = default_catalog

    def write(
        self,
        name: str,
        batches: pa.RecordBatchReader | pa.Table,
        *,
        mode: Literal["overwrite", "append", "create"] = "overwrite",
        properties: Mapping[str, str] = {},
        comment: str = "",
        ordered: bool = True,
        transactions: Mapping[str, tuple[int | None, int]] = {},
        after: TableVersion | None = None,
    ) -> TableVersion:
        """Write the rows as the next version of the table, in one commit: all rows or, on any failure, none.

        The rows are streamed. Rows keep their order up to 16 MiB; beyond that, or from the start if they need not be
        `ordered` (which takes less memory), the writer shuffles them. An overwrite may change the columns, an append
        must have the table's own; if several processes `create` a table, one makes it. `properties` are stored with the
        commit (see `history`, `find_commit`).
        `transactions` are Delta's application transactions, which make a repeated write harmless: application → the
        version that it must have before (None: none yet; see `transactions`) and the one that this commit sets.
        `after` is the version that these rows replace: its columns and partitions stay, and there may be no rows.
        Raises DataError for input without rows, with columns that do not fit or times that Python lacks, Busy if
        another process wrote the table in the meantime, UsageError if a table to create exists already; an error that
        `batches` raises passes unchanged.
        """
        from deltalake import WriterProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError

        table = _unpinned(name)
        reader = batches.to_reader() if isinstance(batches, pa.Table) else batches
        schema = storable(reader.schema)
        location, existing, conflict = self._writable(table, mode, transactions)
        if after is not None and (existing is None or existing.version() != after.version):
            raise conflict
        if existing is not None and (mode == "append" or after is not None):
            schema = fit(schema, schema_of(existing), table)
        commit = uuid.uuid4().hex
        failures: list[BaseException] = []
        fitted = within_years(cast(batch, schema) for batch in (not_empty(reader, table) if after is None else reader))
        rows = Feed(keep_failure(with_room(as_one(fitted) if ordered else fitted, location.uri), failures))
        try:
            write_deltalake(
                # From the version checked above: a transaction that another process commits meanwhile conflicts.
                existing if existing is not None and (transactions or after is not None) else location.uri,
                pa.RecordBatchReader.from_batches(schema, iter(rows)),
                mode="error" if existing is None or mode == "create" else mode,
                schema_mode="overwrite" if mode == "overwrite" and existing is not None and after is None else None,
                name=str(table),
                description=comment or None,
                storage_options=dict(location.storage_options),
                writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP),
                commit_properties=_commit_properties(
                    properties, commit, transactions, retries=existing is not None and after is None
                ),
            )
        except CommitFailedError as error:
            raise conflict from error
        except Exception as error:
            rows.stop()
            # delta-rs turns the stream's error into text. Popped: a list that a failure's own traceback holds would
            # keep DuckDB's objects until Python ends, which DuckDB would report as a leak.
            if failures:
                raise failures.pop() from None
            if existing is None and self._delta(table, location) is not None:
                raise conflict from error
            if (full := of_disk(error, location.uri, AGAIN)) is not None:
                raise full from error
            if (damaged := damaged_log(location.uri)) is not None:
                raise damaged from error
            cause = location.hide(cause_of(error))
            raise DataError(f"{table} could not be written: {cause}", "nothing was changed") from error
        return self._committed(table, location, commit, comment)

    def commit(
        self,
        name: str,
        operation: Callable[[DeltaTable, CommitProperties], T],
        properties: Mapping[str, str] = {},
        *,
        retries: bool = False,
    ) -> tuple[TableVersion, T]:
        """Run an operation of delta-rs that commits to the latest version. Returns the version that there is then, and
        what the operation returned. Raises Busy where another process committed first, unless delta-rs `retries`."""
        from deltalake.exceptions import CommitFailedError

        table = _unpinned(name)
        location, _, conflict = self._writable(table, "append", {})
        existing = self._existing(table, location)
        try:
            result = operation(existing, _commit_properties(properties, uuid.uuid4().hex, {}, retries=retries))
        except CommitFailedError as error:
            raise conflict from error
        except Exception as error:
            if (full := of_disk(error, location.uri, AGAIN)) is not None:
                raise full from error
            cause = location.hide(cause_of(error))
            raise DataError(f"{table} could not be changed: {cause}", "nothing was changed") from error
        self._register(table, location, self._existing(table, location), "")
        return self.version(str(table)), result

    def create(self, name: str, schema: pa.Schema, *, comment: str = "") -> TableVersion:
        """Make a table without rows; metadata of its columns is kept. Raises UsageError where there is one."""
        from deltalake import DeltaTable, Schema

        table = _unpinned(name)
        location, _, conflict = self._writable(table, "create", {})
        plain = storable(schema)
        kept = pa.schema([field.with_metadata(schema.field(at).metadata) for at, field in enumerate(plain)])
        commit = uuid.uuid4().hex
        try:
            DeltaTable.create(
                location.uri,
                Schema.from_arrow(kept),
                name=str(table),
                description=comment or None,
                storage_options=dict(location.storage_options),
                commit_properties=_commit_properties({}, commit, {}, retries=False),
            )
        except Exception as error:
            if self._delta(table, location) is not None:
                raise conflict from error
            if (full := of_disk(error, location.uri, AGAIN)) is not None:
                raise full from error
            raise DataError(
                f"{table} could not be made: {location.hide(cause_of(error))}", "nothing was changed"
            ) from error
        return self._committed(table, location, commit, comment)

    def schema(self, table: TableVersion) -> pa.Schema:
        """The columns of a version, with their metadata."""
        return schema_of(self._open(table))

    def add_files(
        self,
        name: str,
        schema: pa.Schema,
        files: Sequence[Written],
        *,
        mode: Literal["overwrite", "append", "create"] = "append",
        properties: Mapping[str, str] = {},
        comment: str = "",
        transactions: Mapping[str, tuple[int | None, int]] = {},
    ) -> TableVersion:
        """Make files that `parts.write` left in the table's folder its next version, in one commit, as `write` does.

        Raises UsageError for a table whose rows only a writer of rows may add: with partitions, constraints, or other
        names in its files.
        """
        from deltalake import Schema
        from deltalake.exceptions import CommitFailedError
        from deltalake.transaction import AddAction, create_table_with_add_actions

        table = _unpinned(name)
        location, existing, conflict = self._writable(table, mode, transactions)
        if existing is not None:
            _check_takes_files(existing, table)
            if mode == "append":
                schema = fit(schema, schema_of(existing), table)
        commit = uuid.uuid4().hex
        now = int(time.time() * 1000)
        actions = [
            AddAction(each.path, each.size, {}, now, True, json.dumps({"numRecords": each.rows})) for each in files
        ]
        counted = {**properties, _ROWS: str(sum(each.rows for each in files))}
        properties_of_commit = _commit_properties(counted, commit, transactions, retries=existing is not None)
        delta_schema = Schema.from_arrow(schema)
        try:
            if existing is None:
                create_table_with_add_actions(
                    location.uri,
                    delta_schema,
                    actions,
                    name=str(table),
                    description=comment or None,
                    storage_options=dict(location.storage_options),
                    commit_properties=properties_of_commit,
                )
            else:
                existing.create_write_transaction(actions, mode, delta_schema, commit_properties=properties_of_commit)
        except CommitFailedError as error:
            raise conflict from error
        except Exception as error:
            if existing is None and self._delta(table, location) is not None:
                raise conflict from error
            if (full := of_disk(error, location.uri, AGAIN)) is not None:
                raise full from error
            cause = location.hide(cause_of(error))
            raise DataError(f"{table} could not be written: {cause}", "nothing was changed") from error
        return self._committed(table, location, commit, comment)

    def takes_files(self, name: str) -> bool:
        """Whether `add_files` may write the table; where not, `write` may."""
        table = _unpinned(name)
        existing = self._delta(table, self._location(table))
        return existing is None or not _rules_of_rows(existing)

    def _writable(
        self, table: TableName, mode: str, transactions: Mapping[str, tuple[int | None, int]]
    ) -> tuple[Location, DeltaTable | None, LakewrightError]:
        """The table's place, its latest version if there is one, and the error for a commit that comes too late."""
        location = self._location(table, write=True)
        check_commits(location.uri)
        existing = self._delta(table, location)
        if existing is None:
            self.check_no_view(str(table))
        conflict = already_exists(table) if mode == "create" else _busy(table)
        if mode == "create" and existing is not None:
            raise conflict
        recorded = {name: existing.transaction_version(name) if existing else None for name in transactions}
        if any(recorded[name] != expected for name, (expected, _) in transactions.items()):
            raise conflict
        return location, existing, conflict

    def _committed(self, table: TableName, location: Location, commit: str, comment: str) -> TableVersion:
        self._register(table, location, self._existing(table, location), comment)
        # Another process may have added a version since.
        commits = self._commits(table, location)
        new_version = next(entry["version"] for entry in commits if entry.get("txnId") == commit)
        return self.version(f"{table}@v{new_version}")

    def transactions(self, name: str, applications: Iterable[str]) -> dict[str, int | None]:
        """Each application's transaction version in the latest table version; None: none yet, or no such table."""
        table = _unpinned(name)
        delta = self._delta(table, self._location(table))
        return {each: None if delta is None else delta.transaction_version(each) for each in applications}

    def version(self, reference: str) -> TableVersion:
        """The version that `a.b.c` (the latest) or `a.b.c@v3` names; raises NotFound, which names existing ones."""
        table, version = TableName.parse(reference)
        location = self._location(table)
        try:
            latest = self._existing(table, location)
        except NotFound:
            raise
        except DataError:  # a damaged commit leaves the versions before it readable
            if version is None:
                raise
            pinned = self._pinned(table, location, version)
            return TableVersion(name=str(table), version=version, uri=location.uri, rows=self._rows(pinned))
        entry = self.catalog.get_table(table)
        # Not every catalog stores the version: without it there is nothing to update.
        entry_version = entry and entry["properties"].get("delta.lastUpdateVersion", str(latest.version()))
        if entry_version != str(latest.version()):
            try:
                self._register(table, location, latest, "")
            except (Denied, DiskError) as refused:  # a user may read a table and not change its entry
                LOG.warning("the catalog's entry of %s is not up to date: %s", table, refused.cause)
        pinned = latest if version is None or version == latest.version() else self._pinned(table, location, version)
        return TableVersion(name=str(table), version=pinned.version(), uri=location.uri, rows=self._rows(pinned))

    def scan(
        self,
        table: TableVersion,
        columns: Sequence[str] | None = None,
        predicate: str | None = None,
        *,
        any_year: bool = False,
    ) -> pa.RecordBatchReader:
        """Stream the rows of one version, always in the same order; deletion vectors are applied.

        `predicate` is a condition in SQL (DataFusion's, names case-sensitive). `any_year`: dates and times of other
        writers that Python cannot hold pass. Raises DataError for them otherwise, and for unknown columns.
        """
        rows = scan(self._open(table), columns, predicate)
        batches = self._explained(table, rows)
        return pa.RecordBatchReader.from_batches(rows.schema, batches if any_year else within_years(batches))

    def read(self, table: TableVersion, columns: Sequence[str] | None = None, predicate: str | None = None) -> pa.Table:
        """The rows of `scan`, in memory."""
        return self.scan(table, columns, predicate).read_all()

    def uris(self, table: TableVersion) -> Sequence[str]:
        """The Parquet files of one version, as local paths or URIs, for whatever reads them without the Delta log: of
        a table that was written here, whose files hold its rows and no others."""
        uris: Sequence[str] = self._open(table).file_uris()
        return [uri if "://" in uri else unquote(uri) for uri in uris]  # delta-rs quotes local paths as in URIs

    def files(self, table: TableVersion, since: int | None = None) -> list[File]:
        """The files of a version, in the order of `scan`; or those that were appended after version `since`, always in
        the same order.

        Raises Rewritten if the log does not show which rows are new: rows were changed, or its entries are gone.
        """
        from lakewright.data.lake.appended import appended

        delta = self._open(table)
        location = self.place(table)
        return files_of(delta, location) if since is None else appended(delta, since, location)

    def shape(self, table: TableVersion, columns: Sequence[str] | None = None) -> Shape:
        return shape_of(self._open(table), columns)

    def place(self, table: TableVersion) -> Location:
        """Where a version's files lie, and the keys to read them, which may be valid for an hour only."""
        name, _ = TableName.parse(table.name)
        return Location(table.uri, self._location(name).storage_options)

    def is_own(self, name: str, place: Location) -> bool:
        """Whether the table lies where this lake puts its tables; else the catalog names a place of others."""
        table = _unpinned(name)
        return place.uri == f"{self.root}/{table.catalog}/{table.schema}/{table.table}"

    def place_to_write(self, name: str) -> Location:
        """Where files for `add_files` belong, and the keys to write them."""
        return self._location(_unpinned(name), write=True)

    def explained(self, table: TableVersion, failure: Exception) -> LakewrightError:
        """The error for a failure to read the version's files."""
        if isinstance(failure, LakewrightError):
            return failure
        location = self.place(table)
        return unreadable(table, self._open(table), failure, lambda version: _delta_at(location, version))

    def is_lost(self, table: TableVersion) -> bool:
        """Whether files of the version are gone or damaged (VACUUM, a person, a disk)."""
        return bool(lost(self._open(table)))

    def ingested(self, name: str, fingerprint: str) -> TableVersion | None:
        """The version that `ingest` wrote for this fingerprint, if the table still holds its rows."""
        from lakewright.data.lake.appended import Rewritten

        committed = self.find_commit(name, FINGERPRINT, fingerprint)
        if committed is None or self.is_lost(committed):
            return None
        latest = self.version(name)
        try:  # later commits may have rearranged the rows (OPTIMIZE), or cleaned up (VACUUM)
            new = [] if latest.version == committed.version else self.files(latest, committed.version)
        except Rewritten:
            return None
        return committed if not any(file.rows for file in new) else None

    def identity(self, table: TableVersion) -> str:
        """The table's own id; another table of the same name has another."""
        return str(self._open(table).metadata().id)

    def history(self, reference: str) -> list[dict[str, Any]]:
        """The commits of the table up to the version named, newest first.

        Each has version, timestamp (ms), operation, rows (written by the commit, None if unknown), properties (those of
        `write`) and user_metadata (as Spark writes it, or None).
        """
        table, version = TableName.parse(reference)
        commits = self._commits(table, self._location(table))
        if version is None:
            version = commits[0]["version"]
        elif not any(commit["version"] == version for commit in commits):
            raise _no_version(table, version, commits)
        return [
            {
                "version": commit["version"],
                "timestamp": commit.get("timestamp"),
                "operation": commit.get("operation"),
                "rows": _rows_written(commit),
                "properties": {
                    key.removeprefix(_PREFIX): value
                    for key, value in commit.items()
                    if key.startswith(_PREFIX) and key != _PREFIX + _ROWS
                },
                "user_metadata": commit.get("userMetadata"),
            }
            for commit in commits
            if commit["version"] <= version
        ]

    def find_commit(self, name: str, key: str, value: str) -> TableVersion | None:
        """The newest version written with the property `key` = `value`; None if there is none, or no such table."""
        table = _unpinned(name)
        if self._delta(table, self._location(table)) is None:
            return None
        for commit in self.history(str(table)):
            if commit["properties"].get(key) == value:
                return self.version(f"{table}@v{commit['version']}")
        return None

    def view(self, name: str) -> dict[str, Any] | None:
        """The catalog's entry of a view, with its view_definition; None: no view has this name."""
        table, _ = TableName.parse(name)
        if not hasattr(self.catalog, "register_view"):  # KeepsViews
            return None
        entry = self.catalog.get_table(table)
        return entry if entry is not None and entry["table_type"] == VIEW else None

    def check_no_view(self, table: str) -> None:
        """Raises UsageError for the name of a view."""
        if self.view(table) is not None:
            raise UsageError(
                f"{table} is a view, not a table",
                f"select from it in SQL, or write its rows into a table (create table … as select * from {table}); "
                "to change rows, change those of the tables that it reads",
            )

    def list(self) -> list[dict[str, Any]]:
        """The catalog's entries: full_name, table_type, version, rows, bytes, comment, updated_at (ms) and
        storage_location.

        Version, rows and bytes are None for a view, and if the catalog does not know them: no table is opened.
        """
        return [
            {
                "full_name": entry["full_name"],
                "table_type": entry.get("table_type"),
                "version": _whole(entry["properties"].get("delta.lastUpdateVersion")),
                "rows": _whole(entry["properties"].get("spark.sql.statistics.numRows")),
                "bytes": _whole(entry["properties"].get("spark.sql.statistics.totalSize")),
                **{key: entry.get(key) for key in ("comment", "updated_at", "storage_location")},
            }
            for entry in self.catalog.list_tables()
        ]

    def show(self, reference: str) -> dict[str, Any]:
        """One version's full_name, table_type, version, rows, bytes, storage_location, columns, comment, table_id and
        times.

        `columns` have Unity Catalog's ColumnInfo fields; created_at and updated_at are the table's, in ms.
        """
        pinned = self.version(reference)
        table, _ = TableName.parse(reference)
        delta = self._open(pinned)
        entry = self.catalog.get_table(table) or {}
        # type_json is type_text for machines
        columns = [{k: v for k, v in column.items() if k != "type_json"} for column in columns_info(schema_of(delta))]
        return {
            "full_name": pinned.name,
            "table_type": entry.get("table_type"),
            "version": pinned.version,
            "rows": pinned.rows,
            "bytes": _bytes(delta),
            "storage_location": pinned.uri,
            "columns": columns,
            "comment": entry.get("comment") or delta.metadata().description or "",
            **{key: entry.get(key) for key in ("table_id", "created_at", "updated_at")},
        }

    def erased_in(self, table: TableVersion) -> int | None:
        """The version with which rows were erased, if files of this older one went with them; None: they are there, or
        they are gone for another reason."""
        name, _ = TableName.parse(table.name)
        delta = self._delta(name, self._location(name))
        first = None if delta is None else erased_since(table, delta.history())
        return first if first is not None and self.is_lost(table) else None

    def sql(self, query: str) -> pa.Table | TableVersion:
        """Run one SQL statement in DuckDB: see `lakewright.data.lake.sql.run_sql`."""
        from lakewright.data.lake.sql import run_sql

        return run_sql(self, query)

    def _location(self, table: TableName, *, write: bool = False) -> Location:
        new = f"{self.root}/{table.catalog}/{table.schema}/{table.table}"
        return self.catalog.locate(table, Location(new, self.storage_options), write=write)

    def _open(self, table: TableVersion) -> DeltaTable:
        location = self.place(table)
        try:
            return _delta_at(location, table.version)
        except Exception as error:
            raise _unreadable(location, error) from error

    def _explained(self, table: TableVersion, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except LakewrightError:
            raise
        except Exception as error:
            raise self.explained(table, error) from error

    def _delta(self, table: TableName, location: Location) -> DeltaTable | None:
        from deltalake.exceptions import TableNotFoundError

        try:
            delta = _delta_at(location)
        except TableNotFoundError:
            return None
        except Exception as error:
            raise _unreadable(location, error) from error
        check_commits(location.uri)
        return delta

    def _existing(self, table: TableName, location: Location) -> DeltaTable:
        delta = self._delta(table, location)
        if delta is None:
            self.check_no_view(str(table))
            names = [entry["full_name"] for entry in self.catalog.list_tables(table.catalog, table.schema)]
            raise NotFound(f"there is no table {table}", nearest(str(table), [n for n in names if n != str(table)]))
        return delta

    def _pinned(self, table: TableName, location: Location, version: int) -> DeltaTable:
        from deltalake.exceptions import DeltaError

        try:
            return _delta_at(location, version)
        except DeltaError as error:
            raise _no_version(table, version, self._commits(table, location)) from error

    def _commits(self, table: TableName, location: Location) -> Sequence[dict[str, Any]]:
        """The commitInfo of each version, newest first, with its `version`."""
        while True:
            # delta-rs lists all commits and counts down from the version that it has loaded: a commit of another
            # process in between would shift all the numbers by one.
            latest = self._existing(table, location)
            commits: Sequence[dict[str, Any]] = latest.history()
            if self._existing(table, location).version() == latest.version():
                return commits

    def _rows(self, delta: DeltaTable) -> int:
        counts = _files(delta)["num_records"]
        if counts.null_count == 0 and "deletionVectors" not in (delta.protocol().reader_features or ()):
            return sum(counts.to_pylist())
        return sum(batch.num_rows for batch in pa.RecordBatchReader.from_stream(delta.scan()))

    def _register(self, table: TableName, location: Location, delta: DeltaTable, comment: str) -> None:
        self.catalog.register_table(
            table,
            table_id=str(delta.metadata().id),
            storage_location=location.uri,
            columns=columns_info(schema_of(delta)),
            comment=comment,
            properties={
                "delta.lastUpdateVersion": str(delta.version()),
                "spark.sql.statistics.numRows": str(self._rows(delta)),
                "spark.sql.statistics.totalSize": str(_bytes(delta)),
            },
        )


def _delta_at(location: Location, version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable

    return DeltaTable(location.uri, version=version, storage_options=dict(location.storage_options))


def _commit_properties(
    properties: Mapping[str, str], commit: str, transactions: Mapping[str, tuple[int | None, int]], *, retries: bool
) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata=_commit_info(properties, commit),
        app_transactions=[Transaction(name, after) for name, (_, after) in transactions.items()],
        # A first version must not be retried: delta-rs would make it the second one of a table that another process
        # made meanwhile, with the rows of both, despite the transactions. Nor must one that replaces a version's rows:
        # those that another process added meanwhile would be gone.
        max_commit_retries=None if retries else 0,
    )


def _rules_of_rows(existing: DeltaTable) -> list[str]:
    """What only a writer of rows keeps to."""
    metadata = existing.metadata()
    rules = [
        *(f"partitions by {name}" for name in metadata.partition_columns),
        *(name for name in metadata.configuration if name.startswith("delta.constraints.")),
        *(f"column mapping by {mode}" for name, mode in metadata.configuration.items() if "columnMapping.mode" in name),
    ]
    return [each for each in rules if not each.endswith(" by none")]


def _check_takes_files(existing: DeltaTable, table: TableName) -> None:
    if rules := _rules_of_rows(existing):
        raise UsageError(
            f"{table} has {rules[0]}, and files cannot be added to it",
            "name another table, or make this one without it",
        )


def _unreadable(location: Location, error: Exception) -> DataError:
    return damaged_log(location.uri) or DataError(
        f"{location.uri} cannot be read as a Delta table: {location.hide(cause_of(error))}",
        "check the profile's lake, its storage options, and your rights in its catalog",
    )


def _unpinned(name: str) -> TableName:
    table, version = TableName.parse(name)
    if version is not None:
        raise UsageError(f"{name} is one version of a table, which cannot change", f"write {table} without @v{version}")
    return table


def _busy(table: TableName) -> Busy:
    return Busy(f"another process wrote {table} at the same time", "run the command again")


def _commit_info(properties: Mapping[str, str], commit: str) -> dict[str, str]:
    # txnId is commitInfo's own field to distinguish one's commit from others:
    # https://github.com/delta-io/delta/blob/master/PROTOCOL.md#commit-provenance-information
    return {"txnId": commit, **{_PREFIX + key: value for key, value in properties.items()}}


def _no_version(table: TableName, version: int, commits: Sequence[Mapping[str, Any]]) -> NotFound:
    versions = f"its versions go from v{commits[-1]['version']} to v{commits[0]['version']}"
    return NotFound(f"{table} has no version {version}", versions)


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text)


def _files(delta: DeltaTable) -> pa.Table:
    return pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=True)).read_all()  # pa.table imports pandas


def _bytes(delta: DeltaTable) -> int:
    return sum(_files(delta)["size_bytes"].to_pylist())


def _rows_written(commit: Mapping[str, Any]) -> int | None:
    metrics = commit.get("operationMetrics", {})
    # the names of delta-rs and of Spark, and our own
    rows = metrics.get("num_added_rows", metrics.get("numOutputRows", commit.get(_PREFIX + _ROWS)))
    return None if rows is None else int(rows)
