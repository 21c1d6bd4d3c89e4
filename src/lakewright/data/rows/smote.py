"""Synthetic rows of rare labels, each between two rows of its label that are alike: SMOTE, and SMOTE-NC where some
columns are categories (Chawla, Bowyer, Hall & Kegelmeyer 2002, SMOTE: Synthetic Minority Over-sampling Technique,
sections 4.2 and 6.1).

A synthetic row begins at a row of its label and goes a drawn share of the way to one of its nearest neighbours of the
same label. Its categories are those that most of the neighbours have; of several as frequent ones, that of the nearest.

The distance is Euclidean, over numbers in deviations of all rows. A category that differs adds the median of the
label's deviations of the numbers (1 where that is 0, or where there are no numbers), and so does a number that only
one of two rows has; numbers that neither has add nothing. Of equally near rows the first is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.keys import draw_keys, ranks

NEIGHBORS = 5  # of them one is drawn, and all choose the categories: the paper's k
LEAST = 2  # rows of a label: one alone has no neighbour
GREATEST = float(np.finfo(np.float32).max)

_PAIRS = 1 << 18  # distances at once: 2 MiB, which a processor's cache holds


def synthetic(
    columns: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    categories: Sequence[Sequence[int]],
    numbers: npt.NDArray[np.integer],
    seed: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
    """Rows [new, width] and their labels [new] that bring every label to as many rows as the largest has: label by
    label, and of a label in the order of the rows [rows, width] that they begin at.

    `categories`: the places of columns that hold categories, those of one category together: their values stay
    together. All other columns are numbers; NaN is a missing value. `numbers` [rows] (digests of ids, or row numbers)
    and the seed draw rows and shares, so that a row's draws do not depend on the other rows. Where a label has up to
    NEIGHBORS rows, all others are a row's neighbours.

    Takes time that grows with the square of a label's rows, and beside the result memory that grows with its rows.
    Raises ValueError for a label with fewer than LEAST rows, unless it is the largest.
    """
    names, of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
    keys = draw_keys(numbers, seed, "balance")
    placed = {place for each in categories for place in each}
    measured = np.array([place for place in range(columns.shape[1]) if place not in placed], np.int64)
    deviations = np.array([_deviation(columns[:, place]) for place in measured])
    codes = np.array([_codes(columns[:, [*each]]) for each in categories], np.int32).reshape(-1, len(columns))
    made, made_labels = [columns[:0]], [labels[:0]]
    for label, count in enumerate(counts.tolist()):
        whole, rest = divmod(int(counts.max()) - count, count)
        if not whole and not rest:
            continue
        if count < LEAST:
            raise ValueError(f"the label {str(names[label])!r} has {count} row, and no neighbour")
        rows = np.flatnonzero(of_row == label)
        # As often from each row, and once more from those with the smallest keys: as `oversample` repeats rows
        times = whole + (ranks(np.zeros(count, np.int64), keys[rows]) < rest)
        begins, times = np.flatnonzero(times), times[times > 0]
        scaled = np.clip(columns[np.ix_(rows, measured)].T, -GREATEST, GREATEST) / deviations[:, None]
        near = _nearest(np.ascontiguousarray(scaled), codes[:, rows], begins)
        at = np.repeat(np.arange(len(begins)), times)  # place in `begins` and in `near` of each synthetic row
        nth = np.concatenate([np.arange(each) for each in times])
        drawn, share = _draws(keys[rows[begins]][at], nth, near.shape[1], seed)
        begin, end = rows[begins][at], rows[near[at, drawn]]
        new = np.empty((len(at), columns.shape[1]), np.float32)
        for place in measured:
            new[:, place] = _between(columns[begin, place], columns[end, place], share)
        for each, code in zip(categories, codes[:, rows], strict=True):
            source = rows[_most_frequent(code, near)][at]
            for place in each:
                new[:, place] = columns[source, place]
        made.append(new)
        made_labels.append(np.full(len(new), names[label], labels.dtype))
    return np.concatenate(made), np.concatenate(made_labels)


def _draws(
    keys: npt.NDArray[np.uint64], nth: npt.NDArray[np.int64], neighbors: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """[new] each: one of the neighbours, and a share from 0 to below 1, of the nth row that begins at the row with
    this key."""
    first = keys.view(np.int64) + 2 * nth
    drawn = draw_keys(first, seed, "between") % np.uint64(neighbors)
    bits = draw_keys(first + 1, seed, "between") >> np.uint64(11)
    return drawn.astype(np.int64), bits.astype(np.float64) * 2.0**-53


def _deviation(column: npt.NDArray[np.float32]) -> float:
    """Over the values that are there; 1 where they are equal, or none is there."""
    known = np.clip(column[~np.isnan(column)].astype(np.float64), -GREATEST, GREATEST)
    return float(known.std()) or 1.0 if len(known) else 1.0


def _codes(columns: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """[rows] A whole number for each combination of values [rows, columns]; NaN is a value like others."""
    if columns.shape[1] == 1:
        return np.unique(columns[:, 0], return_inverse=True)[1]
    canonical = np.where(np.isnan(columns), np.float32(np.nan), columns + np.float32(0))  # one NaN, and one zero
    rows = np.ascontiguousarray(canonical).view(np.dtype((np.void, canonical.itemsize * canonical.shape[1])))
    return np.unique(rows[:, 0], return_inverse=True)[1]


def _nearest(
    scaled: npt.NDArray[np.float64], codes: npt.NDArray[np.int32], begins: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """[begins, neighbours] For each of these rows of one label, the nearest others, the nearest first.

    Numbers [numbers, rows] and categories' codes [categories, rows]. Exact: each distance is a sum in the columns'
    order, whatever other rows there are.
    """
    rows = codes.shape[1]
    deviations = [_deviation_of(each) for each in scaled]
    penalty = (float(np.median(deviations)) if deviations else 0.0) or 1.0
    missing = np.isnan(scaled)
    lacking = [np.flatnonzero(each) for each in missing]
    near = np.empty((len(begins), min(NEIGHBORS, rows - 1)), np.int64)
    at_once = max(1, _PAIRS // rows)
    for start in range(0, len(begins), at_once):
        block = begins[start : start + at_once]
        here = np.arange(len(block))
        apart, gap = np.zeros((len(block), rows)), np.empty((len(block), rows))
        for column, lacks, without in zip(scaled, missing, lacking, strict=True):
            np.subtract(column[block, None], column, out=gap)
            if len(without):  # a number that one of two rows lacks
                gap[:, without] = penalty
                gap[lacks[block]] = np.where(lacks, 0.0, penalty)
            gap *= gap
            apart += gap
        differ = np.zeros(apart.shape, np.int32)
        for code in codes:
            differ += code[block, None] != code
        apart += differ * penalty**2
        apart[here, block] = np.inf  # itself
        for nth in range(near.shape[1]):
            nearest = apart.argmin(axis=1)  # the first of equally near ones
            near[start : start + len(block), nth] = nearest
            apart[here, nearest] = np.inf
    return near


def _deviation_of(scaled: npt.NDArray[np.float64]) -> float:
    known = scaled[~np.isnan(scaled)]
    return float(known.std()) if len(known) else 0.0


def _between(
    begin: npt.NDArray[np.float32], end: npt.NDArray[np.float32], share: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """[new] This share of the way; where one of the two is missing, the other one."""
    first, second = begin.astype(np.float64), end.astype(np.float64)
    with np.errstate(invalid="ignore"):
        way = first + share * (second - first)
        way = np.clip(way, np.minimum(first, second), np.maximum(first, second))  # rounding may step beyond
    way = np.where((begin == end) | np.isnan(end), begin, np.where(np.isnan(begin), end, way))
    return way.astype(np.float32)


def _most_frequent(code: npt.NDArray[np.int32], near: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[begins] The first of the neighbours [begins, neighbours] whose category most of them have."""
    of_near = code[near]
    votes = (of_near[:, :, None] == of_near[:, None, :]).sum(axis=2)
    chosen: npt.NDArray[np.int64] = np.take_along_axis(near, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return chosen
