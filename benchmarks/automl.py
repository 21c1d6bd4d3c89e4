"""AutoML beside FLAML's and AutoGluon's, in the same time by the processor's clock, on public tables.

    make bench-automl DATA=folder of parquet sets PEERS=folder of environments [WORK=folder that keeps runs]

PEERS holds flaml/ (flaml[automl]) and autogluon/ (autogluon.tabular[lightgbm,catboost,xgboost,fastai]). Rows that
repeat all inputs of an earlier one are left out; a fifth of the rest is test, by three seeds. A budget is of two-core
seconds: processor seconds of a system's processes, halved, so that a busy machine takes time from nobody
(benchmarks/clock). It counts from rows in memory for the peers, from prepared rows for Lakewright. What ran is kept in
WORK, and is not run again.

Whether Lakewright is worse than a peer is tested by row: squared errors, or for classes the peer's area under the ROC
curve less ours, by a paired bootstrap; all p are Holm-corrected.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import page
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy.stats import rankdata
from tables import holm

SETS = ("wine_quality", "churn", "telco", "credit_data", "diamonds", "clothing")
LONG = ("wine_quality", "churn", "diamonds")
SEEDS, LONG_SEEDS = (0, 1, 2), (0,)
SHORT_SECONDS, LONG_SECONDS = 30, 150
SYSTEMS = ("Lakewright", "FLAML", "AutoGluon medium", "AutoGluon best")
RESAMPLES = 2000
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Result:
    truth: np.ndarray
    predictions: np.ndarray
    number: bool
    seconds: float  # of the search, by the processor's clock
    other: float  # of the other stages
    row: float  # processor seconds for one row
    bytes: int
    package: str

    @property
    def score(self) -> float:
        """Area under the ROC curve, or root of the mean squared error."""
        if self.number:
            return float(np.sqrt(np.mean((self.predictions - self.truth) ** 2)))
        return area(self.truth, rankdata(self.predictions))

    @property
    def losses(self) -> np.ndarray:
        if self.number:
            return (self.predictions - self.truth) ** 2
        p = np.clip(self.predictions, 1e-15, 1 - 1e-15)
        return -np.where(self.truth == 1, np.log(p), np.log(1 - p))


def loaded(folder: Path, name: str) -> tuple[pd.DataFrame, bool]:
    """The set without repeated rows and with its label as `target`, and whether that is a number."""
    table = pq.read_table(folder / ("womens_clothing_reviews" if name == "clothing" else name)).to_pandas()
    if name == "wine_quality":
        table["target"] = table.pop("quality") >= 7
    if name == "clothing":
        table = table[table["review_text"].fillna("") != ""]
        table["target"] = table.pop("recommended_ind")
        table = table.drop(columns=["id", "rating"])  # the rating says what is to be learned
    number = name == "diamonds"
    if not number:
        table["target"] = table["target"].astype(int)
    inputs = [column for column in table.columns if column != "target"]
    return table.drop_duplicates(subset=inputs).reset_index(drop=True), number


def split_of(rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).random(rows)
    return np.where(drawn < 0.7, "train", np.where(drawn < 0.8, "validation", "test"))


def run(system: str, rows: Path, folder: Path, number: bool, seconds: int, seed: int, peers: Path) -> None:
    """One search in a process of its own, by the processor's clock."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
    folder.mkdir(parents=True)
    script, python, more = {
        "Lakewright": (HERE / "automl.py", Path(sys.executable), {}),
        "FLAML": (HERE / "peers" / "flaml_table.py", peers / "flaml/bin/python", {}),
        "AutoGluon medium": (
            HERE / "peers" / "autogluon_automl.py",
            peers / "autogluon/bin/python",
            {"PRESET": "medium_quality"},
        ),
        "AutoGluon best": (
            HERE / "peers" / "autogluon_automl.py",
            peers / "autogluon/bin/python",
            {"PRESET": "best_quality"},
        ),
    }[system]
    path = os.pathsep.join(filter(None, (str(HERE / "clock"), os.environ.get("PYTHONPATH"))))
    # Threads that wait for each other would burn processor time where other work keeps them from running
    patient = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    environment = os.environ | more | patient | {"PYTHONPATH": path, "LAKEWRIGHT_CORES": "2"}
    given = [str(each) for each in (rows, folder, "number" if number else "class", seconds, seed)]
    with (folder / "log.txt").open("w") as log:
        ended = subprocess.run(
            [python, script, *(["--search"] if system == "Lakewright" else []), *given],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    if ended.returncode:
        last = (folder / "log.txt").read_text().strip().splitlines()[-1:]
        if "No models were trained" not in "".join(last):
            raise SystemExit(f"{system} failed: {''.join(last)} ({folder}/log.txt)")
        (folder / "result.json").write_text(json.dumps({"failed": last[0]}))


def search(rows: Path, folder: Path, kind: str, seconds: float, seed: int) -> None:
    """Lakewright's own run, in the process that the benchmark makes for it."""
    import time

    import lakewright as lw
    from lakewright.model.predictor import Predictor

    number = kind == "number"
    project = {
        "name": "bench",
        "task": "regression" if number else "classification",
        "data": {"source": os.path.relpath(rows, folder), "columns": {"label": "target", "split": "split"}},
        "prepare": {"duplicates": "keep"},
        "automl": {"minutes": seconds / 60, "seed": seed, **({} if number else {"metric": "roc_auc"})},
        "evaluate": {"resamples": 100},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    os.chdir(folder)
    began = time.monotonic()
    found = lw.automl.search("project.yml", glass_box=False)
    took = found.found.seconds
    predictor = Predictor.open(found.run.model_folder, threads=1)
    table = pd.read_parquet(rows)
    test = table[table["split"] == "test"].drop(columns=["split", "target"])
    if "text" in predictor.task.inputs:  # what a model calls the one text that it reads
        test = test.assign(text=test["review_text"])
    values = test.astype(object).where(test.notna(), None).to_dict("records")
    predictions = predictor.predict(values)
    answer = [each["value"] if number else each["probabilities"]["1"] for each in predictions]
    np.save(folder / "predictions.npy", np.array(answer, np.float64))
    each = []
    for place in range(20):
        start = time.process_time()
        predictor.predict(values[place : place + 1])
        each.append(time.process_time() - start)
    size = sum(file.stat().st_size for file in Path(found.run.model_folder).rglob("*") if file.is_file())
    result = {
        "seconds": took,
        "other": time.monotonic() - began - took,
        "row": statistics.median(each),
        "bytes": size,
        "package": f"lakewright {lw.__version__}",
        "members": [f"{one.learner} {one.number} {one.source}" for one in found.found.members],
        "folds": found.found.folds,
        "candidates": len(found.entries),
    }
    (folder / "result.json").write_text(json.dumps(result))


def results(
    arguments: argparse.Namespace, name: str, seed: int, seconds: int, systems: Sequence[str]
) -> list[Result | None]:
    """Of each system on one set, read where it ran before; None: it ended in time without a model."""
    table, number = loaded(arguments.data, name)
    split = split_of(len(table), seed)
    truth = table["target"][split == "test"].to_numpy(np.float64)
    place = arguments.work / f"{name}-{seed}-{seconds}"
    rows = place / "rows.parquet"
    if not rows.exists():
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pandas(table.assign(split=split), preserve_index=False), rows)
    every: list[Result | None] = []
    for system in systems:
        folder = place / system.replace(" ", "-").lower()
        if not (folder / "result.json").exists():
            run(system, rows, folder, number, seconds, seed, arguments.peers)
        kept: dict[str, Any] = json.loads((folder / "result.json").read_text())
        if "failed" in kept:
            print(f"{name} {seed} {seconds} s: {system} {kept['failed']}", flush=True)
            every.append(None)
            continue
        predictions = np.load(folder / "predictions.npy")
        result = Result(
            truth, predictions, number, kept["seconds"], kept.get("other", 0.0),
            kept["row"], kept["bytes"], kept["package"],
        )  # fmt: skip
        every.append(result)
        print(
            f"{name} {seed} {seconds} s: {system} {result.score:.5g}, loss {result.losses.mean():.5g}, took "
            f"{result.seconds:.1f} s",
            flush=True,
        )
    return every


def area(truth: np.ndarray, ranks: np.ndarray) -> float:
    """Under the ROC curve, by the ranks of the predictions (Mann and Whitney's U)."""
    positive = truth == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def worse(ours: Result, peer: Result) -> float:
    """The one-sided p that ours is not worse, by the bootstrap over the same rows."""
    draw, rows = np.random.default_rng(0), len(ours.truth)
    count = 0
    for _ in range(RESAMPLES):
        drawn = draw.integers(0, rows, rows)
        if ours.number:
            count += ours.losses[drawn].mean() <= peer.losses[drawn].mean()
        else:
            truth = ours.truth[drawn]
            own, other = (area(truth, rankdata(each.predictions[drawn])) for each in (ours, peer))
            count += own >= other
    return (count + 1) / (RESAMPLES + 1)


def needed(result: Result | None) -> Result:
    assert result is not None, "Lakewright ended without a model"
    return result


def worst_last(result: Result, by_score: bool) -> float:
    if not by_score:
        return _loss(result)
    return result.score if result.number else -result.score


def mean_of(results: Sequence[Result | None]) -> str:
    """Of the seeds: the score, and of classes the log loss."""
    models = [each for each in results if each is not None]
    lacking = f" ({len(results) - len(models)} of {len(results)} without a model)" * (len(models) < len(results))
    if not models:
        return "no model"
    score, loss = (np.mean([value(each) for each in models]) for value in (lambda one: one.score, _loss))
    return f"{score:.4g}" + ("" if models[0].number else f" / {loss:.3f}") + lacking


def _loss(result: Result) -> float:
    return float(result.losses.mean())


def table_of(
    arguments: argparse.Namespace, names: Sequence[str], seeds: Sequence[int], seconds: int, systems: Sequence[str]
) -> list[str]:
    measured = {(name, seed): results(arguments, name, seed, seconds, systems) for name in names for seed in seeds}
    ps = [[1.0 if peer is None else worse(needed(each[0]), peer) for peer in each[1:]] for each in measured.values()]
    corrected = iter(holm([p for row in ps for p in row]))
    by_row = {place: [next(corrected) for _ in row] for place, row in zip(measured, ps, strict=True)}
    lines = [
        f"| set (test rows), {seconds} s | {' | '.join(systems)} | least p of ours being worse |",
        f"| --- {'| --- ' * (len(systems) + 1)}|",
    ]
    for name in names:
        every = [measured[name, seed] for seed in seeds]
        shown = [mean_of([each[at] for each in every]) for at in range(len(systems))]
        least = min((p for seed in seeds for p in by_row[name, seed]), default=1.0)
        lines.append(f"| {name} ({len(needed(every[0][0]).truth):,}) | {' | '.join(shown)} | {least:.2g} |")
    for what, better in (("mean rank by score", 1), ("mean rank by log loss or squared error", 0)):
        ranks = []
        for each in measured.values():
            ranks.append(rankdata([np.inf if one is None else worst_last(one, bool(better)) for one in each]))
        lines.append(f"| {what} | {' | '.join(f'{rank:.2f}' for rank in np.mean(ranks, axis=0))} | |")
    for label, value in (
        ("two-core seconds of the search, median (most)", lambda one: one.seconds),
        ("processor ms for one row, median (most)", lambda one: one.row * 1e3),
        ("MB of the model, median (most)", lambda one: one.bytes / 1e6),
    ):
        columns = [
            [value(one) for each in measured.values() if (one := each[at]) is not None] for at in range(len(systems))
        ]
        shown = [f"{statistics.median(column):.3g} ({max(column):.3g})" for column in columns]
        lines.append(f"| {label} | {' | '.join(shown)} | |")
    packages = ", ".join(each.package for each in next(iter(measured.values())) if each is not None)
    return [*lines, "", f"{len(measured)} sets × seeds; {packages}."]


def main() -> None:
    if sys.argv[1:2] == ["--search"]:
        rows, folder, kind, seconds, seed = sys.argv[2:]
        search(Path(rows), Path(folder), kind, float(seconds), int(seed))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="keeps what ran")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--seconds", type=int, choices=(SHORT_SECONDS, LONG_SECONDS), help="this budget alone")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md, though it is not the whole")
    arguments = parser.parse_args()
    for place in ("data", "peers", "work"):
        setattr(arguments, place, getattr(arguments, place).resolve())
    lines: list[str] = []
    if arguments.seconds != LONG_SECONDS:
        lines += table_of(arguments, arguments.sets, arguments.seeds, SHORT_SECONDS, arguments.systems)
    if arguments.seconds != SHORT_SECONDS:
        systems = [each for each in arguments.systems if each != "FLAML"]
        sets = [name for name in arguments.sets if name in LONG]
        seeds = [seed for seed in arguments.seeds if seed in LONG_SEEDS]
        lines += ["", *table_of(arguments, sets, seeds, LONG_SECONDS, systems)]
    whole = (tuple(arguments.sets), tuple(arguments.seeds), tuple(arguments.systems)) == (SETS, SEEDS, SYSTEMS)
    if whole or arguments.write:
        page.write("automl", [*lines, page.stamp("make bench-automl DATA=… PEERS=…")])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
