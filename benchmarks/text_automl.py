"""`lakewright automl` over texts beside the examples' hand-chosen settings: written to docs/benchmarks.md.

    python benchmarks/text_automl.py --data FOLDER --out runs.jsonl [--sets banking77 imdb …] [--draws 0 1 2]

FOLDER holds banking77/, imdb/ and womens_clothing_reviews/, each with parquet files by split. Of the first two each
draw has 1,000 rows of train, and the same rows for both systems; 1,500 rows of test are drawn once. The example is run
as it is. What counts is processor seconds, of all processes: `automl` may have twice the example's, and of the clothing
reviews, text and columns, 40 in the processes of its search. Its minutes are a clock's, so on a machine that others use
they are more: --minutes. Each process computes with one thread. A run is a line in the file, and the same command goes
on after the last one; without runs to make it writes the table alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import page
import pyarrow as pa
import pyarrow.parquet as pq

SUBREAPER = 36  # of prctl: orphans of a run become this process's children, so that their processor time is counted
PROFILE = "default: here\nprofiles:\n  here: {workspace: workspace, threads: 1, workers: {name: local, processes: 2}}\n"
BELOW_THE_GATE = 3


@dataclass(frozen=True)
class Set:
    example: str  # below examples/
    folder: str  # below the data folder
    metric: str
    minutes: float  # of automl
    train: int | None  # rows; None: all
    test: int | None
    systems: tuple[str, ...] = ("example", "automl")


SETS = {
    "banking77": Set("banking77", "banking77", "accuracy", 0.7, 1000, 1500),
    "imdb": Set("imdb", "imdb", "accuracy", 3.0, 1000, 1500),
    "clothing_recommended": Set(
        "clothing_recommended", "womens_clothing_reviews", "roc_auc", 1 / 3, None, None, ("example", "automl")
    ),
}


def drawn(source: Path, chosen: Set, draw: int, folder: Path) -> Path:
    """The rows of this draw. Of train, the classes take turns, so that none is missing."""
    if chosen.train is None:
        return source
    folder.mkdir()
    for split, rows in (("train", chosen.train), ("test", chosen.test)):
        table = pq.read_table(source / f"{split}.parquet", columns=["text", "label"])
        order = np.random.default_rng(draw if split == "train" else 0).permutation(table.num_rows)
        if split == "train":
            seen: Counter[Any] = Counter()
            turn = []
            for label in np.array(table["label"].to_pylist(), dtype=object)[order]:
                turn.append(seen[label])
                seen[label] += 1
            order = order[np.argsort(turn, kind="stable")]
        pq.write_table(table.take(pa.array(np.sort(order[:rows]))), folder / f"{split}.parquet")
    return folder


def processor_seconds() -> float:
    """Of all processes that were started here, and theirs, and have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.2)
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(name: str, system: str, draw: int, data: Path, minutes: float | None) -> dict[str, Any]:
    chosen = SETS[name] if minutes is None else replace(SETS[name], minutes=minutes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = drawn(data / chosen.folder, chosen, draw, folder / "rows")
        shutil.copy(page.ROOT / "examples" / chosen.example / "project.yml", folder)
        (folder / "profiles.yml").write_text(PROFILE)
        command = [sys.executable, "-m", "lakewright.cli", "run" if system == "example" else "automl", "project.yml"]
        command += ["--json", "--set", f"data.source={source}", "--set", "gate={}"]
        command += ["--set", f"prepare.split.seed={13 + draw}"] if chosen.train is None else []
        command += [] if system == "example" else ["--minutes", str(chosen.minutes)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        before, began = processor_seconds(), time.monotonic()
        with (folder / "log.txt").open("w") as log:
            done = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **threads}
            )
            out = done.stdout.read() if done.stdout is not None else ""
            _, status, own = os.wait4(done.pid, 0)  # of the command, without the processes of its search
        code = done.returncode = os.waitstatus_to_exitcode(status)
        spent, wall = processor_seconds() - before, time.monotonic() - began
        if code not in (0, BELOW_THE_GATE):
            raise SystemExit(f"{name} {system} ended with {code}: {(folder / 'log.txt').read_text()[-2000:]}")
        told = json.loads(out)
    run = told if system == "example" else told["run"]
    value = run["metrics"][chosen.metric]
    line = {
        "set": name, "system": system, "draw": draw, "metric": chosen.metric, "value": value["value"],
        "low": value["low"], "high": value["high"], "processor": spent, "wall": wall, "commit": page.commit(),
    }  # fmt: skip
    if system == "automl":
        line |= {"search": spent - own.ru_utime - own.ru_stime, "minutes": chosen.minutes}
        line |= {"recommended": recommended(told), "encoder": told["encoder"]}
        line |= {"not tried": [each["failure"] for each in told["candidates"] if each["failure"]]}
    return line


def recommended(told: dict[str, Any]) -> str:
    of_number = {each["number"]: each for each in told["candidates"]}
    names = []
    for member in told["members"]:
        each = of_number[member["candidate"]]
        without = each["settings"].get("without")
        names.append(each["learner"] + (f" without {', '.join(without)}" if without else ""))
    return " + ".join(dict.fromkeys(names))


def table(lines: list[dict[str, Any]]) -> list[str]:
    rows = [
        "| set | draw | metric | example, 95 % interval | automl | recommended | processor seconds (the search) | × |"
    ]
    rows.append("| --- " * 8 + "|")
    of = {(each["set"], each["draw"], each["system"]): each for each in lines}
    for name, draw in dict.fromkeys((each["set"], each["draw"]) for each in lines):
        example, automl = (of.get((name, draw, system)) for system in ("example", "automl"))
        if example is None or automl is None:
            continue
        rows.append(
            f"| {name} | {draw} | {automl['metric']} | {example['value']:.4f} ({example['low']:.4f}–"
            f"{example['high']:.4f}) | {automl['value']:.4f} | {automl['recommended']} | {example['processor']:.0f} → "
            f"{automl['processor']:.0f} ({automl['search']:.0f}) | {automl['processor'] / example['processor']:.2f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, help="of automl, in place of the set's own")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    out: Path = arguments.out
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(each["set"], each["system"], each["draw"]) for each in lines}
    for draw in arguments.draws:
        for name in arguments.sets:
            for system in SETS[name].systems:
                if (name, system, draw) in done:
                    continue
                lines.append(measure(name, system, draw, arguments.data.resolve(), arguments.minutes))
                with out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(name, system, draw, f"{lines[-1]['value']:.4f}, {lines[-1]['processor']:.0f} s", flush=True)
    page.write("text_automl", [*table(lines), "", page.stamp("python benchmarks/text_automl.py --data … --out …")])


if __name__ == "__main__":
    main()
