"""What turns texts into model inputs. The same encoding, from the same files, serves training and prediction.

An encoding is found by its name in `encoding.json`, through the entry points `lakewright.encodings`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.encodings.ragged import Ragged


@dataclass(frozen=True)
class Encoded:
    """Encoded rows. `words` and `chars` are there where the encoding keeps positions (token-level tasks need them)."""

    ids: Ragged  # int32
    weights: Ragged | None = None  # float32, beside ids
    words: Ragged | None = None  # int32, beside ids: the word a piece belongs to, -1 for special tokens
    chars: Ragged | None = None  # int32, twice as long as ids: start, end of each piece in the text, in characters
    truncated: int = 0  # rows that were longer than the encoding's maximum

    def __len__(self) -> int:
        return len(self.ids)


class Encoding(Protocol):
    name: str

    @classmethod
    def open(cls, folder: Path) -> Encoding: ...

    def save(self, folder: Path) -> None:
        """Write everything `open` needs, with a file `encoding.json` that holds at least the name."""

    def encode(self, texts: Sequence[str], positions: bool = False) -> Encoded: ...

    def batch(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The named network inputs for these rows, padded to the longest of them."""


def open_encoding(folder: Path) -> Encoding:
    described = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
    encoding: Encoding = plugins.find("encodings", described["name"]).open(folder)
    return encoding
