"""The features table on a Spark cluster, for learners that train there.

Spark's executors read the table's Parquet files: no row of train passes this process, nor its JVM. They need no jar of
Delta, because a features table has the files of one commit, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError, MissingPackage, UsageError
from lakewright.settings.profile import WorkersSettings
from lakewright.workers.spark import SparkSettings, SparkWorkers, check_java, context_of, explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lakewright.learning.learners import Training

CLASSIC = "name the cluster's master: workers: {name: spark, url: spark://HOST:7077}, yarn, k8s://… or local[4]"


def check(learner: str, workers: WorkersSettings) -> None:
    """Raises UsageError where these workers are not a session of Spark in this process, and MissingPackage."""
    if not isinstance(workers, SparkSettings):
        raise UsageError(
            f"train.learner: {learner} trains on a Spark cluster, and the profile's workers are {workers.name}",
            "name the cluster in profiles.yml (workers: {name: spark, url: spark://HOST:7077}), or set train.learner: "
            "xgboost or trees, which train on one machine",
        )
    if workers.url.startswith("sc://"):
        raise _of_connect(learner, workers.url)
    if find_spec("pyspark") is None:
        raise MissingPackage("pyspark", "spark")
    if workers.url != "databricks":
        check_java()


def opened(training: Training[Any]) -> tuple[SparkWorkers, DataFrame]:
    """The profile's workers, and the rows of train and validation:

    columns     array of float, the numbers of the recipe, NaN where one is missing
    target      array of numbers, as the task makes them
    weight      float, the row's weight in the loss
    validation  whether the row is one of validation
    part        as in data/rows/folds.py, or null

    Raises UsageError where the workers are not fit, or do not see the files.
    """
    from pyspark.sql.functions import col

    assert isinstance(training.workers, SparkSettings), "check refused other workers"
    workers = SparkWorkers.open(training.workers, training.threads)
    if context_of(workers.session) is None:
        raise _of_connect(training.settings.learner, training.workers.url)
    first = training.files[0]
    if "://" not in first:
        workers.reach(Path(first).parent)
    with explaining("read the features"):
        reader = workers.session.read.option("__globPaths__", "false")  # else {a} in a path would be a pattern
        rows = reader.parquet(*map(of_hadoop, training.files))
    rows = rows.where(col("split").isin("train", "validation"))
    validation = (col("split") == "validation").alias("validation")
    return workers, rows.select("columns", "target", "weight", "part", validation)


@contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Turns an error of Spark into one of ours, which says what it could not do."""
    try:
        yield
    except LakewrightError:
        raise
    except Exception as failure:
        raise explained(failure, doing) from failure


def of_hadoop(place: str) -> str:
    """The local path or URI as Spark's Hadoop names it, which quotes no character."""
    if "://" not in place:
        return f"file://{place}"  # the cluster's own default may be another file system
    return place.replace("s3://", "s3a://", 1) if place.startswith("s3://") else place


def _of_connect(learner: str, url: str) -> UsageError:
    return UsageError(
        f"{learner} trains through a session of Spark in this process, and {url} is one of Spark Connect",
        f"{CLASSIC}; on Databricks, a cluster with dedicated access and url: databricks",
    )
