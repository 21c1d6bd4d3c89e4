"""Any number of labels a text, including none: each label has its own probability and threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.columns import Problems, column, in_order, needed
from lakewright.data.rows.kinds import Kind, Prediction, Row, missing
from lakewright.data.rows.truths import LabelNames, truth_numbers
from lakewright.data.rows.truths.label_lists import LabelLists
from lakewright.errors import DataError, ProjectError
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import Logits, Loss
from lakewright.model.tasks.inputs import InputColumns, inputs_of, read_inputs, sample_rows
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded

FORMS = (
    'a list of labels (["one", "two"]; [] where there is none), the same as JSON in a string, or several columns of 0 '
    "and 1: labels: [one, two]; names in one text become a list by SQL's string_split(labels, ',')"
)
GRID = np.linspace(0.02, 0.98, 97)  # thresholds to try, a hundredth apart
SMOOTH = 5  # a threshold's F1 is averaged over so many grid points on either side: a peak of one point is chance


class MultilabelSettings(TaskSettings):
    name: Literal["multilabel_classification"] = "multilabel_classification"
    labels: LabelNames | None = Field(
        default=None,
        description="all labels, in the order of a multi-hot vector's places; none: the labels of train, sorted",
    )
    threshold: Literal["tuned"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        default="tuned", description="tuned: each label's own, by F1 on validation; or one for all, such as 0.5"
    )


class MultilabelColumns(InputColumns):
    labels: str | list[str] | None = Field(
        default=None, description="a column of lists, or a list of columns of 0 and 1"
    )

    truths: ClassVar[tuple[str, ...]] = ("labels",)


@dataclass
class LabelsReader:
    """The labels are a column of lists (or of JSON lists), or several columns of 0 and 1. An empty list, or a row of
    zeros, is a row without labels; null is a row with unknown labels. A list of 0 and 1 is a multi-hot vector if
    `task.labels` names as many labels."""

    columns: Mapping[str, Any]
    source: str | Sequence[str]  # the column of lists, or those of 0 and 1
    names: Sequence[str]  # the labels, if they are known before
    rows: int  # the number of the next row
    problems: dict[str, Problems]
    lists: LabelLists
    occurrences: Occurrences = field(default_factory=lambda: Occurrences())

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        inputs = read_inputs(table, self.columns)
        if isinstance(self.source, str):
            truths = _of_list(table, self.source, self.rows, self.lists, self.problems[self.source])
            self.occurrences.ones.update(*filter(None, truths))
        else:
            truths = _of_columns(table, self.source, self.rows, self.occurrences, self.problems)
        self.rows += table.num_rows
        return pa.table({**inputs, "truth": pa.array(truths, pa.list_(pa.string()))})

    def merge(self, later: Self) -> None:
        for name, problems in later.problems.items():
            self.problems[name].merge(problems)
        self.lists.merge(later.lists)
        self.occurrences.merge(later.occurrences)

    def check(self) -> None:
        source, occurrences = self.source, self.occurrences
        for name, column_problems in self.problems.items():
            column_problems.refuse(name, "labels", FORMS)
        if isinstance(source, str):
            self.lists.check(source)
        else:
            occurrences.check(source)
        never = [name for name in self.names if name not in occurrences.ones]
        if never:
            raise DataError(
                f"the label {never[0]!r} (data.columns.labels) is in no row, so no model can learn it"
                if isinstance(source, str)
                else f"the column {never[0]!r} (data.columns.labels) is 1 in no row"
                f"{' and blank in all' * (occurrences.blanks[never[0]] == occurrences.rows)}, so no model can learn it",
                "remove it, or check whether the table was filtered",
            )


@dataclass(frozen=True)
class MultilabelClassification:
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    tuned: bool = True  # whether to tune the thresholds
    inputs: Mapping[str, Kind] = field(default_factory=lambda: dict[str, Kind](text="text"))

    name: ClassVar[str] = "multilabel_classification"
    settings: ClassVar[type[TaskSettings]] = MultilabelSettings
    columns: ClassVar[type[Columns]] = MultilabelColumns
    truth: ClassVar[str] = "labels"
    requires: ClassVar[tuple[Kind, ...]] = ("text",)
    level: ClassVar[Literal["row", "token", "vector"]] = "row"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "rows"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal")

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        averages = ("micro", "macro", "samples")
        averaged = [f"{average}_{name}" for average in averages for name in ("precision", "recall", "f1")]
        return (*averaged, "jaccard", "exact_match", "hamming_loss", "roc_auc", "pr_auc", "log_loss", "brier", "ece")

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        return inputs_of(columns)

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> LabelsReader:
        assert isinstance(settings, MultilabelSettings)
        _, source = needed(columns, "text", "labels")
        names = settings.labels or ([] if isinstance(source, str) else source)
        if not isinstance(source, str) and set(names) != set(source):
            raise ProjectError(
                f"task.labels names {', '.join(names)}, but data.columns.labels names the columns {', '.join(source)}",
                "remove task.labels: the name of a column of 0 and 1 is its label",
            )
        problems = {name: Problems() for name in ([source] if isinstance(source, str) else source)}
        return LabelsReader(columns, source, names, first, problems, LabelLists(settings.labels))

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        assert isinstance(settings, MultilabelSettings)
        counts: Counter[str] = Counter()
        rows = 0
        for table in train:
            counts.update(label for labels in table["truth"].to_pylist() for label in labels)
            rows += table.num_rows
        if all(count == rows for count in counts.values()):
            cause = "no row of train has a label" if not counts else "every row of train has the same labels"
            raise DataError(f"{cause}: there is nothing to learn", "check the columns that data.columns.labels names")
        labels = tuple(settings.labels) if settings.labels else in_order(set(counts))
        tuned = settings.threshold == "tuned"
        start = 0.5 if settings.threshold == "tuned" else settings.threshold
        return cls(labels, (float(start),) * len(labels), tuned, dict(inputs))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        labels, thresholds = tuple(described["labels"]), tuple(described["thresholds"])
        return cls(labels, thresholds, described["tuned"], described["inputs"])

    def describe(self) -> dict[str, Any]:
        fitted = {"labels": list(self.labels), "thresholds": list(self.thresholds), "tuned": self.tuned}
        return {"name": self.name, **fitted, "inputs": dict(self.inputs)}

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @staticmethod
    def label_of(truth: list[str]) -> list[str]:
        return truth

    def targets(self, truths: Sequence[list[str]], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """0 and 1, one a label."""
        size = len(self.labels)
        return Ragged(self._hot(truths).astype(np.int32).ravel(), np.arange(len(truths) + 1) * size)

    def shortfalls(
        self, truths: Sequence[list[str]], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """Labels are never lost: prepare requires all of them in train."""
        return []

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """The sum over the labels of binary cross-entropies. focal: Lin et al. 2017."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits, truth = logits.float(), targets.float()
        smoothed = truth * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        losses = binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        if loss.name == "focal":
            losses = losses * (truth - torch.sigmoid(logits)).abs() ** loss.focal_gamma
        return losses.sum(dim=1)

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """labels over their thresholds, the most probable first; every label's probability; and as confidence the
        geometric mean over the labels of the probability that each is right (labels taken as independent)."""
        if not logits:
            return []
        probabilities = _sigmoid(np.stack(logits))
        over = probabilities >= np.array(self.thresholds)
        sure = np.exp(np.log(np.clip(np.where(over, probabilities, 1 - probabilities), 1e-12, 1)).mean(axis=1))
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            {
                "labels": [self.labels[i] for i in ranks if predicted[i]],
                "confidence": float(confidence),
                "probabilities": {self.labels[i]: float(row[i]) for i in ranks},
            }
            for row, predicted, confidence, ranks in zip(probabilities, over, sure, order, strict=True)
        ]

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        shares = pa.map_(pa.string(), pa.float64())
        return pa.schema({"labels": pa.list_(pa.string()), "probabilities": shares})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[list[str]]) -> Self:
        if not self.tuned:
            return self
        probabilities, truth = _sigmoid(np.stack(logits)), self._hot(truths)
        return replace(self, thresholds=tuple(best_thresholds(probabilities, truth).tolist()))

    def confidence(self, prediction: Prediction) -> float:
        return float(prediction["confidence"])

    def scorer(self, truths: Sequence[list[str]], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        from lakewright.evaluation.scorers.multilabel import MultilabelScorer

        probabilities = np.array([[row["probabilities"][label] for label in self.labels] for row in predictions])
        predicted = self._hot([row["labels"] for row in predictions])
        return MultilabelScorer(self._hot(truths), probabilities, predicted, list(self.labels))

    def sample_rows(self) -> list[dict[str, Any]]:
        return sample_rows(self.inputs)

    def _hot(self, truths: Sequence[list[str]]) -> NDArray[np.bool_]:
        place = {label: i for i, label in enumerate(self.labels)}
        hot = np.zeros((len(truths), len(self.labels)), dtype=np.bool_)
        for row, labels in enumerate(truths):
            hot[row, [place[label] for label in labels if label in place]] = True
        return hot


def best_thresholds(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each label's threshold, [labels]: half way between the best one for its own F1 and the best one for the F1 of all
    decisions together, searched one label at a time.

    The first alone predicts rare labels too often: for a label that the model hardly knows, to predict it always is
    near the best F1 (Lipton, Elkan & Naryanaswamy 2014). The second alone hardly ever predicts them.
    """
    places = np.searchsorted(GRID, probabilities, side="right")  # the number of thresholds that a probability reaches
    predicted, right = (
        np.stack([_reaching(places[:, i], weight[:, i]) for i in range(truth.shape[1])])
        for weight in (np.ones_like(truth), truth)
    )  # [labels, grid]
    true = truth.sum(axis=0)
    separate = np.array([_peak(2 * right[i] / np.maximum(predicted[i] + true[i], 1)) for i in range(len(true))])
    together = np.full(len(true), np.argmax(2 * right.sum(axis=0) / (predicted.sum(axis=0) + true.sum() + 1e-9)))
    for _ in range(2):
        for i in range(len(true)):
            others = np.arange(len(true)) != i
            at = (others.nonzero()[0], together[others])
            hits, total = right[at].sum() + right[i], predicted[at].sum() + predicted[i] + true.sum()
            together[i] = _peak(2 * hits / np.maximum(total, 1))
    thresholds: NDArray[np.float64] = np.where(true > 0, (GRID[separate] + GRID[together]) / 2, 0.5)
    return thresholds


def _reaching(places: NDArray[np.intp], weight: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The number of rows that reach each threshold, [grid]."""
    counts = np.bincount(places, weight, minlength=len(GRID) + 1)
    return counts[::-1].cumsum()[::-1][1:]


def _peak(f1: NDArray[np.float64]) -> int:
    """The index of the best F1, smoothed: the middle one if several are equal."""
    window = np.ones(2 * SMOOTH + 1) / (2 * SMOOTH + 1)
    smooth = np.convolve(np.pad(f1, SMOOTH, mode="edge"), window, mode="valid")
    return int(np.median(np.flatnonzero(smooth >= smooth.max() - 1e-12)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
    return result


@dataclass
class Occurrences:
    """The values seen in columns of 0 and 1."""

    ones: set[str] = field(default_factory=set)  # columns (of lists: labels) that are 1 somewhere
    zeros: set[str] = field(default_factory=set)
    blanks: Counter[str] = field(default_factory=Counter)  # column → rows
    rows: int = 0
    unknown: int = 0  # rows that are blank in one of the columns

    def merge(self, later: Occurrences) -> None:
        self.ones |= later.ones
        self.zeros |= later.zeros
        self.blanks += later.blanks
        self.rows += later.rows
        self.unknown += later.unknown

    def check(self, names: Sequence[str]) -> None:
        """Raises DataError for columns of 1 and blank."""
        unclear = [name for name in names if name in self.ones and name not in self.zeros and self.blanks[name]]
        if unclear:
            counts = ", ".join(f"{name!r} is blank in {self.blanks[name]:,}" for name in unclear[:5])
            zeros = ", ".join(f"coalesce({name}, 0) as {name}" for name in unclear[:5])
            raise DataError(
                f"of {self.rows:,} rows {self.unknown:,} have no labels (data.columns.labels): {counts}, "
                "1 in the others and never 0",
                f"write 0 where a label does not apply; if blank means 0, in SQL: select {zeros}, …",
            )


def _of_columns(
    table: pa.Table, names: Sequence[str], first: int, occurrences: Occurrences, problems: Mapping[str, Problems]
) -> list[list[str] | None]:
    """`first` is the number of the table's first row."""
    values = [truth_numbers(table, name, "labels", first, problems[name]).to_numpy() for name in names]
    for name, column_values in zip(names, values, strict=True):
        blank = np.isnan(column_values)
        strange = np.flatnonzero(~(blank | np.isin(column_values, [0.0, 1.0])))
        if len(strange):
            raise DataError(
                f"the column {name!r} (data.columns.labels) holds {column_values[strange[0]]:g} in row "
                f"{first + int(strange[0])}, not 0 or 1",
                f"give {FORMS}",
            )
        occurrences.blanks[name] += int(blank.sum())
        if (column_values == 1).any():
            occurrences.ones.add(name)
        if (column_values == 0).any():
            occurrences.zeros.add(name)
    hot = np.stack(values, axis=1)
    labelled = ~np.isnan(hot).any(axis=1)
    occurrences.rows += len(labelled)
    occurrences.unknown += int((~labelled).sum())
    return [
        [name for name, value in zip(names, row, strict=True) if value == 1] if complete else None
        for row, complete in zip(hot, labelled, strict=True)
    ]


def _of_list(table: pa.Table, name: str, first: int, lists: LabelLists, problems: Problems) -> list[list[str] | None]:
    truths: list[list[str] | None] = []
    for row, value in enumerate(column(table, name, "labels").to_pylist(), start=first):
        try:
            truths.append(None if missing(value) else lists.read(value))
        except ValueError as failure:
            problems.add(f"row {row}: {failure}")
            truths.append(None)
    return truths
