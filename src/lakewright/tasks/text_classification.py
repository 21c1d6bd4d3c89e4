"""One class a text: two classes or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.encodings.ragged import Ragged
from lakewright.errors import DataError
from lakewright.tasks import Prediction, column, needed, text_column

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.encodings import Encoded
    from lakewright.evaluation.scorer import Scorer


@dataclass(frozen=True)
class TextClassification:
    labels: tuple[str, ...]

    name: ClassVar[str] = "text_classification"
    level: ClassVar[Literal["row", "token"]] = "row"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        *(f"{average}_{name}" for average in ("macro", "micro", "weighted") for name in ("precision", "recall", "f1")),
        *("roc_auc", "pr_auc", "log_loss", "brier", "ece"),
    )

    @classmethod
    def read(cls, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        import pyarrow as pa

        text_name, label_name = needed(columns, "text", "label")
        text = text_column(table, text_name, "text")
        label = column(table, label_name, "label")
        if pa.types.is_floating(label.type):
            label = _whole_numbers(label, label_name)
        if pa.types.is_nested(label.type) or pa.types.is_binary(label.type):
            raise DataError(
                f"the column {label_name!r} (data.columns.label) holds {label.type}, not one class a row",
                "name a column of strings, whole numbers or booleans",
            )
        return pa.table({"text": text, "truth": label.cast(pa.string())})

    @classmethod
    def fit(cls, truths: Sequence[str]) -> TextClassification:
        found = set(truths)
        # Whole numbers in their own order: "10" comes after "2".
        numeric = all(label.lstrip("-").isdigit() for label in found)
        return cls(tuple(sorted(found, key=int) if numeric else sorted(found)))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> TextClassification:
        return cls(tuple(described["labels"]))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "labels": list(self.labels)}

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def label_of(self, truth: str) -> list[str]:
        return [truth]

    def targets(self, truths: Sequence[str], encoded: Encoded, texts: Sequence[str]) -> Ragged:
        index = {label: i for i, label in enumerate(self.labels)}
        values = np.array([index[truth] for truth in truths], dtype=np.int32)
        return Ragged(values, np.arange(len(values) + 1))

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits.float(), targets[:, 0], reduction="none", label_smoothing=label_smoothing)

    def decode(self, logits: list[NDArray[np.float32]], encoded: Encoded, texts: Sequence[str]) -> list[Prediction]:
        """label, its probability as confidence, and all probabilities, highest first."""
        if not logits:
            return []
        probabilities = softmax(np.stack(logits))
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            {
                "label": self.labels[ranks[0]],
                "confidence": float(row[ranks[0]]),
                "probabilities": {self.labels[i]: float(row[i]) for i in ranks},
            }
            for row, ranks in zip(probabilities, order, strict=True)
        ]

    def confidence(self, prediction: Prediction) -> float:
        return float(prediction["confidence"])

    def scorer(self, truths: Sequence[str], predictions: Sequence[Prediction]) -> Scorer:
        from lakewright.evaluation.classification import ClassificationScorer

        index = {label: i for i, label in enumerate(self.labels)}
        truth = np.array([index[label] for label in truths])
        probabilities = np.array([[row["probabilities"][label] for label in self.labels] for row in predictions])
        return ClassificationScorer(truth, probabilities, list(self.labels))

    def sample_rows(self) -> list[dict[str, Any]]:
        return [{"text": "A short example."}, {"text": "Another example, a little longer than the first one."}]


def _whole_numbers(label: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Whole numbers that became floats because some are missing, as pandas stores them; anything else is no class."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.if_else(pc.is_finite(label), label, None)
    fractions = pc.filter(known, pc.not_equal(known, pc.floor(known)))
    if len(fractions):
        raise DataError(
            f"the column {name!r} (data.columns.label) holds fractions, such as {fractions.slice(0, 3).to_pylist()}",
            "name a column of classes: strings, whole numbers or booleans",
        )
    return known.cast(pa.int64())


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result
