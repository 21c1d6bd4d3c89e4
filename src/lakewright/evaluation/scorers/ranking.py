"""ROC-AUC and average precision of many classes under many weights: sorted once, then summed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.scorers import Mask, Weights

Floats = NDArray[np.float64]

_CACHED = 1 << 17
"""ordered weights that fit the processor's cache (a megabyte)"""


class Ranking:
    """`truth` [n, C]: whether the row has the class. `scores` [n, C]: each column ranks the rows for its class."""

    def __init__(self, truth: Mask, scores: Floats) -> None:
        rows, classes = truth.shape
        size = max(1, _CACHED // max(rows, 1))
        blocks = [slice(i, i + size) for i in range(0, classes, size)]
        self._blocks = [_Block(truth[:, block], scores[:, block]) for block in blocks]

    def areas(self, weights: Weights) -> Floats:
        """[2, C]: ROC-AUC and average precision of each class; NaN if no row, or for ROC-AUC every row, has it."""
        total = float(weights.sum())
        return np.concatenate([block.areas(weights, total) for block in self._blocks], axis=1)

    def means(self, weights: Weights) -> tuple[float, float]:
        """ROC-AUC and average precision, averaged over the classes that define them; NaN if none does."""
        roc_auc, pr_auc = (_mean(area[~np.isnan(area)]) for area in self.areas(weights))
        return roc_auc, pr_auc


class _Block:
    """Some of the classes, each against the rest, from one sort and without a curve.

    Both areas are sums over only the class's own rows (positives). With the rows in descending order of score, let
    `through` be the weight of all rows down to and including a positive's ties, and `above` the weight before its ties.
    The weight ranked below it, ties by half, is total − (above + through) / 2; summed over the positives this includes
    pairs of positives, which are W₊²/2 in all (Mann & Whitney 1947). Average precision is the positives' mean of
    (positive weight down to its ties) / through. So rows × classes are read once, and only summed between the starts
    and ends of positives' ties.
    """

    def __init__(self, truth: Mask, scores: Floats) -> None:
        rows, size = truth.shape
        descending = -scores.T
        order = np.argsort(descending, axis=1, kind="stable")
        ranked = np.take_along_axis(descending, order, axis=1)
        self._class, place = np.nonzero(np.take_along_axis(truth.T, order, axis=1))  # from the highest score down
        begin, end = np.empty_like(place), np.empty_like(place)  # of a positive's ties in its class's order of all rows
        self._tied_end = np.empty_like(place)  # and in the order of positives
        positives = np.searchsorted(self._class, np.arange(size + 1))
        for i, (start, stop) in enumerate(pairwise(positives)):
            own_scores = ranked[i, place[start:stop]]
            begin[start:stop] = i * rows + np.searchsorted(ranked[i], own_scores, side="left")
            end[start:stop] = i * rows + np.searchsorted(ranked[i], own_scores, side="right")
            self._tied_end[start:stop] = start + np.searchsorted(own_scores, own_scores, side="right")
        self._start = positives[self._class]
        self._row = order[self._class, place]
        self._order = order.ravel()
        self._cuts = np.unique(np.concatenate([begin, end, [0]]))
        self._above, self._through = np.searchsorted(self._cuts, begin), np.searchsorted(self._cuts, end)
        self._cuts = self._cuts[self._cuts < len(self._order)]
        self._size = size

    def areas(self, weights: Weights, total: float) -> Floats:
        """[2, classes]: ROC-AUC and average precision; NaN if undefined."""
        ordered = np.take(weights, self._order, mode="clip")  # clip: the places are valid, so this skips the check
        down_to = np.concatenate([[0.0], np.cumsum(np.add.reduceat(ordered, self._cuts))])
        before = self._class * total  # each class's order holds all rows once
        above, through = down_to[self._above] - before, down_to[self._through] - before
        own_weights = weights[self._row]
        so_far = np.concatenate([[0.0], np.cumsum(own_weights)])
        precision = divide(so_far[self._tied_end] - so_far[self._start], through)
        positive = np.bincount(self._class, own_weights, minlength=self._size)
        negative = total - positive
        pairs = (
            np.bincount(self._class, own_weights * (total - (above + through) / 2), minlength=self._size)
            - positive**2 / 2
        )
        either = np.where(positive > 0, positive, np.nan)
        both = either * np.where(negative > 1e-12 * total, negative, np.nan)  # a difference of sums: 0 but for rounding
        return np.stack(
            [pairs / both, np.bincount(self._class, own_weights * precision, minlength=self._size) / either]
        )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def divide(above: Floats, below: Floats) -> Floats:
    """The quotient; 0 for a divisor of 0, such as a precision without predictions."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
