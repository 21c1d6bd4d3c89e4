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
from peer import Predict, affordable, measure
from setfit import SetFitModel, Trainer, TrainingArguments
from transformers import TrainerCallback

TRIAL = 6  # steps
TRIAL_ROWS = 200


class Ends(TrainerCallback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())


def fit(rows: pd.DataFrame, given: argparse.Namespace) -> tuple[Predict, dict[str, Any]]:
    began = time.perf_counter()
    ends = Ends()
    train(rows.sample(min(TRIAL_ROWS, len(rows)), random_state=given.seed), given, TRIAL, ends)
    fitting = affordable(ends.at, given.max_seconds)
    tried = time.perf_counter()

    counts = rows["label"].value_counts()
    every = len(rows) * (len(rows) + 1) // 2  # as SetFit counts them: each row with itself, too
    same = int((counts * (counts + 1) // 2).sum())
    pairs = 2 * max(same, every - same)
    batch = TrainingArguments().embedding_batch_size
    stopped = fitting * batch < pairs
    model = train(rows, given, fitting if stopped else -1)
    notes = {
        "stopped": stopped,
        "part": f"{min(pairs, fitting * batch):,} of {pairs:,} pairs",
        "not_counted": tried - began,
    }
    return lambda texts: model.predict(list(texts)), notes


def train(rows: pd.DataFrame, given: argparse.Namespace, steps: int, *callbacks: TrainerCallback) -> SetFitModel:
    model = SetFitModel.from_pretrained(given.base, labels=sorted(set(rows["label"])))
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=str(Path(out)), max_steps=steps, seed=given.seed, report_to="none", show_progress_bar=False
        )
        rows_of_it = Dataset.from_dict(rows.to_dict("list"))
        Trainer(model, settings, rows_of_it, callbacks=list(callbacks)).train()
    return model


if __name__ == "__main__":
    measure("setfit", fit, __doc__)
