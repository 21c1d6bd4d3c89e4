"""Rows of different lengths in two flat arrays, like a list column in Arrow: no padding until a batch is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Ragged:
    values: NDArray[Any]  # [sum of lengths]
    offsets: NDArray[np.int64]  # [rows + 1]; row i is values[offsets[i] : offsets[i + 1]]

    @classmethod
    def of(cls, rows: Sequence[Iterable[Any]], dtype: DTypeLike) -> Ragged:
        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.empty(0, dtype=dtype), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(self.lengths[rows], out=offsets[1:])
        return Ragged(self.values[places(self.offsets, rows)], offsets)

    def pad(self, rows: NDArray[np.int64], fill: Any, dtype: DTypeLike) -> NDArray[Any]:
        """The given rows as [len(rows), longest], filled up with `fill`; at least one column wide."""
        width = max(1, int(self.lengths[rows].max(initial=0)))
        padded = np.full((len(rows), width), fill, dtype=dtype)
        for i, row in enumerate(rows):
            values = self[int(row)]
            padded[i, : len(values)] = values
        return padded


def places(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of the values of these rows, one row after the other."""
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    return np.repeat(offsets[rows] - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def longest_first(rows: NDArray[np.int64], lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """The rows, longest first, in parts of at most `budget` values each when padded (or of a single row)."""
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    start = 0
    while start < len(rows):
        count = max(1, budget // max(1, int(lengths[rows[start]])))
        yield rows[start : start + count]
        start += count
