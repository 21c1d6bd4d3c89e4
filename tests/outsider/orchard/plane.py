"""The learner `plane`: least squares. It has no network in torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.learning.learners import Fitted, Training
from lakewright.settings.sections import LearnerSettings


class PlaneSettings(LearnerSettings):
    learner: Literal["plane"] = "plane"
    alpha: float = Field(default=1e-6, ge=0, description="strength of the L2 penalty")


class Plane:
    name = "plane"
    settings = PlaneSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {"number": "squares"}
    truths = ("number",)
    gaps: Mapping[str, str] = {"class": "never: a plane has no sides"}
    needs: tuple[Kind, ...] = ()
    vocabulary = None

    def recipe_depends(self, settings: PlaneSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training) -> Fitted:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
        from safetensors.numpy import save_file

        columns = training.train.encoded.columns
        assert columns is not None
        known = np.hstack([columns, np.ones((len(columns), 1))]).astype(np.float64)
        penalty = training.settings.alpha * np.eye(known.shape[1])
        fitted = np.linalg.solve(known.T @ known + penalty, known.T @ training.train.targets.values)
        weight, bias = fitted[:-1, None].astype(np.float32), fitted[-1:].astype(np.float32)
        save_file({"weight": weight, "bias": bias}, training.folder / "model.safetensors")
        graph = helper.make_graph(
            [
                helper.make_node("MatMul", ["columns", "weight"], ["product"]),
                helper.make_node("Add", ["product", "bias"], ["logits"]),
            ],
            "plane",
            [helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["rows", len(weight)])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 1])],
            [numpy_helper.from_array(values, name) for name, values in (("weight", weight), ("bias", bias))],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, training.folder / "model.onnx")
        return Fitted(details={"weights": len(weight)})


LEARNER = Plane()
