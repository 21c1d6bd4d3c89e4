"""SetFit on few rows, its own defaults: pairs of rows tune the encoder, then a logistic regression learns the labels.

It gets --processor-seconds to train in. Where all of its pairs (every pair of rows, those of the rarer kind repeated)
would take longer, it gets as many as fit, by its own `max_steps`, so that the rate still warms up and decays; the speed
comes from a few steps beforehand, which do not count. The predictions of test go to a file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peer import affordable
from setfit import SetFitModel, Trainer, TrainingArguments, __version__
from setfit_text import TRIAL
from transformers import TrainerCallback


class Ends(TrainerCallback):  # type: ignore[misc]
    """The process's seconds when each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.process_time())


def train(rows: pd.DataFrame, given: argparse.Namespace, steps: int, *callbacks: TrainerCallback) -> SetFitModel:
    several = isinstance(rows["label"].iloc[0], list)
    strategy: dict[str, Any] = {"multi_target_strategy": "one-vs-rest"} if several else {}
    model = SetFitModel.from_pretrained(given.base, **strategy)
    model.model_body.max_seq_length = given.tokens
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=str(Path(out)), max_steps=steps, seed=given.seed, report_to="none", show_progress_bar=False
        )
        Trainer(model, settings, train_dataset=Dataset.from_pandas(rows), callbacks=list(callbacks)).train()
    return model


def pairs_of(labels: list[Any]) -> int:
    """As SetFit counts them: each row with itself, too, and the rarer kind as often as the other."""
    alike = [
        a == b if not isinstance(a, list) else any(x and y for x, y in zip(a, b, strict=True))
        for at, a in enumerate(labels)
        for b in labels[at:]
    ]
    return 2 * max(sum(alike), len(alike) - sum(alike))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="JSON: a list of {text, label}")
    parser.add_argument("--test", type=Path, required=True, help="JSON: a list of texts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--processor-seconds", type=float, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.DataFrame(json.loads(given.train.read_text(encoding="utf-8")))
    ends = Ends()
    train(rows, given, TRIAL, ends)
    fitting, batch = affordable(ends.at, given.processor_seconds), TrainingArguments().embedding_batch_size
    pairs = pairs_of(rows["label"].tolist())
    stopped = fitting * batch < pairs
    began = time.process_time()
    model = train(rows, given, fitting if stopped else -1)
    seconds = time.process_time() - began
    predicted = model.predict(json.loads(given.test.read_text(encoding="utf-8")), as_numpy=True)
    result = {
        "predicted": predicted.tolist(),
        "seconds": seconds,
        "version": __version__,
        "part": f"{min(pairs, fitting * batch)} of {pairs} pairs",
    }
    given.out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
