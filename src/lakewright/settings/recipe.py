"""The steps of a project's recipe: those that it names, and for the remaining inputs its learner's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lakewright import plugins
from lakewright.errors import ProjectError, nearest

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.learning.learners import Learner
    from lakewright.model.recipe import Step
    from lakewright.settings.sections import StepSettings

    Inputs = Mapping[str, Kind]  # by name
    Chosen = tuple[type[Step], StepSettings, Inputs]  # a step, its settings, and the inputs that it reads


def choose(learner: Learner, inputs: Inputs, declared: Mapping[str, StepSettings]) -> dict[str, Chosen]:
    """The steps for these inputs by name, those of the project (`declared`) first.

    Raises ProjectError if no step reads an input, or two that do not name it read it; if a step reads nothing, or names
    an input that does not exist; and if the learner cannot read the sequences.
    """
    chosen: dict[str, Chosen] = {}
    named = {name for settings in declared.values() for name in settings.inputs}
    for key, settings in declared.items():
        step = plugins.STEPS.find(settings.step)
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
        if name in declared:
            continue  # it names other inputs
        step = plugins.STEPS.find(name)
        read = {each: kind for each, kind in left.items() if learner.reads.get(kind) == name}
        chosen[name] = (step, step.settings.model_validate({"step": name}), read)
        left = {each: kind for each, kind in left.items() if each not in read}
    if left:
        name, kind = next(iter(left.items()))
        raise ProjectError(
            f"no step reads the input {name!r} ({kind}): {learner.name} takes {', '.join(learner.reads)} by itself",
            "name a step that reads it under prepare.recipe, another train.learner, or leave the column out of "
            "data.columns",
        )
    _check_sequences(learner, chosen)
    return chosen


def _check_input(key: str, step: type[Step], name: str, inputs: Inputs) -> None:
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
