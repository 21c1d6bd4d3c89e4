"""One JSON object a line, in UTF-8 (https://jsonlines.org)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.formats import Lost, bytes_of, lost
from lakewright.data.exports.texts import joined
from lakewright.data.lake.types import at_any_depth


class JsonLines:
    endings = (".jsonl", ".ndjson")

    def check(self, schema: pa.Schema) -> None:
        """It has every type."""

    def lost(self, rows: pa.RecordBatch) -> Iterator[Lost]:
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            remedy = f"make them null in SQL: case when isfinite({name}) then {name} end; or export to tsv or tfrecord"
            yield from lost(name, "NaN or infinity, which JSON lacks", remedy, at_any_depth(column, _not_finite))

    def head(self, schema: pa.Schema) -> bytes:
        return b""

    def encoded(self, rows: pa.RecordBatch) -> pa.Buffer:
        names = [f"{json.dumps(name, ensure_ascii=False)}:" for name in rows.schema.names]
        return bytes_of(joined("{", names, rows.columns, "}\n"))


def _not_finite(column: pa.Array) -> npt.NDArray[np.bool_]:
    if not pa.types.is_floating(column.type):
        return np.zeros(len(column), np.bool_)
    return np.asarray(pc.invert(pc.is_finite(column)).fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


FORMAT = JsonLines()
