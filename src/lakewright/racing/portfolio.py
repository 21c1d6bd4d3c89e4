"""What a search tries: first a small portfolio, the strongest shapes of each learner, then what TPE proposes.

The portfolio's order matters: the first of each learner come first, and shapes that differ most follow, because a short
search sees only the beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from lakewright import plugins

if TYPE_CHECKING:
    import optuna

    from lakewright.model.recipe import Recipe
    from lakewright.model.tasks import Task
    from lakewright.settings.sections import LearnerSettings

Settings = dict[str, Any]  # of a learner, and `without`: the recipe's steps that it leaves out
Ways = Mapping[str, Mapping[str, Sequence[str]]]  # learner → how it reads texts → the steps that it leaves out then
MOST_LEAVES = 1_000_000
VECTORS = "sentence_embeddings"
MANY_CLASSES = 20  # of more, boosting grows so many trees a round that all other learners come first
FEW_CLASSES = 5  # trees of more classes read hundreds of columns of vectors too slowly

STOP = {"n_estimators": 3000, "early_stopping_rounds": 50}
PORTFOLIO: tuple[Settings, ...] = (
    {"learner": "trees", **STOP, "learning_rate": 0.05, "colsample_bytree": 0.9, "subsample": 0.9},
    {"learner": "linear", "C": 1.0},
    {"learner": "trees", **STOP, "learning_rate": 0.05, "colsample_bytree": 0.9, "subsample": 0.9, "extra_trees": True},
    {"learner": "forest", "extra": True, "n_estimators": 100, "min_samples_leaf": 3},
    {"learner": "xgboost", **STOP, "learning_rate": 0.08, "max_depth": 6, "subsample": 0.9, "colsample_bytree": 0.8},
    {"learner": "mlp"},
    {
        "learner": "trees", **STOP, "learning_rate": 0.05, "num_leaves": 8, "colsample_bytree": 0.5,
        "subsample": 0.8, "reg_lambda": 5.0, "min_child_samples": 10,
    },
    {
        "learner": "trees", **STOP, "learning_rate": 0.04, "num_leaves": 64, "colsample_bytree": 0.4,
        "subsample": 0.8, "extra_trees": True, "min_child_samples": 3,
    },
    {
        "learner": "trees", **STOP, "learning_rate": 0.03, "num_leaves": 96, "colsample_bytree": 0.6,
        "subsample": 0.8, "min_child_samples": 5, "reg_lambda": 1.0,
    },
    {"learner": "forest", "extra": True, "n_estimators": 100, "max_features": 0.5, "min_samples_leaf": 3},
    {"learner": "linear", "C": 0.05},
    {
        "learner": "xgboost", **STOP, "learning_rate": 0.05, "max_depth": 9, "subsample": 0.7,
        "colsample_bytree": 0.5, "min_child_weight": 2.0, "reg_lambda": 2.0,
    },
    {"learner": "forest", "n_estimators": 100, "min_samples_leaf": 3},
    {"learner": "mlp", "width": 384, "layers": 3, "dropout": 0.3, "learning_rate": 0.001},
)  # fmt: skip
OF_TERMS = {1.0: 10.0, 0.05: 1.0}  # C of `linear`: so many terms, each in few rows, want a weaker penalty
FAMILIES = tuple(dict.fromkeys(each["learner"] for each in PORTFOLIO))
# More, where a frozen encoder made vectors of the texts, each with how it reads them
OVER_TEXTS: tuple[tuple[str, Settings], ...] = (
    ("vectors", {"learner": "linear", "C": 10.0}),
    ("own", {"learner": "linear", "C": 10.0}),
    ("both", {"learner": "linear", "C": 10.0}),
    ("vectors", {"learner": "linear", "C": 100.0}),
    (
        "both",
        {
            "learner": "trees", **STOP, "learning_rate": 0.05, "num_leaves": 16, "colsample_bytree": 0.3,
            "subsample": 0.8, "reg_lambda": 5.0,
        },
    ),
    ("vectors", {"learner": "mlp", "waves": 0, "dropout": 0.3}),
)  # fmt: skip


def families(task: type[Task] | Task, names: Collection[str] | None, without: Collection[str]) -> tuple[str, ...]:
    """The learners to try, of those that are installed; `names`: these alone."""
    installed = [name for name in FAMILIES if name in plugins.LEARNERS.names() and _can_train(name)]
    able = [name for name in installed if task.truth in plugins.LEARNERS.find(name).truths]
    return tuple(name for name in able if (names is None or name in names) and name not in without)


def portfolio(learners: Collection[str], ways: Ways, outputs: int, terms: bool = False) -> list[Settings]:
    """What is tried first, in this order. `outputs`: classes, or 1 for a number; `terms`: texts are read by theirs."""
    known = [{**each} for each in PORTFOLIO if each["learner"] in learners]
    if terms:
        known = [each | {"C": OF_TERMS[each["C"]]} if each["learner"] == "linear" else each for each in known]
    if outputs > MANY_CLASSES:
        known.sort(key=lambda each: each["learner"] in ("trees", "xgboost"))
    if not ways:
        return known
    own = [each | {"without": [*ways[each["learner"]]["own"]]} for each in known]
    over_texts = [
        {**settings, "without": [*ways[settings["learner"]][way]]}
        for way, settings in OVER_TEXTS
        if way in ways.get(settings["learner"], {})
    ]
    every = [*over_texts[:1], *own[:2], *over_texts[1:], *own[2:]]
    return [each for at, each in enumerate(every) if each not in every[:at]]


def ways_to_read(learners: Collection[str], recipe: Recipe, outputs: int) -> Ways:
    """How each learner may read texts of which a frozen encoder made vectors: by its own step, by the vectors, or by
    both. Empty where there are no vectors, or where the project itself reads texts by them alone. `outputs`: classes,
    or 1 for a number."""
    steps = {step.name for step in recipe.steps}
    own = {name: plugins.LEARNERS.find(name).reads["text"] for name in learners}
    if VECTORS not in steps or not steps & {*own.values()}:
        return {}
    ways: dict[str, dict[str, Sequence[str]]] = {}
    for name, step in own.items():
        ways[name] = {"own": (VECTORS,)}
        if name in ("linear", "mlp"):
            ways[name] |= {"vectors": (step,), "both": ()}
        elif outputs <= FEW_CLASSES:
            ways[name] |= {"both": ()}
    return ways


def learner_of(settings: Mapping[str, Any]) -> tuple[LearnerSettings, list[str]]:
    """A candidate's settings of its learner, and the steps of the recipe that it leaves out."""
    own = {name: value for name, value in settings.items() if name != "without"}
    return plugins.LEARNERS.find(str(own["learner"])).settings.model_validate(own), settings.get("without", [])


def family_of(settings: Mapping[str, Any]) -> str:
    """Candidates of one family cost about the same: those of one learner that read the same steps."""
    return " without ".join([str(settings["learner"]), *settings.get("without", ())])


def _can_train(learner: str) -> bool:
    """Whether the package that trains it is installed."""
    from importlib.util import find_spec

    package = {"trees": "lightgbm", "xgboost": "xgboost", "mlp": "torch"}.get(learner, "sklearn")
    return find_spec(package) is not None


def bounded(settings: Settings, rows: int, folds: int) -> Settings:
    """The settings, with leaves of a forest so large that all its folds together have about MOST_LEAVES of them at
    most, since a leaf holds more rows than its least."""
    if settings["learner"] != "forest":
        return settings
    least = ceil(settings["n_estimators"] * folds * rows / (1.5 * MOST_LEAVES))
    return {**settings, "min_samples_leaf": max(settings["min_samples_leaf"], least)}


def propose(trial: optuna.Trial, names: Collection[str], ways: Ways) -> Settings:
    """Settings by a trial of Optuna; each learner's have names of their own."""
    learner = trial.suggest_categorical("learner", [*names])
    settings = {"learner": learner, **_SPACES[learner](trial)}
    if learner in ways:
        way = trial.suggest_categorical(f"{learner}.texts", [*ways[learner]])
        settings["without"] = [*ways[learner][way]]
        if learner == "mlp" and way != "own":
            settings["waves"] = 0  # of hundreds of numbers
    return settings


def _trees(trial: optuna.Trial) -> Settings:
    return STOP | {
        "learning_rate": trial.suggest_float("trees.learning_rate", 0.015, 0.15, log=True),
        "num_leaves": trial.suggest_int("trees.num_leaves", 4, 255, log=True),
        "min_child_samples": trial.suggest_int("trees.min_child_samples", 1, 100, log=True),
        "colsample_bytree": trial.suggest_float("trees.colsample_bytree", 0.3, 1.0),
        "subsample": trial.suggest_float("trees.subsample", 0.5, 1.0),
        "reg_lambda": trial.suggest_float("trees.reg_lambda", 1e-3, 20.0, log=True),
        "extra_trees": trial.suggest_categorical("trees.extra_trees", [False, True]),
        "cat_smooth": trial.suggest_float("trees.cat_smooth", 1.0, 100.0, log=True),
        "cat_l2": trial.suggest_float("trees.cat_l2", 1.0, 50.0, log=True),
        "max_cat_to_onehot": trial.suggest_categorical("trees.max_cat_to_onehot", [4, 16, 64]),
    }


def _xgboost(trial: optuna.Trial) -> Settings:
    return STOP | {
        "learning_rate": trial.suggest_float("xgboost.learning_rate", 0.02, 0.2, log=True),
        "max_depth": trial.suggest_int("xgboost.max_depth", 3, 10),
        "min_child_weight": trial.suggest_float("xgboost.min_child_weight", 0.1, 20.0, log=True),
        "subsample": trial.suggest_float("xgboost.subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("xgboost.colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("xgboost.reg_lambda", 0.1, 20.0, log=True),
    }


def _forest(trial: optuna.Trial) -> Settings:
    return {
        "n_estimators": 100,
        "extra": trial.suggest_categorical("forest.extra", [False, True]),
        "max_features": trial.suggest_float("forest.max_features", 0.1, 1.0),
        "min_samples_leaf": trial.suggest_int("forest.min_samples_leaf", 3, 20, log=True),
    }


def _linear(trial: optuna.Trial) -> Settings:
    return {"C": trial.suggest_float("linear.C", 1e-3, 100.0, log=True)}


def _mlp(trial: optuna.Trial) -> Settings:
    return {
        "width": trial.suggest_categorical("mlp.width", [128, 256, 384]),
        "layers": trial.suggest_int("mlp.layers", 1, 3),
        "dropout": trial.suggest_float("mlp.dropout", 0.0, 0.5),
        "learning_rate": trial.suggest_float("mlp.learning_rate", 5e-4, 6e-3, log=True),
    }


_SPACES = {"trees": _trees, "xgboost": _xgboost, "forest": _forest, "linear": _linear, "mlp": _mlp}
