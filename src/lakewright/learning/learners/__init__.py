"""What learns a task: it fits an encoding, fits a network on the encoded examples, and leaves both in a folder.

One file (or folder) a learner. Whatever learns leaves a folder of the same shape, so that one predictor serves all:

    model.safetensors   the weights
    model.onnx          the same network, its inputs named as the encoding names them, its output `logits`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lakewright import plugins
from lakewright.errors import ProjectError, UsageError
from lakewright.settings.project import LearnerSettings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lakewright.data.rows.kinds import Row
    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe import Encoded, Encoding
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.model.tasks import Logits, Task
    from lakewright.settings.project import Prepare, Project
    from lakewright.workspace.tracking import StageLog


@dataclass(frozen=True)
class Examples:
    """One split of the features table, in memory."""

    encoded: Encoded
    targets: Ragged  # as the task makes them
    weights: NDArray[np.float32]  # [rows], the row's weight in the loss
    rows: Sequence[Row]
    truths: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """These rows, in this order."""
        a_sequence = len(self.targets) == len(self.encoded.ids)
        return Examples(
            self.encoded.take(rows),
            self.targets.take(self.encoded.sequences(rows) if a_sequence else rows),
            self.weights[rows],
            [self.rows[row] for row in rows],
            [self.truths[row] for row in rows],
        )


@dataclass(frozen=True)
class Training:
    """Everything `Learner.fit` may look at. There is no test split in it."""

    task: Task
    settings: Any  # the learner's own settings
    encoding: Encoding
    train: Examples
    validation: Examples
    folder: Path  # the model folder in the making
    checkpoints: Path  # survives a kill; what lies here is resumed from
    base: Path  # relative paths in the settings are relative to it
    device: str
    threads: int
    log: StageLog | None = None


@dataclass(frozen=True)
class Fitted:
    history: list[dict[str, float]] = field(default_factory=list)  # step, loss, validation metrics …
    details: dict[str, float | int | str] = field(default_factory=dict)
    validation: Logits | None = None  # what the network that serves many rows says of validation, where that is known


def tuned(training: Training, logits: Logits) -> tuple[Task, Scorer]:
    """The task with its thresholds fitted on validation, and its scorer there; `logits` are the network's."""
    examples = training.validation
    task = training.task.tune(logits, examples.encoded, examples.rows, examples.truths)
    predictions = task.decode(logits, examples.encoded, examples.rows)
    return task, task.scorer(examples.truths, predictions, examples.rows)


class Learner(Protocol):
    name: str
    sizes: Mapping[str, Mapping[str, Any]]  # `train.size` → the settings that it stands for
    gaps: Mapping[str, str]  # task → why this learner does not do it: "not-yet: …" or "never: …"

    @property
    def settings(self) -> type[LearnerSettings]: ...

    def encoding_depends(self, settings: Any, base: Path) -> dict[str, Any]:
        """JSON-ready: all that the encoding depends on beside the texts. While it is unchanged, features are reused."""

    def fit_encoding(
        self, task: Task, train: Iterable[Sequence[Row]], settings: Any, sequences: Prepare, base: Path
    ) -> tuple[Encoding, NDArray[np.int32]]:
        """The encoding, fitted on train's rows alone, and how long each is in it before any truncation.

        `train` gives the rows a batch at a time, and anew each time that it is gone through; they are not to be held.
        `sequences` tells how rows become sequences: max_length, long_texts (never "auto" here), stride.
        """

    def fit(self, training: Training) -> Fitted: ...

    def network(self, folder: Path) -> torch.nn.Module:
        """The network of a model folder in torch: named inputs in, logits out."""


def check_fit(project: Project) -> None:
    """Raises UsageError where the project's learner does not learn its task, ProjectError where that has no use for its
    prepare.long_texts."""
    task, learner = plugins.TASKS.find(project.task.name), plugins.LEARNERS.find(project.train.learner)
    if task.name in learner.gaps:
        able = [name for name in plugins.LEARNERS.names() if task.name not in plugins.LEARNERS.find(name).gaps]
        raise UsageError(
            f"{learner.name} does not learn {task.name}: {learner.gaps[task.name]}",
            f"learners that do: {', '.join(able)} (--set train.learner=NAME)",
        )
    unfit = {"row": (), "token": ("head_tail",), "vector": ("windows",)}[task.level]
    if project.prepare.long_texts in unfit:
        raise ProjectError(
            f"prepare.long_texts: {project.prepare.long_texts} means nothing to {task.name}", "leave it at auto"
        )
