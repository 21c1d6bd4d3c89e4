"""Rows of the input → rows of the predictions table.

record_id                     the row's id, or VERSION:NUMBER if the table has no column of ids
label, probabilities, …       the columns of the task (`Task.prediction_columns`); null without a prediction
reasons                       where they are requested: the inputs that weigh most, each with its value as text
confidence, abstain           the model's confidence; whether it is below the requested least confidence
model, model_digest           the model version (or the folder's name), and the digest of its files
input_table, input_version    the source of the row
scored_at                     the time
…                             the input's columns that are kept
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.lake.types import python_rows, storable
from lakewright.data.rows.arrays import plain_array
from lakewright.data.rows.columns import number_of
from lakewright.data.rows.kinds import Kind, missing, requires_text
from lakewright.data.rows.request import lacks
from lakewright.errors import DataError, UsageError, nearest, shown
from lakewright.model.tasks import abstains
from lakewright.model.tasks.tables import complete, of_predictions

if TYPE_CHECKING:
    from lakewright.model.predictor import Predictor

COMMON = pa.schema(
    {
        "confidence": pa.float64(),
        "abstain": pa.bool_(),
        "model": pa.string(),
        "model_digest": pa.string(),
        "input_table": pa.string(),
        "input_version": pa.int64(),
        "scored_at": pa.timestamp("us", "UTC"),
    }
)


@dataclass(frozen=True)
class Columns:
    """The columns of the input that are read, by use."""

    inputs: Mapping[str, str]  # the model's input → the table's column
    id: str | None
    keep: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys((*self.inputs.values(), *([self.id] if self.id else []), *self.keep)))


@dataclass
class Tally:
    """Counts of the rows of one call."""

    rows: int = 0
    without: int = 0  # rows without a prediction: they have no input for the model
    abstained: int = 0  # rows with a prediction, but less confidence than the least

    def __iadd__(self, other: Tally) -> Tally:
        self.rows += other.rows
        self.without += other.without
        self.abstained += other.abstained
        return self


def choose(
    inputs: Mapping[str, Kind],
    table: pa.Schema,
    roles: Mapping[str, Any],
    mapping: Mapping[str, str],
    id: str | None,
    keep: Sequence[str],
) -> Columns:
    """The column of each input: by the caller's mapping, by the project's roles, or by the same name.

    Raises UsageError if an input or a column does not exist, DataError if a needed input has no column.
    """
    for name in mapping:
        if name not in inputs:
            raise UsageError(f"the model has no input {name!r}", nearest(name, inputs))
    for name in (*mapping.values(), *([id] if id else []), *keep):
        if name not in table.names:
            raise UsageError(f"the table has no column {name!r}", nearest(name, table.names))
    columns: dict[str, str] = {}
    several = {name for of_role in roles.values() if isinstance(of_role, list) for name in of_role}
    for name in inputs:
        # A column that is an input under its own name may be called like a role of another column: label, id
        candidates = (mapping.get(name), None if name in several else roles.get(name), name)
        column = next((column for column in candidates if isinstance(column, str) and column in table.names), None)
        if column is not None:
            columns[name] = column
    words = any(inputs[name] == "words" for name in columns)  # a text can be made of them
    beside = ("optional text",) if requires_text(inputs) else ()  # a table has a column for each input
    optional = (*beside, "words", "text") if words else (*beside, "words")
    lacking = [name for name, kind in inputs.items() if name not in columns and kind not in optional]
    if lacking:
        raise DataError(
            f"the table has no column for the model's input {lacking[0]!r}",
            f"name it: --column {lacking[0]}=NAME; {nearest(lacking[0], table.names)}",
        )
    chosen = id or roles.get("id")
    return Columns(columns, chosen if chosen in table.names else None, tuple(keep))


def schema(
    of_task: pa.Schema, columns: Columns, table: pa.Schema, probabilities: bool, reasons: bool = False
) -> pa.Schema:
    """The schema of the predictions table. Raises UsageError if a kept column has the name of another column."""
    task_fields = [field for field in of_task if probabilities or field.name != "probabilities"]
    own = [pa.field("record_id", pa.string()), *task_fields, *([_reasons_of(of_task)] if reasons else []), *COMMON]
    names = {field.name.lower() for field in own}
    for name in columns.keep:
        if name.lower() in names:
            raise UsageError(
                f"the column {name!r} cannot be kept: the predictions have a column of that name",
                "leave it out, and join the tables by record_id",
            )
    return storable(pa.schema([*own, *(table.field(name) for name in columns.keep)]))


def fingerprint(columns: Columns, schema: pa.Schema) -> int:
    """60 bits of a hash of the columns that are read, by use, and of those that are written."""
    written = [(field.name, str(field.type)) for field in schema]
    described = json.dumps([sorted(columns.inputs.items()), columns.id, columns.keep, written])
    return int(blake2b(described.encode(), digest_size=8).hexdigest()[:15], 16)


@dataclass(frozen=True)
class Scoring:
    """Predicts rows in the same way however they are cut."""

    predictor: Predictor
    columns: Columns
    least_confidence: float
    explain: int = 0  # reasons a row

    def predict(self, rows: pa.RecordBatch, first: int) -> Predicted:
        """The rows' numbers begin at `first`, for messages."""
        kinds = self.predictor.task.inputs
        inputs = {
            name: _as_numbers(rows.column(column), name, first) if kinds[name] == "number" else rows.column(column)
            for name, column in self.columns.inputs.items()
        }
        predict = self._predict_columns if self.predictor.reads_columns else self._predict_rows
        columns, abstain, without = predict(inputs, first)
        confidence = pc.if_else(without, pa.scalar(None, pa.float64()), columns.column("confidence"))
        columns = columns.set_column(columns.schema.get_field_index("confidence"), "confidence", confidence)
        if self.explain:
            columns = columns.append_column(_reasons_of(columns.schema), self._reasons(inputs, columns))
        return Predicted(columns, abstain, without)

    def _reasons(self, inputs: Mapping[str, pa.Array], columns: pa.RecordBatch) -> pa.Array:
        """Of each row; null without a prediction."""
        predicted = columns.column(0)  # the label, or the value
        places = np.flatnonzero(predicted.is_valid().to_numpy(zero_copy_only=False))
        rows = python_rows(pa.RecordBatch.from_pydict(inputs).take(pa.array(places)))
        name = columns.schema.names[0]
        predictions = [{name: each} for each in predicted.take(pa.array(places)).to_pylist()]
        reasons: list[list[dict[str, Any]] | None] = [None] * columns.num_rows
        explained = self.predictor.explain(rows, predictions, self.explain)
        for place, prediction in zip(places, explained, strict=True):
            reasons[place] = [{**each, "value": _as_text(each["value"])} for each in prediction["reasons"]]
        return pa.array(reasons, _reasons_of(columns.schema).type)

    def _predict_columns(
        self, inputs: Mapping[str, pa.Array], first: int = 0
    ) -> tuple[pa.RecordBatch, pa.Array, pa.Array]:
        columns = self.predictor.predict_table(pa.RecordBatch.from_pydict(inputs), first=first)
        without = functools.reduce(pc.and_, (pc.is_null(plain_array(column)) for column in inputs.values()))
        unsure = pc.fill_null(pc.less(columns.column("confidence"), self.least_confidence), False)
        nothing = pc.is_null(columns.column(0))  # also where all numbers are NaN
        return columns, pc.or_(unsure, nothing), without

    def _predict_rows(
        self, inputs: Mapping[str, pa.Array], first: int = 0
    ) -> tuple[pa.RecordBatch, pa.Array, pa.Array]:
        task, values = self.predictor.task, [column.to_pylist() for column in inputs.values()]
        rows = [dict(zip(inputs, row, strict=True)) for row in zip(*values, strict=True)]
        without = np.array([lacks(task.inputs, row) for row in rows])
        places = np.flatnonzero(~without)
        predictions = self.predictor.predict([rows[at] for at in places], numbers=(first + places).tolist())
        abstain = without.copy()
        abstain[~without] = [abstains(task, each, self.least_confidence) for each in predictions]
        columns = complete(task, [of_predictions(task, predictions)], without)
        return columns, pa.array(abstain), pa.array(without)


@dataclass(frozen=True)
class Predicted:
    """The predictions for some rows."""

    columns: pa.RecordBatch  # the task's, and `confidence`; null without a prediction
    abstain: pa.BooleanArray
    without: pa.BooleanArray  # the row lacks what the model reads

    def slice(self, start: int, rows: int) -> Predicted:
        return Predicted(*(each.slice(start, rows) for each in (self.columns, self.abstain, self.without)))


def _as_numbers(column: pa.Array, name: str, first: int) -> pa.Array:
    """A column of texts as the numbers that they are, as prepare reads it; any other as it is. Raises DataError, which
    names the row, counted from `first`."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    numbers = list[float | None]()
    for row, text in enumerate(column.to_pylist(), start=first):
        number = None if missing(text) else number_of(text)
        if number is not None and not math.isfinite(number):
            raise DataError(f"row {row}: {name!r} is {shown(text)}, not a number", "give a finite number or null")
        numbers.append(number)
    return pa.array(numbers, pa.float64())


def _reasons_of(of_task: pa.Schema) -> pa.Field:
    """The column of reasons beside these columns of a task: of several labels, each names its label."""
    label = {"label": pa.string()} if "labels" in of_task.names else {}
    each = pa.struct({**label, "input": pa.string(), "value": pa.string(), "weight": pa.float64()})
    return pa.field("reasons", pa.list_(each))


def _as_text(value: Any) -> str | None:
    """A reason's value, whose kind differs from input to input, for one column: numbers as in JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
