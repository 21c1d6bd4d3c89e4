"""The step `terms`: TF-IDF of words and word pairs, lower-cased, weighted by their rarity, as in scikit-learn's
defaults; in scripts without spaces between words, of runs of one to three characters.

tf-idf(t, d) = (1 + ln tf) · (ln((1 + n) / (1 + df)) + 1), each row scaled to length one (Salton & Buckley 1988, with
scikit-learn's smoothing). The vocabulary is fitted on train alone. Needs only numpy, so serving runs the same code.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind, whole_text
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ModelError
from lakewright.model.recipe import Column, Values, Wanted, lengths_by, summaries
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.recipe.scripts import PRESENTATION, pieces
from lakewright.settings.sections import StepSettings
from lakewright.system import jsonfile

TERMS = "terms.json"
WORD = re.compile(r"\w+")
LONGEST_RUN = 3  # characters of a term, in a script without spaces
READING = 2  # how texts become terms; 1 (older folders): only by WORD


class TermsSettings(StepSettings):
    step: Literal["terms"] = "terms"
    min_df: int = Field(
        default=1, ge=1, description="a term counts when it stands in at least this many training texts"
    )
    max_features: int = Field(default=200_000, ge=1, description="terms that count, the most frequent in train")


@dataclass(frozen=True)
class Terms:
    inputs: tuple[str, ...]
    vocabulary: dict[str, int]  # term → id from 1; 0 pads
    idf: NDArray[np.float32]  # [terms + 1]; idf[0] = 0
    reading: int = READING

    name: ClassVar[str] = "terms"
    settings: ClassVar[type[StepSettings]] = TermsSettings
    reads: ClassVar[tuple[Kind, ...]] = ("text", "optional text", "words")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "sequences"
    columns: ClassVar[tuple[Column, ...]] = ()

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: TermsSettings, wanted: Wanted
    ) -> tuple[Self, NDArray[np.int32]]:
        names = tuple(name for name, kind in inputs.items() if kind != "words")  # words make the text beside them
        fitted = cls.counted(train, names, settings.min_df, settings.max_features)
        return fitted, np.concatenate([*summaries(train, partial(lengths_by, fitted))])

    @classmethod
    def counted(cls, train: Iterable[Values], names: tuple[str, ...], min_df: int, max_features: int) -> Self:
        """The terms of at least `min_df` texts, the `max_features` most frequent of them. Reads train once.

        Texts are not held, but every term is until the last text is counted: memory grows with the vocabulary.
        """
        document_frequency: Counter[str] = Counter()
        n = 0
        for of_part, texts in summaries(train, partial(_document_frequency, names)):
            document_frequency.update(of_part)
            n += texts
        frequent = [(term, df) for term, df in document_frequency.items() if df >= min_df]
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = sorted(frequent[:max_features])
        df = np.array([0] + [count for _, count in kept], dtype=np.float64)
        idf = np.log((1 + n) / (1 + df)) + 1
        idf[0] = 0
        return cls(names, {term: i for i, (term, _) in enumerate(kept, start=1)}, idf.astype(np.float32))

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        kept = jsonfile.parse((folder / described["file"]).read_bytes())
        terms, reading = kept["terms"], described["reading"]
        check_reading(reading, cls.name, folder)
        with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and is refused
            idf = np.array([0, *kept["idf"]], dtype=np.float32)
        if len(idf) != len(terms) + 1 or not np.isfinite(idf).all():
            raise ValueError(f"{described['file']} does not hold a number for each of its terms")
        return cls(tuple(described["inputs"]), {term: i for i, term in enumerate(terms, start=1)}, idf, reading)

    def save(self, folder: Path) -> dict[str, Any]:
        kept = {"terms": list(self.vocabulary), "idf": [float(value) for value in self.idf[1:]]}
        (folder / TERMS).write_text(json.dumps(kept, ensure_ascii=False) + "\n", encoding="utf-8")
        return {"inputs": list(self.inputs), "reading": self.reading, "file": TERMS}

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {}

    def encode(self, values: Values) -> Encoded:
        """Terms have no position, so all texts of a row are one bag."""
        ids, weights = [], []
        for text in _bags(values, self.inputs):
            counts = Counter(self._known(text))
            row = np.fromiter(counts, dtype=np.int32, count=len(counts))
            tf = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
            weight = (1 + np.log(tf)) * self.idf[row]
            ids.append(row)
            weights.append(weight / max(float(np.linalg.norm(weight)), 1e-12))
        return Encoded(Ragged.of(ids, np.int32), weights=Ragged.of(weights, np.float32))

    def _known(self, text: str) -> Iterator[int]:
        """The ids of the text's known terms, each as often as it stands there."""
        return filter(None, map(self.vocabulary.get, _terms(text, self.reading)))

    def knows(self, text: str) -> bool:
        """Whether the text has a known term."""
        return next(self._known(text), None) is not None

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        rows = zip(*(values[name] for name in self.inputs), strict=True)
        present = np.array([any(text is not None for text in row) for row in rows])
        return [
            Shortfall(
                "unread_texts",
                "text",
                "hold no known term",
                "learn from texts with the same words, or set train.learner: embedding or encoder, with a base model "
                "that reads them",
                lost=(present & (encoded.ids.lengths == 0)).astype(np.int64),
                of=present.astype(np.int64),
                vital=encoded.columns is None,
            )
        ]

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """ids int64 and weights float32, [rows, most terms]."""
        assert encoded.weights is not None
        ids, weights = encoded.ids.pad(sequences, 0, np.int64), encoded.weights.pad(sequences, 0.0, np.float32)
        return {"ids": ids, "weights": weights}


def check_reading(reading: int, step: str, folder: Path) -> None:
    """Raises ModelError for a way to read texts that is newer than this code."""
    if reading > READING:
        raise ModelError(
            f"the step {step} in {folder} reads texts in a way ({reading}) that this Lakewright does not know",
            "install the Lakewright that made the model, or a newer one",
        )


def _document_frequency(names: tuple[str, ...], train: Iterable[Values]) -> tuple[Counter[str], int]:
    """Term → the texts that have it; and all texts."""
    counts: Counter[str] = Counter()
    n = 0
    for values in train:
        for text in _bags(values, names):
            counts.update(set(_terms(text, READING)))
            n += 1
    return counts, n


def _bags(values: Values, inputs: Sequence[str]) -> Iterator[str]:
    return map(whole_text, zip(*(values[name] for name in inputs), strict=True))


def _terms(text: str, reading: int) -> Iterator[str]:
    text = text.lower()
    return _with_pairs(WORD.findall(text)) if reading == 1 or text.isascii() else _of_scripts(text)


def _of_scripts(text: str) -> Iterator[str]:
    words: list[str] = []  # neighbours
    for match in pieces().finditer(PRESENTATION.sub("", normalize("NFC", text))):
        piece = match.group()
        if match["run"] is None:
            words.append(piece)
            continue
        yield from _with_pairs(words)
        words = []
        for length in range(1, LONGEST_RUN + 1):
            yield from (piece[at : at + length] for at in range(len(piece) - length + 1))
    yield from _with_pairs(words)


def _with_pairs(words: Sequence[str]) -> Iterator[str]:
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"
