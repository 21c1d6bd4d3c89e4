"""The rows of a split as the files beside the scripts have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def inputs_of(table: pa.Table) -> dict[str, Any]:
    """Input → its column, of rows of the features table; times without their zone, UTC: so pandas holds them as
    numpy's."""
    import pyarrow as pa

    inputs = table["inputs"].combine_chunks()
    names = [inputs.type.field(place).name for place in range(inputs.type.num_fields)]
    columns = {name: inputs.field(place) for place, name in enumerate(names)}
    return {
        name: column.cast(pa.timestamp("us")) if pa.types.is_timestamp(column.type) else column
        for name, column in columns.items()
    }
