from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.rows import quality
from lakewright.data.rows.contents import of_texts
from lakewright.data.rows.duplicates import codes, drop_duplicates, find_duplicates, identities
from lakewright.data.rows.kinds import missing
from lakewright.data.rows.quality import Noticed
from lakewright.data.rows.usable import Usable
from lakewright.errors import DataError
from lakewright.model.tasks.classification import TextClassificationColumns
from lakewright.model.tasks.multilabel import MultilabelColumns
from lakewright.model.tasks.tagging import TokenClassificationColumns
from lakewright.records import Finding
from lakewright.settings.sections import Columns

COLUMNS = TextClassificationColumns(text="description", label="chapter", id="code")


def check_columns(
    texts: Sequence[str | None],
    truths: Sequence[Any],
    ids: Sequence[Hashable] | None,
    *,
    columns: Columns,
    size: int = 3,
) -> tuple[npt.NDArray[np.bool_], list[Finding]]:
    """All rows shown in batches of `size`."""
    check, keep = Usable(columns), [np.empty(0, np.bool_)]
    for start in range(0, len(texts), size):
        part = slice(start, start + size)
        rows = np.arange(len(texts))[part]
        has_truth = np.array([not missing(truth) for truth in truths[part]])
        held = of_texts(texts[part])
        keep.append(check.usable_rows(rows, held, truths[part], has_truth, None if ids is None else ids[part]))
    given = ids or []
    return np.concatenate(keep), check.findings(lambda rows: [given[row] for row in rows])


def told(
    noticed: Iterable[Noticed], texts: Sequence[str], truths: Sequence[Any], rows: Iterable[int] | None = None
) -> list[Finding]:
    numbers = range(len(texts)) if rows is None else [int(row) for row in rows]
    return quality.with_texts(noticed, dict(zip(numbers, zip(texts, map(str, truths), strict=True), strict=True)))


def check_labels(
    texts: Sequence[str], labels: Sequence[str], rows: npt.NDArray[np.int64] | None = None
) -> list[Finding]:
    names = list(dict.fromkeys(labels))
    return told(
        quality.check_labels(identities(texts), codes(labels), names, columns=COLUMNS, rows=rows), texts, labels, rows
    )


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert 1 <= len(finding.rows) <= 5
        assert finding.detail.endswith(".")
    return {finding.name: finding for finding in findings}


def test_a_label_that_every_row_has_is_told() -> None:
    columns = MultilabelColumns(text="description", labels="tags")
    found = by_name(quality.check_constant({"a": 1, "b": 3, "c": 1}, 3, columns=columns))
    assert found["constant_label"].rows == ["b"] and "'tags'" in found["constant_label"].detail
    assert quality.check_constant({"a": 1}, 2, columns=columns) == []


# --- columns


def test_clean_columns_have_no_findings() -> None:
    keep, findings = check_columns(["a", "b"], ["x", "y"], ["1", "2"], columns=COLUMNS)
    assert keep.tolist() == [True, True]
    assert findings == []


def test_rows_without_text_or_label_are_left_out() -> None:
    texts = ["a", None, " \n", "b", "c", "d", "x" * 20_001]
    truths = ["x", "y", "y", None, "", "x", "x"]
    keep, findings = check_columns(texts, truths, None, columns=COLUMNS)
    found = by_name(findings)
    assert keep.tolist() == [True, False, False, False, False, True, True]
    assert {name: finding.count for name, finding in found.items()} == {
        "empty_text": 2,
        "missing_label": 2,
        "very_long_text": 1,
    }
    assert found["empty_text"].rows == ["row 1: y", "row 2: y"]
    assert found["missing_label"].rows == ["row 3: b", "row 4: c"]
    assert found["very_long_text"].rows == [f"row 6: {'x' * 79}…"]
    assert "'description'" in found["empty_text"].detail
    assert "'chapter'" in found["missing_label"].detail


def test_a_pair_names_both_of_its_columns() -> None:
    columns = TextClassificationColumns(text="left", text_pair="right", label="chapter")
    _, findings = check_columns(["a", None], ["x", "y"], None, columns=columns)
    assert "in column 'left' or 'right' left out" in by_name(findings)["empty_text"].detail


def test_a_sentence_without_entities_is_labelled() -> None:
    columns = TokenClassificationColumns(tokens="words", tags="ner")
    keep, findings = check_columns(["a b", "c", "d"], [["O", "O"], [], float("nan")], None, columns=columns)
    assert keep.tolist() == [True, True, False]
    assert "'ner'" in by_name(findings)["missing_label"].detail


@pytest.mark.parametrize(
    ("texts", "truths", "cause"),
    [
        ([], [], "no rows"),
        ([None, ""], ["x", "y"], "'description' is empty in all 2 rows"),
        (["a", "b"], [None, " "], "'chapter' is empty in all 2 rows"),
        (["a", None], [None, "x"], "both columns 'description' and 'chapter'"),
    ],
)
def test_columns_that_nothing_can_be_learned_from(texts: list[str], truths: list[str], cause: str) -> None:
    with pytest.raises(DataError, match=cause) as error:
        check_columns(texts, truths, None, columns=COLUMNS)
    assert error.value.remedy


def test_ids_are_there_and_unique() -> None:
    five = list("abcde")
    with pytest.raises(
        DataError, match=r"'code' repeats an id in 3 rows: 7 \(rows 0 and 2\), 7 \(rows 0 and 3\), 8"
    ) as e:
        check_columns(five, five, [7, 8, 7, 7, 8], columns=COLUMNS)
    assert "data.columns.id" in e.value.remedy
    with pytest.raises(DataError, match=r"'code' has no id in 2 rows \(row 1, row 4\)"):
        check_columns(five, five, ["a", None, "b", "c", " "], columns=COLUMNS)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None, " "]), st.sampled_from(["x", "y", None]), st.integers(-2, 9))),
    st.integers(1, 5),
)
def test_where_batches_end_changes_nothing(rows: list[tuple[str | None, str | None, int]], size: int) -> None:
    def found(size: int) -> object:
        texts, truths, ids = ([row[i] for row in rows] for i in range(3))
        try:
            keep, findings = check_columns(texts, truths, ids, columns=COLUMNS, size=size)
        except DataError as error:
            return error.cause
        return keep.tolist(), findings

    assert found(size) == found(len(rows) + 1)


def test_ids_that_share_a_hash_are_told_apart() -> None:
    assert hash(-1) == hash(-2)
    check_columns(["a", "b"], ["x", "y"], [-1, -2], columns=COLUMNS)


# --- labels


def test_labels() -> None:
    texts = ["one", "two", "three", "four", "NO ", "six", "seven"]
    labels = ["yes", "yes", "Yes ", "no", "no", "maybe", "yes"]
    found = by_name(check_labels(texts, labels, np.arange(10, 17)))
    assert {name: finding.count for name, finding in found.items()} == {
        "rare_labels": 2,
        "label_spellings": 1,
        "text_equals_label": 1,
    }
    assert found["rare_labels"].rows == ["row 12: 'Yes': three", "row 15: 'maybe': six"]
    assert found["label_spellings"].rows == ["row 12: 'Yes ' (1 row), elsewhere 'yes' (3 rows)"]
    assert found["text_equals_label"].rows == ["row 14: 'no': NO"]


def test_good_labels_have_no_findings() -> None:
    assert check_labels(["a", "b", "c", "d"], ["x", "y", "x", "y"]) == []


def test_one_label_only() -> None:
    with pytest.raises(DataError, match="column 'chapter' holds one label only, 'x', in all 3 rows"):
        check_labels(["a", "b", "c"], ["x", "x", "x"])


# --- duplicates and leakage


def test_duplicates() -> None:
    texts = ["Flu", "flu", "cold", "cold", "fever\nand\tpain " + "x" * 100, "fever and pain " + "x" * 100]
    truths = ["a", "b", "a", "a", "c", "c"]
    rows = np.arange(6) * 2
    noticed = quality.check_duplicates(find_duplicates(texts, truths), columns=COLUMNS, rows=rows)
    found = by_name(told(noticed, texts, truths, rows))
    assert {name: finding.count for name, finding in found.items()} == {
        "exact_duplicates": 1,
        "normalised_duplicates": 2,
        "conflicting_labels": 2,
    }
    assert found["exact_duplicates"].rows == ["row 6: 'a': cold"]
    assert found["normalised_duplicates"].rows[-1] == f"row 10: 'c': fever and pain {'x' * 64}…"
    assert found["conflicting_labels"].rows == ["row 0: 'a': Flu", "row 2: 'b': flu"]
    distinct = ["a", "b"]
    assert quality.check_duplicates(find_duplicates(distinct, distinct), columns=COLUMNS) == []


def test_leakage_is_found_and_gone_once_duplicates_are_dropped() -> None:
    texts = ["flu", "FLU", "cold", "Cold", "cold ", "fever", "pain", "pain"]
    split = np.array(["train", "test", "train", "validation", "test", "train", "train", "train"])
    groups = find_duplicates(texts, None).group_of_row
    rows = np.arange(8) + 100
    (leakage,) = told(quality.check_leakage(split, groups, rows=rows), texts, texts, rows)
    assert leakage.name == "leakage"
    assert leakage.count == 2
    assert "(train and validation: 1, train and test: 2, validation and test: 1)" in leakage.detail
    assert leakage.rows == [
        "row 100 (train), row 101 (test): flu",
        "row 102 (train), row 103 (validation), row 104 (test): cold",
    ]
    keep = drop_duplicates(groups, split)
    assert np.flatnonzero(keep).tolist() == [1, 4, 5, 6]
    assert quality.check_leakage(split[keep], groups[keep]) == []


def test_leakage_shows_few_examples() -> None:
    texts = [f"text {i % 50}" for i in range(200)]
    split = np.array(["train"] * 100 + ["validation"] * 50 + ["test"] * 50)
    (leakage,) = told(quality.check_leakage(split, find_duplicates(texts, None).group_of_row), texts, texts)
    assert leakage.count == 50
    assert len(leakage.rows) == 5


# --- train


def test_labels_that_train_lacks() -> None:
    counts = {"train": {"a": 1, "b": 1}, "validation": {"c": 1}, "test": {"c": 1, "d": 2}}
    with pytest.raises(DataError) as error:
        quality.check_train(counts, columns=COLUMNS)
    assert (
        error.value.cause
        == "column 'chapter': 2 labels not in train: 'c' (1 in validation, 1 in test), 'd' (2 in test)"
    )
    assert "prepare.split" in error.value.remedy
    quality.check_train({"train": {"a": 1, "b": 1}, "validation": {"a": 1}, "test": {"a": 1, "b": 2}}, columns=COLUMNS)


def test_a_split_that_dropping_duplicates_emptied() -> None:
    split = np.array(["train", "test"])
    with pytest.raises(DataError, match="validation has no rows") as error:
        quality.check_splits(split)
    assert "prepare.duplicates: keep" in error.value.remedy
    quality.check_splits(np.array(["train", "test", "validation"]))
