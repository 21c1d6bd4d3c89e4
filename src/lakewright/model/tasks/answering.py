"""Extractive question answering: the span of a context that answers a question, or "no answer".

The question and a window of the context are read together; every piece of the context has one logit as the answer's
first piece and one as its last (Devlin et al. 2019). A window without the answer points at its first piece; this is how
"no answer" is learned (Rajpurkar, Jia & Liang 2018).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.columns import Problems, column, needed, text_column
from lakewright.data.rows.kinds import Kind, Prediction, Row, missing
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.data.rows.truths import from_json, offset
from lakewright.data.rows.truths.offsets import Offsets, in_characters
from lakewright.errors import shown
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import IGNORED, Logits, Loss
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.evaluation.scorers import Scorer
    from lakewright.evaluation.scorers.answers import AnswersScorer
    from lakewright.model.recipe.encoded import Encoded

Answer = dict[str, Any]  # {"start": int, "end": int, "text": str}: context[start:end] in characters
FIRST, LAST = 1, 2  # bits of a target; 0 is a piece of the context that is neither
FORMS = (
    "a list of {text, answer_start}, SQuAD's {text: […], answer_start: […]}, a list of texts, or one text, also as "
    "JSON in a string; [] where there is no answer: task.offsets names the unit of answer_start, and each text is a "
    "part of its context"
)
CANDIDATES = 20  # first and last pieces to pair, in each window


class QuestionAnsweringSettings(TaskSettings):
    name: Literal["question_answering"] = "question_answering"
    n_best: int = Field(default=5, ge=1, description="answers in a prediction, the best first")
    max_answer_length: int = Field(default=30, ge=1, description="word pieces")
    offsets: Offsets = Field(
        default="characters",
        description="the unit of answer_start: characters, or UTF-16 units, of which most emoji have two",
    )


class QuestionAnsweringColumns(Columns):
    question: str | None = None
    context: str | None = Field(default=None, description="the text that contains the answer")
    answers: str | None = Field(
        default=None, description="list of {text, answer_start}; empty where there is no answer"
    )

    truths: ClassVar[tuple[str, ...]] = ("answers",)


@dataclass
class AnswerReader:
    """`answers` is a list of {text, answer_start}, SQuAD's {text: […], answer_start: […]}, a list of strings to find in
    the context, or one such string; a string may hold JSON. An empty list: the context has no answer."""

    question: str  # these are names of columns
    context: str
    answers: str
    offsets: Offsets
    rows: int  # the number of the next row
    problems: Problems = field(default_factory=Problems)

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        kind = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("text", pa.string())]))
        questions = text_column(table, self.question, "question")
        contexts = text_column(table, self.context, "context")
        values = column(table, self.answers, "answers").to_pylist()
        truths: list[list[Answer] | None] = []
        for row, (context, answers) in enumerate(zip(contexts.to_pylist(), values, strict=True), start=self.rows):
            labelled = not missing(answers) and context is not None
            try:
                truths.append(_answers(answers, context, self.offsets) if labelled else None)
            except ValueError as failure:
                self.problems.add(f"row {row}: {failure}")
                truths.append(None)
        self.rows += table.num_rows
        return pa.table({"question": questions, "context": contexts, "truth": pa.array(truths, kind)})

    def merge(self, later: Self) -> None:
        self.problems.merge(later.problems)

    def check(self) -> None:
        self.problems.refuse(self.answers, "answers", FORMS)


@dataclass(frozen=True)
class QuestionAnswering:
    n_best: int = 5
    max_answer_length: int = 30
    may_lack: bool = False  # train has questions without an answer
    threshold: float = 0.0  # predicts "no answer" if its logit exceeds the best answer's by more than this

    name: ClassVar[str] = "question_answering"
    settings: ClassVar[type[TaskSettings]] = QuestionAnsweringSettings
    columns: ClassVar[type[Columns]] = QuestionAnsweringColumns
    truth: ClassVar[str] = "answers"
    requires: ClassVar[tuple[Kind, ...]] = ("text",)
    level: ClassVar[Literal["row", "token", "vector"]] = "token"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "sequences"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)
    labels: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[dict[str, Kind]] = {"question": "text", "context": "text"}
    outputs: ClassVar[int] = 2

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        return ("exact_match", "qa_f1", "answer_f1", "no_answer_accuracy")

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return {"question": "text", "context": "text"}

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> AnswerReader:
        assert isinstance(settings, QuestionAnsweringSettings)
        question, context, answers = needed(columns, "question", "context", "answers")
        return AnswerReader(question, context, answers, settings.offsets, first)

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        assert isinstance(settings, QuestionAnsweringSettings)
        may_lack = False
        for table in train:
            may_lack = may_lack or any(len(answers) == 0 for answers in table["truth"].to_pylist())
        return cls(settings.n_best, settings.max_answer_length, may_lack)

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(**{key: value for key, value in described.items() if key not in ("name", "labels")})

    def describe(self) -> dict[str, Any]:
        names = ("n_best", "max_answer_length", "may_lack", "threshold")
        return {"name": self.name, "labels": [], **{key: getattr(self, key) for key in names}}

    @staticmethod
    def label_of(truth: list[Answer]) -> list[str]:
        return ["answer" if truth else "no answer"]

    def targets(self, truths: Sequence[list[Answer]], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """Beside each piece: FIRST and LAST bits; IGNORED for pieces outside the context (the question)."""
        assert encoded.parts is not None and encoded.chars is not None
        targets = np.where(encoded.parts.values == 1, 0, IGNORED).astype(np.int32)
        for row, answers in enumerate(truths):
            for sequence in encoded.sequences(np.array([row])):
                at = int(encoded.ids.offsets[sequence])
                window = targets[at : at + int(encoded.ids.lengths[sequence])]
                first, last = _pieces_of(answers[0], encoded, int(sequence)) if answers else (-1, -1)
                if first < 0:
                    window[0] = FIRST | LAST
                else:
                    window[0] = 0
                    window[first] |= FIRST
                    window[last] |= LAST
        return Ragged(targets, encoded.ids.offsets)

    def shortfalls(
        self, truths: Sequence[list[Answer]], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """For each row's first answer, the only one that is learned."""
        from lakewright.evaluation.scorers.answers import normalised

        assert encoded.chars is not None
        # A window with the answer has targets after its first piece, which is the target of "no answer".
        first, last = (np.flatnonzero((targets.values > 0) & (targets.values & bit > 0)) for bit in (FIRST, LAST))
        whole = np.flatnonzero(first > targets.offsets[:-1])
        row_of = np.repeat(np.arange(len(encoded)), encoded.counts)[whole]
        pieces = np.zeros(len(truths), dtype=np.int64)
        pieces[row_of] = (last - first)[whole] + 1
        differs = np.zeros(len(truths), dtype=np.bool_)
        starts, ends = encoded.chars.values[2 * first[whole]], encoded.chars.values[2 * last[whole] + 1]
        for row, start, end in zip(row_of.tolist(), starts.tolist(), ends.tolist(), strict=True):
            answer = truths[row][0]
            if (start, end) != (answer["start"], answer["end"]):
                differs[row] = normalised(rows[row]["context"][start:end]) != normalised(answer["text"])
        answered = np.array([len(answers) > 0 for answers in truths], dtype=np.bool_)

        def of_answers(name: str, cause: str, remedy: str, lost: NDArray[np.bool_], **more: Any) -> Shortfall:
            return Shortfall(name, "answer", cause, remedy, lost.astype(np.int64), answered.astype(np.int64), **more)

        return [
            of_answers(
                "answers_too_long",
                f"are longer than task.max_answer_length ({self.max_answer_length} pieces) and never predicted",
                "set task.max_answer_length: {needed}, which covers 99.5% of train's",
                pieces > self.max_answer_length,
                needed=pieces,
            ),
            of_answers(
                "answers_cut",
                "are whole in no sequence that the model reads",
                "raise prepare.recipe.tokens.max_length or stride, or set its long_texts: windows",
                answered & (pieces == 0),
                vital=True,
            ),
            of_answers(
                "answers_within_words",
                "begin or end within a word piece, so that more than the answer is predicted",
                "give answers of whole words",
                differs,
            ),
            Shortfall(
                "no_answer_unlearned",
                "question",
                "have no answer, but train has no such question, so that an answer is predicted",
                "add train rows without an answer",
                lost=(~answered & (not self.may_lack)).astype(np.int64),
                of=np.ones(len(truths), dtype=np.int64),
            ),
        ]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """The mean cross-entropy of the first and the last piece, over the pieces that can belong to an answer."""
        import torch
        from torch.nn.functional import cross_entropy

        possible = (targets != IGNORED).unsqueeze(-1)
        by_piece = torch.where(possible, logits.float(), -1e4)
        losses = []
        for side, bit in enumerate((FIRST, LAST)):
            place = (((targets & bit) > 0) & possible[..., 0]).int().argmax(dim=1)
            losses.append(cross_entropy(by_piece[..., side], place, reduction="none"))
        return (losses[0] + losses[1]) / 2

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """answer, start and end (characters; "" and -1 for no answer), its score, n_best answers, and no_answer: the
        probability that the context has none, among the spans considered."""
        return [self._decode_row(logits, encoded, row, inputs) for row, inputs in enumerate(rows)]

    def _decode_row(self, logits: Logits, encoded: Encoded, row: int, inputs: Row) -> Prediction:
        spans, nothing = self._spans(logits, encoded, row)
        scores = np.array([score for score, _, _ in spans] + [nothing])
        if not self.may_lack:
            scores[-1] = -np.inf
        if not np.isfinite(scores).any():
            return {"answer": "", "start": -1, "end": -1, "score": 1.0, "no_answer": 1.0, "answers": []}
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        context = inputs["context"]
        answers = [
            {"answer": context[start:end], "start": start, "end": end, "score": float(probability)}
            for (_, start, end), probability in zip(spans, probabilities, strict=False)
        ][: self.n_best]
        none = float(probabilities[-1])
        if not spans or (self.may_lack and nothing - spans[0][0] > self.threshold):
            best = {"answer": "", "start": -1, "end": -1, "score": none}
        else:
            best = answers[0]
        return {**best, "no_answer": none, "answers": answers}

    def _spans(self, logits: Logits, encoded: Encoded, row: int) -> tuple[list[tuple[float, int, int]], float]:
        """(logit, start, end in characters) of the best spans of all windows, the best first, each place once; and the
        least logit of "no answer" over the windows."""
        assert encoded.parts is not None and encoded.chars is not None
        scores: dict[tuple[int, int], float] = {}
        nothing = np.inf
        for sequence in encoded.sequences(np.array([row])):
            window = logits[sequence]
            chars = encoded.chars[sequence].reshape(-1, 2)
            context = np.flatnonzero(encoded.parts[sequence] == 1)
            nothing = min(nothing, float(window[0].sum()))
            if not len(context):
                continue
            firsts = context[np.argsort(-window[context, 0], kind="stable")[:CANDIDATES]]
            lasts = context[np.argsort(-window[context, 1], kind="stable")[:CANDIDATES]]
            first, last = (grid.ravel() for grid in np.meshgrid(firsts, lasts, indexing="ij"))
            fits = (last >= first) & (last - first < self.max_answer_length)
            for begin, stop in zip(first[fits], last[fits], strict=True):
                place = (int(chars[begin, 0]), int(chars[stop, 1]))
                scores[place] = max(scores.get(place, -np.inf), float(window[begin, 0] + window[stop, 1]))
        best = sorted(((score, *place) for place, score in scores.items()), key=lambda span: (-span[0], span[1:]))
        return best[:CANDIDATES], float(nothing)

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        answer = {"answer": pa.string(), "start": pa.int32(), "end": pa.int32(), "score": pa.float64()}
        return pa.schema({**answer, "no_answer": pa.float64(), "answers": pa.list_(pa.struct(answer))})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[list[Answer]]) -> Self:
        """The threshold with the best F1 on validation, if questions may lack an answer."""
        if not self.may_lack:
            return self
        margins = np.empty(len(rows))
        for row in range(len(rows)):
            spans, nothing = self._spans(logits, encoded, row)
            margins[row] = nothing - spans[0][0] if spans else np.inf
        always = replace(self, threshold=np.inf).decode(logits, encoded, rows)
        answered = self._scorer(truths, always).f1
        lacking = np.array([len(truth) == 0 for truth in truths], dtype=np.float64)
        order = np.argsort(margins, kind="stable")  # a threshold between two rows: rows below it get an answer
        gain = np.concatenate([[lacking.sum()], lacking.sum() + np.cumsum((answered - lacking)[order])])
        best = int(gain.argmax())
        edges = np.concatenate([[margins[order[0]] - 1], margins[order], [margins[order[-1]] + 1]])
        threshold = (edges[best] + edges[best + 1]) / 2
        return replace(self, threshold=float(threshold) if np.isfinite(threshold) else 0.0)

    def confidence(self, prediction: Prediction) -> float:
        return float(prediction["score"] or 0.0)

    def scorer(self, truths: Sequence[list[Answer]], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        return self._scorer(truths, predictions)

    def _scorer(self, truths: Sequence[list[Answer]], predictions: Sequence[Prediction]) -> AnswersScorer:
        from lakewright.evaluation.scorers.answers import AnswersScorer

        return AnswersScorer(
            [[answer["text"] for answer in truth] for truth in truths],
            [prediction["answer"] for prediction in predictions],
            [prediction["score"] for prediction in predictions],
        )

    def sample_rows(self) -> list[dict[str, Any]]:
        context = "Ada Lovelace met Charles Babbage in London in 1833."
        return [
            {"question": "Where did they meet?", "context": context},
            {"question": "When did they meet?", "context": context},
        ]


def _pieces_of(answer: Answer, encoded: Encoded, sequence: int) -> tuple[int, int]:
    """The first and the last piece of the answer in this window; -1, -1 if the window does not hold all of it."""
    assert encoded.parts is not None and encoded.chars is not None
    chars = encoded.chars[sequence].reshape(-1, 2)
    context = np.flatnonzero(encoded.parts[sequence] == 1)
    inside = context[(chars[context, 0] < answer["end"]) & (chars[context, 1] > answer["start"])]
    whole = len(inside) and chars[inside[0], 0] <= answer["start"] and chars[inside[-1], 1] >= answer["end"]
    # White space at either end of an answer belongs to no piece.
    if not whole and len(inside):
        text_starts = chars[context, 0].min() <= answer["start"]
        text_ends = chars[context, 1].max() >= answer["end"]
        whole = text_starts and text_ends
    return (int(inside[0]), int(inside[-1])) if whole else (-1, -1)


def _answers(value: Any, context: str, unit: Offsets) -> list[Answer]:
    """Raises ValueError for a value that is not a list of answers, and for an answer that is not at its place."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{") or value in context:
            return [_answer(value, None, context, unit)]
        value = from_json(value)
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise ValueError(f"{shown(value)} does not contain text and answer_start as lists of the same length")
        return [_answer(text, start, context, unit) for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list of answers")
    answers: list[Answer] = []
    for answer in value:
        if isinstance(answer, dict):
            start = answer.get("answer_start")
            start = answer.get("start") if start is None else start
            answers.append(_answer(answer.get("text"), start, context, unit))
        elif isinstance(answer, str):
            answers.append(_answer(answer, None, context, unit))
        else:
            raise ValueError("an answer is null" if answer is None else f"an answer is {shown(answer)}, not a text")
    return answers


def _answer(text: Any, start: Any, context: str, unit: Offsets) -> Answer:
    if not isinstance(text, str) or not text:
        raise ValueError(f"an answer has the text {shown(text)}")
    if start is None:
        first = context.find(text)
        if first < 0:
            raise ValueError(f"the answer {shown(text)} is not in its context")
    else:
        (first,) = in_characters([offset(start)], context, unit)
        if first < 0 or not context.startswith(text, first):
            other: Offsets = "characters" if unit == "utf16" else "utf16"
            (at,) = in_characters([offset(start)], context, other)
            hint = f" (it is with task.offsets: {other})" if at >= 0 and context.startswith(text, at) else ""
            raise ValueError(f"the answer {shown(text)} is not at {start} in its context{hint}")
    return {"start": first, "end": first + len(text), "text": text}
