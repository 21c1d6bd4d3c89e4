"""One suite over every task: what goes in as truth comes out of perfect logits, and a stored task is the same task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakewright import plugins
from lakewright.encodings.tokens import Tokens
from lakewright.errors import DataError, ProjectError
from lakewright.learners.encoder.base import load_tokens
from lakewright.tasks import IGNORED


@dataclass(frozen=True)
class Case:
    """Rows of one task, as a table holds them, and what may be wrong with one."""

    columns: dict[str, str]
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
    "token_classification": Case(
        {"tokens": "words", "tags": "tags"},
        {
            "words": [["we", "saw", "a", "dog", "today"], ["my", "rose", "oak", "is", "old"], ["nothing", "here"]],
            "tags": [["O", "O", "O", "B-animal", "O"], ["O", "B-plant", "I-plant", "O", "O"], ["O", "O"]],
        },
        {"words": [["a", "b"]], "tags": [["O", "X-what"]]},
        "'tags'",
    ),
}


@pytest.fixture(scope="module")
def tokens(tiny_base: Path) -> Tokens:
    return load_tokens(tiny_base, 32)


def test_every_task_has_its_case() -> None:
    assert set(CASES) == set(plugins.names("tasks"))


@pytest.mark.parametrize("name", sorted(CASES))
class TestTask:
    def test_perfect_logits_give_the_truth_back(self, name: str, tokens: Tokens) -> None:
        case, task_type = CASES[name], plugins.find("tasks", name)
        read = task_type.read(pa.table(case.rows), case.columns)
        texts, truths = read["text"].to_pylist(), read["truth"].to_pylist()
        task = task_type.fit(truths)
        encoded = tokens.encode(texts, positions=task.level == "token")
        targets = task.targets(truths, encoded, texts)
        logits = []
        for row in range(len(texts)):
            wanted = targets[row]
            perfect = np.full((len(wanted), task.outputs), -10.0, dtype=np.float32)
            places = np.flatnonzero(wanted != IGNORED)
            perfect[places, wanted[places]] = 10.0
            logits.append(perfect[0] if task.level == "row" else perfect)
        predictions = task.decode(logits, encoded, texts)
        scorer = task.scorer(truths, predictions)
        metrics = scorer.metrics(np.ones(len(texts)))
        assert metrics[scorer.primary] == 1.0
        assert set(metrics) == set(task.metrics)
        assert scorer.correct().all()
        assert all(0.9 < task.confidence(prediction) <= 1.0 for prediction in predictions)

    def test_a_stored_task_is_the_same(self, name: str) -> None:
        case, task_type = CASES[name], plugins.find("tasks", name)
        task = task_type.fit(task_type.read(pa.table(case.rows), case.columns)["truth"].to_pylist())
        assert task_type.open(task.describe()) == task

    def test_no_rows_give_no_predictions(self, name: str, tokens: Tokens) -> None:
        task = plugins.find("tasks", name).open({"labels": ["a", "b"]})
        assert task.decode([], tokens.encode([], positions=task.level == "token"), []) == []

    def test_wrong_rows_are_named(self, name: str) -> None:
        case = CASES[name]
        with pytest.raises(DataError, match=case.named):
            plugins.find("tasks", name).read(pa.table(case.wrong), case.columns)

    def test_a_missing_role_and_a_missing_column_are_named(self, name: str) -> None:
        case, task_type = CASES[name], plugins.find("tasks", name)
        first, *others = case.columns
        with pytest.raises(ProjectError, match=first):
            task_type.read(pa.table(case.rows), {role: case.columns[role] for role in others})
        with pytest.raises(DataError, match="no column 'lost'"):
            task_type.read(pa.table(case.rows), {**case.columns, first: "lost"})

    def test_the_loss_is_least_at_the_targets(self, name: str, tokens: Tokens) -> None:
        import torch

        case, task_type = CASES[name], plugins.find("tasks", name)
        read = task_type.read(pa.table(case.rows), case.columns)
        texts, truths = read["text"].to_pylist(), read["truth"].to_pylist()
        task = task_type.fit(truths)
        targets = task.targets(truths, tokens.encode(texts, positions=task.level == "token"), texts)
        padded = torch.from_numpy(targets.pad(np.arange(len(texts)), IGNORED, np.int64))
        right = torch.nn.functional.one_hot(padded.clamp(min=0), task.outputs).float() * 20
        if task.level == "row":
            right = right[:, 0]
        assert task.loss(right, padded, 0.0).max() < 1e-3
        assert task.loss(-right, padded, 0.0).min() > 1.0


def test_whole_numbers_stored_as_floats_are_classes() -> None:
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [1.0, None, 10.0, float("nan")]})
    task = plugins.find("tasks", "text_classification")
    read = task.read(table, {"text": "text", "label": "label"})
    assert read["truth"].to_pylist() == ["1", None, "10", None]
    assert task.fit(["10", "2", "1"]).labels == ("1", "2", "10")
