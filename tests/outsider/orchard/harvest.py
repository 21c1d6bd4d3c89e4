"""The task `harvest`: a number from other numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from lakewright.data.rows.columns import needed, number_column
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import Logits, Loss, Reader
from lakewright.settings.sections import Columns, TaskSettings


class HarvestSettings(TaskSettings):
    name: Literal["harvest"] = "harvest"


class HarvestColumns(Columns):
    measured: list[str] = Field(default=[], description="columns of numbers to learn from")
    weight: str | None = Field(default=None, description="the number to predict")

    truths: ClassVar[tuple[str, ...]] = ("weight",)


@dataclass(frozen=True)
class HarvestReader:
    """A table row by row: nothing that only the whole shows."""

    names: Sequence[str]
    truth: str

    def read(self, table: pa.Table) -> pa.Table:
        inputs = {name: number_column(table, name, "measured") for name in self.names}
        return pa.table({**inputs, "truth": number_column(table, self.truth, "weight")})

    def merge(self, later: Self) -> None: ...

    def check(self) -> None: ...


@dataclass(frozen=True)
class Harvest:
    inputs: Mapping[str, Kind]

    name: ClassVar[str] = "harvest"
    settings: ClassVar[type[TaskSettings]] = HarvestSettings
    columns: ClassVar[type[Columns]] = HarvestColumns
    truth: ClassVar[str] = "number"
    requires: ClassVar[tuple[Kind, ...]] = ("number",)
    level: ClassVar[Literal["row", "token", "vector"]] = "row"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "rows"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("squared",)
    labels: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[int] = 1

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        return ("r2", "rmse", "within_a_tenth")

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return dict.fromkeys(columns.get("measured", ()), "number")

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> Reader:
        names, truth = needed(columns, "measured", "weight")
        return HarvestReader(names, truth)

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        return cls(dict(inputs))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(described["inputs"])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "labels": [], "inputs": dict(self.inputs)}

    @staticmethod
    def label_of(truth: float) -> list[str]:
        return []

    def targets(self, truths: Sequence[float], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        return Ragged(np.array(truths, dtype=np.float32), np.arange(len(truths) + 1))

    def shortfalls(
        self, truths: Sequence[float], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        return []

    def loss(self, logits: Any, targets: Any, loss: Loss) -> Any:
        return (logits - targets).square()[:, 0]

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        return [{"weight": float(values[0])} for values in logits]

    def prediction_columns(self) -> pa.Schema:
        return pa.schema({"weight": pa.float64()})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[float]) -> Self:
        return self

    def confidence(self, prediction: Prediction) -> None:
        return None

    def scorer(self, truths: Sequence[float], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Any:
        from orchard.scorer import NumberScorer

        return NumberScorer(np.array(truths), np.array([prediction["weight"] for prediction in predictions]))

    def sample_rows(self) -> list[dict[str, Any]]:
        return [{}, {}]
