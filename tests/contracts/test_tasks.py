"""The suite for tasks over each of ours, and what single ones do beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakewright import plugins
from lakewright.data.rows.kinds import Row
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.tasks import Logits, Loss, Task, read_whole
from lakewright.model.tasks.answering import FIRST, LAST
from lakewright.testing import TaskCase, TaskSuite
from recipes import recipe_of, table_recipe


def several(task: Task, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any], surely: float) -> Logits:
    """Perfect logits of several labels a row."""
    targets = task.targets(truths, encoded, rows)
    return [np.where(targets[i] == 1, surely, -surely).astype(np.float32) for i in range(len(targets))]


def ends(task: Task, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any], surely: float) -> Logits:
    """Perfect logits of the first and the last token of an answer."""
    targets = task.targets(truths, encoded, rows)
    both = ([np.where(targets[i] & bit, surely, -surely) for bit in (FIRST, LAST)] for i in range(len(targets)))
    return [np.stack(logits, axis=1).astype(np.float32) for logits in both]


def exactly(task: Task, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any], surely: float) -> Logits:
    """Perfect logits of a number; wrong ones if `surely` is negative."""
    return [np.array([truth + min(surely, 0)], np.float32) for truth in truths]


CASES: dict[str, dict[str, Any]] = {
    "text_classification": {
        "columns": {"text": "said", "label": "kind"},
        "rows": {
            "said": ["the dog is here", "my rose is old", "who has a granite ?"],
            "kind": ["animal", "plant", "stone"],
        },
        "wrong": {"said": ["a", "b"], "kind": [0.5, 1.5]},
        "named": "'kind'",
    },
    "multilabel_classification": {
        "columns": {"text": "said", "labels": "kinds"},
        "rows": {
            "said": ["the dog is here", "my rose and the oak", "who has a granite ?", "nothing here"],
            "kinds": [["animal"], ["plant", "animal"], ["stone"], []],
        },
        "wrong": {"said": ["a"], "kinds": ['{"not": "a list"}']},
        "named": "'kinds'",
        "perfect": several,
    },
    "token_classification": {
        "columns": {"tokens": "words", "tags": "tags"},
        "rows": {
            "words": [["we", "saw", "a", "dog", "today"], ["my", "rose", "oak", "is", "old"], ["nothing", "here"]],
            "tags": [["O", "O", "O", "B-animal", "O"], ["O", "B-plant", "I-plant", "O", "O"], ["O", "O"]],
        },
        "wrong": {"words": [["a", "b"]], "tags": [["O", "X-what"]]},
        "named": "'tags'",
    },
    "question_answering": {
        "columns": {"question": "asked", "context": "told", "answers": "answers"},
        "rows": {
            "asked": ["who is here", "what is old", "where is the oak"],
            "told": ["the dog is here today", "my rose is old", "we saw a granite"],
            "answers": [[{"text": "the dog", "answer_start": 0}], [{"text": "rose", "answer_start": 3}], []],
        },
        "wrong": {"asked": ["a"], "told": ["b"], "answers": [[{"text": "c", "answer_start": 0}]]},
        "named": "'answers'",
        "perfect": ends,
    },
    "sentence_similarity": {
        "columns": {"text": "one", "text_pair": "other", "score": "alike"},
        "rows": {
            "one": ["the dog is here", "my rose is old", "we saw a granite"],
            "other": ["here is the dog", "a granite is here", "we saw an oak"],
            "alike": [5.0, 0.0, 2.0],
        },
        "wrong": {"one": ["a"], "other": ["b"], "alike": ["much"]},
        "named": "'alike'",
        "batch_losses": ["in_batch_negatives"],
    },
    "classification": {
        "columns": {"label": "kind", "numbers": ["age"], "categories": ["place"], "times": ["seen"]},
        "rows": {
            "kind": ["animal", "plant", "stone"],
            "age": [3.0, None, 2.5e9],
            "place": ["north", "south", None],
            "seen": ["2026-01-31", None, "2026-02-01T14:00:00+02:00"],
        },
        "wrong": {"kind": ["a"], "age": [1.0], "place": ["x"], "seen": ["yesterday"]},
        "named": "'seen'",
    },
    "regression": {
        "columns": {"label": "price", "numbers": ["age"], "categories": ["place"]},
        "rows": {"price": [3.5, -1.0, 1e6], "age": [3.0, None, 2.5], "place": ["north", "south", None]},
        "wrong": {"price": ["cheap"], "age": [1.0], "place": ["x"]},
        "named": "'price'",
        "perfect": exactly,
    },
}


def case_of(name: str, base: Path) -> TaskCase:
    task, described = plugins.TASKS.find(name), CASES[name]
    inputs = task.inputs_of(described["columns"])
    recipe = recipe_of(inputs, task.level, base, 32) if "text" in inputs.values() else table_recipe(inputs)
    return TaskCase(task=task, recipe=recipe, **described)


def test_every_task_has_its_case() -> None:
    assert set(CASES) == set(plugins.TASKS.names())


class TestTask(TaskSuite):
    @pytest.fixture(params=sorted(CASES))
    def case(self, request: pytest.FixtureRequest, tiny_base: Path) -> TaskCase:
        return case_of(request.param, tiny_base)

    def test_it_knows_its_confidence_and_wrong_rows(self, case: TaskCase) -> None:
        opened = case.open()
        predictions = opened.task.decode(opened.logits(), opened.encoded, opened.rows)
        known = [opened.task.confidence(prediction) is not None for prediction in predictions]
        assert all(known) if opened.task.truth != "number" else not any(known)
        assert case.wrong is not None


def test_partners_find_each_other_in_their_batch(tiny_base: Path) -> None:
    import torch

    task = case_of("sentence_similarity", tiny_base).open().task
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
    (read,) = read_whole(task, [table], {"text": "text", "label": "label"}, settings)
    assert read["truth"].to_pylist() == ["1", None, "10", None]
    whole = pa.table({"text": ["a", "b", "c"], "truth": ["10", "2", "1"]})
    assert task.fit([whole], {"text": "text"}, settings).labels == ("1", "2", "10")
