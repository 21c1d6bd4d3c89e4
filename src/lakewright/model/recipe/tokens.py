"""The step `tokens`: word pieces of a Hugging Face fast tokenizer (tokenizer.json), run with only the `tokenizers`
library.

It reads one text, or two together as a pair; for tasks that compare texts, each text separately. `long_texts` decides
about pieces beyond max_length:

    cut        the end is lost (of a pair, the longer text's)
    head_tail  the middle is lost: a quarter of the pieces is the beginning, the rest the end (Sun et al. 2019)
    windows    nothing is lost: windows that overlap by `stride` pieces (of a pair, of the second text)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args
from unicodedata import category, name

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind, whole_text
from lakewright.data.rows.lengths import suggest_max_length
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ModelError, ProjectError
from lakewright.model.recipe import Column, Values, Wanted, lengths_by, summaries
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.recipe.scripts import is_mark
from lakewright.settings.sections import StepSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LongTexts = Literal["cut", "head_tail", "windows"]
MANY_UNKNOWN = 0.01  # of a split's pieces
UNCUT = 1_000_000  # a max_length that no text reaches


class TokensSettings(StepSettings):
    step: Literal["tokens"] = "tokens"
    max_length: Literal["auto"] | int = Field(
        default="auto", description="tokens a sequence; auto: from the lengths in train, at most 256"
    )
    long_texts: Literal["auto", "cut", "head_tail", "windows"] = Field(
        default="auto",
        description="beyond max_length: cut loses the end, head_tail the middle, windows nothing; auto: windows for "
        "token_classification and question_answering, else cut",
    )
    symbols: Literal["names", "keep"] = Field(
        default="names",
        description="emoji and other symbols that the base model does not know; names: read as their Unicode names, "
        "but not where tokens are read",
    )
    stride: Literal["auto"] | int = Field(
        default="auto", description="tokens that two windows share; auto: a quarter of max_length"
    )

    def check(self, level: Literal["row", "token", "vector"]) -> None:
        long_texts_of(self, level)


@dataclass(frozen=True)
class Vocabulary:
    """A base model's tokenizer, and the limits of its network."""

    name: str  # of the base model
    tokenizer_json: str
    pad_id: int
    longest: int  # most tokens that the network reads
    types: bool = False  # the network distinguishes the two texts of a pair by token types


@dataclass(frozen=True)
class Tokens:
    inputs: tuple[str, ...]
    tokenizer: Tokenizer
    max_length: int  # word pieces a sequence, special tokens included
    pad_id: int
    long_texts: LongTexts = "cut"
    stride: int = 0  # pieces that two windows share
    types: bool = False  # the base model distinguishes the two texts of a pair by token types
    symbols: Literal["names", "keep"] = "keep"  # names: emoji unknown to the tokenizer are replaced by their names
    apart: bool = False  # each of a row's texts is a separate sequence; else they are read together
    positions: bool = False  # each piece's word, characters and text are kept, for tasks that read tokens
    first: Tokenizer | None = None  # windows of a pair: the tokenizer without truncation, for the first text
    names: SymbolNames | None = None

    name: ClassVar[str] = "tokens"
    settings: ClassVar[type[StepSettings]] = TokensSettings
    reads: ClassVar[tuple[Kind, ...]] = ("text", "optional text", "words")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "sequences"
    columns: ClassVar[tuple[Column, ...]] = ()
    most_texts: ClassVar[int] = 2

    @classmethod
    def make(
        cls,
        inputs: Sequence[str],
        tokenizer_json: str,
        max_length: int,
        pad_id: int,
        long_texts: LongTexts = "cut",
        stride: int = 0,
        types: bool = False,
        symbols: Literal["names", "keep"] = "keep",
        apart: bool = False,
        positions: bool = False,
    ) -> Self:
        """From the text of a tokenizer.json. Removes its padding, so that rows stay ragged, and sets its truncation."""
        from tokenizers import Tokenizer

        tokenizer, whole = Tokenizer.from_str(tokenizer_json), Tokenizer.from_str(tokenizer_json)
        for each in (tokenizer, whole):
            each.no_padding()
            each.no_truncation()
        pairs = len(inputs) == 2 and not apart
        if long_texts == "windows":
            strategy = "only_second" if pairs else "longest_first"
            tokenizer.enable_truncation(max_length, stride=stride, strategy=strategy)
        elif long_texts == "cut":
            tokenizer.enable_truncation(max_length)
        first = whole if long_texts == "windows" and pairs else None
        names = SymbolNames(tokenizer) if symbols == "names" else None
        read = tuple(inputs)
        return cls(
            read, tokenizer, max_length, pad_id, long_texts, stride, types, symbols, apart, positions, first, names
        )

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: TokensSettings, wanted: Wanted
    ) -> tuple[Self, NDArray[np.int32]]:
        """The base model's tokenizer, with a max_length for train's lengths.

        Raises ProjectError if max_length, stride or long_texts do not fit the base model or the task, ModelError for a
        tokenizer that cannot read pairs.
        """
        texts, apart = _texts(inputs), wanted.level == "vector"
        if wanted.vocabulary is None:
            raise ProjectError(
                "the step tokens needs a base model's tokenizer, and the learner has no base model",
                "take it out of prepare.recipe, or set train.learner: encoder or embedding",
            )
        if len(texts) > 2 and not apart:
            raise ProjectError(
                f"the step tokens reads one text, or two together, and here are {len(texts)}: {', '.join(texts)}",
                "join them in SQL, or name two under data.columns",
            )
        base, pairs = wanted.vocabulary(), len(texts) == 2 and not apart
        if settings.max_length != "auto" and not 3 <= settings.max_length <= base.longest:
            raise ProjectError(
                f"max_length of the step tokens is {settings.max_length}, but {base.name} reads 3 to {base.longest} "
                "tokens",
                f"set prepare.recipe.tokens.max_length to at most {base.longest}, or to auto",
            )
        long_texts = long_texts_of(settings, wanted.level)
        made = cls.make(texts, base.tokenizer_json, UNCUT, base.pad_id, symbols=settings.symbols, apart=apart)
        if pairs and made.tokenizer.num_special_tokens_to_add(True) == 0:
            raise ModelError(
                f"the tokenizer of {base.name} puts nothing between the two texts of a pair",
                "name a base model whose tokenizer.json has a template for pairs, as BERT's and RoBERTa's have",
            )
        lengths = np.concatenate([*summaries(train, partial(lengths_by, made))])
        given = settings.max_length
        max_length = suggest_max_length(lengths, base.longest) if given == "auto" else given
        stride = max(1, max_length // 4) if settings.stride == "auto" else settings.stride
        most_shared = min(max_length // 2 - 1, max_length - 7 if pairs else max_length)
        if long_texts == "windows" and not 1 <= stride <= most_shared:
            raise ProjectError(
                f"stride of the step tokens is {stride}, with windows of {max_length} tokens",
                f"set prepare.recipe.tokens.stride to 1 to {most_shared}"
                if most_shared > 0
                else "set a greater prepare.recipe.tokens.max_length",
            )
        fitted = cls.make(
            texts,
            base.tokenizer_json,
            max_length,
            base.pad_id,
            long_texts,
            stride,
            types=pairs and base.types,
            symbols=settings.symbols,
            apart=apart,
            positions=wanted.level == "token",
        )
        return fitted, lengths

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        opened = cls.make(tokenizer_json=text, **described)
        room = opened.max_length - opened.tokenizer.num_special_tokens_to_add(opened.pairs)
        if opened.long_texts not in get_args(LongTexts) or not 0 <= opened.stride < room:  # tokenizers would panic
            raise ValueError(f"the step tokens cannot do what it describes: {described}")
        return opened

    def save(self, folder: Path) -> dict[str, Any]:
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=False), encoding="utf-8")
        kept = ("max_length", "pad_id", "long_texts", "stride", "types", "symbols", "apart", "positions")
        return {"inputs": list(self.inputs), **{key: getattr(self, key) for key in kept}}

    @property
    def pairs(self) -> bool:
        """Rows are two texts, read together."""
        return len(self.inputs) == 2 and not self.apart

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {}

    def encode(self, values: Values) -> Encoded:
        if not self.apart:
            first, *second = ([text or "" for text in values[name]] for name in self.inputs)  # beside columns: or none
            return self._encoded(first, second[0] if self.pairs else None)
        rows = list(zip(*(values[name] for name in self.inputs), strict=True))
        texts = [[text for text in row if text is not None] for row in rows]
        encoded = self._encoded([text for row in texts for text in row])
        return replace(encoded, rows=np.concatenate([[0], np.cumsum([len(row) for row in texts])]).astype(np.int64))

    def _encoded(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Encoded:
        """Word-piece ids a sequence; with `positions`, also each piece's word, characters and text.

        A lone surrogate (half of an emoji, which a cut text can hold) is not Unicode text: it is read as "?", one
        character for one, so that positions stay right. Names of symbols are longer than the symbols, so they are not
        used if positions are kept.
        """
        positions = self.positions

        def readable(text: str) -> str:
            if text.isascii():
                return text
            named = text if positions or self.names is None else text.translate(self.names)
            return named.encode("utf-8", "replace").decode()

        whole = [readable(text) for text in texts]
        first = whole if self.first is None or pairs is None else [self._half(self.first, text) for text in whole]
        clean: Any = first if pairs is None else list(zip(first, map(readable, pairs), strict=True))
        # encode_batch_fast skips the character positions, which only token-level tasks need.
        rows = self.tokenizer.encode_batch(clean) if positions else self.tokenizer.encode_batch_fast(clean)

        offsets = None
        if self.long_texts == "windows":
            offsets = np.concatenate([[0], np.cumsum([1 + len(row.overflowing) for row in rows])]).astype(np.int64)
            rows = [window for row in rows for window in (row, *row.overflowing)]
            shortened = [len(kept) < len(text) for kept, text in zip(first, whole, strict=True)]
            truncated = np.repeat(np.array(shortened, dtype=np.bool_), np.diff(offsets))
        elif self.long_texts == "head_tail":
            truncated = np.array([len(row) > self.max_length for row in rows], dtype=np.bool_)
        else:
            truncated = np.array([bool(row.overflowing) for row in rows], dtype=np.bool_)

        def ragged(values: Iterable[list[int]], each: int = 1) -> Ragged:
            return Ragged.of([self._within(row, each) for row in values], np.int32)

        ids = ragged(row.ids for row in rows)
        types = ragged(row.type_ids for row in rows) if self.types and pairs is not None else None
        if not positions:
            return Encoded(ids, rows=offsets, types=types, truncated=truncated)
        encoded = Encoded(
            ids,
            rows=offsets,
            types=types,
            words=ragged([-1 if word is None else word for word in row.word_ids] for row in rows),
            chars=ragged(([at for span in row.offsets for at in span] for row in rows), each=2),
            parts=ragged([-1 if part is None else part for part in row.sequence_ids] for row in rows),
            truncated=truncated,
        )
        for part, side in enumerate([texts] if pairs is None else [texts, pairs]):
            _take_marks(encoded, side, part)
        return encoded

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """input_ids, attention_mask and, if the model has them for pairs, token_type_ids: int64 [sequences, most]"""
        input_ids = encoded.ids.pad(sequences, self.pad_id, np.int64)
        lengths = encoded.ids.lengths[sequences]
        mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        if encoded.types is not None:
            inputs["token_type_ids"] = encoded.types.pad(sequences, 0, np.int64)
        return inputs

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        texts = [whole_text(row) for row in zip(*(values[name] for name in self.inputs), strict=True)]
        special = self.tokenizer.num_special_tokens_to_add(self.pairs)
        pieces = _by_row(encoded, np.maximum(encoded.ids.lengths - special, 0))
        marks = np.concatenate([[0], np.cumsum(np.isin(encoded.ids.values, list(unknown_ids(self.tokenizer))))])
        unknown = _by_row(encoded, np.diff(marks[encoded.ids.offsets]))
        long = np.zeros(len(encoded), dtype=np.int64)
        most = getattr(self.tokenizer.model, "max_input_chars_per_word", 0)
        for row in np.flatnonzero(unknown).tolist() if most else ():
            long[row] = self._holds_unknown_word(texts[row], most)
        assert encoded.truncated is not None
        truncated = _by_row(encoded, encoded.truncated.astype(np.int64)) > 0
        part = {"cut": "end", "head_tail": "middle", "windows": "first text's end"}[self.long_texts]
        one = np.ones(len(encoded), dtype=np.int64)
        reads = "set a train.base_model that reads their script"
        return [
            Shortfall(
                "unread_texts",
                "text",
                "mean nothing to the base model: its tokenizer knows less than half of their pieces, or they have none",
                reads,
                lost=(2 * unknown > pieces).astype(np.int64) | (pieces == 0),
                of=one,
                vital=encoded.columns is None,
            ),
            Shortfall(
                "unknown_pieces",
                "piece",
                "are unknown to the base model's tokenizer, which reads all of them as the same one",
                reads,
                lost=unknown,
                of=pieces,
                least=MANY_UNKNOWN,
            ),
            Shortfall(
                "long_words",
                "text",
                f"hold a word of more than {most} characters, which the tokenizer reads as one unknown piece",
                "put spaces or punctuation into such words, or set a train.base_model that reads their script",
                lost=long,
                of=one,
            ),
            Shortfall(
                "truncated",
                "row",
                f"are longer than {self.max_length} tokens and lose their {part}",
                "raise prepare.recipe.tokens.max_length if it matters",
                lost=truncated.astype(np.int64),
                of=one,
            ),
        ]

    def _holds_unknown_word(self, text: str, most: int) -> bool:
        if not re.search(rf"\S{{{most + 1}}}", text):
            return False
        read = self.tokenizer.encode(text.encode("utf-8", "replace").decode())
        unknown = unknown_ids(self.tokenizer)
        return any(
            number in unknown and end - start > most
            for number, (start, end) in zip(read.ids, read.offsets, strict=True)
        )

    def _half(self, tokenizer: Tokenizer, text: str) -> str:
        """The first text without its end, if it would leave no room for windows of the second."""
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(True) - self.stride - 1
        most = min(self.max_length // 2, room)
        if len(text.encode()) <= most:  # no piece is shorter than a byte
            return text
        pieces = tokenizer.encode(text, add_special_tokens=False)
        return text if len(pieces) <= most else text[: pieces.offsets[most - 1][1]]

    def _within(self, values: list[int], each: int) -> list[int]:
        """A whole row's values, `each` a piece; for head_tail, without the middle of a long row."""
        most = self.max_length * each
        if self.long_texts != "head_tail" or len(values) <= most:
            return values
        head = self.max_length // 4 * each
        return values[:head] + values[head - most :]


def long_texts_of(settings: TokensSettings, level: Literal["row", "token", "vector"]) -> LongTexts:
    """The treatment of long texts in a task of this level. Raises ProjectError for one that does not suit it."""
    unfit = {"row": (), "token": ("head_tail",), "vector": ("windows",)}[level]
    if settings.long_texts in unfit:
        what = "whose predictions have places in the text" if level == "token" else "which compares whole texts"
        raise ProjectError(
            f"prepare.recipe.tokens.long_texts: {settings.long_texts} means nothing to a task {what}",
            "leave it at auto",
        )
    return ("windows" if level == "token" else "cut") if settings.long_texts == "auto" else settings.long_texts


def _texts(inputs: Mapping[str, Kind]) -> list[str]:
    """The names of the texts, without words, which make the text beside them."""
    return [name for name, kind in inputs.items() if kind != "words"]


def unknown_ids(tokenizer: Tokenizer) -> set[int]:
    """The tokenizer's pieces for unknown text: none if it reads bytes."""
    names = {"[UNK]", "<unk>", getattr(tokenizer.model, "unk_token", None) or "<unk>"}
    return {number for name in names if (number := tokenizer.token_to_id(name)) is not None}


def _take_marks(encoded: Encoded, texts: Sequence[str], part: int) -> None:
    """Extends each piece over the marks (accents, vowel signs) of its last letter, which some tokenizers drop."""
    assert encoded.chars is not None and encoded.parts is not None
    for row, text in enumerate(texts):
        if text.isascii() or not any(map(is_mark, text)):
            continue
        for sequence in encoded.sequences(np.array([row])):
            chars = encoded.chars[sequence].reshape(-1, 2)
            ours = np.flatnonzero(encoded.parts[sequence] == part)
            begins = {int(at) for at in chars[ours, 0]}
            for piece in ours:
                end = int(chars[piece, 1])
                while end < len(text) and end not in begins and is_mark(text[end]):
                    end += 1
                chars[piece, 1] = end


def _by_row(encoded: Encoded, of_sequences: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.concatenate([[0], np.cumsum(of_sequences)])
    return np.diff(sums if encoded.rows is None else sums[encoded.rows])


class SymbolNames(dict[int, int | str]):
    """For `str.translate`: an emoji or another symbol that the tokenizer does not know → its Unicode name. BERT's
    vocabularies have almost no emoji, and in a tweet these matter most. Filled on demand."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.unknown = unknown_ids(tokenizer)

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        said: int | str = code
        if category(character) in ("So", "Sk") and self.unknown & set(self.tokenizer.encode(character).ids):
            said = f" {name(character, '').lower()} "
        self[code] = said
        return said
