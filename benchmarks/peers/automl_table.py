"""What every peer of benchmarks/automl.py does around its search: rows read, test predicted, seconds and bytes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Predict = Callable[[pd.DataFrame], Any]
ROWS = 20  # of one row each, for its time


def measure(package: str, fit: Callable[[pd.DataFrame, bool, float, int, Path], Predict]) -> None:
    rows, into, kind, seconds, seed = sys.argv[1:]
    folder = Path(into)
    table = pd.read_parquet(rows)
    learned = table[table["split"] != "test"].drop(columns="split")
    test = table[table["split"] == "test"].drop(columns=["split", "target"])
    began = time.monotonic()
    predict = fit(learned, kind == "number", float(seconds), int(seed), folder)
    took = time.monotonic() - began
    predicted = np.asarray(predict(test), np.float64)
    np.save(folder / "predictions.npy", predicted)
    kept = sum(each.stat().st_size for each in (folder / "model").rglob("*") if each.is_file())
    row = statistics.median(one_row(predict, test.iloc[place : place + 1]) for place in range(ROWS))
    result = {"seconds": took, "row": row, "bytes": kept, "package": f"{package} {version(package)}"}
    (folder / "result.json").write_text(json.dumps(result))


def one_row(predict: Predict, row: pd.DataFrame) -> float:
    """Processor seconds of all threads."""
    began = time.process_time()
    predict(row)
    return time.process_time() - began
