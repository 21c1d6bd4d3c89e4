"""Rows of the input → rows of the predictions table.

record_id                     the row's id, or VERSION:NUMBER where the table has no column of ids
label, probabilities, …       what the task predicts (`Task.prediction_columns`); null where there is no prediction
confidence, abstain           how sure the model is; whether that is below the least confidence asked for
model, model_digest           the model version (or the folder's name), and the digest of its files
input_table, input_version    where the row was read
scored_at                     when
…                             the input's columns that are kept
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.lake.types import storable
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import lacks
from lakewright.errors import DataError, UsageError, nearest
from lakewright.model.tasks import abstains

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Prediction
    from lakewright.model.predictor import Predictor
    from lakewright.service.scoring.rows import Job, Part, Window
    from lakewright.system.progress import Advance

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
    """Which of the input's columns are read, and what for."""

    inputs: Mapping[str, str]  # the model's input → the table's column
    id: str | None
    keep: tuple[str, ...]

    @property
    def read(self) -> list[str]:
        return list(dict.fromkeys((*self.inputs.values(), *([self.id] if self.id else []), *self.keep)))


@dataclass
class Tally:
    """What became of the rows of one call."""

    rows: int = 0
    without: int = 0  # rows that lack what the model reads: no prediction
    abstained: int = 0  # rows with a prediction, but less confidence than the least


def choose(
    inputs: Mapping[str, Kind],
    table: pa.Schema,
    roles: Mapping[str, Any],
    given: Mapping[str, str],
    id: str | None,
    keep: Sequence[str],
) -> Columns:
    """The model's inputs by name, as the caller maps them, as its project did, or as the table calls them.

    Raises UsageError for an input or a column that there is not, DataError where a needed one cannot be found.
    """
    for name in given:
        if name not in inputs:
            raise UsageError(f"the model has no input {name!r}", nearest(name, inputs))
    for name in (*given.values(), *([id] if id else []), *keep):
        if name not in table.names:
            raise UsageError(f"the table has no column {name!r}", nearest(name, table.names))
    found: dict[str, str] = {}
    for name in inputs:
        candidates = (given.get(name), roles.get(name), name)
        column = next((column for column in candidates if isinstance(column, str) and column in table.names), None)
        if column is not None:
            found[name] = column
    words = any(inputs[name] == "words" for name in found)  # a text can be made of them
    optional = ("optional text", "words", "text") if words else ("optional text", "words")
    missing = [name for name, kind in inputs.items() if name not in found and kind not in optional]
    if missing:
        raise DataError(
            f"the table has no column for the model's input {missing[0]!r}",
            f"say which it is: --column {missing[0]}=NAME; {nearest(missing[0], table.names)}",
        )
    chosen = id or roles.get("id")
    return Columns(found, chosen if chosen in table.names else None, tuple(keep))


def schema(of_task: pa.Schema, columns: Columns, table: pa.Schema, probabilities: bool) -> pa.Schema:
    """The predictions table's. Raises UsageError where a kept column has the name of another."""
    said = [field for field in of_task if probabilities or field.name != "probabilities"]
    own = [pa.field("record_id", pa.string()), *said, *COMMON]
    taken = {field.name.lower() for field in own}
    for name in columns.keep:
        if name.lower() in taken:
            raise UsageError(
                f"the column {name!r} cannot be kept: the predictions have one of that name",
                "leave it out, and join the tables by record_id",
            )
    return storable(pa.schema([*own, *(table.field(name) for name in columns.keep)]))


@dataclass(frozen=True)
class Scoring:
    """What turns rows into predictions, the same for all of them."""

    predictor: Predictor
    model: str  # as it is written beside each prediction
    columns: Columns
    schema: pa.Schema
    least_confidence: float

    def batches(self, parts: Iterable[Part], job: Job, tally: Tally, advance: Advance) -> Iterator[pa.RecordBatch]:
        """The predictions for rows of a job."""
        for part in parts:
            yield self._batch(part, job, tally, advance)

    def _batch(self, part: Part, job: Job, tally: Tally, advance: Advance) -> pa.RecordBatch:
        window = part.window
        if window.predictions is None:
            _check_finite(window, job, self.columns.inputs.values())
            window.predictions = self._predict(window.rows)
        said = window.predictions[part.start : part.stop]
        rows = window.rows.slice(part.start, part.stop - part.start)
        task = self.predictor.task
        sure = [None if one is None else task.confidence(one) for one in said]
        unsure = [one is None or abstains(task, one, self.least_confidence) for one in said]
        same = {
            "model": self.model,
            "model_digest": self.predictor.digest,
            "input_table": job.table.name,
            "input_version": job.table.version,
            "scored_at": datetime.now(UTC),
        }
        values: dict[str, Any] = {
            "record_id": _record_ids(rows, job, window.first + part.start, self.columns.id),
            "confidence": sure,
            "abstain": unsure,
            **{name: [value] * len(said) for name, value in same.items()},
            **{name: rows.column(name) for name in self.columns.keep},
        }
        for field in self.schema:
            if field.name not in values:
                values[field.name] = [None if one is None else _value(one.get(field.name)) for one in said]
        tally.rows += len(said)
        tally.without += said.count(None)
        tally.abstained += sum(unsure) - said.count(None)
        advance(len(said), f"{tally.abstained:,} abstained" if tally.abstained else "")
        arrays = [pa.array(values[field.name], field.type) for field in self.schema]
        return pa.record_batch(arrays, schema=self.schema)

    def _predict(self, rows: pa.RecordBatch) -> list[Prediction | None]:
        """None for a row that lacks what the model reads."""
        columns = [rows.column(name).to_pylist() for name in self.columns.inputs.values()]
        given = [dict(zip(self.columns.inputs, values, strict=True)) for values in zip(*columns, strict=True)]
        lacking = [lacks(self.predictor.task.inputs, row) for row in given]
        found = iter(self.predictor.predict([row for row, lack in zip(given, lacking, strict=True) if not lack]))
        return [None if lack else next(found) for lack in lacking]


def _check_finite(window: Window, job: Job, columns: Iterable[str]) -> None:
    """Raises DataError for an infinite number."""
    for name in columns:
        column = window.rows.column(name)
        at = pc.index(pc.is_inf(column), True).as_py() if pa.types.is_floating(column.type) else -1
        if at >= 0:
            raise DataError(
                f"the column {name!r} of {job.table} is infinite in row {window.first + at}",
                "correct the number at the source, or make it null in SQL",
            )


def _record_ids(rows: pa.RecordBatch, job: Job, first: int, id: str | None) -> list[str]:
    if id is None:
        return [f"{job.table.version}:{number}" for number in range(first, first + rows.num_rows)]
    ids = rows.column(id).to_pylist()
    if None in ids:
        raise DataError(
            f"the column {id!r} of {job.table} is null in row {first + ids.index(None)}",
            "fill it, name another column (--id), or leave such rows out in SQL",
        )
    return [str(value) for value in ids]


def _value(value: Any) -> Any:
    """A mapping as Arrow takes it."""
    return list(value.items()) if isinstance(value, dict) else value
