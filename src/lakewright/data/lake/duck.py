"""DuckDB over rows that are registered with it, and no others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.names import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def connect(zone: str = "UTC", **config: Any) -> DuckDBPyConnection:
    """`config` are DuckDB's settings: in its `temp_directory`, if set, it holds what does not fit into memory."""
    import duckdb

    connection = duckdb.connect(config=config)
    connection.execute(f"SET TimeZone = '{zone}'")
    # of a stream it does not know the length, and would join by a nested loop
    connection.execute("SET asof_loop_join_threshold = 0")
    lock(connection)
    return connection


def lock(connection: DuckDBPyConnection) -> None:
    """From now on it reads no file but its own, no network and no variable of Python, and nobody changes that."""
    for setting in ("enable_external_access", "python_enable_replacements"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def session(**config: Any) -> Iterator[DuckDBPyConnection]:
    """One with a folder for what does not fit into memory."""
    with tempfile.TemporaryDirectory(prefix="lakewright-rows-") as spill:
        connection = connect(temp_directory=spill, **config)
        try:
            yield connection
        finally:
            connection.close()


def listed(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))
