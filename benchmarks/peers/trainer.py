"""Hugging Face's Trainer on Banking77, timed: samples a second over the steps after the warm-up; with --epochs a whole
training, its wall time and its accuracy.

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

import pyarrow as pa
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
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--epochs", type=float, help="a whole training in place of --steps")
    parser.add_argument("--test", type=Path, help="test.parquet, to tell the accuracy on")
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    began = time.perf_counter()
    table = pq.read_table(arguments.data)
    labels = sorted(set(table["label"].to_pylist()))
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    padding: dict[str, Any] = {"padding": "max_length", "max_length": 128} if arguments.padding == "max_length" else {}
    place = {label: i for i, label in enumerate(labels)}

    def rows(table: pa.Table) -> list[dict[str, Any]]:
        encoded = tokenizer(table["text"].to_pylist(), truncation=True, **padding)
        columns = encoded["input_ids"], encoded["attention_mask"], table["label"].to_pylist()
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": place[label], "length": len(ids)}
            for ids, mask, label in zip(*columns, strict=True)
        ]

    model = AutoModelForSequenceClassification.from_pretrained(arguments.base, num_labels=len(labels))
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out,
            max_steps=-1 if arguments.epochs else WARM_UP + arguments.steps,
            num_train_epochs=arguments.epochs or 1,
            per_device_train_batch_size=arguments.batch,
            train_sampling_strategy=arguments.sampling,
            bf16=arguments.bf16,
            use_cpu=not arguments.gpu,
            learning_rate=arguments.learning_rate,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(model, settings, train_dataset=rows(table), data_collator=collator, callbacks=[clock])
        trainer.train()
        found = {"samples_per_second": arguments.batch * len(clock.seconds[WARM_UP:]) / sum(clock.seconds[WARM_UP:])}
        found["seconds"] = time.perf_counter() - began
        if arguments.test:
            said = trainer.predict(rows(pq.read_table(arguments.test)))
            found["accuracy"] = float((said.predictions.argmax(axis=1) == said.label_ids).mean())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
