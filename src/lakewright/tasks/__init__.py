"""What is learned. One file a task: which columns it needs, its labels, targets, loss, decoding and scoring.

A task never says how it is learned (learners) nor what computes it (runtimes). It is made from the train split's truth
and stored in the model folder by name and labels; a predictor needs no more than numpy to decode with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from lakewright.errors import DataError, ProjectError, nearest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray

    from lakewright.encodings import Encoded
    from lakewright.encodings.ragged import Ragged
    from lakewright.evaluation.scorer import Scorer

Prediction = dict[str, Any]
IGNORED = -100  # a target that the loss leaves out


class Task(Protocol):
    name: ClassVar[str]
    level: ClassVar[Literal["row", "token"]]  # does the head read the pooled row, or every token
    metrics: ClassVar[tuple[str, ...]]  # what its scorer measures
    labels: tuple[str, ...]

    @classmethod
    def read(cls, table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """The columns `text` (string, null where there is none) and `truth` (null where a row has no label).

        `columns` maps roles to column names. Raises ProjectError where a needed role is not mapped, DataError where a
        column is missing or holds what it should not, naming the column and the first rows.
        """

    @classmethod
    def fit(cls, truths: Sequence[Any]) -> Task:
        """The task with the labels found in the train split's truth, sorted."""

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Task: ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready; `open(describe())` gives the same task."""

    @property
    def outputs(self) -> int:
        """Logits a row (level "row") or a token (level "token")."""

    def label_of(self, truth: Any) -> list[str]:
        """The label names that stand in one row's truth, for counting."""

    def targets(self, truths: Sequence[Any], encoded: Encoded, texts: Sequence[str]) -> Ragged:
        """int32 targets: one a row (level "row"), or one a token, IGNORED where it has none (level "token")."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Each row's loss summed over its targets, float [rows]; logits [rows, (tokens,) outputs], targets int64
        [rows, 1] (level "row") or [rows, tokens]."""

    def decode(self, logits: list[NDArray[np.float32]], encoded: Encoded, texts: Sequence[str]) -> list[Prediction]:
        """JSON-ready predictions from each row's logits: [outputs] (level "row") or [tokens, outputs]."""

    def confidence(self, prediction: Prediction) -> float:
        """How sure the model is of the whole row, 0 to 1."""

    def scorer(self, truths: Sequence[Any], predictions: Sequence[Prediction]) -> Scorer: ...

    def sample_rows(self) -> list[dict[str, Any]]:
        """Neutral rows for the signature and the input example: never rows of the training data."""


def needed(columns: Mapping[str, str], *roles: str) -> list[str]:
    """The names of the columns that play these roles; ProjectError where one is not mapped."""
    missing = [role for role in roles if role not in columns]
    if missing:
        raise ProjectError(
            f"data.columns does not say which column is the {' and the '.join(missing)}",
            "for example " + ", ".join(f"columns: {{{role}: name_of_the_{role}_column}}" for role in missing),
        )
    return [columns[role] for role in roles]


def column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"the table has no column {name!r} (data.columns.{role})", nearest(name, table.column_names))
    return table.column(name)


def text_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    import pyarrow as pa

    found = column(table, name, role)
    if pa.types.is_null(found.type):
        return found.cast(pa.string())
    if not (
        pa.types.is_string(found.type) or pa.types.is_large_string(found.type) or pa.types.is_string_view(found.type)
    ):
        first = [value for value in found.slice(0, 100).to_pylist() if value is not None][:3]
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {found.type}, not text; the first values: {first}",
            "name the column that holds the text",
        )
    return found.cast(pa.string())
