"""The truths of train as numbers, for the steps of a recipe that learn from them, and the fold of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Self, cast

import numpy as np

from lakewright.data.rows.folds import FOLDS
from lakewright.errors import DataError
from lakewright.model.recipe import Truth
from lakewright.model.recipe.encoded import Encoded

if TYPE_CHECKING:
    import numpy.typing as npt

    from lakewright.data.rows.reading import Reading
    from lakewright.model.tasks import Task

KINDS = ("class", "labels", "number")  # of truth that are numbers of a row


@dataclass(frozen=True, eq=False)
class Truths:
    """Held in the form of the task's targets, 4 bytes a number: of a class, its place alone."""

    task: Task
    targets: npt.NDArray[np.generic]  # [rows of train, 1], or [rows of train, labels]
    ends: npt.NDArray[np.int64]  # of the batches of train, counted in its rows
    folds: npt.NDArray[np.int16]  # [rows of train]

    @classmethod
    def gather(cls, task: Task, train: Reading, folds: npt.NDArray[np.int16]) -> Self:
        """Reads train once; `folds` are those of its rows."""
        parts = [_targets(task, batch.truths, batch.inputs) for batch in train]
        return cls(task, np.concatenate(parts), np.cumsum([len(part) for part in parts]), folds)

    def without(self, fold: int | None) -> Truth:
        """Of the rows of train outside the fold, in the batches in which they are read; None: of all rows."""
        kind = cast(Literal["class", "labels", "number"], self.task.truth)
        return Truth(kind, names_of(self.task), partial(self._batches, fold))

    def _batches(self, fold: int | None) -> Iterator[npt.NDArray[np.float64]]:
        start = 0
        for end in self.ends.tolist():
            part = self.targets[start:end]
            if fold is not None:
                part = part[self.folds[start:end] != fold]
            if len(part):  # as rows are read: no batch without any
                yield numbers_of(self.task, part)
            start = end

    def check(self, fold: int) -> None:
        """Raises DataError if there is nothing to learn from outside the fold."""
        if (self.folds == fold).all():
            raise DataError(
                f"all rows of train are in one of {FOLDS} folds, so that no step can learn the truth from other rows",
                "take the steps that learn the truth out of prepare.recipe, or give train more groups "
                "(data.columns.group), or rows that differ",
            )


def has_numbers(task: Task) -> bool:
    """Whether the task's truths are numbers of a row."""
    return task.level == "row" and task.truth in KINDS


def names_of(task: Task) -> tuple[str, ...]:
    if task.truth == "number":
        return ("",)
    return tuple(task.labels[1:] if task.truth == "class" and len(task.labels) == 2 else task.labels)


def numbers_of(task: Task, targets: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """[rows, names]; the targets as learners take them: a class's place, a number, or 0 and 1 for each label."""
    if task.truth != "class":
        return targets.astype(np.float64)
    first = 1 if len(task.labels) == 2 else 0
    hot: npt.NDArray[np.bool_] = np.equal(targets, np.arange(first, len(task.labels)))
    return hot.astype(np.float64)


def _targets(task: Task, truths: Sequence[object], inputs: Sequence[dict[str, object]]) -> npt.NDArray[np.generic]:
    nothing = Encoded.of_columns(np.empty((len(truths), 0), dtype=np.float32))  # no truth of a row depends on more
    values: npt.NDArray[np.generic] = task.targets(truths, nothing, inputs).values.reshape(len(truths), -1)
    return values
