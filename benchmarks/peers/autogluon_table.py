"""AutoGluon's single LightGBM on a table, with its defaults: train and validation as they are split, test predicted.

    python autogluon_table.py ROWS.parquet PREDICTIONS.npy number|class

ROWS holds `target` and `split`. In the environment of autogluon.tabular[lightgbm].
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main() -> None:
    rows, into, kind = sys.argv[1:]
    table = pd.read_parquet(rows)
    parts = {name: part.drop(columns="split") for name, part in table.groupby("split")}
    number = kind == "number"
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            "target",
            problem_type="regression" if number else "binary",
            eval_metric="root_mean_squared_error" if number else "log_loss",
            path=folder,
            verbosity=0,
        )
        predictor.fit(parts["train"], tuning_data=parts["validation"], hyperparameters={"GBM": {}})
        test = parts["test"].drop(columns="target")
        predicted = predictor.predict(test) if number else predictor.predict_proba(test)[1]
    np.save(into, np.asarray(predicted, np.float64))


if __name__ == "__main__":
    main()
