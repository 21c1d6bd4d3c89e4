"""Learners that train on a Spark cluster: from a project to predictions in a process without Spark and Java, which are
those of the model that Spark fitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray

import clusters
import lakewright as lw
from lakewright.data.rows.request import read_row
from lakewright.errors import ProjectError, UsageError
from lakewright.learning import ensembles, on_spark
from lakewright.learning.learners import spark_ml
from lakewright.model.predictor import Predictor
from lakewright.records import Trained
from lakewright.testing import FolderCase, FolderSuite
from lakewright.workers.spark import SparkSettings, session_of

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not()),
]

WORKSPACE = "our {a} work"  # what Spark would read as a pattern, and quotes in no name
CONFIG = {"spark.sql.shuffle.partitions": "2"}
# Predicts without Spark, Java, and all that trains
ELSEWHERE = """
import importlib.abc, json, shutil, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"pyspark", "py4j", "xgboost", "lightgbm", "sklearn", "torch", "mlflow", "onnx"}:
            raise ModuleNotFoundError(f"{name} is not installed here")
sys.meta_path.insert(0, Refuse())
assert shutil.which("java") is None
from lakewright.model.predictor import Predictor
from pathlib import Path
print(json.dumps(Predictor.open(Path(sys.argv[1])).predict(json.loads(sys.stdin.read()))))
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        yield url
        session_of(SparkSettings(url=url)).stop()


def table(name: str) -> pd.DataFrame:
    """A set of scikit-learn, with a category beside its numbers that tells something, and missing values of both."""
    from sklearn import datasets

    given: Any = getattr(datasets, f"load_{name}")(as_frame=True)
    rows: pd.DataFrame = given.data.copy()
    rows.columns = [each.replace(" ", "_").split("/")[0] for each in rows.columns]
    draw = np.random.default_rng(4)
    levels = pd.qcut(given.target.rank(method="first"), 3, labels=["low", "middle", "high"]).astype(str)
    noisy = np.where(draw.random(len(rows)) < 0.5, levels, draw.choice(["low", "middle", "high"], len(rows)))
    rows["level"] = np.where(draw.random(len(rows)) < 0.1, None, noisy)
    rows.loc[draw.random(len(rows)) < 0.1, rows.columns[0]] = np.nan
    rows["truth"] = given.target if name == "diabetes" else given.target_names[given.target]
    return rows


def write_project(
    folder: Path, name: str, url: str, train: dict[str, Any], prepare: dict[str, Any] | None = None
) -> None:
    table(name).to_csv(folder / "rows.csv", index=False)
    project = {
        "name": name,
        "schema": "main.sets",
        "task": "regression" if name == "diabetes" else "classification",
        "data": {"source": "rows.csv", "columns": {"label": "truth"}},
        "train": train,
        "prepare": prepare or {},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project), encoding="utf-8")
    workers = {"name": "spark", "url": url, "config": CONFIG}
    profiles = {"default": "spark", "profiles": {"spark": {"workspace": WORKSPACE, "workers": workers}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles), encoding="utf-8")


def trained() -> Trained:
    """Of the project in the current folder."""
    for stage in ("ingest", "prepare", "train"):
        record = lw.stage(stage, "project.yml", "run")
    assert isinstance(record, Trained)
    return record


def rows_of(predictor: Predictor) -> list[dict[str, Any]]:
    rows = json.loads(pd.read_csv("rows.csv").to_json(orient="records"))
    return [{name: row[name] for name in predictor.task.inputs} for row in rows]


def numbers(predictions: list[dict[str, Any]], labels: tuple[str, ...]) -> NDArray[np.float64]:
    """[rows, classes], or [rows, 1] of numbers"""
    if not labels:
        return np.array([[each["value"]] for each in predictions])
    return np.array([[each["probabilities"][label] for label in labels] for each in predictions])


def predicted_elsewhere(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    environment = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ELSEWHERE, str(folder)]
    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def columns_of(predictor: Predictor, rows: list[dict[str, Any]]) -> NDArray[np.float32]:
    columns = predictor.recipe.encode([read_row(predictor.task.inputs, row, at) for at, row in enumerate(rows)]).columns
    assert columns is not None
    return columns


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("breast_cancer", {}),
        ("breast_cancer", {"num_workers": 1, "monotone_constraints": {"mean_radius": 1}, "subsample": 0.7}),
        ("wine", {"early_stopping_rounds": 0, "n_estimators": 50}),
        ("diabetes", {}),
        ("diabetes", {"loss": "huber"}),
        ("diabetes", {"loss": "poisson"}),
    ],
)
def test_a_booster_of_a_cluster_predicts_the_same_without_it(
    name: str, settings: dict[str, Any], master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xgboost

    monkeypatch.chdir(tmp_path)
    train = {"learner": "xgboost_spark", "n_estimators": 300, "learning_rate": 0.3, "early_stopping_rounds": 5}
    write_project(tmp_path, name, master, train | settings)
    boosters: list[xgboost.Booster] = []
    from_xgboost = ensembles.from_xgboost
    monkeypatch.setattr(ensembles, "from_xgboost", lambda each: boosters.append(each) or from_xgboost(each))
    record = trained()
    folder = Path(record.model_folder)
    predictor = Predictor.open(folder)
    rows = rows_of(predictor)
    types = ["c" if column.values else "q" for column in predictor.recipe.columns]  # type: ignore[attr-defined]
    assert "c" in types  # a category is read as one
    matrix = xgboost.DMatrix(columns_of(predictor, rows), feature_types=types, enable_categorical=True)
    (booster,) = boosters
    stops = (train | settings)["early_stopping_rounds"] > 0
    if stops:
        assert record.details["trees"] == booster.best_iteration + 1 < booster.num_boosted_rounds()
    expected = booster.predict(matrix, iteration_range=(0, booster.best_iteration + 1) if stops else (0, 0))
    expected = np.asarray(expected, np.float64).reshape(len(rows), -1)
    if name == "breast_cancer":
        expected = np.hstack([1 - expected, expected])
    labels = getattr(predictor.task, "labels", ())
    found = numbers(predicted_elsewhere(folder, rows), labels)
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())
    assert record.validation["r2" if name == "diabetes" else "accuracy"] > (0.3 if name == "diabetes" else 0.9)


def test_several_labels(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, "wine", master, {"learner": "xgboost_spark", "n_estimators": 20})
    rows = [
        {"text": f"row {at}", "size": at % 10, "labels": [name for name, of in LABELS.items() if at % 10 in of]}
        for at in range(300)
    ]
    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    project = yaml.safe_load((tmp_path / "project.yml").read_text(encoding="utf-8"))
    project |= {"task": "multilabel_classification", "prepare": {"duplicates": "keep"}}
    columns = {"text": "text", "labels": "labels", "numbers": ["size"]}
    project["data"] = {"source": "rows.json", "columns": columns}
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project), encoding="utf-8")
    predictor = Predictor.open(Path(trained().model_folder))
    found = predictor.predict([{"text": "row", "size": at} for at in range(10)])
    assert [{*each["labels"]} for each in found] == [{n for n, of in LABELS.items() if at in of} for at in range(10)]


LABELS = {"few": range(3), "many": range(6, 10), "middle": range(2, 8)}


def test_corrected_probabilities_stop_it(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `xgboost` stops, whose rows one machine holds."""
    monkeypatch.chdir(tmp_path)
    settings = {"n_estimators": 200, "early_stopping_rounds": 5, "learning_rate": 0.1}
    prepare = {"balance": "weights", "correct_prior": True}
    write_project(
        tmp_path, "breast_cancer", master, {"learner": "xgboost_spark", "num_workers": 1, **settings}, prepare
    )
    there = trained()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_project(tmp_path / "here", "breast_cancer", master, {"learner": "xgboost", **settings}, prepare)
    here = trained()
    assert there.details["trees"] == here.details["trees"] < 200
    assert there.validation["log_loss"] == pytest.approx(here.validation["log_loss"], rel=1e-3)


def test_more_classes_with_corrected_probabilities_are_refused(
    master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare = {"balance": "weights", "correct_prior": True}
    write_project(tmp_path, "wine", master, {"learner": "xgboost_spark"}, prepare)
    with pytest.raises(ProjectError, match="one margin a row"):
        trained()


def test_more_workers_than_the_cluster_has(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, "wine", master, {"learner": "xgboost_spark", "num_workers": 3})
    with pytest.raises(UsageError, match="the cluster runs 2 tasks at once"):
        trained()


GRID = {"folds": 2, "grid": {"maxDepth": [2, 4], "maxIter": [5]}, "params": {"stepSize": 0.3}}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("breast_cancer", {"algorithm": "logistic_regression", "params": {"regParam": "1e-2", "elasticNetParam": 0.5}}),
        ("wine", {"algorithm": "logistic_regression", "params": {"maxIter": 30}}),
        ("diabetes", {"algorithm": "linear_regression"}),
        ("breast_cancer", {"algorithm": "gbt", **GRID}),
        ("diabetes", {"algorithm": "gbt", "params": {"maxIter": 10}}),
        ("wine", {"algorithm": "forest", "params": {"numTrees": 10, "maxDepth": 6}}),
        ("diabetes", {"algorithm": "forest", "folds": 2, "grid": {"numTrees": [3, 8]}}),
        ("wine", {"algorithm": "forest", "train_ratio": 0.6, "grid": {"maxDepth": [0, 4]}, "params": {"numTrees": 5}}),
    ],
)
def test_a_model_of_spark_ml_predicts_the_same_without_it(
    name: str, settings: dict[str, Any], master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.ml.linalg import Vectors

    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, name, master, {"learner": "spark_ml", **settings})
    models: list[Any] = []
    left = spark_ml._left
    monkeypatch.setattr(spark_ml, "_left", lambda model, training: models.append(model) or left(model, training))
    record = trained()
    folder = Path(record.model_folder)
    predictor = Predictor.open(folder)
    rows = rows_of(predictor)
    vectors = [(Vectors.dense(each.astype(float)),) for each in columns_of(predictor, rows)]
    answers = models[0].transform(session_of(SparkSettings(url=master)).createDataFrame(vectors, ["features"]))
    labels = getattr(predictor.task, "labels", ())
    expected = answers.select("probability" if labels else "prediction").toPandas().iloc[:, 0]
    expected = np.stack([each.toArray() for each in expected]) if labels else expected.to_numpy()[:, None]
    found = numbers(predicted_elsewhere(folder, rows), labels)
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert record.validation["r2" if name == "diabetes" else "accuracy"] > (0.2 if name == "diabetes" else 0.9)
    if settings["algorithm"].endswith("regression"):
        assert record.details["totalIterations"] >= 0
    if settings["algorithm"] == "logistic_regression":
        history = json.loads((folder / "training.json").read_text())["history"]
        assert len(history) > 2 and history[-1]["loss"] < history[0]["loss"]
        assert ("train_areaUnderROC" in record.details) == (name == "breast_cancer")
    if "grid" in settings:
        metric = {"breast_cancer": "areaUnderROC", "wine": "logLoss", "diabetes": "rmse"}[name]
        has_candidates(record, settings, metric)


def runs_of_training() -> tuple[Run, list[Run]]:
    """The stage's run in MLflow, and those nested in it."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path(WORKSPACE, 'mlflow.db').resolve()}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    stage = next(run for run in runs if run.info.run_name == "train")
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == stage.info.run_id]
    return stage, sorted(nested, key=lambda run: run.info.run_name or "")


def has_candidates(record: Trained, settings: dict[str, Any], metric: str) -> None:
    """The stage's run has one nested run for each combination, and the best of them was taken."""
    stage, nested = runs_of_training()
    assert [run.info.run_name for run in nested] == ["candidate 00000", "candidate 00001"]
    assert {run.info.status for run in nested} == {"FINISHED"}
    best = (max if metric == "areaUnderROC" else min)(nested, key=lambda run: run.data.metrics[metric])
    assert record.details["candidates"] == 2
    assert record.details[f"best_{metric}"] == best.data.metrics[metric]
    assert {name: str(record.details[f"best_{name}"]) for name in settings["grid"]} == {
        name: best.data.params[name] for name in settings["grid"]
    }
    assert all((f"{metric}_std" in run.data.metrics) == ("folds" in settings) for run in nested)
    for name in ("folds", "train_ratio"):
        assert stage.data.params[f"train.{name}"] == json.dumps(settings.get(name))


def test_a_ratio_of_the_rows_compares(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a combination measured is what NumPy computes for the rows of these parts, however Spark divides them."""
    monkeypatch.chdir(tmp_path)
    grid = {"regParam": [100.0, 0.0]}
    settings = {"algorithm": "linear_regression", "train_ratio": 0.6, "grid": grid, "parallelism": 1}
    write_project(tmp_path, "diabetes", master, {"learner": "spark_ml", **settings})
    opened, seen = on_spark.opened, list[pd.DataFrame]()

    def divided(training: Any) -> Any:
        workers, rows = opened(training)
        seen.append(rows.where("not validation").toPandas())
        return workers, rows.repartition(5, "part")

    monkeypatch.setattr(on_spark, "opened", divided)
    record = trained()
    columns, target = (np.stack([*seen[0][name]]).astype(float) for name in ("columns", "target"))
    columns = np.hstack([columns, np.ones((len(columns), 1))])
    learned = seen[0]["part"].to_numpy() < 0.6 * 840
    assert 0.5 < learned.mean() < 0.7
    coefficients = np.linalg.lstsq(columns[learned], target[learned], rcond=None)[0]
    rmse = np.sqrt(np.mean((columns[~learned] @ coefficients - target[~learned]) ** 2))
    worse, best = (run.data.metrics["rmse"] for run in runs_of_training()[1])
    assert best == pytest.approx(rmse, rel=1e-4) == record.details["best_rmse"]
    assert worse > best and record.details["best_regParam"] == 0.0


def test_a_ratio_that_leaves_no_row(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"algorithm": "linear_regression", "train_ratio": 0.9999, "grid": {"maxIter": [1, 2]}}
    write_project(tmp_path, "diabetes", master, {"learner": "spark_ml", **settings})
    with pytest.raises(ProjectError, match="leaves no row of train that a combination is measured by"):
        trained()


@pytest.mark.parametrize(
    ("name", "settings", "prepare", "what"),
    [
        ("wine", {"algorithm": "gbt"}, {}, "gbt learns two classes, and there are 3"),
        ("wine", {"algorithm": "forest"}, {"recipe": {"native": {}}}, "codes of the category 'level'"),
        (
            "breast_cancer",
            {"algorithm": "gbt"},
            {"recipe": {"native": {"inputs": ["mean_radius"]}}},
            "a number is missing",
        ),
    ],
)
def test_what_spark_ml_does_not_read(
    name: str,
    settings: dict[str, Any],
    prepare: dict[str, Any],
    what: str,
    master: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, name, master, {"learner": "spark_ml", **settings}, prepare)
    with pytest.raises(ProjectError, match=what):
        trained()


@pytest.fixture(scope="module")
def folders(master: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each learner and shape of network."""
    made = {}
    train: dict[str, dict[str, Any]] = {
        "booster": {"learner": "xgboost_spark", "n_estimators": 20},
        "coefficients": {"learner": "spark_ml", "algorithm": "logistic_regression"},
        "forest": {"learner": "spark_ml", "algorithm": "forest", "params": {"numTrees": 5}},
    }
    for name, settings in train.items():
        folder = tmp_path_factory.mktemp(name)
        with chdir(folder):
            write_project(folder, "wine", master, settings)
            made[name] = Path(trained().model_folder)
    return made


class TestFolder(FolderSuite):
    @pytest.fixture(params=["booster", "coefficients", "forest"])
    def case(self, request: pytest.FixtureRequest, folders: dict[str, Path]) -> FolderCase:
        folder = folders[request.param]
        with chdir(folder.parents[2]):
            return FolderCase(folder, rows_of(Predictor.open(folder))[:40])
