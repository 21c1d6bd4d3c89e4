"""Missing numbers of a row from the rows of train, or the centers of train's clusters, that are nearest by its others.

Distances are between numbers on a common scale, (x - mean) / deviation, over the numbers that both rows have: the sum
of squares, divided by how many those are (Dixon, Pattern recognition with partly missing data, 1979; scikit-learn's
KNNImputer). Clusters are Lloyd's, begun by k-means++ (Arthur and Vassilvitskii, 2007), over rows whose missing numbers
are the median.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.model.recipe import checked, statistics

Numbers = NDArray[np.float64]

MOST_ROWS = 2_000  # of train that are kept
MOST_CLUSTERED = 20_000  # of train that clusters are made of
MOST_NEIGHBORS = 100
MOST_NUMBERS = 1_000  # beside each other
ROUNDS = 25
SEED = 13
FURTHEST = 1e100  # on the common scale; its square is a number
AT_ONCE = 256  # rows: their distances to 2,000 others take 4 MB


@dataclass(frozen=True)
class Nearest:
    means: tuple[float, ...]
    deviations: tuple[float, ...]  # greater than 0
    points: tuple[tuple[float | None, ...], ...]  # rows of train, or centers; None: missing
    neighbors: int  # whose mean is taken

    @classmethod
    def of_rows(cls, columns: list[Numbers], neighbors: int) -> Self:
        """Of train's numbers, at least one of each, NaN where missing: the rows, evenly picked."""
        means, deviations = _scale(columns)
        rows = _picked(columns, MOST_ROWS)
        return cls(
            means, deviations, tuple(tuple(None if v != v else v for v in row) for row in rows.tolist()), neighbors
        )

    @classmethod
    def of_clusters(cls, columns: list[Numbers], medians: list[float], clusters: int) -> Self:
        """Of train's numbers, at least one of each, NaN where missing: the centers of so many clusters at most."""
        means, deviations = _scale(columns)
        rows = _picked(columns, MOST_CLUSTERED)
        scaled = _scaled(np.where(np.isnan(rows), medians, rows), means, deviations)
        centers = _centers(scaled, clusters) * deviations + np.array(means)
        largest = np.finfo(np.float64).max
        return cls(means, deviations, tuple(map(tuple, np.clip(centers, -largest, largest).tolist())), 1)

    @classmethod
    def open(cls, described: Mapping[str, Any], count: int) -> Self:
        """Of `count` numbers. Raises ValueError for any other description."""
        means, deviations = checked.numbers(described, "means"), checked.numbers(described, "deviations")
        points = [checked.maybe_numbers({"points": row}, "points") for row in checked.items(described, "points")]
        if not {len(means), len(deviations), *map(len, points)} == {count} or min(deviations) <= 0:
            raise ValueError(f"means, deviations or points are not of {count} numbers, or no scale")
        if not 1 <= len(points) <= MOST_ROWS or count > MOST_NUMBERS:
            raise ValueError(f"points holds {len(points):,} rows of {count:,} numbers, which is none or too many")
        return cls(means, deviations, tuple(points), checked.whole(described, "neighbors", 1, MOST_NEIGHBORS))

    @cached_property
    def _points(self) -> tuple[Numbers, Numbers]:
        """As they are, and on the common scale, [points, numbers]."""
        points = np.array(self.points, dtype=np.float64)
        return points, _scaled(points, self.means, self.deviations)

    def fill(self, rows: Numbers) -> Numbers:
        """The rows, [rows, numbers], with a number in place of each missing one; NaN is left where a row has no number
        in common with a point that has the missing one."""
        filled = rows.copy()
        lacking = np.flatnonzero(np.isnan(rows).any(axis=1))
        for start in range(0, len(lacking), AT_ONCE):
            at = lacking[start : start + AT_ONCE]
            filled[at] = self._filled(rows[at])
        return filled

    def _filled(self, rows: Numbers) -> Numbers:
        points, scaled = self._points
        distances = _distances(_scaled(rows, self.means, self.deviations), scaled)
        filled = rows.copy()
        for column in range(rows.shape[1]):
            missing = np.flatnonzero(np.isnan(rows[:, column]))
            donors = np.flatnonzero(~np.isnan(points[:, column]))
            if not len(missing) or not len(donors):
                continue
            apart = distances[np.ix_(missing, donors)]
            order = np.argsort(apart, axis=1, kind="stable")[:, : self.neighbors]  # of equally near ones the first
            reached = np.isfinite(np.take_along_axis(apart, order, axis=1))
            values, count = points[donors, column][order], np.maximum(reached.sum(axis=1), 1)
            mean = np.zeros(len(missing))
            for each in range(order.shape[1]):  # one after another: a row's sum does not depend on the others
                mean += np.where(reached[:, each], values[:, each] / count, 0.0)
            filled[missing, column] = np.where(reached.any(axis=1), mean, np.nan)
        return filled


def _scale(columns: list[Numbers]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations, 1 where a number does not vary."""
    finite = [each[np.isfinite(each)] for each in columns]
    deviations = (statistics.deviation(each) for each in finite)
    return tuple(map(statistics.mean, finite)), tuple(each if each > 0 else 1.0 for each in deviations)


def _picked(columns: list[Numbers], most: int) -> Numbers:
    """At most so many rows with a number, from all over train, [rows, numbers]."""
    rows = np.column_stack(columns)
    rows[~np.isfinite(rows)] = np.nan
    rows = rows[~np.isnan(rows).all(axis=1)]
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _scaled(rows: Numbers, means: tuple[float, ...], deviations: tuple[float, ...]) -> Numbers:
    with np.errstate(over="ignore"):
        scaled: Numbers = np.clip((rows - np.array(means)) / np.array(deviations), -FURTHEST, FURTHEST)
    return scaled


def _distances(rows: Numbers, points: Numbers) -> Numbers:
    """[rows, points], infinite where they have no number in common."""
    total, common = np.zeros((len(rows), len(points))), np.zeros((len(rows), len(points)))
    for column in range(rows.shape[1]):  # one after another: a row's sum does not depend on the others
        apart = (rows[:, column, None] - points[None, :, column]) ** 2
        both = ~np.isnan(apart)
        total += np.where(both, apart, 0.0)
        common += both
    return np.where(common > 0, total / np.maximum(common, 1), np.inf)


def _centers(rows: Numbers, clusters: int) -> Numbers:
    """Of complete rows, [clusters or fewer, numbers]."""
    random = np.random.default_rng(SEED)
    centers: Numbers = rows[random.integers(len(rows))][None]
    while len(centers) < clusters:
        nearest = _distances(rows, centers).min(axis=1)
        if not nearest.any():
            break  # no more rows differ
        nearest /= nearest.max()
        centers = np.vstack([centers, rows[random.choice(len(rows), p=nearest / nearest.sum())]])
    for _ in range(ROUNDS):
        own = _distances(rows, centers).argmin(axis=1)
        moved = [rows[own == at].mean(axis=0) if (own == at).any() else center for at, center in enumerate(centers)]
        if np.array_equal(moved, centers):
            break
        centers = np.array(moved)
    return centers
