"""A candidate as cells of plain code: it reads the rows and their folds, encodes them, trains each fold's model with
numpy, pandas and the learner's own library, and prints the metrics of the leaderboard.

Every number is that of the search: settings, trees of each fold, values of categories, means and fills, seeds.
Predictions are rounded where the model's network rounds: sums of trees to float32, weights of `linear` to float32.
"""

from __future__ import annotations

import pprint
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.racing.glass_box import mlp_script
from lakewright.racing.glass_box.encoding import Encoding

if TYPE_CHECKING:
    from lakewright.model.tasks import Task

LEARNERS = ("trees", "forest", "linear", "xgboost", "mlp")  # that have a script
BOOSTED = ("trees", "xgboost")
FILES = ("data.parquet", "folds.parquet", "features.parquet", "terms.parquet")


@dataclass(frozen=True)
class Cell:
    words: str  # Markdown
    code: str = ""


@dataclass(frozen=True)
class Subject:
    """What a script is about."""

    search: str
    number: int
    learner: str
    settings: Mapping[str, Any]  # all of the learner's, defaults included
    why: str
    metrics: Mapping[str, float]
    folds: int
    trees: Sequence[int]  # of each fold as trained; none of `linear`
    bases: Sequence[Sequence[float]]  # the margins without trees, of each fold
    epochs: Sequence[int] = ()  # of `mlp`: the best of each fold
    columns: Sequence[str] = ()  # the names of the columns


def cells(subject: Subject, task: Task, encoding: Encoding) -> list[Cell]:
    classes = task.truth == "class"
    packages = ["numpy", "pandas", "pyarrow", "scikit-learn"]
    packages += {"trees": ["lightgbm"], "xgboost": ["xgboost"], "linear": ["scipy"], "mlp": ["torch"]}.get(
        subject.learner, []
    )
    title = (
        f"# Candidate {subject.number} of {subject.search}: {subject.learner}\n\n"
        f"Why it was tried: {subject.why}. It needs {', '.join(packages)}. Beside this file lie data.parquet "
        "(the rows' inputs) and folds.parquet (their truth, weight and fold, row by row)."
    )
    return [
        Cell(title, _start(subject.learner, encoding)),
        Cell("## Rows", _rows(task, subject.folds)),
        Cell(f"## Encoding\n\n{encoding.words}", encoding.code),
        Cell("## Settings\n\nAs trained, every one; no search is left.", _settings(subject, task)),
        Cell("## The models of the folds", _training(subject, task, encoding)),
        Cell(
            f"## Out of fold\n\nThe leaderboard has {shown(subject.metrics)}.",
            _class_metrics(task) if classes else _NUMBER_METRICS,
        ),
        *_shapley(subject),
        Cell(
            "## As a model\n\n"
            f"`lakewright candidate {subject.search} {subject.number}` evaluates this candidate on test, and registers "
            "it."
        ),
    ]


def _shapley(subject: Subject) -> list[Cell]:
    """How far each column moves the predictions, by the libraries' own values for trees (Lundberg et al. 2020)."""
    if subject.learner not in BOOSTED:
        return []
    words = (
        "## Which columns move the predictions\n\nShapley values of the first fold's model, on at most 500 of the rows "
        "that it predicts. They take a while: set SHAP = True at the top."
    )
    return [Cell(words, f"NAMES = {_written(list(subject.columns))}\n{_SHAPLEY}")]


def _class_metrics(task: Task) -> str:
    threshold = getattr(task, "threshold", None)
    shown = "share.argmax(axis=1)" if threshold is None else f"(share[:, 1] >= {threshold!r}).astype(int)"
    return _CLASS_METRICS.replace("SHOWN", shown)


def shown(metrics: Mapping[str, float]) -> str:
    names = ("accuracy", "macro_f1", "roc_auc", "log_loss", "rmse", "mae", "r2")
    return ", ".join(f"{name} {metrics[name]:.12g}" for name in names if name in metrics)


def _start(learner: str, encoding: Encoding) -> str:
    lines = ["from pathlib import Path", "", "import numpy as np", "import pandas as pd"]
    lines += {
        "trees": ["import lightgbm"],
        "xgboost": ["import json", "", "import xgboost"],
        "forest": ["from sklearn import ensemble"],
        "linear": [
            "from scipy.sparse import csr_matrix, hstack",
            "from sklearn.linear_model import LogisticRegression, Ridge",
        ],
        "mlp": mlp_script.IMPORTS,
    }[learner]
    lines += ["from sklearn import metrics as scores", ""]
    if learner in BOOSTED:
        lines += ["SHAP = False  # True: the last cell says which columns move the predictions", ""]
    lines += ['HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()']
    lines += ['data = pd.read_parquet(HERE / "data.parquet")', 'folds = pd.read_parquet(HERE / "folds.parquet")']
    if encoding.features:
        lines += ['features = pd.read_parquet(HERE / "features.parquet")']
    if encoding.sequences:
        lines += ['terms = pd.read_parquet(HERE / "terms.parquet")']
    lines += ["print(data.shape)"]
    return "\n".join(lines)


def _rows(task: Task, folds: int) -> str:
    lines = []
    if task.truth == "class":
        lines += [f"CLASSES = {_written(list(task.labels))}"]
        lines += ['truth = folds["truth"].map({name: place for place, name in enumerate(CLASSES)}).to_numpy(np.int32)']
    else:
        lines += ['truth = folds["truth"].to_numpy(np.float32)']
    lines += [
        'weight = folds["weight"].to_numpy(np.float32)',
        'fold = folds["fold"].to_numpy()  # -1: in no held-out part',
    ]
    lines += [f"FOLDS = {folds}", "print(pd.Series(fold).value_counts().sort_index())"]
    return "\n".join(lines)


def _settings(subject: Subject, task: Task) -> str:
    settings = dict(subject.settings)
    lines = []
    if subject.learner == "trees":
        lines += [f"SETTINGS = {_written(_lightgbm(settings, task))}"]
    elif subject.learner == "xgboost":
        lines += [f"SETTINGS = {_written(_xgboost(settings, task))}"]
    elif subject.learner == "forest":
        names = ("n_estimators", "max_features", "max_depth", "min_samples_leaf")
        own = {name: settings[name] for name in names} | {"random_state": settings["seed"], "n_jobs": 1}
        own["max_features"] = None if own["max_features"] == "all" else own["max_features"]
        lines += [f"SETTINGS = {_written(own)}"]
    elif subject.learner == "mlp":
        lines += [f"SETTINGS = {_written(mlp_script.settings_of(settings))}"]
        lines += [f"BEST = {_written(list(subject.epochs))}  # the epoch of each fold whose network stayed"]
    elif task.truth == "class":
        own = {"C": settings["C"], "max_iter": settings["max_iter"], "random_state": settings["seed"]}
        lines += [f"SETTINGS = {_written(own)}"]
    else:
        own = {"alpha": 1 / settings["C"], "max_iter": settings["max_iter"], "solver": "sparse_cg"}
        lines += [f"SETTINGS = {_written(own | {'random_state': settings['seed']})}"]
    if subject.learner in ("trees", "xgboost"):
        lines += [f"ROUNDS = {_written(list(subject.trees))}  # of each fold, where validation ended them"]
    if subject.learner == "xgboost":
        lines += [
            f"BASES = {_written([list(base) for base in subject.bases])}  # what margins begin with, of each fold"
        ]
    return "\n".join(lines)


def _lightgbm(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    named = (
        *("learning_rate", "num_leaves", "max_depth", "min_child_samples", "subsample", "colsample_bytree"),
        *("reg_alpha", "reg_lambda", "max_bin", "seed", "extra_trees", "cat_smooth", "cat_l2", "max_cat_to_onehot"),
    )
    own = {name: settings[name] for name in named}
    classes = task.outputs if task.truth == "class" else 1
    own |= {"alpha": settings["alpha"], "tweedie_variance_power": settings["tweedie_variance_power"]}
    own["objective"] = "l2" if task.truth == "number" else "binary" if classes == 2 else "multiclass"
    if own["objective"] == "multiclass":
        own["num_class"] = classes
    own |= {"bagging_freq": int(settings["subsample"] < 1), "deterministic": True, "force_row_wise": True}
    return own | {"num_threads": 1, "verbosity": -1}


def _xgboost(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    named = (
        *("learning_rate", "max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_alpha"),
        *("reg_lambda", "max_bin", "tweedie_variance_power", "seed"),
    )
    own = {name: settings[name] for name in named}
    classes = task.outputs if task.truth == "class" else 1
    number = task.truth == "number"
    own["objective"] = "reg:squarederror" if number else "binary:logistic" if classes == 2 else "multi:softprob"
    if own["objective"] == "multi:softprob":
        own["num_class"] = classes
    return own | {"tree_method": "hist", "nthread": 1, "verbosity": 0}


def _training(subject: Subject, task: Task, encoding: Encoding) -> str:
    classes = task.truth == "class"
    body = {
        "trees": _TREES,
        "xgboost": _XGBOOST,
        "forest": _FOREST,
        "linear": _LINEAR_CLASSES if classes else _LINEAR_NUMBER,
        "mlp": mlp_script.training_of(subject.settings, task) if subject.learner == "mlp" else "",
    }[subject.learner]
    kind = "Extra" if subject.settings.get("extra") else "Random"
    forest = f"{'ExtraTrees' if kind == 'Extra' else 'RandomForest'}{'Classifier' if classes else 'Regressor'}"
    body = body.replace("FOREST", forest).replace("CATEGORIES", _written(encoding.categories))
    body = body.replace("SUMS", _XGBOOST_SUMS_CLASSES if classes and task.outputs > 2 else _XGBOOST_SUMS)
    if subject.learner == "forest":
        body = body.replace("GIVES", _FOREST_CLASSES if classes else _FOREST_NUMBER)
    lines = [body, "", "", f"predicted = np.zeros((len(truth), {task.outputs}))", "for number in range(FOLDS):"]
    lines += ["    learn, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)"]
    lines += ["    logits = logits_of(number, learn, held).astype(np.float32)  # as the model's network gives them"]
    if not classes:
        lines += ["    predicted[held] = logits.reshape(-1, 1)"]
        return "\n".join(lines)
    if task.outputs == 2 and subject.learner in ("trees", "xgboost"):
        lines += ["    logits = np.column_stack([np.zeros_like(logits), logits])"]
    lines += ["    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))"]
    lines += ["    predicted[held] = powers / powers.sum(axis=1, keepdims=True)"]
    return "\n".join(lines)


def _written(value: Any) -> str:
    return pprint.pformat(value, width=110, sort_dicts=False, compact=True)


_TREES = """\
def booster_of(number, learn):
    train = lightgbm.Dataset(
        columns[learn], label=truth[learn], weight=weight[learn], categorical_feature=CATEGORIES,
        feature_name=[f"c{place}" for place in range(columns.shape[1])], params={"verbosity": -1},
    )
    return lightgbm.train(SETTINGS, train, num_boost_round=ROUNDS[number])


def logits_of(number, learn, held):
    return booster_of(number, learn).predict(columns[held], raw_score=True)


def contributions(booster, rows):
    return booster.predict(columns[rows], pred_contrib=True)"""

_XGBOOST = """\
KINDS = ["c" if place in CATEGORIES else "q" for place in range(columns.shape[1])]


def matrix(rows):
    return xgboost.DMatrix(
        columns[rows], label=truth[rows], weight=weight[rows], missing=np.nan, feature_types=KINDS,
        enable_categorical=True,
    )


def booster_of(number, learn):
    return xgboost.train(SETTINGS, matrix(learn), num_boost_round=ROUNDS[number])


def contributions(booster, rows):
    return booster.predict(matrix(rows), pred_contribs=True)


def logits_of(number, learn, held):
    booster = booster_of(number, learn)
    # The leaves are summed in double; XGBoost itself would sum them in float32
    model = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]
    leaves = booster.predict(matrix(held), pred_leaf=True).reshape(len(held), -1).astype(int)
SUMS"""

_XGBOOST_SUMS = """\
    margins = np.full(len(held), BASES[number][0])
    for place, tree in enumerate(model["trees"]):
        margins += np.array(tree["split_conditions"], np.float32)[leaves[:, place]]
    return margins"""

_XGBOOST_SUMS_CLASSES = """\
    margins = np.tile(np.array(BASES[number]), (len(held), 1))
    for place, (tree, output) in enumerate(zip(model["trees"], model["tree_info"])):
        margins[:, output] += np.array(tree["split_conditions"], np.float32)[leaves[:, place]]
    return margins"""

_SHAPLEY = """\
if SHAP:
    rows = np.flatnonzero(fold == 0)[:500]
    parts = contributions(booster_of(0, np.flatnonzero(fold != 0)), rows).reshape(len(rows), -1, len(NAMES) + 1)
    far = np.abs(parts[:, :, :-1]).mean(axis=0).sum(axis=0)  # over the rows, and the classes
    print(pd.Series(far, index=NAMES).sort_values(ascending=False).head(20))"""

_FOREST = """\
def logits_of(number, learn, held):
    forest = ensemble.FOREST(**SETTINGS)
    forest.fit(columns[learn], truth[learn], sample_weight=weight[learn])
GIVES"""

_FOREST_CLASSES = """\
    shares = forest.predict_proba(columns[held]).astype(np.float32)
    return np.log(np.maximum(shares, np.float32(1e-15)).astype(np.float64))"""

_FOREST_NUMBER = """\
    return forest.predict(columns[held])"""

_LINEAR_CLASSES = """\
def logits_of(number, learn, held):
    model = LogisticRegression(**SETTINGS)
    model.fit(matrix[learn], truth[learn], sample_weight=weight[learn])
    weights = np.zeros((matrix.shape[1], len(CLASSES)), np.float32)
    bias = np.full(len(CLASSES), -1e4, np.float32)  # of a class that the fold's rows lack
    if len(model.classes_) == 2:
        bias[model.classes_] = [0.0, model.intercept_[0]]
        weights[:, model.classes_[1]] = model.coef_[0]
    else:
        bias[model.classes_] = model.intercept_
        weights[:, model.classes_] = model.coef_.T
    return matrix[held].astype(np.float64) @ weights.astype(np.float64) + bias"""

_LINEAR_NUMBER = """\
def logits_of(number, learn, held):
    known = truth[learn]
    mean, deviation = float(known.mean(dtype=np.float64)), float(known.std(dtype=np.float64))
    if known.min() == known.max():
        deviation = 1.0
    model = Ridge(**SETTINGS)
    model.fit(matrix[learn].astype(np.float64), (known - mean) / deviation, sample_weight=weight[learn])
    weights = (model.coef_ * deviation).astype(np.float32)
    bias = np.float32(model.intercept_ * deviation + mean)
    return matrix[held].astype(np.float64) @ weights.astype(np.float64) + bias"""

_CLASS_METRICS = """\
held = np.flatnonzero(fold >= 0)
right, share, by = truth[held], predicted[held], {"sample_weight": weight[held].astype(np.float64)}
shown = SHOWN
found = {"accuracy": scores.accuracy_score(right, shown, **by)}
for average in ("macro", "micro", "weighted"):
    found[f"{average}_precision"] = scores.precision_score(right, shown, average=average, zero_division=0, **by)
    found[f"{average}_recall"] = scores.recall_score(right, shown, average=average, zero_division=0, **by)
    found[f"{average}_f1"] = scores.f1_score(right, shown, average=average, zero_division=0, **by)
places = [1] if len(CLASSES) == 2 else [place for place in range(len(CLASSES)) if (right == place).any()]
found["roc_auc"] = np.mean([scores.roc_auc_score(right == place, share[:, place], **by) for place in places])
found["pr_auc"] = np.mean([scores.average_precision_score(right == place, share[:, place], **by) for place in places])
losses = -np.log(np.clip(share[np.arange(len(right)), right], np.finfo(float).eps, 1.0))
found["log_loss"] = np.average(losses, weights=by["sample_weight"])
for name, value in found.items():
    print(f"{name} {value:.15g}")"""

_NUMBER_METRICS = """\
held = np.flatnonzero(fold >= 0)
right, shown = truth[held].astype(np.float64), predicted[held, 0]
by = {"sample_weight": weight[held].astype(np.float64)}
found = {
    "rmse": np.sqrt(scores.mean_squared_error(right, shown, **by)),
    "mae": scores.mean_absolute_error(right, shown, **by),
    "r2": scores.r2_score(right, shown, **by),
}
for name, value in found.items():
    print(f"{name} {value:.15g}")"""
