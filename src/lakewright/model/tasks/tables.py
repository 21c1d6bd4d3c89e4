"""Predictions as columns: what a task may add to decode many rows at once, and rows that have no prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError
from lakewright.model.tasks import Task, no_prediction

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.rows.kinds import Prediction

ALIKE = ("decode", "prediction_columns", "confidence")  # what `decode_table` does in one


class TableTask(Task, Protocol):
    """A task of level "row" that decodes an array."""

    def decode_table(self, logits: NDArray[np.float32]) -> pa.RecordBatch:
        """The columns of `table_schema`, for logits [rows, outputs], at least one row: what `decode` gives for the
        same logits, to the last bit."""


def decodes_tables(task: Task) -> TypeGuard[TableTask]:
    """Whether the task has a `decode_table` that belongs to its `decode`: a subclass that overrides what `decode_table`
    repeats is decoded by its own `decode`."""
    if task.level != "row":
        return False
    classes = type(task).__mro__

    def definer(name: str) -> int:
        return next((at for at, each in enumerate(classes) if name in vars(each)), len(classes))

    own = definer("decode_table")
    return own < len(classes) and all(definer(name) >= own for name in ALIKE)


def table_schema(columns: pa.Schema) -> pa.Schema:
    """A task's `prediction_columns`, and `confidence`."""
    import pyarrow as pa

    return columns.append(pa.field("confidence", pa.float64()))


def complete(task: Task, parts: Sequence[pa.RecordBatch], lacking: NDArray[np.bool_]) -> pa.RecordBatch:
    """The parts' rows in order, and `no_prediction` in place of each row that is `lacking` [rows].

    Raises DataError if they do not fit into one record batch.
    """
    import pyarrow as pa

    try:
        rows = pa.concat_batches(parts) if parts else of_predictions(task, [])
        if not lacking.any():
            return rows
        both = pa.concat_batches([rows, of_predictions(task, [no_prediction(task)])])
        return both.take(pa.array(np.where(lacking, rows.num_rows, np.cumsum(~lacking) - 1)))
    except pa.ArrowInvalid as failure:
        if "overflow" not in str(failure):
            raise
        raise DataError(
            f"the predictions of {len(lacking):,} rows do not fit into one record batch",
            "predict the table in parts, such as those of table.to_batches(max_chunksize=1_000_000)",
        ) from failure


def of_predictions(task: Task, predictions: Sequence[Prediction]) -> pa.RecordBatch:
    """Predictions of `decode` as the columns of `table_schema`."""
    import pyarrow as pa

    schema = table_schema(task.prediction_columns())
    columns = [
        pa.array([_arrow_value(each.get(field.name)) for each in predictions], field.type)
        for field in task.prediction_columns()
    ]
    confidence = pa.array([task.confidence(each) for each in predictions], pa.float64())
    return pa.RecordBatch.from_arrays([*columns, confidence], schema=schema)


def _arrow_value(value: Any) -> Any:
    """A value of a prediction as Arrow takes it: a mapping as pairs."""
    return list(value.items()) if isinstance(value, dict) else value
