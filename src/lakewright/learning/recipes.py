"""The recipe of a project, fitted on train alone; steps that learn from the truth also out of fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from lakewright.data.lake.portions import Portion, Portions
from lakewright.data.rows.folds import FOLDS
from lakewright.data.rows.reading import Inputs, NoLake
from lakewright.learning.sentence_encoders import frozen_encoder
from lakewright.learning.truths import Truths, has_numbers
from lakewright.model.recipe import Recipe, Values, Wanted, is_encoding, learns_truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.data.lake.parts import Part
    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.reading import Reading
    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.learning.learners import Learner
    from lakewright.model.recipe import Encoding
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.tasks import Task
    from lakewright.settings.project import Project
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers

R = TypeVar("R")
STORED = -1  # in place of a fold: the row is encoded by the step that is stored


@dataclass(frozen=True)
class FittedRecipe:
    recipe: Recipe
    lengths: NDArray[np.int32]  # of train's sequences, before any cut; none where no step gives sequences
    folds: Mapping[int, tuple[Encoding, ...]] = field(default_factory=dict)
    """Place of a step in the recipe → the same without the rows of each fold, if it learns from the truth."""

    def encoded_with_shortfalls(self, values: Values, folds: NDArray[np.int16]) -> tuple[Encoded, list[Shortfall]]:
        """As the recipe does, but each row by the steps that saw no row of its fold; `folds` [rows], STORED for rows
        that no step learned from. What is missing in the rows is what the recipe itself misses.

        Raises TypeError for a step whose columns differ from fold to fold.
        """
        encoded, lost = self.recipe.encoded_with_shortfalls(values)
        if not self.folds or encoded.columns is None:
            return encoded, lost
        columns, at = encoded.columns.copy(), 0
        values = self.recipe.transformed(values)
        for place, step in enumerate(self.recipe.steps):
            if not is_encoding(step):
                continue
            width = len(step.columns)
            for fold, other in enumerate(self.folds.get(place, ())):
                rows = np.flatnonzero(folds == fold)
                if len(rows):
                    taken = {name: _take(values[name], rows) for name in other.inputs}
                    columns[rows, at : at + width] = other.encode(taken).columns
            at += width
        return replace(encoded, columns=columns), lost


def fit_recipe(
    learner: Learner,
    task: Task,
    train: Reading,
    folds: NDArray[np.int16],
    project: Project,
    lake: Lake,
    workers: Workers,
) -> FittedRecipe:
    """The recipe, fitted on train; `folds` are those of train's rows. Raises ProjectError as the steps do, DataError
    where a step learns from the truth and all rows are in one fold."""
    vocabulary = None if learner.vocabulary is None else partial(learner.vocabulary, project.train, project.folder)
    wanted = Wanted(task.level, vocabulary, encoder=partial(frozen_encoder, project.folder))
    recipe, lengths = Recipe(()), np.empty(0, dtype=np.int32)
    of_folds: dict[int, tuple[Encoding, ...]] = {}
    truths: Truths | None = None
    for step, settings, inputs in project.steps.values():
        own = wanted
        if learns_truth(step) and has_numbers(task):
            truths = truths or Truths.gather(task, train, folds)
            own = replace(wanted, truth=truths.without(None))
        fitted, measured = step.fit(_Train(train, recipe, lake, workers), inputs, settings, own)
        if own.truth is not None and truths is not None:
            others = []
            for fold in range(FOLDS):
                truths.check(fold)
                rest = _Train(_without(train, folds, fold), recipe, lake, workers)
                other, _ = step.fit(rest, inputs, settings, replace(wanted, truth=truths.without(fold)))
                assert is_encoding(other) and is_encoding(fitted)
                if other.columns != fitted.columns:
                    raise TypeError(f"the step {step.name} gives other columns for other rows of train")
                others.append(other)
            of_folds[len(recipe.steps)] = tuple(others)
        recipe = Recipe((*recipe.steps, fitted))
        lengths = lengths if measured is None else measured
    return FittedRecipe(recipe, lengths, of_folds)


def rows_of(train: Reading) -> Callable[[Part], NDArray[np.bool_]]:
    """Which rows of a part are those of train."""
    selection = train.selection
    assert selection is not None, "train is a part of the table"
    return lambda part: selection[part.first : part.first + part.rows]


def _without(train: Reading, folds: NDArray[np.int16], fold: int) -> Reading:
    assert train.selection is not None, "train is a part of the table"
    selection = train.selection.copy()
    selection[np.flatnonzero(train.selection)[folds == fold]] = False
    return train.only(selection)


def _take(values: object, rows: NDArray[np.int64]) -> object:
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]  # type: ignore[index]


@dataclass(frozen=True, eq=False)
class _Train:
    """Train's values behind the transforms of a recipe in the making; each iteration streams them again."""

    reading: Reading
    recipe: Recipe
    lake: Lake
    workers: Workers

    def __iter__(self) -> Iterator[Values]:
        return map(self.recipe.transformed, Inputs(self.reading))

    def summaries(self, function: Callable[[Iterable[Values]], R]) -> Iterator[R]:
        """As `lakewright.model.recipe.summaries` explains; the parts are the table's, computed by the workers."""
        reading, table, lake = self.reading, self.reading.table, self.lake
        transforms = Recipe(tuple(step for step in self.recipe.steps if not is_encoding(step)))
        elsewhere = replace(reading, lake=NoLake(), selection=None)
        work = _Summarise(elsewhere, transforms, function)
        portions = Portions(lake, table, lake.shape(table, reading.columns), self.workers, rows_of(reading))
        yield from portions.computed(work, f"reading {table}")


@dataclass(frozen=True, eq=False)
class _Summarise(Generic[R]):
    reading: Reading  # without a lake
    transforms: Recipe
    function: Callable[[Iterable[Values]], R]

    def __call__(self, portion: Portion[NDArray[np.bool_]], advance: Advance | None) -> R:
        """`decided` [rows] says which rows are those of train."""
        reading = self.reading.of_part(portion, advance).only(portion.decided)
        return self.function(map(self.transforms.transformed, Inputs(reading)))
