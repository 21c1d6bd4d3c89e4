"""The mistakes most worth a reader's minute: classes mixed up, confident errors, spans marked in their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from lakewright.evaluation.classification import ClassificationScorer
from lakewright.evaluation.entities import EntityScorer, Outcome, Span, outcomes


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
class Piece:
    """A stretch of text; `label` and `outcome` where it is an entity."""

    text: str
    label: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True)
class MarkedRow:
    row: int
    truth: list[Piece]
    predicted: list[Piece]


def confused_pairs(scorer: ClassificationScorer, most: int = 10) -> list[Confusion]:
    """The most frequent (truth, prediction) pairs of different labels, the most frequent first."""
    counts = scorer.confusion()
    true_rows = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = []
    for place in np.argsort(-counts, axis=None, kind="stable")[:most]:
        truth, predicted = divmod(int(place), len(scorer.labels))
        rows = int(counts[truth, predicted])
        if rows == 0:
            break
        own = (scorer.truth == truth) & (scorer.predicted == predicted)
        pairs.append(
            Confusion(
                truth=scorer.labels[truth],
                predicted=scorer.labels[predicted],
                rows=rows,
                share=rows / float(true_rows[truth]),
                example=int(np.argmax(np.where(own, scorer.confidence, -1.0))),
            )
        )
    return pairs


def confident_mistakes(scorer: ClassificationScorer, most: int = 20) -> list[Mistake]:
    """The wrong rows that the model was surest of, the surest first."""
    wrong = np.flatnonzero(~scorer.correct())
    surest = wrong[np.argsort(-scorer.confidence[wrong], kind="stable")][:most]
    return [
        Mistake(
            row=int(row),
            truth=scorer.labels[scorer.truth[row]],
            predicted=scorer.labels[scorer.predicted[row]],
            confidence=float(scorer.confidence[row]),
            truth_probability=float(scorer.probabilities[row, scorer.truth[row]]),
        )
        for row in surest
    ]


def marked_mistakes(
    scorer: EntityScorer, texts: Sequence[str], most: int = 20, characters: int = 360
) -> list[MarkedRow]:
    """Rows with errors, every kind of error in turn, their text cut to `characters` around the first error."""
    of_kind: dict[Outcome, list[int]] = {"type": [], "boundary": [], "missed": [], "spurious": []}
    for row in np.flatnonzero(~scorer.correct()):
        kinds = {outcome for outcome, _, _ in outcomes(scorer.truth[row], scorer.predicted[row])}
        for kind in kinds & of_kind.keys():
            of_kind[kind].append(int(row))
    in_turn = [row for rows in zip_longest(*of_kind.values()) for row in rows if row is not None]
    return [_marked(scorer, row, texts[row], characters) for row in list(dict.fromkeys(in_turn))[:most]]


def _marked(scorer: EntityScorer, row: int, text: str, characters: int) -> MarkedRow:
    told = list(outcomes(scorer.truth[row], scorer.predicted[row]))
    truth = [(true, outcome) for outcome, true, _ in told if true is not None]
    predicted = [(found, outcome) for outcome, _, found in told if found is not None]
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
