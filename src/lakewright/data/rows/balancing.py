"""What makes rare labels count as much as frequent ones, in train only: weights, copies or fewer rows.

Validation and test keep their labels as they come: metrics are for the data as it will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def class_weights(labels: Sequence[str] | npt.NDArray[np.generic]) -> dict[Any, float]:
    """Label → weight of its rows' loss: rows / (labels × rows of the label), so that the mean weight of a row is 1.

    King & Zeng (2001), Logistic Regression in Rare Events Data; scikit-learn's class_weight="balanced".
    """
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    weights = counts.sum() / (len(names) * counts)
    return dict(zip(names.tolist(), weights.tolist(), strict=True))


def oversample(
    indices: npt.NDArray[np.int64], labels: Sequence[str] | npt.NDArray[np.generic], seed: int
) -> npt.NDArray[np.int64]:
    """`indices` with rows repeated until every label has as many as the largest; `labels[i]` belongs to `indices[i]`.

    Every row of a label is repeated equally often, and a seeded draw without replacement makes up the difference, so
    that no row stands more than once more than another of its label. The order is kept; copies follow their row.
    """
    rng = np.random.default_rng(seed)
    names, label_of_row, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    repeats = np.ones(len(indices), dtype=np.int64)
    for label in range(len(names)):
        whole, rest = divmod(int(counts.max()), int(counts[label]))
        members = np.flatnonzero(label_of_row == label)
        repeats[members] = whole
        repeats[rng.choice(members, size=rest, replace=False)] += 1
    return np.repeat(indices, repeats)


def undersample(
    indices: npt.NDArray[np.int64], labels: Sequence[str] | npt.NDArray[np.generic], seed: int
) -> npt.NDArray[np.int64]:
    """As many of `indices` of every label as the rarest has, drawn without replacement; the order is kept."""
    rng = np.random.default_rng(seed)
    names, label_of_row, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    stays = np.zeros(len(indices), dtype=np.bool_)
    for label in range(len(names)):
        stays[rng.choice(np.flatnonzero(label_of_row == label), size=int(counts.min()), replace=False)] = True
    return indices[stays]
