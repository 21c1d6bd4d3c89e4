"""The catalog of one workspace, in SQLite, with the objects and field names of Unity Catalog's REST API.

https://github.com/unitycatalog/unitycatalog/tree/main/api. Times are milliseconds since 1970; `columns` and
`properties` are JSON; a `storage_location` in the workspace is stored as `workspace:tables/…`. The lake decides where a
table lies, not the entry. A view's text is a property, so that earlier versions of Lakewright open the file as well.
"""

from __future__ import annotations

import getpass
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lakewright.data.lake.catalogs import VIEW, Location
from lakewright.data.lake.names import TableName
from lakewright.errors import AGAIN, Busy, LakewrightError, of_disk
from lakewright.records import place_in, stored_place
from lakewright.settings.profile import CatalogSettings

VERSION = 1
_WAIT_SECONDS = 30.0
_DEFINITION = "view_definition"

# Every object has these; `owner` is the user of the operating system until there is access control.
_COMMON = """comment TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL, properties TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL, created_by TEXT NOT NULL, updated_at INTEGER NOT NULL, updated_by TEXT NOT NULL"""
_IN_SCHEMA = """name TEXT NOT NULL, catalog_name TEXT NOT NULL, schema_name TEXT NOT NULL, full_name TEXT PRIMARY KEY,
    FOREIGN KEY (catalog_name, schema_name) REFERENCES schemas (catalog_name, name)"""
_LAYOUT = f"""
CREATE TABLE catalogs (id TEXT NOT NULL UNIQUE, name TEXT PRIMARY KEY, {_COMMON});
CREATE TABLE schemas (schema_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    catalog_name TEXT NOT NULL REFERENCES catalogs (name), full_name TEXT PRIMARY KEY, {_COMMON},
    UNIQUE (catalog_name, name));
CREATE TABLE tables (table_id TEXT NOT NULL, table_type TEXT NOT NULL, data_source_format TEXT NOT NULL,
    storage_location TEXT NOT NULL, columns TEXT NOT NULL, {_COMMON}, {_IN_SCHEMA});
CREATE TABLE volumes (volume_id TEXT NOT NULL UNIQUE, volume_type TEXT NOT NULL, storage_location TEXT NOT NULL,
    {_COMMON}, {_IN_SCHEMA});
CREATE TABLE registered_models (id TEXT NOT NULL UNIQUE, storage_location TEXT NOT NULL, {_COMMON}, {_IN_SCHEMA});
CREATE TABLE grants (principal TEXT NOT NULL, privilege TEXT NOT NULL, securable_type TEXT NOT NULL,
    securable_full_name TEXT NOT NULL, created_at INTEGER NOT NULL, created_by TEXT NOT NULL,
    PRIMARY KEY (principal, privilege, securable_type, securable_full_name));
PRAGMA user_version = {VERSION};
"""


class SqliteSettings(CatalogSettings):
    name: Literal["sqlite"] = "sqlite"


class SqliteCatalog:
    """The catalog in the SQLite file `path`, made on first use; safe with several threads and processes."""

    settings = SqliteSettings

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and self._layout() == VERSION:
            return
        with self._transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _LAYOUT.split(";\n"):
                    connection.execute(statement)
            elif version != VERSION:
                raise LakewrightError(
                    f"the catalog {path} has layout {version}; this version of Lakewright reads layout {VERSION}",
                    "use the version of Lakewright that wrote it, or upgrade: pip install -U lakewright",
                )

    def _layout(self) -> int:
        with self._transaction(write=False) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @classmethod
    def open(cls, settings: SqliteSettings, folder: Path, storage_options: Mapping[str, str]) -> SqliteCatalog:
        return cls(folder / "catalog.sqlite")

    def locate(self, name: TableName, new: Location, *, write: bool = False) -> Location:
        return new

    @contextmanager
    def _transaction(self, write: bool = True) -> Iterator[sqlite3.Connection]:
        # One connection for each transaction: nothing to share between threads, nothing to inherit on fork.
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            try:
                if write:
                    _turn_off_wal(connection)
                    connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:  # SQLite itself rolls back on a full disk
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError) and type(error) is not sqlite3.DatabaseError:
                raise  # the other subclasses are about the statement, not about the file
            if (full := of_disk(error, self.path, AGAIN)) is not None:
                raise full from error
            if "locked" in str(error):
                raise Busy(
                    f"another process has locked the catalog {self.path} for {_WAIT_SECONDS:.0f} seconds",
                    "wait for it to end and run the command again",
                ) from error
            raise LakewrightError(
                f"the catalog {self.path} is damaged: {error}",
                "move it away: the new catalog lists a table again when you read or write it by its name",
            ) from error

    def ensure_schema(self, catalog: str, schema: str) -> None:
        """Make the catalog and the schema if they do not exist yet."""
        with self._transaction() as connection:
            _ensure_schema(connection, catalog, schema)

    def register_table(
        self,
        name: TableName,
        *,
        table_id: str,
        storage_location: str,
        columns: Sequence[Mapping[str, Any]],
        properties: Mapping[str, str] = {},
        comment: str = "",
    ) -> None:
        """Add the table, or update its entry; an empty `comment` keeps the present one."""
        self._register(
            name,
            {
                "table_id": table_id,
                "table_type": "MANAGED",
                "data_source_format": "DELTA",
                "storage_location": stored_place(self.path.parent.resolve(), storage_location),
                "columns": json.dumps(columns),
                "comment": comment,
                "properties": json.dumps(dict(properties)),
            },
        )

    def register_view(
        self,
        name: TableName,
        *,
        view_definition: str,
        columns: Sequence[Mapping[str, Any]],
        properties: Mapping[str, str] = {},
        comment: str = "",
    ) -> None:
        self._register(
            name,
            {
                "table_id": str(uuid.uuid4()),
                "table_type": VIEW,
                "data_source_format": "",
                "storage_location": "",
                "columns": json.dumps(columns),
                "comment": comment,
                "properties": json.dumps({**properties, _DEFINITION: view_definition}),
            },
        )

    def _register(self, name: TableName, described: Mapping[str, str]) -> None:
        user, now = getpass.getuser(), _now()
        values = {
            **described,
            "owner": user,
            "created_at": now,
            "created_by": user,
            "updated_at": now,
            "updated_by": user,
            "name": name.table,
            "catalog_name": name.catalog,
            "schema_name": name.schema,
            "full_name": str(name),
        }
        with self._transaction() as connection:
            _ensure_schema(connection, name.catalog, name.schema)
            connection.execute(
                f"INSERT INTO tables ({', '.join(values)}) VALUES ({', '.join(':' + key for key in values)}) "
                "ON CONFLICT (full_name) DO UPDATE SET table_id = excluded.table_id, "
                "table_type = excluded.table_type, data_source_format = excluded.data_source_format, "
                "storage_location = excluded.storage_location, columns = excluded.columns, "
                "properties = excluded.properties, updated_at = excluded.updated_at, updated_by = excluded.updated_by, "
                "comment = CASE excluded.comment WHEN '' THEN comment ELSE excluded.comment END",
                values,
            )

    def get_table(self, name: TableName) -> dict[str, Any] | None:
        """The table's entry with Unity Catalog's field names, or None."""
        with self._transaction(write=False) as connection:
            row = connection.execute("SELECT * FROM tables WHERE full_name = ?", (str(name),)).fetchone()
        return None if row is None else self._entry(row)

    def list_tables(self, catalog: str | None = None, schema: str | None = None) -> list[dict[str, Any]]:
        """The entries of all tables, or of those in one catalog or schema, by full name."""
        with self._transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT * FROM tables WHERE (:catalog IS NULL OR catalog_name = :catalog) "
                "AND (:schema IS NULL OR schema_name = :schema) ORDER BY full_name",
                {"catalog": catalog, "schema": schema},
            ).fetchall()
        return [self._entry(row) for row in rows]

    def _entry(self, row: sqlite3.Row) -> dict[str, Any]:
        values = dict(zip(row.keys(), row, strict=True))
        entry = {**values, **{key: json.loads(values[key]) for key in ("columns", "properties")}}
        if entry["table_type"] == VIEW:
            return {**entry, "storage_location": None, _DEFINITION: entry["properties"].pop(_DEFINITION)}
        return {**entry, "storage_location": place_in(self.path.parent.resolve(), values["storage_location"])}

    def drop_table(self, name: TableName) -> bool:
        """Delete the table's entry; its files stay. Returns whether there was an entry."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM tables WHERE full_name = ?", (str(name),)).rowcount == 1


def _turn_off_wal(connection: sqlite3.Connection) -> None:
    """Earlier versions of Lakewright made the file with WAL: it cannot be read on a disk that is full or read-only."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:  # SQLite answers "locked" at once, without waiting, while another process has the file open
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _ensure_schema(connection: sqlite3.Connection, catalog: str, schema: str) -> None:
    user, now = getpass.getuser(), _now()
    common = {"owner": user, "created_at": now, "created_by": user, "updated_at": now, "updated_by": user}
    _insert(connection, "catalogs", {"id": str(uuid.uuid4()), "name": catalog, **common})
    full_name = f"{catalog}.{schema}"
    names = {"schema_id": str(uuid.uuid4()), "name": schema, "catalog_name": catalog, "full_name": full_name}
    _insert(connection, "schemas", {**names, **common})


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    places = ", ".join(":" + key for key in values)
    connection.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(values)}) VALUES ({places})", dict(values))


def _now() -> int:
    return time.time_ns() // 1_000_000
