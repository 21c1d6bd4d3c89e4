"""What is known now of each key of a feature table: one row a key, without those past the table's time to live."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from lakewright.data.features import FeatureTable
from lakewright.data.lake.duck import listed, session
from lakewright.data.lake.names import quoted

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion

ROWS = 8192  # of a batch


def newest(lake: Lake, table: FeatureTable, version: TableVersion, now: datetime) -> Iterator[pa.RecordBatch]:
    """Of each key the row of the latest event, and of one event that which was known last, with all columns."""
    event, at = quoted(table.event_time), f"TIMESTAMPTZ '{now.isoformat()}'"
    known = " AND ".join(f"{quoted(each)} <= {at}" for each in table.times)
    latest = ", ".join(f"{quoted(each)} DESC" for each in table.times)
    query = (
        f"SELECT * FROM stored WHERE {known} "
        f"QUALIFY row_number() OVER (PARTITION BY {listed(table.keys)} ORDER BY {latest}) = 1"
    )
    if table.ttl is not None:
        query = f"SELECT * FROM ({query}) WHERE {event} >= TIMESTAMPTZ '{(now - table.ttl).isoformat()}'"
    with session() as connection:
        connection.register("stored", lake.scan(version))
        yield from connection.sql(query).to_arrow_reader(ROWS)
