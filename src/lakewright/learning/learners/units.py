"""The unit in which a network learns a number: deviations of train's targets from their mean.

A network's start, its rates and its penalties suit numbers of about 1, and a truth may be in any unit. The unit is
folded into the head when training ends: logits of a model folder are in the truth's own unit, and nothing else is
stored (docs/decisions/0014-tables.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lakewright.errors import TrainingError
from lakewright.evaluation.metrics import written
from lakewright.learning.learners import Training
from lakewright.model.recipe.ragged import Ragged
from lakewright.settings.sections import LearnerSettings

if TYPE_CHECKING:
    import torch

    from lakewright.model.tasks import Logits

S = TypeVar("S", bound=LearnerSettings)


@dataclass(frozen=True)
class Unit:
    """A number of the truth is `mean` + `deviation` × a number of the network."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, targets: Ragged) -> Unit:
        """That of these targets; where all are equal, their own unit, counted from their value."""
        values = targets.values.astype(np.float64)
        if values.min() == values.max():
            return cls(float(values[0]), 1.0)
        return cls(float(values.mean()), float(values.std()))

    def inside(self, targets: Ragged) -> Ragged:
        """Targets in the truth's unit → the same in this one."""
        values = (targets.values.astype(np.float64) - self.mean) / self.deviation
        return Ragged(values.astype(np.float32), targets.offsets)

    def outside(self, logits: Logits) -> Logits:
        """Logits in this unit → the same in the truth's, float32."""
        if not logits:
            return logits
        return list((np.stack(logits).astype(np.float64) * self.deviation + self.mean).astype(np.float32))

    def fold_into(self, head: torch.nn.Linear) -> None:
        """A head that answers in this unit then answers in the truth's, once. Raises TrainingError where float32 cannot
        hold its weights."""
        import torch

        with torch.no_grad():
            weight = (head.weight.double() * self.deviation).float()
            bias = (head.bias.double() * self.deviation + self.mean).float()
            if not (weight.isfinite().all() and bias.isfinite().all()):
                raise TrainingError(
                    f"the truths have a deviation of {self.deviation:.1e}: float32 cannot hold the weights of the head",
                    "scale the column in SQL, so that its numbers are smaller",
                )
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def in_deviations(training: Training[S]) -> Training[S]:
    """The training with its unit, and the targets of train in it, where the truth is a number; else as it is."""
    if training.task.truth != "number":
        return training
    unit = Unit.of(training.train.targets)
    return replace(training, train=replace(training.train, targets=unit.inside(training.train.targets)), unit=unit)


def digits(unit: Unit | None, metric: str, value: float) -> str:
    """A metric in the log: four decimals; where the truth is a number, as many as its unit takes."""
    return f"{value:.4f}" if unit is None else written(metric, value, 4)
