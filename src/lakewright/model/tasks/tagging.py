"""Named entities: spans of characters with a label, learned as BIO tags on the words (Ramshaw & Marcus 1995).

The source has text with character spans, or tokens with tags (BIO, IOB, IOBES or BILOU); inside, a row is always a text
and its spans. The words are the row's tokens, or else the tokenizer's words. Only a word's first piece has a target and
is read; Viterbi finds the best tag sequence under the rule that I-x follows B-x or I-x, so no span is ever broken. With
overlapping windows, a word is read in the window where it is furthest from the edges.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from unicodedata import category

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.columns import Problems, needed
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.data.rows.truths.offsets import Offsets, fits_in_utf16
from lakewright.data.rows.truths.spans import FORMS, Span, read_spans, read_tags
from lakewright.errors import DataError
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import IGNORED, Logits, Loss
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded


BIASES = np.linspace(-3.0, 1.0, 17)  # added to the log-probability of "no entity": below 0 gives more entities


class TokenClassificationSettings(TaskSettings):
    name: Literal["token_classification"] = "token_classification"
    outside_bias: Literal["tuned"] | float = Field(
        default="tuned",
        description="added to the log-probability of 'no entity': below 0 predicts more entities; tuned: the best "
        "entity F1 on validation",
    )
    offsets: Offsets = Field(
        default="characters",
        description="the unit of start and end in `spans`: characters, or UTF-16 units, of which most emoji have two",
    )


class TokenClassificationColumns(Columns):
    text: str | None = None
    tokens: str | None = Field(default=None, description="a list of words")
    tags: str | None = Field(default=None, description="one BIO tag a word")
    spans: str | None = Field(default=None, description="list of {start, end, label}, in characters")

    truths: ClassVar[tuple[str, ...]] = ("tags", "spans")


@dataclass
class SpanReader:
    tagged: bool  # words and a tag each, and not a text and spans
    names: tuple[str, str]  # of these columns
    offsets: Offsets
    rows: int  # the number of the next row
    problems: Problems = field(default_factory=Problems)

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        kind = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())]))
        words = {}
        if self.tagged:
            texts, tokens, truths = read_tags(table, *self.names, self.rows, self.problems)
            words["tokens"] = pa.array(tokens, pa.list_(pa.string()))
        else:
            texts, truths = read_spans(table, *self.names, self.rows, self.problems, self.offsets)
        self.rows += table.num_rows
        return pa.table({"text": pa.array(texts, pa.string()), **words, "truth": pa.array(truths, kind)})

    def merge(self, later: Self) -> None:
        self.problems.merge(later.problems)

    def check(self) -> None:
        if self.tagged:
            remedy = "as many tags as tokens, both lists; a tag is O, or B-, I- (also E-, S-, L-, U-) and a label"
            self.problems.refuse(self.names[1], "tags", remedy)
        else:
            self.problems.refuse(self.names[1], "spans", FORMS)


@dataclass(frozen=True)
class TokenClassification:
    labels: tuple[str, ...]  # tag 0 is O; label i has the tags 1 + 2i (B) and 2 + 2i (I)
    tokens: bool = False  # rows have tokens, which are the words
    bias: float = 0.0
    tuned: bool = False  # whether to tune the bias

    name: ClassVar[str] = "token_classification"
    settings: ClassVar[type[TaskSettings]] = TokenClassificationSettings
    columns: ClassVar[type[Columns]] = TokenClassificationColumns
    truth: ClassVar[str] = "spans"
    requires: ClassVar[tuple[Kind, ...]] = ("text",)
    level: ClassVar[Literal["row", "token", "vector"]] = "token"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "tokens"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal")

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        return ("entity_f1", "entity_precision", "entity_recall", "macro_f1", "exact_match")

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        words: dict[str, Kind] = {"tokens": "words"} if {"tokens", "tags"} & columns.keys() else {}
        return {"text": "text", **words}

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> SpanReader:
        assert isinstance(settings, TokenClassificationSettings)
        tagged = "tokens" in columns or "tags" in columns
        names = needed(columns, *(("tokens", "tags") if tagged else ("text", "spans")))
        return SpanReader(tagged, (names[0], names[1]), settings.offsets, first)

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        assert isinstance(settings, TokenClassificationSettings)
        names = set[str]()
        for table in train:
            names.update(span["label"] for spans in table["truth"].to_pylist() for span in spans)
        labels = tuple(sorted(names))
        if not labels:
            raise DataError(
                "no row of train holds an entity: there is nothing to learn",
                "check the column that data.columns.spans or data.columns.tags names",
            )
        tuned = settings.outside_bias == "tuned"
        bias = 0.0 if settings.outside_bias == "tuned" else settings.outside_bias
        return cls(labels, "tokens" in inputs, float(bias), tuned)

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(tuple(described["labels"]), described["tokens"], described["bias"], described["tuned"])

    def describe(self) -> dict[str, Any]:
        fitted = {"tokens": self.tokens, "bias": self.bias, "tuned": self.tuned}
        return {"name": self.name, "labels": list(self.labels), **fitted}

    @property
    def inputs(self) -> dict[str, Kind]:
        return {"text": "text", "tokens": "words"} if self.tokens else {"text": "text"}

    @property
    def outputs(self) -> int:
        return 1 + 2 * len(self.labels)

    @staticmethod
    def label_of(truth: list[Span]) -> list[str]:
        return sorted({span["label"] for span in truth})

    def targets(self, truths: Sequence[list[Span]], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        tag_of = {label: 1 + 2 * i for i, label in enumerate(self.labels)}
        targets = np.full(len(encoded.ids.values), IGNORED, dtype=np.int32)
        for row, spans in enumerate(truths):
            for window, sequence in enumerate(encoded.sequences(np.array([row]))):
                words = words_of(encoded, int(sequence), rows[row])
                tags = np.zeros(len(words.piece), dtype=np.int32)
                for span in spans:
                    inside = np.flatnonzero((words.start < span["end"]) & (words.end > span["start"]))
                    tags[inside] = tag_of[span["label"]] + 1
                    if len(inside) and (window == 0 or inside[0] > 0 or words.start[0] <= span["start"]):
                        tags[inside[0]] = tag_of[span["label"]]  # else it begins in an earlier window
                targets[encoded.ids.offsets[sequence] + words.piece] = tags
        return Ragged(targets, encoded.ids.offsets)

    def shortfalls(
        self, truths: Sequence[list[Span]], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        spans = np.array([len(truth) for truth in truths], dtype=np.int64)
        counts = {reason: np.zeros(len(truths), dtype=np.int64) for reason in ("within", "utf16", "unread", "cut")}
        for row in np.flatnonzero(spans).tolist():
            tags = {i: targets[i][:, None] for i in encoded.sequences(np.array([row])).tolist()}
            words, start, end = _read_words(tags, encoded, row, rows[row])
            runs = _runs(words[:, 0].tolist())
            predicted = {(int(start[first]), int(end[last]), self.labels[label]) for first, last, label in runs}
            for span in truths[row]:
                if _triple(span) not in predicted:
                    counts[_reason(span, start, end, rows[row]["text"])][row] += 1

        def of_spans(name: str, reason: str, cause: str, remedy: str, vital: bool = False) -> Shortfall:
            return Shortfall(name, "span", cause, remedy, counts[reason], spans, vital=vital)

        within = "begin or end within a word, while whole words are predicted"
        return [
            of_spans("spans_within_words", "within", within, "move them to the bounds of words"),
            of_spans(
                "spans_in_utf16",
                "utf16",
                "begin or end within a word, but not if their offsets count UTF-16 units",
                "set task.offsets: utf16",
            ),
            of_spans(
                "spans_unread",
                "unread",
                "hold no character that the base model reads",
                "remove them, or tag visible characters",
                vital=True,
            ),
            of_spans(
                "spans_cut",
                "cut",
                "end after the part of their text that the model reads",
                "raise prepare.recipe.tokens.max_length, or set prepare.recipe.tokens.long_texts: windows",
                vital=True,
            ),
        ]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """focal: Lin et al. 2017, a token at a time."""
        import torch
        from torch.nn.functional import cross_entropy

        by_tag = logits.float().transpose(1, 2)  # [rows, outputs, tokens], the order of cross_entropy
        losses = cross_entropy(
            by_tag, targets, reduction="none", ignore_index=IGNORED, label_smoothing=loss.label_smoothing
        )
        if loss.name == "focal":
            errors = 1 - torch.softmax(by_tag, dim=1).gather(1, targets.clamp(min=0)[:, None])[:, 0]
            losses = losses * errors**loss.focal_gamma
        return losses

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """entities: start, end (characters), text, label and score (the mean probability of its words' tags)."""
        return [
            self._decode_row(*_read_words(logits, encoded, row, inputs), inputs["text"])
            for row, inputs in enumerate(rows)
        ]

    def _decode_row(self, logits: NDArray[np.float32], start: Places, end: Places, text: str) -> Prediction:
        log_probabilities = _log_softmax(logits)
        biased = log_probabilities.copy()
        biased[:, 0] += self.bias
        tags = _best_tags(biased)
        entities: list[dict[str, Any]] = []
        for first, last, label in _runs(tags):
            place = {"start": int(start[first]), "end": int(end[last])}
            scores = [float(np.exp(log_probabilities[word, tags[word]])) for word in range(first, last + 1)]
            entity = {"text": text[place["start"] : place["end"]], "label": self.labels[label]}
            entities.append({**place, **entity, "score": float(np.mean(scores))})
        sure = float(np.exp(log_probabilities.max(axis=1).mean())) if len(tags) else 1.0
        return {"entities": entities, "confidence": sure}

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        place = {"start": pa.int32(), "end": pa.int32(), "text": pa.string(), "label": pa.string()}
        entity = pa.struct({**place, "score": pa.float64()})
        return pa.schema({"entities": pa.list_(entity)})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[list[Span]]) -> Self:
        if not self.tuned:
            return self
        scores = np.empty(len(BIASES))
        words = [_read_words(logits, encoded, row, inputs) for row, inputs in enumerate(rows)]
        for i, bias in enumerate(BIASES):
            task = replace(self, bias=float(bias))
            predictions = [
                task._decode_row(*word_logits, inputs["text"]) for word_logits, inputs in zip(words, rows, strict=True)
            ]
            scores[i] = task.scorer(truths, predictions, rows).metrics(np.ones(len(rows)))["entity_f1"]
        smooth = np.convolve(np.pad(scores, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        return replace(self, bias=float(BIASES[smooth.argmax()]))

    def confidence(self, prediction: Prediction) -> float:
        """The geometric mean over the words of the best tag's probability."""
        return float(prediction["confidence"])

    def scorer(self, truths: Sequence[list[Span]], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        from lakewright.evaluation.scorers.entities import EntityScorer

        true = [[_triple(span) for span in spans] for spans in truths]
        predicted = [[_triple(entity) for entity in row["entities"]] for row in predictions]
        return EntityScorer(true, predicted, list(self.labels))

    def sample_rows(self) -> list[dict[str, Any]]:
        return [{"text": "Ada Lovelace met Charles Babbage in London."}, {"text": "Nobody was there."}]


Places = NDArray[np.int64]


def _triple(span: Span) -> tuple[int, int, str]:
    return span["start"], span["end"], span["label"]


def _reason(span: Span, start: Places, end: Places, text: str) -> Literal["within", "utf16", "unread", "cut"]:
    """`start` and `end` are the bounds of the text's words."""
    end_of_words = int(end.max(initial=0))
    if span["end"] > end_of_words and any(map(str.isalnum, text[end_of_words:])):
        return "cut"
    if not np.any((start < span["end"]) & (end > span["start"])):
        return "unread"
    return "utf16" if fits_in_utf16(span["start"], span["end"], text, start.tolist(), end.tolist()) else "within"


@dataclass(frozen=True)
class Words:
    """The words to read in one sequence."""

    piece: Places  # [words], the word's first piece
    start: Places  # [words], in characters, without spaces around it
    end: Places


def words_of(encoded: Encoded, sequence: int, row: Row) -> Words:
    """The row's tokens, if it has them; else the tokenizer's words, split at punctuation if it does not do so itself
    (SentencePiece). A later window may begin within a word, so its first word is left to the window before."""
    assert encoded.words is not None and encoded.chars is not None
    text, tokens = row["text"], row.get("tokens")
    chars = encoded.chars[sequence].reshape(-1, 2).astype(np.int64)
    number = encoded.words[sequence].astype(np.int64)
    pieces = np.flatnonzero(number >= 0)
    number, begin, end = number[pieces], chars[pieces, 0].copy(), chars[pieces, 1]
    for i in range(len(pieces)):  # byte-level tokenizers include the space before a word
        while begin[i] < end[i] and text[begin[i]].isspace():
            begin[i] += 1
    first = np.ones(len(pieces), dtype=np.bool_)
    if tokens is not None:
        starts = np.cumsum([0, *(len(token) + 1 for token in tokens)])
        number = np.searchsorted(starts, begin, side="right") - 1
        first[1:] = number[1:] != number[:-1]
    else:
        apart = np.array([at < len(text) and category(text[at]).startswith("P") for at in begin], dtype=np.bool_)
        first[1:] = (number[1:] != number[:-1]) | apart[1:] | apart[:-1]
    word = np.flatnonzero(first)
    last = np.concatenate([word[1:] - 1, [len(pieces) - 1]]).astype(np.int64) if len(word) else word
    if tokens is not None:
        lengths = np.array([len(token) for token in tokens], dtype=np.int64)
        result = Words(pieces[word], starts[number[word]], starts[number[word]] + lengths[number[word]])
    else:
        result = Words(pieces[word], begin[word], end[last])
    if encoded.rows is not None and encoded.rows[np.searchsorted(encoded.rows, sequence)] != sequence:
        result = Words(result.piece[1:], result.start[1:], result.end[1:])
    return result


def _read_words(
    logits: Logits | Mapping[int, NDArray[Any]], encoded: Encoded, row: int, inputs: Row
) -> tuple[NDArray[Any], Places, Places]:
    """A row's words as the network read them: logits [words, outputs], and their starts and ends. `logits` may also be
    other values beside each sequence's pieces."""
    sequences = encoded.sequences(np.array([row]))
    windows = [(logits[sequence], words_of(encoded, int(sequence), inputs)) for sequence in sequences]
    if len(windows) == 1:
        values, words = windows[0]
        return values[words.piece], words.start, words.end
    best: dict[int, tuple[int, NDArray[Any], int]] = {}  # start → distance from the edges, logits, end
    for values, words in windows:
        for piece, start, end in zip(words.piece.tolist(), words.start.tolist(), words.end.tolist(), strict=True):
            margin = min(piece, len(values) - 1 - piece)
            previous = best.get(start, (-1, values[piece], end))
            word_logits = values[piece] if margin > previous[0] else previous[1]
            # A window may end within a word.
            best[start] = (max(margin, previous[0]), word_logits, max(end, previous[2]))
    starts = sorted(best)
    word_logits = np.stack([best[start][1] for start in starts]) if starts else windows[0][0][:0]
    return word_logits, np.array(starts, np.int64), np.array([best[start][2] for start in starts], np.int64)


def _runs(tags: Sequence[int]) -> list[tuple[int, int, int]]:
    """The first and the last word of each entity, and its label's index."""
    runs: list[tuple[int, int, int]] = []
    for word, tag in enumerate(tags):
        label = (tag - 1) // 2
        if tag > 0 and tag % 2 == 0 and runs and runs[-1][1:] == (word - 1, label):
            runs[-1] = (runs[-1][0], word, label)
        elif tag > 0:
            runs.append((word, word, label))
    return runs


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
        return [int(tag) for tag in unconstrained]  # already valid, like nearly all rows
    allowed = np.zeros((tags, tags))  # [from, to]
    for tag in range(2, tags, 2):
        allowed[:, tag] = -np.inf
        allowed[[tag - 1, tag], tag] = 0.0
    best = log_probabilities[0].copy()
    best[2::2] = -np.inf
    previous = np.zeros((words, tags), dtype=np.int64)
    for word in range(1, words):
        paths = best[:, None] + allowed
        previous[word] = paths.argmax(axis=0)
        best = paths.max(axis=0) + log_probabilities[word]
    path = [int(best.argmax())]
    for word in range(words - 1, 0, -1):
        path.append(int(previous[word, path[-1]]))
    return path[::-1]
