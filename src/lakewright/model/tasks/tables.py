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
    classes = type(task).__mro__
    definers = {name: [at for at, each in enumerate(classes) if name in vars(each)] for name in ("decode_table", *ALIKE)}
    own = definers["decode_table"]
    return task.level == "row" and bool(own) and all(definers[name][:1] >= own[:1] for name in ALIKE)


def table_schema(task: Task) -> pa.Schema:
    """`prediction_columns`, and `confidence`."""
    import pyarrow as pa

    return task.prediction_columns().append(pa.field("confidence", pa.float64()))


def complete(task: Task, parts: Sequence[pa.RecordBatch], lacking: NDArray[np.bool_]) -> pa.RecordBatch:
    """The parts' rows in order, and `no_prediction` in place of each row that is `lacking` [rows].

    Raises DataError if they do not fit into one record batch.
    """
    import pyarrow as pa

    schema = table_schema(task)
    try:
        rows = pa.concat_batches(parts) if parts else schema.empty_table().to_batches()[0]
        if not lacking.any():
            return rows
        places = np.cumsum(~lacking) - 1
        nothing = pa.RecordBatch.from_pylist([_row(task, no_prediction(task))], schema)
        return pa.concat_batches([rows, nothing]).take(pa.array(np.where(lacking, rows.num_rows, places)))
    except pa.ArrowInvalid as failure:
        raise DataError(
            f"the predictions of {len(lacking):,} rows do not fit into one record batch",
            "predict the table in parts, such as table.to_batches(max_chunksize=1_000_000)",
        ) from failure


def of_predictions(task: Task, predictions: Sequence[Prediction]) -> pa.RecordBatch:
    """Predictions of `decode` as the columns of `table_schema`."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([_row(task, each) for each in predictions], table_schema(task))


def _row(task: Task, prediction: Prediction) -> dict[str, Any]:
    values = {name: arrow_value(prediction.get(name)) for name in task.prediction_columns().names}
    return {**values, "confidence": task.confidence(prediction)}


def arrow_value(value: Any) -> Any:
    """A value of a prediction as Arrow takes it: a mapping as pairs."""
    return list(value.items()) if isinstance(value, dict) else value
