"""Fine-tune MiniLM-L6 on published splits and write what came out to docs/benchmarks.md.

    make bench-accuracy DATA=folder        # holds banking77/ and wnut17/, each with parquet files by split

Every run is `lakewright run` in a process and a workspace of its own; nothing is chosen by looking at the test split.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- accuracy: written by benchmarks/accuracy.py -->", "<!-- end of accuracy -->"
SETS = {"banking77": ("accuracy", 0.925), "wnut17": ("entity_f1", None)}


@dataclass(frozen=True)
class Result:
    value: float
    low: float
    high: float
    seconds: float  # wall, from the raw files to the registered model
    train_seconds: float
    samples_per_second: float
    scoring: float  # seconds a 1,000 rows
    peak_mb: float
    precision: str


def measure(name: str, data: Path, seed: int) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        project = str(ROOT / "examples" / name / "project.yml")
        command = [sys.executable, "-m", "lakewright.cli", "run", project, "--json"]
        command += ["--set", f"data.source={data / name}", "--set", f"train.seed={seed}"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - began
        found = json.loads(done.stdout)
        if done.returncode not in (0, 3):
            raise SystemExit(f"{name} failed: {found.get('error')}")
        details = json.loads((Path(found["model_folder"]) / "training.json").read_text(encoding="utf-8"))["details"]
        evaluation = json.loads((Path(found["report"]).parent / "evaluation.json").read_text(encoding="utf-8"))
    metric = found["metrics"][SETS[name][0]]
    return Result(
        value=metric["value"],
        low=metric["low"],
        high=metric["high"],
        seconds=seconds,
        train_seconds=found["stages"]["train"]["seconds"],
        samples_per_second=details["samples_per_second"],
        scoring=evaluation["seconds_per_1000_rows"],
        peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        precision=details.get("precision", "fp32"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[13])
    arguments = parser.parse_args()
    data = arguments.data.resolve()

    lines = [
        "| set | seed | metric | test | 95 % interval | raw files → registered, s | train stage, s | samples/s "
        "| s per 1,000 rows | peak memory, MB | served as |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in arguments.sets:
        metric, bar = SETS[name]
        values = []
        for seed in arguments.seeds:
            r = measure(name, data, seed)
            values.append(r.value)
            lines.append(
                f"| {name} | {seed} | {metric} | {r.value:.4f} | {r.low:.4f}–{r.high:.4f} | {r.seconds:.0f} "
                f"| {r.train_seconds:.0f} | {r.samples_per_second:.0f} | {r.scoring:.2f} | {r.peak_mb:.0f} "
                f"| {r.precision} |"
            )
            print(lines[-1], flush=True)
        if bar is not None:
            mean = statistics.mean(values)
            print(f"{name}: mean {metric} {mean:.4f}, wanted ≥ {bar}: {'yes' if mean >= bar else 'NO'}", flush=True)

    threads = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime"))
    command = f"make bench-accuracy DATA=folder (seeds {' '.join(map(str, arguments.seeds))})"
    where = f"{cpu()} on {threads} threads, Python {platform.python_version()}, {packages}"
    stamp = f"`{command}`, {time.strftime('%Y-%m-%d')}, {where}."
    write(ROOT / "docs" / "benchmarks.md", "\n".join([*lines, "", stamp]))


def cpu() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def write(path: Path, table: str) -> None:
    """Replaces what stands between the markers and leaves the rest of the page alone."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
