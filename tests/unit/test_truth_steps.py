"""What the steps that learn from the truth learn of it: exact means in any order, a linear model's scores; and what a
folder of somebody else's may not hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save
from test_recipe_steps import CATEGORIES, FEW, assert_sql_agrees, reopened

from lakewright import plugins
from lakewright.errors import ModelError
from lakewright.learning.truths import names_of, numbers_of
from lakewright.model.recipe import Truth, Wanted, learns_truth
from lakewright.model.recipe.terms import Terms
from lakewright.model.tasks.classification import Classification
from lakewright.model.tasks.multilabel import MultilabelClassification
from lakewright.model.tasks.regression import Regression


def fit(name: str, values: Mapping[str, Any], numbers: Any, kind: Any = "class", **settings: Any) -> Any:
    step: Any = plugins.STEPS.find(name)
    known = np.array(numbers, dtype=np.float64).reshape(len(next(iter(values.values()))), -1)
    names = ("",) if kind == "number" else tuple("abcdefgh"[: known.shape[1]])
    kinds = dict.fromkeys(values, "category" if name == "target_mean" else "text")
    own = step.settings.model_validate({"step": name, **settings})
    return step.fit([values], kinds, own, Wanted("row", truth=Truth(kind, names, lambda: [known])))[0]


def test_a_mean_is_drawn_towards_that_of_train() -> None:
    step = fit("target_mean", {"c": ["x", "x", "y", None, "x", "y"]}, [1, 1, 0, 1, 0, 0], smoothing=2)
    encoded = step.encode({"c": ["x", "y", None, "unseen", ""]}).columns[:, 0]
    means = np.array([(2 + 2 * 0.5) / 5, (0 + 2 * 0.5) / 4, (1 + 2 * 0.5) / 3, 0.5, 0.5])  # (sum + m · mean) / (n + m)
    assert encoded == pytest.approx(means - 0.5, abs=1e-7)
    assert [column.name for column in step.columns] == ["c: mean of a"]


def test_a_number_counts_in_its_deviations() -> None:
    prices = np.array([10.0, 20.0, 30.0, 40.0])
    step = fit("target_mean", {"c": ["x", "x", "y", "y"]}, prices, kind="number", smoothing=0)
    assert step.encode({"c": ["x", "y", "z"]}).columns[:, 0] == pytest.approx(
        [-10 / prices.std(), 10 / prices.std(), 0]
    )
    constant = fit("target_mean", {"c": ["x", "y"]}, [3.0, 3.0], kind="number")
    assert constant.encode({"c": ["x", "y"]}).columns.tolist() == [[0.0], [0.0]]


def test_values_beyond_the_most_frequent_count_as_trains() -> None:
    values = {"c": ["x", "x", "y", "y", "z"]}
    step = fit("target_mean", values, [1, 1, 0, 0, 1], max_categories=2)
    assert step.encode({"c": ["z"]}).columns.tolist() == [[0.0]]
    (lost,) = step.shortfalls(step.encode(values), values)
    assert lost.name == "unknown_categories" and lost.lost.tolist() == [0, 0, 0, 0, 1]


@FEW
@given(CATEGORIES, st.data())
def test_means_do_not_depend_on_the_order_of_rows_and_sql_gives_the_same(
    values: list[Any], data: st.DataObject
) -> None:
    finite = st.floats(-(2.0**99), 2.0**99, width=32)
    numbers = data.draw(st.lists(finite, min_size=len(values), max_size=len(values)))
    step = fit("target_mean", {"c": values}, numbers, kind="number", smoothing=0.5)
    order = data.draw(st.permutations(range(len(values))))
    other = fit(
        "target_mean", {"c": [values[at] for at in order]}, [numbers[at] for at in order], "number", smoothing=0.5
    )
    rows = {"c": [*values, "unseen", None]}
    assert np.array_equal(step.encode(rows).columns, other.encode(rows).columns)
    assert_sql_agrees(step, rows, {"c": "category"})


TEXTS = ["good house", "good flat", "bad house", "bad flat", "good garden here", "bad garden here"] * 3
GOOD = [float("good" in text) for text in TEXTS]


def test_scores_are_those_of_the_linear_model() -> None:
    from sklearn.linear_model import LogisticRegression, Ridge

    terms = Terms.counted([{"t": TEXTS}], ("t",), 2, 1000)
    encoded = terms.encode({"t": TEXTS})
    assert encoded.weights is not None
    matrix = np.zeros((len(TEXTS), len(terms.idf)), np.float32)
    for row in range(len(TEXTS)):
        matrix[row, encoded.ids[row]] = encoded.weights[row]
    two = fit("text_scores", {"t": TEXTS}, GOOD).encode({"t": TEXTS}).columns[:, 0]
    assert two == pytest.approx(LogisticRegression(C=10).fit(matrix, GOOD).predict_proba(matrix)[:, 1], abs=1e-4)
    places = np.array(["house" in t for t in TEXTS], int) + 2 * np.array(["garden" in t for t in TEXTS], int)
    three = fit("text_scores", {"t": TEXTS}, np.eye(3)[places]).encode({"t": TEXTS}).columns
    assert three == pytest.approx(LogisticRegression(C=10).fit(matrix, places).predict_proba(matrix), abs=1e-4)
    price = 100 + 20 * np.array(GOOD)
    number = fit("text_scores", {"t": TEXTS}, price, kind="number").encode({"t": TEXTS}).columns[:, 0]
    ridge = Ridge(alpha=0.1, solver="cholesky").fit(matrix.astype(float), (price - price.mean()) / price.std())
    assert number == pytest.approx(ridge.predict(matrix), abs=1e-3)


def test_a_text_without_terms_has_the_models_constants_and_only_unread_words_are_a_loss() -> None:
    step = fit("text_scores", {"t": TEXTS}, GOOD)
    rows = {"t": [None, "", " ", "?!", "unknown words", "good"]}
    encoded = step.encode(rows)
    assert len({*encoded.columns[:5, 0].tolist()}) == 1 and encoded.columns[5, 0] > encoded.columns[0, 0]
    (lost,) = step.shortfalls(encoded, rows)
    assert lost.lost.tolist() == [0, 0, 0, 1, 1, 0] and lost.of.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("numbers", [[1.0] * 18, [0.0] * 18, np.eye(3)[[1] * 18], np.eye(3)[[0, 2] * 9]])
def test_classes_that_no_row_has_are_hardly_ever_predicted(numbers: Any) -> None:
    known = np.array(numbers).reshape(18, -1)
    shares = fit("text_scores", {"t": TEXTS}, known).encode({"t": ["good", None, "never seen"]}).columns
    assert np.isfinite(shares).all()
    assert (shares[:, ~known.any(axis=0)] < 1e-6).all() and (shares[:, known.all(axis=0)] > 1 - 1e-6).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"names": []},
        {"names": ["a", "a"]},
        {"categories": [{"name": "c", "rarer": 0, "missing": [0.0], "means": {"x": [1.0, 2.0]}}]},
        {"categories": [{"name": "c", "rarer": 0, "missing": [], "means": {}}]},
        {"categories": [{"name": "c", "rarer": 0, "missing": [0.0], "means": {"y": [1.0], "x": [1.0]}}]},
        {"categories": [{"name": "c", "rarer": -1, "missing": [0.0], "means": {}}]},
        {"categories": [{"name": "c", "rarer": 0, "missing": [float("inf")], "means": {}}]},
    ],
)
def test_means_that_the_step_could_not_have_stored_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    step = fit("target_mean", {"c": ["x", "y"]}, [1.0, 0.0])
    assert reopened(step, tmp_path).columns == step.columns
    with pytest.raises(ModelError):
        reopened(step, tmp_path, **changes)


@pytest.mark.parametrize("change", ["terms", "weights", "idf", "bias", "infinite", "twice", "none", "outside", "newer"])
def test_scores_that_the_step_could_not_have_stored_are_refused(change: str, tmp_path: Path) -> None:
    step = fit("text_scores", {"t": TEXTS}, GOOD)
    folder = tmp_path / "recipe"
    folder.mkdir()
    (file,) = step.save(folder)["texts"].values()
    arrays = {name: array.copy() for name, array in load((folder / file).read_bytes()).items()}
    changes: dict[str, Any] = {}
    if change in ("weights", "idf", "bias"):
        arrays[change] = arrays[change][:-1]
    elif change == "infinite":
        arrays["weights"][0, 0] = np.inf
    elif change == "twice":
        listed = arrays["terms"].tobytes().decode().split("\n")
        arrays["terms"] = np.frombuffer("\n".join([listed[1], *listed[1:]]).encode(), np.uint8)
    elif change == "terms":
        del arrays["terms"]
    elif change == "outside":
        changes = {"texts": {"t": f"../recipe/{file}"}}
    elif change == "newer":
        changes = {"reading": 99}
    content = b"nothing" if change == "none" else save(arrays)
    (folder / "other.safetensors").write_bytes(content)
    assert reopened(step, tmp_path).columns == step.columns
    with pytest.raises(ModelError):
        reopened(step, tmp_path, **(changes or {"texts": {"t": "other.safetensors"}}))


def test_the_numbers_of_each_kind_of_truth() -> None:
    two, three = Classification(("no", "yes")), Classification(("a", "b", "c"))
    places = np.array([[0], [1], [1]], np.int32)
    assert names_of(two) == ("yes",) and numbers_of(two, places).tolist() == [[0.0], [1.0], [1.0]]
    assert names_of(three) == ("a", "b", "c") and numbers_of(three, places).tolist() == np.eye(3)[[0, 1, 1]].tolist()
    several: Any = MultilabelClassification(("a", "b"), (0.5, 0.5))
    hot = np.array([[0, 1], [1, 1]], np.int32)
    assert names_of(several) == ("a", "b") and numbers_of(several, hot).tolist() == hot.tolist()
    number: Any = Regression({"x": "number"})
    assert names_of(number) == ("",) and numbers_of(number, np.array([[2.5]], np.float32)).tolist() == [[2.5]]


def test_only_encodings_of_numbers_may_learn_the_truth() -> None:
    class Chained:
        name, gives, learns_truth = "chained", "inputs", True

    with pytest.raises(TypeError, match="only one that gives numbers may learn the truth"):
        learns_truth(Chained)  # type: ignore[arg-type]
