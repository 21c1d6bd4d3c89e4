"""Ludwig with a trainable `auto_transformer`, as its page on fine-tuning suggests: up to 5 epochs, AdamW, warm-up and
linear decay; its mixed precision is for GPUs alone. A tenth of the rows validates.

The page's rate of 1e-5, with the batch size of the best throughput, is a few small steps on a set of a few thousand
rows: here it is 1e-4 and batches of 32. It pads every text to the longest of the set (256 tokens at most), which takes
its time. It gets as many steps as fit into --max-seconds: its own `train_steps`, so that the learning rate still warms
up and decays, from the speed of a few steps beforehand (not counted). It is evaluated after each part of at most an
epoch, the last at the end: what it learned since an evaluation, it would not keep.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import pandas as pd
from peer import Predict, affordable, for_text_alone, measure

for_text_alone()

from ludwig.api import LudwigModel  # noqa: E402
from ludwig.callbacks import Callback  # noqa: E402

BATCH = 32
EPOCHS = 5
TRAIN = 0.9  # of the rows; the others validate
TRIAL = 5  # steps
TRIAL_ROWS = 100


class Ends(Callback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_batch_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())


def fit(rows: pd.DataFrame, given: argparse.Namespace) -> tuple[Predict, dict[str, Any]]:
    began = time.perf_counter()
    longest = rows.loc[rows["text"].str.len().nlargest(TRIAL_ROWS).index]  # as long as all are once padded
    ends = Ends()
    train(longest, given, TRIAL, TRIAL, ends)
    fitting = affordable(ends.at, given.max_seconds)
    tried = time.perf_counter()

    epoch = int(TRAIN * len(rows)) // BATCH
    steps = min(fitting, EPOCHS * epoch)
    parts = -(-steps // epoch)
    each = steps // parts
    model = train(rows, given, parts * each, each)

    def predict(texts: Any) -> list[str]:
        said, _ = model.predict(dataset=pd.DataFrame({"text": texts}), skip_save_predictions=True)
        return said["label_predictions"].tolist()

    notes = {
        "stopped": steps < EPOCHS * epoch,
        "part": f"{parts * each / epoch:.1f} of {EPOCHS} epochs",
        "not_counted": tried - began,
    }
    return predict, notes


def train(rows: pd.DataFrame, given: argparse.Namespace, steps: int, evaluated: int, *callbacks: Callback) -> Any:
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": given.base, "trainable": True}
    config = {
        "input_features": [{"name": "text", "type": "text", "encoder": encoder}],
        "output_features": [{"name": "label", "type": "category"}],
        "preprocessing": {"split": {"type": "random", "probabilities": [TRAIN, 1 - TRAIN, 0.0]}},
        "trainer": {
            "train_steps": steps,
            "steps_per_checkpoint": evaluated,
            "learning_rate": 1e-4,
            "batch_size": BATCH,
            "learning_rate_scheduler": {"warmup_fraction": 0.2, "decay": "linear"},
            "optimizer": {"type": "adamw"},
        },
    }
    model = LudwigModel(config, callbacks=list(callbacks))
    with tempfile.TemporaryDirectory() as out:
        model.train(dataset=rows, output_directory=out, random_seed=given.seed, skip_save_processed_input=True)
    return model


if __name__ == "__main__":
    measure("ludwig", fit, __doc__)
