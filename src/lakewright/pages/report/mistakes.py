"""The mistakes most worth a reader's minute: classes mixed up, confident errors, spans marked in their text.

They are found in the scorer and the frozen rows alone; nothing is predicted again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.scorers.answers import AnswersScorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.entities import EntityScorer, Outcome, Span, outcomes
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.evaluation.scorers.regression import RegressionScorer
from lakewright.evaluation.scorers.similarity import SimilarityScorer
from lakewright.pages.parts import Piece


@dataclass(frozen=True)
class Confusion:
    truth: str
    predicted: str
    rows: int
    share: float  # of the rows that are truly `truth`
    example: int  # the row where the model was surest


@dataclass(frozen=True)
class Mistake:
    row: int
    truth: str
    predicted: str
    confidence: float
    truth_probability: float


@dataclass(frozen=True)
class MarkedRow:
    row: int
    truth: list[Piece]
    predicted: list[Piece]


def confused_pairs(scorer: ClassificationScorer, limit: int = 10) -> list[Confusion]:
    """The most frequent (truth, prediction) pairs of different labels, the most frequent first."""
    counts = scorer.confusion()
    true_rows = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = []
    for place in np.argsort(-counts, axis=None, kind="stable")[:limit]:
        truth, predicted = divmod(int(place), len(scorer.labels))
        rows = int(counts[truth, predicted])
        if rows == 0:
            break
        same = (scorer.truth == truth) & (scorer.predicted == predicted)
        pairs.append(
            Confusion(
                truth=scorer.labels[truth],
                predicted=scorer.labels[predicted],
                rows=rows,
                share=rows / float(true_rows[truth]),
                example=int(np.argmax(np.where(same, scorer.confidence, -1.0))),
            )
        )
    return pairs


def confident_mistakes(scorer: ClassificationScorer, limit: int = 20) -> list[Mistake]:
    """The wrong rows that the model was surest of, the surest first."""
    wrong = np.flatnonzero(~scorer.correct())
    surest = wrong[np.argsort(-scorer.confidence[wrong], kind="stable")][:limit]
    return [_mistake(scorer, int(row)) for row in surest]


def _mistake(scorer: ClassificationScorer, row: int) -> Mistake:
    return Mistake(
        row=row,
        truth=scorer.labels[scorer.truth[row]],
        predicted=scorer.labels[scorer.predicted[row]],
        confidence=float(scorer.confidence[row]),
        truth_probability=float(scorer.probabilities[row, scorer.truth[row]]),
    )


def furthest_mistakes(scorer: OrdinalScorer, limit: int = 20) -> list[Mistake]:
    """The wrong rows furthest from the truth in the labels' order, of those the ones that the model was surest of."""
    steps = np.abs(scorer.predicted - scorer.truth)
    order = np.lexsort((-scorer.confidence, -steps))
    return [_mistake(scorer, int(row)) for row in order[:limit] if steps[row]]


@dataclass(frozen=True)
class LabelDecision:
    label: str
    outcome: Literal["correct", "missed", "spurious"]
    probability: float


@dataclass(frozen=True)
class LabelMistake:
    row: int
    decisions: list[LabelDecision]  # true or said, the most probable first


def confident_label_mistakes(scorer: MultilabelScorer, limit: int = 20) -> list[LabelMistake]:
    """The rows with the labels most surely missed and most surely said wrongly, in turn."""
    missed = np.where(scorer.truth & ~scorer.predicted, scorer.probabilities, np.inf).min(axis=1)
    spurious = np.where(scorer.predicted & ~scorer.truth, scorer.probabilities, -np.inf).max(axis=1)
    orders = [
        [int(row) for row in np.argsort(order, kind="stable") if np.isfinite(order[row])]
        for order in (-spurious, missed)
    ]
    in_turn = dict.fromkeys(row for rows in zip_longest(*orders) for row in rows if row is not None)
    mistakes = []
    for row in list(in_turn)[:limit]:
        decisions = []
        for label in np.argsort(-scorer.probabilities[row], kind="stable"):
            true, predicted = scorer.truth[row, label], scorer.predicted[row, label]
            if true or predicted:
                outcome: Literal["correct", "missed", "spurious"]
                outcome = "correct" if true and predicted else "missed" if true else "spurious"
                share = float(scorer.probabilities[row, label])
                decisions.append(LabelDecision(scorer.labels[label], outcome, share))
        mistakes.append(LabelMistake(row, decisions))
    return mistakes


@dataclass(frozen=True)
class LabelSwap:
    missed: str
    predicted: str
    rows: int
    share: float  # of the rows where `missed` is missed


def swapped_labels(scorer: MultilabelScorer, limit: int = 10) -> list[LabelSwap]:
    """Pairs of labels of which one was missed and the other wrongly said on the same rows, the most frequent first."""
    missed = (scorer.truth & ~scorer.predicted).astype(np.float64)
    counts = missed.T @ (scorer.predicted & ~scorer.truth).astype(np.float64)
    swaps = []
    for place in np.argsort(-counts, axis=None, kind="stable")[:limit]:
        label, instead = divmod(int(place), len(scorer.labels))
        rows = int(counts[label, instead])
        if rows:
            share = rows / float(missed[:, label].sum())
            swaps.append(LabelSwap(scorer.labels[label], scorer.labels[instead], rows, share))
    return swaps


def confident_wrong_answers(scorer: AnswersScorer, limit: int = 20) -> list[int]:
    """Rows without an exact match: those that share no word with the truth first, the surest of each first."""
    wrong = np.flatnonzero(~scorer.correct())
    order = np.lexsort((-scorer.confidence[wrong], scorer.f1[wrong] > 0))
    return [int(row) for row in wrong[order][:limit]]


def worst_pairs(scorer: SimilarityScorer, limit: int = 20) -> list[int]:
    """The rows whose score is furthest from the truth, the furthest first."""
    assert scorer.truth is not None
    return [int(row) for row in np.argsort(-np.abs(scorer.scores - scorer.truth), kind="stable")[:limit]]


def largest_errors(scorer: RegressionScorer, most: int = 20) -> list[int]:
    """The rows whose prediction is furthest from the truth, the furthest first; none that is exactly right."""
    distances = scorer.distances()
    return [int(row) for row in np.argsort(-distances, kind="stable")[:most] if distances[row] > 0]


@dataclass(frozen=True)
class RankedQuery:
    row: int
    rank: int
    first: int  # the row whose partner came first
    cosine: float  # with that one
    own_cosine: float  # with its own


def worst_ranked(
    ranks: NDArray[np.intp],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    groups: Sequence[Hashable],
    limit: int = 20,
) -> list[RankedQuery]:
    """The rows whose partner was ranked furthest down, and what came first in its place. `left` and `right` are
    unit vectors [rows, width]; right texts of one group are one text."""
    queries = []
    for row in np.argsort(-ranks, kind="stable")[:limit]:
        if ranks[row] == 1:
            break
        cosines = right @ left[row]
        others = np.array([group != groups[row] for group in groups])
        first = int(np.argmax(np.where(others, cosines, -np.inf)))
        own_cosine = float(np.max(np.where(others, -np.inf, cosines)))
        queries.append(RankedQuery(int(row), int(ranks[row]), first, float(cosines[first]), own_cosine))
    return queries


def marked_answer(
    context: str, truths: Sequence[tuple[int, int]], predicted: tuple[int, int] | None, characters: int = 160
) -> list[Piece]:
    """The context around the answers, cut elsewhere: "correct" what both hold, "missed" what only the truth does,
    "spurious" what only the prediction does. Spans are (start, end) in characters."""
    spans = [*truths, *([predicted] if predicted else [])]
    visible = np.zeros(len(context), dtype=np.bool_)
    code = np.zeros(len(context), dtype=np.int8)
    for start, end in spans:
        first, last = max(0, start - characters), min(len(context), end + characters)
        if first > 0:  # at a word's bounds, where there is one
            first = context.find(" ", first, start) + 1 or first
        if last < len(context):
            last = context.rfind(" ", end, last) if " " in context[end:last] else last
        visible[first:last] = True
    if not spans:
        visible[: 2 * characters] = True
    for start, end in truths:
        code[start:end] |= 1
    if predicted:
        code[predicted[0] : predicted[1]] |= 2
    state = np.where(visible, code, -1)
    cuts = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(context)]
    names: dict[int, Outcome] = {1: "missed", 2: "spurious", 3: "correct"}
    return [
        Piece(" … ") if state[start] < 0 else Piece(context[start:end], "", names.get(int(state[start])))
        for start, end in pairwise(cuts)
        if start < end
    ]


def marked_mistakes(
    scorer: EntityScorer, texts: Sequence[str], limit: int = 20, characters: int = 360
) -> list[MarkedRow]:
    """Rows with errors, every kind of error in turn, their text cut to `characters` around the first error."""
    of_kind: dict[Outcome, list[int]] = {"type": [], "boundary": [], "missed": [], "spurious": []}
    for row in np.flatnonzero(~scorer.correct()):
        kinds = {outcome for outcome, _, _ in outcomes(scorer.truth[row], scorer.predicted[row])}
        for kind in kinds & of_kind.keys():
            of_kind[kind].append(int(row))
    in_turn = [row for rows in zip_longest(*of_kind.values()) for row in rows if row is not None]
    return [_marked(scorer, row, texts[row], characters) for row in list(dict.fromkeys(in_turn))[:limit]]


def _marked(scorer: EntityScorer, row: int, text: str, characters: int) -> MarkedRow:
    pairs = list(outcomes(scorer.truth[row], scorer.predicted[row]))
    truth = [(true, outcome) for outcome, true, _ in pairs if true is not None]
    predicted = [(span, outcome) for outcome, _, span in pairs if span is not None]
    first_error = min(span[0] for span, outcome in truth + predicted if outcome != "correct")
    start = max(0, min(first_error - characters // 3, len(text) - characters))
    end = start + characters
    return MarkedRow(row, _pieces(text, truth, start, end), _pieces(text, predicted, start, end))


def _pieces(text: str, spans: list[tuple[Span, Outcome]], start: int, end: int) -> list[Piece]:
    """text[start:end] in pieces. Of spans that overlap, the later one keeps what the earlier one leaves it."""
    pieces = [Piece("…")] if start > 0 else []
    place, end = start, min(end, len(text))
    for (first, last, label), outcome in sorted(spans):
        first, last = max(first, place), min(last, end)
        if first < last:
            pieces += [Piece(text[place:first])] if place < first else []
            pieces.append(Piece(text[first:last], label, outcome))
            place = last
    pieces += [Piece(text[place:end])] if place < end else []
    return pieces + ([Piece("…")] if end < len(text) else [])
