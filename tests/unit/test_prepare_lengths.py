from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.rows.lengths import histogram, suggest_max_length, summary
from lakewright.errors import DataError

lengths_of_rows = st.lists(st.integers(0, 2000), min_size=1, max_size=200)


def test_summary() -> None:
    assert summary(np.arange(1, 101)) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert summary(np.array([7])) == {"p50": 7, "p90": 7, "p99": 7, "max": 7}
    assert summary(np.array([3, 9], dtype=np.int32)) == {"p50": 3, "p90": 9, "p99": 9, "max": 9}


@given(lengths_of_rows, st.integers(8, 1024))
def test_the_suggested_length_is_the_least_that_holds_the_rows(lengths: list[int], model_max: int) -> None:
    suggested = suggest_max_length(np.array(lengths), model_max)
    limit = min(model_max, 256)
    held = np.mean(np.array(lengths) <= suggested)
    assert suggested <= limit
    assert held >= 0.995 or suggested == limit
    if 0 < suggested < limit:
        assert suggested % 8 == 0
        assert np.mean(np.array(lengths) <= suggested - 8) < 0.995


def test_suggested_length() -> None:
    lengths = np.array([20] * 995 + [400] * 5)
    assert suggest_max_length(lengths, model_max=512) == 24
    assert suggest_max_length(np.array([24]), model_max=512) == 24
    assert suggest_max_length(np.array([600]), model_max=512) == 256
    assert suggest_max_length(np.array([600]), model_max=512, cap=512) == 512
    assert suggest_max_length(np.array([600]), model_max=100) == 100


@given(lengths_of_rows, st.integers(1, 50))
def test_histogram_counts_every_row_once(lengths: list[int], bins: int) -> None:
    counted = histogram(np.array(lengths), bins)
    assert 1 <= len(counted) <= bins
    assert len({high - low for low, high, _ in counted}) == 1
    assert all(low == high + 1 for (_, high, _), (low, _, _) in pairwise(counted))
    for low, high, rows in counted:
        assert rows == sum(low <= length <= high for length in lengths)
    assert sum(rows for _, _, rows in counted) == len(lengths)


def test_no_rows() -> None:
    for measure in (summary, histogram, lambda lengths: suggest_max_length(lengths, 512)):
        with pytest.raises(DataError, match="no rows"):
            measure(np.array([], dtype=np.int64))
