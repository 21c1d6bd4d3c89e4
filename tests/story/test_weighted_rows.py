"""Rows that count more than others, from a column: what is learned follows them, and no row without a weight passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import lakewright as lw
from lakewright.errors import DataError, UsageError
from lakewright.model.predictor import Predictor

ROWS = 400


def table() -> pd.DataFrame:
    """Two kinds of rows that contradict each other; those that say the truth weigh ten times as much."""
    draw = np.random.default_rng(5)
    height, right = draw.normal(size=ROWS), np.arange(ROWS) % 2 == 0
    high = np.where((height > 0) == right, "high", "low")
    return pd.DataFrame({"id": range(ROWS), "height": height, "weight": np.where(right, 30, 3), "label": high})


def project(folder: Path, rows: pd.DataFrame, learner: str, **more: Any) -> Path:
    rows.to_csv(folder / "rows.csv", index=False)
    values = {
        "name": "rows",
        "schema": "main.shop",
        "task": "classification",
        "data": {"source": "rows.csv", "columns": {"id": "id", "label": "label", "weight": "weight"}},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
        **more,
    }
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    return folder / "project.yml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("learner", ["trees", "forest", "linear"])
def test_what_is_learned_follows_the_heavy_rows(learner: str, here: Path) -> None:
    run = lw.run(project(here, table(), learner))
    predictor = Predictor.open(run.model_folder)
    assert list(predictor.recipe.inputs) == ["height"]
    answers = predictor.predict([{"height": 1.5}, {"height": -1.5}])
    assert [each["label"] for each in answers] == ["high", "low"]
    assert all(each["confidence"] > 0.75 for each in answers)
    assert run.report.metrics["accuracy"].value < 0.7  # the metrics count every row once


@pytest.mark.parametrize("balance", ["none", "weights", "undersample"])
def test_weights_have_a_mean_of_1_in_train_and_balancing_multiplies_them(balance: str, here: Path) -> None:
    rows = table()
    run = lw.run(project(here, rows, "linear", prepare={"balance": balance}))
    lake = lw.Workspace.open(lw.load_profile()).lake
    features = pd.DataFrame(lake.read(run.records["prepare"].features).to_pylist())  # type: ignore[attr-defined]
    own = rows.set_index("id")["weight"].loc[features["record_id"].astype(int)].to_numpy()
    by_label = features["weight"] / own
    train = features["split"] == "train"
    assert (by_label[train].groupby(features["truth"]).std() < 1e-6).all()
    if balance == "none":
        assert features["weight"][train].mean() == pytest.approx(1, rel=1e-5)
        assert by_label.std() < 1e-6  # in every split
    if balance == "weights":
        shares = by_label[train].groupby(features["truth"]).mean()
        counts = features["truth"][train].value_counts()
        assert shares["high"] / shares["low"] == pytest.approx(counts["low"] / counts["high"], rel=1e-5)


@pytest.mark.parametrize(("wrong", "shown"), [(0.0, "row 7: 0"), (-1.5, "row 7: -1.5"), (None, "row 7: ")])
def test_a_row_without_a_weight_is_an_error(wrong: float | None, shown: str, here: Path) -> None:
    rows = table()
    rows["weight"] = rows["weight"].astype(float)
    rows.loc[7, "weight"] = wrong
    with pytest.raises(DataError, match="has no number above 0 in 1 row") as error:
        lw.run(project(here, rows, "linear"))
    assert shown in error.value.cause and "SQL" in error.value.remedy


def test_what_has_no_weight_is_refused(here: Path) -> None:
    rows = table().assign(weight="heavy")
    with pytest.raises(DataError, match="weight"):
        lw.run(project(here, rows, "linear"))
    with pytest.raises(UsageError, match="would have no weight"):
        lw.run(project(here, table(), "trees", prepare={"balance": "smote"}))
