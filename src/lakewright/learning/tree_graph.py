"""An ensemble of trees as an ONNX graph: `columns` float32 [rows, width] → `logits` float32 [rows, outputs].

Leaves with one number become a TreeEnsemble (ai.onnx.ml 5), which knows sets of categories. Leaves with a vector become
a TreeEnsembleRegressor (ai.onnx.ml 3), since a leaf of a TreeEnsemble has one target: each tree would be there once for
each class. Only a mixture of vectors and sets, a mean of a forest and boosted trees, repeats its trees.

What parity tests showed about ONNX Runtime 1.23, and what this module does about it:

- In float32, the sum over the trees depends on the threads and on the number of rows. Everything is computed in double,
  and rounded to float32 at the end: a row has the same logits alone and among others.
- Neighbouring nodes over small sets of one column are joined if their left children are equal, even if missing values
  go different ways. A set with a member above 30 is never joined, so each set gets one more, `UNREACHABLE`.
- A TreeEnsembleRegressor does not give its base to an output that no tree adds to. The base is a tree of its own.
- A tree of one leaf goes into the base. A TreeEnsemble could only hold it as a node with one leaf on both sides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.model.trees import Trees

OPSET, IR = 17, 8  # those of the other graphs
AT_MOST, MEMBER = 0, 6  # the modes BRANCH_LEQ and BRANCH_MEMBER
UNREACHABLE = 16_777_217.0  # 2 ** 24 + 1: ONNX Runtime takes whole members only, and no float32 column has this value


def graph(trees: Trees, width: int) -> Any:
    """The onnx.ModelProto for columns of this width. Raises ValueError if it is 0 or less than `trees.width`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if width < max(1, trees.width):
        raise ValueError(f"the trees read {trees.width} columns, not {width}")
    base, trees = _folded(trees)
    nodes = [helper.make_node("Cast", ["columns"], ["doubles"], to=TensorProto.DOUBLE)]
    constants = []
    if trees.leaf_weight.shape[1] > 1 and not (trees.set_of >= 0).any():
        version = 3
        nodes.append(helper.make_node("TreeEnsembleRegressor", ["doubles"], ["logits"], **_vector_trees(trees, base)))
    else:
        version = 5
        nodes += [
            helper.make_node("TreeEnsemble", ["doubles"], ["sums"], **_number_trees(trees)),
            helper.make_node("Add", ["sums", "base"], ["double_logits"]),
            helper.make_node("Cast", ["double_logits"], ["logits"], to=TensorProto.FLOAT),
        ]
        constants.append(numpy_helper.from_array(base, "base"))
    network = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", trees.outputs])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(network, opset_imports=opsets, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def without_vectors(model: Any, trees: Trees) -> None:
    """Puts TreeEnsembles (ai.onnx.ml 5) in place of a TreeEnsembleRegressor, which newer graphs may not hold; `trees`
    are those of the model. Of a forest's two probabilities the trees compute one; of more, each is a copy of the trees.
    """
    from onnx import TensorProto, helper, numpy_helper

    (at,) = (i for i, node in enumerate(model.graph.node) if node.op_type == "TreeEnsembleRegressor")
    old = model.graph.node[at]
    ((columns,), (output,)) = (old.input, old.output)
    totals = trees.leaf_weight.sum(axis=1)
    two = trees.outputs == trees.leaf_weight.shape[1] == 2 and float(np.ptp(totals)) < 1e-12
    total = float(totals[0] * len(trees.root) + trees.base.sum()) if two else 0.0
    if two:
        trees = replace(trees, leaf_weight=trees.leaf_weight[:, 1:], output=trees.output, base=trees.base[1:])
    base, trees = _folded(trees)
    added = [
        helper.make_node("TreeEnsemble", [columns], ["tree_sums"], **_number_trees(trees)),
        helper.make_node("Add", ["tree_sums", "tree_base"], ["tree_margins"]),
    ]
    constants = {"tree_base": base}
    if two:
        constants["tree_total"] = np.array(total)
        added += [
            helper.make_node("Sub", ["tree_total", "tree_margins"], ["tree_others"]),
            helper.make_node("Concat", ["tree_others", "tree_margins"], ["tree_both"], axis=1),
        ]
    added.append(helper.make_node("Cast", [added[-1].output[0]], [output], to=TensorProto.FLOAT))
    nodes = [*model.graph.node[:at], *added, *model.graph.node[at + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    for opset in model.opset_import:
        if opset.domain == "ai.onnx.ml":
            opset.version = 5


def _folded(trees: Trees) -> tuple[NDArray[np.float64], Trees]:
    """The base with the trees of one leaf, and the other trees: one of two leaves with 0 if there are no others."""
    single, base = trees.root < 0, trees.base.copy()
    vector = trees.leaf_weight.shape[1]
    np.add.at(base, trees.output[single][:, None] + np.arange(vector), trees.leaf_weight[~trees.root[single]])
    if single.all():
        return base, _nothing(trees.outputs)
    is_other = np.ones(len(trees.leaf_cover), np.bool_)
    is_other[~trees.root[single]] = False
    place = np.cumsum(is_other) - 1

    def moved(children: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.where(children >= 0, children, ~place[np.minimum(~children, len(place) - 1)]).astype(np.int32)

    others = replace(
        trees,
        left=moved(trees.left),
        right=moved(trees.right),
        leaf_weight=trees.leaf_weight[is_other],
        leaf_cover=trees.leaf_cover[is_other],
        root=trees.root[~single],
        output=trees.output[~single],
    )
    return base, others


def _nothing(outputs: int) -> Trees:
    """A tree that adds 0."""
    return Trees(
        feature=np.zeros(1, np.int32),
        threshold=np.zeros(1, np.float32),
        missing_left=np.zeros(1, np.bool_),
        set_of=np.full(1, -1, np.int32),
        left=np.array([~0], np.int32),
        right=np.array([~1], np.int32),
        set_offsets=np.zeros(1, np.int64),
        set_codes=np.zeros(0, np.int32),
        leaf_weight=np.zeros((2, 1)),
        leaf_cover=np.ones(2),
        root=np.zeros(1, np.int32),
        output=np.zeros(1, np.int32),
        base=np.zeros(outputs),
    )


def _vector_trees(trees: Trees, base: NDArray[np.float64]) -> dict[str, Any]:
    """The attributes of a TreeEnsembleRegressor: nodes and leaves in one list, each tree with its root first. The last
    tree is a leaf that adds the base."""
    nodes, leaves, vector = len(trees.feature), len(trees.leaf_cover), trees.leaf_weight.shape[1]
    zeros = np.zeros(leaves + 1, np.int64)
    tree = np.concatenate([trees.tree_of_node, trees.tree_of_leaf, [len(trees.root)]])
    order = np.argsort(tree, kind="stable")  # a root stands before its tree's other nodes, and they before the leaves

    def both(of_nodes: NDArray[Any], of_leaves: NDArray[Any] = zeros) -> NDArray[Any]:
        return np.concatenate([of_nodes, of_leaves])[order]

    def children(side: NDArray[np.int32]) -> list[int]:
        return _ints(both(np.where(side >= 0, side, nodes + ~side.astype(np.int64))))

    def targets(of_leaves: NDArray[Any], of_base: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([np.broadcast_to(of_leaves, (leaves, vector)).ravel(), of_base])

    outputs = np.arange(trees.outputs)
    return {
        "domain": "ai.onnx.ml",
        "n_targets": trees.outputs,
        "nodes_treeids": _ints(tree[order]),
        "nodes_nodeids": _ints(order),
        "nodes_featureids": _ints(both(trees.feature)),
        "nodes_values_as_tensor": _tensor(both(trees.threshold)),
        "nodes_modes": both(np.full(nodes, b"BRANCH_LEQ"), np.full(leaves + 1, b"LEAF")).tolist(),
        "nodes_missing_value_tracks_true": _ints(both(trees.missing_left)),
        "nodes_truenodeids": children(trees.left),
        "nodes_falsenodeids": children(trees.right),
        "target_treeids": _ints(targets(trees.tree_of_leaf[:, None], np.full(trees.outputs, len(trees.root)))),
        "target_nodeids": _ints(targets(nodes + np.arange(leaves)[:, None], np.full(trees.outputs, nodes + leaves))),
        "target_ids": _ints(targets(trees.output[trees.tree_of_leaf][:, None] + outputs[:vector], outputs)),
        "target_weights_as_tensor": _tensor(targets(trees.leaf_weight, base)),
    }


def _number_trees(trees: Trees) -> dict[str, Any]:
    """The attributes of a TreeEnsemble; a tree of vectors is there once for each of their numbers."""
    from onnx import numpy_helper

    nodes, leaves, vector = len(trees.feature), len(trees.leaf_cover), trees.leaf_weight.shape[1]
    copies = np.arange(vector)[:, None]

    def repeated(values: NDArray[Any]) -> NDArray[Any]:
        return np.tile(values, vector)

    def children(side: NDArray[np.int32]) -> list[int]:
        return _ints(np.where(side >= 0, side + copies * nodes, ~side + copies * leaves).ravel())

    has_set = trees.set_of >= 0
    attributes = {
        "domain": "ai.onnx.ml",
        "n_targets": trees.outputs,
        "tree_roots": _ints((trees.root + copies * nodes).ravel()),
        "nodes_featureids": _ints(repeated(trees.feature)),
        "nodes_splits": _tensor(repeated(trees.threshold)),
        "nodes_modes": numpy_helper.from_array(repeated(np.where(has_set, MEMBER, AT_MOST)).astype(np.uint8)),
        "nodes_missing_value_tracks_true": _ints(repeated(trees.missing_left)),
        "nodes_truenodeids": children(trees.left),
        "nodes_trueleafs": _ints(repeated(trees.left < 0)),
        "nodes_falsenodeids": children(trees.right),
        "nodes_falseleafs": _ints(repeated(trees.right < 0)),
        "leaf_weights": _tensor(trees.leaf_weight.T.ravel()),
        "leaf_targetids": _ints((trees.output[trees.tree_of_leaf] + copies).ravel()),
    }
    if has_set.any():
        sets = np.split(trees.set_codes.astype(np.float64), trees.set_offsets[1:-1])
        members = [np.append(sets[i], [UNREACHABLE, np.nan]) for i in trees.set_of[has_set]]  # NaN ends a set
        attributes["membership_values"] = _tensor(repeated(np.concatenate(members)))
    return attributes


def _ints(values: NDArray[Any]) -> list[int]:
    return list(values.astype(np.int64).tolist())


def _tensor(values: NDArray[Any]) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(values.astype(np.float64))
