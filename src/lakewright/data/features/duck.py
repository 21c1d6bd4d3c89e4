"""DuckDB over rows that are registered with it, and no others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakewright.data.lake.names import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@contextmanager
def session() -> Iterator[DuckDBPyConnection]:
    """One that reads no file but its own, which hold what does not fit into memory."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="lakewright-features-") as spill:
        connection = duckdb.connect(config={"temp_directory": spill})
        # of a stream it does not know the length, and would join by a nested loop
        connection.execute("SET asof_loop_join_threshold = 0")
        connection.execute("SET TimeZone = 'UTC'")
        for setting in ("enable_external_access", "python_enable_replacements"):
            connection.execute(f"SET {setting} = false")
        connection.execute("SET lock_configuration = true")
        try:
            yield connection
        finally:
            connection.close()


def listed(columns: Iterable[str]) -> str:
    return ", ".join(map(quoted, columns))
