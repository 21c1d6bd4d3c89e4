"""Named entities: precision, recall and F1 over exact spans, and the kinds of errors.

An entity is right only if start, end and type are right, as in the CoNLL-2003 shared task (Tjong Kim Sang & De Meulder
2003). The kinds of errors are those of MUC-5 (Chinchor & Sundheim 1993): wrong type, wrong bounds, missing, spurious.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, nearest
from lakewright.evaluation.scorers import Mask, Weights

Span: TypeAlias = tuple[int, int, str]
"""Start and end in characters of the row's text (end exclusive), and the type."""

Outcome = Literal["correct", "type", "boundary", "missed", "spurious"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "type", "boundary", "missed", "spurious")


def outcomes(truth: Sequence[Span], predicted: Sequence[Span]) -> Iterator[tuple[Outcome, Span | None, Span | None]]:
    """Pairs one row's true and predicted spans, each used once: (outcome, true span, predicted span).

    In this order: both bounds and type agree (correct); the bounds agree (type); the type agrees and they overlap
    (boundary); the rest is missed or spurious, also spans that overlap with neither bounds nor type in common.
    A repeated span counts once.
    """
    true, guesses = sorted(set(truth)), sorted(set(predicted))
    for outcome in OUTCOMES[:3]:
        for span in list(true):
            partner = next((guess for guess in guesses if _pairs(outcome, span, guess)), None)
            if partner is not None:
                true.remove(span)
                guesses.remove(partner)
                yield outcome, span, partner
    for span in true:
        yield "missed", span, None
    for span in guesses:
        yield "spurious", None, span


def _pairs(outcome: Outcome, true: Span, guess: Span) -> bool:
    if outcome == "correct":
        return true == guess
    if outcome == "type":
        return true[:2] == guess[:2]
    return true[2] == guess[2] and true[0] < guess[1] and guess[0] < true[1]


class EntityScorer:
    """`truth` and `predicted` hold each row's spans [rows][spans]; `labels` are the entity types [T].

    Raises DataError for unequal numbers of rows, and for a span with an unknown type or without characters.
    """

    kind: ClassVar[str] = "entities"
    primary = "entity_f1"

    def __init__(
        self, truth: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]], labels: Sequence[str]
    ) -> None:
        self.truth = [list(spans) for spans in truth]
        self.predicted = [list(spans) for spans in predicted]
        self.labels = list(labels)
        _check(self.truth, self.predicted, self.labels)

        place = {label: i for i, label in enumerate(self.labels)}
        self._true, self._predicted = (np.zeros((self.rows, len(self.labels))) for _ in range(2))  # [rows, T]
        self._outcomes = {outcome: np.zeros_like(self._true) for outcome in OUTCOMES}
        for row, spans in enumerate(zip(self.truth, self.predicted, strict=True)):
            for outcome, true, guess in outcomes(*spans):
                if true is not None:
                    self._true[row, place[true[2]]] += 1
                if guess is not None:
                    self._predicted[row, place[guess[2]]] += 1
                span = true or guess
                assert span is not None
                self._outcomes[outcome][row, place[span[2]]] += 1
        right = self._outcomes["correct"]
        self._all_right: Mask = ((right == self._true) & (right == self._predicted)).all(axis=1)
        self._stacked = np.concatenate([right, self._true, self._predicted], axis=1)

    @property
    def rows(self) -> int:
        return len(self.truth)

    def metrics(self, weights: Weights) -> dict[str, float]:
        """macro_f1 is over the types that are true or predicted. NaN if there are no true and no predicted spans;
        otherwise a precision or recall with divisor 0 is 0."""
        weights = np.asarray(weights, dtype=np.float64)
        total = weights.sum()
        correct, true, predicted = (weights @ self._stacked).reshape(3, -1)
        f1 = _f1(correct, true, predicted)
        present = true + predicted > 0
        any_present = bool(present.any())
        return {
            "entity_f1": float(_f1(correct.sum(), true.sum(), predicted.sum())),
            "entity_precision": float(_ratio(correct.sum(), predicted.sum())) if any_present else float("nan"),
            "entity_recall": float(_ratio(correct.sum(), true.sum())) if any_present else float("nan"),
            "macro_f1": float(f1[present].mean()) if any_present else float("nan"),
            "exact_match": float(weights @ self._all_right / total) if total > 0 else float("nan"),
        }

    def undefined(self, metric: str) -> str:
        return f"none of the {self.rows} has an entity, and none is predicted"

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per type: precision, recall, f1, support (true entities), predicted, and the outcomes.

        support = correct + type_errors + boundary_errors + missed. A type error counts for the true type.
        """
        weights = np.asarray(weights, dtype=np.float64)
        correct, true, predicted = (weights @ self._stacked).reshape(3, -1)
        columns = {
            "precision": _ratio(correct, predicted),
            "recall": _ratio(correct, true),
            "f1": np.nan_to_num(_f1(correct, true, predicted)),
            "support": true,
            "predicted": predicted,
            "correct": correct,
            "type_errors": weights @ self._outcomes["type"],
            "boundary_errors": weights @ self._outcomes["boundary"],
            "missed": weights @ self._outcomes["missed"],
            "spurious": weights @ self._outcomes["spurious"],
        }
        return {
            label: {name: float(column[i]) for name, column in columns.items()} for i, label in enumerate(self.labels)
        }

    def correct(self) -> Mask:
        """Rows with every span right and no extra ones; exact_match is their mean."""
        return self._all_right

    def distances(self) -> None:
        return None

    def where(self, mask: Mask) -> Self:
        rows = np.flatnonzero(mask)
        return type(self)([self.truth[i] for i in rows], [self.predicted[i] for i in rows], self.labels)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _f1(correct: NDArray[np.float64], true: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    either = true + predicted
    return np.divide(2 * correct, either, out=np.full_like(either, np.nan), where=either > 0)


def _check(truth: list[list[Span]], predicted: list[list[Span]], labels: list[str]) -> None:
    if len(truth) != len(predicted):
        raise DataError(
            f"{len(truth)} rows of true spans, but {len(predicted)} of predicted ones",
            "predict the rows of the truth, in the same order",
        )
    types = set(labels)
    for name, rows in (("true", truth), ("predicted", predicted)):
        for row, spans in enumerate(rows):
            for start, end, label in spans:
                if label not in types:
                    raise DataError(f"row {row} has a {name} span of the unknown type {label!r}", nearest(label, types))
                if not 0 <= start < end:
                    raise DataError(
                        f"row {row} has a {name} {label} span from {start} to {end}",
                        "spans are [start, end) in characters, with start before end",
                    )
