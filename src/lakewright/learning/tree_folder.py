"""Leaves an ensemble of trees in a model folder: model.safetensors for its reasons, model.onnx for its predictions.

The margins of the trees become the task's logits by a link:

    margins        the margins are the logits: a number, or one margin a class
    two_classes    one margin m is the logits 0 and m, whose softmax is the logistic function of m
    probabilities  the margins are probabilities p, and the logits ln p, at least ln LEAST
    log            the number is e to the margin
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from lakewright.learning.tree_graph import graph
from lakewright.model.trees import Trees

Link = Literal["margins", "two_classes", "probabilities", "log"]
LEAST = 1e-15  # a probability of 0 has no logarithm


def leave(trees: Trees, width: int, link: Link, folder: Path) -> None:
    """`width`: the columns that the recipe gives."""
    import onnx

    trees.save(folder / "model.safetensors")
    model = graph(trees, width)
    _linked(model, link, trees.outputs)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")


def _linked(model: Any, link: Link, outputs: int) -> None:
    from onnx import TensorProto, helper, numpy_helper

    if link == "margins":
        return
    (network,) = (model.graph,)
    for node in network.node:
        node.output[:] = ["margins" if name == "logits" else name for name in node.output]
    if link == "two_classes":
        constants = {"zero": np.zeros((1, 1), np.float32)}
        added = [
            helper.make_node("Mul", ["margins", "zero"], ["first"]),
            helper.make_node("Concat", ["first", "margins"], ["logits"], axis=1),
        ]
        outputs = 2
    elif link == "probabilities":
        constants = {"least": np.array(LEAST, np.float32)}
        added = [
            helper.make_node("Max", ["margins", "least"], ["positive"]),
            # A logarithm in float32 differs by its last digit from program to program
            helper.make_node("Cast", ["positive"], ["positive_doubles"], to=TensorProto.DOUBLE),
            helper.make_node("Log", ["positive_doubles"], ["logarithms"]),
            helper.make_node("Cast", ["logarithms"], ["logits"], to=TensorProto.FLOAT),
        ]
    else:
        constants, added = {}, [helper.make_node("Exp", ["margins"], ["logits"])]
    network.node.extend(added)
    network.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    del network.output[:]
    network.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", outputs]))
