"""The newest values of a feature table into a store: of each key, those that are known at a time.

Two readings of the table, so that its values need not fit into memory: the keys and times alone say which rows are the
newest, and these are taken from the second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakewright.data.features import FeatureTable, feature_table
from lakewright.data.features.duck import listed, session
from lakewright.data.features.online import Entry, OnlineStore, Published
from lakewright.data.features.online.entries import Layout
from lakewright.records import TableVersion
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake


def publish(lake: Lake, name: str, store: OnlineStore, now: datetime) -> Published:
    """Makes the values that are known `now` the store's only ones of the table. Raises NotFound for a table that is no
    feature table, UsageError for values that no store holds, and what the store raises."""
    version, table = lake.version(name), feature_table(lake, name)
    layout = Layout.of(table)
    places = newest(lake, table, version, now)
    about = {
        "table": table.name,
        "version": version.version,
        "as_of": now.isoformat(),
        "keys": dict(layout.keys),
        "values": dict(layout.values),
        "ttl": layout.ttl,
        "layout": layout.digest,
    }
    return store.replace(table.name, _entries(lake, table, version, layout, places), about)


def newest(lake: Lake, table: FeatureTable, version: TableVersion, now: datetime) -> NDArray[np.int64]:
    """The places of the rows, in the table's order, that hold the values of each key that are known at this time."""
    keys = [f"key {number}" for number in range(len(table.keys))]
    times = ["event", "known"][: len(table.times)]
    newest_first = ", ".join(f"{each} DESC" for each in times)
    query = (
        f"SELECT place FROM stored WHERE greatest({listed(times)}) <= TIMESTAMPTZ '{now.isoformat()}' "
        f"QUALIFY row_number() OVER (PARTITION BY {listed(keys)} ORDER BY {newest_first}) = 1 ORDER BY place"
    )
    with session() as connection:
        connection.register("stored", _numbered(lake.scan(version, table.identity), [*keys, *times]))
        found = connection.sql(query).to_arrow_table()
    places: NDArray[np.int64] = found["place"].to_numpy()
    return places


def _numbered(rows: pa.RecordBatchReader, names: Sequence[str]) -> pa.RecordBatchReader:
    """With these names, and with the number of each row as `place`."""
    schema = pa.schema([*(field.with_name(name) for field, name in zip(rows.schema, names, strict=True))])
    schema = schema.append(pa.field("place", pa.int64()))

    def batches() -> Iterator[pa.RecordBatch]:
        begin = 0
        for batch in rows:
            places = pa.array(np.arange(begin, begin + batch.num_rows))
            yield pa.record_batch([*batch.columns, places], schema=schema)
            begin += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, batches())


def _entries(
    lake: Lake, table: FeatureTable, version: TableVersion, layout: Layout, places: NDArray[np.int64]
) -> Iterator[Sequence[Entry]]:
    columns, begin = [*table.keys, table.event_time, *table.values], 0
    with bar(f"publishing {table.name}", len(places)) as advance:
        for batch in lake.scan(version, columns):
            first, last = np.searchsorted(places, (begin, begin + batch.num_rows))
            taken = batch.take(pa.array(places[first:last] - begin))
            begin += batch.num_rows
            if taken.num_rows:
                yield list(layout.entries(taken, table.event_time))
                advance(taken.num_rows, "")
