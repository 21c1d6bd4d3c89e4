"""The steps of a project's recipe: those that it names, and for the remaining inputs its learner's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from lakewright import plugins
from lakewright.errors import ProjectError, nearest

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.learning.learners import Learner
    from lakewright.model.recipe import Step, Transform
    from lakewright.settings.sections import StepSettings

    Inputs = Mapping[str, Kind]  # by name
    Chosen = tuple[type[Step], StepSettings, Inputs]  # a step, its settings, and the inputs that it reads


def choose(learners: Sequence[Learner], inputs: Inputs, declared: Mapping[str, StepSettings]) -> dict[str, Chosen]:
    """The steps for these inputs by name, in the order in which they work: transforms, and then encodings; of each
    sort, those of the project (`declared`) first. Several learners of one model may read an input by several steps.

    Raises ProjectError if no step reads an input, or two encodings that do not name it read it; if a step reads
    nothing, names an input that does not exist or makes one that does; and if the learner cannot read the sequences.
    """
    transforms = {key: settings for key, settings in declared.items() if _step(settings).gives == "inputs"}
    encodings = {key: settings for key, settings in declared.items() if key not in transforms}
    chosen: dict[str, Chosen] = {}
    kinds = dict(inputs)  # behind the transforms so far
    for key, settings in transforms.items():
        # Of the transforms only those of the same step share inputs out, if it makes an input of each: others work one
        # after another on the same
        shares = not getattr(_step(settings), "of_several", False)
        alike = {other: own for other, own in transforms.items() if shares and own.step == settings.step}
        kinds = _transform(key, settings, _read_by(key, settings, kinds, alike), kinds, chosen)
    claimed = {name for own in encodings.values() for name in own.inputs or _of_its_kinds(own, kinds)}
    for name in _defaults(learners, kinds):
        read = {each: kind for each, kind in _read_so(name, learners, kinds).items() if each not in claimed}
        if read and name not in declared and _step(own := _default(name)).gives == "inputs":
            kinds = _transform(name, own, read, kinds, chosen)
    for key, settings in encodings.items():
        chosen[key] = (_step(settings), settings, _read_by(key, settings, kinds, encodings))
    _check_once({key: chosen[key] for key in encodings})
    left = {name: kind for name, kind in kinds.items() if not any(name in chosen[key][2] for key in encodings)}
    for name in _defaults(learners, left):
        if name not in declared:  # else it names other inputs
            chosen[name] = (plugins.STEPS.find(name), _default(name), _read_so(name, learners, left))
    read_in_the_end = {name for key in chosen for name in chosen[key][2] if chosen[key][0].gives != "inputs"}
    for name, kind in left.items():
        if name in read_in_the_end:
            continue
        reads = dict.fromkeys(each for learner in learners for each in learner.reads)
        raise ProjectError(
            f"no step reads the input {name!r} ({kind}): {_names(learners)} takes {', '.join(reads)} by itself",
            "name a step that reads it under prepare.recipe, another train.learner, or leave the column out of "
            "data.columns",
        )
    _check_sequences(learners, chosen)
    return chosen


def _step(settings: StepSettings) -> type[Step]:
    return plugins.STEPS.find(settings.step)


def _default(name: str) -> StepSettings:
    return plugins.STEPS.find(name).settings.model_validate({"step": name})


def _defaults(learners: Sequence[Learner], kinds: Inputs) -> list[str]:
    """The steps by which the learners read these kinds."""
    steps = (each.reads[kind] for each in learners for kind in kinds.values() if kind in each.reads)
    return list(dict.fromkeys(steps))


def _read_so(step: str, learners: Sequence[Learner], kinds: Inputs) -> dict[str, Kind]:
    """The inputs that a learner reads by this step."""
    return {name: kind for name, kind in kinds.items() if any(each.reads.get(kind) == step for each in learners)}


def _names(learners: Sequence[Learner]) -> str:
    return ", ".join(dict.fromkeys(each.name for each in learners))


def _of_its_kinds(settings: StepSettings, kinds: Inputs) -> list[str]:
    return [name for name, kind in kinds.items() if kind in _step(settings).reads]


def _transform(
    key: str, settings: StepSettings, read: Inputs, kinds: Inputs, chosen: dict[str, Chosen]
) -> dict[str, Kind]:
    """Adds the transform to the chosen steps; returns the inputs that the next step sees. Raises ProjectError if it
    makes an input that is there already."""
    step = _step(settings)
    made = cast("type[Transform]", step).makes(read, settings)
    stay = {name: kind for name, kind in kinds.items() if name not in read}
    if twice := sorted(made.keys() & stay.keys()):
        raise ProjectError(
            f"prepare.recipe.{key} makes the input {twice[0]!r}, which is there already",
            "rename the column in SQL, or let the step make another name",
        )
    chosen[key] = (step, settings, read)
    return {**stay, **made}


def _read_by(key: str, settings: StepSettings, kinds: Inputs, beside: Mapping[str, StepSettings]) -> dict[str, Kind]:
    """The inputs of a declared step: those that it names, else all of its kinds that none `beside` it names."""
    step = _step(settings)
    if settings.inputs:
        for name in settings.inputs:
            _check_input(key, step, name, kinds)
        return {name: kinds[name] for name in settings.inputs}
    named = {name for other in beside.values() for name in other.inputs}
    read = {name: kinds[name] for name in _of_its_kinds(settings, kinds) if name not in named}
    if not read:
        raise ProjectError(
            f"prepare.recipe.{key}: the step {step.name} reads inputs of the kinds {_kinds(step)}, none is left",
            "take it out, or name what it reads: inputs: [NAME, …]",
        )
    return read


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


def _check_sequences(learners: Sequence[Learner], chosen: Mapping[str, Chosen]) -> None:
    own = dict.fromkeys(each.reads["text"] for each in learners if "text" in each.reads)
    steps = [step.name for step, _, _ in chosen.values() if step.gives == "sequences"]
    for name in steps:
        if name not in own:
            reads = f"reads texts by the step {' or '.join(own)}" if own else "reads no texts"
            raise ProjectError(
                f"prepare.recipe: {_names(learners)} {reads}, not by {name}",
                f"take {name} out of prepare.recipe, or set another train.learner",
            )
    if len(steps) > 1:
        raise ProjectError(
            f"prepare.recipe: {len(steps)} steps are {' or '.join(dict.fromkeys(steps))}, and a network reads the "
            "sequences of one",
            "let one of them read all texts",
        )


def _kinds(step: type[Step]) -> str:
    return " and ".join(step.reads)
