"""Boosted trees on public tables: parity with LightGBM's own library, quality beside defaults, and the speed of rows.

    make bench-tables DATA=folder of parquet sets [PEERS=folder of environments]

DATA holds wine_quality/, churn/, telco/, credit_data/ and diamonds/. Rows that repeat all inputs of an earlier one are
left out, and the rest is split 70/15/15 by three seeds. `trees` and `ensemble` with their defaults, LightGBM's and
scikit-learn's (HistGradientBoosting) with theirs, and AutoGluon's LightGBM (if PEERS is given:
PEERS/autogluon, an environment with autogluon.tabular[lightgbm]) learn from
the same train rows; ours and AutoGluon's stop by validation, and `ensemble` learns from it, too. Differences of each
test row's log loss, or squared error, are tested by a paired bootstrap, all of them Holm-corrected. The library's own
predictions are those of the very booster that the run made, from the float32 columns that the recipe gives.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import page
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import lakewright as lw
from lakewright.model.predictor import Predictor

SETS = ("wine_quality", "churn", "telco", "credit_data", "diamonds")
SEEDS = (0, 1, 2)
PAIRS = 7
RESAMPLES = 5000


def loaded(folder: Path, name: str) -> tuple[pd.DataFrame, str, bool]:
    """The set without repeated rows, its label's column, and whether that is a number."""
    table = pq.read_table(folder / name).to_pandas()
    if name == "wine_quality":
        table["target"] = table.pop("quality") >= 7
    inputs = [column for column in table.columns if column != "target"]
    number = name == "diamonds"
    if not number:
        table["target"] = table["target"].astype(int)
    return table.drop_duplicates(subset=inputs).reset_index(drop=True), "target", number


def ours(
    table: pd.DataFrame, split: np.ndarray, number: bool, folder: Path, learner: str = "trees"
) -> tuple[Predictor, Any, Any]:
    """A whole run on this split: the predictor, the library's own booster, and the test rows."""
    folder.mkdir()
    pq.write_table(pa.Table.from_pandas(table.assign(split=split), preserve_index=False), folder / "rows.parquet")
    project = {
        "name": "bench",
        "task": "regression" if number else "classification",
        "data": {"source": "rows.parquet", "columns": {"label": "target", "split": "split"}},
        "prepare": {"duplicates": "keep"},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    boosters: list[Any] = []
    train = lightgbm.train

    def kept(*arguments: Any, **named: Any) -> Any:
        boosters.append(train(*arguments, **named))
        return boosters[-1]

    here = Path.cwd()
    os.chdir(folder)
    lightgbm.train = kept
    try:
        run = lw.run("project.yml")
    finally:
        lightgbm.train = train
        os.chdir(here)
    rows = table[split == "test"].drop(columns="target")
    values = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return Predictor.open(run.model_folder, threads=1), boosters[-1], values


def predicted(predictor: Predictor, rows: list[dict[str, Any]], number: bool) -> np.ndarray:
    predictions = predictor.predict(rows)
    if number:
        return np.array([each["value"] for each in predictions])
    return np.array([each["probabilities"]["1"] for each in predictions])


def by_autogluon(table: pd.DataFrame, split: np.ndarray, number: bool, folder: Path, peers: Path) -> np.ndarray:
    """The test rows' predictions of AutoGluon's single LightGBM, in a process of its own environment."""
    folder.mkdir()
    rows, into = folder / "rows.parquet", folder / "predictions.npy"
    pq.write_table(pa.Table.from_pandas(table.assign(split=split), preserve_index=False), rows)
    script = Path(__file__).parent / "peers" / "autogluon_table.py"
    python = peers / "autogluon" / "bin" / "python"
    subprocess.run([python, script, rows, into, "number" if number else "class"], check=True, capture_output=True)
    return np.load(into)


def by_default(table: pd.DataFrame, split: np.ndarray, number: bool, library: str) -> np.ndarray:
    """The test rows' predictions of a library's own defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    columns = table.drop(columns="target")
    for name in columns:
        if columns[name].dtype == object or isinstance(columns[name].dtype, pd.StringDtype):
            columns[name] = columns[name].astype("category")
    if library == "LightGBM":
        model = (lightgbm.LGBMRegressor if number else lightgbm.LGBMClassifier)(verbose=-1)
    else:
        kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        model = kind(categorical_features="from_dtype", random_state=0)
    train = split == "train"
    model.fit(columns[train], table["target"][train])
    test = columns[split == "test"]
    return model.predict(test) if number else model.predict_proba(test)[:, 1]


def losses(truth: np.ndarray, prediction: np.ndarray, number: bool) -> np.ndarray:
    """Of each row: squared error, or log loss."""
    if number:
        return (truth - prediction) ** 2
    prediction = np.clip(prediction, 1e-15, 1 - 1e-15)
    return -np.where(truth == 1, np.log(prediction), np.log(1 - prediction))


def worse(differences: np.ndarray) -> float:
    """The one-sided p that the mean difference is not above 0, by the bootstrap over rows."""
    draw = np.random.default_rng(0)
    means = [draw.choice(differences, len(differences)).mean() for _ in range(RESAMPLES)]
    return float((np.sum(np.array(means) <= 0) + 1) / (RESAMPLES + 1))


def holm(values: list[float]) -> list[float]:
    order, corrected, most = np.argsort(values), [0.0] * len(values), 0.0
    for rank, at in enumerate(order):
        most = max(most, min(1.0, values[at] * (len(values) - rank)))
        corrected[at] = most
    return corrected


def seconds(function: Callable[[], Any], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - began) / times


def ratio(one: Callable[[], Any], other: Callable[[], Any], times: int) -> tuple[float, float, float]:
    """Medians of one, of other, and of one ÷ other, over interleaved pairs of processor seconds."""
    one(), other()
    pairs = [(seconds(one, times), seconds(other, times)) for _ in range(PAIRS)]
    return (
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
        statistics.median(first / second for first, second in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    folder, peers = arguments.data.resolve(), arguments.peers and arguments.peers.resolve()
    names = ["trees", "ensemble", "LightGBM", "scikit-learn", *(["AutoGluon"] if peers else [])]
    quality = [
        f"| set (test rows) | {' | '.join(names)} | p of trees being worse | p of ensemble being worse |",
        f"| --- {'| --- ' * (len(names) + 2)}|",
    ]
    parity = ["| set | rows | largest difference | rows beyond 1e-5 |", "| --- | --- | --- | --- |"]
    results: list[tuple[str, int, list[float], list[float]]] = []
    ranks: list[list[int]] = []
    with tempfile.TemporaryDirectory() as work:
        for name in SETS:
            table, label, number = loaded(folder, name)
            most, beyond, rows_of = 0.0, 0, 0
            for seed in SEEDS:
                drawn = np.random.default_rng(seed).random(len(table))
                split = np.where(drawn < 0.7, "train", np.where(drawn < 0.85, "validation", "test"))
                place = Path(work) / f"{name}-{seed}"
                predictor, booster, rows = ours(table, split, number, place)
                mixed, _, _ = ours(table, split, number, Path(f"{place}-ensemble"), "ensemble")
                truth = table[label][split == "test"].to_numpy()
                own = predicted(predictor, rows, number)
                columns = predictor.recipe.encode(rows).columns
                library = booster.predict(columns, num_threads=1)
                apart = np.abs(own - library) / (np.maximum(np.abs(library), 1e-12) if number else 1.0)
                most, beyond, rows_of = max(most, float(apart.max())), beyond + int((apart > 1e-5).sum()), len(rows)
                every = [own, predicted(mixed, rows, number)]
                every += [by_default(table, split, number, peer) for peer in ("LightGBM", "scikit-learn")]
                if peers:
                    every.append(by_autogluon(table, split, number, Path(f"{place}-autogluon"), peers))
                each = [losses(truth, one, number) for one in every]
                scores = [float(np.sqrt(one.mean()) if number else one.mean()) for one in each]
                print(name, seed, *(f"{one} {score:.5g}" for one, score in zip(names, scores, strict=True)), flush=True)
                ps = [worse(each[which] - peer) for which in (0, 1) for peer in each[2:]]
                results.append((f"{name} {seed}", len(rows), scores, ps))
                ranks.append([int(place) for place in np.argsort(np.argsort(scores)) + 1])
            parity.append(f"| {name} | {rows_of} | {most:.1e} | {beyond} |")
        flat = iter(holm([p for _, _, _, ps in results for p in ps]))
        for name, rows_in, scores, ps in results:
            shown = " | ".join(f"{score:.4g}" for score in scores)
            corrected = [f"{next(flat):.2g}" for _ in ps]
            half = len(ps) // 2
            both = f"{', '.join(corrected[:half])} | {', '.join(corrected[half:])}"
            quality.append(f"| {name} ({rows_in:,}) | {shown} | {both} |")
        means = ", ".join(
            f"{one} {float(np.mean(column)):.2f}" for one, column in zip(names, zip(*ranks, strict=True), strict=True)
        )
        speed = speeds(predictor, booster, rows, table)
    lines = [
        "Log loss on the test rows (diamonds: RMSE), less is better; Holm-corrected one-sided p of being worse than "
        f"each of the peers, in the columns' order. Mean ranks: {means}.",
        "",
        *quality,
        "",
        "Probabilities, or relative numbers, beside those of the booster's own library, over three seeds:",
        "",
        *parity,
        "",
        "Processor seconds, medians of interleaved pairs, on diamonds:",
        "",
        *speed,
        "",
        page.stamp("make bench-tables DATA=…"),
    ]
    page.write("tables", lines)
    print("\n".join(lines))


def speeds(predictor: Predictor, booster: Any, rows: list[dict[str, Any]], table: pd.DataFrame) -> list[str]:
    """One row, and many, with the last set's model."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    one = rows[:1]
    columns = predictor.recipe.encode(one).columns
    runtime = predictor.runtime
    batch = pa.RecordBatch.from_pylist(rows)
    frame = pd.DataFrame(rows)
    texts = [name for name in frame if frame[name].dtype == object or isinstance(frame[name].dtype, pd.StringDtype)]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    transformer = ColumnTransformer([("codes", codes, texts)], remainder="passthrough").fit(frame)
    alone = frame[:1]
    recipe, values = predictor.recipe, {name: frame[name].to_numpy() for name in frame}
    measured = {
        "one row: the runtime ÷ LightGBM's library": ratio(
            lambda: runtime.compute({"columns": columns}), lambda: booster.predict(columns, num_threads=1), 200
        ),
        "one row: the predictor ÷ the recipe": ratio(lambda: predictor.predict(one), lambda: recipe.encode(one), 200),
        "one row: the recipe ÷ ColumnTransformer": ratio(
            lambda: recipe.encode(one), lambda: transformer.transform(alone), 20
        ),
        f"{len(rows):,} rows: the recipe ÷ ColumnTransformer": ratio(
            lambda: recipe.encode_values(values), lambda: transformer.transform(frame), 3
        ),
        f"{len(rows):,} rows: predict_table ÷ predict": ratio(
            lambda: predictor.predict_table(batch), lambda: predictor.predict(rows), 1
        ),
    }
    head = ["| what | first | second | ratio |", "| --- | --- | --- | --- |"]
    return head + [
        f"| {name} | {a * 1e3:.3g} ms | {b * 1e3:.3g} ms | {r:.3g} |" for name, (a, b, r) in measured.items()
    ]


if __name__ == "__main__":
    main()
