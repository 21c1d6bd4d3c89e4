from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lakewright.data.rows.balancing import class_weights, oversample, undersample

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
    taken = oversample(indices, labels, seed)
    times = Counter(taken.tolist())
    assert taken.tolist() == sorted(taken.tolist()) == oversample(indices, np.array(labels), seed).tolist()
    assert set(taken.tolist()) == set(indices.tolist())
    for label, rows in Counter(labels).items():
        mine = [times[10 * i] for i, of in enumerate(labels) if of == label]
        assert sum(mine) == max(Counter(labels).values())
        assert max(mine) - min(mine) <= 1
        assert min(mine) == max(Counter(labels).values()) // rows


@given(labels_of_rows, st.integers(0, 2**32))
def test_undersample_brings_every_label_to_the_rarest(labels: list[str], seed: int) -> None:
    indices = np.arange(len(labels)) * 10
    taken = undersample(indices, labels, seed)
    assert taken.tolist() == sorted(set(taken.tolist())) == undersample(indices, np.array(labels), seed).tolist()
    counts = Counter(labels[i // 10] for i in taken.tolist())
    assert set(counts) == set(labels)
    assert set(counts.values()) == {min(Counter(labels).values())}


def test_another_seed_draws_other_rows() -> None:
    labels = ["a"] * 150 + ["b"] * 100
    for draw in (oversample, undersample):
        assert draw(np.arange(250), labels, 1).tolist() != draw(np.arange(250), labels, 2).tolist()
