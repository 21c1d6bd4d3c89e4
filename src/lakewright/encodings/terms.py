"""TF-IDF terms: lower-cased words and word pairs weighted by how rare they are, as in scikit-learn's defaults.

tf-idf(t, d) = (1 + ln tf) · (ln((1 + n) / (1 + df)) + 1), each row scaled to length one (Salton & Buckley 1988, with
scikit-learn's smoothing). The vocabulary is fitted on train alone. Needs numpy only, so it serves as it trained.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright import jsonfile
from lakewright.encodings import Encoded
from lakewright.encodings.ragged import Ragged

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Terms:
    vocabulary: dict[str, int]  # term → id from 1; 0 pads
    idf: NDArray[np.float32]  # [terms + 1]; idf[0] = 0

    name = "terms"

    @classmethod
    def fit(cls, texts: Iterable[str], min_df: int, max_terms: int) -> Terms:
        """The terms that stand in at least `min_df` texts, the `max_terms` most frequent of them.

        Texts are not held, but every term is until the last has been counted: memory grows with the vocabulary.
        """
        document_frequency: Counter[str] = Counter()
        n = 0
        for text in texts:
            document_frequency.update(set(_terms(text)))
            n += 1
        frequent = [(term, df) for term, df in document_frequency.items() if df >= min_df]
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = sorted(frequent[:max_terms])
        df = np.array([0] + [count for _, count in kept], dtype=np.float64)
        idf = np.log((1 + n) / (1 + df)) + 1
        idf[0] = 0
        return cls({term: i for i, (term, _) in enumerate(kept, start=1)}, idf.astype(np.float32))

    @classmethod
    def open(cls, folder: Path) -> Terms:
        described = jsonfile.parse((folder / "encoding.json").read_bytes())
        terms = described["terms"]
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and refused
            idf = np.array([0, *described["idf"]], dtype=np.float32)
        if len(idf) != len(terms) + 1 or not np.isfinite(idf).all():
            raise ValueError("encoding.json does not hold a number for each of its terms")
        return cls({term: i for i, term in enumerate(terms, start=1)}, idf)

    def save(self, folder: Path) -> None:
        idf = [float(value) for value in self.idf[1:]]
        described = {"name": self.name, "terms": list(self.vocabulary), "idf": idf}
        text = json.dumps(described, ensure_ascii=False) + "\n"
        (folder / "encoding.json").write_text(text, encoding="utf-8")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, positions: bool = False) -> Encoded:
        """Terms have no place in the text, so the two texts of a pair are one bag."""
        if positions:
            raise ValueError("terms have no positions")
        if pairs is not None:
            texts = [f"{text}\n{pair}" for text, pair in zip(texts, pairs, strict=True)]
        ids, weights = [], []
        for text in texts:
            counts = Counter(self.vocabulary[term] for term in _terms(text) if term in self.vocabulary)
            row = np.fromiter(counts, dtype=np.int32, count=len(counts))
            tf = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
            weight = (1 + np.log(tf)) * self.idf[row]
            ids.append(row)
            weights.append(weight / max(float(np.linalg.norm(weight)), 1e-12))
        return Encoded(Ragged.of(ids, np.int32), weights=Ragged.of(weights, np.float32))

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """ids int64 and weights float32, [rows, most terms]."""
        assert encoded.weights is not None
        ids, weights = encoded.ids.pad(sequences, 0, np.int64), encoded.weights.pad(sequences, 0.0, np.float32)
        return {"ids": ids, "weights": weights}


def _terms(text: str) -> Iterator[str]:
    words = WORD.findall(text.lower())
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"
