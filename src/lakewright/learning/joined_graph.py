"""Several networks as one ONNX graph: the weighted mean of what they predict.

    classes   logits = slope · ln(Σ weight · softmax(logits of a member)) + shift
    a number  logits = Σ weight · logits of a member

Each member reads its own columns of the recipe's, and the recipe's sequences as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.learning.blending import LEAST, Calibration
from lakewright.learning.tree_graph import without_vectors
from lakewright.model.trees import Trees

COLUMNS, WEIGHTS = "columns", "model.safetensors"


@dataclass(frozen=True)
class Member:
    """One network of the mean."""

    path: Path  # of its ONNX file
    places: NDArray[np.int64]  # of its columns among the recipe's
    weight: float


def leave(
    members: Sequence[Member], example: Mapping[str, NDArray[Any]], calibration: Calibration | None, path: Path
) -> None:
    """Writes the graph. `example` is what the recipe gives for some rows: the graph takes all of that, also what no
    member reads. `calibration`: of classes, None for a number."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}
    opsets: dict[str, int] = {"": 17}
    parts, outputs = [], None
    for number, member in enumerate(members):
        prefix = f"m{number}_"
        model = onnx.load(member.path)
        if any(node.op_type == "TreeEnsembleRegressor" for node in model.graph.node):
            without_vectors(model, Trees.open(member.path.parent / WEIGHTS))
        model = onnx.compose.add_prefix(model, prefix)
        for opset in model.opset_import:
            domain = "" if opset.domain == "ai.onnx" else opset.domain
            opsets[domain] = max(opsets.get(domain, 0), opset.version)
        for each in model.graph.input:
            shared = each.name.removeprefix(prefix)
            if shared == COLUMNS:
                chosen = f"places_{_name(constants, member.places)}"
                constants[chosen] = member.places
                nodes.append(helper.make_node("Gather", [shared, chosen], [each.name], axis=1))
            else:
                nodes.append(helper.make_node("Identity", [shared], [each.name]))
        nodes += model.graph.node
        constants |= {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        outputs = [each.dim_value for each in model.graph.output[0].type.tensor_type.shape.dim][1]
        constants[f"of_{prefix}mean"] = np.array(member.weight, np.float32)
        predicted = f"{prefix}logits"
        if calibration is not None:
            nodes.append(helper.make_node("Softmax", [predicted], [f"{prefix}probabilities"], axis=1))
            predicted = f"{prefix}probabilities"
        nodes.append(helper.make_node("Mul", [predicted, f"of_{prefix}mean"], [f"{prefix}share"]))
        parts.append(f"{prefix}share")
    if calibration is None:
        nodes.append(helper.make_node("Sum", parts, ["logits"]))
    else:
        constants |= {
            "least": np.array(LEAST, np.float32),
            "slope": np.array(calibration.slope, np.float32),
            "shift": calibration.shift.astype(np.float32)[None],
        }
        nodes += [
            helper.make_node("Sum", parts, ["mean"]),
            helper.make_node("Max", ["mean", "least"], ["positive"]),
            helper.make_node("Log", ["positive"], ["logarithms"]),
            helper.make_node("Mul", ["logarithms", "slope"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["logits"]),
        ]
    graph = helper.make_graph(
        nodes,
        "ensemble",
        [_input(name, values) for name, values in example.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", outputs])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _input(name: str, values: NDArray[Any]) -> Any:
    """The graph's input of this name, of as many rows as come, and of columns as many as there are."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    width = values.shape[1] if name == COLUMNS else "length"
    return helper.make_tensor_value_info(name, kind, ["rows", width])


def _name(constants: dict[str, NDArray[Any]], places: NDArray[np.int64]) -> int:
    """A number for these places: that of equal ones before, or a new one."""
    named = [name for name in constants if name.startswith("places_")]
    return next((at for at, name in enumerate(named) if np.array_equal(constants[name], places)), len(named))
