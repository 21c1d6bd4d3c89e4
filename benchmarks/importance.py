"""What the importance of inputs and the dependence on them cost: mappings predicted anew for every shuffle and value,
beside the steps that the changed input reaches alone (model/changed.py).

    make bench-importance DATA=folder of parquet sets

Reads diamonds/ and womens_clothing_reviews/. `trees` with 100 trees, on diamonds (numbers and categories), on the
reviews with the text and the title beside columns, and on 50 numbers drawn here. Both ways take turns in one process
and must give equal values. Written to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import page
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import lakewright as lw
from lakewright.evaluation.changes import by_rows
from lakewright.evaluation.dependence import CLASSES, dependences
from lakewright.evaluation.importance import importances
from lakewright.model.changed import ChangedRows
from lakewright.model.predictor import Predictor

ROUNDS = 3


def drawn() -> pa.Table:
    draw = np.random.default_rng(0)
    columns = {f"n{place}": draw.normal(size=12_000) for place in range(50)}
    score = sum(columns[f"n{place}"] for place in range(10)) + draw.normal(size=12_000)
    return pa.table({**columns, "target": score > 0})


def sets(data: Path) -> dict[str, tuple[pa.Table, dict[str, Any]]]:
    reviews = pq.read_table(data / "womens_clothing_reviews").drop_columns(["id", "rating", "clothing_id"])
    texts = {"text": "review_text", "text_pair": "title", "label": "recommended_ind"}
    label = {"label": "target"}
    return {
        "diamonds": (pq.read_table(data / "diamonds"), {"task": "regression", "data": {"columns": label}}),
        "50 numbers": (drawn(), {"task": "classification", "data": {"columns": label}}),
        "reviews": (reviews, {"task": "classification", "data": {"columns": texts}}),
    }


def trained(table: pa.Table, described: dict[str, Any]) -> tuple[Predictor, list[Any], list[Any]]:
    """In the current folder: the predictor, and the test rows with their truths."""
    pq.write_table(table, "rows.parquet")
    project = {
        **described,
        "name": "rows",
        "schema": "main.bench",
        "data": {**described["data"], "source": "rows.parquet"},
        "train": {"learner": "trees", "n_estimators": 100},
        "evaluate": {"resamples": 100},
    }
    Path("project.yml").write_text(yaml.safe_dump(project))
    run = lw.run("project.yml")
    rows = pq.read_table(run.report.test_rows)
    read = ([json.loads(each) for each in rows[name].to_pylist()] for name in ("inputs", "truth"))
    return (Predictor.open(run.model_folder, threads=1), *read)


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


def compared(name: str, predictor: Predictor, rows: list[Any], truths: list[Any]) -> Iterator[str]:
    """The lines of one set."""
    task, inputs = predictor.task, predictor.task.inputs

    def importance(changed_of: Any) -> Any:
        return importances(predictor.predict, changed_of, task.scorer, inputs, rows, truths, 0)

    def dependence(changed_of: Any) -> Any:
        followed = sorted(task.labels)[:CLASSES]
        return dependences(predictor.predict, changed_of, inputs, [*inputs], rows, followed, 0)

    for function in (importance, dependence):
        times = []
        for _ in range(ROUNDS + 1):  # the first one warms up
            before, first = seconds(lambda function=function: function(partial(by_rows, predictor.predict)))
            after, second = seconds(
                lambda function=function: function(lambda some: ChangedRows.of(predictor, some).with_values)
            )
            assert first == second and first, "the two ways give different values"
            times.append((before, after))
        before, after = (statistics.median(each) for each in zip(*times[1:], strict=True))
        ratio = statistics.median(one / other for one, other in times[1:])
        yield f"| {name} | {len(inputs)} | {function.__name__} | {before:.2f} | {after:.2f} | {ratio:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dry", action="store_true", help="print the table and leave the page alone")
    arguments = parser.parse_args()
    here = Path.cwd()
    lines = [
        "| set | inputs | what | processor s, mappings anew | changed inputs alone | times as fast |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (table, described) in sets(arguments.data.resolve()).items():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            predictor, rows, truths = trained(table, described)
            os.chdir(here)
            lines += compared(name, predictor, rows, truths)
    lines += ["", f"Commit {page.commit()}, {ROUNDS} rounds. {page.stamp('make bench-importance DATA=folder')}"]
    if arguments.dry:
        print("\n".join(lines))
    else:
        page.write("importance", lines)


if __name__ == "__main__":
    main()
