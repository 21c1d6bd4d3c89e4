"""What a search costs beside the trainings: processor seconds a trial.

    python benchmarks/tuning.py

The first table is of `minimize` with an objective that costs nothing, in this process: all that is left is the proposal
and the record of the trial. The second is of `lakewright tune` on 300 sentences with the learner `linear`, without the
stage train: steps looked up, records, MLflow's runs, the parameters and the metrics of each.
"""

from __future__ import annotations

import csv
import os
import random
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


def main() -> None:
    proposals(15, "tpe")  # Optuna is imported
    print("| trials | algo | processor seconds a trial |\n| --- | --- | --- |")
    for trials, algo in ((40, "random"), (40, "tpe"), (200, "tpe"), (500, "tpe")):
        print(f"| {trials} | {algo} | {proposals(trials, algo):.4f} |", flush=True)
    beside, training = project()
    print(f"\nlakewright tune: {beside:.2f} processor seconds a trial beside training, which takes {training:.2f}")


if __name__ == "__main__":
    main()
