from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lakewright.data.rows.balancing import class_weights, oversample, undersample, undersampled_weights
from lakewright.data.rows.keys import draw_keys

labels_of_rows = st.lists(st.sampled_from("aaaaabbc"), min_size=1, max_size=60)


@given(labels_of_rows)
def test_class_weights_are_those_of_scikit_learn(labels: list[str]) -> None:
    classes = np.unique(labels)
    expected = compute_class_weight("balanced", classes=classes, y=labels)
    assert class_weights(labels) == pytest.approx(dict(zip(classes.tolist(), expected.tolist(), strict=True)))
    assert np.mean([class_weights(labels)[label] for label in labels]) == pytest.approx(1)


@given(labels_of_rows, st.integers(0, 2**32))
def test_oversample_brings_every_label_to_the_largest(labels: list[str], seed: int) -> None:
    indices = np.arange(len(labels)) * 10
    keys = draw_keys(indices, seed, "balance")
    taken = oversample(indices, labels, keys)
    times = Counter(taken.tolist())
    assert taken.tolist() == sorted(taken.tolist()) == oversample(indices, np.array(labels), keys).tolist()
    assert set(taken.tolist()) == set(indices.tolist())
    for label, rows in Counter(labels).items():
        mine = sorted((key, times[10 * i]) for i, (of, key) in enumerate(zip(labels, keys, strict=True)) if of == label)
        by_key = [count for _, count in mine]
        assert sum(by_key) == max(Counter(labels).values())
        assert by_key == sorted(by_key, reverse=True)  # the smallest keys are those that stand once more
        assert by_key[0] - by_key[-1] <= 1
        assert by_key[-1] == max(Counter(labels).values()) // rows


@given(labels_of_rows, st.integers(0, 2**32))
def test_undersample_brings_every_label_to_the_rarest(labels: list[str], seed: int) -> None:
    indices = np.arange(len(labels)) * 10
    keys = draw_keys(indices, seed, "balance")
    taken = undersample(indices, labels, keys)
    assert taken.tolist() == sorted(set(taken.tolist())) == undersample(indices, np.array(labels), keys).tolist()
    rarest = min(Counter(labels).values())
    for label in set(labels):
        mine = sorted((key, 10 * i) for i, (of, key) in enumerate(zip(labels, keys, strict=True)) if of == label)
        assert {row for _, row in mine[:rarest]} == {row for _, row in mine} & set(taken.tolist())


@given(labels_of_rows, st.integers(0, 2**32))
def test_the_weights_of_undersampled_rows_keep_the_frequencies(labels: list[str], seed: int) -> None:
    indices = np.arange(len(labels))
    kept = np.isin(indices, undersample(indices, labels, draw_keys(indices, seed, "balance")))
    weights = undersampled_weights(labels, kept)
    for label, rows in Counter(labels).items():
        own = np.array(labels) == label
        assert weights[kept & own].sum() == pytest.approx(rows, rel=1e-6)
        assert len(set(weights[kept & own].tolist())) == 1


def test_another_seed_draws_other_rows() -> None:
    labels, rows = ["a"] * 150 + ["b"] * 100, np.arange(250)
    for draw in (oversample, undersample):
        one, other = (draw(rows, labels, draw_keys(rows, seed, "balance")).tolist() for seed in (1, 2))
        assert one != other


def test_the_rows_that_stay_are_not_those_that_the_split_would_have_taken_next() -> None:
    """Of what the split left to train, balancing takes rows with large and small keys of the split alike."""
    rows, labels = np.arange(20_000), np.repeat(["a", "b"], [15_000, 5_000])
    of_split = draw_keys(rows, 13, "split")
    taken = undersample(rows, labels, draw_keys(rows, 13, "balance"))
    taken = taken[taken < 15_000]
    above = np.sum(of_split[taken] > np.median(of_split[:15_000]))
    assert above == pytest.approx(2500, abs=150)  # five standard deviations and more


def test_rows_that_are_added_change_few_draws() -> None:
    labels = np.random.default_rng(0).choice(["a", "b", "c"], 10_100, p=[0.6, 0.3, 0.1])
    rows = np.arange(10_100)
    keys = draw_keys(rows, 13, "balance")
    for draw in (oversample, undersample):
        before, after = (np.bincount(draw(rows[:n], labels[:n], keys[:n]), minlength=10_100) for n in (10_000, 10_100))
        assert np.mean(before[:10_000] != after[:10_000]) < 0.02
