"""Two classes by their order alone: how many rows of the second class are among the rows that are most probably of it.

The curve of gain has a point at the end of each group of rows with the same probability, and is straight between them:
within such a group any order of the rows is as good as another, and this is the mean over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.scorers import Mask

Floats = NDArray[np.float64]
GROUPS = 10


@dataclass(frozen=True)
class Part:
    """A tenth of the rows."""

    rows: int
    positives: float  # the expected number, where a group of equal probabilities is cut
    share: float  # of its rows that are of the second class
    lift: float  # this share ÷ that of all rows
    cumulative: float  # of all rows of the second class, those in this part and in the ones before


def gains(probability: Floats, truth: Mask) -> tuple[Floats, Floats]:
    """Of the second class's `probability` [n] and whether it is true [n]: for the k most probable rows, k [m + 1] and
    how many of them are true [m + 1]. m is the number of different probabilities."""
    _, place = np.unique(-probability, return_inverse=True)
    size = int(place.max(initial=-1)) + 1
    rows, positives = np.bincount(place, minlength=size), np.bincount(place, truth, minlength=size)
    return tuple(np.concatenate([[0.0], np.cumsum(each)]) for each in (rows, positives))  # type: ignore[return-value]


def by_tenth(probability: Floats, truth: Mask, groups: int = GROUPS) -> list[Part]:
    """The most probable rows first; fewer parts of fewer rows; none without a row of the second class."""
    total, size = int(truth.sum()), len(truth)
    if not total:
        return []
    ends = np.unique(np.arange(groups + 1) * size // groups)
    found = np.interp(ends, *gains(probability, truth))
    parts = []
    for rows, positives, cumulative in zip(np.diff(ends), np.diff(found), found[1:], strict=True):
        share = float(positives / rows)
        parts.append(Part(int(rows), float(positives), share, share * size / total, float(cumulative / total)))
    return parts
