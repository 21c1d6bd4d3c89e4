"""FLAML's AutoML on a table for a number of seconds, with its defaults; test predicted.

    python flaml_table.py ROWS.parquet FOLDER number|class SECONDS SEED

ROWS holds `target` and `split`; all rows that are not test are to learn from. In the environment of flaml[automl].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import automl_table
import pandas as pd
from flaml import AutoML


def fit(rows: pd.DataFrame, number: bool, seconds: float, seed: int, folder: Path) -> automl_table.Predict:
    search = AutoML()
    search.fit(
        X_train=rows.drop(columns="target"),
        y_train=rows["target"],
        task="regression" if number else "classification",
        metric="rmse" if number else "roc_auc",
        time_budget=seconds,
        seed=seed,
        verbose=0,
        log_file_name=str(folder / "flaml.log"),
    )

    def predict(rows: pd.DataFrame) -> Any:
        return search.predict(rows) if number else search.predict_proba(rows)[:, 1]

    return predict


if __name__ == "__main__":
    automl_table.measure("flaml", fit)
