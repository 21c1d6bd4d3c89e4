"""A table as TSV, JSON lines and TFRecord, beside pyarrow's CSV writer; writes docs/benchmarks.md.

    python benchmarks/exports.py            # minutes

A million rows of a key, a time, a text and ten numbers, half of them doubles. Each writer runs in a process of its own,
by turns, and reads the same Delta table; the ratio is to the CSV writer of the same round.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from page import stamp, write

ROWS, ROUNDS = 1_000_000, 5
TABLE, CSV = "main.shop.rows", "csv"
FILES = {"tsv": "Lakewright, TSV", "jsonl": "Lakewright, JSON lines", "tfrecord": "Lakewright, TFRecord"}


def lake_in(folder: Path) -> Any:
    from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
    from lakewright.data.lake.tables import Lake

    return Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))


def write_rows(folder: Path) -> None:
    draw = np.random.default_rng(0)
    at = 1_700_000_000_000_000 + draw.integers(0, 365 * 86_400_000_000, ROWS)
    columns = {
        "customer": draw.integers(0, 10_000, ROWS),
        "at": pa.array(at, pa.timestamp("us", "UTC")),
        "note": [f"a note of some words, number {number}" for number in range(ROWS)],
        # of 32 bits, so that a TFRecord holds them
        **{f"d{number}": draw.random(ROWS, np.float32).astype(np.float64) for number in range(5)},
        **{f"f{number}": draw.random(ROWS, np.float32) for number in range(5)},
    }
    lake_in(folder).write(TABLE, pa.table(columns))


def one(which: str, folder: Path) -> None:
    """In a process of its own."""
    from lakewright.data.exports.writing import export
    from lakewright.system.memory import give_back

    give_back()
    lake = lake_in(folder)
    table, file = lake.version(TABLE), folder / f"rows.{which}"
    began = time.process_time()
    if which == CSV:
        from pyarrow.csv import CSVWriter

        rows = lake.scan(table)
        with CSVWriter(file, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
    else:
        export(lake, table, file)
    seconds, memory = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "memory": memory, "bytes": file.stat().st_size}))


def measured(which: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, which, str(folder)]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_rows(folder)
        rounds = [{which: measured(which, folder) for which in (CSV, *FILES)} for _ in range(ROUNDS)]
    lines = []
    for which, name in {**FILES, CSV: "pyarrow, CSV"}.items():
        seconds = statistics.median(each[which]["seconds"] for each in rounds)
        memory = max(each[which]["memory"] for each in rounds)
        ratios = sorted(each[which]["seconds"] / each[CSV]["seconds"] for each in rounds)
        beside = "" if which == CSV else f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        size = rounds[0][which]["bytes"] / 1e6
        lines.append(f"| {name} | {ROWS / seconds:,.0f} | {beside} | {memory:.2f} | {size:,.0f} |")
    write(
        "exports",
        [
            "| file | rows a processor second | processor, × the CSV writer | memory, GB | MB |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            stamp("python benchmarks/exports.py"),
        ],
    )


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else one(sys.argv[1], Path(sys.argv[2]))
