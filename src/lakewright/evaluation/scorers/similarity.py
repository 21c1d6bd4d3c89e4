"""Similarity of two texts: agreement with people's scores or, if the data has only pairs that belong together, the rank
of the right partner among all texts.

With scores: spearman (ties at their middle rank), pearson, and rmse and mae in the data's unit. A weight has the effect
of repeating the row so often; scipy's numbers, tested to 1e-9. A correlation is NaN if either side is constant.

With pairs (anchor, positive): each left text ranks all right texts by cosine; its rank is the best rank of a right text
of its own group. A wrong text with the same score comes first, so that a model with the same vector for every text gets
no credit. mrr is the mean of 1/rank, recall_at_k the share of rows of rank k or better (also called accuracy@k or hit
rate). The corpus stays whole in slices and resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.scorers import Mask, Weights
from lakewright.evaluation.scorers.ranking import Floats

_AGREEMENT = ("spearman", "pearson", "rmse", "mae")
_RETRIEVAL = ("mrr", "recall_at_1", "recall_at_5", "recall_at_10")

_BLOCK = 1 << 24
"""cells of the similarity matrix computed at once: 64 MiB of float32"""

_ROUNDING = 1e-6
"""cosines of float32 vectors with a smaller difference are a tie"""


class SimilarityScorer:
    """`scores` [n] are the model's, in the data's unit; `truth` [n] people's, or None for pairs that belong together.

    For pairs, `left` and `right` [n, d] are the embeddings and `groups` [n] names the right texts: right texts with one
    name, such as repeated texts, are all correct for one another's rows (None: every row its own). `ranks` [n] of
    `retrieval_ranks` can replace all three.
    Raises DataError for unequal numbers of rows, ModelError for scores or embeddings that are not finite.
    """

    kind: ClassVar[str] = "similarity"

    def __init__(
        self,
        truth: NDArray[np.floating] | None,
        scores: NDArray[np.floating],
        left: NDArray[np.float32] | None = None,
        right: NDArray[np.float32] | None = None,
        groups: Sequence[Hashable] | None = None,
        *,
        ranks: NDArray[np.integer] | None = None,
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        self.truth = None if truth is None else np.asarray(truth, dtype=np.float64)
        self.ranks = None if ranks is None else np.asarray(ranks, dtype=np.intp)
        _finite(self.scores, "scores")
        if self.truth is not None:
            if self.truth.shape != self.scores.shape:
                raise _unpaired("true scores", len(self.truth), self.rows)
            if not np.isfinite(self.truth).all():
                rows = np.flatnonzero(~np.isfinite(self.truth))[:5].tolist()
                raise DataError(f"the true scores of rows {rows} are not finite", "prepare the table again")
            errors = self.scores - self.truth
            self._of_row = np.stack([errors**2, np.abs(errors)], axis=1)
            self._places = [np.unique(values, return_inverse=True)[1] for values in (self.scores, self.truth)]
            return
        if self.ranks is None:
            if left is None or right is None:
                raise DataError("pairs without true scores, and without embeddings", "pass left and right, or ranks")
            self.ranks = retrieval_ranks(left, right, groups)
        if self.ranks.shape != self.scores.shape:
            raise _unpaired("embeddings or ranks", len(self.ranks), self.rows)
        self._of_row = np.stack([1 / self.ranks, *(self.ranks <= k for k in (1, 5, 10))], axis=1)

    @property
    def rows(self) -> int:
        return len(self.scores)

    @property
    def primary(self) -> str:
        return "mrr" if self.truth is None else "spearman"

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        names = _RETRIEVAL if self.truth is None else _AGREEMENT
        total = weights.sum()
        if not total > 0:
            return dict.fromkeys(names, float("nan"))
        values = weights @ self._of_row / total
        if self.truth is not None:
            values = [*self._correlations(weights), np.sqrt(values[0]), values[1]]
        return {name: float(value) for name, value in zip(names, values, strict=True)}

    def undefined(self, metric: str) -> str:
        constant = self.truth is not None and np.ptp(self.truth) == 0
        return f"all {self.rows} have the same {'score' if constant else 'predicted score'}"

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Scores have no classes."""
        return {}

    def correct(self) -> Mask | None:
        """Rows whose right text comes first; None if the truth is a score."""
        return None if self.ranks is None else self.ranks == 1

    def distances(self) -> NDArray[np.float64] | None:
        return None if self.truth is None else np.abs(self.scores - self.truth)

    def where(self, mask: Mask) -> Self:
        truth = None if self.truth is None else self.truth[mask]
        ranks = None if self.ranks is None else self.ranks[mask]  # still in the whole corpus
        return type(self)(truth, self.scores[mask], ranks=ranks)

    def _correlations(self, weights: Weights) -> tuple[float, float]:
        """Spearman's and Pearson's."""
        assert self.truth is not None
        counts = [np.bincount(place, weights) for place in self._places]
        if min(np.count_nonzero(count) for count in counts) < 2:
            return float("nan"), float("nan")
        a, b = ((np.cumsum(count) - count / 2)[place] for count, place in zip(counts, self._places, strict=True))
        return _pearson(a, b, weights), _pearson(self.scores, self.truth, weights)


def retrieval_ranks(
    left: NDArray[np.float32], right: NDArray[np.float32], groups: Sequence[Hashable] | None = None
) -> NDArray[np.intp]:
    """[n]: for each row, the best rank, from 1, of a right text of its group among all right texts, by cosine.

    A wrong text with the same score, up to rounding, ranks before it. `left` and `right` are [n, d] and need not have
    length 1; a vector of zeros has cosine 0 with all.
    """
    left, right = (_unit(np.asarray(side, dtype=np.float32)) for side in (left, right))
    rows = len(left)
    if left.shape != right.shape:
        raise _unpaired("right embeddings", len(right), rows)
    names = range(rows) if groups is None else groups
    if len(names) != rows:
        raise _unpaired("groups", len(names), rows)
    number: dict[Hashable, int] = {}
    group = np.array([number.setdefault(name, len(number)) for name in names], dtype=np.intp)
    ranks = np.empty(rows, dtype=np.intp)
    size = max(1, _BLOCK // max(rows, 1))
    for block in (slice(i, i + size) for i in range(0, rows, size)):
        cosines = left[block] @ right.T
        hits = group[block, None] == group
        best = np.where(hits, cosines, -np.inf).max(axis=1, keepdims=True)
        ranks[block] = 1 + ((cosines > best - _ROUNDING) & ~hits).sum(axis=1)
    return ranks


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    _finite(vectors, "embeddings")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return units


def _pearson(a: Floats, b: Floats, weights: Weights) -> float:
    total = weights.sum()
    a, b = a - weights @ a / total, b - weights @ b / total
    weighted = weights * a
    variances = (weighted @ a) * (weights @ b**2)
    return float(weighted @ b / np.sqrt(variances)) if variances > 0 else float("nan")


def _finite(values: NDArray[np.floating], name: str) -> None:
    if not np.isfinite(values).all():
        rows = np.unique(np.nonzero(~np.isfinite(values))[0])[:5].tolist()
        raise ModelError(f"the {name} of rows {rows} are not finite", "train again: NaN means that training diverged")


def _unpaired(name: str, count: int, rows: int) -> DataError:
    return DataError(f"{count} rows of {name} for {rows} rows", "pass one for each row, in the same order")
