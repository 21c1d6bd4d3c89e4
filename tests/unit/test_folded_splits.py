"""Folds: train and validation cut into equal parts, test as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright.data.rows.splits import TEST, TRAIN, VALIDATION, folded
from lakewright.errors import DataError, ProjectError
from lakewright.settings.project import Project

BASE: dict[str, Any] = {"name": "t", "task": "text_classification", "data": {"columns": {"text": "a", "label": "b"}}}


def split_of(n: int, seed: int) -> Any:
    return np.random.default_rng(seed).choice(np.array([TRAIN, VALIDATION, TEST], dtype=object), n, p=[0.7, 0.15, 0.15])


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 300), st.integers(2, 7), st.integers(0, 99), st.booleans())
def test_each_row_is_validation_once_and_test_stays(n: int, parts: int, seed: int, grouped: bool) -> None:
    draw, split = np.random.default_rng(seed), split_of(n, seed)
    truth = draw.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    groups = draw.integers(0, 25, n) if grouped else None
    ids = draw.integers(0, 2**60, n)
    again = [
        folded(split, part, parts, truth=truth, groups=groups, row_ids=ids, seed=seed) for part in range(1, parts + 1)
    ]
    for each in again:
        assert np.array_equal(each == TEST, split == TEST)
        if groups is not None:
            assert not {*groups[each == VALIDATION]} & {*groups[each == TRAIN]}
    times = np.sum([each == VALIDATION for each in again], axis=0)
    learned = split != TEST
    counts = {name: int(np.sum(truth[learned] == name)) for name in "abc"}
    alone = np.array([counts[name] == 1 for name in truth])
    assert np.array_equal(times, (learned & ~alone).astype(int))
    sizes = [int(np.sum(each == VALIDATION)) for each in again]
    if groups is None:
        assert max(sizes) - min(sizes) <= 1 + int(alone[learned].sum())
        for name in "abc":  # each label in its share
            shares = [int(np.sum(truth[each == VALIDATION] == name)) for each in again]
            assert max(shares) - min(shares) <= 1


def test_the_order_of_rows_does_not_matter() -> None:
    split, ids = split_of(100, 1), np.arange(100)
    order = np.random.default_rng(2).permutation(100)
    one = folded(split, 2, 4, row_ids=ids, seed=3)
    other = folded(split[order], 2, 4, row_ids=ids[order], seed=3)
    assert np.array_equal(one[order], other)
    assert not np.array_equal(one, folded(split, 2, 4, row_ids=ids, seed=4))


def test_a_part_without_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="part 3 of 3 of train and validation has no rows"):
        folded(np.array([TRAIN, VALIDATION, TEST], dtype=object), 3, 3, row_ids=np.arange(3), seed=1)


def test_a_project_without_folds_is_stored_as_before() -> None:
    assert "fold" not in Project.model_validate(BASE).resolved["prepare"]["split"]
    folds = Project.model_validate(BASE | {"prepare": {"split": {"fold": "2/5"}}})
    assert folds.resolved["prepare"]["split"]["fold"] == "2/5"
    for wrong in ({"fold": "6/5"}, {"fold": "1/1"}, {"fold": "0/3"}, {"fold": "2"}, {"fold": "1/3", "method": "time"}):
        with pytest.raises((ProjectError, ValueError)):
            Project.model_validate(BASE | {"prepare": {"split": wrong}})
