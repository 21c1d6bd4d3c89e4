"""Trees: what they give is what their definition gives, and a file is valid trees or refused."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drawn_trees import WIDTH, arrays, chain, drawn, drawn_rows, margin, shapley
from lakewright.errors import ModelError
from lakewright.model import trees as module
from lakewright.model.trees import FORMAT, MOST_CODE, MOST_DEPTH, Trees

EXACT = 1e-9  # float64 sums of a few hundred numbers below 10, in another order
KINDS: list[dict[str, Any]] = [{}, {"outputs": 3}, {"outputs": 3, "vector": 2}, {"outputs": 3, "vector": 3}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(15))
def test_margins_are_those_of_the_definition(seed: int, kind: dict[str, Any]) -> None:
    trees, rows = drawn(seed, **kind), drawn_rows(seed, 60)
    np.testing.assert_allclose(trees.margins(rows), [margin(trees, row) for row in rows], atol=EXACT)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_contributions_are_shapley_values(seed: int, kind: dict[str, Any]) -> None:
    trees, rows = drawn(seed, depth=6, **kind), drawn_rows(seed, 4)
    values = trees.contributions(rows)
    np.testing.assert_allclose(values, [shapley(trees, row) for row in rows], atol=EXACT)
    np.testing.assert_allclose(values.sum(axis=2), trees.margins(rows), atol=EXACT)


def test_contributions_of_columns_that_no_node_reads_are_0() -> None:
    rows = np.concatenate([drawn_rows(1, 5), np.full((5, 3), np.nan, np.float32)], axis=1)
    values = drawn(1).contributions(rows)
    assert values.shape == (5, 1, WIDTH + 3 + 1)
    assert (values[:, :, WIDTH:-1] == 0).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_has_the_same_values_alone_and_among_others(kind: dict[str, Any], monkeypatch: Any) -> None:
    trees, rows = drawn(5, trees=80, **kind), drawn_rows(5, 300)
    margins, values = trees.margins(rows), trees.contributions(rows[:100])
    for i in range(100):
        assert (trees.margins(rows[i : i + 1]) == margins[i]).all()
        assert (trees.contributions(rows[i : i + 1]) == values[i]).all()
    monkeypatch.setattr(module, "_ENTRIES", 1000)  # rows in parts, and trees in parts
    monkeypatch.setattr(module, "_FACTORS", 1000)
    monkeypatch.setattr(module, "_CACHED", 0)
    monkeypatch.setattr(module, "_STEPS", 50)
    parts = Trees(**arrays(trees))
    assert (parts.margins(rows) == margins).all()
    np.testing.assert_allclose(parts.contributions(rows[:10]), values[:10], atol=EXACT)  # other blocks, other sums


@pytest.mark.parametrize("depth", [1, 2, 37, 300])
def test_long_paths(depth: int) -> None:
    trees = chain(depth)
    rows = np.array([[-1], [0], [depth - 1.5], [depth - 1], [depth], [np.nan]], np.float32)
    leaves = [0, 0, max(0, depth - 1), depth - 1, depth, depth]
    assert trees.margins(rows)[:, 0].tolist() == leaves
    np.testing.assert_allclose(trees.contributions(rows)[:, 0].sum(axis=1), leaves, atol=EXACT * depth)


def test_paths_of_many_columns() -> None:
    """Half of the cover leaves at each of 60 nodes, each of another column, and only the last leaf has a weight: the
    columns are symmetric and share what the row has beyond the mean. 60 columns need 30 points."""
    parts = arrays(chain(60)) | {"feature": np.arange(60, dtype=np.int32), "threshold": np.zeros(60, np.float32)}
    weights, halves = np.zeros((61, 1)), 0.5 ** np.append(np.arange(1.0, 61), 60)
    weights[-1] = 1
    trees = Trees(**parts | {"leaf_weight": weights, "leaf_cover": halves})
    values = trees.contributions(np.ones((1, 60), np.float32))[0, 0]
    np.testing.assert_allclose(values[:60], 1 / 60, atol=EXACT)
    np.testing.assert_allclose(values[60], 0.5**60, rtol=EXACT)


def test_no_trees_and_no_rows() -> None:
    empty = drawn(0, trees=0, outputs=2)
    assert (empty.margins(drawn_rows(0, 3)) == empty.base).all()
    assert (empty.contributions(drawn_rows(0, 3))[:, :, -1] == empty.base).all()
    assert drawn(1).margins(drawn_rows(0, 0)).shape == (0, 1)
    assert drawn(1).contributions(drawn_rows(0, 0)).shape == (0, 1, WIDTH + 1)


def test_the_largest_code() -> None:
    sets = {"set_of": np.zeros(1, np.int32), "set_codes": np.array([0, MOST_CODE], np.int32)}
    trees = Trees(**arrays(chain(1)) | sets | {"set_offsets": np.array([0, 2])})
    codes = np.array([[0], [MOST_CODE], [MOST_CODE + 1], [MOST_CODE - 1], [-1], [-0.0], [0.5], [-0.5]], np.float32)
    assert trees.margins(codes)[:, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_memory_does_not_grow_with_the_rows() -> None:
    trees, rows = drawn(2, trees=50, depth=6), drawn_rows(2, 4_000)
    trees.contributions(rows[:1])
    tracemalloc.start()
    result = trees.contributions(rows), trees.margins(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - sum(each.nbytes for each in result) < 64 << 20  # all rows at once would need 830 MiB


def test_columns_that_do_not_fit_are_refused() -> None:
    trees = drawn(1)
    with pytest.raises(ModelError, match="the trees read 4 columns, but the recipe gives 3"):
        trees.margins(drawn_rows(1, 2)[:, :3])
    with pytest.raises(ModelError, match="the trees read 4 columns"):
        trees.contributions(drawn_rows(1, 2)[:, :3])
    with pytest.raises(ValueError, match="must be float32"):
        trees.margins(drawn_rows(1, 2).astype(np.float64))  # type: ignore[arg-type]


def test_import_needs_numpy_alone() -> None:
    heavy = {"safetensors", "onnx", "onnxruntime", "lightgbm", "xgboost", "sklearn", "scipy", "torch", "pandas"}
    code = f"import sys, lakewright.model.trees; print(sorted({heavy} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), trees=st.integers(0, 6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_holds_all_of_it(seed: int, kind: dict[str, Any], trees: int, tmp_path: Path) -> None:
    path, again = tmp_path / "trees.safetensors", tmp_path / "again.safetensors"
    written = drawn(seed, trees=trees, **kind)
    written.save(path)
    opened = Trees.open(path)
    for name, array in arrays(written).items():
        np.testing.assert_array_equal(getattr(opened, name), array)
    opened.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("trees") / "trees.safetensors"
    drawn(7, outputs=2).save(path)
    return path.read_bytes()


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_valid(data: st.DataObject, content: bytes, tmp_path: Path) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[
        : data.draw(st.sampled_from([len(damaged), len(damaged), data.draw(st.integers(0, len(damaged)))]))
    ]
    path = tmp_path / "trees.safetensors"
    path.write_bytes(damaged)
    try:
        trees = Trees.open(path)
    except ModelError as failure:
        assert str(path) in failure.cause and failure.remedy
        return
    columns = np.zeros((2, min(trees.width, 1000)), np.float32)
    if trees.width <= 1000:
        with np.errstate(all="ignore"):
            assert trees.margins(columns).shape == (2, trees.outputs)
            trees.contributions(columns)


def set_to(name: str, place: Any, value: Any) -> Any:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name][place] = value

    return change


def replaced(name: str, by: Any) -> Any:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name] = by(arrays[name])

    return change


HOSTILE = {
    "a child beyond the nodes": (set_to("left", 0, 10_000), "neither one of"),
    "a child beyond the leaves": (set_to("right", 0, -10_000), "neither one of"),
    "the smallest integer": (set_to("right", 0, -(2**31)), "neither one of"),
    "a circle of one": (set_to("left", 1, 1), "no parent, or more than one"),
    "a circle back to the root": (set_to("right", 1, 0), "no parent, or more than one"),
    "two parents of one node": (set_to("left", 0, 2), "no parent, or more than one"),
    "a root inside a tree": (set_to("root", 0, 1), "no parent, or more than one"),
    "one root twice": (set_to("root", 1, 0), "no parent, or more than one"),
    "a threshold of NaN": (set_to("threshold", 0, np.nan), "a threshold is NaN"),
    "a weight of infinity": (set_to("leaf_weight", 0, np.inf), "not finite"),
    "a base of NaN": (set_to("base", 0, np.nan), "not finite"),
    "a cover below 0": (set_to("leaf_cover", 0, -1), "a cover is negative"),
    "a cover of NaN": (set_to("leaf_cover", 0, np.nan), "a cover is negative or not finite"),
    "covers whose sum is infinite": (set_to("leaf_cover", slice(None), 1e308), "a cover is negative or not finite"),
    "covers of 0": (set_to("leaf_cover", slice(None), 0), "all covers of a tree are 0"),
    "a column below 0": (set_to("feature", 0, -1), "a column below 0"),
    "a set that is not there": (set_to("set_of", 0, 10_000), "a set that is not one of"),
    "a set below -1": (set_to("set_of", 0, -2), "a set that is not one of"),
    "a code below 0": (set_to("set_codes", 0, -1), "a category's code is not in"),
    "a code above all": (set_to("set_codes", -1, MOST_CODE + 1), "a category's code is not in"),
    "a set out of order": (set_to("set_codes", 1, 0), "do not ascend"),
    "offsets that descend": (set_to("set_offsets", 1, 10**12), "do not divide"),
    "offsets that begin late": (set_to("set_offsets", 0, 1), "do not divide"),
    "no offsets": (replaced("set_offsets", lambda a: a[:0]), "do not divide"),
    "an output beyond all": (set_to("output", 0, 1), "an output that is not one of"),
    "an output below 0": (set_to("output", 0, -1), "an output that is not one of"),
    "no outputs": (replaced("base", lambda a: a[:0]), "a leaf holds 1 numbers for 0 outputs"),
    "leaves of nothing": (replaced("leaf_weight", lambda a: a[:, :0]), "a leaf holds 0 numbers"),
    "fewer thresholds": (replaced("threshold", lambda a: a[:-1]), "differ in length"),
    "fewer covers": (replaced("leaf_cover", lambda a: a[:-1]), "leaves have weights"),
    "fewer roots": (replaced("root", lambda a: a[:-1]), "differ in length"),
    "floats as children": (replaced("left", lambda a: a.astype(np.float32)), "left is float32"),
    "double thresholds": (replaced("threshold", lambda a: a.astype(np.float64)), "threshold is float64"),
    "half thresholds": (replaced("threshold", lambda a: a.astype(np.float16)), "threshold is float16"),
    "two dimensions": (replaced("feature", lambda a: a[:, None]), "of 2 dimensions"),
    "a bare number": (replaced("base", lambda a: np.array(1.0)), "of 0 dimensions"),
    "a truth value of 2": (
        replaced("missing_left", lambda a: np.full(len(a), 2, np.uint8).view(np.bool_)),
        "neither 0",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    change, cause = HOSTILE[name]
    parts = arrays(drawn(7))
    change(parts)
    write(tmp_path / "trees.safetensors", parts)
    with pytest.raises(ModelError, match=cause) as refusal:
        Trees.open(tmp_path / "trees.safetensors")
    assert "register or download the model again" in refusal.value.remedy


def write(path: Path, arrays: dict[str, NDArray[Any]], form: str = FORMAT) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata={"format": form})


def test_children_before_their_parents_are_refused(tmp_path: Path) -> None:
    """Two nodes that are each other's child have one parent each, and no root leads to them."""
    parts = arrays(chain(3))
    parts |= {"right": np.array([~3, 2, 1], np.int32)}
    parts["left"][0] = ~0
    write(tmp_path / "trees.safetensors", parts)
    with pytest.raises(ModelError, match="a node stands before its parent"):
        Trees.open(tmp_path / "trees.safetensors")


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    chain(MOST_DEPTH)
    with pytest.raises(ValueError, match="deeper than 4096"):
        chain(MOST_DEPTH + 1)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path, parts = tmp_path / "trees.safetensors", arrays(drawn(7))
    with pytest.raises(ModelError, match="does not hold valid trees"):
        Trees.open(path)
    for written in (b"", b"{}", b"PK\x03\x04" * 20, b"\xff" * 100):
        path.write_bytes(written)
        with pytest.raises(ModelError, match="does not hold valid trees"):
            Trees.open(path)
    write(path, parts, "lakewright trees 2")
    with pytest.raises(ModelError, match="its format is not"):
        Trees.open(path)
    write(path, parts | {"more": np.zeros(1)})
    with pytest.raises(ModelError, match="its arrays are not those of trees"):
        Trees.open(path)
    del parts["base"]
    write(path, parts)
    with pytest.raises(ModelError, match="its arrays are not those of trees"):
        Trees.open(path)


def test_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    import json

    path = tmp_path / "trees.safetensors"
    write(path, arrays(drawn(7)))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    for dtype in ("BF16", "F8_E4M3"):
        header = json.loads(content[8 : 8 + size])
        header["base"] |= {"dtype": dtype, "shape": [8 // (2 if dtype == "BF16" else 1)]}
        changed = json.dumps(header).encode()
        path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + size :])
        with pytest.raises(ModelError, match="does not hold valid trees"):
            Trees.open(path)
