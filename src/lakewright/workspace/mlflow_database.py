"""MLflow's SQLite database of a workspace: made whole, checked before MLflow opens it, its damage named."""

from __future__ import annotations

import fcntl
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from lakewright.errors import LakewrightError, of_disk
from lakewright.system.files import user_cache, whole

DAMAGED = re.compile("disk image is malformed|file is not a database")  # as SQLite says it


def create_database(uri: str) -> None:
    """Make the SQLite database of a new workspace aside and put it in place whole.

    MLflow builds it by some fifty migrations that are not one transaction: a process killed among them leaves a
    database that no later process can open or migrate. They take two seconds, so this user's next workspaces copy the
    empty database that the first one leaves in the cache.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        return
    if path.exists():
        check_database(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = user_cache() / f"mlflow-{version('mlflow')}.db"
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        if path.exists():
            return
        for abandoned in path.parent.glob(f".{path.name}.draft-*"):
            abandoned.unlink()
        with whole(path, path.with_name(f".{path.name}.draft-{uuid4().hex}")) as draft:
            if empty.exists():
                shutil.copyfile(empty, draft)
            else:
                _migrate(draft)
                with suppress(OSError), whole(empty) as copy:  # a home that cannot be written has no cache
                    shutil.copyfile(draft, copy)


def check_database(path: Path) -> None:
    """Raises LakewrightError for a damaged file: MLflow tries to open it for 100 seconds, or takes it for a new one."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            if not connection.execute("SELECT version_num FROM alembic_version").fetchall():
                raise sqlite3.DatabaseError("it names no version of its schema")
    except sqlite3.DatabaseError as error:
        if (full := of_disk(error, path)) is not None:
            raise full from error
        if "locked" in str(error):  # MLflow waits
            return
        raise damaged_database(path, error) from error


def damaged_database(path: str | Path, reason: object) -> LakewrightError:
    return LakewrightError(
        f"MLflow's database {path} is damaged and cannot be read: {reason}",
        "restore it from a copy; or move it away and run again (lakewright run): tables and model folders stay, and "
        "the models are registered again",
    )


def schema_remedy(uri: str) -> str:
    """For a database that is whole, but of another version of MLflow."""
    return f"if an older MLflow wrote it, copy it and run mlflow db upgrade {uri}; if a newer one did, install that one"


def _migrate(draft: Path) -> None:
    from mlflow.tracking import MlflowClient

    with _not_synced(draft):
        MlflowClient(f"sqlite:///{draft}", f"sqlite:///{draft}").search_experiments(max_results=1)
    with closing(sqlite3.connect(draft)) as connection, connection:
        connection.execute("DELETE FROM experiments")  # its default one, which names a folder; MLflow makes it anew


@contextmanager
def _not_synced(draft: Path) -> Iterator[None]:
    """Within, SQLite does not wait for the disk after each migration of `draft`, which nobody wants half made."""
    from sqlalchemy import Engine, event

    def connected(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):  # perhaps another thread's, of another database
            places = [place for _, _, place in connection.execute("PRAGMA database_list")]
            if places == [str(draft.resolve())]:
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
