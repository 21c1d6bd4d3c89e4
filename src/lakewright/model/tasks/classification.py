"""One class a row: two classes or many, ordered (ratings) or not. A row is a text, any columns of a table, or both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lakewright.data.rows.columns import WHOLE_NUMBER, in_order, label_column, needed
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.data.rows.truths import LabelNames
from lakewright.errors import DataError, ProjectError, nearest
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import Logits, Loss
from lakewright.model.tasks.inputs import (
    InputColumns,
    TableColumns,
    inputs_of,
    read_inputs,
    sample_rows,
    table_inputs_of,
)
from lakewright.model.tasks.tables import table_schema
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded


class ClassSettings(TaskSettings):
    labels: LabelNames | None = Field(
        default=None, description="the classes, in order; none: as found in train, sorted"
    )
    merge: dict[str, str] = Field(
        default={}, description="label in the column → the class that it counts as; the others stay as they are"
    )
    ordinal: bool = Field(
        default=False, description="the classes are ordered, as ratings are: measured by distance too"
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="of two classes: the second is predicted where its probability is at least this; none: the most "
        "probable class is",
    )

    @model_validator(mode="after")
    def _two_classes(self) -> Self:
        named = self.labels or getattr(self, "order", None)
        if self.threshold is not None and named and len(named) != 2:
            raise ValueError(f"threshold decides between two classes, and {len(named)} are named")
        return self


class ClassificationSettings(ClassSettings):
    name: Literal["classification"] = "classification"
    order: LabelNames | None = Field(default=None, description="the classes from lowest to highest: labels and ordinal")

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.order is not None and self.labels is not None:
            raise ValueError("order and labels both give the classes: leave one of them out")
        return self

    @property
    def in_order(self) -> ClassSettings:
        """The same settings, with `order` as labels of an ordinal scale."""
        return self if self.order is None else self.model_copy(update={"labels": self.order, "ordinal": True})


class ClassificationColumns(TableColumns):
    label: str | None = Field(default=None, description="the class")

    truths: ClassVar[tuple[str, ...]] = ("label",)


@dataclass
class ClassReader:
    columns: Mapping[str, Any]
    merged: Mapping[str, str]  # label → the one that it becomes
    held: set[str | None] = field(default_factory=set)  # the labels of the column, where some are merged

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        inputs = read_inputs(table, self.columns)
        (label_name,) = needed(self.columns, "label")
        label = label_column(table, label_name, "label")
        if self.merged:
            values = label.to_pylist()
            self.held.update(values)
            label = pa.chunked_array([pa.array([self.merged.get(each, each) for each in values], pa.string())])
        return pa.table({**inputs, "truth": label})

    def merge(self, later: Self) -> None:
        self.held |= later.held

    def check(self) -> None:
        unused = sorted(self.merged.keys() - self.held)
        if unused:
            raise DataError(
                f"task.merge names the label {unused[0]!r}, which the column {self.columns['label']!r} does not hold",
                nearest(unused[0], sorted(value for value in self.held if value is not None)[:1000]),
            )


@dataclass(frozen=True)
class Classification:
    labels: tuple[str, ...]
    ordinal: bool = False
    inputs: Mapping[str, Kind] = field(default_factory=lambda: dict[str, Kind](text="text"))
    threshold: float | None = None  # the second of two classes is predicted from this probability on
    shift: tuple[float, ...] = ()  # [labels] added to the logits: the correction of the prior; none: nothing is

    name: ClassVar[str] = "classification"
    settings: ClassVar[type[TaskSettings]] = ClassificationSettings
    columns: ClassVar[type[Columns]] = ClassificationColumns
    truth: ClassVar[str] = "class"
    requires: ClassVar[tuple[Kind, ...]] = ()
    level: ClassVar[Literal["row", "token", "vector"]] = "row"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "rows"
    one_label: ClassVar[bool] = True
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal", "earth_mover")

    read_inputs = staticmethod(read_inputs)

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        assert isinstance(settings, ClassSettings)
        averages = ("macro", "micro", "weighted")
        named = [f"{average}_{name}" for average in averages for name in ("precision", "recall", "f1")]
        ordered = ("mae", "quadratic_weighted_kappa", "within_one") if _ordered(settings).ordinal else ()
        return ("accuracy", *named, "roc_auc", "pr_auc", "log_loss", "brier", "ece", *ordered)

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return table_inputs_of(columns)

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> ClassReader:
        assert isinstance(settings, ClassSettings)
        return ClassReader(columns, settings.merge)

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        settings = _ordered(settings)
        names: set[str] = set()
        for table in train:
            names.update(table["truth"].unique().to_pylist())
        if settings.labels is None:
            labels = in_order(names)
            if settings.ordinal and not all(map(WHOLE_NUMBER.fullmatch, labels)):
                raise ProjectError(
                    f"task.ordinal: the order of the labels {', '.join(labels[:5])} … is not known",
                    f"give it: task: {{name: {cls.name}, ordinal: true, labels: [lowest, …, highest]}}",
                )
        else:
            unknown = sorted(names - set(settings.labels))
            if unknown:
                raise DataError(
                    f"train holds the label {unknown[0]!r}, which task.labels lacks",
                    nearest(unknown[0], settings.labels),
                )
            labels = tuple(settings.labels)
        if settings.threshold is not None and len(labels) != 2:
            raise ProjectError(
                f"task.threshold decides between two classes, and there are {len(labels)}: {', '.join(labels[:5])}"
                f"{' …' if len(labels) > 5 else ''}",
                "remove it, and the most probable class is predicted; or merge the classes into two (task.merge)",
            )
        return cls(labels, settings.ordinal, dict(inputs), settings.threshold)

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        ordinal, threshold = described.get("ordinal", False), described.get("threshold")
        task = cls(tuple(described["labels"]), ordinal, described["inputs"], threshold)
        return task.shifted(described["prior_shift"]) if "prior_shift" in described else task

    def describe(self) -> dict[str, Any]:
        own = {"labels": list(self.labels), "ordinal": self.ordinal, "inputs": dict(self.inputs)}
        if self.threshold is not None:
            own["threshold"] = self.threshold
        if self.shift:
            own["prior_shift"] = list(self.shift)
        return {"name": self.name, **own}

    def shifted(self, shift: Sequence[float]) -> Self:
        """The same task, which adds these [labels] to the logits before it decodes them: to those of the network, and
        to nothing that it was shifted by before."""
        if len(shift) != len(self.labels) or not all(isinstance(each, float) and isfinite(each) for each in shift):
            raise ValueError(f"the shift of the prior is not {len(self.labels)} finite numbers, one for each label")
        return replace(self, shift=tuple(shift))

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @staticmethod
    def label_of(truth: str) -> list[str]:
        return [truth]

    def targets(self, truths: Sequence[str], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        index = {label: i for i, label in enumerate(self.labels)}
        values = np.array([index[truth] for truth in truths], dtype=np.int32)
        return Ragged(values, np.arange(len(values) + 1))

    def shortfalls(
        self, truths: Sequence[str], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """Labels are never lost: prepare requires all of them in train."""
        return []

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """focal: Lin et al. 2017. earth_mover: the squared earth mover's distance between the predicted distribution
        over ordered classes and the true class (Hou, Yu & Samaras 2016)."""
        import torch
        from torch.nn.functional import cross_entropy, one_hot

        logits, truth = logits.float(), targets[:, 0]
        if loss.name == "earth_mover":
            gap = torch.softmax(logits, dim=1).cumsum(dim=1) - one_hot(truth, len(self.labels)).cumsum(dim=1)
            return gap.square().sum(dim=1)
        losses = cross_entropy(logits, truth, reduction="none", label_smoothing=loss.label_smoothing)
        if loss.name == "focal":
            missed = 1 - torch.softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]
            losses = losses * missed**loss.focal_gamma
        return losses

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """label, its probability as confidence, and all probabilities, highest first; for ordered classes also the
        expected value: the mean place of the class, or its mean value if the labels are numbers. The label is the most
        probable one, or by `threshold` one of two."""
        if not logits:
            return []
        probabilities = self._probabilities(np.stack(logits))
        order, shares = _highest_first(probabilities)
        names = np.array(self.labels, dtype=object)
        predicted, sure = self._decided(probabilities, order)
        each = (names[predicted].tolist(), sure.tolist(), names[order].tolist(), shares.tolist())
        predictions: list[Prediction] = [
            {"label": label, "confidence": confidence, "probabilities": dict(zip(ranked, row, strict=True))}
            for label, confidence, ranked, row in zip(*each, strict=True)
        ]
        if self.ordinal:
            for prediction, expected in zip(predictions, self._expected(probabilities).tolist(), strict=True):
                prediction["expected"] = expected
        return predictions

    def array(self, predictions: Sequence[Prediction], output: str) -> NDArray[Any]:
        """The labels as whole numbers or truth values if all of them are; a row without a prediction has none, so that
        its labels are objects, and its probability is NaN."""
        if output == "probability":
            none = dict.fromkeys(self.labels, np.nan)
            shares = [prediction["probabilities"] or none for prediction in predictions]
            columns = np.array([[row[label] for label in self.labels] for row in shares], dtype=np.float64)
            return columns[:, 1] if len(self.labels) == 2 else columns
        typed = typed_labels(self.labels)
        labels = [None if row["label"] is None else typed[row["label"]] for row in predictions]
        return np.array(labels, dtype=object if None in labels else None)

    def decode_table(self, logits: NDArray[np.float32]) -> pa.RecordBatch:
        """The same as columns."""
        import pyarrow as pa

        probabilities = self._probabilities(logits)
        order, shares = _highest_first(probabilities)
        predicted, sure = self._decided(probabilities, order)
        labels = pa.array(self.labels, pa.string())
        ends = pa.array(np.arange(len(order) + 1, dtype=np.int32) * order.shape[1])
        columns = {
            "label": labels.take(pa.array(predicted)),
            "probabilities": pa.MapArray.from_arrays(ends, labels.take(pa.array(order.ravel())), shares.ravel()),
            **({"expected": pa.array(self._expected(probabilities))} if self.ordinal else {}),
            "confidence": pa.array(sure),
        }
        return pa.RecordBatch.from_pydict(columns, table_schema(self.prediction_columns()))

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """[rows, labels]"""
        return softmax(logits + np.array(self.shift) if self.shift else logits)

    def _decided(
        self, probabilities: NDArray[np.float64], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """[rows] each: the place of the predicted class, and its probability. `order` is that of `_highest_first`."""
        predicted = order[:, 0]
        if self.threshold is not None:
            predicted = (probabilities[:, 1] >= self.threshold).astype(np.int64)
        return predicted, np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]

    def _expected(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        from lakewright.evaluation.scorers.ordinal import label_values

        expected: NDArray[np.float64] = probabilities @ label_values(self.labels)
        return expected

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        expected = {"expected": pa.float64()} if self.ordinal else {}
        shares = pa.map_(pa.string(), pa.float64())
        return pa.schema({"label": pa.string(), "probabilities": shares, **expected})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[str]) -> Self:
        return self

    def confidence(self, prediction: Prediction) -> float:
        return float(prediction["confidence"])

    def scorer(self, truths: Sequence[str], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        from lakewright.evaluation.scorers.classification import ClassificationScorer
        from lakewright.evaluation.scorers.ordinal import OrdinalScorer

        index = {label: i for i, label in enumerate(self.labels)}
        truth = np.array([index[label] for label in truths])
        probabilities = np.array([[row["probabilities"][label] for label in self.labels] for row in predictions])
        kind = OrdinalScorer if self.ordinal else ClassificationScorer
        return kind(truth, probabilities, list(self.labels), self.threshold)

    def sample_rows(self) -> list[dict[str, Any]]:
        return sample_rows(self.inputs)


class TextClassificationSettings(ClassSettings):
    name: Literal["text_classification"] = "text_classification"


class TextClassificationColumns(InputColumns):
    label: str | None = Field(default=None, description="the class")

    truths: ClassVar[tuple[str, ...]] = ("label",)


@dataclass(frozen=True)
class TextClassification(Classification):
    """The same, of rows that hold a text, and other columns only where they are named."""

    array = None  # type: ignore[assignment]  # a table, as for all texts

    name: ClassVar[str] = "text_classification"
    settings: ClassVar[type[TaskSettings]] = TextClassificationSettings
    columns: ClassVar[type[Columns]] = TextClassificationColumns
    requires: ClassVar[tuple[Kind, ...]] = ("text",)

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return inputs_of(columns)

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> ClassReader:
        needed(columns, "text")
        return super().reader(columns, settings, first)


def typed_labels(labels: Sequence[str]) -> dict[str, Any]:
    """Label → whole number or truth value if all labels are such as a column of them is written, else the label."""
    if all(WHOLE_NUMBER.fullmatch(label) and str(int(label)) == label for label in labels):
        return {label: int(label) for label in labels}
    if {label.lower() for label in labels} == {"true", "false"}:
        return {label: label.lower() == "true" for label in labels}
    return {label: label for label in labels}


def _ordered(settings: TaskSettings) -> ClassSettings:
    assert isinstance(settings, ClassSettings)
    return settings.in_order if isinstance(settings, ClassificationSettings) else settings


def _highest_first(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[rows, classes] Each row's classes, the most probable first, and their probabilities."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return order, np.take_along_axis(probabilities, order, axis=1)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result
