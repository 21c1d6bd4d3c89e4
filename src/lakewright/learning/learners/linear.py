"""TF-IDF, columns and multinomial logistic regression, or ridge regression of a number: seconds to train, and the bar
that anything larger has to clear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.learning.learners import Examples, Fitted, TorchLearner, Training
from lakewright.model.recipe.terms import Terms
from lakewright.settings.sections import LearnerSettings
from lakewright.system.progress import bar

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

    from lakewright.data.rows.kinds import Kind


class LinearSettings(LearnerSettings):
    learner: Literal["linear"] = "linear"
    C: float = Field(default=10.0, gt=0, description="inverse strength of the L2 penalty, as in scikit-learn")
    max_iter: int = Field(default=1000, ge=1)
    seed: int = 13


class Linear:
    name = "linear"
    settings = LinearSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {
        **dict.fromkeys(("text", "optional text", "words"), "terms"),
        **dict.fromkeys(("number", "category"), "dense"),
        "time": "part_of",
    }
    truths = ("class", "labels", "number")
    gaps: Mapping[str, str] = {
        "spans": "never: a bag of terms has no positions",
        "answers": "never: a bag of terms has no positions",
        "likeness": "never: different terms share no meaning",
    }
    needs: tuple[Kind, ...] = ()
    vocabulary = None

    def recipe_depends(self, settings: LinearSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training[LinearSettings]) -> Fitted:
        from safetensors.numpy import save_file

        settings = training.settings
        terms = next((len(step.idf) for step in training.recipe.steps if isinstance(step, Terms)), 0)
        features, outputs = _matrix(training.train, terms), training.task.outputs
        targets = training.train.targets.values.reshape(len(training.train), -1)
        weight = np.zeros((features.shape[1], outputs), dtype=np.float32)
        bias = np.zeros(outputs, dtype=np.float32)
        iterations = 0
        if training.task.truth == "number":
            iterations = _fit_number(features, targets[:, 0], training.train.weights, settings, weight, bias)
        elif training.task.one_label:
            iterations = _fit_classes(features, targets[:, 0], training.train.weights, settings, weight, bias)
        else:
            with bar("labels", outputs) as advance:
                for label in range(outputs):
                    iterations += _fit_label(features, targets[:, label], settings, weight, bias, label)
                    advance(1, training.task.labels[label])
        weights = {"weight": weight[:terms], "columns": weight[terms:], "bias": bias}
        save_file(weights, training.folder / "model.safetensors")
        export(**weights, path=training.folder / "model.onnx")
        return Fitted(details={"terms": max(terms - 1, 0), "iterations": iterations})

    def network(self, folder: Path) -> torch.nn.Module:
        import torch
        from safetensors.torch import load_file

        class Network(torch.nn.Module):
            def __init__(self, weight: torch.Tensor, columns: torch.Tensor, bias: torch.Tensor) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(weight)
                self.columns = torch.nn.Parameter(columns)
                self.bias = torch.nn.Parameter(bias)

            def forward(
                self,
                ids: torch.Tensor | None = None,
                weights: torch.Tensor | None = None,
                columns: torch.Tensor | None = None,
            ) -> torch.Tensor:
                logits = self.bias
                if ids is not None and weights is not None:
                    logits = (weights[:, None, :] @ self.weight[ids])[:, 0] + logits
                return logits if columns is None else logits + columns @ self.columns

        return Network(**load_file(folder / "model.safetensors"))


def _fit_classes(
    features: csr_matrix,
    truth: NDArray[np.int32],
    row_weights: NDArray[np.float32],
    settings: LinearSettings,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> int:
    """One class a row: multinomial logistic regression, into `weight` and `bias`. Returns the iterations."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=settings.C, max_iter=settings.max_iter, random_state=settings.seed)
    model.fit(features, truth, sample_weight=row_weights)
    # scikit-learn leaves out classes without examples, and one of two classes: give every label its column.
    bias[:] = -1e4
    if len(model.classes_) == 2:
        bias[model.classes_] = [0.0, model.intercept_[0]]
        weight[:, model.classes_[1]] = model.coef_[0]
    else:
        bias[model.classes_] = model.intercept_
        weight[:, model.classes_] = model.coef_.T
    return int(model.n_iter_.max())


def _fit_number(
    features: csr_matrix,
    truth: NDArray[np.float32],
    row_weights: NDArray[np.float32],
    settings: LinearSettings,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> int:
    """A number: ridge regression of the truth in its deviations, so that C means the same in every unit."""
    from sklearn.linear_model import Ridge

    mean, deviation = float(truth.mean(dtype=np.float64)), float(truth.std(dtype=np.float64))
    if truth.min() == truth.max():  # whose deviation may be a rounding error
        deviation = 1.0
    # By conjugate gradients, which leave sparse terms sparse
    model = Ridge(alpha=1 / settings.C, max_iter=settings.max_iter, solver="sparse_cg", random_state=settings.seed)
    model.fit(features.astype(np.float64), (truth - mean) / deviation, sample_weight=row_weights)
    weight[:, 0], bias[0] = model.coef_ * deviation, model.intercept_ * deviation + mean
    return int(np.max(model.n_iter_)) if model.n_iter_ is not None else 0


def _fit_label(
    features: csr_matrix,
    truth: NDArray[np.int32],
    settings: LinearSettings,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    label: int,
) -> int:
    """One label of many: logistic regression of its own. A label on every row or on none has only a bias."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(truth)) < 2:
        bias[label] = 1e4 if truth[0] else -1e4
        return 0
    model = LogisticRegression(C=settings.C, max_iter=settings.max_iter, random_state=settings.seed)
    model.fit(features, truth)
    weight[:, label], bias[label] = model.coef_[0], model.intercept_[0]
    return int(model.n_iter_.max())


def _width(examples: Examples) -> int:
    return 0 if examples.encoded.columns is None else examples.encoded.columns.shape[1]


def _matrix(examples: Examples, terms: int) -> csr_matrix:
    """Terms, padding's among them, and the columns beside them: [rows, terms + width]"""
    from scipy.sparse import csr_matrix, hstack

    encoded = examples.encoded
    if encoded.weights is None:
        return csr_matrix(encoded.columns)
    weighted = (encoded.weights.values, encoded.ids.values, encoded.ids.offsets)
    texts = csr_matrix(weighted, shape=(len(examples), terms))
    return texts if encoded.columns is None else hstack([texts, encoded.columns], format="csr")


def export(weight: NDArray[np.float32], columns: NDArray[np.float32], bias: NDArray[np.float32], path: Path) -> None:
    """logits = Σ weights · weight[ids] + columns · their weights + bias, as an ONNX graph; without terms, or without
    columns, their part is not there."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, inputs = [], []
    constants, sums = ({"weight": weight} if len(weight) else {}) | {"bias": bias}, "bias"
    if len(weight):
        nodes += [
            helper.make_node("Gather", ["weight", "ids"], ["rows"]),
            helper.make_node("Unsqueeze", ["weights", "middle"], ["row_weights"]),
            helper.make_node("MatMul", ["row_weights", "rows"], ["products"]),
            helper.make_node("Squeeze", ["products", "middle"], ["sums"]),
            helper.make_node("Add", ["sums", "bias"], ["of_text" if len(columns) else "logits"]),
        ]
        inputs += [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "terms"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["rows", "terms"]),
        ]
        constants["middle"] = np.array([1], dtype=np.int64)
        sums = "of_text"
    if len(columns):
        nodes.append(helper.make_node("MatMul", ["columns", "column_weights"], ["of_columns"]))
        nodes.append(helper.make_node("Add", [sums, "of_columns"], ["logits"]))
        inputs.append(helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["rows", len(columns)]))
        constants["column_weights"] = columns
    graph = helper.make_graph(
        nodes,
        "linear",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(bias)])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


LEARNER: TorchLearner = Linear()
