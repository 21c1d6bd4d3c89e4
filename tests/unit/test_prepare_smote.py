"""Synthetic rows: hand-made cases, and what the paper and imbalanced-learn promise of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lakewright.data.rows import smote
from lakewright.data.rows.balancing import prior_shift
from lakewright.data.rows.objects import Objects
from lakewright.data.rows.smote import NEIGHBORS, synthetic
from lakewright.learning.learners import Examples
from lakewright.learning.synthetic import categories_of, to_add, with_synthetic
from lakewright.model.recipe import Column
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged

NAN = float("nan")


def made_of(columns: Any, labels: Any, categories: Any = (), seed: int = 13) -> tuple[Any, Any]:
    return synthetic(np.array(columns, np.float32), np.array(labels), categories, np.arange(len(labels)), seed)


def nearest_by_hand(
    rows: np.ndarray[Any, Any], every: np.ndarray[Any, Any], categories: Any, at: int
) -> list[tuple[float, int]]:
    """The other rows of the label, (distance², place), the nearest first: the definition, one number at a time."""
    placed = [place for each in categories for place in each]
    numbers = [place for place in range(rows.shape[1]) if place not in placed]
    scale = {}
    for place in numbers:
        known = every[:, place][~np.isnan(every[:, place])].astype(float)
        scale[place] = (known.std() if len(known) else 0) or 1
    own = [np.nanstd(rows[:, p].astype(float)) / scale[p] if (~np.isnan(rows[:, p])).any() else 0 for p in numbers]
    penalty = (float(np.median(own)) if own else 0) or 1
    found = []
    for other in range(len(rows)):
        if other == at:
            continue
        total = 0.0
        for place in numbers:
            a, b = float(rows[at, place]), float(rows[other, place])
            if np.isnan(a) and np.isnan(b):
                continue
            total += penalty**2 if np.isnan(a) or np.isnan(b) else ((a - b) / scale[place]) ** 2
        for each in categories:
            alike = all(np.array_equal(rows[at, p], rows[other, p], equal_nan=True) for p in each)
            total += 0 if alike else penalty**2
        found.append((total, other))
    return sorted(found)


def test_two_rows_make_points_on_the_line_between_them() -> None:
    made, labels = made_of([[0, 0], [4, 8], [9, 9], [9, 8], [8, 9], [8, 8], [7, 9], [9, 7]], list("aabbbbbb"))
    assert labels.tolist() == ["a"] * 4
    assert np.allclose(made[:, 1], 2 * made[:, 0]) and (made[:, 0] >= 0).all() and (made[:, 0] <= 4).all()
    assert len({*made[:, 0].tolist()}) == 4  # each its own share of the way


def test_a_far_row_of_the_same_label_is_no_neighbour() -> None:
    """Six rows about 0 and six about 100: with five neighbours, no row lies between the two."""
    near = [[each] for each in (0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104, 105)]
    made, labels = made_of([*near, *[[50]] * 60], ["rare"] * 12 + ["often"] * 60)
    assert len(made) == 48 and set(labels) == {"rare"}
    assert (((made >= 0) & (made <= 5)) | ((made >= 100) & (made <= 105))).all()


def test_the_largest_labels_stay_as_they_are() -> None:
    made, labels = made_of([[1], [2], [3], [4]], [0, 0, 1, 1])
    assert made.shape == (0, 1) and made.dtype == np.float32 and labels.shape == (0,)


def test_the_category_is_that_of_most_neighbours_and_of_equals_that_of_the_nearest() -> None:
    """SMOTE-NC: not of the row itself, whose category no other row of the label has."""
    often = [[0.0, 0.0]] * 6
    rows = [[0.0, 7.0], [0.1, 1.0], [0.2, 2.0], [0.3, 2.0], [0.4, 1.0], [0.5, 2.0]]
    made, _ = made_of([*rows, *often, *often], [0] * 6 + [1] * 12, [[1]])
    assert made[0, 1] == 2.0  # three of five
    tied = [[0.0, 7.0], [0.1, 1.0], [0.2, 2.0], [0.3, 2.0], [0.4, 1.0]]
    made, _ = made_of([*tied, *often, *often], [0] * 5 + [1] * 12, [[1]])
    assert made[0, 1] == 1.0  # two of four each, and that of the nearest first


def test_a_category_that_differs_counts_as_the_median_deviation() -> None:
    """Deviations of the label are 1/2 and 3/2 of all rows' (median 1): a category that differs is 1 away."""
    rows = np.array([[0, 0, 0], [0, 0.9, 1], [0, 1.05, 0], [0, 20, 0], [0, 21, 1]], np.float32)
    near = [place for _, place in nearest_by_hand(rows, rows, [[2]], 0)]
    codes = np.unique(rows[:, 2], return_inverse=True)[1][None].astype(np.int32)
    deviations = np.array([1.0, float(rows[:, 1].std())])
    found = smote._nearest((rows[:, :2].T / deviations[:, None]).astype(np.float64), codes, np.arange(5))
    assert found[0].tolist() == near and near[0] == 2  # 1.05 and alike is nearer than 0.9 and another


def test_a_missing_number_stays_missing_where_both_lack_it_alone() -> None:
    made, _ = made_of([[0, NAN, 5], [1, NAN, NAN], *[[9, 9, 9]] * 6], list("aabbbbbb"))
    assert np.isnan(made[:, 1]).all() and (made[:, 2] == 5).all()


def test_a_missing_code_votes_as_a_value() -> None:
    made, _ = made_of([[0, 1], [1, NAN], [2, NAN], [3, NAN], *[[9, 9]] * 8], [0] * 4 + [1] * 8, [[1]])
    assert np.isnan(made[:, 1]).all()


def test_rows_without_numbers_and_great_ones() -> None:
    made, _ = made_of([[1, 0], [1, 1], [0, 1], *[[0, 0]] * 5], [0] * 3 + [1] * 5, [[0], [1]])
    assert {*made.ravel().tolist()} <= {0.0, 1.0} and len(made) == 2
    great = float(np.finfo(np.float32).max)
    made, _ = made_of([[-great], [great], [0], *[[0]] * 9], [0] * 3 + [1] * 9)
    assert np.isfinite(made).all() and len(made) == 6


def test_one_row_has_no_neighbour() -> None:
    with pytest.raises(ValueError, match="'rare' has 1 row"):
        made_of([[1], [2], [3]], ["rare", "often", "often"])


tables = st.integers(2, 30).flatmap(
    lambda rows: st.tuples(
        hnp.arrays(
            np.float32, (rows, 3), elements=st.floats(-1e6, 1e6, width=32) | st.just(NAN) | st.sampled_from([0.0, 1.0])
        ),
        hnp.arrays(np.float32, (rows, 2), elements=st.sampled_from([0.0, 1.0, 2.0, NAN])),
        hnp.arrays(np.int32, rows, elements=st.sampled_from([0, 0, 0, 1, 1, 2])),
        st.integers(0, 2**32),
    )
)
GROUPS = [[3], [4]]


@given(tables, st.sampled_from([1, 7, 1 << 18]))
def test_what_holds_for_all_rows(table: Any, pairs: int) -> None:
    numbers, codes, labels, seed = table
    columns = np.hstack([numbers, codes])
    counts = Counter(labels.tolist())
    most = max(counts.values())
    labels = np.where([counts[each] < 2 <= most for each in labels.tolist()], max(counts, key=lambda c: counts[c]),
                      labels)  # fmt: skip
    counts = Counter(labels.tolist())
    before, usual = columns.copy(), smote._PAIRS
    try:
        made, of_made = made_of(columns, labels, GROUPS, seed)
        smote._PAIRS = pairs
        again, _ = made_of(columns, labels, GROUPS, seed)
    finally:
        smote._PAIRS = usual
    assert np.array_equal(made, again, equal_nan=True), "the blocks change nothing"
    assert np.array_equal(columns, before, equal_nan=True) and made.dtype == np.float32
    most = max(counts.values())
    assert Counter([*labels.tolist(), *of_made.tolist()]) == dict.fromkeys(counts, most)
    for row, label in zip(made, of_made, strict=True):
        own = columns[labels == label]
        assert any(_is_between(row, own, columns, at) for at in range(len(own)))


def _is_between(row: Any, own: Any, columns: Any, at: int) -> bool:
    """Whether the row lies between this one and a near one, and its categories are those that most near ones have."""
    distances = nearest_by_hand(own, columns, GROUPS, at)
    limit = distances[min(NEIGHBORS, len(distances)) - 1][0] * (1 + 1e-9) + 1e-9
    near = [other for distance, other in distances if distance <= limit]  # all that rounding may take as near
    for group in GROUPS:
        place = group[0]
        if not any(np.array_equal(row[place], own[other, place], equal_nan=True) for other in near):
            return False
    for other in near:
        shares = []
        for place in range(3):
            begin, end, value = float(own[at, place]), float(own[other, place]), float(row[place])
            if np.isnan(begin) or np.isnan(end) or begin == end:
                if not np.array_equal(value, end if np.isnan(begin) else begin, equal_nan=True):
                    break
            elif not min(begin, end) <= value <= max(begin, end):
                break
            else:  # float32 rounds the value, and so the share
                room = abs(np.spacing(np.float32(value))) / abs(end - begin)
                shares.append(((value - begin) / (end - begin), room + 1e-12))
        else:
            if all(abs(one - two) <= a + b for one, a in shares for two, b in shares):
                return True
    return False


def test_a_rows_draws_depend_on_itself_alone() -> None:
    """Far rows of its label and rows of others change nothing about what is made of the first six."""
    cluster, far = [[0], [1], [2.5], [4.5], [7], [10]], [[1000 + each] for each in range(6)]
    few = np.array([*cluster, *[[50]] * 24], np.float32)
    one, _ = synthetic(few, np.array([0] * 6 + [1] * 24), [], np.arange(30), 13)
    many = np.array([*cluster, *far, *[[50]] * 48], np.float32)
    numbers = np.array([*range(6), *range(100, 106), *range(6, 54)])
    other, _ = synthetic(many, np.array([0] * 12 + [1] * 48), [], numbers, 13)
    assert np.array_equal(one, other[:18])
    assert not np.array_equal(one, synthetic(few, np.array([0] * 6 + [1] * 24), [], np.arange(30), 14)[0])


COLUMNS = (
    Column("age", "age"),
    Column("place", "place", ("north", "south")),
    Column("kind = a", "kind"),
    Column("kind = b", "kind"),
    Column("truth", "truth"),
    Column("perhaps", "perhaps"),
    Column("never", "never"),
)


def test_which_columns_are_categories() -> None:
    encoded = np.array(
        [[1.5, 0, 1, 0, 1, NAN, NAN], [2, 1, 0, 1, 0, 1, NAN], [0, NAN, 0, 0, 0, 0, NAN]], dtype=np.float32
    )
    assert sorted(categories_of(COLUMNS, encoded)) == [[1], [2, 3], [4], [5]]


def test_examples_are_followed_by_synthetic_ones() -> None:
    draw = np.random.default_rng(0)
    kind = draw.integers(0, 3, 60)
    encoded = np.column_stack([draw.normal(size=60), draw.integers(0, 2, 60), kind == 0, kind == 1]).astype(np.float32)
    targets = (np.arange(60) % 5 == 0).astype(np.int32)
    truths = np.where(targets, "yes", "no").tolist()
    rows = [{"age": float(each[0]), "kind": "x"} for each in encoded]
    examples = Examples(
        Encoded.of_columns(encoded),
        Ragged(targets, np.arange(61)),
        np.ones(60, np.float32),
        Objects(pa.chunked_array([rows])),
        Objects(pa.chunked_array([truths])),
    )
    ids = Objects(pa.chunked_array([[f"r{row}" for row in range(60)]]))
    more = with_synthetic(examples, COLUMNS[:4], ids, 13)
    assert len(more) == len(more.encoded) == len(more.targets) == len(more.weights) == len(more.truths) == 96
    assert to_add(Counter(truths)) == {"yes": 36} and Counter(more.truths) == {"yes": 48, "no": 48}
    assert more.encoded.columns is not None
    assert np.array_equal(more.encoded.columns[:60], encoded) and list(more.rows)[:60] == rows
    assert more.rows[95] == {"age": None, "kind": None} and list(more.truths)[60:] == ["yes"] * 36
    assert more.targets.values[60:].tolist() == [1] * 36 and more.weights.tolist() == [1.0] * 96
    marks = more.encoded.columns[60:, 2:]
    assert {*marks.ravel().tolist()} <= {0.0, 1.0} and (marks.sum(axis=1) <= 1).all()
    again = with_synthetic(examples, COLUMNS[:4], ids, 13)
    assert np.array_equal(again.encoded.columns, more.encoded.columns)  # type: ignore[arg-type]
    part = more.take(np.array([95, 0]))
    assert list(part.truths) == ["yes", truths[0]] and len(part) == 2


def test_the_shift_brings_back_the_prior() -> None:
    """Saerens et al., equation 2.4: p'(c) ∝ p(c) · share in train / share when balanced."""
    counts = {"a": 700, "b": 200, "c": 100}
    shift = np.array(prior_shift(counts, ["c", "a", "b"]))
    balanced = np.array([0.5, 0.3, 0.2])
    corrected = np.exp(np.log(balanced) + shift)
    expected = balanced * np.array([0.1, 0.7, 0.2]) / (1 / 3)
    assert corrected / corrected.sum() == pytest.approx(expected / expected.sum())
    assert prior_shift({"a": 5, "b": 5}, ["a", "b"]) == [0.0, 0.0]
