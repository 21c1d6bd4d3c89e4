"""What turns texts into model inputs. The same encoding, from the same files, serves training and prediction.

An encoding is found by its name in `encoding.json`, through the entry points `lakewright.encodings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe.ragged import Ragged, places
from lakewright.system import jsonfile


@dataclass(frozen=True)
class Encoded:
    """Encoded rows. A row is one sequence, or several: the windows of a long text, the two sides of a pair.

    `words`, `chars` and `parts` are there where the encoding was asked for positions: tasks that read tokens need them.
    """

    ids: Ragged  # int32, one a sequence
    rows: NDArray[np.int64] | None = None  # [rows + 1]; row i is the sequences rows[i] … rows[i + 1] - 1; None: i alone
    weights: Ragged | None = None  # float32, beside ids
    types: Ragged | None = None  # int32, beside ids: 0 and 1 for the two texts, where the base model tells them apart
    words: Ragged | None = None  # int32, beside ids: the word a piece belongs to, -1 for special tokens
    chars: Ragged | None = None  # int32, twice as long as ids: start, end of each piece in its text, in characters
    parts: Ragged | None = None  # int32, beside ids: which of the row's texts a piece is of, -1 for special tokens
    columns: NDArray[np.float32] | None = None  # [rows, width]: what the other columns say, as numbers
    hidden: NDArray[np.float32] | None = None  # [tokens, width], beside ids: what layers that never change say of them
    truncated: NDArray[np.bool_] | None = None  # [sequences], where known: those that lost a part of their text

    def __len__(self) -> int:
        return len(self.ids) if self.rows is None else len(self.rows) - 1

    def sequences(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sequences of these rows, in the rows' order."""
        return rows if self.rows is None else places(self.rows, rows)

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
        """For each sequence the first one that is the same to the network: itself, or an earlier one. [sequences]"""
        if self.weights is not None or self.columns is not None or self.hidden is not None:
            return np.arange(len(self.ids))
        beside = [ragged for ragged in (self.ids, self.types) if ragged is not None]
        first: dict[tuple[bytes, ...], int] = {}
        keys = (tuple(ragged[i].tobytes() for ragged in beside) for i in range(len(self.ids)))
        return np.fromiter((first.setdefault(key, i) for i, key in enumerate(keys)), dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Sequences a row, [rows]."""
        return np.ones(len(self), dtype=np.int64) if self.rows is None else np.diff(self.rows)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """What computing a row costs: the tokens of all its sequences, padded to the longest of them. [rows]"""
        if self.rows is None:
            return self.ids.lengths
        return np.maximum.reduceat(self.ids.lengths, self.rows[:-1]) * self.counts


class Encoding(Protocol):
    name: str

    @classmethod
    def open(cls, folder: Path) -> Encoding: ...

    def save(self, folder: Path) -> None:
        """Write everything `open` needs, with a file `encoding.json` that holds at least the name."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, positions: bool = False) -> Encoded:
        """`pairs` holds each row's second text, read together with the first."""

    def shortfalls(self, encoded: Encoded, texts: Sequence[str]) -> list[Shortfall]:
        """What of the encoded rows means nothing to the network; `texts` holds all of each row's texts as one."""

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The named network inputs for these sequences, padded to the longest of them."""


def network_inputs(encoding: Encoding, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """All named inputs of the network for these sequences: the encoding's, and what stands beside it."""
    inputs = encoding.batch(encoded, sequences)
    if encoded.columns is not None:
        row_of = sequences if encoded.rows is None else np.searchsorted(encoded.rows, sequences, side="right") - 1
        inputs["columns"] = encoded.columns[row_of]
    if encoded.hidden is not None:
        offsets = encoded.ids.offsets
        inputs["hidden"] = np.concatenate([encoded.hidden[offsets[i] : offsets[i + 1]] for i in sequences])
    return inputs


def open_encoding(folder: Path) -> Encoding:
    file = folder / "encoding.json"
    described = jsonfile.parse(file.read_bytes())
    encoding: Encoding = plugins.ENCODINGS.named_in(file, described["name"]).open(folder)
    return encoding
