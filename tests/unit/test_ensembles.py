"""Trees made from LightGBM, XGBoost and scikit-learn predict and explain as the libraries do.

Tolerances: LightGBM and scikit-learn sum the same doubles in another order (DOUBLE, relative to the largest value).
XGBoost sums float32 numbers, up to 60 here, each rounded to 6e-8 of the sum (SINGLE); its contributions are float32
too, and go through products of ratios (SHAP).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from drawn_trees import drawn, drawn_rows
from lakewright.errors import TrainingError
from lakewright.learning.ensembles import floor32, from_forest, from_lightgbm, from_xgboost, mean_of, side_by_side
from lakewright.model.trees import Trees

DOUBLE, SINGLE, SHAP = 1e-12, 1e-5, 1e-4
WIDTH = 7
SETS = [4, 5]  # columns of codes, of few and of many categories
Rows = NDArray[np.float32]


def table(seed: int, rows: int = 400, missing: bool = True) -> tuple[Rows, NDArray[np.float64]]:
    """Numbers, one of them rounded and one constant, two columns of codes, and a truth that needs all but the
    constant. Some rows are there twice."""
    random = np.random.default_rng(seed)
    columns = random.normal(size=(rows, WIDTH)).astype(np.float32)
    columns[:, 1] = np.round(columns[:, 1])
    columns[:, 3] = 7
    columns[:, 4], columns[:, 5] = random.integers(0, 4, rows), random.integers(0, 50, rows)
    columns[rows // 2 : rows // 2 + 20] = columns[:20]
    truth = columns[:, 0] * columns[:, 1] + columns[:, 2] + (columns[:, 4] == 2) + np.sin(columns[:, 5] * 2.5)
    if missing:
        columns[random.random(columns.shape) < 0.1] = np.nan
        columns[:, 6] = np.where(random.random(rows) < 0.5, np.nan, columns[:, 6])
        truth = truth + np.isnan(columns[:, 6])
    return columns, truth.astype(np.float64)


def others(columns: Rows, infinities: bool = True) -> Rows:
    """The rows and some that training did not have: each value missing, unknown codes, infinities, zeros of both signs,
    the float32 numbers beside values that were there."""
    random = np.random.default_rng(1)
    changed = columns[:200].copy()
    for value in (np.nan, 0.0, -0.0, 99.0, -1.0, 2.0, *((np.inf, -np.inf) if infinities else ())):
        changed[random.random(changed.shape) < 0.03] = value
    beside = np.nextafter(columns, np.float32(random.choice([-9, 9])))
    return np.concatenate([columns, changed, np.where(np.isin(range(WIDTH), SETS), columns, beside)[:100]])


def assert_near(values: NDArray[Any], reference: NDArray[Any], tolerance: float) -> None:
    reference = np.asarray(reference, np.float64).reshape(values.shape)
    np.testing.assert_allclose(values, reference, rtol=0, atol=tolerance * max(1.0, np.abs(reference).max()))


def lightgbm_model(seed: int, missing: bool = True, sets: bool = True, rounds: int = 15, **settings: Any) -> Any:
    columns, truth = table(seed, missing=missing)
    objective = settings.get("objective", "l2")
    if objective == "binary":
        truth = truth > 1
    elif objective == "multiclass":
        truth, settings["num_class"] = np.digitize(truth, [0, 1.5]), 3
    elif objective in ("poisson", "tweedie", "gamma"):
        truth = np.exp(truth / 2)
    fixed = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "seed": seed, "deterministic": True}
    groups = {"min_data_per_group": 5, "cat_smooth": 1, "max_cat_to_onehot": 3}
    data = lightgbm.Dataset(columns, truth, categorical_feature=SETS if sets else [], free_raw_data=False)
    return lightgbm.train(fixed | groups | settings, data, rounds), columns


def assert_as_lightgbm(trees: Trees, booster: Any, columns: Rows, scale: float = 1.0) -> None:
    rows = others(columns)
    assert_near(trees.margins(rows), scale * booster.predict(rows, raw_score=True, num_threads=1), DOUBLE)
    contributions = scale * booster.predict(rows[::17], pred_contrib=True, num_threads=1)
    assert_near(trees.contributions(rows[::17]), contributions, DOUBLE)


LIGHTGBM: list[dict[str, Any]] = [
    *({"objective": name} for name in ("l2", "l1", "huber", "quantile", "poisson", "tweedie", "gamma", "binary")),
    {"objective": "multiclass"},
    {"boosting": "dart", "drop_rate": 0.5},
    {"data_sample_strategy": "goss"},
    {"missing": False},
    {"missing": False, "use_missing": False},
    {"use_missing": False},
    {"sets": False},
    {"max_cat_to_onehot": 100},
    {"num_leaves": 200, "min_data_in_leaf": 1, "rounds": 4},
    {"max_bin": 5},
    {"extra_trees": True},
    {"boost_from_average": False},
    {"path_smooth": 1.0},
    {"monotone_constraints": [1, 0, -1, 0, 0, 0, 0]},
]


@pytest.mark.parametrize("settings", LIGHTGBM, ids=str)
def test_lightgbm(settings: dict[str, Any]) -> None:
    booster, columns = lightgbm_model(3, **settings)
    assert_as_lightgbm(from_lightgbm(booster), booster, columns)


@pytest.mark.parametrize("seed", range(5))
def test_lightgbm_on_other_tables(seed: int) -> None:
    booster, columns = lightgbm_model(seed, missing=seed % 3 > 0, rounds=30)
    assert_as_lightgbm(from_lightgbm(booster), booster, columns)


@pytest.mark.parametrize("objective", ["l2", "l1", "binary", "multiclass"])
@pytest.mark.parametrize("average", [True, False])
def test_lightgbm_of_a_forest(objective: str, average: bool) -> None:
    """LightGBM's raw scores and contributions are sums, but its predictions are the link of the mean."""
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "boost_from_average": average}
    booster, columns = lightgbm_model(3, objective=objective, **forest)
    trees = from_lightgbm(booster)
    assert_as_lightgbm(trees, booster, columns, scale=1 / 15)
    margins, predictions = trees.margins(columns), booster.predict(columns, num_threads=1)
    if objective == "binary":
        margins = 1 / (1 + np.exp(-margins))
    elif objective == "multiclass":
        margins = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    assert_near(margins, predictions, DOUBLE)


def test_lightgbm_of_a_file(tmp_path: Any) -> None:
    booster, columns = lightgbm_model(3)
    booster.save_model(tmp_path / "model.txt")
    assert_as_lightgbm(from_lightgbm(lightgbm.Booster(model_file=tmp_path / "model.txt")), booster, columns)


def test_lightgbm_stops_at_the_best_iteration() -> None:
    columns, truth = table(1)
    random = np.random.default_rng(0)
    data, other = lightgbm.Dataset(columns, truth), lightgbm.Dataset(columns, random.permutation(truth))
    stop = lightgbm.early_stopping(5, verbose=False)
    settings = {"verbose": -1, "num_threads": 1, "learning_rate": 0.05}
    booster = lightgbm.train(settings, data, 30, [other], callbacks=[stop], keep_training_booster=True)
    trees = from_lightgbm(booster)
    assert 0 < booster.best_iteration < booster.current_iteration() and len(trees.root) == booster.best_iteration
    assert_as_lightgbm(trees, booster, columns)


@pytest.mark.parametrize("objective", ["l2", "binary", "multiclass"])
def test_lightgbm_that_found_nothing(objective: str) -> None:
    booster, columns = lightgbm_model(1, objective=objective, min_data_in_leaf=400)
    trees = from_lightgbm(booster)
    assert not len(trees.feature)
    assert_as_lightgbm(trees, booster, columns)


def test_lightgbm_of_one_class() -> None:
    """A class that no row has: single leaves among the trees of other classes."""
    columns, truth = table(1)
    settings = {"objective": "multiclass", "num_class": 4, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(columns, (truth > 1) * 2), 5)
    trees = from_lightgbm(booster)
    assert len(trees.feature) and (trees.root < 0).any()
    assert_as_lightgbm(trees, booster, columns)


def test_lightgbm_with_fractions_and_huge_codes() -> None:
    booster, columns = lightgbm_model(2)
    rows = np.repeat(columns[:9], 8, axis=0)
    rows[:, 5] = np.tile(np.array([0.5, 7.99, -0.5, -1.5, 2.0**31, 2.0**40, -(2.0**40), np.inf], np.float32), 9)
    assert_near(from_lightgbm(booster).margins(rows), booster.predict(rows, raw_score=True), DOUBLE)


def test_lightgbm_models_that_are_refused() -> None:
    with pytest.raises(TrainingError, match="zeros as missing values cannot be stored"):
        from_lightgbm(lightgbm_model(1, zero_as_missing=True)[0])
    with pytest.raises(TrainingError, match="linear trees cannot be stored"):
        from_lightgbm(lightgbm_model(1, linear_tree=True, sets=False, missing=False)[0])


def xgboost_model(
    seed: int, rounds: int = 15, sets: bool = True, **settings: Any
) -> tuple[Any, Rows, Callable[..., Any]]:
    columns, truth = table(seed, missing=settings.pop("missing", True))
    objective = settings.get("objective", "reg:squarederror")
    if "logi" in objective:
        truth = truth > 1
    elif "multi" in objective:
        truth, settings["num_class"] = np.digitize(truth, [0, 1.5]), 3
    elif objective in ("count:poisson", "reg:tweedie", "reg:gamma", "survival:cox"):
        truth = np.exp(truth / 2)

    def matrix(rows: Rows, truth: Any = None) -> Any:
        types = ["c" if sets and i in SETS else "q" for i in range(WIDTH)]
        return xgboost.DMatrix(rows, truth, feature_types=types, enable_categorical=True, nthread=1)

    fixed = {"verbosity": 0, "nthread": 1, "seed": seed, "max_depth": 5, "max_cat_to_onehot": 5}
    return xgboost.train(fixed | settings, matrix(columns, truth), rounds), columns, matrix


def assert_as_xgboost(trees: Trees, booster: Any, rows: Rows, matrix: Callable[..., Any], until: int = 0) -> None:
    part = {"iteration_range": (0, until)}
    assert_near(trees.margins(rows), booster.predict(matrix(rows), output_margin=True, **part), SINGLE)
    contributions = booster.predict(matrix(rows[::17]), pred_contribs=True, **part)
    assert_near(trees.contributions(rows[::17]), contributions, SHAP)


XGBOOST: list[dict[str, Any]] = [
    *(
        {"objective": f"reg:{name}"}
        for name in ("squarederror", "absoluteerror", "pseudohubererror", "tweedie", "gamma")
    ),
    *({"objective": name} for name in ("binary:logistic", "binary:logitraw", "reg:logistic", "count:poisson")),
    *({"objective": name} for name in ("multi:softprob", "multi:softmax", "survival:cox")),
    {"objective": "reg:quantileerror", "quantile_alpha": 0.8},
    {"objective": "binary:logistic", "base_score": 0.2},
    {"objective": "multi:softprob", "num_parallel_tree": 3, "subsample": 0.5},
    {"num_parallel_tree": 30, "subsample": 0.5, "rounds": 1, "learning_rate": 1.0},
    {"booster": "dart", "rate_drop": 0.5},
    {"booster": "dart", "rate_drop": 0.5, "objective": "multi:softprob"},
    {"booster": "dart", "rate_drop": 0.5, "objective": "binary:logistic"},
    {"sets": False},
    {"max_cat_to_onehot": 1000},
    {"missing": False},
    {"tree_method": "exact", "sets": False},
    {"tree_method": "approx"},
    {"grow_policy": "lossguide", "max_leaves": 60, "max_depth": 0},
    {"gamma": 5.0},
    {"gamma": 1e9},
]


@pytest.mark.parametrize("settings", XGBOOST, ids=str)
def test_xgboost(settings: dict[str, Any]) -> None:
    booster, columns, matrix = xgboost_model(3, **settings)
    assert_as_xgboost(from_xgboost(booster), booster, others(columns, infinities=False), matrix)


@pytest.mark.parametrize("seed", range(5))
def test_xgboost_on_other_tables(seed: int) -> None:
    booster, columns, matrix = xgboost_model(seed, missing=seed % 3 > 0, rounds=30)
    assert_as_xgboost(from_xgboost(booster), booster, others(columns, infinities=False), matrix)


def test_xgboost_does_not_count_equal_values_as_less() -> None:
    """A threshold is a training value itself: `<` and `<=` differ at each of them."""
    columns, truth = table(1)
    columns[:, 1] = np.arange(len(columns)) % 5
    data = xgboost.DMatrix(columns[:, :3], truth)
    booster = xgboost.train({"tree_method": "exact", "nthread": 1}, data, 3)
    assert_near(from_xgboost(booster).margins(columns[:, :3]), booster.predict(data, output_margin=True), SINGLE)


@pytest.mark.parametrize(
    "settings", [{}, {"objective": "multi:softprob", "num_class": 3}, {"num_parallel_tree": 2}], ids=str
)
def test_xgboost_stops_at_the_best_iteration(settings: dict[str, Any]) -> None:
    columns, truth = table(1)
    truth = np.digitize(truth, [0, 1.5]) if settings.get("num_class") else truth
    random = np.random.default_rng(0)
    data, other = xgboost.DMatrix(columns, truth), xgboost.DMatrix(columns, random.permutation(truth))
    common = {"verbosity": 0, "nthread": 1, "learning_rate": 0.1, "subsample": 0.8}
    booster = xgboost.train(
        common | settings, data, 20, evals=[(other, "other")], early_stopping_rounds=5, verbose_eval=False
    )
    best = booster.best_iteration + 1
    assert best < booster.num_boosted_rounds()
    assert_as_xgboost(from_xgboost(booster), booster, columns, xgboost.DMatrix, until=best)


def test_xgboost_with_names_and_pandas_categories() -> None:
    """The codes are those of the table with which it was trained."""
    import pandas

    columns, truth = table(1, missing=False)
    frame = pandas.DataFrame(columns, columns=[f"column {i}" for i in range(WIDTH)])
    frame["column 4"] = pandas.Categorical.from_codes(columns[:, 4].astype(int), ["d", "b", "a", "c"])
    data = xgboost.DMatrix(frame, truth > 1, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 10)
    trees = from_xgboost(booster)
    assert (trees.set_of >= 0).any()
    assert_near(trees.margins(columns), booster.predict(data, output_margin=True), SINGLE)


def test_xgboost_models_that_are_refused() -> None:
    columns, truth = table(1, missing=False)
    with pytest.raises(TrainingError, match="booster gblinear cannot be stored"):
        from_xgboost(xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(columns, truth), 2))
    settings = {"multi_strategy": "multi_output_tree"}
    with pytest.raises(TrainingError, match="several outputs cannot be stored"):
        from_xgboost(xgboost.train(settings, xgboost.DMatrix(columns, np.stack([truth, -truth], axis=1)), 2))


def test_xgboost_of_several_truths() -> None:
    columns, truth = table(1)
    data = xgboost.DMatrix(columns, np.stack([truth, -truth, truth**2], axis=1))
    booster = xgboost.train({"nthread": 1}, data, 5)
    assert_as_xgboost(from_xgboost(booster), booster, columns, xgboost.DMatrix)


FORESTS: list[tuple[Any, dict[str, Any]]] = [
    (RandomForestClassifier, {}),
    (RandomForestClassifier, {"class_weight": "balanced", "max_depth": 3}),
    (RandomForestClassifier, {"criterion": "entropy", "min_samples_leaf": 5, "bootstrap": False}),
    (ExtraTreesClassifier, {}),
    (ExtraTreesClassifier, {"bootstrap": True}),
    (RandomForestRegressor, {}),
    (RandomForestRegressor, {"criterion": "absolute_error", "max_depth": 4}),
    (ExtraTreesRegressor, {}),
    (ExtraTreesRegressor, {"min_samples_leaf": 300}),
]


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize(("forest", "settings"), FORESTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_forests(forest: Any, settings: dict[str, Any], missing: bool) -> None:
    columns, truth = table(2, missing=missing and settings.get("criterion") != "absolute_error")
    classifies = forest in (RandomForestClassifier, ExtraTreesClassifier)
    classes = [np.array(["one", "two"])[(truth > 1).astype(int)], np.digitize(truth, [-1, 0, 1, 2])]
    for target in classes if classifies else [truth, truth * 1000]:
        model = forest(12, random_state=0, **settings).fit(columns, target)
        rows = others(columns, infinities=False) if np.isnan(columns).any() else columns
        trees = from_forest(model)
        margins, predict = trees.margins(rows), model.predict_proba if classifies else model.predict
        assert_near(margins, predict(rows), DOUBLE)
        values = trees.contributions(rows[::40])
        assert_near(values.sum(axis=2), margins[::40], DOUBLE)
        weights = trees.leaf_cover / trees.leaf_cover.sum()
        assert trees.outputs == (len(model.classes_) if classifies else 1)
        assert weights.min() >= 0


def test_forests_of_several_truths() -> None:
    columns, truth = table(2)
    model = RandomForestRegressor(5, random_state=0).fit(columns, np.stack([truth, truth**2], axis=1))
    assert_near(from_forest(model).margins(columns), model.predict(columns), DOUBLE)
    several = RandomForestClassifier(5, random_state=0).fit(columns, np.stack([truth > 0, truth > 1], axis=1))
    with pytest.raises(TrainingError, match="several truths at once cannot be stored"):
        from_forest(several)


def test_other_models_of_scikit_learn_are_refused() -> None:
    columns, truth = table(2, missing=False)
    with pytest.raises(TrainingError, match="class GradientBoostingRegressor cannot be stored"):
        from_forest(GradientBoostingRegressor(n_estimators=2).fit(columns, truth))


def test_forests_of_one_class() -> None:
    columns, _ = table(2)
    trees = from_forest(RandomForestClassifier(3).fit(columns, np.ones(len(columns))))
    assert (trees.margins(columns) == 1).all() and trees.outputs == 1


def test_contributions_of_a_forest_are_those_of_the_same_boosted_tree() -> None:
    """scikit-learn has none; LightGBM's first tree, of the same splits, is the reference: one split on one column."""
    columns, truth = table(2, missing=False)
    forest = RandomForestRegressor(1, bootstrap=False, max_depth=1, random_state=0).fit(columns, truth)
    tree = forest.estimators_[0].tree_
    values = from_forest(forest).contributions(columns)[:, 0]
    assert_near(values[:, -1], np.full(len(columns), truth.mean()), DOUBLE)
    assert_near(values[:, tree.feature[0]], forest.predict(columns) - truth.mean(), DOUBLE)


def test_mean_of_members_of_all_kinds() -> None:
    """Three classes: boosted trees with sets, a forest with a vector in each leaf, XGBoost; and in a mean again."""
    boosted, columns = lightgbm_model(2, objective="multiclass")
    other = xgboost_model(2, objective="multi:softprob")[0]
    forest = RandomForestClassifier(5, random_state=0).fit(columns, np.digitize(table(2)[1], [0, 1.5]))
    members = [from_lightgbm(boosted), from_forest(forest), from_xgboost(other)]
    rows = others(columns)[::5]
    for weights in (None, [1, 2, 5], [0, 0, 1]):
        mean, share = mean_of(members, weights), np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
        assert_near(
            mean.margins(rows), sum(w * each.margins(rows) for w, each in zip(share, members, strict=True)), DOUBLE
        )
        values = sum(w * each.contributions(rows) for w, each in zip(share, members, strict=True))
        assert_near(mean.contributions(rows), values, DOUBLE)
        again = mean_of([mean, members[0]])
        assert_near(again.margins(rows), (mean.margins(rows) + members[0].margins(rows)) / 2, DOUBLE)


def test_mean_of_nothing_or_of_what_does_not_fit_is_refused() -> None:
    one, three = (from_lightgbm(lightgbm_model(2, objective=name)[0]) for name in ("l2", "multiclass"))
    assert_near(mean_of([one]).margins(table(2)[0]), one.margins(table(2)[0]), DOUBLE)
    for members in ([], [one, three]):
        with pytest.raises(ValueError, match="a mean needs members of the same outputs"):
            mean_of(members)
    for weights in ([1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(ValueError, match="2 members need as many weights"):
            mean_of([one, one], weights)


def test_members_side_by_side_keep_their_outputs() -> None:
    """Of one output and of three, by two libraries, with sets; what a forest's vectors would add to is not clear."""
    boosted, columns = lightgbm_model(2, objective="multiclass")
    members = [from_xgboost(xgboost_model(2)[0]), from_lightgbm(boosted), from_lightgbm(lightgbm_model(2)[0])]
    together, rows = side_by_side(members), others(columns)[::5]
    assert together.outputs == 5 and len(together.root) == sum(len(each.root) for each in members)
    assert_near(together.margins(rows), np.hstack([each.margins(rows) for each in members]), DOUBLE)
    values = np.concatenate([each.contributions(rows) for each in members], axis=1)
    assert_near(together.contributions(rows), values, DOUBLE)
    forest = from_forest(RandomForestClassifier(2, random_state=0).fit(columns, np.arange(len(columns)) % 3))
    for none in ([], [forest, forest]):
        with pytest.raises(ValueError, match="only members with one number in a leaf"):
            side_by_side(none)


def test_neighbouring_float32_numbers() -> None:
    """A double threshold lies between two neighbours; the nearest float32 would often be the upper one."""
    numbers = np.arange(400, dtype=np.int32) + np.float32(1).view(np.int32)
    columns = np.stack([numbers.view(np.float32), -numbers.view(np.float32)], axis=1)
    truth = np.random.default_rng(0).normal(size=400)
    settings = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 1, "min_data_in_bin": 1, "max_bin": 1000}
    booster = lightgbm.train(settings, lightgbm.Dataset(columns, truth), 5)
    assert_near(from_lightgbm(booster).margins(columns), booster.predict(columns, raw_score=True), DOUBLE)
    for forest in (RandomForestRegressor(5, random_state=0), ExtraTreesRegressor(5, random_state=0)):
        assert_near(from_forest(forest.fit(columns, truth)).margins(columns), forest.predict(columns), DOUBLE)


@pytest.mark.parametrize("vectors", [(1, 2), (2, 1, 3), (2, 2), (1, 1)], ids=str)
def test_mean_of_vectors_of_several_lengths(vectors: tuple[int, ...]) -> None:
    rows = drawn_rows(0, 100)
    for seed in range(5):
        members = [drawn(seed + 10 * vector, outputs=3, vector=vector) for vector in vectors]
        means = np.mean([each.margins(rows) for each in members], axis=0)
        assert_near(mean_of(members).margins(rows), means, DOUBLE)


def test_floor32() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate(
        [random.normal(size=1000) * 10.0 ** random.integers(-50, 50, 1000), [0.0, 1e300, -1e300, 0.1]]
    )
    floor = floor32(values)
    assert floor.dtype == np.float32
    assert (floor <= values).all()
    with np.errstate(over="ignore"):
        assert (np.nextafter(floor, np.float32(np.inf)) > values).all()
