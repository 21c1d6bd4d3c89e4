"""The values of a column as Python objects, for the few rows that somebody looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Objects(Sequence[Any]):
    """A column's values as Python objects, which are made when they are asked for."""

    column: pa.ChunkedArray

    def followed_by(self, values: Sequence[Any]) -> Objects:
        """These values, and then others of the same type; a mapping without a key of a structure has none there."""
        kind = self.column.type
        added = values.column.chunks if isinstance(values, Objects) else [pa.array(values, kind)]
        return Objects(pa.chunked_array([*self.column.chunks, *added], kind))

    def at(self, rows: NDArray[np.int64]) -> Objects:
        """These rows, in this order."""
        return Objects(self.column.take(pa.array(rows)))

    @overload
    def __getitem__(self, at: int) -> Any: ...

    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...

    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return self.column.take(np.arange(len(self))[at]).to_pylist()
        return self.column[at].as_py()

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), AT_ONCE):
            yield from self.column.slice(start, AT_ONCE).to_pylist()
