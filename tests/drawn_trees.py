"""Trees drawn at random for tests, with all that trees can hold, and the slow definitions of what they give."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.model.trees import Trees

WIDTH = 4
CATEGORIES = (2, 3)  # columns of codes


def drawn(
    seed: int, *, trees: int = 5, depth: int = 5, codes: int = 40, outputs: int = 1, vector: int = 1, sets: bool = True
) -> Trees:
    """Leaf weights are few, so that neighbouring subtrees are often alike; some covers are 0; some trees a leaf."""
    random = np.random.default_rng(seed)
    nodes: list[list[float]] = []
    members: list[NDArray[Any]] = []
    weights, covers, roots = [], [], []

    def grow(levels: int) -> int:
        if not levels or random.random() < 0.15:
            weights.append(random.integers(0, 3, vector).astype(np.float64))
            covers.append(float(random.integers(0, 9)))
            return ~(len(weights) - 1)
        node = len(nodes)
        column = int(random.integers(WIDTH))
        nodes.append([column, random.integers(-2, 3), random.random() < 0.5, -1, 0, 0])
        if sets and column in CATEGORIES:
            nodes[node][3] = len(members)
            members.append(np.flatnonzero(random.random(codes) < random.random()))
        nodes[node][4:] = [grow(levels - 1), grow(levels - 1)]
        return node

    for _ in range(trees):
        first = len(covers)
        roots.append(grow(depth))
        covers[first] += 1.0  # not all of a tree's covers are 0
    columns = np.array(nodes, dtype=np.float64).reshape(-1, 6).T
    return Trees(
        feature=columns[0].astype(np.int32),
        threshold=columns[1].astype(np.float32),
        missing_left=columns[2].astype(np.bool_),
        set_of=columns[3].astype(np.int32),
        left=columns[4].astype(np.int32),
        right=columns[5].astype(np.int32),
        set_offsets=np.cumsum([0, *map(len, members)]).astype(np.int64),
        set_codes=np.concatenate([np.empty(0), *members]).astype(np.int32),
        leaf_weight=np.array(weights).reshape(-1, vector),
        leaf_cover=np.array(covers),
        root=np.array(roots, np.int32),
        output=random.integers(0, outputs - vector + 1, trees).astype(np.int32),
        base=random.normal(size=outputs),
    )


def chain(depth: int) -> Trees:
    """One tree, whose every node has a leaf to the left: x <= 0, x <= 1, …"""
    nodes = np.arange(depth, dtype=np.int32)
    return Trees(
        feature=np.zeros(depth, np.int32),
        threshold=nodes.astype(np.float32),
        missing_left=np.zeros(depth, np.bool_),
        set_of=np.full(depth, -1, np.int32),
        left=~nodes,
        right=np.append(nodes[1:], ~depth).astype(np.int32),
        set_offsets=np.zeros(1, np.int64),
        set_codes=np.zeros(0, np.int32),
        leaf_weight=np.arange(depth + 1.0)[:, None],
        leaf_cover=np.ones(depth + 1),
        root=np.zeros(1, np.int32),
        output=np.zeros(1, np.int32),
        base=np.zeros(1),
    )


def drawn_rows(seed: int, rows: int, codes: int = 40) -> NDArray[np.float32]:
    """Thresholds hit exactly, known and unknown codes, missing values, infinities, fractions and huge numbers."""
    random = np.random.default_rng(seed)
    columns = random.integers(-3, 4, (rows, WIDTH)).astype(np.float32)
    for column in CATEGORIES:
        columns[:, column] = random.integers(-1, codes + 2, rows)
    for value in (np.nan, np.nan, np.nan, np.inf, -np.inf, -0.0, 2.0**32, 2.0**33 + 1024, -(2.0**32), 1e-45):
        columns[random.random(columns.shape) < 0.04] = value
    return columns + np.where(random.random(columns.shape) < 0.04, np.float32(0.5), np.float32(0))


def arrays(trees: Trees) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(trees, field.name).copy() for field in fields(trees)}


def goes_left(trees: Trees, node: int, row: NDArray[np.float32]) -> bool:
    value, of = row[trees.feature[node]], trees.set_of[node]
    if np.isnan(value):
        return bool(trees.missing_left[node])
    if of < 0:
        return bool(value <= trees.threshold[node])
    members = trees.set_codes[trees.set_offsets[of] : trees.set_offsets[of + 1]].tolist()
    return bool(np.isfinite(value) and value > -1 and int(value) in members)


def margin(trees: Trees, row: NDArray[np.float32], present: set[int] | None = None) -> NDArray[np.float64]:
    """[outputs] The margin by its definition; columns that are not present go both ways, by the cover."""

    def value(child: int) -> tuple[NDArray[np.float64], float]:
        """The mean over the leaves that are reached, and the cover of all."""
        if child < 0:
            return trees.leaf_weight[~child], float(trees.leaf_cover[~child])
        (left, cover_left), (right, cover_right) = value(trees.left[child]), value(trees.right[child])
        cover = cover_left + cover_right
        if present is None or trees.feature[child] in present:
            return (left if goes_left(trees, child, row) else right), cover
        share = cover_left / cover if cover else 0.5
        return left * share + right * (1 - share), cover

    sums = trees.base.copy()
    for root, output in zip(trees.root, trees.output, strict=True):
        sums[output : output + trees.leaf_weight.shape[1]] += value(root)[0]
    return sums


def shapley(trees: Trees, row: NDArray[np.float32]) -> NDArray[np.float64]:
    """[outputs, WIDTH + 1] By the definition: a mean over all coalitions."""
    values = np.zeros((trees.outputs, WIDTH + 1))
    values[:, -1] = margin(trees, row, set())
    for column in range(WIDTH):
        others = [other for other in range(WIDTH) if other != column]
        for size in range(WIDTH):
            share = factorial(size) * factorial(WIDTH - size - 1) / factorial(WIDTH)
            for coalition in combinations(others, size):
                gain = margin(trees, row, {*coalition, column}) - margin(trees, row, set(coalition))
                values[:, column] += share * gain
    return values
