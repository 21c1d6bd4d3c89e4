"""A workspace that was moved or copied: its own MLflow database names whole paths, below the folder that it was in."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

LOG = logging.getLogger(__name__)
PLACES = (  # MLflow's columns of the places of files
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def move_places(database: Path, artifacts: Path) -> None:
    """Name the files below `artifacts`, where the database names them below a folder that is gone, or that is another
    workspace's. Nothing is changed where the files did not come along."""
    if not database.exists() or not artifacts.is_dir():
        return
    try:
        with closing(sqlite3.connect(database)) as connection, connection:
            current = artifacts.resolve().as_uri()
            for root in _roots(connection):
                if root != current and _is_stale(root, database):
                    for table, column in PLACES:
                        connection.execute(
                            f"UPDATE {table} SET {column} = :current || substr({column}, :length + 1) "
                            f"WHERE substr({column}, 1, :length + 1) = :root || '/'",
                            {"current": current, "root": root, "length": len(root)},
                        )
    except sqlite3.DatabaseError as failure:  # read-only, full or damaged: whoever needs the database says so
        LOG.debug("the places in %s stay as they are: %s", database, failure)


def _roots(connection: sqlite3.Connection) -> set[str]:
    """The folders of artifacts: experiments keep their files in one of them, by their own name."""
    rows = connection.execute("SELECT name, artifact_location FROM experiments WHERE artifact_location LIKE 'file:%'")
    ends = ((place, "/" + quote(name.strip("/"), safe="")) for name, place in rows)
    return {place.removesuffix(end) for place, end in ends if place.endswith(end)}


def _is_stale(root: str, database: Path) -> bool:
    """Whether the folder is gone, or lies in another workspace."""
    artifacts = Path(unquote(urlsplit(root).path))
    other = artifacts.with_name(database.name)
    return not artifacts.exists() or (other.exists() and not other.samefile(database))
