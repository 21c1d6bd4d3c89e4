"""What every stage of a table of 50 columns costs as it grows: seconds and peak memory at 10 k, 100 k and 1 M rows.

    make bench-columns

30 numbers (three of them miss a fifth of their values), 12 categories of 3 to 5,000 values, 6 times, an id and a
label of two classes, which follows six of them. Each stage is the command `lakewright stage NAME`, and then `lakewright
score`, in a process of its own, measured as benchmarks/growth.py does. The learner is `trees` with 100 trees, so that
training grows with the rows alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import page
from growth import BEGIN, measured, python, table

STAGES = ("ingest", "prepare", "train", "evaluate")
PROJECT = """\
name: columns
schema: main.growth
task: classification
data: {source: rows.parquet, columns: {id: id, label: label}}
train: {learner: trees, n_estimators: 100, early_stopping_rounds: 0}
evaluate: {resamples: 100}
"""
MAKE = """\
import sys, numpy as np, pyarrow as pa, pyarrow.parquet
rows, path, step = int(sys.argv[1]), sys.argv[2], 10_000
draw = np.random.default_rng(13)
sizes = [3, 5, 8, 12, 20, 40, 80, 150, 300, 700, 2000, 5000]
writer = None
for start in range(0, rows, step):
    numbers = {f"n{i}": draw.gamma(2, 10.0 ** (i % 7 - 2), step) for i in range(30)}
    codes = {f"c{i}": draw.zipf(1.5, step) % size for i, size in enumerate(sizes)}
    times = {f"t{i}": draw.integers(1.6e15, 1.7e15, step) for i in range(6)}
    score = sum(np.log(numbers[f"n{i}"]) for i in range(4)) + (codes["c3"] % 3) + (codes["c5"] % 2)
    columns = {
        **{name: pa.array(values, mask=draw.random(step) < (name[-1] == "0") / 5) for name, values in numbers.items()},
        **{name: pa.array([f"value {code}" for code in values]) for name, values in codes.items()},
        **{name: pa.array(values, pa.int64()).cast(pa.timestamp("us")) for name, values in times.items()},
        "id": pa.array([f"r{start + i}" for i in range(step)]),
        "label": pa.array((score + draw.normal(0, 2, step) > 2).tolist()),
    }
    batch = pa.table(columns)
    writer = writer or pa.parquet.ParquetWriter(path, batch.schema)
    writer.write_table(batch)
writer.close()
"""


def run(source: Path, places: Path) -> dict[str, tuple[float, ...]]:
    """All stages over one source, in a new workspace."""
    with tempfile.TemporaryDirectory(dir=places) as made:
        folder = Path(made)
        (folder / source.name).symlink_to(source)
        project = folder / "project.yml"
        project.write_text(PROJECT, encoding="utf-8")
        run_id = python(BEGIN, str(project), cwd=folder)
        command = [sys.executable, "-m", "lakewright.cli"]
        options = ["--project", str(project), "--run", run_id]
        found = {stage: measured([*command, "stage", stage, *options], folder) for stage in STAGES}
        (model,) = (folder / ".lakewright" / "models").iterdir()
        scoring = ["score", "--model", str(model), "--input", "main.growth.columns", "--output", "main.growth.scored"]
        return found | {"score": measured([*command, *scoring], folder)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], help="ten thousands")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print, and leave the page alone")
    arguments = parser.parse_args()

    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as made:
        places = Path(made)
        sources = {rows: places / str(rows) / "rows.parquet" for rows in arguments.rows}
        for rows, source in sources.items():
            source.parent.mkdir()
            python(MAKE, str(rows), str(source), cwd=places)
        for number in range(arguments.rounds):
            for rows, source in sources.items():
                for stage, (wall, seconds, peak) in run(source, places).items():
                    found.setdefault((stage, rows), []).append((wall, seconds, peak))
                    shown = f"{wall:.1f} s, {seconds:.1f} s of the processor, {peak:.0f} MB"
                    print(f"round {number + 1}: {stage} {rows:,} rows: {shown}", flush=True)
    lines = table(found, arguments.rows)
    print("\n".join(lines))
    if not arguments.dry:
        times = f"{arguments.rounds} round{'s' * (arguments.rounds > 1)}"
        stamp = page.stamp("make bench-columns")
        page.write("columns", [*lines, "", f"Commit {page.commit()}, {times}. {stamp}"])


if __name__ == "__main__":
    main()
