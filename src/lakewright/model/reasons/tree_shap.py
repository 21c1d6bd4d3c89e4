"""What each input of a row adds to its prediction, by the exact Shapley values of the model's trees.

A weight is in the unit of the trees: a number's own (after a log link, of its logarithm), a boosted class's log-odds,
a forest's probability. The weights of all inputs and the expected value sum to the prediction in that unit, of classes
before the prior is corrected. A positive weight speaks for the predicted class, or raises the number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Prediction, Row
from lakewright.model.reasons.strongest import strongest
from lakewright.model.recipe import Recipe, is_transform, values_of
from lakewright.model.tasks import Task
from lakewright.model.trees import FORMAT, Trees

WEIGHTS = "model.safetensors"
HEAD = 1 << 20  # bytes of the file in which its format stands


@dataclass(frozen=True)
class TreeShap:
    trees: Trees
    recipe: Recipe
    task: Task

    method: ClassVar[Literal["tree_shap"]] = "tree_shap"
    predictions_of_a_row: ClassVar[int] = 1

    @classmethod
    def open(cls, folder: Path, recipe: Recipe, task: Task) -> TreeShap:
        """Raises ModelError if the trees are damaged."""
        return cls(Trees.open(folder / WEIGHTS), recipe, task)

    def of(self, rows: Sequence[Row], predictions: Sequence[Prediction], most: int) -> list[list[dict[str, Any]]]:
        if not rows:
            return []
        values = self.recipe.transformed(values_of(rows, self.recipe.inputs))
        columns = self.recipe.encode(rows).columns
        assert columns is not None, "trees read columns"
        shares = self.trees.contributions(columns)  # [rows, outputs, columns + 1]
        names = tuple(dict.fromkeys(self._sources()))
        of_input = np.zeros((shares.shape[2], len(names)))
        for place, name in enumerate(self._sources()):
            of_input[place, names.index(name)] = 1
        weights = shares @ of_input  # the last column, the expected value, belongs to no input
        margins = shares.sum(axis=2)
        reasons: list[list[dict[str, Any]]] = []
        for row, prediction in enumerate(predictions):
            own = [rows[row].get(name, values[name][row]) for name in names]
            reasons.append([])
            for label, signed in self._toward(prediction, weights[row], margins[row]):
                of_label = {} if label is None else {"label": label}
                reasons[-1] += [of_label | reason for reason in strongest(names, own, signed, most)]
        return reasons

    def _sources(self) -> list[str]:
        """For each column, the row's input that it comes from, through all transforms; one that a transform makes of
        several inputs stands for itself."""
        source = {name: name for name in self.recipe.inputs}
        for step in self.recipe.steps:
            if is_transform(step):
                for name in step.made:
                    begins = [each for each in step.inputs if name.startswith(f"{each}_")]
                    if name not in step.inputs and begins and not getattr(step, "of_several", False):
                        origin = max(begins, key=len)
                        source[name] = source.get(origin, origin)
        return [source.get(column.input, column.input) for column in self.recipe.columns]

    def _toward(
        self, prediction: Prediction, weights: NDArray[np.float64], margins: NDArray[np.float64]
    ) -> list[tuple[str | None, NDArray[np.float64]]]:
        """The weights for what was predicted, [inputs], and of several labels for each that was, or if there is none,
        for the most probable one; nothing without a prediction. `weights` [outputs, inputs], `margins` [outputs]."""
        labels = self.task.labels
        if self.task.truth == "labels":
            if prediction["labels"] is None:
                return []
            predicted = prediction["labels"] or [labels[int(margins.argmax())]]
            return [(label, weights[labels.index(label)]) for label in predicted]
        if self.task.truth != "class":
            return [] if prediction.get("value", 0.0) is None else [(None, weights[0])]
        if prediction["label"] is None:
            return []
        place = labels.index(prediction["label"])
        if len(weights) == 1:  # one margin of two classes
            return [(None, weights[0] if place == 1 else -weights[0])]
        return [(None, weights[place])]


def has_trees(folder: Path) -> bool:
    """By the head of the weights' file."""
    if not (folder / WEIGHTS).is_file():
        return False
    with (folder / WEIGHTS).open("rb") as file:
        return FORMAT.encode() in file.read(HEAD)
