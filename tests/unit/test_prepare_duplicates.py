from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakewright.data.rows.duplicates import codes, drop_duplicates, find_duplicates, normalise
from lakewright.errors import UsageError


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("  Fracture\tof \n the KNEE ", "fracture of the knee"),
        ("ﬁne\u00a0Straße", "fine strasse"),
        ("Ａｂｃ", "abc"),
        ("É", "é"),  # two code points become one
        ("㎒", "mhz"),
        ("", ""),
        (" \u3000\n", ""),
    ],
)
def test_normalise(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_normalising_any_character_twice_changes_nothing() -> None:
    changing = [c for c in range(sys.maxunicode + 1) if normalise(once := normalise(f"a{chr(c)}")) != once]
    assert changing == []


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_shortcut_is_what_unicode_says(text: str) -> None:
    assert normalise(text) == normalise(text + "é")[:-1].rstrip()


@given(st.lists(st.sampled_from("abcd")))
def test_codes_count_up_as_values_first_stand(values: list[str]) -> None:
    distinct = list(dict.fromkeys(values))
    assert codes(values).tolist() == [distinct.index(value) for value in values]
    assert codes(np.array(values, dtype=str)).tolist() == codes(values).tolist()


def test_find_duplicates() -> None:
    texts = ["A cold", "flu", "a  COLD", "flu", "fever", "Flu", "flu"]
    truths = ["x", "y", "z", "y", "x", "y", "y"]
    found = find_duplicates(texts, truths)
    assert found.exact.tolist() == [3, 6]
    assert found.normalised.tolist() == [2, 3, 5, 6]
    assert found.conflicting.tolist() == [0, 2]
    assert found.group_of_row.tolist() == [0, 1, 0, 1, 2, 1, 1]


def test_truths_need_not_be_labels() -> None:
    texts = ["a b", "A B", "a b"]
    assert find_duplicates(texts, [("O", "O"), ("O", "B-X"), ("O", "O")]).conflicting.tolist() == [0, 1, 2]
    assert find_duplicates(texts, None).conflicting.tolist() == []


def test_no_texts() -> None:
    found = find_duplicates([], [])
    assert [len(rows) for rows in (found.exact, found.normalised, found.conflicting, found.group_of_row)] == [
        0,
        0,
        0,
        0,
    ]
    assert drop_duplicates(found.group_of_row, np.array([], dtype=str)).tolist() == []


@given(st.lists(st.tuples(st.sampled_from(["a", "A", "a ", "b", "B", "ß", "ss"]), st.sampled_from("xy"))))
def test_find_duplicates_is_what_comparing_all_pairs_finds(rows: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in rows]
    same = [[j for j in range(len(rows)) if normalise(texts[j]) == normalise(texts[i])] for i in range(len(rows))]
    found = find_duplicates(texts, [truth for _, truth in rows])
    assert found.exact.tolist() == [i for i, text in enumerate(texts) if text in texts[:i]]
    assert found.normalised.tolist() == [i for i in range(len(rows)) if same[i][0] < i]
    assert found.conflicting.tolist() == [i for i in range(len(rows)) if len({rows[j][1] for j in same[i]}) > 1]


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["train", "validation", "test"]))))
@example([(0, "train"), (0, "test"), (0, "test"), (1, "train"), (1, "validation"), (1, "validation")])
def test_a_text_stays_in_one_split(rows: list[tuple[int, str]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    split = np.array([name for _, name in rows], dtype="<U10")
    keep = drop_duplicates(groups, split)
    kept = [row for row, stays in zip(rows, keep, strict=True) if stays]
    assert {group for group, _ in kept} == {group for group, _ in rows}
    for group in {group for group, _ in rows}:
        stood = {name for of, name in rows if of == group}
        best = next(name for name in ("test", "validation", "train") if name in stood)
        mine = [i for i, row in enumerate(rows) if row == (group, best)]
        expected = mine if best == "test" else mine[:1]
        assert [i for i in np.flatnonzero(keep).tolist() if rows[i][0] == group] == expected


def test_without_splits_the_first_row_of_each_text_stays() -> None:
    groups = np.array([0, 1, 0, 2, 1])
    assert drop_duplicates(groups, np.full(5, "train")).tolist() == [True, True, False, True, False]


def test_a_split_without_priority_is_refused() -> None:
    with pytest.raises(UsageError, match="'holdout'"):
        drop_duplicates(np.array([0, 1]), np.array(["train", "holdout"]))


def test_many_rows() -> None:
    numbers = np.random.default_rng(0).integers(0, 60_000, 100_000).tolist()
    found = find_duplicates([f"Row  number {i}" if i % 2 else f"Zeile №{i}" for i in numbers], None)
    assert len(found.normalised) == len(numbers) - len(set(numbers))
    assert found.group_of_row.tolist() == codes(numbers).tolist()
