"""Hugging Face's Trainer on Banking77, timed: samples a second over the steps after the warm-up.

Run by benchmarks/training.py, in a process of its own; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

WARM_UP = 10  # steps


class Clock(TrainerCallback):  # type: ignore[misc]
    """The seconds of the steps alone."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="train.parquet with text and label")
    parser.add_argument("--base", required=True, help="the encoder's folder")
    parser.add_argument("--padding", choices=["max_length", "longest"], required=True)
    parser.add_argument("--sampling", choices=["random", "group_by_length"], default="random")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    table = pq.read_table(arguments.data)
    labels = sorted(set(table["label"].to_pylist()))
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 128} if arguments.padding == "max_length" else {}
    encoded = tokenizer(table["text"].to_pylist(), truncation=True, **padding)
    place = {label: i for i, label in enumerate(labels)}
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": place[label], "length": len(ids)}
        for ids, mask, label in zip(
            encoded["input_ids"], encoded["attention_mask"], table["label"].to_pylist(), strict=True
        )
    ]
    model = AutoModelForSequenceClassification.from_pretrained(arguments.base, num_labels=len(labels))
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out,
            max_steps=WARM_UP + arguments.steps,
            per_device_train_batch_size=arguments.batch,
            train_sampling_strategy=arguments.sampling,
            bf16=arguments.bf16,
            use_cpu=True,
            learning_rate=1e-4,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(tokenizer)
        Trainer(model, settings, train_dataset=rows, data_collator=collator, callbacks=[clock]).train()
    samples = arguments.batch * arguments.steps
    print(json.dumps({"samples_per_second": samples / sum(clock.seconds[WARM_UP:])}))


if __name__ == "__main__":
    main()
