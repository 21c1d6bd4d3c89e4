"""Boosted trees by LightGBM (Ke et al. 2017): for columns of a table the learner to begin with.

Categories and missing values are read as they are, texts as the scores of a linear model. Trees are added while they
help on validation. What is left in the model folder is arrays and an ONNX graph, so that predictions need no LightGBM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.errors import ProjectError, nearest
from lakewright.learning.learners import Examples, Fitted, Learner, Training
from lakewright.settings.sections import LearnerSettings
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.learning.tree_folder import Link
    from lakewright.model.recipe import Column
    from lakewright.model.tasks import Task

POSITIVE = ("poisson", "tweedie")  # losses of numbers that are not negative; the trees give their logarithm
ROWS_A_THREAD = 10_000  # with fewer, threads wait for each other longer than they compute
EVERY = 10  # trees between two points of the learning curve


class TreesSettings(LearnerSettings):
    learner: Literal["trees"] = "trees"
    n_estimators: int = Field(
        default=3000, ge=1, description="trees at most, for each of several labels and of more than two classes"
    )
    early_stopping_rounds: int = Field(
        default=100, ge=0, description="trees without a better loss on validation that end the training; 0: never"
    )
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    num_leaves: int = Field(default=31, ge=2, le=131_072, description="leaves of a tree at most")
    max_depth: int = Field(default=-1, ge=-1, description="nodes on the way to a leaf at most; -1: no limit")
    min_child_samples: int = Field(default=20, ge=1, description="rows in a leaf at least")
    subsample: float = Field(default=0.8, gt=0, le=1, description="share of the rows that each tree sees")
    colsample_bytree: float = Field(default=0.8, gt=0, le=1, description="share of the columns that each tree sees")
    extra_trees: bool = Field(default=False, description="extremely randomised: one drawn threshold for each column")
    cat_smooth: float = Field(
        default=10.0, ge=0, description="rows that a category's value is drawn to the mean by, where values are sorted"
    )
    cat_l2: float = Field(default=10.0, ge=0, description="strength of the L2 penalty in splits by categories")
    max_cat_to_onehot: int = Field(
        default=4,
        ge=1,
        description="with at most so many values, a split takes one value of a category from the others",
    )
    reg_alpha: float = Field(default=0.0, ge=0, description="strength of the L1 penalty")
    reg_lambda: float = Field(default=0.0, ge=0, description="strength of the L2 penalty")
    max_bin: int = Field(default=255, ge=2, le=65_535, description="values that a number is binned to at most")
    monotone_constraints: dict[str, Literal[-1, 1]] = Field(
        default={}, description="input → 1: the prediction never falls as it grows; -1: never rises"
    )
    loss: Literal["auto", "cross_entropy", "l2", "l1", "huber", "quantile", "poisson", "tweedie"] = Field(
        default="auto", description="auto: the task's first; poisson and tweedie are for numbers that are not negative"
    )
    alpha: float = Field(default=0.9, gt=0, description="huber: where it becomes linear; quantile: which one, below 1")
    tweedie_variance_power: float = Field(default=1.5, ge=1, lt=2)
    seed: int = 13


class BoostedTrees:
    name = "trees"
    watched = True
    settings = TreesSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {
        **dict.fromkeys(("text", "optional text"), "text_scores"),
        **dict.fromkeys(("number", "category"), "native"),
        "time": "part_of",
    }
    truths = ("class", "labels", "number")
    losses: Mapping[str, Sequence[str]] = {"labels": ("cross_entropy",)}
    gaps: Mapping[str, str] = {
        **dict.fromkeys(("spans", "answers"), "never: a tree reads columns, and they are places in a text"),
        "likeness": "never: a tree gives a number for a row, and no vector that could be compared",
    }
    needs: tuple[Kind, ...] = ()
    vocabulary = None

    def recipe_depends(self, settings: TreesSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training[TreesSettings]) -> Fitted:
        import lightgbm

        from lakewright.learning.ensembles import from_lightgbm, side_by_side
        from lakewright.learning.tree_folder import leave

        settings = training.settings
        columns, loss = training.recipe.columns, loss_of(settings.loss, training.task)
        check_truths(training.train.targets.values.min(initial=0), loss)
        start = start_of(training.task, len(training.validation))
        every, curves = [], []
        targets = targets_of(training.task, training.train), targets_of(training.task, training.validation)
        with bar("trees", settings.n_estimators * len(targets[0])) as advance:
            for of_train, of_validation in zip(*targets, strict=True):
                train = _dataset(training.train, of_train, columns)
                watched = []
                if len(training.validation):
                    watched = [_dataset(training.validation, of_validation, columns, train, start)]
                curve: list[dict[str, float]] = []

                def watch(state: Any, curve: list[dict[str, float]] = curve) -> None:
                    scores = {f"{split}_loss": value for split, _, value, _ in state.evaluation_result_list}
                    if state.iteration % EVERY == 0:
                        curve.append({"step": float(state.iteration), **scores})
                        if training.watch is not None and "validation_loss" in scores and len(targets[0]) == 1:
                            training.watch(state.iteration, -scores["validation_loss"])
                    advance(1, " ".join(f"{name} {value:.4g}" for name, value in scores.items()))

                stop = [lightgbm.early_stopping(settings.early_stopping_rounds, verbose=False)]
                booster = lightgbm.train(
                    _parameters(settings, training, loss, columns),
                    train,
                    num_boost_round=settings.n_estimators,
                    valid_sets=watched,
                    valid_names=["validation"] * len(watched),
                    callbacks=[watch, *(stop if watched and settings.early_stopping_rounds else [])],
                )
                every.append(from_lightgbm(booster))
                curves.append(curve)
        trees = every[0] if len(every) == 1 else side_by_side(every)
        leave(trees, len(columns), link_of(training.task, loss), training.folder)
        return Fitted(mean_curve(curves), {"trees": len(trees.root), "leaves": len(trees.leaf_cover)})


def loss_of(setting: str, task: Task) -> str:
    return task.losses[0] if setting == "auto" else setting


def link_of(task: Task, loss: str) -> Link:
    if task.truth == "number":
        return "log" if loss in POSITIVE else "margins"
    return "two_classes" if task.truth == "class" and task.outputs == 2 else "margins"


def targets_of(task: Task, examples: Examples) -> list[NDArray[Any]]:
    """The truths that an ensemble learns, [rows] each: all at once, or of several labels one after the other."""
    if task.truth != "labels":
        return [examples.targets.values]
    return [*examples.targets.values.reshape(-1, task.outputs).T]


def mean_curve(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Of the curves of several labels, the mean at each step; one that has ended counts with its last point."""
    longest = max(curves, key=len)
    return [
        {
            "step": point["step"],
            **{
                name: float(np.mean([curve[min(at, len(curve) - 1)][name] for curve in curves if curve]))
                for name in point
                if name != "step"
            },
        }
        for at, point in enumerate(longest)
    ]


def check_truths(least: float, loss: str) -> None:
    """Raises ProjectError for a loss that the least of train's truths does not allow."""
    if loss in POSITIVE and least < 0:
        raise ProjectError(
            f"train.loss: {loss} is for numbers that are not negative, and train holds {least:g}",
            "set train.loss: l2, l1 or huber",
        )


def constraints(monotone: Mapping[str, int], columns: tuple[Column, ...]) -> list[int]:
    """One for each column, 0 without one. Raises ProjectError for a name that is no column of numbers."""
    numbers = [column.name for column in columns if not column.values]
    for name in monotone:
        if name not in numbers:
            raise ProjectError(
                f"train.monotone_constraints names {name!r}, which is no number that the trees read",
                nearest(name, numbers),
            )
    return [monotone.get(column.name, 0) for column in columns]


def codes_of(columns: tuple[Column, ...]) -> list[int]:
    """The places of the columns that are codes of categories."""
    return [place for place, column in enumerate(columns) if column.values]


def threads_of(training: Training[Any]) -> int:
    """The threads that grow a tree: at most one for ROWS_A_THREAD rows.

    At the end of each small part of a tree OpenMP's threads wait for the slowest, and where other programs take its
    core, they wait for these.
    """
    return min(training.threads, 1 + len(training.train) // ROWS_A_THREAD)


def matrix_of(examples: Examples) -> NDArray[np.float32]:
    """[rows, columns]"""
    columns = examples.encoded.columns
    assert columns is not None
    return columns


def start_of(task: Task, rows: int) -> NDArray[np.float64] | None:
    """[rows], or [rows, classes] of more than two: where the margins of validation begin, if the task corrects the
    prior, so that early stopping watches the loss of what will be predicted. Labels that train balanced begin equal.

    Before the correction, that loss falls until trees have learned train by heart, and the correction comes on top."""
    shift = np.array(getattr(task, "shift", ()))
    if not len(shift):
        return None
    return np.full(rows, shift[1] - shift[0]) if len(shift) == 2 else np.tile(shift, (rows, 1))


def _dataset(
    examples: Examples,
    targets: NDArray[Any],
    columns: tuple[Column, ...],
    reference: Any = None,
    start: NDArray[np.float64] | None = None,
) -> Any:
    import lightgbm

    return lightgbm.Dataset(
        matrix_of(examples),
        label=targets,
        weight=examples.weights,
        reference=reference,
        init_score=start,
        categorical_feature=codes_of(columns),
        feature_name=[f"c{place}" for place in range(len(columns))],  # LightGBM refuses many characters in names
        params={"verbosity": -1},
    )


def _parameters(
    settings: TreesSettings, training: Training[TreesSettings], loss: str, columns: tuple[Column, ...]
) -> dict[str, Any]:
    classes = {"class": training.task.outputs, "labels": 2}.get(training.task.truth, 1)
    named = settings.model_dump(
        include={
            *("learning_rate", "num_leaves", "max_depth", "min_child_samples", "subsample", "colsample_bytree"),
            *("reg_alpha", "reg_lambda", "max_bin", "alpha", "tweedie_variance_power", "seed"),
            *("extra_trees", "cat_smooth", "cat_l2", "max_cat_to_onehot"),
        }
    )
    objective = {"cross_entropy": "binary" if classes == 2 else "multiclass"}.get(loss, loss)
    more: dict[str, Any] = {"num_class": classes} if objective == "multiclass" else {}
    if settings.monotone_constraints:
        more["monotone_constraints"] = constraints(settings.monotone_constraints, columns)
    return {
        **named,
        **more,
        "objective": objective,
        "bagging_freq": int(settings.subsample < 1),
        "num_threads": threads_of(training),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


LEARNER: Learner = BoostedTrees()
