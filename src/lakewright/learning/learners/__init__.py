"""What learns a task: it fits a network on the encoded examples, and leaves it in a folder.

One file (or folder) a learner. Whatever learns leaves a folder of the same shape, so that one predictor serves all:

    model.safetensors   the weights
    model.onnx          the same network, its inputs named as the recipe names them, its output `logits`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeGuard, TypeVar

from lakewright import plugins
from lakewright.data.rows.objects import Objects
from lakewright.errors import ProfileError, ProjectError, UsageError, nearest
from lakewright.evaluation.metrics import higher_is_better
from lakewright.learning.processes.group import ALONE, Group, started
from lakewright.model.tasks import reads_inputs
from lakewright.settings.sections import LearnerSettings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lakewright.data.rows.kinds import Kind, Row
    from lakewright.evaluation.scorers import Scorer
    from lakewright.learning.learners.units import Unit
    from lakewright.model.recipe import Recipe
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.model.recipe.tokens import Vocabulary
    from lakewright.model.tasks import Logits, Task
    from lakewright.settings.profile import Profile, WorkersSettings
    from lakewright.settings.project import Project
    from lakewright.workspace.tracking import StageLog


@dataclass(frozen=True)
class Examples:
    """One split of the features table."""

    encoded: Encoded
    targets: Ragged  # as the task makes them
    weights: NDArray[np.float32]  # [rows], the row's weight in the loss
    rows: Sequence[Row]
    truths: Sequence[Any]
    parts: NDArray[np.int16] | None = None  # [rows], as in data/rows/folds.py; None: the rows have no folds

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """These rows, in this order."""
        a_sequence = len(self.targets) == len(self.encoded.ids)
        return Examples(
            self.encoded.take(rows),
            self.targets.take(self.encoded.sequences(rows) if a_sequence else rows),
            self.weights[rows],
            _taken(self.rows, rows),
            _taken(self.truths, rows),
            None if self.parts is None else self.parts[rows],
        )


def _taken(values: Sequence[Any], rows: NDArray[np.int64]) -> Sequence[Any]:
    return values.at(rows) if isinstance(values, Objects) else [values[row] for row in rows]


S = TypeVar("S", bound=LearnerSettings, covariant=True)


@dataclass(frozen=True)
class Training(Generic[S]):
    """Everything `Learner.fit` may look at. There is no test split in it."""

    task: Task
    settings: S  # the learner's own
    recipe: Recipe
    train: Examples
    validation: Examples
    folder: Path  # the model folder in the making
    checkpoints: Path  # survives a kill; what lies here is resumed from
    base: Path  # relative paths in the settings are relative to it
    device: str
    threads: int  # of the machine; where processes of it train at the same time, each has its share
    log: StageLog | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of the inputs that the encodings read
    unit: Unit | None = None  # where train's targets are not in the truth's unit: theirs
    # Called with an epoch, or a number of trees, and how good the network is on validation then (more is better). What
    # it raises ends the training. Learners that call it have `watched = True`.
    watch: Callable[[float, float], None] | None = None
    unlabeled: Examples | None = None  # rows without a truth, for learners that learn from them (`Learner.unlabeled`)
    shared: Path | None = None  # a folder for what several trainings of one search would compute alike
    # For learners that train on the profile's workers (ClusterLearner): these, and the features table's Parquet files,
    # local paths or URIs, which hold the rows of train and validation. `train` then has no rows.
    workers: WorkersSettings | None = None
    files: Sequence[str] = ()
    group: Group = ALONE  # the processes that train together; more than one for learners that are `divided` alone


@dataclass(frozen=True)
class Fitted:
    history: list[dict[str, float]] = field(default_factory=list)  # step, loss, validation metrics …
    details: dict[str, float | int | str] = field(default_factory=dict)
    validation: Logits | None = None  # what the network that serves many rows says of validation, where that is known
    task: Task | None = None  # its thresholds fitted, where the learner had more rows for that than validation has


def tuned(training: Training[LearnerSettings], logits: Logits) -> tuple[Task, Scorer]:
    """The task with its thresholds fitted on validation, and its scorer there; `logits` are the network's."""
    examples = training.validation
    task = training.task.tune(logits, examples.encoded, examples.rows, examples.truths)
    return task, scored(task, examples, logits)


def scored(task: Task, examples: Examples, logits: Logits) -> Scorer:
    """The scorer of what these logits predict of the examples."""
    predictions = task.decode(logits, examples.encoded, examples.rows)
    return task.scorer(examples.truths, predictions, examples.rows)


def direction(metric: str) -> float:
    """1.0 where more of the metric is better, −1.0 where less is. Raises UsageError for an unknown name."""
    return 1.0 if higher_is_better(metric) else -1.0


def merit(scorer: Scorer, metrics: Mapping[str, float]) -> float:
    """The primary metric, among the scorer's `metrics`, as a number of which more is better, whichever way it counts:
    all that choose between networks compare this. `direction` times it is the metric again."""
    return direction(scorer.primary) * metrics[scorer.primary]


class Learner(Protocol):
    name: str
    sizes: Mapping[str, Mapping[str, Any]]  # `train.size` → the settings that it stands for
    reads: Mapping[Kind, str]  # the kinds of inputs that it takes → the step that reads them by default
    gaps: Mapping[str, str]  # another kind of truth → why it does not learn it: "not-yet: …" or "never: …"
    needs: tuple[Kind, ...]  # without one of these it learns nothing; empty: of any inputs
    # May be left out: a kind of truth → the losses that it learns by, where these are not all of the task's; and the
    # learners that it is made of, with their settings, whose steps read its inputs.
    # losses: Mapping[str, Sequence[str]]
    # def members(self, settings: Any) -> Sequence[tuple[Learner, LearnerSettings]]
    # May be left out: whether it calls `Training.watch`.
    # watched: bool
    # May be left out: the kinds of truth of a row that it learns from rows without one, too (`Training.unlabeled`).
    # unlabeled: Collection[str]
    # May be left out: whether several processes train it together (`Training.group`). Each calls `fit`; what the first
    # one returns and leaves in the folder counts.
    # divided: bool

    @property
    def truths(self) -> Collection[str]:
        """The kinds of truth that it learns (`Task.truth`)."""

    @property
    def vocabulary(self) -> Callable[[Any, Path], Vocabulary] | None:
        """The tokenizer of the settings' base model; None where the learner has no base model."""

    @property
    def settings(self) -> type[LearnerSettings]: ...

    def recipe_depends(self, settings: Any, base: Path) -> dict[str, Any]:
        """JSON-ready: all that a recipe depends on beside rows and steps. While it is unchanged, features are
        reused."""

    def fit(self, training: Training[Any]) -> Fitted: ...


class TorchLearner(Learner, Protocol):
    """A learner whose network the runtimes torch and cuda can compute. Others leave model.onnx alone."""

    def network(self, folder: Path) -> torch.nn.Module:
        """The network of a model folder in torch: named inputs in, logits out."""


class ClusterLearner(Learner, Protocol):
    """A learner that trains on the profile's workers (`Training.workers`), from files (`Training.files`)."""

    def check_workers(self, settings: Any, task: type[Task], workers: WorkersSettings) -> None:
        """Raises UsageError, before any work, where it cannot train on these workers, or with these settings for the
        task."""


def gap(learner: Learner, task: type[Task]) -> str:
    """Why the learner does not learn the task; empty where it does."""
    if task.truth in learner.truths:
        unread = [kind for kind in task.requires if kind not in learner.reads]
        return f"never: every row has a {unread[0]}, and it reads {', '.join(learner.reads)}" if unread else ""
    return learner.gaps.get(task.truth, f"not-yet: the kinds of truth that it learns are {', '.join(learner.truths)}")


def learns_unlabeled(learner: Learner, task: type[Task]) -> bool:
    """Whether the learner learns the task from rows without a truth, too."""
    return task.level == "row" and task.truth in getattr(learner, "unlabeled", ()) and reads_inputs(task)


def _check_unlabeled(learner: Learner, task: type[Task]) -> None:
    """Raises ProjectError where rows without a truth are named, and nothing learns from them."""
    if learns_unlabeled(learner, task):
        return
    learners = [plugins.LEARNERS.find(name) for name in plugins.LEARNERS.names()]
    able = [each.name for each in learners if learns_unlabeled(each, task)]
    if able:
        raise ProjectError(
            f"data.unlabeled: the learner {learner.name} does not learn from rows without a label",
            f"set train.learner to one that does ({', '.join(able)}), or remove data.unlabeled",
        )
    kinds = sorted({kind for each in learners for kind in getattr(each, "unlabeled", ())})
    raise ProjectError(
        f"data.unlabeled: no learner learns {task.name} from rows without a label",
        f"remove data.unlabeled; it is for tasks whose truth is {' or '.join(map(repr, kinds))} of a row, such as "
        "text_classification",
    )


def check_fit(project: Project) -> None:
    """Raises UsageError where the project's learner does not learn its task, ProjectError where the steps do not read
    its inputs, or have settings that mean nothing to the task."""
    task, learner = plugins.TASKS.find(project.task.name), plugins.LEARNERS.find(project.train.learner)
    if why := gap(learner, task):
        able = [name for name in plugins.LEARNERS.names() if not gap(plugins.LEARNERS.find(name), task)]
        raise UsageError(
            f"{learner.name} does not learn {task.name}: {why}",
            f"learners that do: {', '.join(able)} (--set train.learner=NAME)",
        )
    _check_smote(project, learner)
    if project.data.unlabeled is not None:
        _check_unlabeled(learner, task)
    for each, settings in members_of(learner, project.train):
        _check_loss(each, settings, task)
        if each is not learner and (why := gap(each, task)):
            raise ProjectError(
                f"train.members: {each.name} does not learn {task.name}: {why}", "take it out of the members"
            )
    if project.data.columns.is_open:
        return  # prepare sees which inputs there are
    inputs = task.inputs_of(project.data.columns.roles)
    if learner.needs and not set(learner.needs) & set(inputs.values()):
        kinds = [kind for kind in learner.needs if kind != "optional text"]
        raise UsageError(
            f"{learner.name} learns from rows with a {' or '.join(kinds)}, and these have none",
            "set another train.learner, or name the column under data.columns",
        )
    for _, settings, _ in project.steps.values():
        settings.check(task.level)


def on_workers(learner: Learner) -> TypeGuard[ClusterLearner]:
    """Whether the learner trains on the profile's workers, and not in this process."""
    return hasattr(learner, "check_workers")


def check_workers(project: Project, workers: WorkersSettings) -> None:
    """Raises UsageError where the project's learner trains on the profile's workers, and cannot on these."""
    learner = plugins.LEARNERS.find(project.train.learner)
    if not on_workers(learner):
        return
    if project.prepare.balance == "smote":
        raise ProjectError(
            f"prepare.balance: smote makes rows in this process, and {learner.name} reads those of the features table",
            "set prepare.balance: oversample or weights",
        )
    learner.check_workers(project.train, plugins.TASKS.find(project.task.name), workers)


def is_divided(project: Project) -> bool:
    """Whether several processes can train the project's learner together."""
    return bool(getattr(plugins.LEARNERS.find(project.train.learner), "divided", False))


def check_processes(project: Project, profile: Profile, *, here: bool) -> None:
    """Raises ProfileError or UsageError where several processes are to train what one trains, or, where `here` is the
    machine that trains, where nothing has started the other machines'."""
    asked, (_, size) = profile.training.processes * profile.training.machines, started()
    if max(asked, size) > 1 and not is_divided(project):
        learners = [plugins.LEARNERS.find(name) for name in plugins.LEARNERS.names()]
        able = ", ".join(each.name for each in learners if getattr(each, "divided", False))
        if size > 1:
            raise UsageError(
                f"{size} processes were started (WORLD_SIZE), and one trains the learner {project.train.learner}",
                f"start one, or set train.learner to one that several train ({able})",
            )
        raise ProfileError(
            f"{profile.where('training')}: {asked} processes are to train together, and one trains the learner "
            f"{project.train.learner}",
            f"name a profile without training, or set train.learner to one that several train ({able})",
        )
    if here and profile.training.machines > 1 and size == 1:
        raise ProfileError(
            f"{profile.where('training', 'machines')}: {profile.training.machines} machines are to train together, and "
            "nothing has started the stage train on the others",
            "start `lakewright stage train` by torchrun on each machine (docs/distributed.md), or set "
            "training: {machines: 1}",
        )


def members_of(learner: Learner, settings: Any) -> Sequence[tuple[Learner, Any]]:
    """The learners that it is made of, with their settings: itself alone, but for an ensemble."""
    own: Callable[[Any], Sequence[tuple[Learner, Any]]] | None = getattr(learner, "members", None)
    return own(settings) if own is not None else [(learner, settings)]


def _check_loss(learner: Learner, settings: Any, task: type[Task]) -> None:
    loss, losses = getattr(settings, "loss", "auto"), getattr(learner, "losses", {}).get(task.truth, task.losses)
    if loss not in {"auto", *task.losses}:
        raise ProjectError(f"train.loss: {task.name} has no loss {loss!r}", nearest(loss, task.losses))
    if loss in task.losses and loss not in losses:
        raise ProjectError(
            f"train.loss: {learner.name} does not learn {task.name} by the loss {loss!r}",
            f"set train.loss to one of {', '.join(losses)}",
        )


def _check_smote(project: Project, learner: Learner) -> None:
    """Raises ProjectError where rows are balanced by synthetic ones, and are not numbers alone."""
    steps = [] if project.data.columns.is_open else [*project.steps.values()]
    reading = [
        f"the step {step.name} reads {', '.join(inputs)}" for step, _, inputs in steps if step.gives == "sequences"
    ]
    if learner.vocabulary is not None:
        reading = [f"{learner.name} reads texts"]
    if project.prepare.balance == "smote" and reading:
        raise ProjectError(
            f"prepare.balance: smote makes rows between rows of numbers, and {reading[0]}: between two texts is none",
            "set prepare.balance: oversample or weights, or leave the text out of the inputs",
        )
