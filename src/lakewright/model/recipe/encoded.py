"""Encoded rows: a recipe's output, and the networks' input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lakewright.model.recipe.ragged import Ragged, places


@dataclass(frozen=True)
class Encoded:
    """Encoded rows. A row is one sequence, or several: the windows of a long text, the two sides of a pair. Rows with
    only numbers are sequences without tokens.

    `words`, `chars` and `parts` are present if the task reads tokens.
    """

    ids: Ragged  # int32, one a sequence
    rows: NDArray[np.int64] | None = None  # [rows + 1]; row i is the sequences rows[i] … rows[i + 1] - 1; None: i alone
    weights: Ragged | None = None  # float32, beside ids
    types: Ragged | None = None  # int32, beside ids: 0 and 1 for the two texts, if the base model distinguishes them
    words: Ragged | None = None  # int32, beside ids: the word a piece belongs to, -1 for special tokens
    chars: Ragged | None = None  # int32, twice as long as ids: start, end of each piece in its text, in characters
    parts: Ragged | None = None  # int32, beside ids: which of the row's texts a piece is from, -1 for special tokens
    columns: NDArray[np.float32] | None = None  # [rows, width]: the numbers of each row
    hidden: NDArray[np.float32] | None = None  # [tokens, width], beside ids: the output of frozen layers
    truncated: NDArray[np.bool_] | None = None  # [sequences], if known: those that lost a part of their text

    @classmethod
    def of_columns(cls, columns: NDArray[np.float32]) -> Encoded:
        """Rows with only numbers, [rows, width]."""
        return cls(Ragged(np.empty(0, dtype=np.int32), np.zeros(len(columns) + 1, dtype=np.int64)), columns=columns)

    def beside(self, columns: NDArray[np.float32]) -> Encoded:
        """The same rows with more numbers, [rows, width], after those that they have."""
        return replace(self, columns=columns if self.columns is None else np.hstack([self.columns, columns]))

    @property
    def numbers_alone(self) -> bool:
        """Rows without any sequence of tokens or terms."""
        return self.columns is not None and self.truncated is None and self.weights is None and not self.ids.values.size

    def __len__(self) -> int:
        return len(self.ids) if self.rows is None else len(self.rows) - 1

    def sequences(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sequences of these rows, in the rows' order."""
        return rows if self.rows is None else places(self.rows, rows)

    def row_of(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row that each of these sequences belongs to."""
        return sequences if self.rows is None else np.searchsorted(self.rows, sequences, side="right") - 1

    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """These rows, in this order."""
        sequences = self.sequences(rows)

        def beside(ragged: Ragged | None) -> Ragged | None:
            return None if ragged is None else ragged.take(sequences)

        return Encoded(
            ids=self.ids.take(sequences),
            rows=None if self.rows is None else np.concatenate([[0], np.cumsum(self.counts[rows])]),
            weights=beside(self.weights),
            types=beside(self.types),
            words=beside(self.words),
            chars=beside(self.chars),
            parts=beside(self.parts),
            columns=None if self.columns is None else self.columns[rows],
            hidden=None if self.hidden is None else self.hidden[places(self.ids.offsets, sequences)],
            truncated=None if self.truncated is None else self.truncated[sequences],
        )

    def first_alike(self) -> NDArray[np.int64]:
        """For each sequence, the first with the same network input: itself, or an earlier one. [sequences]"""
        if self.weights is not None or self.columns is not None or self.hidden is not None:
            return np.arange(len(self.ids))
        beside = [ragged for ragged in (self.ids, self.types) if ragged is not None]
        first: dict[tuple[bytes, ...], int] = {}
        keys = (tuple(ragged[i].tobytes() for ragged in beside) for i in range(len(self.ids)))
        return np.fromiter((first.setdefault(key, i) for i, key in enumerate(keys)), dtype=np.int64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Sequences a row, [rows]."""
        return np.ones(len(self), dtype=np.int64) if self.rows is None else np.diff(self.rows)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The cost of computing a row: the tokens of all its sequences, padded to the longest of them. [rows]"""
        if self.rows is None:
            return self.ids.lengths
        return np.maximum.reduceat(self.ids.lengths, self.rows[:-1]) * self.counts
