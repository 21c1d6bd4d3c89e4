"""Gives rare labels as much weight as frequent ones, in train only: by weights, copies, fewer rows, or synthetic ones
(`smote.py`). Or leaves frequent labels their weight, and fewer rows to have it.

Validation and test keep their labels' frequencies: metrics describe real data. A model that learned from balanced
labels predicts as if all were equally frequent, until its logits are corrected (`prior_shift`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.keys import ranks


def class_weights(labels: Sequence[str] | npt.NDArray[np.generic]) -> dict[Any, float]:
    """Label → weight of its rows' loss: rows / (labels × rows of the label), so that the mean weight of a row is 1.

    King & Zeng (2001), Logistic Regression in Rare Events Data; scikit-learn's class_weight="balanced".
    """
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    weights = counts.sum() / (len(names) * counts)
    return dict(zip(names.tolist(), weights.tolist(), strict=True))


def prior_shift(counts: Mapping[str, int], labels: Sequence[str]) -> list[float]:
    """For each label, what is added to its logit after learning from labels that were balanced, in whatever way, to be
    equally frequent: ln(share of the label in train / share of an equally frequent one).

    Saerens, Latinne & Decaestecker (2002), Adjusting the Outputs of a Classifier to New a Priori Probabilities,
    equation 2.4; the prior correction of King & Zeng (2001). `counts`: label → rows of train before balancing, at least
    one of each label.
    """
    rows = np.array([counts[label] for label in labels], np.float64)
    shift: list[float] = np.log(rows / rows.mean()).tolist()
    return shift


def oversample(
    indices: npt.NDArray[np.int64], labels: Sequence[str] | npt.NDArray[np.generic], keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """`indices` with repeated rows, so that every label has as many as the largest; `labels[i]` and `keys[i]` belong to
    `indices[i]`.

    Every row of a label is repeated equally often, and the rows with the label's smallest keys once more, to make up
    the difference. The order stays; copies follow their row.
    """
    _, label_of_row, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    whole, rest = np.divmod(counts.max(), counts)
    return np.repeat(indices, whole[label_of_row] + (ranks(label_of_row, keys) < rest[label_of_row]))


def undersample(
    indices: npt.NDArray[np.int64], labels: Sequence[str] | npt.NDArray[np.generic], keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """For every label as many of `indices` as the rarest has, those with the smallest keys; the order stays."""
    _, label_of_row, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    stays: npt.NDArray[np.bool_] = ranks(label_of_row, keys) < counts.min()
    return indices[stays]


def undersampled_weights(
    labels: Sequence[str] | npt.NDArray[np.generic], kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """[rows] For how many rows of its label each kept row stands: rows of the label / kept rows of it; `kept` holds one
    of each label. So the labels keep the frequencies that they had, and no probability needs a correction.

    The weighting of King & Zeng (2001), where a case-control sample's rows are weighed by how they were drawn.
    """
    _, label_of_row, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    left = np.bincount(label_of_row[kept], minlength=len(counts))
    return np.where(kept, (counts / left)[label_of_row], 1.0).astype(np.float32)
