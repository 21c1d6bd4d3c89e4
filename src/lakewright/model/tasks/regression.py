"""A number a row, from any columns of a table; with an interval that holds it as often as the settings promise.

The interval is split conformal (Papadopoulos et al. 2002; Lei et al. 2018): the prediction ± the least distance within
which the wanted share of validation's truths lies, with the finite-sample correction ⌈(n + 1) · level⌉ / n.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.columns import needed, number_column
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.errors import DataError, UsageError
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import Logits, Loss
from lakewright.model.tasks.inputs import TableColumns, read_inputs, sample_rows, table_inputs_of
from lakewright.model.tasks.tables import table_schema
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded

GREATEST = float(np.finfo(np.float32).max)  # learners and networks compute in float32


class RegressionSettings(TaskSettings):
    name: Literal["regression"] = "regression"
    interval: float = Field(
        default=0.9, gt=0, lt=1, description="the share of truths that a prediction's interval is to hold"
    )


class RegressionColumns(TableColumns):
    label: str | None = Field(default=None, description="the number to predict")

    truths: ClassVar[tuple[str, ...]] = ("label",)
    written: ClassVar[tuple[str, ...]] = ("id", "group", "categories")
    numeric: ClassVar[tuple[str, ...]] = ("numbers", "label", "weight")


@dataclass
class NumberReader:
    columns: Mapping[str, Any]
    name: str  # the column of the truth
    least: float = np.inf
    greatest: float = -np.inf

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        truth = number_column(table, self.name, "label", in_text=True)
        numbers = truth.drop_null().to_numpy()
        if len(numbers):
            self.least = min(self.least, float(numbers.min()))
            self.greatest = max(self.greatest, float(numbers.max()))
        return pa.table({**read_inputs(table, self.columns), "truth": truth})

    def merge(self, later: Self) -> None:
        self.least, self.greatest = min(self.least, later.least), max(self.greatest, later.greatest)

    def check(self) -> None:
        if self.least > self.greatest:
            return  # prepare reports a column without any value
        if self.least == self.greatest:
            raise DataError(
                f"the column {self.name!r} (data.columns.label) holds {self.least:g} in every row: there is nothing to "
                "learn",
                "name a column of numbers that differ",
            )
        if max(-self.least, self.greatest) > GREATEST:
            raise DataError(
                f"the column {self.name!r} (data.columns.label) holds numbers beyond ±{GREATEST:.1e}, where float32 "
                "ends",
                "scale the column in SQL, or leave such rows out",
            )


@dataclass(frozen=True)
class Regression:
    inputs: Mapping[str, Kind]
    interval: float = 0.9
    distance: float | None = None  # from a prediction to the ends of its interval; None: too few rows to know

    name: ClassVar[str] = "regression"
    settings: ClassVar[type[TaskSettings]] = RegressionSettings
    columns: ClassVar[type[Columns]] = RegressionColumns
    truth: ClassVar[str] = "number"
    requires: ClassVar[tuple[Kind, ...]] = ()
    level: ClassVar[Literal["row", "token", "vector"]] = "row"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "rows"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("l2", "l1", "huber", "quantile", "poisson", "tweedie")
    labels: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[int] = 1

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        from lakewright.evaluation.scorers.regression import METRICS

        return METRICS

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return table_inputs_of(columns)

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> NumberReader:
        return NumberReader(columns, needed(columns, "label")[0])

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        assert isinstance(settings, RegressionSettings)
        return cls(dict(inputs), settings.interval)

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(described["inputs"], described["interval"], described["distance"])

    def describe(self) -> dict[str, Any]:
        own = {"inputs": dict(self.inputs), "interval": self.interval, "distance": self.distance}
        return {"name": self.name, "labels": [], **own}

    @staticmethod
    def label_of(truth: float) -> list[str]:
        return []

    def targets(self, truths: Sequence[float], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        return Ragged(np.array(truths, dtype=np.float32), np.arange(len(truths) + 1))

    def shortfalls(
        self, truths: Sequence[float], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """A number is never lost."""
        return []

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        from torch.nn.functional import huber_loss, l1_loss, mse_loss

        predicted, truth = logits[:, 0].float(), targets[:, 0].float()
        if loss.name == "l1":
            return l1_loss(predicted, truth, reduction="none")
        if loss.name == "huber":
            return huber_loss(predicted, truth, reduction="none")
        return mse_loss(predicted, truth, reduction="none")

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """value, and the interval from low to high if one is known."""
        predictions: list[Prediction] = []
        for values in logits:
            value = float(values[0])
            known = self.distance is not None
            ends = {"low": value - (self.distance or 0.0), "high": value + (self.distance or 0.0)} if known else {}
            predictions.append({"value": value, **ends})
        return predictions

    def array(self, predictions: Sequence[Prediction], output: str) -> NDArray[Any]:
        if output == "probability":
            raise UsageError("a number has no probability", "leave the parameter output out, or set it to table")
        return np.array([row["value"] for row in predictions], dtype=np.float64)

    def decode_table(self, logits: NDArray[np.float32]) -> pa.RecordBatch:
        """The same as columns."""
        import pyarrow as pa

        value = logits[:, 0].astype(np.float64)
        ends = {} if self.distance is None else {"low": value - self.distance, "high": value + self.distance}
        columns = {"value": value, **ends, "confidence": pa.nulls(len(value), pa.float64())}
        return pa.RecordBatch.from_pydict(columns, table_schema(self.prediction_columns()))

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        names = ("value",) if self.distance is None else ("value", "low", "high")
        return pa.schema([(name, pa.float64()) for name in names])

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[float]) -> Self:
        distances = np.sort(np.abs(np.array([values[0] for values in logits], np.float64) - np.array(truths)))
        place = math.ceil((len(distances) + 1) * self.interval)
        return replace(self, distance=float(distances[place - 1]) if 0 < place <= len(distances) else None)

    def confidence(self, prediction: Prediction) -> None:
        return None

    def scorer(self, truths: Sequence[float], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        from lakewright.evaluation.scorers.regression import RegressionScorer

        def column(name: str) -> np.ndarray[Any, np.dtype[np.float64]] | None:
            known = predictions and name in predictions[0]
            return np.array([row[name] for row in predictions], np.float64) if known else None

        truth, value = np.array(truths, np.float64), np.array([row["value"] for row in predictions], np.float64)
        return RegressionScorer(truth, value, column("low"), column("high"), self.interval)

    def sample_rows(self) -> list[dict[str, Any]]:
        return sample_rows(self.inputs)
