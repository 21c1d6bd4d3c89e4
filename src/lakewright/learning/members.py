"""A member of an ensemble: a learner, what it reads of a recipe that several learners share, and its networks.

A network that is trained lies in a folder of its own, which a second attempt finds again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.errors import ProjectError, nearest
from lakewright.learning.learners import Examples, Training
from lakewright.model.predictor import Predictor
from lakewright.model.recipe import Column, Recipe
from lakewright.model.tasks.classification import softmax
from lakewright.settings.sections import LearnerSettings
from lakewright.system.files import whole

if TYPE_CHECKING:
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.tasks import Task

HELD = "held.npy"  # what a network predicted of its fold, in its folder: it is trained


@dataclass(frozen=True)
class _Part(Recipe):
    """The recipe as one member sees it: some of its columns, and its sequences or none."""

    places: tuple[int, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        every = super().columns
        return tuple(every[place] for place in self.places)


@dataclass(frozen=True)
class Member:
    number: int
    settings: LearnerSettings
    recipe: _Part
    reads_sequences: bool

    @property
    def name(self) -> str:
        return f"{self.number}_{self.settings.learner}"

    @property
    def places(self) -> NDArray[np.int64]:
        return np.array(self.recipe.places, np.int64)

    def view(self, examples: Examples) -> Examples:
        """The same rows as this member reads them."""
        encoded = examples.encoded
        columns = None if encoded.columns is None else np.ascontiguousarray(encoded.columns[:, self.places])
        if self.reads_sequences:
            return replace(examples, encoded=replace(encoded, columns=columns))
        assert columns is not None, "a member reads columns or sequences"
        return replace(examples, encoded=type(encoded).of_columns(columns))


def member_of(number: int, settings: LearnerSettings, training: Training[Any], without: Sequence[str] = ()) -> Member:
    """What a member reads of the recipe: the columns by which its learner reads their inputs, and those of steps that
    no learner reads by itself; but nothing of the steps `without`.

    Raises ProjectError if the recipe has none of these steps, and if nothing is left to read.
    """
    learner = plugins.LEARNERS.find(settings.learner)
    own, places, at = {*learner.reads.values()}, list[int](), 0
    default = {step for name in plugins.LEARNERS.names() for step in plugins.LEARNERS.find(name).reads.values()}
    kinds = {**training.task.inputs, **training.kinds}
    steps = []
    names = dict.fromkeys(step.name for step in training.recipe.steps if step.gives != "inputs")
    if unknown := next((name for name in without if name not in names), None):
        raise ProjectError(
            f"train.without names the step {unknown!r}, and the recipe has none", nearest(unknown, [*names])
        )
    for step in training.recipe.steps:
        if step.gives == "sequences":
            if step.name in own and step.name not in without:
                steps.append(step)
            continue
        steps.append(step)
        for column in getattr(step, "columns", ()):
            of_learner = step.name not in default or learner.reads.get(kinds[column.input]) == step.name
            if of_learner and step.name not in without:
                places.append(at)
            at += 1
    sequences = any(step.gives == "sequences" for step in steps)
    if without and not places and not sequences:
        raise ProjectError(
            f"the member {settings.learner} reads nothing without {', '.join(without)}",
            "leave a step out of its list in train.without",
        )
    return Member(number, settings, _Part(tuple(steps), tuple(places)), sequences)


def rows_of(examples: Examples, train: int, fold: int, folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to learn from, and those to predict, of examples whose first `train` rows are train's. One fold: train,
    and validation."""
    if folds == 1:
        return np.arange(train), np.arange(train, len(examples))
    assert examples.parts is not None, "rows without parts have one fold"
    of_row = examples.parts % folds
    return np.flatnonzero(of_row != fold), np.flatnonzero(of_row == fold)


def held_out(training: Training[Any], member: Member) -> NDArray[np.float64]:
    """[rows, outputs] What the member, trained on train, predicts of validation. The network and this lie in the
    training's folder, where an earlier attempt may have left them."""
    kept = training.folder / HELD
    if kept.exists():
        values: NDArray[np.float64] = np.load(kept)
        return values
    shutil.rmtree(training.folder, ignore_errors=True)
    checkpoints = training.folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    learner = plugins.LEARNERS.find(member.settings.learner)
    learner.fit(replace(training, settings=member.settings, recipe=member.recipe, checkpoints=checkpoints, log=None))
    shutil.rmtree(checkpoints)
    values = predicted(training.folder, member, training.task, training.validation, training.threads)
    with whole(kept) as draft, draft.open("wb") as file:
        np.save(file, values)
    return values


def predicted(folder: Path, member: Member, task: Task, rows: Examples, threads: int) -> NDArray[np.float64]:
    """[rows, outputs] The member's probabilities of classes, or values."""
    if member.settings.learner in ("linear", "mlp"):
        return _in_double(folder, member.settings.learner, task, rows)
    network = plugins.RUNTIMES.find("onnx")(folder, threads, "throughput")
    logits = np.stack(Predictor(folder, "", task, member.recipe, network).logits(rows.encoded))
    return softmax(logits) if task.truth == "class" else logits.astype(np.float64)


def _in_double(folder: Path, learner: str, task: Task, rows: Examples) -> NDArray[np.float64]:
    """[rows, outputs] What a network of `linear` or `mlp` predicts, its sums in double as those of trees are.

    In float32 they depend on the kernel and on the number of rows, and no plain script would give the same again.
    """
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    logits = _linear(weights, rows.encoded) if learner == "linear" else _mlp(weights, rows.encoded)
    rounded = logits.astype(np.float32)
    return softmax(rounded) if task.truth == "class" else rounded.astype(np.float64)


def _mlp(weights: Mapping[str, NDArray[Any]], encoded: Encoded) -> NDArray[np.float64]:
    from lakewright.learning.learners.mlp import in_double

    assert encoded.columns is not None, "mlp reads columns"
    return in_double(weights, encoded.columns)


def _linear(stored: Mapping[str, NDArray[Any]], encoded: Encoded) -> NDArray[np.float64]:
    from scipy.sparse import csr_matrix

    weights = {name: values.astype(np.float64) for name, values in stored.items()}
    logits: NDArray[np.float64] = np.tile(weights["bias"], (len(encoded), 1))
    if encoded.columns is not None:
        logits += encoded.columns.astype(np.float64) @ weights["columns"]
    if encoded.weights is not None:
        terms = (encoded.weights.values.astype(np.float64), encoded.ids.values, encoded.ids.offsets)
        logits += csr_matrix(terms, shape=(len(encoded), len(weights["weight"]))) @ weights["weight"]
    return logits
