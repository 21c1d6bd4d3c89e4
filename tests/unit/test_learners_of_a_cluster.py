"""Learners of a Spark cluster: what they refuse before any work, their settings, and trees from files of Spark."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from conftest import write_csv
from lakewright.errors import MissingPackage, ProjectError, TrainingError, UsageError
from lakewright.learning import on_spark
from lakewright.learning.ensembles import from_spark
from lakewright.learning.learners.spark_ml import SparkMLSettings
from lakewright.learning.learners.xgboost import XGBoostSettings
from lakewright.learning.learners.xgboost_spark import XGBoostSparkSettings
from lakewright.settings.profile import Profile
from lakewright.tune import search

CLUSTER = {"name": "spark", "url": "local[2]"}
ML = {"learner": "spark_ml"}
GRID = {"grid": {"maxDepth": [3, 5]}}


def write_project(folder: Path, train: dict[str, Any], workers: Any = CLUSTER, **more: Any) -> None:
    write_csv(folder / "rows.csv", [{"size": str(i), "kind": "ab"[i % 2], "label": "yn"[i % 3 > 0]} for i in range(90)])
    project = {
        "name": "things",
        "schema": "main.demo",
        "task": "classification",
        "data": {"source": "rows.csv", "columns": {"label": "label"}},
        "train": train,
        **more,
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project), encoding="utf-8")
    profile = {"workspace": "workspace", "workers": workers}
    (folder / "profiles.yml").write_text(
        yaml.safe_dump({"default": "there", "profiles": {"there": profile}}), encoding="utf-8"
    )


def refusal(error: type[UsageError] = UsageError) -> UsageError:
    """Of `run`, before it made a table."""
    with pytest.raises(error) as failure:
        lw.run("project.yml")
    assert not Path("workspace/tables").exists()
    return failure.value


@pytest.mark.parametrize("learner", ["xgboost_spark", "spark_ml"])
def test_workers_that_are_not_spark(learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, {"learner": learner}, "local")
    error = refusal()
    assert error.cause == f"train.learner: {learner} trains on a Spark cluster, and the profile's workers are local"
    assert "workers: {name: spark, url: spark://HOST:7077}" in error.remedy and "xgboost" in error.remedy


@pytest.mark.parametrize("learner", ["xgboost_spark", "spark_ml"])
def test_a_connect_server(learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, {"learner": learner}, {"name": "spark", "url": "sc://127.0.0.1:15002"})
    error = refusal()
    assert "sc://127.0.0.1:15002 is one of Spark Connect" in error.cause
    assert "spark://HOST:7077" in error.remedy


@pytest.mark.parametrize("learner", ["xgboost_spark", "spark_ml"])
def test_no_java(learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    pytest.importorskip("xgboost")
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, {"learner": learner})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "Spark needs Java" in refusal().cause


def test_no_pyspark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, ML)
    monkeypatch.setattr(on_spark, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage) as failure:
        lw.run("project.yml")
    assert failure.value.remedy == "pip install 'lakewright[spark]'"


def test_files_are_those_of_one_version(tmp_path: Path) -> None:
    lake = lw.Workspace.open(Profile(workspace=str(tmp_path / "ours, {a} ü (1)"))).lake
    first = lake.write("main.demo.rows", pa.table({"x": [1, 2]}))
    later = lake.write("main.demo.rows", pa.table({"x": [3]}), mode="append")
    last = lake.write("main.demo.rows", pa.table({"y": [4]}))
    held = [sorted(pq.ParquetDataset(lake.uris(each)).read()[0].to_pylist()) for each in (first, later, last)]
    assert held == [[1, 2], [1, 2, 3], [4]]


@pytest.mark.parametrize(
    ("train", "more", "what", "remedy"),
    [
        (
            {**ML, "algorithm": "linear_regression"},
            {},
            "linear_regression learns a number, and the truth of classification is a class",
            "logistic_regression, gbt, forest",
        ),
        (
            {**ML, "algorithm": "forest", "grid": {"impurity": ["gini", "variance"]}},
            {},
            "impurity: variance does not measure a class",
            "gini, entropy",
        ),
        ({**ML, "metric": "rmse"}, {}, "train.metric: rmse does not measure a class", "areaUnderROC"),
        (
            {"learner": "xgboost_spark"},
            {"prepare": {"balance": "smote"}},
            "smote makes rows in this process",
            "weights",
        ),
        (
            {"learner": "ensemble", "members": [{"learner": "trees"}, {"learner": "xgboost_spark"}]},
            {},
            "xgboost_spark, which cannot be a member",
            "trees, forest",
        ),
    ],
)
def test_settings_that_do_not_fit_the_project(
    train: dict[str, Any],
    more: dict[str, Any],
    what: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, train, **more)
    error = refusal(ProjectError)
    assert what in error.cause and remedy in error.remedy


def test_a_search_names_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tune = {"space": {"train.max_depth": {"randint": [2, 6]}}, "trials": 4}
    write_project(tmp_path, {"learner": "xgboost_spark"}, tune=tune)
    with pytest.raises(ProjectError, match="a trial would run on one of them") as failure:
        search("project.yml")
    assert "train.grid" in failure.value.remedy


@pytest.mark.parametrize(
    ("settings", "what", "remedy"),
    [
        ({"grid": {"maxDept": [3, 5]}}, "grid names 'maxDept', which gbt does not have", "did you mean 'maxDepth'?"),
        ({"params": {"regParam": 0.1}}, "params names 'regParam', which gbt does not have", "known: "),
        (
            {"grid": {"maxDepth": [3, 31]}},
            "grid.maxDepth is 31",
            "maxDepth is a whole number of at least 0 and at most 30",
        ),
        ({"params": {"maxDepth": 3.5}}, "params.maxDepth is 3.5", "whole number"),
        ({"params": {"maxDepth": True}}, "params.maxDepth is True", "whole number"),
        ({"params": {"stepSize": "much"}}, "params.stepSize is 'much'", "stepSize is a number"),
        ({"params": {"cacheNodeIds": 1}}, "params.cacheNodeIds is 1", "one of true, false"),
        ({"grid": {"maxDepth": []}}, "grid.maxDepth is empty", "list the values"),
        ({"grid": {"maxDepth": [3]}, "params": {"maxDepth": 4}}, "params and grid name maxDepth", "remove it from"),
        ({**GRID, "train_ratio": 0}, "train_ratio: Input should be greater than 0 (got 0)", "lakewright schema"),
        ({**GRID, "train_ratio": 1.0}, "train_ratio: Input should be less than 1 (got 1.0)", "lakewright schema"),
        ({**GRID, "train_ratio": 0.8, "folds": 3}, "folds and train_ratio are both set", "set one of them"),
        ({**GRID, "folds": None}, "folds and train_ratio are both null", "set one of them"),
        ({"train_ratio": 0.8}, "train_ratio is set, and there is no grid to search", "set grid"),
        ({"metric": "areaUnderROCs"}, "metric is 'areaUnderROCs'", "did you mean 'areaUnderROC'?"),
    ],
)
def test_what_settings_of_spark_ml_say(settings: dict[str, Any], what: str, remedy: str, tmp_path: Path) -> None:
    write_project(tmp_path, {**ML, "algorithm": "gbt", **settings})
    with pytest.raises(ProjectError) as failure:
        lw.plan(tmp_path / "project.yml")
    assert what in failure.value.cause and remedy in failure.value.remedy
    assert "project.yml:" in failure.value.cause  # with its line


def test_numbers_keep_their_type() -> None:
    given = {"algorithm": "logistic_regression", "params": {"regParam": "1e-2", "fitIntercept": False, "maxIter": 5}}
    settings = SparkMLSettings.model_validate(given)
    assert settings.params == {"regParam": 0.01, "fitIntercept": False, "maxIter": 5}
    assert settings.params["fitIntercept"] is False


def test_a_ratio_stands_in_place_of_folds() -> None:
    settings = SparkMLSettings.model_validate({**GRID, "train_ratio": 0.8})
    assert (settings.folds, settings.train_ratio) == (None, 0.8)
    assert SparkMLSettings.model_validate(settings.model_dump(mode="json")) == settings  # as a run is repeated
    assert SparkMLSettings.model_validate(GRID).folds == 3


def test_a_cluster_has_the_settings_of_the_booster() -> None:
    own, there = XGBoostSettings.model_fields, XGBoostSparkSettings.model_fields
    assert {*there} - {*own} == {"num_workers"} and {*own} <= {*there}
    assert all(own[name].default == there[name].default for name in {*own} - {"learner"})


def node(number: int, answer: Any, left: int = -1, right: int = -1, feature: int = -1, threshold: float = 0.0) -> Any:
    """As Spark saves it: an inner node where it has children; `answer`: a prediction, or rows of each class."""
    is_list = isinstance(answer, list)
    categories = -1
    return {
        "id": number,
        "prediction": float(np.argmax(answer)) if is_list else answer,
        "impurity": 0.1,
        "impurityStats": answer if is_list else [4.0, 1.0, 1.0],
        "rawCount": int(sum(answer)) if is_list else 4,
        "gain": -1.0,
        "leftChild": left,
        "rightChild": right,
        "split": {
            "featureIndex": feature,
            "leftCategoriesOrThreshold": [threshold] if left >= 0 else [],
            "numCategories": categories,
        },
    }


def save(folder: Path, trees: list[list[Any]], weights: list[float]) -> None:
    """In two files, the nodes of each tree from the last to the first: their order means nothing."""
    for name in ("data", "treesMetadata"):
        (folder / name).mkdir(parents=True)
    rows = [{"treeID": at, "nodeData": each} for at, tree in enumerate(trees) for each in reversed(tree)]
    for part, of_part in enumerate((rows[::2], rows[1::2])):
        pq.write_table(pa.Table.from_pylist(of_part), folder / "data" / f"part-{part}.snappy.parquet")
    named = [{"_1": at, "_2": "{}", "_3": weight} for at, weight in enumerate(weights)]
    pq.write_table(pa.Table.from_pylist(named), folder / "treesMetadata" / "part-0.snappy.parquet")


TREES = [
    [node(0, 0.0, 1, 2, 0, 0.1), node(1, -1.0), node(2, 0.5, 3, 4, 1, 2.0), node(3, 1.5), node(4, 2.5)],
    [node(0, 0.25)],
]
ROWS = np.array([[0.0, 0.0], [0.1, 9.0], [np.nextafter(np.float32(0.1), np.float32(1)), 2.0], [1.0, 2.5]], np.float32)
ANSWERS = np.array([-1.0, 2.5, 1.5, 2.5])  # of the first tree: float32's 0.1 is above the double


def test_a_gbt_from_the_files_that_spark_saves(tmp_path: Path) -> None:
    save(tmp_path, TREES, [1.0, 0.1])
    sums = ANSWERS + 0.1 * 0.25
    np.testing.assert_allclose(from_spark(tmp_path, "gbt").margins(ROWS)[:, 0], sums, rtol=1e-12)
    np.testing.assert_allclose(from_spark(tmp_path, "gbt", 2).margins(ROWS)[:, 0], 2 * sums, rtol=1e-12)


def test_a_forest_from_the_files_that_spark_saves(tmp_path: Path) -> None:
    save(tmp_path / "numbers", TREES, [1.0, 1.0])
    means = (ANSWERS + 0.25) / 2
    np.testing.assert_allclose(from_spark(tmp_path / "numbers", "forest").margins(ROWS)[:, 0], means, rtol=1e-12)
    of_classes = [
        [node(0, [3.0, 3.0, 2.0], 1, 2, 0, 0.5), node(1, [3.0, 1.0, 0.0]), node(2, [0.0, 2.0, 2.0])],
        [node(0, [1.0, 0.0, 1.0])],
    ]
    save(tmp_path / "classes", of_classes, [1.0, 1.0])
    left, right = [0.625, 0.125, 0.25], [0.25, 0.25, 0.5]
    found = from_spark(tmp_path / "classes", "forest", 3).margins(ROWS)
    np.testing.assert_allclose(found, [left, left, left, right], rtol=1e-12)


def test_splits_by_categories_are_refused(tmp_path: Path) -> None:
    inner = node(0, 0.0, 1, 2, 0, 1.0)
    inner["split"]["numCategories"] = 3
    save(tmp_path, [[inner, node(1, 1.0), node(2, 2.0)]], [1.0])
    with pytest.raises(TrainingError, match="splits by categories"):
        from_spark(tmp_path, "gbt")
