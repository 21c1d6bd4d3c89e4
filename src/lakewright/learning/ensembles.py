"""Models of LightGBM, XGBoost, scikit-learn and Spark ML as `Trees`: what each library's comparisons, missing values,
categories and weights mean, in one place.

What is read are the models' own texts, arrays and files, never a pickle. A conversion is exact: for float32 columns a
row reaches the leaf that it reaches in the library, and the leaf's weight is the library's double (XGBoost's float32).
Margins are those before the link (`raw_score`, `output_margin`). A TrainingError refuses what `Trees` cannot express.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.model.trees import MOST_CODE, Trees


@dataclass(frozen=True)
class _Tree:
    """One tree; a child is a node of it, larger than its parent, or ~leaf. No nodes: a single leaf."""

    feature: NDArray[Any]
    threshold: NDArray[np.float32]
    missing_left: NDArray[np.bool_]
    left: NDArray[Any]
    right: NDArray[Any]
    sets: Mapping[int, NDArray[Any]]  # node → the codes that go left
    leaf_weight: NDArray[np.float64]  # [leaves, vector]
    leaf_cover: NDArray[np.float64]
    output: int = 0


def from_lightgbm(booster: Any) -> Trees:
    """The margins of `booster.predict(columns, raw_score=True)`, up to the best iteration where there is one.

    LightGBM folds the initial score into the leaves, and so the weights of DART. The margins of its forests (boosting:
    rf) are the means over their trees, of which its predictions are the link; its raw scores there are sums. A set of
    categories goes left; a missing or an unknown one goes right. Raises TrainingError for linear trees, and for
    zero_as_missing, where zeros can go another way than the numbers around them.
    """
    header, *blocks = booster.model_to_string().split("\nTree=")  # to the best iteration, as predict does
    per_iteration = int(_lines(header)["num_tree_per_iteration"])
    average = "average_output" in header.splitlines()
    scale = per_iteration / len(blocks) if average and blocks else 1.0
    trees = []
    for i, block in enumerate(blocks):
        values = _lines(block.split("\nend of trees")[0])
        trees.append(_lightgbm_tree(values, scale, i % per_iteration))
    return _assembled(trees, np.zeros(per_iteration))


def _lines(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _lightgbm_tree(values: Mapping[str, str], scale: float, output: int) -> _Tree:
    def numbers(name: str, dtype: type) -> NDArray[Any]:
        return np.array(values.get(name, "").split(), dtype=dtype)

    if values.get("is_linear", "0") != "0":
        raise _refused("LightGBM's linear trees", "set linear_tree: false")
    leaf_weight = numbers("leaf_value", np.float64)[:, None] * scale
    if int(values["num_leaves"]) == 1:
        return _single(leaf_weight[0], output)
    kind = numbers("decision_type", np.int64)  # 1: categorical, 2: default left, from 4: 0 none, 1 zero, 2 NaN
    missing, is_set = kind >> 2 & 3, (kind & 1).astype(np.bool_)
    if (missing[~is_set] == 1).any():
        raise _refused("LightGBM's zeros as missing values", "set zero_as_missing: false, and give NaN for missing")
    threshold = numbers("threshold", np.float64)
    missing_left = np.where(missing == 2, kind & 2 != 0, threshold >= 0)  # none: NaN is read as 0
    sets = {}
    if is_set.any():
        ends, words = numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.uint32)
        for node in np.flatnonzero(is_set):  # the threshold of such a node is the number of its set
            place = int(threshold[node])
            bits = words[ends[place] : ends[place + 1]].astype("<u4").view(np.uint8)
            sets[int(node)] = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    return _Tree(
        feature=numbers("split_feature", np.int32),
        threshold=np.where(is_set, np.float32(0), floor32(threshold)),
        missing_left=missing_left & ~is_set,
        left=numbers("left_child", np.int32),
        right=numbers("right_child", np.int32),
        sets=sets,
        leaf_weight=leaf_weight,
        leaf_cover=numbers("leaf_count", np.float64),
        output=output,
    )


def from_xgboost(booster: Any) -> Trees:
    """The margins of `booster.predict(…, output_margin=True)`, up to the best iteration where early stopping found one
    (as XGBoost's scikit-learn classes predict). Categories are the codes with which the booster was trained.

    `column < t` becomes `column <= the float32 before t`. XGBoost's sets go right, and an unknown category left: the
    sides are exchanged. The weights of DART multiply the leaves. Raises TrainingError for gblinear and for trees with a
    vector in each leaf (multi_strategy: multi_output_tree).
    """
    document = json.loads(bytes(booster.save_raw("json")))
    learner = document["learner"]
    name = learner["gradient_booster"]["name"]
    if name not in ("gbtree", "dart"):
        raise _refused(f"XGBoost's booster {name}", "set booster: gbtree or dart")
    model = (learner["gradient_booster"]["gbtree"] if name == "dart" else learner["gradient_booster"])["model"]
    count = len(model["trees"])
    best = learner["attributes"].get("best_iteration")
    if best is not None:
        count = model["iteration_indptr"][int(best) + 1]
    scales = learner["gradient_booster"].get("weight_drop") or [1.0] * count
    trees = [
        _xgboost_tree(tree, scale, output)
        for tree, scale, output in zip(model["trees"][:count], scales, model["tree_info"], strict=False)
    ]
    return _assembled(trees, _xgboost_base(document, model))


def _xgboost_base(document: dict[str, Any], model: dict[str, Any]) -> NDArray[np.float64]:
    """[outputs] The margin without trees, as XGBoost itself gives it: each objective has its own link from the
    base score to the margin. Changes `document`."""
    from xgboost import Booster, DMatrix

    learner = document["learner"]
    learner |= {"feature_names": [], "feature_types": []}
    model["cats"] = {"enc": [], "feature_segments": [], "sorted_idx": []}
    for tree in model["trees"][:1]:  # its leaves become 0; a model of no trees at all would leave out the link
        leaf = np.array(tree["left_children"]) < 0
        tree["split_conditions"] = np.where(leaf, 0.0, tree["split_conditions"]).tolist()
    one = len(model["trees"][:1])
    model |= {"trees": model["trees"][:1], "tree_info": [0] * one, "iteration_indptr": [*range(one + 1)]}
    model["gbtree_model_param"] |= {"num_trees": str(one), "num_parallel_tree": "1"}
    if "weight_drop" in learner["gradient_booster"]:
        learner["gradient_booster"]["weight_drop"] = [1.0] * one
    empty = Booster()
    empty.load_model(bytearray(json.dumps(document).encode()))
    row = DMatrix(np.full((1, int(learner["learner_model_param"]["num_feature"])), np.nan, dtype=np.float32))
    return np.asarray(empty.predict(row, output_margin=True), dtype=np.float64).reshape(-1)


def _xgboost_tree(values: Mapping[str, Any], scale: float, output: int) -> _Tree:
    if int(values["tree_param"]["size_leaf_vector"]) > 1:
        raise _refused("XGBoost's trees with several outputs", "set multi_strategy: one_output_per_tree")
    left, right = (np.array(values[name], np.int64) for name in ("left_children", "right_children"))
    condition, hessian = np.array(values["split_conditions"], np.float32), np.array(values["sum_hessian"], np.float64)
    order = _reachable(left, right)  # pruning leaves deleted nodes behind
    nodes, leaves = order[left[order] >= 0], order[left[order] < 0]
    leaf_weight = condition[leaves].astype(np.float64)[:, None] * scale
    if not len(nodes):
        return _single(leaf_weight[0], output)
    names = np.empty(len(left), np.int64)
    names[nodes], names[leaves] = np.arange(len(nodes)), ~np.arange(len(leaves))
    is_set = np.array(values["split_type"])[nodes] == 1
    with np.errstate(under="ignore"):  # the float32 before 0 is a denormal one
        threshold = np.nextafter(condition[nodes], np.float32(-np.inf))
    starts = zip(values["categories_nodes"], values["categories_segments"], values["categories_sizes"], strict=True)
    sets = {int(names[node]): np.array(values["categories"][at : at + size], np.int64) for node, at, size in starts}
    return _Tree(
        feature=np.array(values["split_indices"], np.int64)[nodes],
        threshold=np.where(is_set, np.float32(0), threshold),
        missing_left=(np.array(values["default_left"])[nodes] != 0) ^ is_set,
        left=names[np.where(is_set, right[nodes], left[nodes])],
        right=names[np.where(is_set, left[nodes], right[nodes])],
        sets=sets,
        leaf_weight=leaf_weight,
        leaf_cover=hessian[leaves],
        output=output,
    )


def _reachable(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes of a tree, level by level."""
    levels, level = [], np.zeros(1, np.int64)
    while len(level):
        levels.append(level)
        inner = level[left[level] >= 0]
        level = np.concatenate([left[inner], right[inner]])
    return np.concatenate(levels)


def from_forest(model: Any) -> Trees:
    """A fitted RandomForest or ExtraTrees of scikit-learn: its regressors' predictions, its classifiers' probabilities.

    A classifier's margins are the means of its trees' probabilities, one output for each class in `classes_`'s order;
    they cannot be the logarithms, which are no sum over trees. Missing values go where the forest sends them, also at
    nodes that met none. Raises TrainingError for a classifier of several truths, and for other models.
    """
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    classifier = isinstance(model, (RandomForestClassifier, ExtraTreesClassifier))
    if not classifier and not isinstance(model, (RandomForestRegressor, ExtraTreesRegressor)):
        raise _refused(f"a model of scikit-learn's class {type(model).__name__}", "train a RandomForest or ExtraTrees")
    if classifier and model.n_outputs_ > 1:
        raise _refused("a forest that classifies several truths at once", "train a forest for each truth")
    count = len(model.estimators_)
    trees = [_forest_tree(estimator.tree_, classifier, count) for estimator in model.estimators_]
    return _assembled(trees, np.zeros(trees[0].leaf_weight.shape[1]))


def _forest_tree(tree: Any, classifier: bool, count: int) -> _Tree:
    inner = tree.children_left >= 0
    nodes, leaves = np.flatnonzero(inner), np.flatnonzero(~inner)
    value = tree.value[leaves, 0, :] if classifier else tree.value[leaves, :, 0]
    if classifier:
        value = value / value.sum(axis=1, keepdims=True)
    leaf_weight = value.astype(np.float64) / count
    if not len(nodes):
        return _single(leaf_weight[0], 0)
    names = np.empty(len(inner), np.int64)
    names[nodes], names[leaves] = np.arange(len(nodes)), ~np.arange(len(leaves))
    return _Tree(
        feature=tree.feature[nodes],
        threshold=floor32(tree.threshold[nodes]),
        missing_left=np.asarray(tree.missing_go_to_left)[nodes] != 0,
        left=names[tree.children_left[nodes]],
        right=names[tree.children_right[nodes]],
        sets={},
        leaf_weight=leaf_weight,
        leaf_cover=tree.weighted_n_node_samples[leaves],
    )


def from_spark(saved: Path, kind: Literal["gbt", "forest"], classes: int = 0) -> Trees:
    """A model of Spark ML, from the Parquet files in the folder that its `save` wrote, without Spark.

    A forest's margins are the means over its trees: of their predictions, or with `classes` of each class's share of
    the rows in a leaf. A GBT's are its weighted sum F, or with `classes`, two of them, 2F: its loss is
    log(1 + exp(−2yF)), so that 2F are the log odds (Friedman 2001, section 4.4). A number above a threshold goes right,
    and so does a missing one, which no comparison takes for at most the threshold. Raises TrainingError for splits by
    categories.
    """
    import pyarrow.dataset as ds

    forest = ds.dataset(saved / "treesMetadata", format="parquet").to_table(columns=["_1", "_3"]).to_pydict()
    weights = dict(zip(forest["_1"], forest["_3"], strict=True))
    nodes = ds.dataset(saved / "data", format="parquet").to_table()
    tree_of = nodes["treeID"].to_numpy()
    each = nodes["nodeData"].to_pylist()
    trees = []
    for number in sorted(weights):
        own = sorted((each[place] for place in np.flatnonzero(tree_of == number)), key=lambda node: int(node["id"]))
        scale = weights[number] * (2.0 if classes else 1.0) if kind == "gbt" else 1 / len(weights)
        trees.append(_spark_tree(own, scale, classes if kind == "forest" else 0))
    return _assembled(trees, np.zeros(classes if kind == "forest" and classes else 1))


def _spark_tree(nodes: Sequence[Mapping[str, Any]], scale: float, classes: int) -> _Tree:
    """Nodes are numbered from the root, each before its children. `classes`: a leaf holds their shares."""
    inner = np.array([node["leftChild"] >= 0 for node in nodes])
    splits = [node["split"] for node, is_inner in zip(nodes, inner, strict=True) if is_inner]
    leaves = [node for node, is_inner in zip(nodes, inner, strict=True) if not is_inner]
    if any(split["numCategories"] >= 0 for split in splits):
        raise _refused("Spark ML's splits by categories", "let the recipe encode them: one_hot, or dense")
    if classes:
        counts = np.array([leaf["impurityStats"] for leaf in leaves])
        leaf_weight = counts / counts.sum(axis=1, keepdims=True) * scale
    else:
        leaf_weight = np.array([[leaf["prediction"]] for leaf in leaves]) * scale
    if not splits:
        return _single(leaf_weight[0], 0)
    names = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1))
    left, right = (np.array([node[side] for node in nodes])[inner] for side in ("leftChild", "rightChild"))
    return _Tree(
        feature=np.array([split["featureIndex"] for split in splits]),
        threshold=floor32(np.array([split["leftCategoriesOrThreshold"][0] for split in splits])),
        missing_left=np.zeros(len(splits), np.bool_),
        left=names[left],
        right=names[right],
        sets={},
        leaf_weight=leaf_weight,
        leaf_cover=np.array([leaf["rawCount"] for leaf in leaves], np.float64),
    )


def mean_of(members: Sequence[Trees], weights: Sequence[float] | None = None) -> Trees:
    """One ensemble whose margins and contributions are the mean of the members', by `weights` if there are any: the
    models of several folds, or of several learners with margins of the same meaning.

    Members with shorter leaf vectors get zeros for the other outputs. Raises ValueError if there are no members, if
    they differ in outputs, or if the weights are negative or all 0.
    """
    if not members or len({each.outputs for each in members}) > 1:
        raise ValueError(f"a mean needs members of the same outputs, not {[each.outputs for each in members]}")
    share = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(share) != len(members) or not np.isfinite(share).all() or (share < 0).any() or not share.sum() > 0:
        raise ValueError(f"{len(members)} members need as many weights, none below 0 and one above it, not {weights}")
    share = share / share.sum()
    vector = max(each.leaf_weight.shape[1] for each in members)
    widened = [_widened(each, vector) for each in members]
    base = np.sum([each.base * scale for each, scale in zip(members, share, strict=True)], axis=0)
    parts = [
        replace(each, leaf_weight=leaf_weight * scale, output=output)
        for each, (leaf_weight, output), scale in zip(members, widened, share, strict=True)
    ]
    return _joined(parts, [output for _, output in widened], base)


def side_by_side(members: Sequence[Trees]) -> Trees:
    """One ensemble with the outputs of all members, in order: those of the first, of the second … Raises ValueError if
    there are no members, or if one has leaves with a vector."""
    if not members or any(each.leaf_weight.shape[1] > 1 for each in members):
        raise ValueError("only members with one number in a leaf, at least one, stand side by side")
    starts = np.cumsum([0, *(each.outputs for each in members)])
    outputs = [(each.output + start).astype(np.int32) for each, start in zip(members, starts, strict=False)]
    return _joined(members, outputs, np.concatenate([each.base for each in members]))


def _joined(members: Sequence[Trees], outputs: Sequence[NDArray[Any]], base: NDArray[np.float64]) -> Trees:
    """All trees of the members, with these outputs for each member's trees."""
    columns: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(Trees)}
    nodes = leaves = sets = codes = 0
    for each, output in zip(members, outputs, strict=True):
        moved = {
            "set_of": np.where(each.set_of >= 0, each.set_of + sets, -1),
            "set_offsets": each.set_offsets[:-1] + codes,
            "output": output,
            **{name: _moved(getattr(each, name), nodes, leaves) for name in ("left", "right", "root")},
        }
        for name, arrays in columns.items():
            arrays.append(moved.get(name, getattr(each, name)))
        nodes, leaves = nodes + len(each.feature), leaves + len(each.leaf_cover)
        sets, codes = sets + len(each.set_offsets) - 1, codes + len(each.set_codes)
    columns["set_offsets"].append(np.array([codes], np.int64))
    joined = {name: np.concatenate(parts).astype(parts[0].dtype) for name, parts in columns.items() if name != "base"}
    return Trees(**joined, base=base)


def _widened(trees: Trees, vector: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The leaves' weights as [leaves, vector], and the first output of each tree: as many before it as still fit."""
    narrow = trees.leaf_weight.shape[1]
    if narrow == vector:
        return trees.leaf_weight, trees.output
    output = np.minimum(trees.output, trees.outputs - vector).astype(np.int32)
    shift = (trees.output - output)[trees.tree_of_leaf]
    wide = np.zeros((len(trees.leaf_weight), vector))
    wide[np.arange(len(wide))[:, None], shift[:, None] + np.arange(narrow)] = trees.leaf_weight
    return wide, output


def _moved(children: NDArray[Any], nodes: int, leaves: int) -> NDArray[Any]:
    """Children, after `nodes` nodes and `leaves` leaves were put before theirs."""
    return np.where(children >= 0, children + nodes, children - leaves)


def floor32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value; for every float32 x, x <= value where x <= this."""
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(np.float32)
        return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _single(leaf_weight: NDArray[np.float64], output: int) -> _Tree:
    """A tree of one leaf; what its cover is does not matter."""
    none = np.empty(0, np.int32)
    nothing = none.astype(np.float32), none.astype(np.bool_)
    return _Tree(none, *nothing, none, none, {}, leaf_weight[None], np.ones(1), output)


def _assembled(trees: Sequence[_Tree], base: NDArray[np.float64]) -> Trees:
    nodes = leaves = 0
    left, right, root, set_of = [], [], [], []
    sets: list[NDArray[Any]] = []
    for tree in trees:
        left.append(_moved(tree.left, nodes, leaves))
        right.append(_moved(tree.right, nodes, leaves))
        root.append(nodes if len(tree.feature) else ~leaves)
        at = np.full(len(tree.feature), -1, np.int32)
        for node, codes in tree.sets.items():
            at[node] = len(sets)
            sets.append(np.sort(codes))
        set_of.append(at)
        nodes, leaves = nodes + len(tree.feature), leaves + len(tree.leaf_cover)
    if any(len(codes) and codes[-1] > MOST_CODE for codes in sets):
        raise _refused(f"a category's code above {MOST_CODE}", "let the recipe join rare categories")
    offsets = np.cumsum([0, *(len(codes) for codes in sets)])

    def joined(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
        return np.concatenate([*arrays, np.empty(0, dtype)]).astype(dtype)

    weights = [tree.leaf_weight for tree in trees] or [np.empty((0, 1))]
    covers = [tree.leaf_cover if tree.leaf_cover.sum() > 0 else np.ones(len(tree.leaf_cover)) for tree in trees]
    try:
        return Trees(
            feature=joined([tree.feature for tree in trees], np.int32),
            threshold=joined([tree.threshold for tree in trees], np.float32),
            missing_left=joined([tree.missing_left for tree in trees], np.bool_),
            set_of=joined(set_of, np.int32),
            left=joined(left, np.int32),
            right=joined(right, np.int32),
            set_offsets=offsets.astype(np.int64),
            set_codes=joined(sets, np.int32),
            leaf_weight=np.concatenate(weights),
            leaf_cover=joined(covers, np.float64),
            root=np.array(root, np.int32),
            output=np.array([tree.output for tree in trees], np.int32),
            base=base,
        )
    except ValueError as failure:
        raise TrainingError(
            f"the trained trees are not valid: {failure}", "look for infinite or huge truths and weights in the table"
        ) from failure


def _refused(thing: str, remedy: str) -> TrainingError:
    return TrainingError(f"{thing} cannot be stored as trees", remedy)
