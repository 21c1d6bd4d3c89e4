"""Why there are no checkpoints of trees: LightGBM's trees on top of a stored booster are not those of one training,
unless each tree sees all rows and columns. If this fails, read docs/experiments.md, "Trees that go on after a kill"."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from lakewright.learning.learners.trees import TreesSettings

DEFAULTS = TreesSettings()


def grown(trees: int, sampled: bool, before: Any = None) -> Any:
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(2000, 8)).astype(np.float32)
    truth = columns[:, 0] * columns[:, 1] + columns[:, 2] + draw.normal(size=2000) > 0
    named = DEFAULTS.model_dump(include={"learning_rate", "num_leaves", "seed"})
    shares = {"subsample": DEFAULTS.subsample, "colsample_bytree": DEFAULTS.colsample_bytree, "bagging_freq": 1}
    settings = {
        **named, **(shares if sampled else {}), "objective": "binary", "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    train = lightgbm.Dataset(columns, truth, params={"verbosity": -1})
    booster = lightgbm.train(settings, train, trees, init_model=before)
    return booster, booster.predict(columns, raw_score=True)


@pytest.mark.parametrize("sampled", [True, False])
def test_trees_that_go_on_are_those_of_one_training_only_without_draws(sampled: bool) -> None:
    _, whole = grown(60, sampled)
    first, _ = grown(30, sampled)
    _, resumed = grown(30, sampled, lightgbm.Booster(model_str=first.model_to_string()))
    difference = float(np.abs(whole - resumed).max())
    assert difference > 0.1 if sampled else difference == 0.0
