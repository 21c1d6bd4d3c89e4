"""What is learned. One file a task: which columns it needs, its labels, targets, losses, decoding and scoring.

A task never says how it is learned (learners) nor what computes it (runtimes). It is made from the train split's rows
and stored in the model folder; a predictor needs no more than numpy to encode and decode with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from lakewright.data.rows.kinds import Kind, Prediction, Row

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.settings.sections import Columns, TaskSettings

Logits = list[
    Any
]  # float32 arrays: [outputs] a row (level "row"), [tokens, outputs] or [width] a sequence (the others)
IGNORED = -100  # a target that the loss leaves out


@dataclass(frozen=True)
class Loss:
    """Which of the task's losses is minimised, and its numbers."""

    name: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    scale: float = 20.0


class Task(Protocol):
    name: ClassVar[str]
    settings: ClassVar[type[TaskSettings]]  # what project.yml may say under `task`, beside the name
    columns: ClassVar[type[Columns]]  # the roles of data.columns, and which of them hold the truth
    truth: ClassVar[str]  # the kind of truth: class, labels, number, spans, answers, likeness, or one of your own
    level: ClassVar[Literal["row", "token", "vector"]]
    """What the network says: logits a row, logits a token, or an embedding a sequence."""
    counted: ClassVar[Literal["rows", "sequences", "tokens"]]  # what a batch's loss is the mean over
    one_label: ClassVar[bool]  # every row has one class: rows can be balanced, stratified and checked by it
    losses: ClassVar[tuple[str, ...]]  # the first is the default
    labels: tuple[str, ...]
    inputs: Mapping[str, Kind]  # what a row holds

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        """The names of the metrics where `data.columns` maps these roles, so that a gate can be checked before
        anything runs."""

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        """What a row holds where `data.columns` maps these roles."""

    @classmethod
    def read(cls, tables: Iterable[pa.Table], columns: Mapping[str, Any], settings: TaskSettings) -> Iterator[pa.Table]:
        """For each of the tables, which are one table's batches in order (one at least), the inputs' columns (null
        where there is nothing) and `truth` (null where a row has none). None is held longer than until the next.

        `columns` maps roles to column names. Raises ProjectError where a needed role is not mapped, DataError where a
        column is missing or holds what it should not, naming the column and the first rows; behind the last table what
        only all of them can tell.
        """

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        """The task with all that it learns from the truths of the train split (one table at least), as `read` gave it:
        labels, scales. `inputs` are those of `inputs_of`. The tables can be gone through once, and their texts are
        not to be held."""

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self: ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready; `open(describe())` gives the same task."""

    @property
    def outputs(self) -> int:
        """Logits a row or a token; 0 where the network says embeddings."""

    @staticmethod
    def label_of(truth: Any) -> list[str]:
        """The label names that stand in one row's truth, for counting."""

    def targets(self, truths: Sequence[Any], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """Numbers for the loss, beside the row (levels "row" and "vector") or beside each sequence's tokens, IGNORED
        where a token has none. int32, or float32 where the truth is a number."""

    def shortfalls(
        self, truths: Sequence[Any], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """The round trip: what of the truths `decode` does not give back from logits that agree with the targets."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """Losses, float [rows], or [sequences, tokens] where every token counts for itself (0 where IGNORED).

        logits [rows, outputs], [sequences, tokens, outputs], or embeddings [rows, sequences a row, width] of a whole
        batch; targets [rows, numbers a row] or [sequences, tokens], padded with IGNORED.
        """

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """JSON-ready predictions, one a row."""

    def prediction_columns(self) -> pa.Schema:
        """The columns of a predictions table that hold a prediction, by its own names; `confidence` is beside them."""

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any]) -> Self:
        """The task with what it decides by (thresholds, scales) fitted on the validation split."""

    def confidence(self, prediction: Prediction) -> float | None:
        """How sure the model is of the whole row, 0 to 1; 0 where there is `no_prediction`. None where the task knows
        no probability, as of a number."""

    def scorer(self, truths: Sequence[Any], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer: ...

    def sample_rows(self) -> list[dict[str, Any]]:
        """Neutral rows for the signature and the input example, never rows of the training data. The recipe adds a
        value for each input that they lack."""


def abstains(task: Task, prediction: Prediction, least: float) -> bool:
    """Whether the model is less sure of the row than `least`, or predicts nothing for it."""
    if "abstain" in prediction:
        return bool(prediction["abstain"])
    confidence = task.confidence(prediction)
    return confidence is not None and confidence < least


def no_prediction(task: Task) -> Prediction:
    """What answers a row that `lacks` a text: all that is predicted is null."""
    return {**dict.fromkeys(task.prediction_columns().names), "confidence": 0.0, "abstain": True}
