"""The fold of a row follows from the row alone, and rows that are one thing share it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lakewright.data.rows.duplicates import identities
from lakewright.data.rows.folds import FOLDS, PARTS, parts_of
from lakewright.data.rows.splits import NO_GROUP, group_numbers

CONTENTS = arrays(np.uint64, st.integers(1, 30))


@given(CONTENTS, st.integers(0, 2**32), st.randoms())
def test_a_row_keeps_its_fold_in_any_company(contents: np.ndarray, seed: int, draw: object) -> None:
    folds = parts_of(contents, None, seed)
    assert [int(parts_of(contents[at : at + 1], None, seed)[0]) for at in range(len(contents))] == folds.tolist()
    assert folds.dtype == np.int16 and folds.min() >= 0 and folds.max() < PARTS


def test_folds_are_of_about_one_size_and_another_seed_draws_others() -> None:
    contents = identities(f"row {i}" for i in range(10_000))["high"]
    folds = parts_of(contents, None, 13) % FOLDS
    assert np.abs(np.bincount(folds, minlength=FOLDS) - 2000).max() < 200
    assert 0.15 < np.mean(folds == parts_of(contents, None, 14) % FOLDS) < 0.25


def test_copies_share_a_fold_and_so_do_rows_of_a_group() -> None:
    contents = identities(["A  dog", "a dog", *(f"other {i}" for i in range(50))])["high"]
    folds = parts_of(contents, None, 13) % FOLDS
    assert folds[0] == folds[1] and len({*folds.tolist()}) == FOLDS
    groups = group_numbers(["x"] * 26 + [None] * 26)
    assert (groups[26:] == NO_GROUP).all()
    grouped = parts_of(contents, groups, 13) % FOLDS
    assert len({*grouped[:26].tolist()}) == 1 and grouped[26:].tolist() == folds[26:].tolist()
