"""Word pieces: a Hugging Face fast tokenizer (tokenizer.json), run by the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright.encodings import Encoded
from lakewright.encodings.ragged import Ragged

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Tokens:
    tokenizer: Tokenizer
    max_length: int  # word pieces a row, special tokens included
    pad_id: int

    name = "tokens"

    @classmethod
    def make(cls, tokenizer_json: str, max_length: int, pad_id: int) -> Tokens:
        """From the text of a tokenizer.json. Its own padding is dropped and its truncation set: rows stay ragged."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        return cls(tokenizer, max_length, pad_id)

    @classmethod
    def open(cls, folder: Path) -> Tokens:
        described = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return cls.make(text, described["max_length"], described["pad_id"])

    def save(self, folder: Path) -> None:
        described = {"name": self.name, "max_length": self.max_length, "pad_id": self.pad_id}
        (folder / "encoding.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=False), encoding="utf-8")

    def encode(self, texts: Sequence[str], positions: bool = False) -> Encoded:
        """Word-piece ids a row, truncated to max_length; with `positions`, also each piece's word and characters.

        A lone surrogate (half of an emoji, as cut-off text can hold) is no Unicode text: it is read as "?", one
        character for one, so that positions stay right.
        """
        clean = [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
        # encode_batch_fast skips the character positions, which only token-level tasks need.
        rows = self.tokenizer.encode_batch(clean) if positions else self.tokenizer.encode_batch_fast(clean)
        ids = Ragged.of([row.ids for row in rows], np.int32)
        truncated = sum(bool(row.overflowing) for row in rows)
        if not positions:
            return Encoded(ids, truncated=truncated)
        words = Ragged.of([[-1 if word is None else word for word in row.word_ids] for row in rows], np.int32)
        chars = Ragged.of([[at for span in row.offsets for at in span] for row in rows], np.int32)
        return Encoded(ids, words=words, chars=chars, truncated=truncated)

    def batch(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """input_ids and attention_mask, int64 [rows, longest]."""
        input_ids = encoded.ids.pad(rows, self.pad_id, np.int64)
        lengths = encoded.ids.lengths[rows]
        mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        return {"input_ids": input_ids, "attention_mask": mask}
