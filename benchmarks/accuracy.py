"""The examples on published splits, over several seeds, beside published figures: written to docs/benchmarks.md.

    make bench-accuracy DATA=folder        # holds banking77/, wnut17/, … each with parquet files by split

Every run is `lakewright run` in a process and a workspace of its own, with the example's own settings; nothing is
chosen by looking at a test split. Of a set too large for two cores a part is drawn with a fixed seed, and said so.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from page import commit, stamp, told, write
from run import run


@dataclass(frozen=True)
class Set:
    project: str  # below examples/
    folder: str  # below the data folder
    metrics: tuple[str, ...]
    published: str  # whose figure, of a comparable model
    bar: tuple[float, ...] = ()  # least mean of the metrics that the project set itself
    rows: dict[str, int] = field(default_factory=dict)  # file → rows drawn from it; the others whole
    settings: tuple[str, ...] = ()


SETS = {
    "banking77": Set(
        "banking77/project.yml", "banking77", ("accuracy",), "BERT-base 0.931–0.937, DistilBERT 0.925", (0.938,)
    ),
    "wnut17": Set("wnut17/project.yml", "wnut17", ("entity_f1",), "a plain loop with MiniLM-L6 0.41–0.44", (0.44,)),
    "tweet_emotions": Set(
        "tweet_emotions/project.yml",
        "semeval2018_ec_en",
        ("micro_f1", "macro_f1", "jaccard"),
        "BERT-type 0.71 / 0.55 / 0.60",
        (0.70,),
    ),
    "stsb": Set("stsb/project.yml", "stsb_en", ("spearman", "pearson"), "MiniLM-L6 untrained 0.820", (0.865,)),
    "clothing_reviews": Set(
        "clothing_reviews/three_classes.yml",
        "womens_clothing_reviews",
        ("macro_recall", "macro_f1", "accuracy"),
        "accuracy on as many test rows of each class, which macro-recall estimates: 0.70–0.73",
    ),
    "imdb": Set(
        "imdb/project.yml",
        "imdb",
        ("accuracy",),
        "DistilBERT 0.928–0.930, trained on all 25,000",
        rows={"train": 5000, "test": 5000},
    ),
    "squad": Set(
        "squad/project.yml",
        "squad_v1.1",
        ("exact_match", "qa_f1"),
        "BERT-base 0.808 / 0.885, trained on all 87,599 (Devlin et al. 2019)",
        rows={"train": 8000, "dev": 2000},
    ),
}


@dataclass(frozen=True)
class Result:
    values: tuple[float, ...]
    interval: tuple[float, float]  # of the first metric
    seconds: float  # wall, from the raw files to the registered model
    train_seconds: float
    samples_per_second: float
    scoring: float  # seconds a 1,000 rows
    peak_mb: float
    precision: str


def measure(chosen: Set, data: Path, seed: int) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        source = data / chosen.folder
        if chosen.rows:
            source = drawn(source, chosen.rows, Path(scratch) / "part")
        settings = (f"data.source={source}", f"train.seed={seed}", *chosen.settings)
        began = time.monotonic()
        found = run(chosen.project, settings, Path(scratch))
        seconds = time.monotonic() - began
        details = json.loads((Path(found["model_folder"]) / "training.json").read_text(encoding="utf-8"))["details"]
        evaluation = json.loads((Path(found["report"]).parent / "evaluation.json").read_text(encoding="utf-8"))
    metrics: dict[str, Any] = found["metrics"]
    first = metrics[chosen.metrics[0]]
    return Result(
        values=tuple(metrics[name]["value"] for name in chosen.metrics),
        interval=(first["low"], first["high"]),
        seconds=seconds,
        train_seconds=found["stages"]["train"]["seconds"],
        samples_per_second=details["samples_per_second"],
        scoring=evaluation["seconds_per_1000_rows"],
        peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        precision=details.get("precision", "fp32"),
    )


def drawn(source: Path, rows: dict[str, int], folder: Path) -> Path:
    """A copy of the set with only so many rows of these files, drawn with one seed for all runs."""
    import numpy as np
    import pyarrow.parquet as pq

    folder.mkdir()
    for path in source.glob("*.parquet"):
        table = pq.read_table(path)
        if path.stem in rows:
            chosen = np.random.default_rng(0).permutation(table.num_rows)[: rows[path.stem]]
            table = table.take(np.sort(chosen))
        pq.write_table(table, folder / path.name)
    return folder


def mean(results: Sequence[Result], metric: int) -> str:
    values = [result.values[metric] for result in results]
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 14, 15])
    arguments = parser.parse_args()

    for name in arguments.sets:
        chosen, results = SETS[name], []
        for seed in arguments.seeds:
            results.append(measure(chosen, arguments.data.resolve(), seed))
            shown = ", ".join(f"{m} {v:.4f}" for m, v in zip(chosen.metrics, results[-1].values, strict=True))
            print(f"{name} seed {seed}: {shown}, {results[-1].seconds:.0f} s", flush=True)
        part = ", ".join(f"{count:,} rows of {file}" for file, count in chosen.rows.items())
        values = "; ".join(f"{metric} {mean(results, i)}" for i, metric in enumerate(chosen.metrics))
        low, high = results[0].interval
        middle = [
            statistics.median(getattr(result, figure) for result in results)
            for figure in ("seconds", "train_seconds", "samples_per_second", "scoring", "peak_mb")
        ]
        seeds = " ".join(map(str, arguments.seeds))
        line = (
            f"| {name} | {part or 'all'} | {seeds} | {values} | {low:.4f}–{high:.4f} | {chosen.published} "
            f"| {middle[0]:.0f} | {middle[1]:.0f} | {middle[2]:.0f} | {middle[3]:.2f} | {middle[4]:.0f} "
            f"| {'/'.join(sorted({result.precision for result in results}))} | {commit()} |"
        )
        for i, bar in enumerate(chosen.bar):
            reached = statistics.mean(result.values[i] for result in results)
            print(
                f"{name}: mean {chosen.metrics[i]} {reached:.4f}, required ≥ {bar}: {'yes' if reached >= bar else 'NO'}"
            )
        lines = {**kept(), name: line}
        table = [lines[name] for name in SETS if name in lines]
        write(
            "accuracy", [*HEADER, *table, "", stamp("make bench-accuracy DATA=folder")]
        )  # after each set: nothing is lost


HEADER = [
    "| set | rows | seeds | test, mean ± deviation over seeds | first seed's 95 % interval | published, for comparison "
    "| raw files → registered, s | train stage, s | samples/s | s per 1,000 rows | MB at peak | served as | commit |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def kept() -> dict[str, str]:
    """The lines that stand there, of whichever sets; none where the table had other columns."""
    lines = told("accuracy")
    if not set(HEADER) <= set(lines):
        return {}
    of = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    return {name: line for name, line in of.items() if name in SETS}


if __name__ == "__main__":
    main()
