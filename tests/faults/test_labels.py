"""Truth columns that hold something else than they should: read where it is clear, else an error with rows."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import lakewright as lw
from conftest import greeting_model
from lakewright import plugins
from lakewright.api import plan
from lakewright.cli.predicting import predict
from lakewright.cli.show import complain
from lakewright.data.lake.tables import Lake
from lakewright.data.profile.labels import profile_labels, read_labels
from lakewright.data.rows.columns import in_order
from lakewright.data.rows.duplicates import IDENTITY
from lakewright.data.rows.kinds import Kind, is_blank
from lakewright.data.rows.quality import check_labels, check_spellings, with_texts
from lakewright.data.rows.request import lacks
from lakewright.errors import DataError, LakewrightError, ProjectError, UsageError
from lakewright.evaluation.attribution import attributions
from lakewright.evaluation.metrics import check_bound
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.scorers.answers import AnswersScorer
from lakewright.evaluation.scorers.entities import EntityScorer
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.evaluation.scorers.similarity import SimilarityScorer
from lakewright.model.folder import seal
from lakewright.model.predictor import Predictor
from lakewright.model.pyfunc import PyfuncModel
from lakewright.model.tasks import Task, no_prediction, read_whole
from lakewright.model.tasks.classification import TextClassificationColumns
from lakewright.model.tasks.multilabel import MultilabelColumns
from lakewright.records import Prepared
from lakewright.service.server.prometheus import labels_of
from lakewright.service.server.protocols import mlflow, open_inference, openai, plain
from lakewright.settings.profile import load_profile
from lakewright.workspace import Workspace


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    return Workspace.open(load_profile()).lake


def read(name: str, table: dict[str, Any] | pa.Table, columns: dict[str, Any], **settings: Any) -> list[Any]:
    """The truths that a task reads, in two batches."""
    kind: type[Task] = plugins.TASKS.find(name)
    whole = table if isinstance(table, pa.Table) else pa.table(table)
    half = len(whole) // 2
    parts = read_whole(kind, [whole.slice(0, half), whole.slice(half)], columns, kind.settings(name=name, **settings))
    return [truth for part in parts for truth in part["truth"].to_pylist()]


def labels(values: Any, **settings: Any) -> list[Any]:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    table = pa.table({"text": ["a"] * len(array), "labels": array})
    return read("multilabel_classification", table, {"text": "text", "labels": "labels"}, **settings)


VECTORS = [[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]]
NAMED = [["joy"], ["anger", "fear"], [], ["anger", "joy"]]
MULTI_HOT = {
    "ints": pa.array(VECTORS, pa.list_(pa.int64())),
    "floats": pa.array(VECTORS, pa.list_(pa.float64())),
    "truth values": pa.array([[bool(bit) for bit in row] for row in VECTORS]),
    "texts": pa.array([[str(bit) for bit in row] for row in VECTORS]),
    "JSON": pa.array([json.dumps(row) for row in VECTORS]),
    "JSON of floats": pa.array([json.dumps(list(map(float, row))) for row in VECTORS]),
    "numpy's ints": pa.array([str(np.array(row)) for row in VECTORS]),
    "numpy's floats": pa.array([str(np.array(row, float)) for row in VECTORS]),
    "numpy's truth values": pa.array([str(np.array(row, bool)) for row in VECTORS]),
}


@pytest.mark.parametrize("form", MULTI_HOT)
def test_multi_hot_lists_are_no_labels_named_0_and_1(form: str) -> None:
    with pytest.raises(DataError, match="multi-hot") as caught:
        labels(MULTI_HOT[form])
    assert "task" in caught.value.remedy and "labels: [one, two]" in caught.value.remedy


@pytest.mark.parametrize("form", MULTI_HOT)
def test_multi_hot_lists_are_read_where_the_labels_are_named(form: str) -> None:
    assert labels(MULTI_HOT[form], labels=["anger", "fear", "joy"]) == NAMED


@pytest.mark.parametrize(
    ("values", "named", "problem"),
    [
        ([[0, 1], [1, 0, 0]], ["a", "b"], "row 1: a vector has 3 places, and task.labels names 2"),
        ([[1, 0], [0, None]], ["a", "b"], "row 1: a place of the vector is null"),
        ([[0, 1], [0, 0], [0, 1]], ["a", "b"], "the label 'a' .* is in no row"),
        ([["a"], ["c"], ["b"]], ["a", "b"], "row 1: task.labels lacks 'c'"),
        (["[0, 1]", '["a"]', "[1, 0]"], ["a", "b"], "in some rows and names of labels in others"),
    ],
)
def test_vectors_that_do_not_fit_the_named_labels(values: Any, named: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        labels(values, labels=named)


def test_labels_that_are_named_0_and_1_are_still_labels() -> None:
    assert labels([["0"], ["1"], ["0", "1"], []]) == [["0"], ["1"], ["0", "1"], []]
    assert labels([[0], [1], [1]], labels=["0", "1"]) == [["0"], ["1"], ["1"]]
    assert labels([[1, 5], [0, 1], [0, 2]]) == [["1", "5"], ["0", "1"], ["0", "2"]]


def test_vectors_of_differing_lengths_are_no_labels_either() -> None:
    with pytest.raises(DataError, match="multi-hot"):
        labels([[0, 0, 1], [1, 0], [], [0, 1, 1]])


def test_columns_are_named_as_their_labels() -> None:
    table = pa.table({"text": ["a", "b"], "anger": [0, 1], "joy": [1, 0]})
    columns = {"text": "text", "labels": ["anger", "joy"]}
    with pytest.raises(ProjectError, match=r"task\.labels"):
        read("multilabel_classification", table, columns, labels=["Anger", "Joy"])
    assert read("multilabel_classification", table, columns, labels=["joy", "anger"]) == [["joy"], ["anger"]]


def test_columns_of_1_and_blank_are_an_error_of_their_own() -> None:
    table = pa.table({"text": list("abcd"), "anger": [1, None, 1, None], "joy": [1, 0, None, 0]})
    with pytest.raises(DataError, match="of 4 rows 3 have no labels") as caught:
        read("multilabel_classification", table, {"text": "text", "labels": ["anger", "joy"]})
    assert "'anger' is blank in 2, 1 in the others and never 0" in caught.value.cause
    assert "coalesce(anger, 0)" in caught.value.remedy and "joy" not in caught.value.cause


def test_columns_of_0_and_1_may_be_texts() -> None:
    table = pa.table({"text": list("abc"), "anger": ["1", "0", " "], "joy": [1.0, 0.0, 1.0]})
    found = read("multilabel_classification", table, {"text": "text", "labels": ["anger", "joy"]})
    assert found == [["anger", "joy"], [], None]
    with pytest.raises(DataError, match=r"'anger'.*\n.*row 2: 'x' is not a number"):
        table = table.set_column(1, "anger", pa.array(["1", "0", "x"]))
        read("multilabel_classification", table, {"text": "text", "labels": ["anger", "joy"]})


def test_the_order_of_labels_is_the_same_in_every_process() -> None:
    labels = {"01", "1", "001", "10", "-2", "0", "-0", "2"}
    command = f"from lakewright.data.rows.columns import in_order; print(*in_order({labels!r}))"
    orders = {
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert orders == {"-2 -0 0 001 01 1 2 10\n"}


@pytest.mark.parametrize("odd", ["--1", "1_0", "１", "٣", "-", "1.5", "+1", "", "nan"])
def test_only_digits_are_whole_numbers(odd: str) -> None:
    assert in_order({"10", "9", odd}) == tuple(sorted({"10", "9", odd}))


def test_whole_numbers_of_any_size_are_ordered() -> None:
    huge = "9" * 5000
    assert in_order({huge, "-" + huge, "7"}) == ("-" + huge, "7", huge)


def classes(values: pa.Array) -> list[Any]:
    table = pa.table({"text": ["a"] * len(values), "label": values})
    return read("text_classification", table, {"text": "text", "label": "label"})


def test_odd_numbers_are_labels_too() -> None:
    floats = pa.array([1e300, 2.0, -0.0, float("nan"), float("inf"), None, 2.0**60])
    assert classes(floats) == ["1e+300", "2", "0", None, None, None, "1.152921504606847e+18"]
    assert classes(pa.array([1.0, 2.0], pa.float32())) == ["1", "2"]
    assert classes(pa.array([True, False, None])) == ["true", "false", None]
    assert classes(pa.array([2**63 - 1, -(2**63)])) == ["9223372036854775807", "-9223372036854775808"]
    assert classes(pa.array(["--1", "NaN", "１", "01"])) == ["--1", "NaN", "１", "01"]


@pytest.mark.parametrize(
    "labels", [["--1", "2"], ["nan", "1"], ["1_0", "2"], ["9" * 400, "1"], ["inf", "0"], ["１", "2"]]
)
def test_ordered_labels_that_look_like_numbers_keep_their_places(labels: list[str]) -> None:
    kind = plugins.TASKS.find("text_classification")
    task = kind(tuple(labels), ordinal=True)
    (prediction,) = task.decode([np.array([0.0, 100.0], np.float32)], None, [{}])  # type: ignore[arg-type]
    assert prediction["expected"] == pytest.approx(1.0)


def scores(values: Any) -> list[Any]:
    table = pa.table({"a": ["x"] * len(values), "b": ["y"] * len(values), "score": values})
    return read("sentence_similarity", table, {"text": "a", "text_pair": "b", "score": "score"})


def test_scores_that_are_texts_are_read_as_numbers() -> None:
    assert scores(["4.5", " 3 ", "-1e2", "", None]) == [4.5, 3.0, -100.0, None, None]
    assert scores(pa.array([2**60 + 1, 0])) == [float(2**60), 0.0]


@pytest.mark.parametrize("odd", ["much", "4,5", "nan", "inf", "1e999", "1_0", "１", "--1", "true"])
def test_a_score_that_is_no_number_is_named_by_its_row(odd: str) -> None:
    with pytest.raises(DataError, match="row 2") as caught:
        scores(["1", "2", odd])
    assert "'score'" in caught.value.cause


CONTEXT = "Anna moved to Berlin in 1910 and stayed there."
BERLIN = [{"start": 14, "end": 20, "text": "Berlin"}]


def answers(values: Any) -> list[Any]:
    size = len(values)
    table = pa.table({"question": ["Where?"] * size, "context": [CONTEXT] * size, "answers": values})
    columns = {"question": "question", "context": "context", "answers": "answers"}
    return read("question_answering", table, columns)


@pytest.mark.parametrize(
    "form",
    [
        [{"text": "Berlin", "answer_start": 14}],
        [{"text": "Berlin", "answer_start": 14.0}],
        {"text": ["Berlin"], "answer_start": [14]},
        ["Berlin"],
        "Berlin",
        '[{"text": "Berlin", "answer_start": 14}]',
        '{"text": ["Berlin"], "answer_start": [14]}',
        '["Berlin"]',
    ],
)
def test_answers_in_every_form_that_is_taken(form: Any) -> None:
    assert answers([form, form]) == [BERLIN, BERLIN]


def test_a_plain_number_that_stands_in_the_context_is_an_answer() -> None:
    assert answers(["1910", None, " ", "[]"]) == [[{"start": 24, "end": 28, "text": "1910"}], None, None, []]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ([None], "an answer is null"),
        ([1910], "an answer is 1910"),
        ([{"text": None, "answer_start": 14}], "has the text None"),
        ([{"text": "Berlin", "answer_start": 15}], "is not at 15"),
        ([{"text": "Berlin", "answer_start": -1}], "is not at -1"),
        ([{"text": "Berlin", "answer_start": 2**40}], "is not at"),
        ([[{"text": "Berlin", "answer_start": 14}]], "not a text"),
        ({"text": "Berlin", "answer_start": 14}, "lists of the same length"),
        ({"answer": ["Berlin"], "start": [14]}, "lists of the same length"),
        ({"text": ["Berlin", "1910"], "answer_start": [14]}, "lists of the same length"),
        ("Rome", "'Rome' is not in its context"),
        ("{Rome", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        (5, "not a list of answers"),
    ],
)
def test_odd_answers_are_named_by_their_rows(form: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        answers([form, form])
    assert "'answers'" in caught.value.cause and "row 1" in caught.value.cause
    assert "answer_start" in caught.value.remedy


@pytest.mark.parametrize("written", [lambda at: [{"text": "Berlin", "answer_start": at}],
                                     lambda at: {"text": ["Berlin"], "answer_start": [at]}])  # fmt: skip
def test_answers_counted_in_utf_16(written: Callable[[int], Any]) -> None:
    table = {
        "question": ["Where?"] * 2,
        "context": ["😀🎉 in Berlin", "in Berlin"],
        "answers": [written(8), written(3)],
    }
    columns = {name: name for name in table}
    with pytest.raises(DataError, match=r"row 0: .*at 8 in its context \(it is with task.offsets: utf16\)"):
        read("question_answering", table, columns)
    first, second = read("question_answering", table, columns, offsets="utf16")
    assert first == [{"start": 6, "end": 12, "text": "Berlin"}] and second[0]["start"] == 3
    with pytest.raises(DataError, match=r"at 1 in its context"):  # within an emoji
        read("question_answering", table | {"answers": [written(1)] * 2}, columns, offsets="utf16")
    with pytest.raises(DataError, match=r"row 0: .*at 6 .*it is with task.offsets: characters"):
        read("question_answering", table | {"answers": [written(6), written(3)]}, columns, offsets="utf16")


TEXT = "Anna saw Rome"
SPANS = [{"start": 0, "end": 4, "label": "PER"}, {"start": 9, "end": 13, "label": "LOC"}]


def spans(value: Any) -> Any:
    table = pa.table({"text": ["none", TEXT], "spans": [None, value]})
    return read("token_classification", table, {"text": "text", "spans": "spans"})[1]


STUDIO = [
    {"id": "a", "type": "labels", "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}},
    {"id": "b", "type": "labels", "value": {"start": 9, "end": 13, "text": "Rome", "labels": ["LOC"]}},
]


@pytest.mark.parametrize(
    "form",
    [
        SPANS,
        [{"start_offset": one["start"], "end_offset": one["end"], "label": one["label"], "id": 7} for one in SPANS],
        [{"start": str(one["start"]), "end": str(one["end"]), "entity_group": one["label"]} for one in SPANS],
        [one["value"] for one in STUDIO],
        STUDIO,
        [{"id": 1, "result": STUDIO, "was_cancelled": False}],
        {"start": [0, 9], "end": [4, 13], "label": ["PER", "LOC"]},
        '[[0, 4, "PER"], [9, 13, "LOC"]]',
        '{"entities": [[0, 4, "PER"], [9, 13, "LOC"]]}',
        json.dumps(STUDIO),
    ],
    ids=str,
)
def test_spans_in_every_form_that_is_taken(form: Any) -> None:
    assert spans(form) == SPANS


def test_no_spans_in_every_form() -> None:
    assert [spans(form) for form in ("[]", '{"entities": []}', '[{"result": []}]', " ")] == [[], [], [], None]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("[null]", "None is not a span"),
        ("[5]", "5 is not a span"),
        ('[{"start": 0, "label": "PER"}]', "a start or an end is missing"),
        ('[{"start": 0, "end": 4}]', "a label is null"),
        ('[{"start": 0, "end": 4, "label": ["PER", "LOC"]}]', "2 labels"),
        ('[{"start": 0, "end": 4, "label": "\\ud800"}]', "not valid Unicode text"),
        ('[{"start": 0.5, "end": 4, "label": "PER"}]', "0.5 is not an offset"),
        ('[{"start": true, "end": 4, "label": "PER"}]', "True is not an offset"),
        ('[{"start": 0, "end": 1e400, "label": "PER"}]', "inf is not an offset"),
        ('[{"start": 0, "end": 99999999999999, "label": "PER"}]', "is outside"),
        ('[["PER", 0, 4]]', "'PER' is not an offset"),
        ('[{"result": []}, {"result": []}]', "2 annotations"),
        ('[{"result": [], "was_cancelled": true}]', "cancelled"),
        ('{"start": [0], "end": [4, 5], "label": ["PER"]}', "lists of 1, 2, 1"),
        ("Anna", "not JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_odd_spans_are_named_by_their_rows(form: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        spans(form)
    assert "'spans'" in caught.value.cause and "row 1" in caught.value.cause and "doccano" in caught.value.remedy


@pytest.mark.parametrize(
    ("tokens", "tags", "problem"),
    [
        (["a", None], ["O", "O"], "tokens holds None"),
        (["a", "b"], ["O", None], "tags holds None"),
        (["a", "b"], ["O"], "2 tokens and 1 tags"),
        (["a", "b"], [0, 1], "'0' is not a tag"),
        ("a b", "O O", "not JSON"),
    ],
)
def test_odd_tags_are_named_by_their_rows(tokens: Any, tags: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        table = {"tokens": [tokens, tokens], "tags": [tags, tags]}
        read("token_classification", table, {"tokens": "tokens", "tags": "tags"})
    assert "row 1" in caught.value.cause


def test_tokens_and_tags_may_be_json() -> None:
    table = {"tokens": ['["a", "b"]'], "tags": ['["O", "B-x"]']}
    assert read("token_classification", table, {"tokens": "tokens", "tags": "tags"}) == [
        [{"start": 2, "end": 3, "label": "x"}]
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('["a", null]', "a label is null"),
        ('["a", " "]', "a label is blank"),
        ('["a", {"b": 1}]', "is not a label"),
        ('["a", 0.5]', "the label 0.5 is a fraction"),
        ('["\\ud800"]', "not valid Unicode text"),
        ("a, b", "not JSON"),
        ("['a', 'b']", r"not JSON, but a list as Python prints it.* json\.dumps"),
        ('{"a": 1}', "not a list of labels"),
        ("5", "not a list of labels"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_odd_lists_of_labels_are_named_by_their_rows(value: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        labels(['["a"]', value])
    assert "'labels'" in caught.value.cause and "row 1" in caught.value.cause


def test_label_lists_in_every_form() -> None:
    assert labels(['["b", "a", "a"]', '{"choices": ["a"]}', "[]", None]) == [["a", "b"], ["a"], [], None]
    assert labels([[3.0, 1.0], [2.0, 3.0]]) == [["1", "3"], ["2", "3"]]
    assert labels([[True], [True, False], []]) == [["true"], ["false", "true"], []]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["Anna", "O", "B-x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "answer_start", "start", "end", "label", "labels", "entities", "result", "value", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON.map(json.dumps) | st.text(max_size=9))
def test_whatever_a_truth_holds_is_read_or_an_error_with_its_row(value: str) -> None:
    for name, table, columns in (
        ("question_answering", {"q": "Who?", "context": TEXT}, {"question": "q", "context": "context", "answers": "t"}),
        ("token_classification", {"text": TEXT}, {"text": "text", "spans": "t"}),
        ("token_classification", {"tokens": '["a"]'}, {"tokens": "tokens", "tags": "t"}),
        ("multilabel_classification", {"text": TEXT}, {"text": "text", "labels": "t"}),
        ("multilabel_classification", {"text": TEXT}, {"text": "text", "labels": ["t"]}),
        ("sentence_similarity", {"a": "x", "b": "y"}, {"text": "a", "text_pair": "b", "score": "t"}),
        ("text_classification", {"text": TEXT}, {"text": "text", "label": "t"}),
    ):
        try:
            stored = pa.array([None, value], pa.string())
        except UnicodeEncodeError:
            return
        try:
            read(name, pa.table({**{key: [each] * 2 for key, each in table.items()}, "t": stored}), columns)
        except DataError as error:
            whole = ("multi-hot", "in no row", "1 in no row", "never 0", "same score")
            assert "row 1" in error.cause or any(words in error.cause for words in whole), error.cause


@pytest.mark.parametrize("text", ["", "  \n", "\u200b", "\ufeff \u2060", "\u00ad\u2800", "\u3164", "\ufe0f", "\x00"])
def test_what_nobody_can_see_is_blank(text: str) -> None:
    assert is_blank(text) and not is_blank(text + "a") and not is_blank(text + "😀")


@pytest.mark.parametrize("form", MULTI_HOT)
def test_a_profile_sees_multi_hot_vectors(form: str, lake: Lake) -> None:
    table = lake.write("main.t.hot", pa.table({"labels": MULTI_HOT[form]}))
    found = profile_labels(read_labels(lake, table, ["labels"], "labels"))
    assert found.unnamed_places
    assert {each.label: each.rows for each in found.balance} == {"place 1": 2, "place 2": 1, "place 3": 2}
    named = profile_labels(read_labels(lake, table, ["labels"], "labels", ["anger", "fear", "joy"]))
    assert not named.unnamed_places
    assert {each.label: each.rows for each in named.balance} == {"anger": 2, "fear": 1, "joy": 2}


SEVERAL, ONE = MultilabelColumns(labels="l"), TextClassificationColumns(label="l")
SPELLINGS = [
    ("Billing", "billing"),
    ("Billing", "BILLING "),
    ("é", "e\u0301"),
    ("１", "1"),
    ("joy", "joy\u200b"),
    ("01", "1"),
]


@pytest.mark.parametrize(("usual", "other"), SPELLINGS)
def test_spellings_of_one_label_are_noticed_in_lists_as_in_classes(usual: str, other: str) -> None:
    names = [(usual, "else"), (usual,), ("more", other), ("more",)]
    (found,) = with_texts(check_spellings(np.array([0, 1, 2, 3]), names, columns=SEVERAL, rows=np.arange(4) + 7),
                    dict.fromkeys(range(20), ("", "")))  # fmt: skip
    assert (found.name, found.count) == ("label_spellings", 1)
    assert found.rows == [f"row 9: {other!r} (1 row), elsewhere {usual!r} (2 rows)"]
    noticed = check_labels(np.zeros(3, IDENTITY), np.array([0, 0, 1]), [usual, other], columns=ONE)
    assert "label_spellings" in [each.name for each in noticed]


def test_other_labels_are_no_spellings() -> None:
    names = [("a",), ("b", "1"), ("10", "1.5"), (), ("٣x",)]
    assert check_spellings(np.array([0, 1, 2, 3, 4]), names, columns=SEVERAL) == []


@pytest.fixture
def run(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., lw.Run]:
    """Runs a project that learns from a table by the linear learner, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    (tmp_path / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())

    def run_project(rows: dict[str, Any], task: str, columns: dict[str, Any], *settings: str, **parts: Any) -> lw.Run:
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
        project = {
            "name": "t",
            "schema": "main.h",
            "task": task,
            "data": {"source": "rows.parquet", "columns": columns},
            "train": {"learner": "linear"},
            "evaluate": {"resamples": 100},
            **parts,
        }
        (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
        return lw.run("project.yml", settings=settings)

    return run_project


TEXTS = [f"w{i} k{i % 7}" for i in range(40)]
FEW = {
    "labels that nobody knows": (
        {"text": TEXTS, "a": [1] * 2 + [None] * 36 + [0, 0], "b": [1] * 2 + [None] * 36 + [0, 0]},
        ("multilabel_classification", {"text": "text", "labels": ["a", "b"]}),
        "validation has no rows|same labels",
        "36 rows of 40 without a value in column ['a', 'b'] left out, 'a' is blank in 36, 'b' is blank in 36",
    ),
    "one class that is left": (
        {"text": TEXTS, "label": ["a"] * 20 + [None] * 20},
        ("text_classification", {"text": "text", "label": "label"}),
        "one label only",
        "20 rows of 40 without a value in column 'label' left out",
    ),
    "texts that are blank": (
        {"text": ["a b"] + ["\u200b "] * 38 + ["c d"], "label": ["a", "b"] * 20},
        ("text_classification", {"text": "text", "label": "label"}),
        r"has no rows \(of 2:",
        "38 rows without a value in column 'text' left out",
    ),
    "duplicates": (
        {"text": ["same"] * 38 + ["one", "two"], "label": ["a"] * 38 + ["b", "a"], "split": ["train"] * 39 + ["test"]},
        ("text_classification", {"text": "text", "label": "label"}),
        "empty|has no rows|not in train",
        "37 rows repeating the text of an earlier row",
    ),
}


@pytest.mark.parametrize("case", FEW)
def test_an_error_of_prepare_is_told_with_all_that_was_left_out(
    case: str, run: Callable[..., lw.Run], capsys: pytest.CaptureFixture[str]
) -> None:
    rows, (task, columns), problem, left_out = FEW[case]
    with pytest.raises(LakewrightError, match=problem) as caught:
        run(rows, task, columns)
    error = caught.value
    assert any(left_out in each["detail"] for each in error.as_json()["findings"]), error.findings
    assert error.log is not None and left_out in Path(error.log).read_text()
    complain(error)
    assert f"noticed before: {error.findings[0].name}: " in capsys.readouterr().err
    assert left_out in str(error) and str(pickle.loads(pickle.dumps(error))) == str(error)  # as between processes


ONE_CLASS = {
    "text": [f"x{i} topic{i % 2}" for i in range(40)] + [f"q{i} topic0" for i in range(10)],
    "label": ["a", "b"] * 20 + ["a"] * 10,
    "split": ["train"] * 40 + ["test"] * 10,
}


def test_a_metric_that_the_test_rows_do_not_define_is_a_failed_check(run: Callable[..., lw.Run]) -> None:
    gate = {"minimum": {"roc_auc": 0.5, "accuracy": 0.5}}
    found = run(ONE_CLASS, "text_classification", {"text": "text", "label": "label"}, gate=gate)
    assert found.exit_code == 3
    checks = {check.name: check for check in found.decision.checks}
    assert checks["accuracy"].passed and not checks["roc_auc"].passed
    assert checks["roc_auc"].detail == "roc_auc is not defined on the test rows: all 10 are of class a"
    assert found.report.undefined.keys() == {"roc_auc", "pr_auc"}
    assert "one_class_in_test" in [each.name for each in cast(Prepared, found.records["prepare"]).findings]
    assert "roc_auc is not defined on the test rows" in Path(found.report.html).read_text()


@pytest.mark.slow
def test_models_are_not_compared_by_a_metric_that_is_not_defined(run: Callable[..., lw.Run]) -> None:
    task = ("text_classification", {"text": "text", "label": "label"})
    assert run(ONE_CLASS, *task).exit_code == 0
    second = run(ONE_CLASS, *task, "train.C=3", gate={"compare_by": "roc_auc"})
    assert second.exit_code == 3
    assert "roc_auc of this model is not defined on the test rows" in second.decision.checks[0].detail


NOTHING = np.zeros((3, 2), np.bool_)
UNDEFINED: dict[str, tuple[Scorer, dict[str, str]]] = {
    "one class": (
        OrdinalScorer(np.array([1, 1]), np.array([[0.1, 0.9], [0.2, 0.8]]), ["low", "high"]),
        {"roc_auc": "all 2 are of class high", "quadratic_weighted_kappa": "all 2 are of class high"},
    ),
    "no labels": (
        MultilabelScorer(NOTHING, np.full((3, 2), 0.1), NOTHING, ["a", "b"]),
        {
            "roc_auc": "each label is in all 3 or in none",
            "pr_auc": "none of the 3 has a label",
            "micro_f1": "none of the 3 has a label, and none is predicted",
        },
    ),
    "no entities": (EntityScorer([[], []], [[], []], ["a"]), {"entity_f1": "none of the 2 has an entity, and none is"}),
    "no answers": (AnswersScorer([[]], [""], [0.5]), {"answer_f1": "none of the 1 has an answer"}),
    "answers": (AnswersScorer([["a"]], ["a"], [0.5]), {"no_answer_accuracy": "each of the 1 has an answer"}),
    "one score": (SimilarityScorer(np.ones(2), np.array([0.1, 0.2])), {"spearman": "all 2 have the same score"}),
    "one guess": (SimilarityScorer(np.array([0.1, 0.2]), np.ones(2)), {"pearson": "same predicted score"}),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_every_scorer_says_why_a_metric_is_not_defined(case: str) -> None:
    scorer, why = UNDEFINED[case]
    values = scorer.metrics(np.ones(scorer.rows))
    for metric, words in why.items():
        assert np.isnan(values[metric]) and words in scorer.undefined(metric)
    assert all(scorer.undefined(metric) for metric, value in values.items() if np.isnan(value))


@pytest.mark.parametrize(
    ("kind", "metric", "bound", "remedy"),
    [
        ("minimum", "accuracy", 95, "write 0.95"),
        ("maximum", "ece", 5, "write 0.05"),
        ("minimum", "spearman", 1.5, "from -1 to 1"),
        ("minimum", "spearman", -2, "from -1 to 1"),
        ("minimum", "macro_f1", -0.5, "from 0 to 1"),
        ("maximum", "brier", 3, "write 0.03"),
        ("maximum", "log_loss", -1, "from 0 on"),
        ("maximum", "mae", float("inf"), "from 0 on"),
        ("minimum", "accuracy", float("nan"), "from 0 to 1"),
    ],
)
def test_a_bound_that_a_metric_never_has_is_refused(kind: str, metric: str, bound: float, remedy: str) -> None:
    with pytest.raises(UsageError, match=rf"gate\.{kind}\.{metric}") as caught:
        check_bound(metric, kind, bound)
    assert remedy in caught.value.remedy


def test_bounds_that_a_metric_may_have() -> None:
    for kind, metric, bound in (
        ("minimum", "accuracy", 0),
        ("minimum", "accuracy", 1),
        ("minimum", "accuracy", 1.01),  # shut on purpose
        ("minimum", "spearman", -0.2),
        ("maximum", "brier", 2),
        ("maximum", "rmse", 95),
    ):
        check_bound(metric, kind, bound)
    with pytest.raises(UsageError, match="no metric named 'of_another_package'"):  # which brings none of that name
        check_bound("of_another_package", "minimum", 95)


@pytest.mark.parametrize(
    ("bound", "problem"),
    [("95", "write 0.95"), ("95%", "write 0.95"), ("true", "true, not a number"), ("-1", "outside the range")],
)
def test_plan_refuses_such_a_bound(bound: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {"task": "text_classification", "data": {"source": "a.csv", "columns": {"text": "text", "label": "label"}}}
    (tmp_path / "project.yml").write_text(yaml.safe_dump({"name": "t", "train": {"learner": "linear"}, **parts}))
    with pytest.raises(UsageError) as caught:
        plan("project.yml", settings=[f"gate.minimum.accuracy={bound}"])
    assert problem in str(caught.value) and "accuracy" in caught.value.cause


BLANK = ["", "   ", "\u200b\u2060", "\ufeff"]
NO_CLASS = {"label": None, "confidence": 0.0, "probabilities": None, "abstain": True}


def test_a_blank_text_has_no_prediction(greeter: Path) -> None:
    predictor = Predictor.open(greeter)
    alone = predictor.predict(["good morning"])
    assert predictor.predict([*BLANK[:2], "good morning", *BLANK[2:]]) == [*[NO_CLASS] * 2, *alone, *[NO_CLASS] * 2]
    assert predictor.predict(BLANK) == [NO_CLASS] * 4
    assert plain.answer(predictor.task, predictor.predict([""]), False, 0.0) == [
        {"label": None, "confidence": 0.0, "abstain": True}
    ]
    frame = PyfuncModel(predictor).predict(["", "good morning"])
    assert frame["label"].tolist() == [None, "hello"]


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize(
    ("inputs", "row"),
    [
        ({"text": "text"}, {"text": "a"}),
        ({"text": "text", "text_pair": "text", "age": "number"}, {"text": "a", "text_pair": "b", "age": None}),
        ({"text": "text", "text_pair": "optional text"}, {"text": "a", "text_pair": "b"}),
        ({"question": "text", "context": "text"}, {"question": "a", "context": "b"}),
    ],
)
def test_a_row_lacks_what_is_blank(inputs: dict[str, Kind], row: dict[str, Any], blank: str) -> None:
    assert not lacks(inputs, row)
    for name in row.keys() - {"age"}:
        assert lacks(inputs, {**row, name: blank})


def test_a_row_of_words_lacks_what_is_blank() -> None:
    inputs: dict[str, Kind] = {"text": "text", "tokens": "words"}
    assert not lacks(inputs, {"text": "a"}) and not lacks(inputs, {"tokens": ["a", ""]})
    assert all(lacks(inputs, {"tokens": words}) for words in ([], [""], [" ", "\u200b"]))
    assert lacks(inputs, {"text": "a", "tokens": []})  # the words are what is read
    assert not lacks({"text": "text", "text_pair": "optional text"}, {"text": "a", "text_pair": None})


def test_every_task_answers_a_blank_row_with_nulls() -> None:
    for task in (
        plugins.TASKS.find("text_classification")(("a", "b")),
        plugins.TASKS.find("multilabel_classification")(("a", "b"), (0.5, 0.5)),
        plugins.TASKS.find("token_classification")(("a",)),
        plugins.TASKS.find("question_answering")(),
        plugins.TASKS.find("sentence_similarity")(scored=True),
    ):
        nothing = no_prediction(task)
        assert task.confidence(nothing) == nothing.pop("confidence") == 0.0 and nothing.pop("abstain") is True
        assert set(nothing.values()) == {None} and set(nothing) == set(task.prediction_columns().names)


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding=encoding, errors="strict"))


@pytest.mark.parametrize("locale", ["utf-8", "latin-1", "ascii"])
def test_bytes_on_stdin_that_are_not_utf8_are_named(
    locale: str, greeter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "good morning\nwhere is my café\n".encode("latin-1"), locale)
    with pytest.raises(DataError, match="stdin line 2 is not UTF-8: character 16 is the byte 0xe9") as caught:
        predict(str(greeter))
    assert "iconv" in caught.value.remedy
    with pytest.raises(DataError, match="argument 1 is not UTF-8"):
        predict(str(greeter), ["caf\udce9"])
    stdin(monkeypatch, "\ufeffgood morning, café\r\n\n \u200b\ngood night".encode(), locale)
    capsys.readouterr()
    predict(str(greeter))
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["label"] for one in said] == ["hello", None, None, "goodbye"]
    assert said[1] == NO_CLASS


def test_json_is_json_under_every_locale(greeter: Path) -> None:
    command = [sys.executable, "-m", "lakewright.cli", "predict", str(greeter), "--json"]
    env = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, env=env, input="café".encode("latin-1"), capture_output=True, check=False)
    assert ended.returncode == 1 and b"this should not happen" not in ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert "stdin line 1 is not UTF-8" in error["cause"] and "…" in error["remedy"]


def test_a_blank_row_of_a_table_is_scored_as_null(tmp_path: Path, lake: Lake) -> None:
    model = greeting_model(tmp_path / "model")
    project = json.loads((model / "project.json").read_text())
    (model / "project.json").write_text(json.dumps({**project, "data": {"columns": {"text": "text"}}}))
    seal(model)
    lake.write("main.t.texts", pa.table({"text": ["good morning", "  ", None, "\u200b"]}))
    scored = lw.score(model, "main.t.texts")
    rows = lake.read(scored.output, columns=["label", "confidence", "abstain"]).to_pylist()
    assert scored.without == 3 and rows.pop(0)["label"] == "hello"
    assert rows == [{"label": None, "confidence": None, "abstain": True}] * 3


def test_protocols_answer_a_blank_text_with_null(greeter: Path) -> None:
    predictor = Predictor.open(greeter)
    (nothing,) = predictor.predict([" "])
    assert mlflow.line(nothing) == {"probability": 0.0, "predicted_label": None}
    known = open_inference.outputs(predictor.task)
    tensors = open_inference.answer("m", "1", None, known, ["label", "confidence"], [nothing])["outputs"]
    assert [tensor["data"] for tensor in tensors] == [[None], [0.0]]
    embedded = openai.answer("m", [[3.0, 4.0, 0.0], None], 2, False, 2)["data"]
    assert embedded[0]["embedding"] == pytest.approx([0.6, 0.8]) and embedded[1]["embedding"] is None
    assert labels_of(nothing) == []


def test_a_word_without_which_nothing_can_be_seen_is_not_weighed(greeter: Path) -> None:
    predictor = Predictor.open(greeter)
    rows = [{"text": "morning \u200b"}]
    (found,) = attributions(predictor.predict, {"text": "text"}, [0], rows, ["hello"], predictor.predict(rows))
    assert [word.text for word in found.words] == ["\u200b"] and found.untried == 1


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", " "]])
@pytest.mark.parametrize("task", ["multilabel_classification", "text_classification"])
def test_labels_are_named_once(task: str, names: list[str]) -> None:
    with pytest.raises(ValidationError, match="label"):
        plugins.TASKS.find(task).settings(name=task, labels=names)


def test_a_profile_rounds_numbers_that_no_float_holds(lake: Lake) -> None:
    table = lake.write("main.t.big", pa.table({"score": [2**62 + place for place in range(200)]}))
    assert profile_labels(read_labels(lake, table, ["score"], "score")).mean == float(2**62)
