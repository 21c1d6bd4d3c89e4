"""The values of a category in many rows: each text once, and for each row the place of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Coded(Sequence[str | None]):
    """A list of texts, with None for a row without one. `numpy.asarray` makes an array of objects of it."""

    codes: NDArray[np.int64]  # [rows], places in `texts`
    texts: NDArray[np.object_]  # [texts]; None for no value; a text may stand twice

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """One text a row."""
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return cls(np.arange(len(values)), texts)

    @classmethod
    def joined(cls, parts: Sequence[Coded]) -> Self:
        """The rows of all parts, at least one, in order."""
        starts = np.cumsum([0, *(len(part.texts) for part in parts)])
        codes = [part.codes + start for part, start in zip(parts, starts, strict=False)]
        return cls(np.concatenate(codes), np.concatenate([part.texts for part in parts]))

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """[rows] Whether a row has no value."""
        return np.fromiter((text is None for text in self.texts), np.bool_, len(self.texts))[self.codes]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Any:
        """The text of one row; for a slice, a mask or an array of places, those rows as Coded."""
        codes = self.codes[rows]
        return self.texts[codes] if np.ndim(codes) == 0 else Coded(codes, self.texts)

    def __iter__(self) -> Iterator[str | None]:
        return iter(self.texts[self.codes].tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.texts[self.codes].astype(object if dtype is None else dtype, copy=False)
