"""Named entities: spans of characters with a label, learned as BIO tags on the words (Ramshaw & Marcus 1995).

Rows come as text with character spans, or as tokens with tags (BIO, IOB, IOBES or BILOU); inside, a row is always a
text and its spans. Only a word's first piece carries a target and is read; the best tag sequence is found by Viterbi
under the rule that I-x follows B-x or I-x, so no span is ever broken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.encodings.ragged import Ragged
from lakewright.errors import DataError
from lakewright.tasks import IGNORED, Prediction, column, needed, text_column

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.encodings import Encoded
    from lakewright.evaluation.scorer import Scorer

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters


@dataclass(frozen=True)
class TokenClassification:
    labels: tuple[str, ...]  # tag 0 is O; label i has the tags 1 + 2i (B) and 2 + 2i (I)

    name: ClassVar[str] = "token_classification"
    level: ClassVar[Literal["row", "token"]] = "token"
    metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "entity_precision", "entity_recall", "macro_f1", "exact_match")

    @classmethod
    def read(cls, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        import pyarrow as pa

        if "tokens" in columns or "tags" in columns:
            texts, truths = _from_tags(table, *needed(columns, "tokens", "tags"))
        else:
            texts, truths = _from_spans(table, *needed(columns, "text", "spans"))
        kind = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())]))
        return pa.table({"text": pa.array(texts, pa.string()), "truth": pa.array(truths, kind)})

    @classmethod
    def fit(cls, truths: Sequence[list[Span]]) -> TokenClassification:
        return cls(tuple(sorted({span["label"] for spans in truths for span in spans})))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> TokenClassification:
        return cls(tuple(described["labels"]))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "labels": list(self.labels)}

    @property
    def outputs(self) -> int:
        return 1 + 2 * len(self.labels)

    def label_of(self, truth: list[Span]) -> list[str]:
        return sorted({span["label"] for span in truth})

    def targets(self, truths: Sequence[list[Span]], encoded: Encoded, texts: Sequence[str]) -> Ragged:
        tag_of = {label: 1 + 2 * i for i, label in enumerate(self.labels)}
        targets = np.full(len(encoded.ids.values), IGNORED, dtype=np.int32)
        for row, (spans, text) in enumerate(zip(truths, texts, strict=True)):
            pieces, bounds = words_of(encoded, row, text)
            tags = np.zeros(len(pieces), dtype=np.int32)
            for span in spans:
                inside = np.flatnonzero((bounds[:, 0] < span["end"]) & (bounds[:, 1] > span["start"]))
                tags[inside] = tag_of[span["label"]] + 1
                tags[inside[:1]] = tag_of[span["label"]]
            targets[encoded.ids.offsets[row] + pieces] = tags
        return Ragged(targets, encoded.ids.offsets)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        by_tag = logits.float().transpose(1, 2)  # [rows, outputs, tokens], as cross_entropy wants it
        options: dict[str, Any] = {"reduction": "none", "ignore_index": IGNORED, "label_smoothing": label_smoothing}
        return cross_entropy(by_tag, targets, **options).sum(dim=1)

    def decode(self, logits: list[NDArray[np.float32]], encoded: Encoded, texts: Sequence[str]) -> list[Prediction]:
        """entities: start, end (characters), text, label and score (the mean probability of its words' tags)."""
        predictions: list[Prediction] = []
        for row, text in enumerate(texts):
            pieces, bounds = words_of(encoded, row, text)
            log_probabilities = _log_softmax(logits[row][pieces])
            tags = _best_tags(log_probabilities)
            entities: list[dict[str, Any]] = []
            scores: list[list[float]] = []
            for word, tag in enumerate(tags):
                if tag == 0:
                    continue
                probability = float(np.exp(log_probabilities[word, tag]))
                if tag % 2 == 1:
                    label = self.labels[(tag - 1) // 2]
                    entities.append({"start": int(bounds[word, 0]), "end": 0, "text": "", "label": label, "score": 0.0})
                    scores.append([])
                entities[-1]["end"] = int(bounds[word, 1])
                scores[-1].append(probability)
            for entity, probabilities in zip(entities, scores, strict=True):
                entity["text"] = text[entity["start"] : entity["end"]]
                entity["score"] = float(np.mean(probabilities))
            sure = float(np.exp(log_probabilities.max(axis=1).mean())) if len(tags) else 1.0
            predictions.append({"entities": entities, "confidence": sure})
        return predictions

    def confidence(self, prediction: Prediction) -> float:
        """The geometric mean over the words of the best tag's probability."""
        return float(prediction["confidence"])

    def scorer(self, truths: Sequence[list[Span]], predictions: Sequence[Prediction]) -> Scorer:
        from lakewright.evaluation.entities import EntityScorer

        def triples(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
            return [(span["start"], span["end"], span["label"]) for span in spans]

        return EntityScorer(
            [triples(spans) for spans in truths], [triples(row["entities"]) for row in predictions], list(self.labels)
        )

    def sample_rows(self) -> list[dict[str, Any]]:
        return [{"text": "Ada Lovelace met Charles Babbage in London."}, {"text": "Nobody was there."}]


def words_of(encoded: Encoded, row: int, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each word's first piece [words], and its character bounds in the text [words, 2], without spaces around it."""
    assert encoded.words is not None and encoded.chars is not None
    words = encoded.words[row]
    chars = encoded.chars[row].reshape(-1, 2)
    first = np.flatnonzero((words >= 0) & (words != np.concatenate([[-2], words[:-1]])))
    last = np.flatnonzero((words >= 0) & (words != np.concatenate([words[1:], [-2]])))
    bounds = np.stack([chars[first, 0], chars[last, 1]], axis=1).astype(np.int64)
    for word, (start, end) in enumerate(bounds):  # byte-level tokenizers count the space before a word as its part
        while start < end and text[start].isspace():
            start += 1
        bounds[word, 0] = start
    return first, bounds


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _best_tags(log_probabilities: NDArray[np.float64]) -> list[int]:
    """Viterbi over [words, tags], where I-x may only follow B-x or I-x and does not begin a row."""
    words, tags = log_probabilities.shape
    if words == 0:
        return []
    unconstrained = log_probabilities.argmax(axis=1)
    inside = (unconstrained > 0) & (unconstrained % 2 == 0)
    before = np.concatenate([[0], unconstrained[:-1]])
    if not np.any(inside & (before != unconstrained) & (before != unconstrained - 1)):
        return [int(tag) for tag in unconstrained]  # already valid, as nearly all rows are
    allowed = np.zeros((tags, tags))  # [from, to]
    for tag in range(2, tags, 2):
        allowed[:, tag] = -np.inf
        allowed[[tag - 1, tag], tag] = 0.0
    best = log_probabilities[0].copy()
    best[2::2] = -np.inf
    came_from = np.zeros((words, tags), dtype=np.int64)
    for word in range(1, words):
        paths = best[:, None] + allowed
        came_from[word] = paths.argmax(axis=0)
        best = paths.max(axis=0) + log_probabilities[word]
    path = [int(best.argmax())]
    for word in range(words - 1, 0, -1):
        path.append(int(came_from[word, path[-1]]))
    return path[::-1]


def _from_spans(table: pa.Table, text_name: str, spans_name: str) -> tuple[list[str | None], list[list[Span] | None]]:
    texts = text_column(table, text_name, "text").to_pylist()
    truths: list[list[Span] | None] = []
    problems: list[str] = []
    for row, (text, given) in enumerate(zip(texts, column(table, spans_name, "spans").to_pylist(), strict=True)):
        if given is None or text is None:
            truths.append(None)
            continue
        try:
            spans = json.loads(given) if isinstance(given, str) else given
            read: list[Span] = [
                {"start": int(s["start"]), "end": int(s["end"]), "label": str(s["label"])} for s in spans
            ]
        except (TypeError, KeyError, ValueError) as failure:
            problems.append(f"row {row}: not a list of {{start, end, label}} ({type(failure).__name__}: {failure})")
            continue
        read.sort(key=lambda span: (span["start"], span["end"]))
        for span in read:
            if not 0 <= span["start"] < span["end"] <= len(text):
                problems.append(
                    f"row {row}: span {span['start']}–{span['end']} lies outside its text of {len(text)} characters"
                )
        for left, right in pairwise(read):
            if right["start"] < left["end"]:
                problems.append(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(read)
    _refuse(
        problems, spans_name, "spans", "start and end count characters (end not included), and spans must not overlap"
    )
    return texts, truths


def _from_tags(table: pa.Table, tokens_name: str, tags_name: str) -> tuple[list[str | None], list[list[Span] | None]]:
    texts: list[str | None] = []
    truths: list[list[Span] | None] = []
    problems: list[str] = []
    tokens_column, tags_column = column(table, tokens_name, "tokens"), column(table, tags_name, "tags")
    for row, (tokens, tags) in enumerate(zip(tokens_column.to_pylist(), tags_column.to_pylist(), strict=True)):
        if tokens is None or tags is None:
            texts.append(None)
            truths.append(None)
            continue
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            problems.append(f"row {row}: {tokens_name} and {tags_name} must be lists of the same length")
            continue
        try:
            spans = spans_of_tags([str(token) for token in tokens], [str(tag) for tag in tags])
        except ValueError as failure:
            problems.append(f"row {row}: {failure}")
            continue
        texts.append(" ".join(str(token) for token in tokens))
        truths.append(spans)
    _refuse(problems, tags_name, "tags", "a tag is O, or B-, I- (also E-, S-, L-, U-) and a label")
    return texts, truths


def spans_of_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[Span]:
    """The spans of tagged tokens, in characters of the tokens joined by one space. Raises ValueError at an odd tag."""
    spans: list[Span] = []
    at, open_label = 0, None
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, label = tag.partition("-")
        if tag != "O" and (prefix not in {"B", "I", "E", "S", "L", "U"} or not label):
            raise ValueError(f"{tag!r} is not a tag")
        if tag == "O":
            open_label = None
        elif prefix in {"B", "S", "U"} or label != open_label:
            spans.append({"start": at, "end": at + len(token), "label": label})
            open_label = None if prefix in {"S", "U"} else label
        else:
            spans[-1]["end"] = at + len(token)
            open_label = None if prefix in {"E", "L"} else label
        at += len(token) + 1
    return [span for span in spans if span["start"] < span["end"]]


def _refuse(problems: list[str], name: str, role: str, remedy: str) -> None:
    if problems:
        shown = "\n  ".join(problems[:5])
        raise DataError(
            f"the column {name!r} (data.columns.{role}) is wrong in {len(problems)} places:\n  {shown}", remedy
        )
