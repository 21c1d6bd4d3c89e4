"""One suite over every task: what goes in as truth comes out of perfect logits, and a stored task is the same task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakewright import plugins
from lakewright.data.lake.types import storable
from lakewright.errors import DataError, ProjectError
from lakewright.model.recipe import Encoded
from lakewright.model.recipe.tokens import Tokens
from lakewright.model.tasks import IGNORED, Logits, Loss, Task
from lakewright.model.tasks.answering import FIRST, LAST
from recipes import recipe_for
from recipes import tokens as tokens_of


@dataclass(frozen=True)
class Case:
    """Rows of one task, as a table holds them, and what may be wrong with one."""

    columns: dict[str, Any]
    rows: dict[str, list[Any]]
    wrong: dict[str, list[Any]]
    named: str  # what the error about the wrong rows must name


CASES = {
    "text_classification": Case(
        {"text": "said", "label": "kind"},
        {"said": ["the dog is here", "my rose is old", "who has a granite ?"], "kind": ["animal", "plant", "stone"]},
        {"said": ["a", "b"], "kind": [0.5, 1.5]},
        "'kind'",
    ),
    "multilabel_classification": Case(
        {"text": "said", "labels": "kinds"},
        {
            "said": ["the dog is here", "my rose and the oak", "who has a granite ?", "nothing here"],
            "kinds": [["animal"], ["plant", "animal"], ["stone"], []],
        },
        {"said": ["a"], "kinds": ['{"not": "a list"}']},
        "'kinds'",
    ),
    "token_classification": Case(
        {"tokens": "words", "tags": "tags"},
        {
            "words": [["we", "saw", "a", "dog", "today"], ["my", "rose", "oak", "is", "old"], ["nothing", "here"]],
            "tags": [["O", "O", "O", "B-animal", "O"], ["O", "B-plant", "I-plant", "O", "O"], ["O", "O"]],
        },
        {"words": [["a", "b"]], "tags": [["O", "X-what"]]},
        "'tags'",
    ),
    "question_answering": Case(
        {"question": "asked", "context": "told", "answers": "answers"},
        {
            "asked": ["who is here", "what is old", "where is the oak"],
            "told": ["the dog is here today", "my rose is old", "we saw a granite"],
            "answers": [[{"text": "the dog", "answer_start": 0}], [{"text": "rose", "answer_start": 3}], []],
        },
        {"asked": ["a"], "told": ["b"], "answers": [[{"text": "c", "answer_start": 0}]]},
        "'answers'",
    ),
    "sentence_similarity": Case(
        {"text": "one", "text_pair": "other", "score": "alike"},
        {
            "one": ["the dog is here", "my rose is old", "we saw a granite"],
            "other": ["here is the dog", "a granite is here", "we saw an oak"],
            "alike": [5.0, 0.0, 2.0],
        },
        {"one": ["a"], "other": ["b"], "alike": ["much"]},
        "'alike'",
    ),
}


@pytest.fixture(scope="module")
def tokens(tiny_base: Path) -> Tokens:
    return tokens_of(tiny_base, 32)


def opened(name: str) -> tuple[Task, list[dict[str, Any]], list[Any]]:
    """The case's task as fitted on its rows, the rows' inputs and their truths."""
    case, task_type = CASES[name], plugins.TASKS.find(name)
    settings = task_type.settings(name=name)
    (read,) = task_type.read([pa.table(case.rows)], case.columns, settings)
    inputs = task_type.inputs_of(case.columns)
    return task_type.fit([read], inputs, settings), read.drop_columns("truth").to_pylist(), read["truth"].to_pylist()


def encode(task: Task, rows: list[dict[str, Any]], tiny_base: Path) -> Encoded:
    return recipe_for(task, tiny_base, 32).encode(rows)


def perfect(task: Task, encoded: Encoded, rows: list[Any], truths: list[Any], surely: float) -> np.ndarray | Logits:
    """Logits that say the truth."""
    targets = task.targets(truths, encoded, rows)
    made = []
    for i in range(len(targets)):
        wanted = targets[i]
        if task.level == "vector":
            cosine = float(wanted[0])
            made += [np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])]
        elif task.name == "multilabel_classification":
            made.append(np.where(wanted == 1, surely, -surely))
        elif task.name == "question_answering":
            made.append(np.stack([np.where(wanted & bit, surely, -surely) for bit in (FIRST, LAST)], axis=1))
        else:
            logits = np.full((len(wanted), task.outputs), -surely)
            places = np.flatnonzero(wanted != IGNORED)
            logits[places, wanted[places]] = surely
            made.append(logits[0] if task.level == "row" else logits)
    return [logits.astype(np.float32) for logits in made]


def test_every_task_has_its_case() -> None:
    assert set(CASES) == set(plugins.TASKS.names())


@pytest.mark.parametrize("name", sorted(CASES))
class TestTask:
    def test_perfect_logits_give_the_truth_back(self, name: str, tiny_base: Path) -> None:
        task, rows, truths = opened(name)
        encoded = encode(task, rows, tiny_base)
        logits = perfect(task, encoded, rows, truths, 10.0)
        task = task.tune(logits, encoded, rows, truths)
        predictions = task.decode(logits, encoded, rows)
        scorer = task.scorer(truths, predictions, rows)
        metrics = scorer.metrics(np.ones(len(rows)))
        assert metrics[scorer.primary] == pytest.approx(1.0)
        assert set(metrics) == set(task.measures(task.settings(name=name), CASES[name].columns))
        correct = scorer.correct()
        assert correct is None or correct.all()
        assert all(0.0 <= task.confidence(prediction) <= 1.0 for prediction in predictions)
        json.dumps(predictions)

    def test_what_comes_back_is_no_shortfall(self, name: str, tiny_base: Path) -> None:
        task, rows, truths = opened(name)
        encoded = encode(task, rows, tiny_base)
        shortfalls = task.shortfalls(truths, encoded, task.targets(truths, encoded, rows), rows)
        assert [each.name for each in shortfalls if each.lost.any()] == []
        assert {(len(each.lost), len(each.of)) for each in shortfalls} <= {(len(rows), len(rows))}

    def test_predictions_fit_their_columns(self, name: str, tiny_base: Path) -> None:
        task, rows, truths = opened(name)
        encoded = encode(task, rows, tiny_base)
        predictions = task.decode(perfect(task, encoded, rows, truths, 10.0), encoded, rows)
        columns = storable(task.prediction_columns())
        assert {part for said in predictions for part in said} <= {*columns.names, "confidence"}
        for field in columns:
            said = [prediction.get(field.name) for prediction in predictions]
            values = [list(value.items()) if isinstance(value, dict) else value for value in said]
            kept = pa.array(values, field.type).to_pylist()
            assert kept == (pytest.approx(values) if pa.types.is_floating(field.type) else values)

    def test_a_stored_task_is_the_same(self, name: str) -> None:
        task, _, _ = opened(name)
        assert type(task).open(json.loads(json.dumps(task.describe()))) == task

    def test_no_rows_give_no_predictions(self, name: str, tiny_base: Path) -> None:
        task, _, _ = opened(name)
        assert task.decode([], encode(task, [], tiny_base), []) == []

    def test_wrong_rows_are_named(self, name: str) -> None:
        case, task_type = CASES[name], plugins.TASKS.find(name)
        with pytest.raises(DataError, match=case.named):
            list(task_type.read([pa.table(case.wrong)], case.columns, task_type.settings(name=name)))

    def test_a_missing_role_and_a_missing_column_are_named(self, name: str) -> None:
        case, task_type = CASES[name], plugins.TASKS.find(name)
        settings = task_type.settings(name=name)
        first, *others = case.columns
        with pytest.raises(ProjectError, match=first):
            list(task_type.read([pa.table(case.rows)], {role: case.columns[role] for role in others}, settings))
        with pytest.raises(DataError, match="no column 'lost'"):
            list(task_type.read([pa.table(case.rows)], {**case.columns, first: "lost"}, settings))

    def test_every_loss_is_least_at_the_targets(self, name: str, tiny_base: Path) -> None:
        import torch

        task, rows, truths = opened(name)
        encoded = encode(task, rows, tiny_base)
        targets = task.targets(truths, encoded, rows)
        kind = np.float32 if task.level == "vector" else np.int64
        padded = torch.from_numpy(targets.pad(np.arange(len(targets)), IGNORED, kind))
        for loss in set(task.losses) - {"in_batch_negatives"}:
            values = []
            for surely in (20.0, -20.0):
                logits = perfect(task, encoded, rows, truths, surely)
                if task.level == "vector":
                    if surely < 0:  # each row's vectors are those of the row with the opposite score
                        logits = [logits[1 - i % 2 + 2 * (len(rows) - 1 - i // 2)] for i in range(len(logits))]
                    stacked = np.stack(logits).reshape(len(rows), 2, -1)
                elif task.level == "token":
                    width = padded.shape[1]
                    stacked = np.stack([np.pad(row, ((0, width - len(row)), (0, 0))) for row in logits])
                else:
                    stacked = np.stack(logits)
                values.append(float(task.loss(torch.from_numpy(stacked), padded, Loss(loss)).max()))
            assert values[0] < values[1], loss
            if task.level != "vector":
                assert values[0] < 1e-3, loss


def test_partners_find_each_other_in_their_batch() -> None:
    import torch

    task, _, _ = opened("sentence_similarity")
    apart = torch.eye(4)
    together = torch.stack([apart, apart], dim=1)  # [rows, 2, width]
    mixed = torch.stack([apart, apart.roll(1, dims=0)], dim=1)
    ones, loss = torch.ones(4, 1), Loss("in_batch_negatives")
    assert task.loss(together, ones, loss).max() < 1e-3
    assert task.loss(mixed, ones, loss).min() > 10


def test_whole_numbers_stored_as_floats_are_classes() -> None:
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1.0, None, 10.0, float("nan")]})
    task = plugins.TASKS.find("text_classification")
    settings = task.settings()
    (read,) = task.read([table], {"text": "text", "label": "label"}, settings)
    assert read["truth"].to_pylist() == ["1", None, "10", None]
    whole = pa.table({"text": ["a", "b", "c"], "truth": ["10", "2", "1"]})
    assert task.fit([whole], {"text": "text"}, settings).labels == ("1", "2", "10")
