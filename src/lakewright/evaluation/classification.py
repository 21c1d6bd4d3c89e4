"""One label a row: accuracy, precision/recall/F1, ROC-AUC, PR-AUC, log loss, Brier and ECE as weighted sums over rows.

The numbers are scikit-learn's (tested to 1e-9, sample weights included). Where the field has more than one convention:

- A class that is neither true nor predicted among the weighted rows is left out of macro averages, as scikit-learn does
  for the labels it never sees; a precision or recall with nothing to divide by is 0.
- roc_auc and pr_auc: with two classes, of the second label; with more, one class against the rest, averaged over the
  classes that have true rows. NaN where no row, or for roc_auc every row, is of the class. pr_auc is average precision.
- brier: with two classes, the squared error of the second label's probability (0..1); with more, summed over the
  classes (0..2), as Brier (1950) wrote it.
- ece: 15 equal-width bins of the top probability (`calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.calibration import BINS, bin_of
from lakewright.evaluation.scorer import Mask, Weights

Floats = NDArray[np.float64]


class ClassificationScorer:
    """`truth` [n] are indices into `labels` [C]; `probabilities` [n, C] sum to 1 in each row.

    Raises DataError where the truth does not fit the labels, ModelError where the probabilities are none.
    """

    # Not accuracy: on unbalanced classes that is won by ignoring the rare ones, which is what a gate is there to stop.
    primary = "macro_f1"

    def __init__(self, truth: NDArray[np.integer], probabilities: NDArray[np.floating], labels: Sequence[str]) -> None:
        self.truth = np.asarray(truth, dtype=np.intp)
        self.probabilities = np.asarray(probabilities, dtype=np.float64)
        self.labels = list(labels)
        _check(self.truth, self.probabilities, self.labels)
        self.predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        self.confidence: Floats = self.probabilities.max(axis=1)

        every = np.arange(self.rows)
        self._right: Mask = self.predicted == self.truth
        self._hit = self._right.astype(np.float64)
        eps = np.finfo(np.float64).eps  # as in scikit-learn: a certain and wrong model costs 36 nats, not infinity
        self._log_loss = -np.log(np.clip(self.probabilities[every, self.truth], eps, 1.0))
        missed = self.probabilities.copy()
        missed[every, self.truth] -= 1.0
        self._brier = missed[:, 1] ** 2 if len(self.labels) == 2 else (missed**2).sum(axis=1)
        self._bin = bin_of(self.confidence)
        self._overconfidence = self.confidence - self._hit
        scored = [1] if len(self.labels) == 2 else list(range(len(self.labels)))
        self._rankings = [_Ranking(self.truth, self.probabilities, block) for block in _blocks(scored, self.rows)]

    @property
    def rows(self) -> int:
        return len(self.truth)

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        total = weights.sum()
        if not total > 0:
            return dict.fromkeys(_NAMES, float("nan"))
        hits, true, predicted = self._sums(weights)
        precision, recall, f1 = _divide(hits, predicted), _divide(hits, true), _divide(2 * hits, predicted + true)
        seen = (true > 0) | (predicted > 0)
        accuracy = float(hits.sum() / total)
        areas = np.concatenate([ranking.areas(weights, total) for ranking in self._rankings], axis=1)
        roc_auc, pr_auc = (
            float(area[~np.isnan(area)].mean()) if (area == area).any() else float("nan") for area in areas
        )
        gaps = np.bincount(self._bin, weights * self._overconfidence, minlength=BINS)
        return {
            "accuracy": accuracy,
            "macro_precision": float(precision[seen].mean()),
            "macro_recall": float(recall[seen].mean()),
            "macro_f1": float(f1[seen].mean()),
            "micro_precision": accuracy,  # one label a row: each wrong row is one false positive and one false negative
            "micro_recall": accuracy,
            "micro_f1": accuracy,
            "weighted_precision": float(precision @ true / total),
            "weighted_recall": float(recall @ true / total),
            "weighted_f1": float(f1 @ true / total),
            "roc_auc": roc_auc,
            "pr_auc": pr_auc,
            "log_loss": float((weights * self._log_loss).sum() / total),
            "brier": float((weights * self._brier).sum() / total),
            "ece": float(np.abs(gaps).sum() / total),
        }

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per label: precision, recall, f1, support (rows truly of it) and predicted (rows said to be of it)."""
        hits, true, predicted = self._sums(np.asarray(weights, dtype=np.float64))
        columns = {
            "precision": _divide(hits, predicted),
            "recall": _divide(hits, true),
            "f1": _divide(2 * hits, predicted + true),
            "support": true,
            "predicted": predicted,
        }
        return {
            label: {name: float(column[i]) for name, column in columns.items()} for i, label in enumerate(self.labels)
        }

    def confusion(self, weights: Weights | None = None) -> Floats:
        """[C, C]: row = truth, column = prediction."""
        size = len(self.labels)
        cells = np.bincount(self.truth * size + self.predicted, weights, minlength=size * size)
        return cells.reshape(size, size).astype(np.float64)

    def correct(self) -> Mask:
        return self._right

    def where(self, mask: Mask) -> Self:
        return type(self)(self.truth[mask], self.probabilities[mask], self.labels)

    def _sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Per class the weight of the rows that are right, that are true and that are predicted: [C] each."""
        size = len(self.labels)
        return (
            np.bincount(self.truth, weights * self._hit, minlength=size).astype(np.float64),
            np.bincount(self.truth, weights, minlength=size).astype(np.float64),
            np.bincount(self.predicted, weights, minlength=size).astype(np.float64),
        )


class _Ranking:
    """ROC-AUC and average precision of some classes, each against the rest, from one sort and without a curve.

    Both areas are sums over the class's own rows (positives) alone. With the rows in descending order of score, let
    `through` be the weight of all rows down to and including a positive's ties, and `above` the weight before its ties.
    The weight ranked below it, ties by half, is total − (above + through) / 2; summed over the positives this counts
    the pairs of positives too, which are W₊²/2 in all (Mann & Whitney 1947). Average precision is the positives' mean
    of (positive weight down to its ties) / through. So rows × classes are passed once, and only summed between the
    places where a positive's ties begin and end.
    """

    def __init__(self, truth: NDArray[np.intp], probabilities: Floats, classes: list[int]) -> None:
        rows, size = len(truth), len(classes)
        scores = -probabilities[:, classes].T
        order = np.argsort(scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=1)
        self._class, place = np.nonzero(truth[order] == np.asarray(classes)[:, None])  # from the highest score down
        begin, end = np.empty_like(place), np.empty_like(place)  # of a positive's ties among all rows of its class
        self._tied_end = np.empty_like(place)  # and among the positives
        positives = np.searchsorted(self._class, np.arange(size + 1))
        for i, (start, stop) in enumerate(pairwise(positives)):
            own = ranked[i, place[start:stop]]
            begin[start:stop] = i * rows + np.searchsorted(ranked[i], own, side="left")
            end[start:stop] = i * rows + np.searchsorted(ranked[i], own, side="right")
            self._tied_end[start:stop] = start + np.searchsorted(own, own, side="right")
        self._start = positives[self._class]
        self._row = order[self._class, place]
        self._order = order.ravel()
        self._cuts = np.unique(np.concatenate([begin, end, [0]]))
        self._above, self._through = np.searchsorted(self._cuts, begin), np.searchsorted(self._cuts, end)
        self._cuts = self._cuts[self._cuts < len(self._order)]
        self._size = size

    def areas(self, weights: Floats, total: float) -> Floats:
        """[2, classes]: ROC-AUC and average precision; NaN where undefined."""
        ordered = np.take(weights, self._order, mode="clip")  # the places are known to be right: skips the check
        down_to = np.concatenate([[0.0], np.cumsum(np.add.reduceat(ordered, self._cuts))])
        before = self._class * total  # each class's order holds all rows once
        above, through = down_to[self._above] - before, down_to[self._through] - before
        own = weights[self._row]
        so_far = np.concatenate([[0.0], np.cumsum(own)])
        precision = _divide(so_far[self._tied_end] - so_far[self._start], through)
        positive = np.bincount(self._class, own, minlength=self._size)
        negative = total - positive
        pairs = np.bincount(self._class, own * (total - (above + through) / 2), minlength=self._size) - positive**2 / 2
        either = np.where(positive > 0, positive, np.nan)
        both = either * np.where(negative > 1e-12 * total, negative, np.nan)  # a difference of sums: 0 but for rounding
        return np.stack([pairs / both, np.bincount(self._class, own * precision, minlength=self._size) / either])


_NAMES = [
    *("accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_precision", "micro_recall", "micro_f1"),
    *("weighted_precision", "weighted_recall", "weighted_f1", "roc_auc", "pr_auc", "log_loss", "brier", "ece"),
]


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _blocks(classes: list[int], rows: int, elements: int = 1 << 17) -> list[list[int]]:
    """Classes in groups whose weights in order fit the processor's cache (a megabyte)."""
    size = max(1, elements // max(rows, 1))
    return [classes[i : i + size] for i in range(0, len(classes), size)]


def _check(truth: NDArray[np.intp], probabilities: Floats, labels: list[str]) -> None:
    if len(labels) < 2:
        raise DataError(f"classification needs two labels or more, not {labels}", "check the label column's values")
    if probabilities.shape != (len(truth), len(labels)):
        raise ModelError(
            f"probabilities of shape {probabilities.shape} for {len(truth)} rows and {len(labels)} labels",
            "evaluate the rows with the model folder that was trained with these labels",
        )
    strange = np.flatnonzero((truth < 0) | (truth >= len(labels)))
    if len(strange):
        raise DataError(
            f"the truth is not one of the {len(labels)} labels in rows {strange[:5].tolist()}",
            "prepare the table again, or drop rows whose label the training split does not have",
        )
    with np.errstate(invalid="ignore"):
        broken = np.flatnonzero(~((np.abs(probabilities.sum(axis=1) - 1) < 1e-3) & (probabilities >= 0).all(axis=1)))
    if len(broken):
        raise ModelError(
            f"the probabilities of rows {broken[:5].tolist()} are negative, not finite or do not sum to 1",
            "pass softmax probabilities in float32 or better; NaN means that training diverged",
        )
