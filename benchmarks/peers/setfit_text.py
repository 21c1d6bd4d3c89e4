"""SetFit: pairs of rows tune the encoder, then a logistic regression learns the labels. Its own defaults.

By default it trains on every pair of rows, each the same class or not, so the cost grows with the square of the rows:
2,000 rows of two classes are 2 million pairs, Banking77's 10,003 are 99 million, and all are held in memory. SetFit is
meant for a few rows a class. Here it gets all rows and as many pairs as fit into --max-seconds: its own `max_steps`, so
that the learning rate still warms up and decays, from the speed of a few steps beforehand (not counted).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from peer import Predict, measure
from setfit import SetFitModel, Trainer, TrainingArguments

TRIAL = 10  # steps
TRIAL_ROWS = 200


def fit(rows: pd.DataFrame, given: argparse.Namespace) -> tuple[Predict, dict[str, Any]]:
    began = time.perf_counter()
    train(rows.sample(min(TRIAL_ROWS, len(rows)), random_state=given.seed), given, steps=2)  # the first steps are slow
    warm = time.perf_counter()
    train(rows.sample(min(TRIAL_ROWS, len(rows)), random_state=given.seed), given, steps=TRIAL)
    ended = time.perf_counter()
    affordable = int(given.max_seconds / ((ended - warm) / TRIAL))

    counts = rows["label"].value_counts()
    every = len(rows) * (len(rows) + 1) // 2  # as SetFit counts them: each row with itself, too
    same = int((counts * (counts + 1) // 2).sum())
    pairs = 2 * max(same, every - same)
    steps = -(-pairs // TrainingArguments().embedding_batch_size)
    stopped = affordable < steps
    model = train(rows, given, affordable if stopped else -1)
    notes = {
        "stopped": stopped,
        "pairs": min(steps, affordable) * TrainingArguments().embedding_batch_size,
        "pairs_in_all": pairs,
        "not_counted": ended - began,
    }
    return lambda texts: model.predict(list(texts)), notes


def train(rows: pd.DataFrame, given: argparse.Namespace, steps: int) -> SetFitModel:
    model = SetFitModel.from_pretrained(given.base, labels=sorted(set(rows["label"])))
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=str(Path(out)), max_steps=steps, seed=given.seed, report_to="none", show_progress_bar=False
        )
        Trainer(model, settings, Dataset.from_dict(rows.to_dict("list"))).train()
    return model


if __name__ == "__main__":
    measure("setfit", fit, __doc__, {"--max-seconds": 3600})
