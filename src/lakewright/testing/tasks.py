"""The suite for a task: perfect logits give the truths back, and a stored task is the same task."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lakewright.data.rows.kinds import Row
from lakewright.evaluation.metrics import meaning
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.tasks import IGNORED, Logits, Loss, Task, read_whole

Perfect = Callable[[Task, Encoded, Sequence[Row], Sequence[Any], float], Logits]


def perfect_logits(task: Task, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any], surely: float) -> Logits:
    """Logits that agree with the truths: of one class a row or a token, of numbers, and of vectors with a cosine.

    `surely` is the logit of a class that is true; that of the others is its opposite. Below 0 the logits are wrong: a
    number is far from its target, and a cosine has the other sign.
    """
    targets = task.targets(truths, encoded, rows)
    logits = []
    for row in range(len(targets)):
        target = targets[row]
        if task.level == "vector":
            cosine = float(target[0]) * np.sign(surely)
            logits += [np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])]
        elif target.dtype.kind == "f":
            logits.append(target if surely > 0 else target + 100 * (1 + np.abs(target)))
        else:
            classes = np.full((len(target), task.outputs), -surely)
            places = np.flatnonzero(target != IGNORED)
            classes[places, target[places]] = surely
            logits.append(classes[0] if task.level == "row" else classes)
    return [values.astype(np.float32) for values in logits]


@dataclass(frozen=True)
class TaskCase:
    task: type[Task]
    columns: Mapping[str, Any]  # as data.columns: by role, columns of `rows`; the task needs the first role
    rows: Mapping[str, Sequence[Any]]  # a table, by column; each row has a truth that can be predicted
    recipe: Recipe  # encodes the rows' inputs
    wrong: Mapping[str, Sequence[Any]] | None = None  # a table that the task refuses, where there is one
    named: str = ""  # what the error about `wrong` names
    settings: Mapping[str, Any] = field(default_factory=dict)  # the keys of `task` beside its name
    perfect: Perfect = perfect_logits
    batch_losses: Collection[str] = ()  # losses that compare the rows of a batch with each other, not with targets

    def read(self, rows: Mapping[str, Sequence[Any]], columns: Mapping[str, Any]) -> Any:
        """What the task reads of a table: inputs and truths, one batch."""
        import pyarrow as pa

        (batch,) = read_whole(self.task, [pa.table(dict(rows))], columns, self._settings)
        return batch

    def open(self) -> Opened:
        batch = self.read(self.rows, self.columns)
        task = self.task.fit([batch], self.task.inputs_of(self.columns), self._settings)
        rows = batch.drop_columns("truth").to_pylist()
        return Opened(task, rows, batch["truth"].to_pylist(), self.recipe.encode(rows), self.perfect)

    def measures(self) -> set[str]:
        return set(self.task.measures(self._settings, self.columns))

    @property
    def _settings(self) -> Any:
        return self.task.settings.model_validate({"name": self.task.name, **self.settings})


@dataclass(frozen=True)
class Opened:
    """A task that was fitted on the rows of its case, and these rows."""

    task: Task
    rows: Sequence[Row]
    truths: Sequence[Any]
    encoded: Encoded
    perfect: Perfect

    def logits(self, surely: float = 10.0) -> Logits:
        return self.perfect(self.task, self.encoded, self.rows, self.truths, surely)


class TaskSuite:
    """Subclass it as Test…, with a fixture `case` that gives a TaskCase."""

    def test_perfect_logits_give_the_truth_back(self, case: TaskCase) -> None:
        import pytest

        opened = case.open()
        logits = opened.logits()
        task = opened.task.tune(logits, opened.encoded, opened.rows, opened.truths)
        predictions = task.decode(logits, opened.encoded, opened.rows)
        scorer = task.scorer(opened.truths, predictions, opened.rows)
        metrics = scorer.metrics(np.ones(len(opened.rows)))
        primary = meaning(scorer.primary)
        best = primary.range[1] if primary.higher_is_better else primary.range[0]
        near = 1e-6 if primary.to_one else 1e-3  # in the truth's own unit, which float32 logits round
        assert metrics[scorer.primary] == pytest.approx(best, abs=near)
        assert set(metrics) == case.measures()
        correct = scorer.correct()
        assert correct is None or correct.all()
        confidences = [task.confidence(prediction) for prediction in predictions]
        numbers = [confidence for confidence in confidences if confidence is not None]
        assert len(numbers) in (0, len(confidences)), "a task knows the confidence of every prediction or of none"
        assert all(0.0 <= confidence <= 1.0 for confidence in numbers)
        json.dumps(predictions)

    def test_what_comes_back_is_no_shortfall(self, case: TaskCase) -> None:
        opened = case.open()
        targets = opened.task.targets(opened.truths, opened.encoded, opened.rows)
        shortfalls = opened.task.shortfalls(opened.truths, opened.encoded, targets, opened.rows)
        assert [shortfall.name for shortfall in shortfalls if shortfall.lost.any()] == []
        rows = len(opened.rows)
        assert {(len(shortfall.lost), len(shortfall.of)) for shortfall in shortfalls} <= {(rows, rows)}

    def test_predictions_fit_their_columns(self, case: TaskCase) -> None:
        import pyarrow as pa
        import pytest

        from lakewright.data.lake.types import storable

        opened = case.open()
        predictions = opened.task.decode(opened.logits(), opened.encoded, opened.rows)
        columns = storable(opened.task.prediction_columns())
        assert {name for prediction in predictions for name in prediction} <= {*columns.names, "confidence"}
        for column in columns:
            cells = [prediction.get(column.name) for prediction in predictions]
            values = [list(cell.items()) if isinstance(cell, dict) else cell for cell in cells]
            stored = pa.array(values, column.type).to_pylist()
            assert stored == (pytest.approx(values) if pa.types.is_floating(column.type) else values)

    def test_as_a_table_the_predictions_are_the_same(self, case: TaskCase) -> None:
        from lakewright.model.tasks.tables import decodes_tables, of_predictions, table_schema

        opened = case.open()
        task, logits = opened.task, opened.logits()
        table = of_predictions(task, task.decode(logits, opened.encoded, opened.rows))
        assert table.num_rows == len(opened.rows) and table.schema == table_schema(task.prediction_columns())
        if decodes_tables(task):
            assert task.decode_table(np.stack(logits)).equals(table)

    def test_a_stored_task_is_the_same(self, case: TaskCase) -> None:
        task = case.open().task
        assert type(task).open(json.loads(json.dumps(task.describe()))) == task

    def test_a_shift_of_the_prior_is_stored_and_added_to_the_logits(self, case: TaskCase) -> None:
        import pytest

        from lakewright.model.tasks import corrects_prior
        from lakewright.model.tasks.tables import decodes_tables, of_predictions

        opened = case.open()
        task, logits = opened.task, opened.logits(1.0)
        if not corrects_prior(task):
            pytest.skip("the task has no `shifted`")
        shift = [3.0 - 1.75 * place for place in range(len(task.labels))]
        shifted = task.shifted(shift)
        stored = type(task).open(json.loads(json.dumps(shifted.describe())))
        assert stored == shifted and stored != task
        predictions = stored.decode(logits, opened.encoded, opened.rows)
        added = [values + np.array(shift, np.float32) for values in logits]
        assert predictions == task.decode(added, opened.encoded, opened.rows) != task.decode(logits, opened.encoded, [])
        if decodes_tables(stored):
            assert stored.decode_table(np.stack(logits)).equals(of_predictions(stored, predictions))

    def test_no_rows_give_no_predictions(self, case: TaskCase) -> None:
        opened = case.open()
        assert opened.task.decode([], opened.encoded.take(np.empty(0, dtype=np.int64)), []) == []

    def test_wrong_rows_are_named(self, case: TaskCase) -> None:
        import pytest

        from lakewright.errors import DataError

        if case.wrong is None:
            pytest.skip("the case has no wrong rows")
        with pytest.raises(DataError, match=case.named):
            case.read(case.wrong, case.columns)

    def test_a_missing_role_and_a_missing_column_are_named(self, case: TaskCase) -> None:
        import pytest

        from lakewright.errors import DataError, ProjectError

        first, *roles = case.columns
        with pytest.raises(ProjectError, match=first):
            case.read(case.rows, {role: case.columns[role] for role in roles})
        absent = "lost" if isinstance(case.columns[first], str) else ["lost"]
        with pytest.raises(DataError, match="no column 'lost'"):
            case.read(case.rows, {**case.columns, first: absent})

    def test_every_loss_is_least_at_the_targets(self, case: TaskCase) -> None:
        import torch

        opened = case.open()
        task = opened.task
        targets = task.targets(opened.truths, opened.encoded, opened.rows)
        numbers = targets.values.dtype.kind == "f"
        padded = torch.from_numpy(targets.pad(np.arange(len(targets)), IGNORED, np.float32 if numbers else np.int64))
        for name in set(task.losses) - set(case.batch_losses):
            right, wrong = (
                float(task.loss(torch.from_numpy(stacked(opened, surely, padded.shape[1])), padded, Loss(name)).max())
                for surely in (20.0, -20.0)
            )
            assert right < wrong, name
            if not numbers:
                assert right < 1e-3, name


def stacked(opened: Opened, surely: float, tokens: int) -> Any:
    """Perfect logits as the loss takes them."""
    logits = opened.logits(surely)
    if opened.task.level == "vector":
        return np.stack(logits).reshape(len(opened.rows), 2, -1)
    if opened.task.level == "token":
        return np.stack([np.pad(values, ((0, tokens - len(values)), (0, 0))) for values in logits])
    return np.stack(logits)
