"""Any number of labels a row, or none: every metric of the field as weighted sums over rows.

The numbers are scikit-learn's (tested to 1e-9, sample weights included). Where the field has more than one convention:

- micro_: all decisions (one for each row and label) together. macro_: the mean over labels; a label that is neither
  true nor predicted in the weighted rows is left out, as in `classification.py`. Both are NaN if no label is true or
  predicted. samples_: the mean over rows. A precision or recall with divisor 0 is 0.
- A row with no true and no predicted label is right: its jaccard is 1, as SemEval-2018 task 1 E-c counts it (Mohammad,
  Bravo-Marquez, Salameh & Kiritchenko 2018), and so are its samples_ precision, recall and f1.
- roc_auc and pr_auc: the mean over labels; roc_auc over labels that some rows have and others lack, pr_auc (average
  precision) over labels that some rows have. NaN without such labels.
- log_loss and brier: the mean over all decisions, each a separate yes or no.
- ece: all decisions in 15 equal-width bins of the label's probability; the distance of the share of true labels from
  the mean probability (Naeini, Cooper & Hauskrecht 2015). It does not depend on the thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.calibration import BINS, bin_of
from lakewright.evaluation.scorers import Mask, Weights
from lakewright.evaluation.scorers.ranking import Floats, Ranking, divide


class MultilabelScorer:
    """`truth` and `predicted` [n, L]: whether the row has, or is predicted to have, each of the `labels` [L].

    `probabilities` [n, L] are the labels' own, each in 0..1; `predicted` applies the task's thresholds to them.
    Raises DataError if the truth does not fit the labels, ModelError if the other two do not fit the truth.
    """

    kind: ClassVar[str] = "multilabel"
    primary = "micro_f1"

    def __init__(
        self, truth: Mask, probabilities: NDArray[np.floating], predicted: Mask, labels: Sequence[str]
    ) -> None:
        self.truth: Mask = np.asarray(truth, dtype=np.bool_)
        self.probabilities = np.asarray(probabilities, dtype=np.float64)
        self.predicted: Mask = np.asarray(predicted, dtype=np.bool_)
        self.labels = list(labels)
        _check(self.truth, self.probabilities, self.predicted, self.labels)

        hit = self.truth & self.predicted
        self._counted = np.concatenate([hit, self.truth, self.predicted], axis=1).astype(np.float64)  # [n, 3 L]
        self._right: Mask = (self.truth == self.predicted).all(axis=1)
        self._of_row = np.stack(list(self._row_means(hit).values()), axis=1)  # [n, names]
        place = np.arange(self.rows)[:, None] * BINS + bin_of(self.probabilities)
        overconfidence = (self.probabilities - self.truth).ravel()
        self._gaps = np.bincount(place.ravel(), overconfidence, minlength=self.rows * BINS).reshape(self.rows, BINS)
        self._ranking = Ranking(self.truth, self.probabilities)

    def _row_means(self, hit: Mask) -> dict[str, Floats]:
        """The values of metrics that are means over rows: [n] each."""
        hits, true, predicted = (mask.sum(axis=1).astype(np.float64) for mask in (hit, self.truth, self.predicted))
        nothing = true + predicted == 0
        eps = np.finfo(np.float64).eps  # as in scikit-learn: a certain but wrong prediction costs 36 nats, not infinity
        probability = np.where(self.truth, self.probabilities, 1 - self.probabilities)
        return {
            "samples_precision": divide(hits, predicted) + nothing,
            "samples_recall": divide(hits, true) + nothing,
            "samples_f1": divide(2 * hits, true + predicted) + nothing,
            "jaccard": divide(hits, true + predicted - hits) + nothing,
            "exact_match": self._right.astype(np.float64),
            "hamming_loss": (self.truth != self.predicted).mean(axis=1),
            "log_loss": -np.log(np.clip(probability, eps, 1.0)).mean(axis=1),
            "brier": ((1 - probability) ** 2).mean(axis=1),
        }

    @property
    def rows(self) -> int:
        return len(self.truth)

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        total = weights.sum()
        if not total > 0:
            return dict.fromkeys(_NAMES, float("nan"))
        counts = self._counts(weights)  # [3, L]: right, true, predicted
        present = counts[:, (counts > 0).any(axis=0)]
        micro = _scores(present.sum(axis=1, keepdims=True))[:, 0] if present.size else np.full(3, np.nan)
        macro = _scores(present).mean(axis=1) if present.size else np.full(3, np.nan)
        gap = np.abs(weights @ self._gaps).sum() / (total * len(self.labels))
        values = [*micro, *macro, *(weights @ self._of_row / total), *self._ranking.means(weights), gap]
        return {name: float(value) for name, value in zip(_NAMES, values, strict=True)}

    def undefined(self, metric: str) -> str:
        if metric == "roc_auc":
            return f"each label is in all {self.rows} or in none"
        return f"none of the {self.rows} has a label" + (", and none is predicted" if metric != "pr_auc" else "")

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per label: precision, recall, f1, support (rows that have it), predicted (rows predicted to have it) and
        roc_auc, which is left out if no row or every row has the label."""
        weights = np.asarray(weights, dtype=np.float64)
        counts = self._counts(weights)
        precision, recall, f1 = _scores(counts)
        roc_auc, _ = self._ranking.areas(weights)
        columns = {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "support": counts[1],
            "predicted": counts[2],
            "roc_auc": roc_auc,
        }
        return {
            label: {name: float(column[i]) for name, column in columns.items() if not np.isnan(column[i])}
            for i, label in enumerate(self.labels)
        }

    def correct(self) -> Mask:
        """Rows with every label right and no extra ones; exact_match is their mean."""
        return self._right

    def distances(self) -> None:
        return None

    def where(self, mask: Mask) -> Self:
        return type(self)(self.truth[mask], self.probabilities[mask], self.predicted[mask], self.labels)

    def _counts(self, weights: Weights) -> Floats:
        """[3, L]: the weight of the rows where the label is correctly predicted, true, and predicted."""
        return (weights @ self._counted).reshape(3, -1)


_NAMES = (
    *("micro_precision", "micro_recall", "micro_f1", "macro_precision", "macro_recall", "macro_f1"),
    *("samples_precision", "samples_recall", "samples_f1", "jaccard", "exact_match", "hamming_loss"),
    *("log_loss", "brier", "roc_auc", "pr_auc", "ece"),
)


def _scores(counts: Floats) -> Floats:
    """[3, k] right, true, predicted → [3, k] precision, recall, F1."""
    right, true, predicted = counts
    return np.stack([divide(right, predicted), divide(right, true), divide(2 * right, true + predicted)])


def _check(truth: Mask, probabilities: Floats, predicted: Mask, labels: list[str]) -> None:
    if truth.ndim != 2 or truth.shape[1] != len(labels) or not labels:
        raise DataError(
            f"a truth of shape {truth.shape} for the {len(labels)} labels {labels[:5]}",
            "give one row of yes or no for each test row, with a column for each label",
        )
    for name, values in (("probabilities", probabilities), ("predictions", predicted)):
        if values.shape != truth.shape:
            raise ModelError(
                f"{name} of shape {values.shape} for {len(truth)} rows and {len(labels)} labels",
                "evaluate the rows with the model folder that was trained with these labels",
            )
    with np.errstate(invalid="ignore"):
        broken = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)).all(axis=1))
    if len(broken):
        raise ModelError(
            f"the probabilities of rows {broken[:5].tolist()} are not between 0 and 1",
            "pass sigmoid probabilities; NaN means that training diverged",
        )
