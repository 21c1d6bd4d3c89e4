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
    def merged(self) -> Self:
        """The same rows, each text once."""
        place: dict[Any, int] = {}
        places = np.array([place.setdefault(text, len(place)) for text in self.texts.tolist()], np.int64)
        texts = np.empty(len(place), dtype=object)
        texts[:] = [*place]
        return type(self)(places[self.codes], texts)

    @property
    def counts(self) -> dict[str | None, int]:
        """The number of rows of each text that a row has, in the order of their first rows."""
        merged = self.merged
        held, first = np.unique(merged.codes, return_index=True)
        times = np.bincount(merged.codes, minlength=len(merged.texts))
        return {merged.texts[code]: int(times[code]) for code in held[np.argsort(first)].tolist()}

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
