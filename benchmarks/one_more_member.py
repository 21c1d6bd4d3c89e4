"""What CatBoost would add to the mean of automl's candidates, and what its processor seconds could buy instead.

    python benchmarks/one_more_member.py --data DATA --work WORK [--sets …] [--seeds 0 1 2]

DATA holds wine_quality/, churn/, telco/, credit_data/ and diamonds/ (10,000 rows of it are drawn); the environment has
catboost beside Lakewright. Rows that repeat all inputs of an earlier one are left out; a fifth of the rest, by each
seed, is test and is not read. Each candidate predicts five folds of the others, as a unit of the race does: networks
that end early end by the fold that they predict. CatBoost reads the columns that `trees` reads, categories by one-hot
splits alone, but for the shape "statistics", which no folder of ours could hold. What a mean gains by one more member
is judged on folds whose rows did not choose the shares: those of a fold come from the other four. WORK keeps each unit,
and the same command goes on after the last one.

A line shows by how much the mean's loss fell, with the mean of the seeds' standard errors over rows, then each seed
alone, the share that the last member got, and its processor seconds for all folds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from automl import loaded, split_of
from numpy.typing import NDArray

from lakewright.api.places import located, opener
from lakewright.learning.blending import log_losses, shares, squared_errors
from lakewright.learning.learners.trees import codes_of
from lakewright.learning.members import HELD, member_of
from lakewright.racing import units
from lakewright.racing.as_project import prepare_rows
from lakewright.racing.portfolio import PORTFOLIO, learner_of
from lakewright.racing.project_search import _share, check_race
from lakewright.racing.shared import Shared

SETS = ("wine_quality", "churn", "telco", "credit_data", "diamonds")
FOLDS = 5
MOST_ROWS = 10_000
FIRST = tuple(range(8))  # candidates of the portfolio
BASE = {
    "trees, linear, extra trees, mlp": (0, 1, 3, 5),
    "the same and xgboost": (0, 1, 3, 4, 5),
    "the portfolio's first eight": FIRST,
}
# Candidates that the portfolio lacks, by the numbers of their units: trees that read categories as CatBoost does here
ONE_HOT = {50 + at: {**PORTFOLIO[number], "max_cat_to_onehot": 255} for at, number in enumerate((0, 2, 6))}
OURS: dict[int, dict[str, Any]] = {**dict(enumerate(PORTFOLIO)), **ONE_HOT}
STOP = {"iterations": 1000, "early_stopping_rounds": 50}
CATBOOST: dict[str, dict[str, Any]] = {
    "catboost": {**STOP, "learning_rate": 0.1, "depth": 6},
    "catboost, depth 4": {**STOP, "learning_rate": 0.1, "depth": 4, "rsm": 0.7},
    "catboost, slow": {**STOP, "learning_rate": 0.04, "depth": 6},
    "catboost, statistics": {**STOP, "learning_rate": 0.1, "depth": 6, "statistics": True},
}


def prepared(data: Path, work: Path, name: str, seed: int) -> Path:
    """The folder whose shared/ holds the examples of train and validation."""
    place = work / f"{name}-{seed}"
    if (place / "shared" / "shared.json").exists():
        return place
    table, number = loaded(data, name)
    if len(table) > MOST_ROWS:
        table = table.sample(MOST_ROWS, random_state=seed).reset_index(drop=True)
    place.mkdir(parents=True, exist_ok=True)
    split = split_of(len(table), seed)
    pq.write_table(pa.Table.from_pandas(table.assign(split=split), preserve_index=False), place / "rows.parquet")
    project = {
        "name": "bench",
        "task": "regression" if number else "classification",
        "data": {"source": "rows.parquet", "columns": {"label": "target", "split": "split"}},
        "prepare": {"duplicates": "keep"},
        "automl": {"without": ["embedding", "encoder"]},
    }
    (place / "project.yml").write_text(yaml.safe_dump(project))
    here = Path.cwd()
    os.chdir(place)
    try:
        read, profile = located("project.yml", (), None)
        workspace = opener(profile)()
        base = check_race(read)[2]
        run = workspace.tracking.start("bench", "bench", {})
        records: Any = prepare_rows(base, workspace, run, lambda *_: None, ("ingest", "prepare"))
        _share(base, records["prepare"], workspace, place)
    finally:
        os.chdir(here)
    return place


def of_ours(place: Path, number: int) -> tuple[NDArray[np.float64], float]:
    """[rows, outputs] What a candidate predicts of each row's fold, and its processor seconds for all folds."""
    held, seconds = [], 0.0
    for fold in range(FOLDS):
        folder, note = units.unit_folder(place, number, fold), place / "seconds" / f"{number}-{fold}.json"
        if not note.exists():
            begun = time.process_time()
            outcome = units.run(place / "shared", OURS[number], number, fold, FOLDS, folder)
            if outcome.failure:
                raise SystemExit(f"{place.name}: candidate {number}: {outcome.failure}")
            note.parent.mkdir(exist_ok=True)
            note.write_text(json.dumps(time.process_time() - begun))
        held.append(np.load(folder / HELD))
        seconds += json.loads(note.read_text())
    return _in_order(place, held), seconds


def of_catboost(place: Path, name: str) -> tuple[NDArray[np.float64], float]:
    """The same of CatBoost."""
    held, seconds = [], 0.0
    for fold in range(FOLDS):
        kept = place / "catboost" / f"{name.replace(', ', '-').replace(' ', '-')}-{fold}.npz"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            begun = time.process_time()
            values, trees = _catboost(Shared.open(place / "shared"), dict(CATBOOST[name]), fold)
            np.savez(kept, values=values, seconds=time.process_time() - begun, trees=trees)
        read = np.load(kept)
        held.append(read["values"])
        seconds += float(read["seconds"])
    return _in_order(place, held), seconds


def _catboost(shared: Shared, settings: dict[str, Any], fold: int) -> tuple[NDArray[np.float64], int]:
    import catboost

    member = member_of(0, learner_of({"learner": "trees"})[0], shared.training(Path()))
    view = member.view(shared.examples)
    learn, shown = units.rows_of(shared, fold, FOLDS)
    codes = codes_of(member.recipe.columns)
    number = shared.task.truth == "number"

    def pool(rows: NDArray[np.int64]) -> Any:
        taken = view.take(rows)
        columns = taken.encoded.columns
        assert columns is not None
        numbers = [place for place in range(columns.shape[1]) if place not in codes]
        read = catboost.FeaturesData(
            num_feature_data=np.ascontiguousarray(columns[:, numbers]),
            cat_feature_data=np.nan_to_num(columns[:, codes], nan=-1).astype(np.int64).astype(bytes).astype(object),
        )
        truth = np.asarray(taken.targets.values)
        return catboost.Pool(read, truth if number else truth.astype(np.int64), weight=taken.weights)

    most = 1 if settings.pop("statistics", False) else 255
    model = catboost.CatBoost(
        settings
        | {"loss_function": "RMSE" if number else "Logloss", "one_hot_max_size": most, "random_seed": 13}
        | {"thread_count": 1, "allow_writing_files": False, "verbose": False}
    )
    held = pool(shown)
    model.fit(pool(learn), eval_set=held)
    if number:
        return np.asarray(model.predict(held), np.float64)[:, None], int(model.tree_count_)
    return np.asarray(model.predict(held, prediction_type="Probability"), np.float64), int(model.tree_count_)


def _in_order(place: Path, held: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    shared = Shared.open(place / "shared")
    values = np.empty((len(shared.examples), held[0].shape[1]))
    for fold, each in enumerate(held):
        values[units.rows_of(shared, fold, FOLDS)[1]] = each
    return values


def losses(place: Path, members: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
    """[rows] Of the mean with shares by the other folds, and the mean share of the last member."""
    shared = Shared.open(place / "shared")
    truth = units.truths(shared)
    losses_of: Any = squared_errors if shared.task.truth == "number" else log_losses
    result, last = np.empty(len(truth)), []
    for fold in range(FOLDS):
        learn, held = units.rows_of(shared, fold, FOLDS)
        share = shares([each[learn] for each in members], truth[learn], np.ones(len(learn)))
        mean = np.tensordot(share, np.stack([each[held] for each in members]), axes=1)
        result[held] = losses_of(mean, truth[held])
        last.append(share[-1])
    return result, float(np.mean(last))


def title(number: int) -> str:
    return f"{OURS[number]['learner']} {number}{' one-hot' if number in ONE_HOT else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="keeps what ran")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--catboost", nargs="+", choices=[*CATBOOST], default=[*CATBOOST], help="these shapes alone")
    arguments = parser.parse_args()
    data, work = arguments.data.resolve(), arguments.work.resolve()
    for name in arguments.sets:
        gains: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
        alone: dict[str, list[tuple[float, float]]] = {}
        for seed in arguments.seeds:
            place = prepared(data, work, name, seed)
            ran = {title(each): of_ours(place, each) for each in (*FIRST, *ONE_HOT)}
            ran |= {each: of_catboost(place, each) for each in arguments.catboost}
            for each, (values, seconds) in ran.items():
                alone.setdefault(each, []).append((float(losses(place, [values])[0].mean()), seconds))
            for base, members in BASE.items():
                before = losses(place, [ran[title(each)][0] for each in members])[0]
                gains.setdefault((base, "nothing"), []).append((float(before.mean()), 0.0, 0.0, 0.0))
                for more, (values, seconds) in ran.items():
                    if more in [title(each) for each in members]:
                        continue
                    after, share = losses(place, [*(ran[title(each)][0] for each in members), values])
                    gain = before - after
                    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
                    gains.setdefault((base, more), []).append((float(gain.mean()), error, share, seconds))
        print(f"\n{name}: alone, loss and processor seconds of {FOLDS} folds")
        for each, values in alone.items():
            loss, seconds = np.mean(values, axis=0)
            print(f"  {each:24s} {loss:.5g}  {seconds:.1f} s")
        start = ""
        for (base, more), values in gains.items():
            gain, error, share, seconds = np.mean(values, axis=0)
            if base != start:
                start, whole = base, gain
                print(f"  added to {base}: {gain:.5g}")
                continue
            each = " ".join(f"{one[0] / whole:+.2%}" for one in values)
            fell = f"{gain / whole:+.2%} ± {error / whole:.2%} ({each})"
            print(f"    {more:24s} {fell}, share {share:.2f}, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
