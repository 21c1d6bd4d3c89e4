"""The newest values of a feature table into a store: of each key, those that are known at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from lakewright.data.features import FeatureTable, feature_table
from lakewright.data.features.newest import newest
from lakewright.data.features.online import Entry, OnlineStore, Published
from lakewright.data.features.online.entries import Layout
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion


def publish(lake: Lake, name: str, store: OnlineStore, now: datetime) -> Published:
    """Makes the values that are known `now` the store's only ones of the table. Raises NotFound for a table that is no
    feature table, UsageError for values that no store holds, and what the store raises."""
    version, table = lake.version(name), feature_table(lake, name)
    layout = Layout.of(table)
    about = {
        "table": table.name,
        "version": version.version,
        "as_of": now.isoformat(),
        "keys": dict(layout.keys),
        "values": dict(layout.values),
        "ttl": layout.ttl,
        "layout": layout.digest,
    }
    return store.replace(table.name, _entries(lake, table, version, layout, now), about)


def _entries(
    lake: Lake, table: FeatureTable, version: TableVersion, layout: Layout, now: datetime
) -> Iterator[Sequence[Entry]]:
    with bar(f"publishing {table.name}", None) as advance:
        for batch in newest(lake, table, version, now):
            yield list(layout.entries(batch, table.event_time))
            advance(batch.num_rows, "")
