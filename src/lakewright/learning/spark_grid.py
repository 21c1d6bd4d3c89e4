"""A grid of Spark ML's parameters, searched as Spark's CrossValidator and TrainValidationSplit do.

Which rows measure a combination follows from each row's part (data/rows/folds.py): rows of one group, and equal ones,
are on one side, however Spark has partitioned them. CrossValidator takes such folds. TrainValidationSplit draws anew in
each partition, and takes no split: so what it does with the two sides stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.data.rows.folds import PARTS
from lakewright.errors import ProjectError

if TYPE_CHECKING:
    from pyspark.ml import Estimator
    from pyspark.ml.evaluation import Evaluator
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Tried:
    """A combination, and what it measured: the metric, and over folds its deviation as `METRIC_std`."""

    values: dict[str, Any]
    measured: dict[str, float]


@dataclass(frozen=True)
class Searched:
    model: Any  # of the best combination, fitted on all rows
    best: Tried
    tried: list[Tried]


@dataclass(frozen=True)
class Search:
    """`grid`: a parameter's name → the values to try; all combinations are. `rows` have the column `part`."""

    estimator: Estimator[Any]
    evaluator: Evaluator
    grid: Mapping[str, Sequence[Any]]
    parallelism: int

    def over_folds(self, rows: DataFrame, folds: int) -> Searched:
        """Each combination is fitted once for each fold, on the rows outside it, and measured on the fold."""
        from pyspark.ml.tuning import CrossValidator
        from pyspark.sql.functions import col

        validator = CrossValidator(
            estimator=self.estimator,
            estimatorParamMaps=self._candidates(),
            evaluator=self.evaluator,
            numFolds=folds,
            foldCol="fold",
            parallelism=self.parallelism,
        )
        searched = validator.fit(rows.withColumn("fold", (col("part") % folds).cast("int")))
        deviation = f"{self.metric}_std"
        measured = [
            {self.metric: float(mean), deviation: float(of)}
            for mean, of in zip(searched.avgMetrics, searched.stdMetrics, strict=True)
        ]
        best, tried = self._compared(measured)
        return Searched(searched.bestModel, tried[best], tried)

    def on_split(self, rows: DataFrame, train_ratio: float) -> Searched:
        """Each combination is fitted once, on this share of the rows, and measured on the others. Raises ProjectError
        where there are none of the one or of the other."""
        from pyspark import inheritable_thread_target
        from pyspark.sql.functions import col

        is_learned = col("part") < train_ratio * PARTS
        train, validation = rows.where(is_learned), rows.where(~is_learned)
        for side, use in ((train, "learns from"), (validation, "is measured by")):
            if side.isEmpty():
                raise ProjectError(
                    f"train.train_ratio: {train_ratio:g} leaves no row of train that a combination {use}",
                    "set one nearer to 0.5, or train.folds in place of it",
                )
        candidates = self._candidates()
        models = self.estimator.fitMultiple(train, candidates)

        def measure() -> tuple[int, float]:
            at, model = next(models)
            return at, float(self.evaluator.evaluate(model.transform(validation, candidates[at])))

        with ThreadPool(min(self.parallelism, len(candidates))) as pool:
            threads = inheritable_thread_target(rows.sparkSession)(measure)
            values = dict(pool.starmap(threads, [()] * len(candidates), chunksize=1))
        best, tried = self._compared([{self.metric: values[at]} for at in range(len(candidates))])
        return Searched(self.estimator.fit(rows, candidates[best]), tried[best], tried)

    @property
    def metric(self) -> str:
        return str(self.evaluator.getMetricName())

    def _candidates(self) -> list[dict[Any, Any]]:
        from pyspark.ml.tuning import ParamGridBuilder

        builder = ParamGridBuilder()
        for name, values in self.grid.items():
            builder = builder.addGrid(self.estimator.getParam(name), list(values))
        candidates: list[dict[Any, Any]] = builder.build()
        return candidates

    def _compared(self, measured: list[dict[str, float]]) -> tuple[int, list[Tried]]:
        values = [{param.name: value for param, value in each.items()} for each in self._candidates()]
        tried = [Tried(*each) for each in zip(values, measured, strict=True)]
        best = np.argmax if self.evaluator.isLargerBetter() else np.argmin
        return int(best([each[self.metric] for each in measured])), tried
