"""What a task decides by: thresholds, scales, "no answer", and what ordered classes expect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from lakewright.data.rows.kinds import Kind, whole_row, whole_rows
from lakewright.data.rows.request import read_row
from lakewright.errors import DataError, ProjectError
from lakewright.model.recipe import Encoded, Wanted
from lakewright.model.recipe.dense import Dense, DenseSettings
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import read_whole
from lakewright.model.tasks.answering import QuestionAnswering
from lakewright.model.tasks.classification import (
    Classification,
    ClassificationSettings,
    ClassSettings,
    TextClassification,
    TextClassificationColumns,
    TextClassificationSettings,
)
from lakewright.model.tasks.multilabel import MultilabelClassification, MultilabelColumns, MultilabelSettings
from lakewright.model.tasks.similarity import SentenceSimilarity, SimilarityColumns, SimilaritySettings
from lakewright.model.tasks.tables import of_predictions
from lakewright.settings.sections import Columns
from recipes import recipe_for

NOTHING = Encoded(Ragged(np.empty(0, np.int32), np.zeros(1, np.int64)))


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_each_label_gets_the_threshold_that_finds_its_rows() -> None:
    """One label is said timidly (true rows from 0.2 on), the other boldly (true rows from 0.8 on)."""
    random = np.random.default_rng(0)
    truths, logits = [], []
    for _ in range(400):
        timid, bold = random.random() < 0.3, random.random() < 0.3
        truths.append(["timid"] * timid + ["bold"] * bold)
        said = [random.uniform(0.8, 0.99) if bold else random.uniform(0.4, 0.7),
                random.uniform(0.2, 0.4) if timid else random.uniform(0.01, 0.1)]  # fmt: skip
        logits.append(np.array([logit(p) for p in said], dtype=np.float32))
    task = MultilabelClassification(("bold", "timid"), (0.5, 0.5))
    tuned = task.tune(logits, NOTHING, [], truths)
    assert 0.68 < tuned.thresholds[0] < 0.82 and 0.08 < tuned.thresholds[1] < 0.22
    predictions = tuned.decode(logits, NOTHING, [])
    assert [sorted(row["labels"]) for row in predictions] == [sorted(truth) for truth in truths]
    assert replace(task, tuned=False).tune(logits, NOTHING, [], truths).thresholds == (0.5, 0.5)


def test_labels_as_columns_of_0_and_1() -> None:
    table = pa.table({"t": ["a", "b", "c"], "joy": [1, 0, 0], "fear": pa.array([1, 0, None], pa.int8())})
    columns = {"text": "t", "labels": ["joy", "fear"]}
    (read,) = read_whole(MultilabelClassification, [table], columns, MultilabelSettings())
    assert read["truth"].to_pylist() == [["joy", "fear"], [], None]
    with pytest.raises(DataError, match="holds 2 in row 1"):
        wrong = pa.table({"t": ["a", "b"], "joy": [1, 2], "fear": [0, 0]})
        list(read_whole(MultilabelClassification, [wrong], columns, MultilabelSettings()))


def test_ordered_classes_expect_a_value_and_know_their_distance() -> None:
    task = TextClassification(("1", "2", "3", "4", "5"), ordinal=True)
    logits = [np.log(np.array([0.1, 0.1, 0.1, 0.2, 0.5], dtype=np.float32))]
    (prediction,) = task.decode(logits, NOTHING, [])
    assert prediction["label"] == "5"
    assert prediction["expected"] == pytest.approx(0.1 + 0.2 + 0.3 + 0.8 + 2.5)
    near = task.scorer(["4"], [prediction], []).metrics(np.ones(1))
    far = task.scorer(["1"], [prediction], []).metrics(np.ones(1))
    assert near["mae"] == 1 and far["mae"] == 4 and near["within_one"] == 1 and far["within_one"] == 0


@given(
    st.integers(2, 7).flatmap(
        lambda classes: st.lists(
            st.lists(st.floats(-60, 60, width=32), min_size=classes, max_size=classes), min_size=1, max_size=6
        )
    )
)
def test_the_cumulative_probabilities_of_ordered_classes_never_cross(rows: list[list[float]]) -> None:
    """P(y ≤ k) never falls with k and ends at 1: they are sums of one softmax. Both ways to decode say so."""
    labels = tuple(str(place) for place in range(len(rows[0])))
    task = Classification(labels, ordinal=True, inputs={"n": "number"})
    logits = np.array(rows, np.float32)
    table = task.decode_table(logits).column("probabilities").to_pylist()
    for prediction, cells in zip(task.decode(list(logits), NOTHING, []), table, strict=True):
        assert prediction["probabilities"] == dict(cells)
        cumulative = np.cumsum([prediction["probabilities"][label] for label in labels])
        assert (np.diff(cumulative) >= 0).all() and cumulative[0] >= 0 and cumulative[-1] == pytest.approx(1)
        assert 0 <= prediction["expected"] <= len(labels) - 1 + 1e-9


@pytest.mark.parametrize("settings", [TextClassificationSettings, ClassificationSettings])
def test_a_threshold_decides_between_two_classes(settings: type[ClassSettings]) -> None:
    kind: type[Classification] = TextClassification if settings is TextClassificationSettings else Classification
    table = pa.table({"text": ["a", "b"], "truth": ["no", "yes"]})
    inputs: dict[str, Kind] = {"text": "text"}
    task = kind.fit([table], inputs, settings(threshold=0.17))  # type: ignore[call-arg]
    assert task.describe()["threshold"] == 0.17 and kind.open(task.describe()) == task
    assert "threshold" not in kind.fit([table], inputs, settings()).describe()  # type: ignore[call-arg]
    logits = [np.array([0, logit(share)], np.float32) for share in (0.16, 0.18, 0.6)]
    predictions = task.decode(logits, NOTHING, [])
    assert [each["label"] for each in predictions] == ["no", "yes", "yes"]
    assert [each["confidence"] for each in predictions] == pytest.approx([0.84, 0.18, 0.6])
    assert [next(iter(each["probabilities"])) for each in predictions] == ["no", "no", "yes"]  # the highest first
    assert [each["confidence"] == each["probabilities"][each["label"]] for each in predictions] == [True] * 3
    columns = task.decode_table(np.stack(logits))
    assert columns.equals(of_predictions(task, predictions))
    metrics = task.scorer(["no", "yes", "no"], predictions, []).metrics(np.ones(3))
    assert metrics["accuracy"] == 2 / 3
    edge = replace(task, threshold=predictions[1]["probabilities"]["yes"])
    assert [each["label"] for each in edge.decode(logits, NOTHING, [])] == ["no", "yes", "yes"]  # at least
    three = pa.table({"text": ["a", "b", "c"], "truth": ["no", "yes", "perhaps"]})
    with pytest.raises(ProjectError, match="between two classes, and there are 3: no, perhaps, yes"):
        kind.fit([three], inputs, settings(threshold=0.17))  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        settings(threshold=1.2)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="and 3 are named"):
        settings(threshold=0.2, labels=["a", "b", "c"])  # type: ignore[call-arg]


@pytest.mark.parametrize("ordinal", [False, True])
def test_the_prior_is_corrected_by_a_shift_of_the_logits(ordinal: bool) -> None:
    """Stored with the task, and the same in rows and in columns, to the last bit; a threshold is of the corrected
    probability."""
    plain = Classification(("1", "2", "3"), ordinal)
    task = plain.shifted([0.5, -1.25, 1 / 3])
    assert Classification.open(json.loads(json.dumps(task.describe()))) == task
    assert "prior_shift" not in plain.describe()
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rows = task.decode(list(logits), NOTHING, [])
    assert task.decode_table(logits).equals(of_predictions(task, rows))
    before = plain.decode(list(logits), NOTHING, [])
    assert [row["label"] for row in rows] != [row["label"] for row in before]
    for row, other in zip(rows, before, strict=True):
        odds = {label: share * np.exp(by) for (label, share), by in zip(
            sorted(other["probabilities"].items()), task.shift, strict=True)}  # fmt: skip
        assert row["probabilities"] == pytest.approx({label: each / sum(odds.values()) for label, each in odds.items()})
        assert row["confidence"] == max(row["probabilities"].values())
    decided = replace(Classification(("no", "yes")), threshold=0.5).shifted([0.0, 2.0])
    (row,) = decided.decode([np.array([1.0, 0.0], np.float32)], NOTHING, [])
    assert row["label"] == "yes" and row["confidence"] == pytest.approx(1 / (1 + np.exp(-1.0)))


@pytest.mark.parametrize("shift", [[0.0], [0.0, 1.0, 2.0], [0.0, float("nan")], [0.0, "1"], [0, float("inf")]])
def test_a_shift_that_fits_no_labels_is_refused(shift: list[Any]) -> None:
    described = {**Classification(("no", "yes")).describe(), "prior_shift": shift}
    with pytest.raises(ValueError, match="2 finite numbers"):
        Classification.open(described)


def test_an_order_that_is_not_known_is_asked_for() -> None:
    table = pa.table({"text": ["a", "b"], "truth": ["bad", "good"]})
    with pytest.raises(ProjectError, match="order"):
        TextClassification.fit([table], {"text": "text"}, TextClassificationSettings(ordinal=True))
    ordered = TextClassificationSettings(ordinal=True, labels=["bad", "middling", "good"])
    assert TextClassification.fit([table], {"text": "text"}, ordered).labels == ("bad", "middling", "good")


def test_the_score_is_fitted_in_the_datas_unit() -> None:
    task = SentenceSimilarity(scored=True, low=0.0, high=5.0)
    cosines = np.array([0.1, 0.4, 0.7, 1.0])
    vectors: list[Any] = []
    for cosine in cosines:
        vectors += [np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])]
    encoded = Encoded(Ragged(np.zeros(8, np.int32), np.arange(9)), rows=np.arange(0, 9, 2))
    tuned = task.tune(vectors, encoded, [], list(5 * cosines - 0.5))
    assert (tuned.slope, tuned.intercept) == pytest.approx((5, -0.5))
    scores = [row["score"] for row in tuned.decode(vectors, encoded, [{}] * 4)]
    assert scores == pytest.approx([0.0, 1.5, 3.0, 4.5])
    (alone,) = tuned.decode(vectors[:1], Encoded(Ragged.of([[1]], np.int32), rows=np.arange(2)), [{}])
    assert alone == {"embedding": [1.0, 0.0]}


@pytest.mark.parametrize("max_length", [12, 20, 60])
def test_an_answer_is_found_through_windows(tiny_base: Path, max_length: int) -> None:
    context = "we saw a granite today . " * 5 + "the dog is 😀 here , and my rose is old . " + "who has it ? " * 5
    start = context.index("rose")
    row = {"question": "what is old", "context": context}
    truth = [{"start": start, "end": start + 4, "text": "rose"}]
    task = QuestionAnswering(may_lack=True)
    encoded = recipe_for(task, tiny_base, max_length, "windows", 3).encode([row])
    targets = task.targets([truth], encoded, [row])
    logits = [np.where(np.stack([targets[i] & 1, targets[i] & 2], axis=1) > 0, 9.0, -9.0) for i in range(len(targets))]
    (prediction,) = task.decode(logits, encoded, [row])
    assert (prediction["answer"], prediction["start"], prediction["end"]) == ("rose", start, start + 4)
    assert prediction["answers"][0]["score"] == prediction["score"] > 0.4

    nothing = task.targets([[]], encoded, [row])
    silent = [np.where(np.stack([nothing[i] & 1, nothing[i] & 2], axis=1) > 0, 9.0, -9.0) for i in range(len(nothing))]
    (prediction,) = task.decode(silent, encoded, [row])
    assert (prediction["answer"], prediction["start"], prediction["no_answer"]) == ("", -1, pytest.approx(1, abs=1e-3))


def test_when_to_say_no_answer_is_learned_on_validation(tiny_base: Path) -> None:
    """The right span always leads by 1, and "no answer" by 3 in the rows that have none: the threshold lies between."""
    rows = [{"question": "what is old", "context": "my rose is old"}] * 20
    truths = [[{"start": 3, "end": 7, "text": "rose"}] if i % 2 else [] for i in range(20)]
    task = QuestionAnswering(may_lack=True)
    encoded = recipe_for(task, tiny_base, 40, "windows", 3).encode(rows)
    targets = task.targets([[{"start": 3, "end": 7, "text": "rose"}]] * 20, encoded, rows)
    logits = []
    for i in range(20):
        said = np.where(np.stack([targets[i] & 1, targets[i] & 2], axis=1) > 0, 2.0, -9.0)
        said[0] = 2.5 if truths[i] else 3.5
        logits.append(said)
    assert [row["answer"] for row in task.decode(logits, encoded, rows)] == [""] * 20
    tuned = task.tune(logits, encoded, rows, truths)
    assert [row["answer"] for row in tuned.decode(logits, encoded, rows)] == [
        "rose" if i % 2 else "" for i in range(20)
    ]


def test_rows_are_read_by_their_inputs() -> None:
    inputs: Any = {"text": "text", "age": "number", "kind": "category"}
    assert read_row(inputs, {"text": "a", "age": 3, "kind": 7}, 0) == {"text": "a", "age": 3.0, "kind": "7"}
    assert read_row(inputs, "a", 0) == {"text": "a", "age": None, "kind": None}
    assert read_row(inputs, {"text": "a", "age": float("nan")}, 0)["age"] is None
    with pytest.raises(DataError, match="row 2: 'age' is str, not a number"):
        read_row(inputs, {"text": "a", "age": "old"}, 2)
    with pytest.raises(DataError, match="has 'aeg', which is not an input, and has no 'age'"):
        read_row(inputs, {"text": "a", "kind": "x", "aeg": 3}, 0)
    assert read_row(inputs, {"text": "a", "age": 3, "kind": True}, 0)["kind"] == "true"
    for number in (float("inf"), -float("inf"), 10**400):
        with pytest.raises(DataError, match="row 1: 'age' is a number that is infinite or too large"):
            read_row(inputs, {"text": "a", "age": number}, 1)
    with pytest.raises(DataError, match="row 1 has no 'context'"):
        read_row({"question": "text", "context": "text"}, {"question": "why"}, 1)
    tokens: Any = {"text": "text", "tokens": "words"}
    assert read_row(tokens, {"tokens": ["a", "b"]}, 0) == {"text": "a b", "tokens": ["a", "b"]}
    assert read_row(tokens, "a b", 0) == {"text": "a b", "tokens": None}


def test_labels_count_as_the_class_that_they_are_merged_into() -> None:
    table = pa.table({"text": ["a", "b", "c", "d"], "stars": [1, 2, 5, None]})
    columns = {"text": "text", "label": "stars"}
    merged = TextClassificationSettings(merge={"1": "bad", "2": "bad"})
    (read,) = read_whole(TextClassification, [table], columns, merged)
    assert read["truth"].to_pylist() == ["bad", "bad", "5", None]
    with pytest.raises(DataError, match="'3', which the column 'stars' does not hold"):
        list(read_whole(TextClassification, [table], columns, TextClassificationSettings(merge={"3": "bad"})))


@pytest.mark.parametrize("values", [[True, False, None], [1.0, 2.0, None], [1, 2, None], ["x", "y", None]])
def test_a_category_is_the_same_in_a_table_and_in_json(values: list[Any]) -> None:
    table = pa.table({"t": ["a", "b", "c"], "k": values, "y": ["p", "q", "p"]})
    columns = {"text": "t", "label": "y", "categories": ["k"]}
    (read,) = read_whole(TextClassification, [table], columns, TextClassificationSettings())
    task = TextClassification.fit([read], {"text": "text", "k": "category"}, TextClassificationSettings())
    for row, value in zip(read.drop_columns("truth").to_pylist(), values, strict=True):
        assert read_row(task.inputs, {"text": row["text"], "k": value}, 0) == row


@pytest.mark.parametrize(
    ("roles", "columns", "named"),
    [
        (TextClassificationColumns, {"text": "t", "label": "y", "numbers": ["y"]}, "numbers and label"),
        (MultilabelColumns, {"text": "t", "labels": ["y", "z"], "categories": ["z"]}, "categories and labels"),
        (SimilarityColumns, {"text": "t", "text_pair": "t", "score": "y"}, "text and text_pair"),
    ],
)
def test_a_column_is_read_once_and_never_as_its_own_answer(
    roles: type[Columns], columns: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=f"{named} both name the column"):
        roles(**columns)
    TextClassificationColumns(text="t", label="y", group="t", split="y")


def columns_of(train: Sequence[float | None], rows: Sequence[float | None]) -> NDArray[np.float32]:
    """The rows' numbers as the step dense gives them, fitted on train."""
    fitted, _ = Dense.fit([{"n": train}], {"n": "number"}, DenseSettings(), Wanted("row"))
    columns = fitted.encode({"n": rows}).columns
    assert columns is not None
    return columns


def test_a_number_far_from_all_others_neither_hides_them_nor_breaks_a_prediction() -> None:
    values = [*range(200), 1e300]
    encoded = columns_of(values, [0.0, 199.0, 1e300, -1e308, None])[:, 0]
    assert encoded[1] - encoded[0] > 2 and encoded[2:].tolist() == [10.0, -10.0, 0.0]
    rare = columns_of([0.0] * 500 + [5.0], [0.0, 5.0])
    assert rare[1, 0] - rare[0, 0] > 1
    for strange in ([1e300, -1e300], [7.0, 7.0], [None, None]):
        assert np.isfinite(columns_of(strange, strange)).all()


def test_labels_that_tell_no_rows_apart_are_refused() -> None:
    columns: dict[str, Any] = {"text": "t", "labels": ["a", "b"]}
    settings = MultilabelSettings()
    with pytest.raises(DataError, match=r"column 'b' .* is 1 in no row"):
        table = pa.table({"t": ["x", "y"], "a": [1, 0], "b": [0, None]})
        list(read_whole(MultilabelClassification, [table], columns, settings))
    for labels, what in (
        ([[], []], "no row of train has a label"),
        ([["a"], ["a"]], "every row of train has the same"),
    ):
        (read,) = read_whole(
            MultilabelClassification,
            [pa.table({"t": ["x", "y"], "l": pa.array(labels, pa.list_(pa.string()))})],
            {"text": "t", "labels": "l"},
            settings,
        )
        with pytest.raises(DataError, match=what):
            MultilabelClassification.fit([read], {"text": "text"}, settings)


def test_columns_that_nobody_asked_for_do_no_harm_and_misspelt_ones_do() -> None:
    beside: Any = {"text": "text", "age": "number"}
    assert read_row(beside, {"text": "a", "age": None, "more": 1}, 0) == {"text": "a", "age": None}
    with pytest.raises(DataError, match="has 'more', which is not an input, and has no 'age'"):
        read_row(beside, {"text": "a", "more": 1}, 0)
    pair: Any = {"text": "text", "text_pair": "optional text"}
    assert read_row(pair, {"text": "a", "source": "web"}, 0)["text_pair"] is None
    with pytest.raises(DataError, match="has 'text_piar', which is not an input, and has no 'text_pair'"):
        read_row(pair, {"text": "a", "text_piar": "b"}, 0)
    tokens: Any = {"text": "text", "tokens": "words"}
    assert read_row(tokens, {"text": "a b", "id": 3}, 0)["tokens"] is None


def test_a_text_that_a_row_lacks_is_missed_whatever_its_part() -> None:
    beside: dict[str, Kind] = {"text": "text", "negative": "optional text", "age": "number", "shelf": "category"}
    assert whole_row({"text": "a", "negative": "b", "shelf": None, "age": 3.0}, beside) == "a\nb\nage=3.0"
    rows = [{"text": "a", "text_pair": "b", "negative": other} for other in ("c", None, " ")]
    texts: dict[str, Kind] = {"text": "text", "text_pair": "optional text", "negative": "optional text"}
    assert whole_rows(pa.Table.from_pylist(rows), texts) == ["a\nb\nc", None, None]
    numbers: dict[str, Kind] = {"age": "number", "shelf": "category"}
    table = pa.table({"age": [1.0, None, None], "shelf": ["x", "y", None]})
    assert whole_rows(table, numbers) == ["age=1.0\nshelf=x", "shelf=y", None]


def test_scores_that_do_not_differ_are_refused() -> None:
    columns = {"text": "text", "text_pair": "other", "score": "score"}
    table = pa.table({"text": ["a", "b"], "other": ["c", "d"], "score": [3.0, 3.0]})
    with pytest.raises(DataError, match=r"column .score. .* holds the same score in every row"):
        list(read_whole(SentenceSimilarity, [table], columns, SimilaritySettings()))
