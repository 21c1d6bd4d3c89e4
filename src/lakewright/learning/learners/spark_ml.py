"""Spark ML on a cluster: logistic and linear regression, gradient-boosted trees, random forests, searched over a grid.

The project's recipe encodes, as for every learner, so that a prediction does what training did without Spark; a
VectorAssembler hands its columns to the estimator. What is left in the model folder is our own graph of the fitted
numbers: of a regression from its coefficients, of trees from the files that Spark saves.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from lakewright.errors import ProjectError, TrainingError, UsageError, nearest, shown
from lakewright.learning.learners import ClusterLearner, Fitted, Training
from lakewright.learning.learners.forest import Forest
from lakewright.settings.sections import LearnerSettings
from lakewright.settings.yamlfile import Refused
from lakewright.spaces.reading import SCIENTIFIC

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lakewright.data.rows.kinds import Kind
    from lakewright.learning.tree_folder import Link
    from lakewright.model.tasks import Task
    from lakewright.settings.profile import WorkersSettings

Value = bool | int | float | str


@dataclass(frozen=True)
class Number:
    least: float
    most: float = float("inf")
    whole: bool = False

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return self.least <= value <= self.most

    def __str__(self) -> str:
        most = "" if self.most == float("inf") else f" and at most {self.most:g}"
        return f"a {'whole ' if self.whole else ''}number of at least {self.least:g}{most}"


@dataclass(frozen=True)
class Choice:
    values: tuple[Value, ...]

    def holds(self, value: object) -> bool:
        return any(type(value) is type(each) and value == each for each in self.values)

    def __str__(self) -> str:
        return f"one of {', '.join(str(each).lower() for each in self.values)}"


SWITCH = Choice((True, False))
SUBSET = Choice(("auto", "all", "onethird", "sqrt", "log2"))
COEFFICIENTS: Mapping[str, Number | Choice] = {
    "maxIter": Number(0, whole=True),
    "regParam": Number(0),
    "elasticNetParam": Number(0, 1),
    "tol": Number(0),
    "fitIntercept": SWITCH,
    "standardization": SWITCH,
    "aggregationDepth": Number(2, whole=True),
    "maxBlockSizeInMB": Number(0),
}
GROWING: Mapping[str, Number | Choice] = {
    "maxDepth": Number(0, 30, whole=True),
    "maxBins": Number(2, whole=True),
    "minInstancesPerNode": Number(1, whole=True),
    "minWeightFractionPerNode": Number(0, 0.5),
    "minInfoGain": Number(0),
    "subsamplingRate": Number(1e-9, 1),
    "featureSubsetStrategy": SUBSET,
    "maxMemoryInMB": Number(0, whole=True),
    "cacheNodeIds": SWITCH,
    "checkpointInterval": Number(-1, whole=True),
}
# Spark's names and ranges: https://spark.apache.org/docs/latest/api/python/reference/pyspark.ml.html
PARAMS: Mapping[str, Mapping[str, Number | Choice]] = {
    "logistic_regression": COEFFICIENTS,
    "linear_regression": {**COEFFICIENTS, "solver": Choice(("auto", "l-bfgs", "normal"))},
    "gbt": {**GROWING, "maxIter": Number(0, whole=True), "stepSize": Number(1e-9, 1)},
    "forest": {
        **GROWING,
        "numTrees": Number(1, whole=True),
        "impurity": Choice(("gini", "entropy", "variance")),
        "bootstrap": SWITCH,
    },
}
METRICS: Mapping[str, tuple[str, ...]] = {  # of Spark's evaluators
    "two classes": ("areaUnderROC", "areaUnderPR"),
    "classes": ("logLoss", "accuracy", "f1", "weightedPrecision", "weightedRecall", "hammingLoss"),
    "number": ("rmse", "mse", "mae", "r2"),
}
SUMMARY = ("totalIterations", "accuracy", "weightedFMeasure", "areaUnderROC", "rootMeanSquaredError", "r2")
IMPURITIES = {"class": ("gini", "entropy"), "number": ("variance",)}
TRUTH = {"logistic_regression": "class", "linear_regression": "number"}  # of those that learn one kind alone


class SparkMLSettings(LearnerSettings):
    learner: Literal["spark_ml"] = "spark_ml"
    algorithm: Literal["logistic_regression", "linear_regression", "gbt", "forest"] = Field(
        default="gbt", description="gbt: of two classes, or a number; forest: of classes or a number"
    )
    params: dict[str, Value] = Field(
        default={}, description="Spark's name of a parameter → its value, {maxDepth: 5}; the others are Spark's own"
    )
    grid: dict[str, list[Value]] = Field(
        default={}, description="Spark's name of a parameter → the values to try, {maxDepth: [3, 5]}; all combinations"
    )
    folds: int | None = Field(
        default=3, ge=2, le=8, description="of train, by which the grid's combinations are compared; null: train_ratio"
    )
    train_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="in place of folds: of train, what they learn from; the rest compares them",
    )
    metric: str = Field(default="auto", description="of Spark's evaluators, by which they are compared")
    parallelism: int = Field(default=2, ge=1, description="models that Spark fits at once in a search")
    seed: int = 13

    @field_validator("params", "grid", mode="before")
    @classmethod
    def _numbers(cls, given: object) -> object:
        """YAML 1.1 reads 1e-3, without a point, as text."""
        if isinstance(given, dict):
            return {name: cls._numbers(value) for name, value in given.items()}
        if isinstance(given, list):
            return [cls._numbers(value) for value in given]
        return float(given) if isinstance(given, str) and SCIENTIFIC.fullmatch(given) else given

    @model_validator(mode="before")
    @classmethod
    def _one_split(cls, given: Any) -> Any:
        """A train_ratio stands in place of the default of folds."""
        if isinstance(given, dict) and given.get("train_ratio") is not None:
            return {"folds": None, **given}
        return given

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = PARAMS[self.algorithm]
        given = [("params", name, value) for name, value in self.params.items()]
        given += [("grid", name, value) for name, values in self.grid.items() for value in values]
        for part, name in [("params", name) for name in self.params] + [("grid", name) for name in self.grid]:
            if name not in known:
                raise Refused(f"{part} names {name!r}, which {self.algorithm} does not have", nearest(name, known))
        for part, name, value in given:
            if not known[name].holds(value):
                raise Refused(f"{part}.{name} is {shown(value)}", f"{name} is {known[name]}")
        for name, values in self.grid.items():
            if not values:
                raise Refused(f"grid.{name} is empty", f"list the values to try, or remove grid.{name}")
            if name in self.params:
                raise Refused(f"params and grid name {name}", f"remove it from params: grid.{name} says the values")
        if (self.folds is None) == (self.train_ratio is None):
            both = "folds and train_ratio are both set" if self.folds else "folds and train_ratio are both null"
            raise Refused(both, "set one of them: the folds of a cross validation, or the train_ratio of one split")
        if self.train_ratio is not None and not self.grid:
            raise Refused("train_ratio is set, and there is no grid to search", "set grid, or remove train_ratio")
        every = [name for names in METRICS.values() for name in names]
        if self.metric not in ("auto", *every):
            raise Refused(f"metric is {shown(self.metric)}, which no evaluator has", nearest(self.metric, every))
        return self


class SparkML:
    name = "spark_ml"
    settings = SparkMLSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    # Steps that leave no value out: Spark's vectors hold none that is missing
    reads: Mapping[Kind, str] = {**Forest.reads, **dict.fromkeys(("number", "category"), "dense")}
    truths = ("class", "number")
    gaps: Mapping[str, str] = {**Forest.gaps, "labels": "not-yet: one model for each label"}
    needs = Forest.needs
    vocabulary = None

    def recipe_depends(self, settings: SparkMLSettings, base: Path) -> dict[str, Any]:
        return {}

    def check_workers(self, settings: SparkMLSettings, task: type[Task], workers: WorkersSettings) -> None:
        from lakewright.learning import on_spark

        of = TRUTH.get(settings.algorithm, task.truth)
        if of != task.truth:
            others = [name for name in PARAMS if TRUTH.get(name, task.truth) == task.truth]
            raise ProjectError(
                f"train.algorithm: {settings.algorithm} learns a {of}, and the truth of {task.name} is a {task.truth}",
                f"set one of {', '.join(others)}",
            )
        metrics = METRICS["number"] if of == "number" else (*METRICS["two classes"], *METRICS["classes"])
        if settings.metric not in ("auto", *metrics):
            raise _not_of(settings.metric, f"a {of}", metrics)
        able = IMPURITIES[of]
        for impurity in [*settings.grid.get("impurity", []), settings.params.get("impurity", able[0])]:
            if impurity not in able:
                raise ProjectError(f"impurity: {impurity} does not measure a {of}", f"set one of {', '.join(able)}")
        on_spark.check(self.name, workers)

    def fit(self, training: Training[SparkMLSettings]) -> Fitted:
        """Raises ProjectError for classes, columns and rows that the algorithm does not learn from."""
        from pyspark.ml.feature import VectorAssembler
        from pyspark.sql.functions import col

        from lakewright.learning import on_spark

        columns = training.recipe.columns
        _check(training)
        workers, rows = on_spark.opened(training)
        workers.reach(training.checkpoints)
        with on_spark.explaining("train"):
            _check_complete(rows, training)
            each = [col("columns")[place].alias(f"c{place}") for place in range(len(columns))]
            rows = rows.select(*each, _label(training), "weight", "validation", "part")
            assembler = VectorAssembler(inputCols=[f"c{place}" for place in range(len(columns))], outputCol="features")
            rows = assembler.transform(rows).drop(*assembler.getInputCols()).cache()
            try:
                model, details = _chosen(training, _estimator(training), rows.where(~col("validation")))
                history = _history(model, rows.where(col("validation")), training)
                details |= _summary(model, training) | _left(model, training)
            finally:
                rows.unpersist()
        return Fitted(history, {**details, "spark": str(workers.session.version)})


def _check(training: Training[SparkMLSettings]) -> None:
    """Raises ProjectError for what is known once the rows are prepared, before the cluster is asked."""
    settings, task = training.settings, training.task
    if coded := next((column for column in training.recipe.columns if column.values), None):
        raise ProjectError(
            f"spark_ml reads numbers, and the recipe gives the codes of the category {coded.input!r}",
            "let one_hot or dense read it (prepare.recipe), or set train.learner: xgboost_spark, which reads codes",
        )
    if settings.algorithm == "gbt" and task.truth == "class" and task.outputs != 2:
        raise ProjectError(
            f"train.algorithm: gbt learns two classes, and there are {task.outputs}",
            "set train.algorithm: forest or logistic_regression, or train.learner: xgboost_spark",
        )
    able = _metrics(task)
    if settings.metric not in ("auto", *able):
        raise _not_of(settings.metric, f"{task.outputs} classes", able)
    if settings.grid and training.validation.parts is None:
        raise ProjectError(
            "train.grid is compared by parts of train, and rows that are split by time have none",
            "set train.params in place of train.grid",
        )


def _check_complete(rows: DataFrame, training: Training[SparkMLSettings]) -> None:
    """Raises ProjectError where a number is missing: Spark's vectors would hold NaN, which no step of it expects."""
    from pyspark.sql.functions import exists, isnan

    lacking = rows.where(exists("columns", isnan)).select("columns").limit(1).collect()
    if lacking:
        place = int(np.flatnonzero(np.isnan(lacking[0][0]))[0])
        raise ProjectError(
            f"spark_ml reads every number, and a number is missing in {training.recipe.columns[place].input!r}",
            "fill it (prepare.recipe: impute), or let dense read it, which marks what is missing",
        )


def _label(training: Training[SparkMLSettings]) -> Any:
    """With the classes in its metadata, else Spark counts those that it meets."""
    from pyspark.sql.functions import col

    target = col("target")[0].cast("double")
    if training.task.truth == "number":
        return target.alias("label")
    names = [str(place) for place in range(training.task.outputs)]
    return target.alias("label", metadata={"ml_attr": {"type": "nominal", "vals": names}})


def _estimator(training: Training[SparkMLSettings]) -> Any:
    from pyspark.ml import classification, regression

    settings = training.settings
    classes = training.task.truth == "class"
    kind: Any = {
        "logistic_regression": classification.LogisticRegression,
        "linear_regression": regression.LinearRegression,
        "gbt": classification.GBTClassifier if classes else regression.GBTRegressor,
        "forest": classification.RandomForestClassifier if classes else regression.RandomForestRegressor,
    }[settings.algorithm]
    drawn = {} if settings.algorithm in TRUTH else {"seed": settings.seed}
    return kind(featuresCol="features", labelCol="label", weightCol="weight", **drawn, **_typed(settings))


def _typed(settings: SparkMLSettings) -> dict[str, Value]:
    return {name: _as_spark(settings.algorithm, name, value) for name, value in settings.params.items()}


def _as_spark(algorithm: str, name: str, value: Value) -> Value:
    """A parameter of real numbers takes no whole one."""
    known = PARAMS[algorithm][name]
    return float(value) if isinstance(known, Number) and not known.whole else value


def _chosen(training: Training[SparkMLSettings], estimator: Any, train: DataFrame) -> tuple[Any, dict[str, Any]]:
    """The model of the grid's best combination, and what is to be said of the search; each combination is a run nested
    in the stage's own."""
    from lakewright.learning.spark_grid import Search

    settings = training.settings
    if not settings.grid:
        return estimator.fit(train), {}
    grid = {
        name: [_as_spark(settings.algorithm, name, value) for value in options]
        for name, options in settings.grid.items()
    }
    search = Search(estimator, _evaluator(training), grid, settings.parallelism)
    if settings.train_ratio is not None:
        searched = search.on_split(train, settings.train_ratio)
    else:
        assert settings.folds is not None, "one of the two is set"
        searched = search.over_folds(train, settings.folds)
    for at, each in enumerate(searched.tried):
        if training.log is not None:
            params = {**_typed(settings), **each.values}
            training.log.nested(f"candidate {at:05d}", params=params, metrics=each.measured)
    details = {"candidates": len(searched.tried), f"best_{search.metric}": searched.best.measured[search.metric]}
    return searched.model, {**details, **{f"best_{name}": value for name, value in searched.best.values.items()}}


def _metrics(task: Task) -> tuple[str, ...]:
    """Of Spark's evaluators, those of the task; the first is the default."""
    if task.truth == "number":
        return METRICS["number"]
    return METRICS["classes"] if task.outputs > 2 else (*METRICS["two classes"], *METRICS["classes"])


def _evaluator(training: Training[SparkMLSettings]) -> Any:
    from pyspark.ml import evaluation

    able = _metrics(training.task)
    metric = able[0] if training.settings.metric == "auto" else training.settings.metric
    kind: Any = {
        **dict.fromkeys(METRICS["two classes"], evaluation.BinaryClassificationEvaluator),
        **dict.fromkeys(METRICS["classes"], evaluation.MulticlassClassificationEvaluator),
        **dict.fromkeys(METRICS["number"], evaluation.RegressionEvaluator),
    }[metric]
    return kind(metricName=metric, weightCol="weight", labelCol="label")


def _not_of(metric: str, what: str, metrics: Sequence[str]) -> UsageError:
    return ProjectError(f"train.metric: {metric} does not measure {what}", f"set one of {', '.join(metrics)}")


def _history(model: Any, validation: DataFrame, training: Training[SparkMLSettings]) -> list[dict[str, float]]:
    """The loss of each iteration: a regression's on train, as it was minimised; a GBT's on validation. A forest has
    none."""
    if training.settings.algorithm == "forest":
        return []
    if training.settings.algorithm == "gbt":
        name, losses = "validation_loss", list[float]()
        if len(training.validation):
            losses = model.evaluateEachIteration(validation, *([] if training.task.truth == "class" else ["squared"]))
    else:
        name, losses = "loss", model.summary.objectiveHistory
    return [{"step": float(at), name: float(value)} for at, value in enumerate(losses)]


def _summary(model: Any, training: Training[SparkMLSettings]) -> dict[str, Any]:
    """The figures of Spark's summary, which are of train, as `train_NAME`; a GBT has no summary."""
    if not getattr(model, "hasSummary", False):
        return {}
    summary, found = model.summary, {}
    for name in SUMMARY:
        value = getattr(summary, name, None)
        if isinstance(value, int | float):
            found[name if name == "totalIterations" else f"train_{name}"] = value
        elif callable(value):
            found[f"train_{name}"] = float(value())
    if training.log is not None:
        training.log.metrics(found)
    return found


def _left(model: Any, training: Training[SparkMLSettings]) -> dict[str, Any]:
    """Leaves the model in the folder. Raises TrainingError where its numbers are not finite."""
    from safetensors.numpy import save_file

    from lakewright.learning import on_spark
    from lakewright.learning.ensembles import from_spark
    from lakewright.learning.learners.linear import export
    from lakewright.learning.tree_folder import leave

    settings, task, width = training.settings, training.task, len(training.recipe.columns)
    classes = task.outputs if task.truth == "class" else 0
    if settings.algorithm in TRUTH:
        of, bias = _coefficients(model, training)
        if not (np.isfinite(of).all() and np.isfinite(bias).all()):
            raise TrainingError(
                f"the coefficients of {settings.algorithm} are not finite numbers", "set train.params.regParam above 0"
            )
        weights = {"weight": np.zeros((0, task.outputs), np.float32), "columns": of, "bias": bias}
        save_file(weights, training.folder / "model.safetensors")
        export(**weights, path=training.folder / "model.onnx")
        return {"coefficients": int(of.size)}
    saved = training.checkpoints / "spark_ml"
    shutil.rmtree(saved, ignore_errors=True)
    model.write().overwrite().save(on_spark.of_hadoop(str(saved.resolve())))
    kind: Literal["gbt", "forest"] = "gbt" if settings.algorithm == "gbt" else "forest"
    trees = from_spark(saved, kind, classes)
    link: Link = "margins"
    if classes:
        link = "two_classes" if kind == "gbt" else "probabilities"
    leave(trees, width, link, training.folder)
    return {"trees": len(trees.root), "leaves": len(trees.leaf_cover)}


def _coefficients(model: Any, training: Training[SparkMLSettings]) -> tuple[Any, Any]:
    """[columns, outputs] and [outputs]; of two classes the first has none, as in `linear`."""
    if training.task.truth == "number":
        return model.coefficients.toArray().astype(np.float32)[:, None], np.array([model.intercept], np.float32)
    of = model.coefficientMatrix.toArray().astype(np.float32).T
    bias = model.interceptVector.toArray().astype(np.float32)
    if of.shape[1] == 1:
        of, bias = np.hstack([np.zeros_like(of), of]), np.concatenate([np.zeros_like(bias), bias])
    return np.ascontiguousarray(of), bias


LEARNER: ClusterLearner = SparkML()
