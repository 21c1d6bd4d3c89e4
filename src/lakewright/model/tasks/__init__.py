"""Tasks define what is learned. One file each: its columns, labels, targets, losses, decoding and scoring.

A task does not know how it is learned (learners) or computed (runtimes). It is made from the train split's rows and
stored in the model folder; a predictor needs only numpy to encode and decode with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeGuard

from lakewright.data.rows.kinds import Kind, Prediction, Row

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray

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
    """The task's loss to minimise, and its numbers."""

    name: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    scale: float = 20.0


class Reader(Protocol):
    """Reads a table as a task sees it, batch by batch, and remembers what only the whole table shows. Parts of a table
    may have readers of their own, which become one."""

    def read(self, table: pa.Table) -> pa.Table:
        """The inputs' columns (null without a value) and `truth` (null without one). Raises DataError if a column is
        missing or holds wrong values, with the column's name and the first rows."""

    def merge(self, later: Self) -> None:
        """Adds what another reader saw of the rows after these."""

    def check(self) -> None:
        """Raises DataError for problems that only the whole table shows."""


def read_whole(
    task: type[Task], tables: Iterable[pa.Table], columns: Mapping[str, Any], settings: TaskSettings
) -> Iterator[pa.Table]:
    """Each batch of a whole table as the task reads it; after the last one it is checked."""
    reader = task.reader(columns, settings)
    for table in tables:
        yield reader.read(table)
    reader.check()


class Task(Protocol):
    name: ClassVar[str]
    settings: ClassVar[type[TaskSettings]]  # the keys of `task` in project.yml, beside the name
    columns: ClassVar[type[Columns]]  # the roles of data.columns, including those of the truth
    truth: ClassVar[str]  # the kind of truth: class, labels, number, spans, answers, likeness, or your own
    requires: ClassVar[tuple[Kind, ...]]  # the kinds of inputs that every row has
    level: ClassVar[Literal["row", "token", "vector"]]
    """The network's output: logits a row, logits a token, or an embedding a sequence."""
    counted: ClassVar[Literal["rows", "sequences", "tokens"]]  # a batch's loss is the mean over these
    one_label: ClassVar[bool]  # every row has one class, by which rows can be balanced, stratified and checked
    losses: ClassVar[tuple[str, ...]]  # the first is the default
    labels: tuple[str, ...]
    inputs: Mapping[str, Kind]  # a row's inputs

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        """The names of the metrics if `data.columns` maps these roles, so that a gate can be checked before anything
        runs."""

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        """A row's inputs if `data.columns` maps these roles."""

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> Reader:
        """Reads a table's batches in order, from row `first` on. `columns` maps roles to column names. Raises
        ProjectError if a needed role is not mapped."""

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        """The task with all that it learns (labels, scales) from the truths of the train split: tables with the column
        `truth` as a reader gives it (at least one). Each truth is there at least once: how often says nothing. `inputs`
        are those of `inputs_of`."""

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self: ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready; `open(describe())` is the same task."""

    @property
    def outputs(self) -> int:
        """Logits a row or a token; 0 if the network computes embeddings."""

    @staticmethod
    def label_of(truth: Any) -> list[str]:
        """The label names in one row's truth, for counting."""

    def targets(self, truths: Sequence[Any], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """Numbers for the loss, beside the row (levels "row" and "vector") or beside each sequence's tokens, IGNORED
        for tokens without one. int32, or float32 if the truth is a number."""

    def shortfalls(
        self, truths: Sequence[Any], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """The round trip: truths that `decode` does not return from logits that agree with the targets."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """Losses, float [rows], or [sequences, tokens] if every token counts by itself (0 if IGNORED).

        logits [rows, outputs], [sequences, tokens, outputs], or embeddings [rows, sequences a row, width] of a whole
        batch; targets [rows, numbers a row] or [sequences, tokens], padded with IGNORED.
        """

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """JSON-ready predictions, one a row."""

    def prediction_columns(self) -> pa.Schema:
        """The columns of a predictions table for a prediction, by its own names; `confidence` is added to them."""

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any]) -> Self:
        """The task with its decision values (thresholds, scales) fitted on the validation split."""

    def confidence(self, prediction: Prediction) -> float | None:
        """The model's confidence in the whole row, 0 to 1; 0 for `no_prediction`. None if the task has no probability,
        as for a number."""

    def scorer(self, truths: Sequence[Any], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer: ...

    def sample_rows(self) -> list[dict[str, Any]]:
        """Neutral rows for the signature and the input example, never rows of the training data. The recipe adds a
        value for each input that they lack."""


class ArrayTask(Task, Protocol):
    """A task whose predictions callers expect as one array, as scikit-learn's."""

    def array(self, predictions: Sequence[Prediction], output: str) -> NDArray[Any]:
        """`output` value: [rows]; probability: [rows] of the second of two classes, [rows, classes] of more. Raises
        UsageError for a probability if the task has none."""


def gives_arrays(task: Task) -> TypeGuard[ArrayTask]:
    return getattr(task, "array", None) is not None


class PriorTask(Task, Protocol):
    """A task of one class a row whose probabilities can be corrected, where it was learned at other frequencies of its
    labels than they have."""

    shift: tuple[float, ...]  # [labels], or empty

    def shifted(self, shift: Sequence[float]) -> Self:
        """The same task, which adds these [labels] to the logits of a row before it decodes them."""


def corrects_prior(task: Task | type[Task]) -> TypeGuard[PriorTask]:
    return getattr(task, "shifted", None) is not None


class InputsTask(Task, Protocol):
    """A task that reads rows without a truth, too, so that a learner may learn from them."""

    @staticmethod
    def read_inputs(table: pa.Table, columns: Mapping[str, Any]) -> dict[str, pa.ChunkedArray]:
        """The inputs' columns, as a reader gives them. Raises ProjectError and DataError as it does."""


def reads_inputs(task: type[Task]) -> TypeGuard[type[InputsTask]]:
    return getattr(task, "read_inputs", None) is not None


def abstains(task: Task, prediction: Prediction, least: float) -> bool:
    """Whether the model is less sure of the row than `least`, or predicts nothing for it."""
    if "abstain" in prediction:
        return bool(prediction["abstain"])
    confidence = task.confidence(prediction)
    return confidence is not None and confidence < least


def no_prediction(task: Task) -> Prediction:
    """The prediction for a row that `lacks` a text: all its values are null."""
    return {**dict.fromkeys(task.prediction_columns().names), "confidence": 0.0, "abstain": True}
