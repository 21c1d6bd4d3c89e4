"""Which steps a recipe has: those that the project names, and for what they leave, those that the learner takes by
itself. All are fitted on train alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError, nearest
from lakewright.model.recipe import Recipe, Step, Values, Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.learning.learners import Learner
    from lakewright.model.tasks import Task
    from lakewright.settings.project import Project
    from lakewright.settings.sections import StepSettings

Chosen = tuple[type[Step], "StepSettings", dict[str, Kind]]  # a step, its settings, and the inputs that it reads


def fit_recipe(
    learner: Learner, task: Task, train: Iterable[Values], project: Project
) -> tuple[Recipe, NDArray[np.int32]]:
    """The recipe, fitted on train's values, and how long each of train's sequences is before any cut: none where no
    step gives sequences. Raises ProjectError as `choose` and the steps do."""
    vocabulary = None if learner.vocabulary is None else partial(learner.vocabulary, project.train, project.folder)
    wanted = Wanted(task.level, vocabulary)
    fitted, lengths = [], np.empty(0, dtype=np.int32)
    for step, settings, inputs in choose(learner, task.inputs, project.prepare.recipe):
        one, measured = step.fit(train, inputs, settings, wanted)
        fitted.append(one)
        lengths = lengths if measured is None else measured
    return Recipe(tuple(fitted)), lengths


def choose(learner: Learner, inputs: Mapping[str, Kind], declared: Mapping[str, StepSettings]) -> list[Chosen]:
    """The steps for these inputs, those of the project first.

    Raises ProjectError where an input is read by no step, or by two that do not name it, where a step reads nothing or
    what is not there, and where the learner cannot read the sequences.
    """
    chosen: dict[str, Chosen] = {}
    named = {name for settings in declared.values() for name in settings.inputs}
    for key, settings in declared.items():
        step: type[Step] = plugins.find("steps", settings.step)
        if settings.inputs:
            for name in settings.inputs:
                _check_input(key, step, name, inputs)
            read = {name: inputs[name] for name in settings.inputs}
        else:
            read = {name: kind for name, kind in inputs.items() if kind in step.reads and name not in named}
        if not read:
            raise ProjectError(
                f"prepare.recipe.{key}: the step {step.name} reads inputs of the kinds {_kinds(step)}, none is left",
                "take it out, or name what it reads: inputs: [NAME, …]",
            )
        chosen[key] = (step, settings, read)
    _check_once(chosen)
    left = {name: kind for name, kind in inputs.items() if not any(name in read for _, _, read in chosen.values())}
    for name in dict.fromkeys(learner.reads[kind] for kind in left.values() if kind in learner.reads):
        step = plugins.find("steps", name)
        read = {each: kind for each, kind in left.items() if learner.reads.get(kind) == name}
        chosen[f"{name} of {learner.name}"] = (step, step.settings.model_validate({"step": name}), read)
        left = {each: kind for each, kind in left.items() if each not in read}
    if left:
        name, kind = next(iter(left.items()))
        raise ProjectError(
            f"no step reads the input {name!r} ({kind}): {learner.name} takes {', '.join(learner.reads)} by itself",
            "name a step that reads it under prepare.recipe, another train.learner, or leave the column out of "
            "data.columns",
        )
    _check_sequences(learner, chosen)
    return list(chosen.values())


def _check_input(key: str, step: type[Step], name: str, inputs: Mapping[str, Kind]) -> None:
    if name not in inputs:
        raise ProjectError(f"prepare.recipe.{key} names the input {name!r}, and rows have none", nearest(name, inputs))
    if inputs[name] not in step.reads:
        raise ProjectError(
            f"prepare.recipe.{key}: {name!r} is of the kind {inputs[name]}, and the step {step.name} reads "
            f"{_kinds(step)}",
            "name another input, or another step",
        )


def _check_once(chosen: Mapping[str, Chosen]) -> None:
    for name, times in Counter(name for _, own, read in chosen.values() if not own.inputs for name in read).items():
        if times > 1:
            both = [key for key, (_, own, read) in chosen.items() if name in read and not own.inputs]
            raise ProjectError(
                f"prepare.recipe: {' and '.join(both)} both read the input {name!r}, and neither names it",
                "name the inputs of each: inputs: [NAME, …]",
            )


def _check_sequences(learner: Learner, chosen: Mapping[str, Chosen]) -> None:
    own = learner.reads.get("text")
    steps = [step.name for step, _, _ in chosen.values() if step.sequences]
    for name in steps:
        if name != own:
            reads = f"reads texts by the step {own}" if own else "reads no texts"
            raise ProjectError(
                f"prepare.recipe: {learner.name} {reads}, not by {name}",
                f"take {name} out of prepare.recipe, or set another train.learner",
            )
    if len(steps) > 1:
        raise ProjectError(
            f"prepare.recipe: {len(steps)} steps are {own}, and a network reads the sequences of one",
            "let one of them read all texts",
        )


def _kinds(step: type[Step]) -> str:
    return " and ".join(step.reads)
