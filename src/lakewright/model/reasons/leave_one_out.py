"""What a prediction loses without one input: each is left out in turn, and the row is predicted again, by the same
predictor. So it is the same for every learner and runtime, and takes a prediction for each input.

An input that is left out is missing, and a text is empty: the model puts in its place what it learned to put there (the
mean of train, no category). The weight is the drop of the predicted label's log-odds, or of the number. (Robnik-Šikonja
& Kononenko 2008.) Unlike Shapley values, the weights do not sum to the prediction: of two inputs that say the same,
each weighs little, since the other still says it; and an input that the row lacks weighs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from lakewright.data.rows.kinds import TEXTS, Kind, Prediction, Row, missing
from lakewright.model.reasons.strongest import strongest

AT_ONCE = 8192  # variants of rows that are held at once, about
ROUNDING = 1e-6  # changes below this share of what is measured are no changes: networks compute in float32
LEAST = 1e-300  # a probability of 0 has no logarithm
LEAST_LEFT = 1e-15  # of what a probability leaves to 1


@dataclass(frozen=True)
class LeaveOneOut:
    inputs: Mapping[str, Kind]
    predict: Callable[[Sequence[Row]], list[Prediction]]

    method: ClassVar[Literal["leave_one_out"]] = "leave_one_out"

    @property
    def predictions_of_a_row(self) -> int:
        return len(self.inputs) + 1

    def of(self, rows: Sequence[Row], predictions: Sequence[Prediction], most: int) -> list[list[dict[str, Any]]]:
        reasons: list[list[dict[str, Any]]] = []
        at_once = max(1, AT_ONCE // self.predictions_of_a_row)
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            reasons += self._of_part(rows[part], predictions[part], most)
        return reasons

    def _of_part(self, rows: Sequence[Row], predictions: Sequence[Prediction], most: int) -> list[list[dict[str, Any]]]:
        present = [
            [name for name in self.inputs if not missing(row.get(name))] if _is_made(prediction) else []
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        variants = [
            variant
            for row, names in zip(rows, present, strict=True)
            if names
            for variant in (row, *({**row, name: "" if self.inputs[name] in TEXTS else None} for name in names))
        ]
        answers = iter(self.predict(variants) if variants else [])
        return [
            self._of_row(row, prediction, names, answers, most) if names else []
            for row, prediction, names in zip(rows, predictions, present, strict=True)
        ]

    def _of_row(
        self, row: Row, prediction: Prediction, names: Sequence[str], answers: Iterator[Prediction], most: int
    ) -> list[dict[str, Any]]:
        whole = next(answers)
        without = [next(answers) for _ in names]
        values = [row[name] for name in names]
        reasons: list[dict[str, Any]] = []
        for label in _explained(prediction, whole):
            support = np.array([_support(each, label) for each in (whole, *without)])
            weights = support[0] - support[1:]
            scale = max(float(np.abs(support).max()), 0.0 if label is None else 1.0)
            weights[np.abs(weights) <= ROUNDING * scale] = 0
            of_label = {"label": label} if "labels" in prediction else {}
            reasons += [of_label | reason for reason in strongest(names, values, weights, most)]
        return reasons


def is_weighable(prediction: Prediction) -> bool:
    """By its keys, so that the predictions of another package's task are weighed alike."""
    return "value" in prediction or ("probabilities" in prediction and not {"label", "labels"}.isdisjoint(prediction))


def _is_made(prediction: Prediction) -> bool:
    return any(prediction.get(key) is not None for key in ("label", "labels", "value"))


def _explained(prediction: Prediction, whole: Prediction) -> Sequence[str | None]:
    """The label; of several labels each that was predicted, or if there is none, the most probable one; no label for a
    number."""
    if "label" in prediction:
        return [prediction["label"]]
    if "labels" in prediction:
        shares = whole["probabilities"]
        return prediction["labels"] or [max(shares, key=shares.get)]
    return [None]


def _support(prediction: Prediction, label: str | None) -> float:
    """The number, or the label's log-odds."""
    if label is None:
        return float(prediction["value"])
    shares = prediction["probabilities"]
    own = float(shares[label])
    if "labels" in prediction:
        rest = max(1 - own, LEAST_LEFT)
    else:  # their sum has digits where 1 - p has none left
        rest = max(math.fsum(share for name, share in shares.items() if name != label), LEAST)
    return math.log(max(own, LEAST)) - math.log(rest)
