"""Word pieces: a Hugging Face fast tokenizer (tokenizer.json), run by the `tokenizers` library alone.

What does not fit into max_length is told by `long_texts`:

    cut        the end is lost (of a pair, the longer text's)
    head_tail  the middle is lost: a quarter of the pieces is the beginning, the rest the end (Sun et al. 2019)
    windows    nothing is lost: windows that overlap by `stride` pieces (of a pair, of the second text)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from unicodedata import category, name

import numpy as np
from numpy.typing import NDArray

from lakewright import jsonfile
from lakewright.encodings import Encoded
from lakewright.encodings.ragged import Ragged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LongTexts = Literal["cut", "head_tail", "windows"]


@dataclass(frozen=True)
class Tokens:
    tokenizer: Tokenizer
    max_length: int  # word pieces a sequence, special tokens included
    pad_id: int
    long_texts: LongTexts = "cut"
    stride: int = 0  # pieces that two windows share
    pairs: bool = False  # rows are two texts, read together
    types: bool = False  # the base model tells the two texts of a pair apart by token types
    symbols: Literal["names", "keep"] = "keep"  # names: emoji that the tokenizer does not know are read by their names
    first: Tokenizer | None = None  # windows of a pair: the tokenizer without truncation, for the first text
    names: SymbolNames | None = None

    name = "tokens"

    @classmethod
    def make(
        cls,
        tokenizer_json: str,
        max_length: int,
        pad_id: int,
        long_texts: LongTexts = "cut",
        stride: int = 0,
        pairs: bool = False,
        types: bool = False,
        symbols: Literal["names", "keep"] = "keep",
    ) -> Tokens:
        """From the text of a tokenizer.json. Its own padding is dropped and its truncation set: rows stay ragged."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_padding()
        if long_texts == "head_tail":
            tokenizer.no_truncation()
        elif long_texts == "windows":
            strategy = "only_second" if pairs else "longest_first"
            tokenizer.enable_truncation(max_length, stride=stride, strategy=strategy)
        else:
            tokenizer.enable_truncation(max_length)
        first = Tokenizer.from_str(tokenizer_json) if long_texts == "windows" and pairs else None
        if first is not None:
            first.no_truncation()
        names = SymbolNames(tokenizer) if symbols == "names" else None
        return cls(tokenizer, max_length, pad_id, long_texts, stride, pairs, types, symbols, first, names)

    @classmethod
    def open(cls, folder: Path) -> Tokens:
        described = jsonfile.parse((folder / "encoding.json").read_bytes())
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        opened = cls.make(text, **{key: value for key, value in described.items() if key != "name"})
        room = opened.max_length - opened.tokenizer.num_special_tokens_to_add(opened.pairs)
        if opened.long_texts not in get_args(LongTexts) or not 0 <= opened.stride < room:  # tokenizers would panic
            raise ValueError(f"encoding.json asks for what cannot be done: {described}")
        return opened

    def save(self, folder: Path) -> None:
        kept = ("name", "max_length", "pad_id", "long_texts", "stride", "pairs", "types", "symbols")
        described = {key: getattr(self, key) for key in kept}
        (folder / "encoding.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=False), encoding="utf-8")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, positions: bool = False) -> Encoded:
        """Word-piece ids a sequence; with `positions`, also each piece's word, characters and text.

        A lone surrogate (half of an emoji, as cut-off text can hold) is no Unicode text: it is read as "?", one
        character for one, so that positions stay right. Names of symbols are longer than the symbols, so they are not
        read where positions are asked for.
        """

        def readable(text: str) -> str:
            if text.isascii():
                return text
            named = text if positions or self.names is None else text.translate(self.names)
            return named.encode("utf-8", "replace").decode()

        clean: Any = [readable(text) for text in texts]
        if pairs is not None:
            if self.first is not None:
                clean = [self._half(self.first, text) for text in clean]
            clean = list(zip(clean, map(readable, pairs), strict=True))
        # encode_batch_fast skips the character positions, which only token-level tasks need.
        rows = self.tokenizer.encode_batch(clean) if positions else self.tokenizer.encode_batch_fast(clean)

        offsets = None
        if self.long_texts == "windows":
            offsets = np.concatenate([[0], np.cumsum([1 + len(row.overflowing) for row in rows])]).astype(np.int64)
            rows = [window for row in rows for window in (row, *row.overflowing)]
            truncated = 0
        elif self.long_texts == "head_tail":
            truncated = sum(len(row) > self.max_length for row in rows)
        else:
            truncated = sum(bool(row.overflowing) for row in rows)

        def ragged(values: Iterable[list[int]], each: int = 1) -> Ragged:
            return Ragged.of([self._within(row, each) for row in values], np.int32)

        ids = ragged(row.ids for row in rows)
        types = ragged(row.type_ids for row in rows) if self.types and pairs is not None else None
        if not positions:
            return Encoded(ids, rows=offsets, types=types, truncated=truncated)
        return Encoded(
            ids,
            rows=offsets,
            types=types,
            words=ragged([-1 if word is None else word for word in row.word_ids] for row in rows),
            chars=ragged(([at for span in row.offsets for at in span] for row in rows), each=2),
            parts=ragged([-1 if part is None else part for part in row.sequence_ids] for row in rows),
            truncated=truncated,
        )

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """input_ids, attention_mask and, where the model has them for pairs, token_type_ids: int64 [sequences, most]"""
        input_ids = encoded.ids.pad(sequences, self.pad_id, np.int64)
        lengths = encoded.ids.lengths[sequences]
        mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        if encoded.types is not None:
            inputs["token_type_ids"] = encoded.types.pad(sequences, 0, np.int64)
        return inputs

    def _half(self, tokenizer: Tokenizer, text: str) -> str:
        """A first text that would leave no room for windows of the second loses its end."""
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(True) - self.stride - 1
        most = min(self.max_length // 2, room)
        if len(text.encode()) <= most:  # no piece is shorter than a byte
            return text
        pieces = tokenizer.encode(text, add_special_tokens=False)
        return text if len(pieces) <= most else text[: pieces.offsets[most - 1][1]]

    def _within(self, values: list[int], each: int) -> list[int]:
        """A whole row's values, `each` a piece, without the middle where that is what is lost."""
        most = self.max_length * each
        if self.long_texts != "head_tail" or len(values) <= most:
            return values
        head = self.max_length // 4 * each
        return values[:head] + values[head - most :]


class SymbolNames(dict[int, int | str]):
    """For `str.translate`: an emoji or another symbol of which the tokenizer only says that it is unknown → its Unicode
    name. BERT's vocabularies hold next to no emoji, and in a tweet they say most. Filled as texts ask."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.unknown = {tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")} - {None}

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        said: int | str = code
        if category(character) in ("So", "Sk") and self.unknown & set(self.tokenizer.encode(character).ids):
            said = f" {name(character, '').lower()} "
        self[code] = said
        return said
