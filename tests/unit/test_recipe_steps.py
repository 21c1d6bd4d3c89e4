"""Steps of a recipe: what each learns of train and makes of a row; that SQL makes the same of any values; and that a
description that somebody else wrote is refused where it could not have come from the step itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.errors import ModelError, ProjectError
from lakewright.model.folder import open_recipe
from lakewright.model.recipe import Wanted, is_transform, sql

ARROW = {"number": pa.float64(), "category": pa.string(), "time": pa.timestamp("us")}
ODD = [0.0, -0.0, 5e-324, -1e-310, 1e300, -1e300, 1.7e308, math.inf, -math.inf, math.nan, 0.5, 1.5, 2.5, 3.0, None]
NUMBERS = st.lists(st.one_of(st.sampled_from(ODD), st.floats(width=64), st.integers(-5, 5).map(float)), min_size=1)
TEXTS = [
    "low",
    "high",
    "",
    "o'clock",
    'a "b"',
    "\\",
    "日本",
    "e\u0301",
    "\xe9",
    "\U0001f44d\U0001f3fd",
    "NULL",
    "a\x00b",
    None,
]
CATEGORIES = st.lists(
    st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=4), min_size=1, max_size=12
)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fit(name: str, values: Mapping[str, Any], kinds: Mapping[str, Kind], **more: Any) -> Any:
    step = plugins.STEPS.find(name)
    return step.fit([values], kinds, step.settings.model_validate({"step": name, **more}), Wanted("row"))[0]


def makes(name: str, kinds: Mapping[str, Kind], **more: Any) -> dict[str, Kind]:
    step: Any = plugins.STEPS.find(name)
    made: dict[str, Kind] = step.makes(kinds, step.settings.model_validate({"step": name, **more}))
    return made


def reopened(step: Any, folder: Path, **changes: Any) -> Any:
    """The step of its own description with these changes, opened as a model folder's."""
    (folder / "recipe").mkdir(exist_ok=True)
    (folder / "model.json").write_text('{"format": 3}')
    described = {"step": step.name, **step.save(folder), **changes}
    encoding = {"step": "one_hot", "categories": [], "other": False}
    text = json.dumps({"steps": [described, encoding]}).replace("Infinity", "1e999")
    (folder / "recipe/recipe.json").write_text(text)
    return open_recipe(folder).steps[0]


def assert_sql_agrees(step: Any, values: Mapping[str, Any], kinds: Mapping[str, Kind], ulps: int = 0) -> None:
    """Each value that the step makes and its SQL makes, bit for bit: the sign of zero too."""
    table = pa.table({name: pa.array(column, ARROW[kinds[name]], from_pandas=False) for name, column in values.items()})
    expressions = step.sql()
    if is_transform(step):
        made = step.apply(values)
    else:
        columns = step.encode(values).columns
        made = {column.name: columns[:, at] for at, column in enumerate(step.columns)}
    assert {*expressions} == {*made}
    with duckdb.connect() as connection:
        connection.register("given", table)
        written = ", ".join(f"{each} AS {sql.name(name)}" for name, each in expressions.items())
        result = connection.sql(f"SELECT {written} FROM given").to_arrow_table()
    computed_by = dict(zip(expressions, result.columns, strict=True))  # DuckDB's names do not tell a from A
    for name, column in made.items():
        computed = computed_by[name].combine_chunks()
        if column is values.get(name):
            continue  # it stays
        if column.dtype == object:
            assert column.tolist() == computed.to_pylist(), name
            continue
        assert computed.type in (pa.float64(), pa.float32()), f"{name} is {computed.type} in SQL"
        other = computed.to_numpy(zero_copy_only=False).astype(column.dtype)
        same = (column == other) & (np.signbit(column) == np.signbit(other)) | np.isnan(column) & np.isnan(other)
        with np.errstate(invalid="ignore", over="ignore"):
            same |= np.abs(column - other) <= ulps * np.spacing(np.abs(column))
        assert same.all(), (name, column[~same][:3], other[~same][:3], expressions[name])


NUMERIC: list[tuple[str, dict[str, Any]]] = [
    ("impute", {}),
    ("impute", {"strategy": "mean"}),
    ("impute", {"strategy": "mode", "indicator": False}),
    ("impute", {"strategy": "constant", "fill": -1}),
    ("scale", {"method": "standard"}),
    ("scale", {"method": "min_max"}),
    ("scale", {"method": "robust"}),
    ("clip", {}),
    ("clip", {"minimum": -0.0}),
    ("clip", {"minimum": 0, "maximum": 2.5}),
    ("log", {}),
    ("bin", {"n_bins": 3}),
    ("bin", {"strategy": "width", "n_bins": 3, "result": "category"}),
    ("bin", {"strategy": "edges", "edges": [-0.0, 1.5, 1e300]}),
]
CATEGORICAL: list[tuple[str, dict[str, Any]]] = [
    ("impute", {}),
    ("impute", {"strategy": "constant", "fill": "it's"}),
    ("ordinal", {"order": {"a": ["low", "o'clock", "\xe9", "high"]}}),
    ("frequency", {"max_categories": 3}),
    ("one_hot", {"max_categories": 3}),
    ("one_hot", {"max_categories": 3, "other": False}),
]


@pytest.mark.parametrize(("name", "more"), NUMERIC, ids=str)
@FEW
@given(train=NUMBERS, values=NUMBERS)
def test_sql_of_any_numbers(name: str, more: dict[str, Any], train: list[Any], values: list[Any]) -> None:
    step = fit(name, {"a": [*train, 1.0]}, {"a": "number"}, **more)
    json.dumps(step.save(Path()), allow_nan=False)
    assert_sql_agrees(step, {"a": values}, {"a": "number"}, ulps=2 if name == "log" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), CATEGORICAL, ids=str)
@FEW
@given(train=CATEGORIES, values=CATEGORIES)
def test_sql_of_any_categories(name: str, more: dict[str, Any], train: list[Any], values: list[Any]) -> None:
    step = fit(name, {"a": [*train, "low"]}, {"a": "category"}, **more)
    assert_sql_agrees(step, {"a": values}, {"a": "category"})


class TestImpute:
    def test_each_strategy(self) -> None:
        train = {"a": [1.0, 2.0, 2.0, 100.0, None, math.inf], "b": ["x", "y", "y", None, "z", "z"]}
        kinds: dict[str, Kind] = {"a": "number", "b": "category"}
        assert fit("impute", train, kinds).neutral() == {"a": 2.0, "b": "y"}
        assert fit("impute", train, kinds, strategy="mode").neutral() == {"a": 2.0, "b": "y"}
        assert fit("impute", {"a": train["a"]}, {"a": "number"}, strategy="mean").neutral() == {"a": 26.25}
        made = fit("impute", train, kinds).apply({"a": [None, 5.0], "b": ["q", None]})
        assert {name: column.tolist() for name, column in made.items()} == {
            "a": [2.0, 5.0], "b": ["q", "y"], "a_missing": [1.0, 0.0], "b_missing": [0.0, 1.0],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "more", "cause"),
        [
            ("category", {"strategy": "mean"}, "a category, and the strategy mean is for numbers"),
            ("category", {"strategy": "constant", "fill": 1}, "fills 'a', a category, with 1"),
            ("number", {"strategy": "constant", "fill": "none"}, "fills 'a', a number, with 'none'"),
            ("number", {"strategy": "constant"}, "takes `fill` with"),
            ("number", {"fill": 1}, "takes `fill` with"),
            ("number", {}, "no row of train has a value"),
            ("category", {}, "no row of train has a value"),
        ],
    )
    def test_a_strategy_that_does_not_fit(self, kind: Kind, more: dict[str, Any], cause: str) -> None:
        with pytest.raises(ProjectError, match=cause):
            fit("impute", {"a": [None, None]}, {"a": kind}, **more)

    def test_a_zero_character_at_the_end_stays(self) -> None:
        step = fit("impute", {"a": ["x\0", None]}, {"a": "category"})
        assert step.apply({"a": [None]})["a"].tolist() == ["x\0"]
        assert_sql_agrees(step, {"a": [None, "y\0"]}, {"a": "category"})

    def test_a_mark_that_is_there_already(self) -> None:
        with pytest.raises(ProjectError, match="makes the input 'a_missing', which is there already"):
            makes("impute", {"a": "number", "a_missing": "number"})
        assert makes("impute", {"a": "number"}, indicator=False) == {"a": "number"}


class TestNearest:
    NUMBERS: ClassVar[dict[str, Any]] = {
        "a": [0.0, 0.1, 10.0, 10.1, None, 5.0, math.inf],
        "b": [1.0, 1.2, 20.0, 20.2, 7.0, None, None],
        "c": [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 1e300],
    }
    KINDS: ClassVar[dict[str, Kind]] = dict.fromkeys("abc", "number")

    def test_neighbors_are_those_of_scikit_learn(self) -> None:
        from sklearn.impute import KNNImputer
        from sklearn.preprocessing import StandardScaler

        random = np.random.default_rng(0)
        train, rows = (random.normal(size=(n, 4)) * [1, 10, 100, 0.1] for n in (200, 50))
        for each in (train, rows):
            each[random.random(each.shape) < 0.2] = np.nan
        rows = rows[~np.isnan(rows).all(axis=1)]
        scaler = StandardScaler().fit(train)
        theirs = KNNImputer(n_neighbors=3).fit(scaler.transform(train)).transform(scaler.transform(rows))
        kinds: dict[str, Kind] = dict.fromkeys("wxyz", "number")
        step = fit("impute", dict(zip("wxyz", train.T, strict=True)), kinds, strategy="knn", n_neighbors=3)
        made = step.apply(dict(zip("wxyz", rows.T, strict=True)))
        ours = np.column_stack([made[name] for name in "wxyz"])
        assert np.allclose(ours, scaler.inverse_transform(theirs), rtol=1e-9)
        assert step.sql() is None

    def test_clusters_fill_from_the_nearest_center(self) -> None:
        train = {"a": [0.0, 0.2, 10.0, 10.2], "b": [1.0, 3.0, 20.0, 22.0]}
        kinds: dict[str, Kind] = dict.fromkeys("ab", "number")
        step = fit("impute", train, kinds, strategy="cluster", n_clusters=2)
        made = step.apply({"a": [0.0, None, None], "b": [None, 25.0, None]})
        assert made["b"][0] == pytest.approx(2.0) and made["a"][1] == pytest.approx(10.1)
        assert made["a"][2] == 0.2 / 2 + 10.0 / 2 and made["b_missing"].tolist() == [1.0, 0.0, 1.0]

    @pytest.mark.parametrize("strategy", ["knn", "cluster"])
    @FEW
    @given(columns=st.lists(st.tuples(*[st.sampled_from(ODD) | st.floats()] * 3), min_size=1, max_size=12))
    def test_any_row_is_filled_alone_as_in_company(self, strategy: str, columns: list[Any]) -> None:
        step = fit("impute", self.NUMBERS, self.KINDS, strategy=strategy)
        json.dumps(step.save(Path()), allow_nan=False)
        rows = {name: [row[at] for row in columns] for at, name in enumerate("abc")}
        together = step.apply(rows)
        assert not any(np.isnan(each).any() for each in together.values())
        for at in range(len(columns)):
            alone = step.apply({name: column[at : at + 1] for name, column in rows.items()})
            assert all(alone[name][0] == together[name][at] for name in together)

    @pytest.mark.parametrize("strategy", ["knn", "cluster"])
    def test_train_of_any_numbers(self, strategy: str) -> None:
        wild = {"a": [1e308, -1e308, None, 5e-324], "b": [1.0, 1.0, 1.0, None], "c": [None, 2.0, math.nan, math.inf]}
        step = fit("impute", wild, self.KINDS, strategy=strategy, n_neighbors=100, n_clusters=256)
        json.dumps(step.save(Path()), allow_nan=False)
        assert all(np.isfinite(each).all() for each in step.apply({"a": [None], "b": [1.0], "c": [None]}).values())

    @pytest.mark.parametrize(
        "changes",
        [
            {"points": []},
            {"points": [[1.0, 2.0]]},
            {"points": [[1.0, 2.0, 1e999]]},
            {"points": [[1.0, 2.0, "3"]]},
            {"points": 3},
            {"points": [[0.0] * 3] * 2001},
            {"deviations": [1.0, 1.0, 0.0]},
            {"deviations": [1.0, 1.0]},
            {"means": [1.0, 1.0]},
            {"neighbors": 0},
            {"neighbors": 2.0},
        ],
        ids=lambda changes: str(changes)[:40],
    )
    def test_a_description_of_somebody_else(self, changes: dict[str, Any], tmp_path: Path) -> None:
        step = fit("impute", self.NUMBERS, self.KINDS, strategy="knn")
        assert reopened(step, tmp_path) == step
        with pytest.raises(ModelError, match="ValueError"):
            reopened(step, tmp_path, nearest={**step.save(tmp_path)["nearest"], **changes})

    def test_one_number_alone(self) -> None:
        with pytest.raises(ProjectError, match="reads 1 numbers"):
            fit("impute", {"a": [1.0]}, {"a": "number"}, strategy="knn")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_statistics_are_finite_and_within_train(values: list[float]) -> None:
    from lakewright.model.recipe import statistics

    known = np.array(values)
    low, high = min(values), max(values)
    for computed in (statistics.mean(known), statistics.median(known), statistics.quantile(known, 0.3)):
        assert math.isfinite(computed)
        assert low - abs(low) * 1e-9 - 1e-300 <= computed <= high + abs(high) * 1e-9 + 1e-300
    assert math.isfinite(statistics.deviation(known))


def test_ordinal_takes_its_inputs_from_the_order() -> None:
    step: Any = plugins.STEPS.find("ordinal")
    own = step.settings(order={"size": ["low", "high"]})
    assert own.inputs == ["size"]
    with pytest.raises(ProjectError, match="an order for each of its inputs, and for no other: age"):
        step.makes({"size": "category", "age": "category"}, own)
    with pytest.raises(ValidationError, match="each of them once"):
        step.settings(order={"size": ["low", "low"]})
    fitted = fit("ordinal", {}, {"size": "category"}, order={"size": ["low", "high"]})
    assert fitted.apply({"size": ["high", "low", "other", None]})["size"].tolist()[:2] == [1.0, 0.0]


def test_frequency_counts_rows_of_train() -> None:
    step = fit("frequency", {"a": ["x", "x", "y", None]}, {"a": "category"}, max_categories=1)
    made = step.apply({"a": ["x", "y", "new", None]})
    assert made["a"].tolist() == ["x", "y", "new", None]
    assert made["a_frequency"].tolist()[:3] == [0.5, 0.0, 0.0] and math.isnan(made["a_frequency"][3])


def test_one_hot_marks_other_values_and_no_missing_one() -> None:
    step = fit("one_hot", {"a": ["x", "x", "y"]}, {"a": "category"}, max_categories=1)
    assert [column.name for column in step.columns] == ["a = x", "a is another"]
    assert step.encode({"a": ["x", "y", "new", None]}).columns.tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]
    (shortfall,) = step.shortfalls(None, {"a": ["x", "y", "new", None]})
    assert shortfall.lost.tolist() == [0, 1, 1, 0] and "prepare.recipe.one_hot.max_categories: 2" in shortfall.remedy


class TestHashing:
    def test_it_is_the_hash_of_rfc_7693(self) -> None:
        from lakewright.model.recipe.hashing import bucket

        assert [bucket(value, 1000) for value in ("", "north", "日本")] == [756, 292, 160]

    def test_values_that_share_a_bucket_are_counted(self) -> None:
        train = [*"abcdefgh", "a", "a", None]
        step = fit("hashing", {"a": train}, {"a": "category"}, buckets=2)
        encoded = step.encode({"a": ["a", "never before", None]}).columns
        assert encoded.sum(axis=1).tolist() == [1, 1, 0] and encoded.shape == (3, 2)
        (shortfall,) = step.shortfalls(None, {"a": train})
        assert shortfall.of.sum() == 10 and shortfall.lost.sum() == 6 and shortfall.lost[0] == 0


def test_scale_by_each_method() -> None:
    train = {"a": [0.0, 1.0, 2.0, 3.0, 4.0, None]}
    values = {"a": [2.0, 4.0, None]}
    for method, expected in {"standard": [0.0, math.sqrt(2)], "min_max": [0.5, 1.0], "robust": [0.0, 1.0]}.items():
        made = fit("scale", train, {"a": "number"}, method=method).apply(values)["a"]
        assert made[:2] == pytest.approx(expected) and math.isnan(made[2])
    for method in ("standard", "min_max", "robust"):
        assert fit("scale", {"a": [0.1] * 7}, {"a": "number"}, method=method).numbers[0].width == 1.0
        assert math.isfinite(fit("scale", {"a": [-1.7e308, 1.7e308]}, {"a": "number"}, method=method).numbers[0].width)


def test_clip_settings_that_contradict_each_other() -> None:
    step = plugins.STEPS.find("clip").settings
    for wrong in ({"quantiles": (0.9, 0.1)}, {"minimum": 2, "maximum": 1}, {"minimum": 1, "quantiles": (0.1, 0.9)}):
        with pytest.raises(ValidationError):
            step.model_validate(wrong)


def test_log_is_as_near_as_its_docstring_claims() -> None:
    values = np.concatenate([10.0 ** np.linspace(-320, 308, 5001), [0.0, 1.0, math.e - 1]])
    made = fit("log", {}, {"a": "number"}).apply({"a": np.concatenate([values, -values])})["a"]
    expected = np.array([math.log1p(value) for value in values])
    assert (np.abs(made[: len(values)] - expected) <= 2 * np.spacing(expected)).all()
    assert (made[len(values) :] == -made[: len(values)]).all()


def test_bins_hold_equal_shares_or_have_equal_widths() -> None:
    train = {"a": [1.0, 2.0, 3.0, 4.0, 100.0, None]}
    assert fit("bin", train, {"a": "number"}, n_bins=2).edges == {"a": (3.0,)}
    assert fit("bin", train, {"a": "number"}, n_bins=2, strategy="width").edges == {"a": (50.5,)}
    named = fit("bin", train, {"a": "number"}, strategy="edges", edges=[0, 2.5], result="category")
    assert named.apply({"a": [0.0, 2.5, 3.0, math.inf, None]})["a"].tolist() == [
        "(-inf, 0.0]", "(0.0, 2.5]", "(2.5, inf]", "(2.5, inf]", None,
    ]  # fmt: skip
    assert makes("bin", {"a": "number"}, result="category") == {"a": "category"}
    for wrong in ({"strategy": "edges"}, {"edges": [1]}, {"strategy": "edges", "edges": [2, 1]}):
        with pytest.raises(ValidationError):
            plugins.STEPS.find("bin").settings.model_validate(wrong)


class TestAggregate:
    TRAIN: ClassVar[dict[str, Any]] = {
        "city": ["x", "x", "x", "y", None, "z", "x"],
        "price": [1.0, 2.0, 6.0, 5.0, 7.0, None, math.inf],
    }
    KINDS: ClassVar[dict[str, Kind]] = {"city": "category", "price": "number"}

    def test_each_statistic_of_a_group(self) -> None:
        how = ["mean", "median", "std", "min", "max", "count"]
        step = fit("aggregate", self.TRAIN, self.KINDS, by="city", of=["price"], statistics=how)
        made = step.apply({"city": ["x", "y", "z", "new", None], "price": [None] * 5})
        by_x = [made[f"price_by_city_{each}"][0] for each in how]
        assert by_x == pytest.approx([3.0, 2.0, np.std([1, 2, 6]), 1.0, 6.0, 3.0])
        assert made["price_by_city_count"].tolist()[:3] == [3.0, 1.0, 0.0]
        assert [math.isnan(each) for each in made["price_by_city_mean"]] == [False, False, True, True, True]

    def test_batches_make_the_same(self) -> None:
        step: Any = plugins.STEPS.find("aggregate")
        own = step.settings.model_validate({"by": "city", "of": ["price"], "max_categories": 1})
        parts = [{name: column[at : at + 2] for name, column in self.TRAIN.items()} for at in range(0, 7, 2)]
        together, in_parts = (step.fit(train, self.KINDS, own, Wanted("row"))[0] for train in ([self.TRAIN], parts))
        assert in_parts.tables == together.tables == {"price_by_city_mean": {"x": 3.0}}

    def test_inputs_of_other_kinds(self) -> None:
        for by, of in (("price", "price"), ("city", "city"), ("town", "price")):
            with pytest.raises(ProjectError, match="among the step's inputs"):
                makes("aggregate", self.KINDS, by=by, of=[of])

    @pytest.mark.parametrize(
        "changes",
        [
            {"by": "price"},
            {"tables": {"price": {}}},
            {"tables": {"x": {"a": 1e999}}},
            {"tables": {"x": [1]}},
            {"usual": {"city": 1, "price": 1}},
        ],
        ids=str,
    )
    def test_a_description_of_somebody_else(self, changes: dict[str, Any], tmp_path: Path) -> None:
        step = fit("aggregate", self.TRAIN, self.KINDS, by="city", of=["price"])
        assert reopened(step, tmp_path) == step
        with pytest.raises(ModelError, match="ValueError"):
            reopened(step, tmp_path, **changes)

    @FEW
    @given(st.data())
    def test_sql_of_any_groups(self, data: st.DataObject) -> None:
        cities = data.draw(CATEGORIES)
        prices = data.draw(st.lists(st.sampled_from(ODD) | st.floats(), min_size=len(cities), max_size=len(cities)))
        train = {"city": cities, "price": prices}
        how = ["mean", "median", "std", "min", "max", "count"]
        step = fit("aggregate", train, self.KINDS, by="city", of=["price"], statistics=how, max_categories=4)
        json.dumps(step.save(Path()), allow_nan=False)
        others = data.draw(CATEGORIES)
        assert_sql_agrees(step, {"city": others, "price": [1.0] * len(others)}, self.KINDS)


HOSTILE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("impute", {}, {"numbers": {"a": 1e999}}),
    ("impute", {}, {"numbers": {"a": "1"}}),
    ("impute", {}, {"numbers": ["a"]}),
    ("impute", {}, {"categories": {"a": 1}}),
    ("impute", {}, {"indicator": 1}),
    ("scale", {}, {"numbers": [{"name": "a", "center": 0, "width": 0}]}),
    ("scale", {}, {"numbers": [{"name": "a", "center": 10**400, "width": 1}]}),
    ("scale", {}, {"numbers": [{"name": "a", "center": True, "width": 1}]}),
    ("scale", {}, {"numbers": [{"name": "a", "center": 0}]}),
    ("scale", {}, {"numbers": [3]}),
    ("clip", {}, {"numbers": [{"name": "a", "minimum": 2, "maximum": 1}]}),
    ("clip", {}, {"numbers": [{"name": "a", "minimum": None, "maximum": None}]}),
    ("log", {}, {"inputs": ["a", "a"]}),
    ("log", {}, {"inputs": "a"}),
    ("bin", {}, {"edges": {"a": [2, 1]}}),
    ("bin", {}, {"edges": {"a": []}}),
    ("bin", {}, {"edges": {"a": [0] * 2000}}),
    ("bin", {}, {"result": "text"}),
]


@pytest.mark.parametrize(("name", "more", "changes"), HOSTILE, ids=str)
def test_a_description_of_somebody_else(
    name: str, more: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    step = fit(name, {"a": [1.0, 2.0]}, {"a": "number"}, **more)
    assert reopened(step, tmp_path) == step
    with pytest.raises(ModelError, match="ValueError"):
        reopened(step, tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "more", "changes"),
    [
        ("ordinal", {"order": {"a": ["low", "high"]}}, {"order": {"a": ["low", "low"]}}),
        ("ordinal", {"order": {"a": ["low", "high"]}}, {"order": {"a": "low"}}),
        ("frequency", {}, {"shares": {"a": {"low": 1e999}}}),
        ("frequency", {}, {"shares": {"a": [1]}}),
        ("one_hot", {}, {"categories": [{"name": "a", "values": ["x", "x"], "rarer": 0}]}),
        ("one_hot", {}, {"categories": [{"name": "a", "values": [1], "rarer": 0}]}),
        ("one_hot", {}, {"categories": [{"name": "a", "values": ["x"], "rarer": -1}]}),
        ("hashing", {}, {"categories": [{"name": "a", "largest": ["x"]}]}),
        ("hashing", {}, {"categories": [{"name": "a", "largest": [1, 2]}]}),
        ("hashing", {}, {"categories": [{"name": "a", "largest": [None] * 5000}]}),
    ],
    ids=str,
)
def test_a_description_of_categories_of_somebody_else(
    name: str, more: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    step = fit(name, {"a": ["low", "high"]}, {"a": "category"}, **more)
    assert reopened(step, tmp_path) == step
    with pytest.raises(ModelError, match="ValueError"):
        reopened(step, tmp_path, **changes)


def test_steps_follow_one_another(tmp_path: Path) -> None:
    """A whole recipe: chosen as a project declares it, fitted, stored, opened; and each step's SQL over the one before
    gives the network's numbers."""
    from types import SimpleNamespace

    from lakewright.model.recipe import Recipe
    from lakewright.settings.recipe import choose
    from lakewright.settings.sections import Prepare

    recipe = {
        "impute": {"inputs": ["age", "size"]},
        "derive": {"columns": {"ratio": "fare / age", "short": "lower(substring(city, 1, 1))"}},
        "days": {"step": "part_of", "parts": ["days", "month"]},
        "aggregate": {"by": "short", "of": ["fare"], "statistics": ["median", "count"]},
        "log": {"inputs": ["fare", "ratio"]},
        "ordinal": {"order": {"size": ["low", "high"]}},
        "bin": {"inputs": ["age"], "n_bins": 2, "result": "category"},
        "frequency": {"inputs": ["short"]},
        "one_hot": {"inputs": ["age", "short"]},
        "native": {},
    }
    kinds: dict[str, Kind] = {"age": "number", "fare": "number", "size": "category", "city": "category", "sold": "time"}
    values: dict[str, Any] = {
        "age": [3.0, None, 41.5, 0.0],
        "fare": [1.0, 20.0, None, -7.25],
        "size": ["low", None, "high", "low"],
        "city": ["Aachen", "Bonn", None, "aachen"],
        "sold": [None, datetime(1969, 12, 31), datetime(2024, 2, 29, 12), datetime(2000, 1, 1)],
    }
    declared = Prepare.model_validate({"recipe": recipe}).recipe
    learner: Any = SimpleNamespace(name="trees", reads={"number": "native", "category": "native"})
    steps: list[Any] = []
    for step, own, inputs in choose([learner], kinds, declared).values():
        steps.append(step.fit([Recipe(tuple(steps)).transformed(values)], inputs, own, Wanted("row"))[0])
    fitted = Recipe(tuple(steps))
    assert [step.name for step in steps] == [own.get("step", name) for name, own in recipe.items()]
    assert {*fitted.inputs} == {*kinds}
    encoded = fitted.encode_values(values).columns
    assert encoded is not None and encoded.shape == (4, len(fitted.columns))
    fitted.save(tmp_path)
    opened = Recipe.open(tmp_path)
    assert np.array_equal(opened.encode_values(values).columns, encoded, equal_nan=True)  # type: ignore[arg-type]
    assert len(opened.encode(opened.sample_rows([{}]))) == 1

    table = "given"
    for step in steps:
        if is_transform(step):
            expressions = step.sql()
            assert expressions is not None
            made = ", ".join(f"{each} AS {sql.name(name)}" for name, each in expressions.items())
            stay = ", ".join(sql.name(name) for name in kinds if name not in step.inputs)
            kinds = {name: "number" for name in [*kinds, *expressions] if name not in {*step.inputs} - {*expressions}}
            table = f"(SELECT {', '.join(filter(None, [made, stay]))} FROM {table})"
    numbers = [each for step in fitted.encodings for each in (step.sql() or {}).values()]
    types = {"sold": pa.timestamp("us"), "size": pa.string(), "city": pa.string()}
    with duckdb.connect() as connection:
        given_rows = {name: pa.array(column, types.get(name, pa.float64())) for name, column in values.items()}
        connection.register("given", pa.table(given_rows))
        result = connection.sql(f"SELECT {', '.join(numbers)} FROM {table}").fetchnumpy()
    computed = np.column_stack([np.ma.filled(column, np.nan) for column in result.values()])
    assert np.allclose(computed, encoded, rtol=1e-6, equal_nan=True)
