"""TF-IDF and multinomial logistic regression: seconds to train, and the bar that anything larger has to clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.encodings import Encoding
from lakewright.encodings.terms import Terms
from lakewright.errors import ProjectError
from lakewright.learners import Examples, Fitted, Training
from lakewright.project import LearnerSettings

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix


class LinearSettings(LearnerSettings):
    learner: Literal["linear"] = "linear"
    C: float = Field(default=10.0, gt=0, description="inverse strength of the L2 penalty, as in scikit-learn")
    max_iter: int = Field(default=1000, ge=1)
    min_df: int = Field(
        default=1, ge=1, description="a term counts when it stands in at least this many training texts"
    )
    max_features: int = Field(default=200_000, ge=1)
    seed: int = 13


class Linear:
    name = "linear"
    settings = LinearSettings
    gaps: Mapping[str, str] = {
        "token_classification": "never: it sees a text as a bag of terms, which have no place in it",
    }

    def encoding_depends(self, settings: LinearSettings, base: Path) -> dict[str, Any]:
        return {"min_df": settings.min_df, "max_features": settings.max_features}

    def fit_encoding(
        self, texts: Sequence[str], settings: LinearSettings, max_length: Literal["auto"] | int, base: Path
    ) -> tuple[Encoding, NDArray[np.int64]]:
        if max_length != "auto":
            raise ProjectError(
                "prepare.max_length means nothing to linear, which reads whole texts", "leave it at auto"
            )
        terms = Terms.fit(texts, settings.min_df, settings.max_features)
        return terms, terms.encode(texts).ids.lengths

    def fit(self, training: Training) -> Fitted:
        from safetensors.numpy import save_file
        from sklearn.linear_model import LogisticRegression

        settings: LinearSettings = training.settings
        features = _matrix(training.train, training.encoding)
        model = LogisticRegression(C=settings.C, max_iter=settings.max_iter, random_state=settings.seed)
        model.fit(features, training.train.targets.values, sample_weight=training.train.weights)

        # scikit-learn leaves out classes without examples, and one of two classes: give every label its column.
        outputs = training.task.outputs
        weight = np.zeros((features.shape[1], outputs), dtype=np.float32)
        bias = np.full(outputs, -1e4, dtype=np.float32)
        if len(model.classes_) == 2:
            bias[model.classes_] = [0.0, model.intercept_[0]]
            weight[:, model.classes_[1]] = model.coef_[0]
        else:
            bias[model.classes_] = model.intercept_
            weight[:, model.classes_] = model.coef_.T
        save_file({"weight": weight, "bias": bias}, training.folder / "model.safetensors")
        _export(weight, bias, training.folder / "model.onnx")

        validation = training.validation
        logits = _matrix(validation, training.encoding) @ weight + bias
        predictions = training.task.decode(list(logits), validation.encoded, validation.texts)
        scores = training.task.scorer(validation.truths, predictions).metrics(np.ones(len(validation)))
        return Fitted(scores, details={"terms": features.shape[1] - 1, "iterations": int(model.n_iter_.max())})

    def network(self, folder: Path) -> torch.nn.Module:
        import torch
        from safetensors.torch import load_file

        class Network(torch.nn.Module):
            def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(weight)
                self.bias = torch.nn.Parameter(bias)

            def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
                return (weights[:, None, :] @ self.weight[ids])[:, 0] + self.bias

        return Network(**load_file(folder / "model.safetensors"))


def _matrix(examples: Examples, encoding: Encoding) -> csr_matrix:
    from scipy.sparse import csr_matrix

    assert isinstance(encoding, Terms) and examples.encoded.weights is not None
    ids = examples.encoded.ids
    shape = (len(examples), len(encoding.idf))
    return csr_matrix((examples.encoded.weights.values, ids.values, ids.offsets), shape=shape)


def _export(weight: NDArray[np.float32], bias: NDArray[np.float32], path: Path) -> None:
    """logits = Σ weights · weight[ids] + bias, as an ONNX graph."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["weight", "ids"], ["rows"]),
        helper.make_node("Unsqueeze", ["weights", "middle"], ["row_weights"]),
        helper.make_node("MatMul", ["row_weights", "rows"], ["products"]),
        helper.make_node("Squeeze", ["products", "middle"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "terms"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["rows", "terms"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(bias)])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


LEARNER: Any = Linear()
