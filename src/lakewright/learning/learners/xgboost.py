"""Boosted trees by XGBoost (Chen & Guestrin 2016): a second opinion beside `trees`, with the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from lakewright.learning.learners import Examples, Fitted, Learner, Training
from lakewright.learning.learners.trees import (
    EVERY,
    BoostedTrees,
    check_truths,
    constraints,
    link_of,
    loss_of,
    matrix_of,
    mean_curve,
    start_of,
    targets_of,
    threads_of,
)
from lakewright.settings.sections import LearnerSettings
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.data.rows.kinds import Kind
    from lakewright.model.recipe import Column
    from lakewright.model.tasks import Task

OBJECTIVES = {
    "l2": "reg:squarederror",
    "l1": "reg:absoluteerror",
    "huber": "reg:pseudohubererror",
    "quantile": "reg:quantileerror",
    "poisson": "count:poisson",
    "tweedie": "reg:tweedie",
}


class BoosterSettings(LearnerSettings):
    """Those of a booster, wherever it is trained."""

    n_estimators: int = Field(
        default=2000, ge=1, description="trees at most, for each of several labels and of more than two classes"
    )
    early_stopping_rounds: int = Field(
        default=100, ge=0, description="trees without a better loss on validation that end the training; 0: never"
    )
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    max_depth: int = Field(default=6, ge=1, le=64, description="nodes on the way to a leaf at most")
    min_child_weight: float = Field(default=1.0, ge=0, description="sum of the second derivatives in a leaf at least")
    subsample: float = Field(default=1.0, gt=0, le=1, description="share of the rows that each tree sees")
    colsample_bytree: float = Field(default=1.0, gt=0, le=1, description="share of the columns that each tree sees")
    reg_alpha: float = Field(default=0.0, ge=0, description="strength of the L1 penalty")
    reg_lambda: float = Field(default=1.0, ge=0, description="strength of the L2 penalty")
    max_bin: int = Field(default=256, ge=2, description="values that a number is binned to at most")
    monotone_constraints: dict[str, Literal[-1, 1]] = Field(
        default={}, description="input → 1: the prediction never falls as it grows; -1: never rises"
    )
    loss: Literal["auto", "cross_entropy", "l2", "l1", "huber", "quantile", "poisson", "tweedie"] = Field(
        default="auto", description="auto: the task's first; poisson and tweedie are for numbers that are not negative"
    )
    alpha: float = Field(default=0.9, gt=0, lt=1, description="quantile: which one")
    tweedie_variance_power: float = Field(default=1.5, gt=1, lt=2)
    seed: int = 13


class XGBoostSettings(BoosterSettings):
    learner: Literal["xgboost"] = "xgboost"


class XGBoost:
    name = "xgboost"
    watched = True
    settings = XGBoostSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = BoostedTrees.reads
    truths = BoostedTrees.truths
    losses = BoostedTrees.losses
    gaps = BoostedTrees.gaps
    needs = BoostedTrees.needs
    vocabulary = None

    def recipe_depends(self, settings: XGBoostSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training[XGBoostSettings]) -> Fitted:
        import xgboost

        from lakewright.learning.ensembles import from_xgboost, side_by_side
        from lakewright.learning.tree_folder import leave

        settings = training.settings
        columns, loss = training.recipe.columns, loss_of(settings.loss, training.task)
        check_truths(training.train.targets.values.min(initial=0), loss)
        start = start_of(training.task, len(training.validation))
        every, curves = [], []
        targets = targets_of(training.task, training.train), targets_of(training.task, training.validation)
        with bar("trees", settings.n_estimators * len(targets[0])) as advance:

            class Watch(xgboost.callback.TrainingCallback):
                def __init__(self, curve: list[dict[str, float]]) -> None:
                    self.curve = curve

                def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                    scores = {f"{split}_loss": [*each.values()][-1][-1] for split, each in evals_log.items()}
                    if epoch % EVERY == 0:
                        self.curve.append({"step": float(epoch), **scores})
                        if training.watch is not None and "validation_loss" in scores and len(targets[0]) == 1:
                            training.watch(epoch, -scores["validation_loss"])
                    advance(1, " ".join(f"{name} {value:.4g}" for name, value in scores.items()))
                    return False

            for of_train, of_validation in zip(*targets, strict=True):
                watched = []
                if len(training.validation):
                    watched = [(_matrix(training.validation, of_validation, columns, start), "validation")]
                curve: list[dict[str, float]] = []
                booster = xgboost.train(
                    {**parameters(settings, training.task, loss, columns, of_train), "nthread": threads_of(training)},
                    _matrix(training.train, of_train, columns),
                    num_boost_round=settings.n_estimators,
                    evals=watched,
                    early_stopping_rounds=settings.early_stopping_rounds or None if watched else None,
                    verbose_eval=False,
                    callbacks=[Watch(curve)],
                )
                every.append(from_xgboost(booster))
                curves.append(curve)
        trees = every[0] if len(every) == 1 else side_by_side(every)
        leave(trees, len(columns), link_of(training.task, loss), training.folder)
        return Fitted(mean_curve(curves), {"trees": len(trees.root), "leaves": len(trees.leaf_cover)})


def _matrix(
    examples: Examples, targets: NDArray[Any], columns: tuple[Column, ...], start: NDArray[np.float64] | None = None
) -> Any:
    import xgboost

    return xgboost.DMatrix(
        matrix_of(examples),
        label=targets,
        weight=examples.weights,
        base_margin=start,
        missing=np.nan,
        feature_types=["c" if column.values else "q" for column in columns],
        enable_categorical=True,
    )


def parameters(
    settings: BoosterSettings, task: Task, loss: str, columns: tuple[Column, ...], targets: NDArray[Any]
) -> dict[str, Any]:
    """XGBoost's own. `targets`: of train, or their median."""
    classes = {"class": task.outputs, "labels": 2}.get(task.truth, 1)
    named = settings.model_dump(
        include={
            *("learning_rate", "max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_alpha"),
            *("reg_lambda", "max_bin", "tweedie_variance_power", "seed"),
        }
    )
    objective = OBJECTIVES.get(loss) or ("binary:logistic" if classes == 2 else "multi:softprob")
    more: dict[str, Any] = {"num_class": classes} if objective == "multi:softprob" else {}
    if loss == "huber":  # else it begins at the mean of the link, far from the numbers, and never arrives
        more["base_score"] = float(np.median(targets))
    if loss == "quantile":
        more["quantile_alpha"] = settings.alpha
    if settings.monotone_constraints:
        more["monotone_constraints"] = tuple(constraints(settings.monotone_constraints, columns))
    return {**named, **more, "objective": objective, "tree_method": "hist", "verbosity": 0}


LEARNER: Learner = XGBoost()
