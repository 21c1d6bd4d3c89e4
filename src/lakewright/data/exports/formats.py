"""What a format of a file is: its endings, and how it writes rows; and values that it cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Lost:
    """Rows of a batch whose value the format cannot hold."""

    column: str
    why: str  # what the column holds there
    remedy: str
    rows: npt.NDArray[np.int64]  # in the batch


class Format(Protocol):
    @property
    def endings(self) -> tuple[str, ...]: ...

    def check(self, schema: pa.Schema) -> None:
        """Raises DataError for a column whose type the format lacks."""

    def lost(self, rows: pa.RecordBatch) -> Iterator[Lost]: ...

    def head(self, schema: pa.Schema) -> bytes: ...

    def encoded(self, rows: pa.RecordBatch) -> pa.Buffer: ...


def lost(column: str, why: str, remedy: str, rows: npt.NDArray[np.bool_]) -> Iterator[Lost]:
    """One, if there is such a row."""
    if rows.any():
        yield Lost(column, why, remedy, np.flatnonzero(rows))


def bytes_of(rows: pa.Array) -> pa.Buffer:
    """The bytes of an array of texts or of bytes, one after the other."""
    _, offsets, data = rows.buffers()
    if data is None:
        return pa.py_buffer(b"")
    bounds = np.frombuffer(offsets, np.int32)
    first, last = int(bounds[rows.offset]), int(bounds[rows.offset + len(rows)])
    return data.slice(first, last - first)
