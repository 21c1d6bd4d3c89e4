"""Extractive question answering: exact match and word-overlap F1, by the rules of SQuAD's own evaluation script.

Both texts are lower-cased and lose their ASCII punctuation, their English articles and their extra white space; the
best score over the true answers counts (Rajpurkar, Zhang, Lopyrev & Liang 2016). A row without a true answer is right
if and only if the prediction is empty; one empty text scores 0 (Rajpurkar, Jia & Liang 2018).

White space separates words, so for Chinese or Japanese qa_f1 is little more than exact_match.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.scorers import Mask, Weights

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(answer: str) -> str:
    """The text that SQuAD compares: "The  Eiffel Tower!" and "eiffel tower" are one answer."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(truth: Sequence[str], prediction: str) -> float:
    """1.0 if the prediction is one of the true answers, else 0.0; `truth` may be empty."""
    return float(normalised(prediction) in _accepted(truth))


def f1(truth: Sequence[str], prediction: str) -> float:
    """0..1: the greatest overlap in words with a true answer; `truth` may be empty."""
    words = normalised(prediction).split()
    return max(_overlap(true.split(), words) for true in _accepted(truth))


def _accepted(truth: Sequence[str]) -> list[str]:
    return [text for text in map(normalised, truth) if text] or [""]


def _overlap(true: list[str], predicted: list[str]) -> float:
    if not true or not predicted:
        return float(true == predicted)
    common = (Counter(true) & Counter(predicted)).total()
    return 2 * common / (len(true) + len(predicted))


class AnswersScorer:
    """`truths` [n] hold each row's acceptable answers, none if the context has no answer; `predictions` [n] are the
    model's, "" for no answer; `confidence` [n] is its score, 0..1.

    `em` and `f1` [n] are the rows' own. Raises DataError for unequal numbers of rows, ModelError for an invalid score.
    """

    kind: ClassVar[str] = "answers"
    primary = "qa_f1"

    def __init__(
        self,
        truths: Sequence[Sequence[str]],
        predictions: Sequence[str],
        confidence: Sequence[float] | NDArray[np.float64],
    ) -> None:
        self.truths = [list(truth) for truth in truths]
        self.predictions = list(predictions)
        self.confidence = np.asarray(confidence, dtype=np.float64)
        _check(self.truths, self.predictions, self.confidence)
        pairs = list(zip(self.truths, self.predictions, strict=True))
        self.em = np.array([exact_match(truth, prediction) for truth, prediction in pairs], dtype=np.float64)
        self.f1 = np.array([f1(truth, prediction) for truth, prediction in pairs], dtype=np.float64)
        self._right: Mask = self.em == 1
        self.answerable: Mask = np.array([bool(truth) for truth in self.truths], dtype=np.bool_)

    @property
    def rows(self) -> int:
        return len(self.truths)

    def metrics(self, weights: Weights) -> dict[str, float]:
        """answer_f1 is qa_f1 over the rows with a true answer, no_answer_accuracy exact_match over the others; each is
        NaN if there are no such rows."""
        weights = np.asarray(weights, dtype=np.float64)
        return {
            "exact_match": _mean(self.em, weights),
            "qa_f1": _mean(self.f1, weights),
            "answer_f1": _mean(self.f1, weights * self.answerable),
            "no_answer_accuracy": _mean(self.em, weights * ~self.answerable),
        }

    def undefined(self, metric: str) -> str:
        return f"{'none' if metric == 'answer_f1' else 'each'} of the {self.rows} has an answer"

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Answers have no classes."""
        return {}

    def correct(self) -> Mask:
        """Rows with an exact match."""
        return self._right

    def distances(self) -> None:
        return None

    def where(self, mask: Mask) -> Self:
        rows = np.flatnonzero(mask)
        return type(self)([self.truths[i] for i in rows], [self.predictions[i] for i in rows], self.confidence[rows])


def _mean(values: NDArray[np.float64], weights: Weights) -> float:
    total = weights.sum()
    return float(weights @ values / total) if total > 0 else float("nan")


def _check(truths: list[list[str]], predictions: list[str], confidence: NDArray[np.float64]) -> None:
    if not len(truths) == len(predictions) == len(confidence):
        raise DataError(
            f"{len(truths)} rows of true answers, but {len(predictions)} predictions and {len(confidence)} scores",
            "predict the rows of the truth, in the same order",
        )
    strange = np.flatnonzero(~((confidence >= 0) & (confidence <= 1)))
    if len(strange):
        raise ModelError(
            f"the scores of rows {strange[:5].tolist()} are not between 0 and 1",
            "pass the probability of the answer; NaN means that training diverged",
        )
