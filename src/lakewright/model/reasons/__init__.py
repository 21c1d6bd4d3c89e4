"""The reasons of a prediction: how much each input of a row weighs in it.

Two methods give them: of trees the exact Shapley values (`tree_shap`), of all other models over columns the change
without one input (`leave_one_out`). A positive weight speaks for what was predicted, or raises the number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.errors import UsageError
from lakewright.model.reasons.leave_one_out import LeaveOneOut, is_weighable
from lakewright.model.reasons.tree_shap import TreeShap, has_trees
from lakewright.model.recipe import Recipe
from lakewright.model.tasks import Task

Method = Literal["tree_shap", "leave_one_out"]
MOST_INPUTS = 1000  # of a model whose reasons take a prediction for each input
BESIDE: frozenset[Kind] = frozenset(("number", "category", "time"))
READ: frozenset[Kind] = BESIDE | {"text", "optional text"}


class Reasons(Protocol):
    @property
    def method(self) -> Method: ...

    @property
    def predictions_of_a_row(self) -> int:
        """How many predictions the reasons of one row take."""

    def of(self, rows: Sequence[Row], predictions: Sequence[Prediction], most: int) -> list[list[dict[str, Any]]]:
        """For each row, which `read_row` read, the `most` inputs that weigh most: input, value and weight, the heaviest
        first; of several labels so many for each label, which `label` names. None for a row without a prediction."""


def lack_of_reasons(task: Task, folder: Path, inputs: Mapping[str, Kind], sample: Callable[[], Prediction]) -> str:
    """Why the model in this folder has no reasons; empty if it has. `inputs` are those that its recipe reads; `sample`
    gives a prediction of it."""
    if has_trees(folder):
        return ""
    if task.level != "row":
        return f"{task.name} predicts no label and no number of a row"
    if not {*inputs.values()} & BESIDE:
        return "it reads texts alone, of which the report shows the words that decide"
    if not {*inputs.values()} <= READ:
        return "it reads words, which cannot be left out"
    if len(inputs) > MOST_INPUTS:
        return f"it reads {len(inputs):,} inputs, and is no model of trees: each would take a prediction"
    return "" if is_weighable(sample()) else f"{task.name} predicts neither a probability of a label nor a number"


def open_reasons(
    folder: Path, recipe: Recipe, task: Task, predict: Callable[[Sequence[Row]], list[Prediction]], lack: str
) -> Reasons:
    """`predict` predicts rows that `read_row` read, also those that lack all inputs; `lack` is `lack_of_reasons`.

    Raises UsageError if there is one, ModelError if the trees are damaged.
    """
    if lack:
        raise UsageError(f"the model has no reasons: {lack}", "leave explain out")
    if has_trees(folder):
        return TreeShap.open(folder, recipe, task)
    return LeaveOneOut({name: task.inputs[name] for name in recipe.inputs}, predict)
