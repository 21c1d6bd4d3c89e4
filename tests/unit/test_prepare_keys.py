from __future__ import annotations

import datetime
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.rows.keys import digest, digests, draw_keys, ranks


def test_digests_are_the_first_bytes_of_what_blake2_says() -> None:
    values = ["", "a", "é", "\ud800", 7, None, datetime.date(2026, 1, 2), "7"]
    expected = [
        int.from_bytes(hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        for value in values
    ]
    assert digests(values).view(np.uint64).tolist() == expected
    assert digests(["a", "b\0"]).tolist() == [3405396810240292928, -7909814135960149357]  # in any process, for ever
    assert digests([]).tolist() == [] and digests([]).dtype == np.int64
    assert len(digest("a", 16)) == 16


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.integers(0, 2**64), st.sampled_from(["split"]))
def test_keys_are_those_of_splitmix64(known: list[int], seed: int, purpose: str) -> None:
    """Its published code, step by step: Vigna's splitmix64.c."""
    begin = int.from_bytes(hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest(), "little")
    expected = []
    for step in known:
        z = (begin + step * 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        expected.append(z ^ (z >> 31))
    assert draw_keys(np.array(known, np.int64), seed, "split").tolist() == expected


@pytest.mark.parametrize("known", [np.arange(100_000), digests(range(100_000))], ids=["row numbers", "digests"])
def test_keys_lie_evenly_and_purposes_and_seeds_know_nothing_of_each_other(known: np.ndarray) -> None:
    first = (draw_keys(known, 13, "split") >> np.uint64(60)).astype(np.int64)
    for other in (draw_keys(known, 13, "balance"), draw_keys(known, 14, "split"), draw_keys(known + 1, 13, "split")):
        pairs = np.bincount(first * 16 + (other >> np.uint64(60)).astype(np.int64), minlength=256)
        expected = len(known) / 256
        assert ((pairs - expected) ** 2 / expected).sum() < 350  # chi-squared, 255 degrees: p about 1e-4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30))
def test_ranks_are_what_sorting_says(rows: list[tuple[int, int]]) -> None:
    parts, keys = [part for part, _ in rows], [key for _, key in rows]
    seen: Counter[int] = Counter()
    expected = [0] * len(rows)
    for row in sorted(range(len(rows)), key=lambda row: (keys[row], row)):
        expected[row] = seen[parts[row]]
        seen[parts[row]] += 1
    assert ranks(np.array(parts, np.int64), np.array(keys, np.uint64)).tolist() == expected
