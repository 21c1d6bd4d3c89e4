"""A store in a file of this machine, in SQLite."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from lakewright.data.features.online import Entry, Published, check_order
from lakewright.data.lake.names import quoted
from lakewright.errors import NoStore, of_disk
from lakewright.settings.profile import StoreSettings

FILE = "online.sqlite"
WAIT = 30.0  # seconds until another process that publishes is done


class SqliteStoreSettings(StoreSettings):
    name: Literal["sqlite"] = "sqlite"
    file: str | None = Field(default=None, description=f"the file; default {FILE} in the workspace")


class SqliteStore:
    """Each table is a table of SQLite, which publishing makes anew and puts in place of the former one."""

    settings: ClassVar[type[StoreSettings]] = SqliteStoreSettings
    remote: ClassVar[bool] = False

    def __init__(self, file: Path) -> None:
        self.file = file
        self._own = threading.local()  # a connection of each thread
        self._get: dict[str, str] = {}  # table → the statement that gets one key

    @classmethod
    def open(cls, settings: SqliteStoreSettings, folder: Path) -> Self:
        return cls(Path(settings.file) if settings.file else folder / FILE)

    def replace(self, table: str, entries: Iterable[Sequence[Entry]], about: Mapping[str, Any]) -> Published:
        with self._transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS published (name TEXT PRIMARY KEY, about TEXT NOT NULL)")
            check_order(self._published(connection, table), about)
            connection.execute(f"DROP TABLE IF EXISTS {quoted(f'next {table}')}")
            connection.execute(
                f"CREATE TABLE {quoted(f'next {table}')} (key TEXT PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID"
            )
            count = 0
            for batch in entries:
                connection.executemany(f"INSERT INTO {quoted(f'next {table}')} VALUES (?, ?)", batch)
                count += len(batch)
            connection.execute(f"DROP TABLE IF EXISTS {quoted(_stored(table))}")
            connection.execute(f"ALTER TABLE {quoted(f'next {table}')} RENAME TO {quoted(_stored(table))}")
            published = Published(**about, entries=count)
            connection.execute("INSERT OR REPLACE INTO published VALUES (?, ?)", (table, published.model_dump_json()))
        return published

    def published(self, table: str) -> Published | None:
        if not self.file.exists():
            return None
        with self._reading() as connection:
            return self._published(connection, table)

    def tables(self) -> Sequence[Published]:
        if not self.file.exists():
            return []
        with self._reading() as connection:
            if not self._has(connection, "published"):
                return []
            rows = connection.execute("SELECT about FROM published ORDER BY name").fetchall()
        return [Published.model_validate_json(about) for (about,) in rows]

    def get(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        statement = self._get.get(table)
        if statement is None:
            statement = self._get[table] = f"SELECT entry FROM {quoted(_stored(table))} WHERE key = ?"
        try:  # no context manager: it would take as long as SQLite does
            execute = self._connection.execute
            rows = [execute(statement, (key,)).fetchone() for key in keys]
        except (sqlite3.Error, OSError) as failure:
            if str(failure).startswith("no such table"):  # it was not published, or is no longer
                return [None] * len(keys)
            raise self._explained(failure) from failure
        return [None if row is None else row[0] for row in rows]

    def remove(self, table: str) -> bool:
        if self.published(table) is None:
            return False
        with self._transaction() as connection:
            connection.execute("DELETE FROM published WHERE name = ?", (table,))
            connection.execute(f"DROP TABLE IF EXISTS {quoted(_stored(table))}")
        return True

    @staticmethod
    def _published(connection: sqlite3.Connection, table: str) -> Published | None:
        if not SqliteStore._has(connection, "published"):
            return None
        row = connection.execute("SELECT about FROM published WHERE name = ?", (table,)).fetchone()
        return None if row is None else Published.model_validate_json(row[0])

    @staticmethod
    def _has(connection: sqlite3.Connection, name: str) -> bool:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's."""
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = self._own.connection = sqlite3.connect(self.file, timeout=WAIT, isolation_level=None)
            # readers go on while another process publishes
            connection.execute("PRAGMA journal_mode = WAL")
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except (sqlite3.Error, OSError) as failure:
            raise self._explained(failure) from failure

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as failure:
            raise self._explained(failure) from failure

    def _explained(self, failure: sqlite3.Error | OSError) -> Exception:
        return of_disk(failure, self.file) or NoStore(
            f"the online store {self.file} cannot be used: {failure}",
            "check the file; removed, it is written again by: lakewright features publish TABLE",
        )


def _stored(table: str) -> str:
    return f"of {table}"
