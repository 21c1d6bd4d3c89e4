"""Boosted trees by XGBoost on a Spark cluster (`xgboost.spark`): for tables that one machine does not hold.

Each of `num_workers` tasks holds a part of the rows; they agree on every split by the sums of their histograms (Chen &
Guestrin 2016, section 3). What comes back is an ordinary booster, and what is left in the model folder is the same as
that of `xgboost`: it predicts without Spark.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from lakewright.errors import MissingPackage, ProjectError, UsageError
from lakewright.learning.learners import ClusterLearner, Fitted, Training
from lakewright.learning.learners.trees import EVERY, POSITIVE, check_truths, link_of, loss_of, mean_curve, start_of
from lakewright.learning.learners.xgboost import BoosterSettings, XGBoost, parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

    from lakewright.data.rows.kinds import Kind
    from lakewright.model.tasks import Task
    from lakewright.settings.profile import WorkersSettings
    from lakewright.workers.spark import SparkWorkers


class XGBoostSparkSettings(BoosterSettings):
    learner: Literal["xgboost_spark"] = "xgboost_spark"
    num_workers: int = Field(
        default=2,
        ge=1,
        description="tasks that the rows are divided among, all at once; another number bins other rows together, so "
        "that the trees differ a little",
    )


class XGBoostSpark:
    name = "xgboost_spark"
    settings = XGBoostSparkSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = XGBoost.reads
    truths = XGBoost.truths
    losses = XGBoost.losses
    gaps = XGBoost.gaps
    needs = XGBoost.needs
    vocabulary = None

    def recipe_depends(self, settings: XGBoostSparkSettings, base: Path) -> dict[str, Any]:
        return {}

    def check_workers(self, settings: XGBoostSparkSettings, task: type[Task], workers: WorkersSettings) -> None:
        from importlib.util import find_spec

        from lakewright.learning import on_spark

        on_spark.check(self.name, workers)
        if find_spec("xgboost") is None:
            raise MissingPackage("xgboost", "xgboost")

    def fit(self, training: Training[XGBoostSparkSettings]) -> Fitted:
        """Raises UsageError where the cluster has fewer tasks at once than num_workers."""
        from pyspark.sql.functions import col

        from lakewright.learning import on_spark
        from lakewright.learning.ensembles import from_xgboost, side_by_side
        from lakewright.learning.tree_folder import leave

        settings, task, columns = training.settings, training.task, training.recipe.columns
        loss = loss_of(settings.loss, task)
        base = _base(training)
        workers, rows = on_spark.opened(training)
        _check_cluster(workers, settings.num_workers)
        every, curves = [], []
        with on_spark.explaining("train"):
            for label in range(task.outputs if task.truth == "labels" else 1):
                target = col("target")[label]
                own = {**parameters(settings, task, loss, columns, _median(rows, target, loss)), **base}
                model = _estimator(training, own).fit(_of_label(rows, target, training))
                every.append(from_xgboost(model.get_booster()))
                curves.append(_curve(model.training_summary))
        trees = every[0] if len(every) == 1 else side_by_side(every)
        leave(trees, len(columns), link_of(task, loss), training.folder)
        details: dict[str, float | int | str] = {
            "trees": len(trees.root),
            "leaves": len(trees.leaf_cover),
            "num_workers": settings.num_workers,
            "spark": str(workers.session.version),
        }
        return Fitted(mean_curve(curves), details)


def _estimator(training: Training[XGBoostSparkSettings], own: Mapping[str, Any]) -> Any:
    """For classes, too, the regressor, which leaves the objective to us: the classifier counts the classes that it
    meets, and a class without rows would move those after it."""
    from xgboost.spark import SparkXGBRegressor

    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    settings = training.settings
    stops = len(training.validation) > 0
    more: dict[str, Any] = {"validation_indicator_col": "validation"} if stops else {}
    if stops and settings.early_stopping_rounds:
        more["early_stopping_rounds"] = settings.early_stopping_rounds
    if _stops_corrected(training):
        more["base_margin_col"] = "start"
    return SparkXGBRegressor(
        features_col="columns",
        label_col="label",
        weight_col="weight",
        num_workers=settings.num_workers,
        force_repartition=True,  # else a task may hold rows of one split alone
        n_estimators=settings.n_estimators,
        missing=float("nan"),
        verbose=False,
        feature_types=["c" if column.values else "q" for column in training.recipe.columns],
        **own,
        **more,
    )


def _of_label(rows: DataFrame, target: Column, training: Training[XGBoostSparkSettings]) -> DataFrame:
    """What the estimator reads to learn this target."""
    from pyspark.sql.functions import col, lit, when

    rows = rows.withColumn("label", target.cast("float"))
    if _stops_corrected(training):  # as of `xgboost`, which gives validation alone a start
        start = start_of(training.task, 1)
        assert start is not None
        return rows.withColumn("start", when(col("validation"), lit(float(start[0]))).otherwise(lit(0.0)).cast("float"))
    return rows if len(training.validation) else rows.where(~col("validation"))


def _base(training: Training[XGBoostSparkSettings]) -> dict[str, Any]:
    """Where train begins, if the task corrects the prior: balanced labels at one half, as they are. Raises
    ProjectError for more than two classes, because xgboost.spark takes one margin a row."""
    if not _stops_corrected(training):
        return {}
    if training.task.outputs > 2:
        raise ProjectError(
            f"prepare.correct_prior: xgboost_spark cannot stop early by corrected losses of {training.task.outputs} "
            "classes: xgboost.spark starts from one margin a row",
            "set train.early_stopping_rounds: 0 and train.n_estimators, or train.learner: xgboost",
        )
    return {"base_score": 0.5}


def _stops_corrected(training: Training[XGBoostSparkSettings]) -> bool:
    return bool(training.settings.early_stopping_rounds and len(getattr(training.task, "shift", ())))


def _median(rows: DataFrame, target: Column, loss: str) -> NDArray[Any]:
    """Of train's truths, if the loss needs it, and else nothing. Raises ProjectError for truths that the loss does not
    allow."""
    from pyspark.sql.functions import col, min

    train = rows.where(~col("validation")).select(target.cast("double").alias("label"))
    if loss in POSITIVE:
        check_truths(float(train.agg(min("label")).collect()[0][0]), loss)
    return np.array(train.approxQuantile("label", [0.5], 0.0) if loss == "huber" else [])


def _check_cluster(workers: SparkWorkers, num_workers: int) -> None:
    """Raises UsageError where tasks would wait for each other for ever, or have another XGBoost than this machine."""
    import xgboost

    if num_workers > workers.processes:
        raise UsageError(
            f"train.num_workers is {num_workers}, and the cluster runs {workers.processes} tasks at once: they would "
            "wait for each other",
            f"set train.num_workers: {workers.processes}, or start more workers of Spark",
        )
    there = next(workers.map(_version, [None], ahead=1))
    if there != xgboost.__version__:
        raise UsageError(
            f"a Spark worker has XGBoost {there or 'not at all'}, and this machine {xgboost.__version__}",
            "install the same there (pip install 'lakewright[xgboost]'), or send this environment along: profiles.yml: "
            "workers: {archives: […], python: …}",
        )


def _version(_: None) -> str | None:
    try:
        import xgboost
    except ImportError:
        return None
    return str(xgboost.__version__)


def _curve(summary: Any) -> list[dict[str, float]]:
    """Each EVERY trees, as `xgboost` has it."""
    [losses] = (summary.validation_objective_history or {"": []}).values()
    return [{"step": float(at), "validation_loss": float(losses[at])} for at in range(0, len(losses), EVERY)]


LEARNER: ClusterLearner = XGBoostSpark()
