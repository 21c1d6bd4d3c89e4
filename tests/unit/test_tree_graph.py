"""The ONNX graph of trees gives their margins: in ONNX Runtime, alone and among others, whatever the trees hold.

FLOAT: logits are doubles rounded to float32 once, an error of 6e-8 of the value; the values here are below 100.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor

from drawn_trees import WIDTH, arrays, chain, drawn, drawn_rows
from lakewright.learning.ensembles import from_forest, from_lightgbm, mean_of
from lakewright.learning.tree_graph import UNREACHABLE, graph
from lakewright.model.runtimes.onnx import session
from lakewright.model.trees import MOST_CODE, Trees

FLOAT = 1e-5


def logits(trees: Trees, rows: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    opened = session(graph(trees, rows.shape[1]).SerializeToString(), threads)
    result: NDArray[np.float32] = opened.run(["logits"], {"columns": rows})[0]
    return result


def assert_same(trees: Trees, rows: NDArray[np.float32]) -> None:
    result = logits(trees, rows)
    assert result.dtype == np.float32 and result.shape == (len(rows), trees.outputs)
    np.testing.assert_allclose(result, trees.margins(rows), rtol=1e-6, atol=FLOAT)


KINDS: list[dict[str, Any]] = [
    {},
    {"codes": 8},
    {"codes": 30},
    {"codes": 31},
    {"codes": 400},
    {"sets": False},
    {"outputs": 3},
    {"outputs": 3, "vector": 3, "sets": False},
    {"outputs": 3, "vector": 2, "sets": False},
    {"outputs": 3, "vector": 3},
    {"outputs": 4, "vector": 2, "codes": 8},
    {"depth": 1},
    {"depth": 1, "outputs": 3, "vector": 3, "sets": False},
    {"trees": 60, "depth": 7},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_logits_are_the_margins(kind: dict[str, Any]) -> None:
    for seed in range(25 if "trees" not in kind else 3):
        assert_same(drawn(seed, **kind), drawn_rows(seed, 200, codes=kind.get("codes", 40)))


@pytest.mark.parametrize("kind", [{}, {"outputs": 3}, {"outputs": 3, "vector": 3, "sets": False}], ids=str)
def test_a_row_has_the_same_logits_alone_and_among_others(kind: dict[str, Any]) -> None:
    """With one thread and with three, in all the ways in which ONNX Runtime divides rows and trees."""
    trees = drawn(3, trees=150, depth=6, **kind)
    trees = replace(trees, leaf_weight=np.random.default_rng(0).normal(size=trees.leaf_weight.shape))
    rows = drawn_rows(3, 5000)
    model = graph(trees, WIDTH).SerializeToString()
    reference = session(model, 1).run(["logits"], {"columns": rows})[0]
    for threads in (1, 3):
        opened = session(model, threads)
        for size in (1, 2, 20, 51, 300, 5000):
            part = rows[:size]
            assert (opened.run(["logits"], {"columns": part})[0] == reference[:size]).all()
        for i in range(100):
            assert (opened.run(["logits"], {"columns": rows[i : i + 1]})[0] == reference[i]).all()


def test_neighbouring_sets_that_missing_values_leave_on_different_sides() -> None:
    """Codes {1} or {2} go to equal leaves; a missing value passes the first node and stays at the second. ONNX Runtime
    joins the two nodes, and takes the side of the first, unless a member is above 30."""
    trees = Trees(**arrays(chain(2)) | sets_of([1], [2]) | {"leaf_weight": np.array([[5.0], [5.0], [0.0]])})
    trees = replace(trees, missing_left=np.array([False, True]))
    rows = np.array([[1], [2], [3], [np.nan]], np.float32)
    assert trees.margins(rows)[:, 0].tolist() == [5, 5, 0, 5]
    assert_same(trees, rows)


def sets_of(*codes: list[int]) -> dict[str, NDArray[Any]]:
    offsets = np.cumsum([0, *map(len, codes)])
    return {
        "set_of": np.arange(len(codes), dtype=np.int32),
        "set_offsets": offsets.astype(np.int64),
        "set_codes": np.concatenate([np.array(each, np.int32) for each in codes]),
    }


@pytest.mark.parametrize(
    "codes", [[], [0], [1], [29], [30], [31], [MOST_CODE], [0, MOST_CODE], [*range(20_000)]], ids=len
)
def test_sets_of_one_member_of_many_and_of_none(codes: list[int]) -> None:
    trees = Trees(**arrays(chain(1)) | sets_of(codes))
    values = [
        0,
        1,
        29,
        30,
        31,
        19_999,
        20_000,
        MOST_CODE,
        MOST_CODE + 1,
        MOST_CODE + 3,
        -1,
        -0.0,
        0.5,
        -0.5,
        30.5,
        np.nan,
    ]
    rows = np.array([*values, np.inf, -np.inf, 2.0**31, 2.0**32, -(2.0**31), 2.0**63], np.float32)[:, None]
    assert_same(trees, rows)


def test_no_column_has_the_unreachable_value() -> None:
    assert int(UNREACHABLE) == UNREACHABLE > MOST_CODE
    assert float(np.float32(UNREACHABLE)) != UNREACHABLE


@pytest.mark.parametrize("vector", [1, 2])
def test_single_leaves_and_a_base(vector: int) -> None:
    """Alone, and beside other trees; also an output that no tree adds to."""
    for trees in (0, 1, 3):
        assert_same(drawn(1, trees=trees, depth=0, outputs=3, vector=vector, sets=False), drawn_rows(0, 5))
    others = drawn(4, outputs=3, vector=vector, sets=False)
    alone = drawn(1, trees=2, depth=0, outputs=3, vector=vector, sets=False)
    assert_same(mean_of([alone, others]), drawn_rows(1, 100))
    assert_same(mean_of([others, alone]), drawn_rows(1, 100))
    first = replace(others, output=np.zeros_like(others.output))
    assert_same(first, drawn_rows(1, 100))


def test_thresholds_at_the_ends_and_beside_0() -> None:
    for threshold in (-np.inf, np.inf, 0.0, -0.0, -1e-45, 1e-45, 3.4028235e38, -3.4028235e38, 1e-38):
        trees = replace(chain(1), threshold=np.array([threshold], np.float32))
        values = [
            0.0,
            -0.0,
            1e-45,
            -1e-45,
            1e-38,
            -1e-38,
            np.inf,
            -np.inf,
            3.4028235e38,
            -3.4028235e38,
            np.nan,
            1.0,
            -1.0,
        ]
        assert_same(trees, np.array(values, np.float32)[:, None])


@pytest.mark.parametrize("depth", [100, 1500, 4096])
def test_deep_trees(depth: int) -> None:
    rows = np.array([[-1], [depth / 2 + 0.5], [depth - 1], [depth]], np.float32)
    assert_same(chain(depth), rows)
    vectors = replace(chain(depth), leaf_weight=np.ones((depth + 1, 2)), base=np.zeros(2))
    assert_same(vectors, rows)


def test_large_sums_keep_their_small_parts() -> None:
    """In float32, 300 trees upon 1e6 would lose the hundredths."""
    trees = drawn(3, trees=300, sets=False)
    trees = replace(trees, leaf_weight=trees.leaf_weight / 100, base=np.full(1, 1e6))
    rows = drawn_rows(3, 200)
    assert (logits(trees, rows) == trees.margins(rows).astype(np.float32)).all()


def test_columns_that_no_tree_reads_and_too_few() -> None:
    trees, rows = drawn(1), drawn_rows(1, 20)
    wide = np.concatenate([rows, np.full((20, 3), np.nan, np.float32)], axis=1)
    assert (logits(trees, wide) == logits(trees, rows)).all()
    with pytest.raises(ValueError, match="the trees read 4 columns, not 3"):
        graph(trees, 3)
    with pytest.raises(ValueError, match="the trees read 0 columns, not 0"):
        graph(drawn(1, trees=0), 0)


@pytest.mark.parametrize("seed", range(3))
def test_models_of_the_libraries(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = random.normal(size=(600, 6)).astype(np.float32)
    columns[:, 4:] = random.integers(0, [8, 60], (600, 2))
    truth = columns[:, 0] * columns[:, 1] + np.sin(columns[:, 5]) + (columns[:, 4] == 3)
    columns[random.random(columns.shape) < 0.1] = np.nan
    classes = np.digitize(truth, [0, 1])
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1, "min_data_per_group": 5}
    boosted = from_lightgbm(
        lightgbm.train(settings, lightgbm.Dataset(columns, classes, categorical_feature=[4, 5]), 20)
    )
    forest = from_forest(ExtraTreesClassifier(20, random_state=seed, min_samples_leaf=2).fit(columns, classes))
    numbers = from_forest(RandomForestRegressor(20, random_state=seed).fit(columns, truth))
    assert (boosted.set_of >= 0).any()
    rows = np.concatenate([columns, np.where(random.random(columns.shape) < 0.1, np.float32(np.inf), columns)])
    for trees in (boosted, forest, numbers, mean_of([boosted, forest]), mean_of([forest, boosted], [1, 3])):
        assert_same(trees, rows)
