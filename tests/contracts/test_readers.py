"""A table that is read in parts, whose readers become one, is the table that one reader reads: the same rows, and the
same error with the same rows' numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lakewright import plugins
from lakewright.errors import DataError

TEXTS = ["one dog", "two cats", "three", "four", "five", "six"]
LISTS = pa.list_(pa.string())
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    # name: task, columns, settings, the table, a part of the error
    "classes": ("text_classification", {"text": "t", "label": "l"}, {}, {"l": ["a", "b", None, "a", "c", "b"]}, ""),
    "a label that is nowhere": (
        "text_classification",
        {"text": "t", "label": "l"},
        {"merge": {"a": "b", "x": "b"}},
        {"l": ["a", "b", "a", "a", "c", "b"]},
        "task.merge names the label 'x'",
    ),
    "a label of the last part": (
        "text_classification",
        {"text": "t", "label": "l"},
        {"merge": {"c": "b"}},
        {"l": ["a", "b", "a", "a", "a", "c"]},
        "",
    ),
    "numbers": ("regression", {"text": "t", "label": "l"}, {}, {"l": [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]}, ""),
    "one number": (
        "regression",
        {"text": "t", "label": "l"},
        {},
        {"l": [1.0] * 6},
        "holds 1 in every row",
    ),
    "large numbers": (
        "regression",
        {"text": "t", "label": "l"},
        {},
        {"l": [1.0, 2.0, 3.0, 4.0, 5.0, -1e39]},
        "where float32 ends",
    ),
    "lists": (
        "multilabel_classification",
        {"text": "t", "labels": "l"},
        {},
        {"l": pa.array([["a"], ["b"], [], None, ["a", "b"], ["c"]], LISTS)},
        "",
    ),
    "vectors": (
        "multilabel_classification",
        {"text": "t", "labels": "l"},
        {},
        {"l": pa.array([[0, 1], [1, 0], [1, 1], [0, 0], [0, 1], [1, 0]])},
        "multi-hot vectors",
    ),
    "lists that are wrong": (
        "multilabel_classification",
        {"text": "t", "labels": "l"},
        {"labels": ["a", "b"]},
        {"l": pa.array([["a"], ["x"], ["b"], ["a"], ["y"], ["a"]], LISTS)},
        "row 4",
    ),
    "ones and blanks": (
        "multilabel_classification",
        {"text": "t", "labels": ["p", "q"]},
        {},
        {"p": [1, None, 1, None, 1, None], "q": [1, 0, 1, 0, 1, 0]},
        "'p' is blank in 3",
    ),
    "a column without a one": (
        "multilabel_classification",
        {"text": "t", "labels": ["p", "q"]},
        {},
        {"p": [0, 0, 0, 0, 0, 0], "q": [1, 0, 1, 0, 1, 0]},
        "'p' (data.columns.labels) is 1 in no row",
    ),
    "pairs": (
        "sentence_similarity",
        {"text": "t", "text_pair": "u", "score": "s"},
        {},
        {"u": TEXTS, "s": [1, 1, 1, 1, 1, 2]},
        "",
    ),
    "one score": (
        "sentence_similarity",
        {"text": "t", "text_pair": "u", "score": "s"},
        {},
        {"u": TEXTS, "s": [1] * 6},
        "the same score in every row",
    ),
    "scores that are wrong": (
        "sentence_similarity",
        {"text": "t", "text_pair": "u", "score": "s"},
        {},
        {"u": TEXTS, "s": ["1", "x", "2", "3", "y", "4"]},
        "row 4: 'y' is not a number",
    ),
    "spans": (
        "token_classification",
        {"text": "t", "spans": "s"},
        {},
        {"s": ["[]", '[{"start": 0, "end": 3, "label": "x"}]', "[]", "[]", "[]", "[]"]},
        "",
    ),
    "spans that are wrong": (
        "token_classification",
        {"text": "t", "spans": "s"},
        {},
        {"s": ["[]", '[{"start": 0, "end": 99, "label": "x"}]', "[]", "[]", "{", "[]"]},
        "wrong in 2 places",
    ),
    "tags that are wrong": (
        "token_classification",
        {"tokens": "w", "tags": "s"},
        {},
        {"w": [["a", "b"]] * 6, "s": [["O", "O"]] * 5 + [["O"]]},
        "row 5",
    ),
    "answers": (
        "question_answering",
        {"question": "t", "context": "c", "answers": "a"},
        {},
        {"c": TEXTS, "a": ["dog", None] * 3},
        "row 4",
    ),
}


def outcome(name: str, cuts: list[int], batch: int) -> tuple[str, Any]:
    """The rows and an empty text, or nothing and the error, where the table is read in parts that end there."""
    kind, columns, given, more, _ = CASES[name]
    task = plugins.TASKS.find(kind)
    settings = task.settings.model_validate({"name": kind, **given})
    table = pa.table({"t": TEXTS, **more})
    rows: list[Any] = []
    whole = None
    try:
        for start, stop in zip([0, *cuts], [*cuts, len(table)], strict=True):
            reader = task.reader(columns, settings, start)
            for at in range(start, stop, batch):
                rows += reader.read(table.slice(at, min(batch, stop - at))).to_pylist()
            if whole is None:
                whole = reader
            else:
                whole.merge(reader)
        assert whole is not None
        whole.check()
    except DataError as error:
        return error.cause, None
    return "", rows


@pytest.mark.parametrize("name", CASES)
def test_parts_are_read_as_the_whole(name: str) -> None:
    expected = outcome(name, [], 6)
    assert CASES[name][-1] in expected[0] and bool(CASES[name][-1]) == bool(expected[0])
    for cuts in ([3], [1, 2], [5], [2, 4], [1, 2, 3, 4, 5]):
        for batch in (1, 2, 6):
            assert outcome(name, cuts, batch) == expected
