"""An ensemble of decision trees as flat arrays: a safe file, predictions by numpy, and exact contributions of columns.

Boosted trees and forests of every library become the same thing (`learning/ensembles.py`), so that nothing after
training needs the library, and no pickle is read. An inner node sends a row to its left child where
`column <= threshold`, or, if the node has a set of categories, where the column's code is in the set. NaN is a missing
value; each node knows its side.

A leaf holds a vector of `vector` numbers, and a tree the output to which the first of them is added. A boosted tree of
one class of many is a tree with vectors of length 1; a tree of a classification forest has one number for each class.
So neither kind is walked more than once or stored more than once: a target for each leaf would repeat a forest's trees
for each class, and a vector for every output would fill the leaves of boosted trees with zeros.

Columns are float32, as ONNX Runtime takes them. A threshold is a float32 too, rounded down from the library's double:
no float32 lies between the two, so every comparison gives what the library's gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import ModelError

FORMAT = "lakewright trees 1"
MOST_CODE = (1 << 24) - 1  # the largest code; float32 holds every whole number up to here
MOST_DEPTH = 4096  # nodes on the way to a leaf
AGAIN = "register or download the model again; if it fails again, train again"

_ENTRIES = 1 << 18  # (row, tree) pairs walked at once
_STEPS = 1 << 19  # (leaf, node of its path) pairs laid out at once
_CACHED = 1 << 21  # such pairs that stay in memory, about 40 bytes each
_DECISIONS = 1 << 21  # (row, leaf, node of its path) at once
_FACTORS = 1 << 18  # float64 factors at once: 2 MiB, which a processor's cache holds


@dataclass(frozen=True, eq=False)
class Trees:
    """Flat arrays over all trees. A child is the index of a node, which is larger than its parent's, or `~leaf`.

    Making one checks all of it, and raises ValueError; a walk over valid trees ends. Do not write to the arrays.
    """

    feature: NDArray[np.int32]  # [nodes] the column that a node reads
    threshold: NDArray[np.float32]  # [nodes]; a node with a set does not use it
    missing_left: NDArray[np.bool_]  # [nodes] the side of a missing value
    set_of: NDArray[np.int32]  # [nodes] the node's set of categories, or -1
    left: NDArray[np.int32]  # [nodes]
    right: NDArray[np.int32]  # [nodes]
    set_offsets: NDArray[np.int64]  # [sets + 1]; set i is set_codes[set_offsets[i] : set_offsets[i + 1]]
    set_codes: NDArray[np.int32]  # ascending in each set
    leaf_weight: NDArray[np.float64]  # [leaves, vector]
    leaf_cover: NDArray[np.float64]  # [leaves] training rows, or the sum of hessians, that fell into a leaf
    root: NDArray[np.int32]  # [trees] a node, or ~leaf for a tree of one leaf
    output: NDArray[np.int32]  # [trees] the output to which the first number of the tree's leaves is added
    base: NDArray[np.float64]  # [outputs] what every row starts from

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_sets(self)
        _check_structure(self)
        _check_numbers(self)

    @property
    def outputs(self) -> int:
        return len(self.base)

    @cached_property
    def width(self) -> int:
        """The number of columns that the trees need: 1 + the last column that a node reads."""
        return int(self.feature.max(initial=-1)) + 1

    @cached_property
    def levels(self) -> list[NDArray[np.int32]]:
        """The nodes, level by level; the first are the roots."""
        return list(_levels(self))

    @cached_property
    def cover(self) -> NDArray[np.float64]:
        """[nodes] The training rows, or the sum of hessians, that passed each node: the sum over its leaves."""
        cover = np.zeros(len(self.feature))
        for nodes in reversed(self.levels):
            for children in (self.left[nodes], self.right[nodes]):
                cover[nodes] += _of_children(children, cover, self.leaf_cover)
        return cover

    def save(self, path: Path) -> None:
        """One safetensors file; the same trees give the same bytes."""
        from safetensors.numpy import save_file

        arrays = {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}
        save_file(arrays, path, metadata={"format": FORMAT})

    @classmethod
    def open(cls, path: Path) -> Trees:
        """Raises ModelError if the file cannot be read or does not hold valid trees, whoever made it."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                names, expected = set(file.keys()), {field.name for field in fields(cls)}
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ValueError(f"its format is not {FORMAT!r}")
                if names != expected:
                    raise ValueError(f"its arrays are not those of trees: {sorted(names ^ expected)[:5]}")
                return cls(**{name: file.get_tensor(name) for name in sorted(names)})
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
            # the last three: safetensors, at a type of numbers that numpy does not have
            raise ModelError(f"{path} does not hold valid trees: {failure}", AGAIN) from None

    def margins(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """The sums over the trees, before any link: columns [rows, width or more] → [rows, outputs].

        NaN is a missing value. A category is its code; a value that is in no set, such as an unknown code, goes right.
        Raises ModelError if there are too few columns.
        """
        columns = self._columns(columns)
        margins = np.empty((len(columns), self.outputs))
        rows = max(1, _ENTRIES // max(1, len(self.root)))
        for start in range(0, len(columns), rows):
            margins[start : start + rows] = self._sums(self._leaves(columns[start : start + rows]))
        return margins

    def _columns(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        if columns.ndim != 2 or columns.dtype != np.float32:
            raise ValueError(f"columns must be float32 [rows, width], not {columns.dtype} {list(columns.shape)}")
        if columns.shape[1] < self.width:
            raise ModelError(
                f"the trees read {self.width} columns, but the recipe gives {columns.shape[1]}",
                "open the trees with the recipe with which they were trained",
            )
        return np.ascontiguousarray(columns)

    def _leaves(self, columns: NDArray[np.float32]) -> NDArray[np.int32]:
        """[rows, trees] The leaf that each row reaches in each tree; all rows and trees go down one level at a time."""
        trees = len(self.root)
        at = np.tile(self.root, len(columns))
        live = np.flatnonzero(at >= 0)
        nodes, rows = at[live], live // max(1, trees)
        for _ in self.levels:
            goes_left = self._goes_left(columns[rows, self.feature[nodes]], nodes)
            nodes = np.where(goes_left, self.left[nodes], self.right[nodes])
            inner = nodes >= 0
            at[live[~inner]] = nodes[~inner]
            live, nodes, rows = live[inner], nodes[inner], rows[inner]
        return ~at.reshape(len(columns), trees)

    def _goes_left(self, values: NDArray[np.float32], nodes: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Whether each value goes left at its node; values [..., n] and nodes [n]."""
        goes_left: NDArray[np.bool_] = values <= self.threshold[nodes]
        if len(self.set_offsets) > 1:
            at = np.flatnonzero(self.set_of[nodes] >= 0)
            goes_left[..., at] = self._in_set(values[..., at], self.set_of[nodes[at]])
        missing = np.isnan(values)
        if missing.any():
            goes_left = np.where(missing, self.missing_left[nodes], goes_left)
        return goes_left

    def _in_set(self, values: NDArray[np.float32], sets: NDArray[np.int32]) -> NDArray[np.bool_]:
        """A code is cut to a whole number, as LightGBM and ONNX Runtime cut it (XGBoost: from 0 upwards)."""
        with np.errstate(invalid="ignore"):
            possible = (values > -1) & (values <= MOST_CODE)
        codes = np.where(possible, values, 0).astype(np.int64)
        keys = sets * np.int64(MOST_CODE + 1) + codes
        members: NDArray[np.bool_] = self._set_keys[np.searchsorted(self._set_keys, keys)] == keys
        return possible & members

    @cached_property
    def _set_keys(self) -> NDArray[np.int64]:
        """The members of all sets as ascending numbers; the last is larger than any key that is looked up."""
        sets = np.repeat(np.arange(len(self.set_offsets) - 1), np.diff(self.set_offsets))
        return np.append(sets * np.int64(MOST_CODE + 1) + self.set_codes, np.iinfo(np.int64).max)

    def _sums(self, leaves: NDArray[np.int32]) -> NDArray[np.float64]:
        """[rows, outputs]. Each sum runs over one row's trees in memory, so it does not depend on the other rows."""
        sums = np.repeat(self.base[None], len(leaves), axis=0)
        for first in np.unique(self.output):
            of_output = leaves[:, self.output == first]
            for i in range(self.leaf_weight.shape[1]):
                sums[:, first + i] += np.ascontiguousarray(self.leaf_weight[of_output, i]).sum(axis=1)
        return sums

    def contributions(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """The Shapley value of each column for each row's margins: [rows, outputs, width + 1], the last of which is the
        expected margin; a row's values add up to its margin.

        These are the exact values of path-dependent TreeSHAP (Lundberg et al., "From local explanations to global
        understanding with explainable AI for trees", Nature Machine Intelligence 2, 2020), where a column that is not
        in the coalition goes to both children in proportion to their cover. Here they are not found by extending and
        unwinding paths: a leaf is reached by a product over the columns of its path, of the indicator o (the row's
        value agrees with the path) or of the ratio z of covers; the Shapley value of such a game is the integral over t
        in [0, 1] of its multilinear extension's gradient (Owen, "Multilinear extensions of games", Management Science
        18, 1972), (o_i - z_i) · Π_{j ≠ i} (z_j (1 - t) + o_j t). That is a polynomial of degree M - 1 for M columns, so
        ⌈M / 2⌉ points of Gauss and Legendre give it exactly, and every factor is positive: nothing cancels.

        Memory does not grow with the rows, but for the result. Raises ModelError if there are too few columns.
        """
        columns = self._columns(columns)
        result = np.zeros((len(columns), self.outputs, columns.shape[1] + 1))
        for paths in self._paths or _all_paths(self):
            most = max(self.outputs * self.width, *(part.factors for part in paths.parts))
            rows = max(1, min(_DECISIONS // len(paths.step_node), _FACTORS // most))
            for start in range(0, len(columns), rows):
                values = self._along(paths, columns[start : start + rows])
                result[start : start + rows, :, : self.width] += values
        result[:, :, -1] = self._expected
        return result

    def _along(self, paths: _Paths, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """[rows, outputs, self.width] The contributions that come from the leaves of `paths`."""
        goes_left = self._goes_left(columns[:, self.feature[paths.nodes]], paths.nodes)
        agrees = np.logical_and.reduceat(goes_left[:, paths.step_node] == paths.step_left, paths.starts, axis=1)
        agrees = np.concatenate([agrees, np.ones((len(columns), 1), np.bool_)], axis=1)  # the last fills up short paths
        size = self.outputs * self.width
        sums = np.zeros(len(columns) * size)
        row_places = size * np.arange(len(columns))[:, None]
        for part in paths.parts:
            o = agrees[:, part.layout].transpose(1, 0, 2)  # [M, rows, leaves]
            t, weights = (each[:, None, None] for each in _points((part.layout.shape[0] + 1) // 2))
            factors = part.ratio[:, None, None] * (1 - t)  # [M, points, rows, leaves]
            factors = factors + o[:, None] * t
            products = np.multiply.reduce(factors, axis=0) * weights
            # A factor is 0 only where z = o = 0: then its own contribution is 0, and the product makes the others 0.
            np.divide(products, factors, out=factors, where=factors > 0)
            values = factors[:, 0]
            for i in range(1, factors.shape[1]):  # in this order for any number of rows
                values += factors[:, i]
            values *= o - part.ratio[:, None]
            for i in range(self.leaf_weight.shape[1]):
                places = row_places + (part.place + i * self.width)[:, None]
                weighted = values * self.leaf_weight[part.leaves, i]
                sums += np.bincount(places.ravel(), weighted.ravel(), minlength=len(sums))
        return sums.reshape(len(columns), self.outputs, self.width)

    @property
    def tree_of_node(self) -> NDArray[np.int32]:
        """[nodes]"""
        return self._ways[0]

    @property
    def tree_of_leaf(self) -> NDArray[np.int32]:
        """[leaves]"""
        return self._ways[1]

    @cached_property
    def _expected(self) -> NDArray[np.float64]:
        """[outputs] The mean margin over the training rows, by the cover of the leaves."""
        tree = self.tree_of_leaf
        root_cover = _of_children(self.root, self.cover, self.leaf_cover)
        weighted = self.leaf_weight * (self.leaf_cover / root_cover[tree])[:, None]
        expected = self.base.copy()
        for i in range(self.leaf_weight.shape[1]):
            expected += np.bincount(self.output[tree] + i, weighted[:, i], minlength=self.outputs)
        return expected

    @cached_property
    def _ways(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """The tree of each node and of each leaf, and the number of nodes on the way to each leaf."""
        of_node, of_leaf = np.zeros(len(self.feature), np.int32), np.zeros(len(self.leaf_cover), np.int32)
        depth = np.zeros(len(self.leaf_cover), np.int32)
        _to_children(self.root, np.arange(len(self.root), dtype=np.int32), of_node, of_leaf)
        for level, nodes in enumerate(self.levels, start=1):
            for children in (self.left[nodes], self.right[nodes]):
                _to_children(children, of_node[nodes], of_node, of_leaf)
                depth[~children[children < 0]] = level
        return of_node, of_leaf, depth

    @cached_property
    def _paths(self) -> list[_Paths] | None:
        """The paths of all leaves, if they are few: to lay them out takes longer than to use them for one row."""
        depth = self._ways[2]
        return list(_all_paths(self)) if depth.sum(dtype=np.int64) <= _CACHED else None


@dataclass(frozen=True)
class _Part:
    """Leaves whose paths have M columns; M is even, and a path of an odd number is filled up with z = o = 1."""

    leaves: NDArray[np.int64]  # [leaves]
    layout: NDArray[np.int64]  # [M, leaves] pairs of a leaf and a column of its path; len(pairs) fills up
    ratio: NDArray[np.float64]  # [M, leaves] z, the part of the cover that stays on the path at the column's nodes
    place: NDArray[np.int64]  # [M, leaves] in the contributions of a row, [outputs, width]

    @property
    def factors(self) -> int:
        """Of one row."""
        return int(self.layout.size * self.layout.shape[0] // 2)


@dataclass(frozen=True)
class _Paths:
    """The paths from a root to some leaves, as steps; the steps of a leaf at one column are a pair."""

    nodes: NDArray[np.int32]  # [nodes] that are on these paths
    step_node: NDArray[np.int64]  # [steps] places in `nodes`
    step_left: NDArray[np.bool_]  # [steps] whether the path goes left
    starts: NDArray[np.int64]  # [pairs] the first step of each
    parts: list[_Part]


def _all_paths(trees: Trees) -> Iterator[_Paths]:
    depth = trees._ways[2]
    leaves = np.flatnonzero(depth)
    ends = np.cumsum(depth[leaves], dtype=np.int64)
    parents = _parents(trees)
    start = 0
    while start < len(leaves):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _STEPS, side="right")))
        yield _lay_out(trees, leaves[start:end], parents)
        start = end


def _parents(trees: Trees) -> tuple[NDArray[Any], ...]:
    """The parents of nodes and of leaves, -1 for none; whether each is a left child; the part of a node's cover that
    goes right and left, [2, nodes]."""
    nodes = np.arange(len(trees.feature), dtype=np.int32)
    node_parent, leaf_parent = np.full(len(nodes), -1, np.int32), np.full(len(trees.leaf_cover), -1, np.int32)
    node_left, leaf_left = np.zeros(len(nodes), np.bool_), np.zeros(len(trees.leaf_cover), np.bool_)
    ratio = np.full((2, len(nodes)), 0.5)  # where nothing passed the node
    for side, children in enumerate((trees.right, trees.left)):
        _to_children(children, nodes, node_parent, leaf_parent)
        _to_children(children, np.full(len(nodes), side == 1), node_left, leaf_left)
        cover = _of_children(children, trees.cover, trees.leaf_cover)
        np.divide(cover, trees.cover, out=ratio[side], where=trees.cover > 0)
    return node_parent, leaf_parent, node_left, leaf_left, ratio


def _lay_out(trees: Trees, leaves: NDArray[np.int64], parents: tuple[NDArray[Any], ...]) -> _Paths:
    node_parent, leaf_parent, node_left, leaf_left, ratio = parents
    steps = []
    at, node, is_left = np.arange(len(leaves)), leaf_parent[leaves], leaf_left[leaves]
    while len(at):
        steps.append((at, node, is_left))
        up = node_parent[node]
        inner = up >= 0
        at, node, is_left = at[inner], up[inner], node_left[node[inner]]
    at, node, is_left = (np.concatenate(each) for each in zip(*steps, strict=True))
    order = np.lexsort((trees.feature[node], at))
    at, node, is_left = at[order], node[order], is_left[order]
    feature = trees.feature[node]
    starts = np.flatnonzero(np.append(True, (np.diff(at) != 0) | (np.diff(feature) != 0)))
    pair_ratio = np.append(np.multiply.reduceat(ratio[is_left.astype(np.int8), node], starts), 1.0)
    pair_feature = np.append(feature[starts], 0)
    pairs = np.bincount(at[starts], minlength=len(leaves))
    first_pair = np.cumsum(pairs) - pairs
    parts = []
    for m in np.unique(pairs + pairs % 2):
        alike = np.flatnonzero(pairs + pairs % 2 == m)
        most = max(1, _FACTORS // (int(m) * int(m) // 2))
        for which in np.split(alike, range(most, len(alike), most)):
            layout = first_pair[which] + np.arange(m)[:, None]
            layout[-1, pairs[which] < m] = len(starts)
            output = trees.output[trees.tree_of_leaf[leaves[which]]].astype(np.int64)
            place = output * trees.width + pair_feature[layout]
            parts.append(_Part(leaves[which], layout, pair_ratio[layout], place))
    nodes, step_node = np.unique(node, return_inverse=True)
    return _Paths(nodes, step_node, is_left, starts, parts)


@lru_cache(maxsize=256)
def _points(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points and weights of Gauss and Legendre on [0, 1], exact for polynomials of degree 2 count - 1."""
    points, weights = np.polynomial.legendre.leggauss(count)
    return (points + 1) / 2, weights / 2


def _of_children(children: NDArray[np.int32], of_node: NDArray[Any], of_leaf: NDArray[Any]) -> NDArray[Any]:
    """The value of each child, a node or ~leaf."""
    inner = children >= 0
    values = np.empty(len(children), of_node.dtype)
    values[inner], values[~inner] = of_node[children[inner]], of_leaf[~children[~inner]]
    return values


def _to_children(
    children: NDArray[np.int32], values: NDArray[Any], of_node: NDArray[Any], of_leaf: NDArray[Any]
) -> None:
    """Give each child, a node or ~leaf, its value."""
    inner = children >= 0
    of_node[children[inner]], of_leaf[~children[~inner]] = values[inner], values[~inner]


def _levels(trees: Trees) -> Iterator[NDArray[np.int32]]:
    """Raises ValueError below the deepest level that is allowed."""
    nodes = trees.root[trees.root >= 0]
    for _ in range(MOST_DEPTH):
        if not len(nodes):
            return
        yield nodes
        children = np.concatenate([trees.left[nodes], trees.right[nodes]])
        nodes = children[children >= 0]
    if len(nodes):
        raise ValueError(f"a tree is deeper than {MOST_DEPTH} nodes")


_TYPES: dict[str, tuple[type[np.generic], int]] = {
    "feature": (np.int32, 1),
    "threshold": (np.float32, 1),
    "missing_left": (np.bool_, 1),
    "set_of": (np.int32, 1),
    "left": (np.int32, 1),
    "right": (np.int32, 1),
    "set_offsets": (np.int64, 1),
    "set_codes": (np.int32, 1),
    "leaf_weight": (np.float64, 2),
    "leaf_cover": (np.float64, 1),
    "root": (np.int32, 1),
    "output": (np.int32, 1),
    "base": (np.float64, 1),
}


def _check_shapes(trees: Trees) -> None:
    for name, (dtype, dimensions) in _TYPES.items():
        array = getattr(trees, name)
        if array.dtype != dtype or array.ndim != dimensions:
            raise ValueError(
                f"{name} is {array.dtype} of {array.ndim} dimensions, not {dtype.__name__} of {dimensions}"
            )
    for names in (("feature", "threshold", "missing_left", "set_of", "left", "right"), ("root", "output")):
        lengths = {name: len(getattr(trees, name)) for name in names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays that belong together differ in length: {lengths}")
    if len(trees.leaf_weight) != len(trees.leaf_cover):
        raise ValueError(f"{len(trees.leaf_weight)} leaves have weights, {len(trees.leaf_cover)} a cover")
    vector, outputs = trees.leaf_weight.shape[1], len(trees.base)
    if not 1 <= vector <= outputs:
        raise ValueError(f"a leaf holds {vector} numbers for {outputs} outputs")
    if not _within(trees.output, 0, outputs - vector + 1):
        raise ValueError(f"a tree adds to an output that is not one of the {outputs}")


def _check_sets(trees: Trees) -> None:
    offsets, codes = trees.set_offsets, trees.set_codes
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(codes) or (np.diff(offsets) < 0).any():
        raise ValueError("set_offsets do not divide set_codes into sets")
    if not _within(trees.set_of, -1, len(offsets) - 1):
        raise ValueError(f"a node has a set that is not one of the {len(offsets) - 1}")
    if not _within(codes, 0, MOST_CODE + 1):
        raise ValueError(f"a category's code is not in 0 … {MOST_CODE}")
    first = np.zeros(len(codes) + 1, np.bool_)
    first[offsets] = True
    if not ((np.diff(codes) > 0) | first[1:-1]).all():
        raise ValueError("the codes of a set do not ascend")


def _check_structure(trees: Trees) -> None:
    nodes, leaves = len(trees.feature), len(trees.leaf_cover)
    if nodes and int(trees.feature.min()) < 0:
        raise ValueError("a node reads a column below 0")
    children = np.concatenate([trees.left, trees.right, trees.root])
    if not _within(children, -leaves, nodes):
        raise ValueError(f"a child is neither one of the {nodes} nodes nor one of the {leaves} leaves")
    for name, ways in (("node", children[children >= 0]), ("leaf", ~children[children < 0])):
        if (np.bincount(ways, minlength=nodes if name == "node" else leaves) != 1).any():
            raise ValueError(f"a {name} has no parent, or more than one")
    # With one parent each, which stands before its children, the nodes are trees: there is no way round in a circle.
    at = np.arange(nodes)
    for side in (trees.left, trees.right):
        if ((side >= 0) & (side <= at)).any():
            raise ValueError("a node stands before its parent")
    trees.levels  # noqa: B018  raises if a tree is too deep


def _check_numbers(trees: Trees) -> None:
    if np.isnan(trees.threshold).any():
        raise ValueError("a threshold is NaN")
    if (trees.missing_left.view(np.uint8) > 1).any():
        raise ValueError("missing_left holds a byte that is neither 0 nor 1")
    if not (np.isfinite(trees.leaf_weight).all() and np.isfinite(trees.base).all()):
        raise ValueError("a leaf's weight or a base value is not finite")
    with np.errstate(over="ignore"):
        root_cover = _of_children(trees.root, trees.cover, trees.leaf_cover)
    if not ((trees.leaf_cover >= 0).all() and np.isfinite(root_cover).all() and (root_cover > 0).all()):
        raise ValueError("a cover is negative or not finite, or all covers of a tree are 0")


def _within(values: NDArray[Any], low: int, high: int) -> bool:
    """Whether low <= value < high for all of them."""
    return not len(values) or (int(values.min()) >= low and int(values.max()) < high)
