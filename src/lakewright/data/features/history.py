"""All values that a key ever had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.features import FeatureTable

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake


def history(lake: Lake, table: FeatureTable, key: Mapping[str, pa.Scalar]) -> pa.Table:
    """The table's rows of one key, in the order of their events, and of one event in the order in which they were
    known."""
    reader = lake.scan(lake.version(table.name))
    rows = pa.Table.from_batches([_of(batch, key) for batch in reader], reader.schema)
    return rows.sort_by([(time, "ascending") for time in table.times])


def _of(batch: pa.RecordBatch, key: Mapping[str, pa.Scalar]) -> pa.RecordBatch:
    for column, value in key.items():
        batch = batch.filter(pc.equal(batch.column(column), value))
    return batch
