"""Trees whose probabilities are corrected stop by the loss of the corrected ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lakewright.data.rows.balancing import class_weights, prior_shift
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.trees import LEARNER as TREES
from lakewright.learning.learners.trees import TreesSettings
from lakewright.learning.learners.xgboost import LEARNER as XGBOOST
from lakewright.learning.learners.xgboost import XGBoostSettings
from lakewright.model.recipe import Column
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.runtimes.onnx import load
from lakewright.model.tasks.classification import Classification, softmax

COLUMNS = (Column("a", "a"), Column("b", "b"))


def examples(rows: int, shares: list[float], seed: int, balanced: bool) -> Examples:
    draw = np.random.default_rng(seed)
    targets = draw.choice(len(shares), rows, p=shares).astype(np.int32)
    columns = (draw.normal(size=(rows, 2)) + targets[:, None]).astype(np.float32)
    weights = np.ones(rows, np.float32)
    if balanced:
        by_label = class_weights(targets)
        weights = np.array([by_label[each] for each in targets.tolist()], np.float32)
    nothing: list[Any] = [None] * rows
    return Examples(Encoded.of_columns(columns), Ragged(targets, np.arange(rows + 1)), weights, nothing, nothing)


@pytest.mark.parametrize("shares", [[0.9, 0.1], [0.8, 0.15, 0.05]])
@pytest.mark.parametrize(
    ("learner", "settings"),
    [
        (TREES, TreesSettings(n_estimators=21, early_stopping_rounds=0, learning_rate=0.1)),
        (XGBOOST, XGBoostSettings(n_estimators=21, early_stopping_rounds=0, learning_rate=0.1)),
    ],
)
def test_the_watched_loss_is_that_of_corrected_probabilities(
    learner: Any, settings: Any, shares: list[float], tmp_path: Path
) -> None:
    labels = tuple("abc"[: len(shares)])
    train, validation = examples(500, shares, 0, True), examples(300, shares, 1, False)
    counts = dict(zip(labels, np.bincount(train.targets.values).tolist(), strict=True))
    task = Classification(labels).shifted(prior_shift(counts, labels))
    recipe: Any = SimpleNamespace(columns=COLUMNS)
    fitted = learner.fit(Training(task, settings, recipe, train, validation, tmp_path, tmp_path, tmp_path, "cpu", 1))
    logits = load(tmp_path, 1).compute({"columns": validation.encoded.columns})  # type: ignore[dict-item]
    truth = validation.targets.values

    def loss(values: Any) -> float:
        return float(-np.log(softmax(values)[np.arange(len(truth)), truth]).mean())

    assert fitted.history[-1]["step"] == 20
    assert fitted.history[-1]["validation_loss"] == pytest.approx(loss(logits + np.array(task.shift)), abs=1e-4)
    assert loss(logits) > 1.1 * loss(logits + np.array(task.shift))
