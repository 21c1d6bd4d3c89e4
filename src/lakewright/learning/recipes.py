"""The recipe of a project, fitted on train alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lakewright.model.recipe import Recipe, Values, Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.learning.learners import Learner
    from lakewright.model.tasks import Task
    from lakewright.settings.project import Project


def fit_recipe(
    learner: Learner, task: Task, train: Iterable[Values], project: Project
) -> tuple[Recipe, NDArray[np.int32]]:
    """The recipe, fitted on train's values, and how long each of train's sequences is before any cut: none where no
    step gives sequences. Raises ProjectError as the steps do."""
    vocabulary = None if learner.vocabulary is None else partial(learner.vocabulary, project.train, project.folder)
    wanted = Wanted(task.level, vocabulary)
    recipe, lengths = Recipe(()), np.empty(0, dtype=np.int32)
    for step, settings, inputs in project.steps.values():
        fitted, measured = step.fit(_Transformed(train, recipe), inputs, settings, wanted)
        recipe = Recipe((*recipe.steps, fitted))
        lengths = lengths if measured is None else measured
    return recipe, lengths


@dataclass(frozen=True)
class _Transformed:
    """Train's values behind the transforms of a recipe in the making; each iteration streams them again."""

    train: Iterable[Values]
    recipe: Recipe

    def __iter__(self) -> Iterator[Values]:
        return map(self.recipe.transformed, self.train)
