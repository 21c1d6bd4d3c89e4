"""AutoGluon on a table for a number of seconds, with a preset; test predicted.

    PRESET=medium_quality|best_quality python autogluon_automl.py ROWS.parquet FOLDER number|class SECONDS SEED

ROWS holds `target` and `split`; all rows that are not test are to learn from. In the environment of autogluon.tabular
with LightGBM, CatBoost, XGBoost and fastai; folds are trained one after the other, with all cores.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import automl_table
import pandas as pd
from autogluon.tabular import TabularPredictor


def fit(rows: pd.DataFrame, number: bool, seconds: float, seed: int, folder: Path) -> automl_table.Predict:
    predictor = TabularPredictor(
        "target",
        problem_type="regression" if number else "binary",
        eval_metric="root_mean_squared_error" if number else "roc_auc",
        path=str(folder / "model"),
        verbosity=0,
    )
    shuffled = rows.sample(frac=1, random_state=seed)  # it has no seed of its own: its holdout and its folds follow
    predictor.fit(
        shuffled,
        presets=os.environ["PRESET"],
        time_limit=seconds,
        dynamic_stacking=False,
        num_cpus=2,
        ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
    )

    def predict(rows: pd.DataFrame) -> Any:
        return predictor.predict(rows) if number else predictor.predict_proba(rows)[1]

    return predict


if __name__ == "__main__":
    automl_table.measure("autogluon.tabular", fit)
