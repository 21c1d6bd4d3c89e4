"""DuckDB over rows that are registered with it, and no others; what does not fit into memory goes to a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

MEMORY = "1GB"  # before it spills


def connect(spill: Path | None = None) -> DuckDBPyConnection:
    """One thread: the workers compute the pieces, several at once."""
    import duckdb

    place = {} if spill is None else {"temp_directory": str(spill)}
    connection = duckdb.connect(config={"memory_limit": MEMORY, "threads": "1", **place})
    connection.execute("SET TimeZone = 'UTC'")
    for setting in ("enable_external_access", "python_enable_replacements"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")
    return connection
