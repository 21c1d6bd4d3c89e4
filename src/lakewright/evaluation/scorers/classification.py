"""One label a row: accuracy, precision/recall/F1, ROC-AUC, PR-AUC, log loss, Brier and ECE as weighted sums over rows.

The numbers are scikit-learn's (tested to 1e-9, sample weights included). Where the field has more than one convention:

- A class that is neither true nor predicted in the weighted rows is left out of macro averages, as scikit-learn leaves
  out labels it never sees; a precision or recall with divisor 0 is 0.
- roc_auc and pr_auc: with two classes, of the second label; with more, one class against the rest, averaged over the
  classes with true rows. NaN if no row, or for roc_auc every row, has the class. pr_auc is average precision.
- brier: with two classes, the squared error of the second label's probability (0..1); with more, summed over the
  classes (0..2), as Brier (1950) wrote it.
- ece: 15 equal-width bins of the predicted label's probability (`calibration.py`), which is the top one unless two
  labels are told apart by a threshold.
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


class ClassificationScorer:
    """`truth` [n] are indices into `labels` [C]; `probabilities` [n, C] sum to 1 in each row.

    The predicted label is the most probable one; with a `threshold`, the second of two labels wherever its probability
    is at least that.

    Raises DataError if the truth does not fit the labels, ModelError if the probabilities are not probabilities.
    """

    kind: ClassVar[str] = "classification"

    # Not accuracy: with unbalanced classes, a model that ignores the rare ones has a high one, and a gate must stop it.
    primary = "macro_f1"

    def __init__(
        self,
        truth: NDArray[np.integer],
        probabilities: NDArray[np.floating],
        labels: Sequence[str],
        threshold: float | None = None,
    ) -> None:
        self.truth = np.asarray(truth, dtype=np.intp)
        self.probabilities = np.asarray(probabilities, dtype=np.float64)
        self.labels = list(labels)
        self.threshold = threshold
        _check(self.truth, self.probabilities, self.labels)
        if threshold is not None and len(self.labels) != 2:
            raise DataError(
                f"a threshold decides between two labels, not {len(self.labels)}", "leave it out with more labels"
            )
        indices = np.arange(self.rows)
        self.predicted: NDArray[np.intp] = (
            self.probabilities.argmax(axis=1)
            if threshold is None
            else (self.probabilities[:, 1] >= threshold).astype(np.intp)
        )
        self.confidence: Floats = self.probabilities[indices, self.predicted]

        self._right: Mask = self.predicted == self.truth
        self._hit = self._right.astype(np.float64)
        eps = np.finfo(np.float64).eps  # as in scikit-learn: a certain but wrong prediction costs 36 nats, not infinity
        self._log_loss = -np.log(np.clip(self.probabilities[indices, self.truth], eps, 1.0))
        errors = self.probabilities.copy()
        errors[indices, self.truth] -= 1.0
        self._brier = errors[:, 1] ** 2 if len(self.labels) == 2 else (errors**2).sum(axis=1)
        self._bin = bin_of(self.confidence)
        self._overconfidence = self.confidence - self._hit
        scored = np.array([1]) if len(self.labels) == 2 else np.arange(len(self.labels))
        self._ranking = Ranking(self.truth[:, None] == scored, self.probabilities[:, scored])

    @property
    def rows(self) -> int:
        return len(self.truth)

    def metrics(self, weights: Weights) -> dict[str, float]:
        weights = np.asarray(weights, dtype=np.float64)
        total = weights.sum()
        if not total > 0:
            return dict.fromkeys(_NAMES, float("nan"))
        hits, true, predicted = self._sums(weights)
        precision, recall, f1 = divide(hits, predicted), divide(hits, true), divide(2 * hits, predicted + true)
        present = (true > 0) | (predicted > 0)
        accuracy = float(hits.sum() / total)
        roc_auc, pr_auc = self._ranking.means(weights)
        gaps = np.bincount(self._bin, weights * self._overconfidence, minlength=BINS)
        return {
            "accuracy": accuracy,
            "macro_precision": float(precision[present].mean()),
            "macro_recall": float(recall[present].mean()),
            "macro_f1": float(f1[present].mean()),
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

    def undefined(self, metric: str) -> str:
        return f"all {self.rows} are of class {self.labels[int(self.truth[0])]}"

    def classes(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Per label: precision, recall, f1, support (true rows) and predicted (rows predicted)."""
        hits, true, predicted = self._sums(np.asarray(weights, dtype=np.float64))
        columns = {
            "precision": divide(hits, predicted),
            "recall": divide(hits, true),
            "f1": divide(2 * hits, predicted + true),
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

    def distances(self) -> None:
        return None

    def where(self, mask: Mask) -> Self:
        return type(self)(self.truth[mask], self.probabilities[mask], self.labels, self.threshold)

    def _sums(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Per class, the weight of its right rows, its true rows and its predicted rows: [C] each."""
        size = len(self.labels)
        return (
            np.bincount(self.truth, weights * self._hit, minlength=size).astype(np.float64),
            np.bincount(self.truth, weights, minlength=size).astype(np.float64),
            np.bincount(self.predicted, weights, minlength=size).astype(np.float64),
        )


_NAMES = [
    *("accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_precision", "micro_recall", "micro_f1"),
    *("weighted_precision", "weighted_recall", "weighted_f1", "roc_auc", "pr_auc", "log_loss", "brier", "ece"),
]


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
