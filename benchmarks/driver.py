"""What the driver alone does of many rows: choosing them, cutting parts, one commit of many files.

    python benchmarks/driver.py          # minutes; prints the lines of docs/scale.md's plan

The facts of rows (hashes and labels) are drawn, as reading them is measured by benchmarks/scale.py. Each size has a
process of its own; memory is what it has beside what it had before, at its peak, without files that it maps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (1_000_000, 10_000_000)
FILES, FILE_ROWS = 40_000, 25_000  # together 10⁹ rows


class Peak:
    """Memory of this process while a block runs, in bytes beside what it had."""

    def __enter__(self) -> Peak:
        self.before = self.most = used()
        self.ended = threading.Event()
        self.watching = threading.Thread(target=self._watch, daemon=True)
        self.watching.start()
        self.began = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.began
        self.ended.set()
        self.watching.join()
        self.bytes = self.most - self.before

    def _watch(self) -> None:
        while not self.ended.wait(0.005):
            self.most = max(self.most, used())


def used() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def choosing(rows: int) -> dict[str, float]:
    from lakewright import plugins
    from lakewright.data.rows import choosing as wing
    from lakewright.data.rows.duplicates import IDENTITY
    from lakewright.data.rows.facts import Facts
    from lakewright.data.rows.reading import Reading
    from lakewright.records import TableVersion
    from lakewright.settings.project import load_project

    draw = np.random.default_rng(3)

    def gather(*_: Any) -> tuple[Facts, list[Any]]:
        text = np.frombuffer(draw.bytes(IDENTITY.itemsize * rows), IDENTITY).copy()
        labels = draw.integers(0, 77, rows).astype(np.int32)
        return Facts(np.arange(rows), text, labels, labels, [(f"label {at}",) for at in range(77)]), []

    wing.gather = gather  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "project.yml"
        columns = "{text: text, label: label}"
        file.write_text(
            f"name: x\nschema: main.a\ntask: text_classification\ndata: {{table: main.a.b, columns: {columns}}}\n"
        )
        project = load_project(file)
    table, named = TableVersion(name="main.a.b", version=0, uri="", rows=rows), project.data.columns
    task = plugins.TASKS.find("text_classification")
    reading = Reading(None, table, task, project.task, named.roles, {"text": "text"}, ["text", "label"])  # type: ignore[arg-type]
    with Peak() as peak:
        wing.choose(reading, "random", project.prepare, named, None, None, [])  # type: ignore[arg-type]
    return {"seconds": peak.seconds, "bytes": peak.bytes}


def many_files() -> dict[str, float]:
    import pyarrow as pa

    from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
    from lakewright.data.lake.parts import Written, parts_of
    from lakewright.data.lake.tables import Lake

    with tempfile.TemporaryDirectory() as scratch:
        lake = Lake(SqliteCatalog(Path(scratch) / "catalog.sqlite"), f"{scratch}/tables")
        files = [Written(f"part-{place:08}-{place:032x}.zstd.parquet", FILE_ROWS, 6_000_000) for place in range(FILES)]
        with Peak() as commit:
            table = lake.add_files("main.demo.many", pa.schema({"id": pa.int64()}), files)
        assert table.rows == FILES * FILE_ROWS
        log = sum(each.stat().st_size for each in (Path(table.uri) / "_delta_log").iterdir())
        with Peak() as cut:
            parts = [*parts_of(lake.files(table))]
        assert sum(part.rows for part in parts) == table.rows
        found = {"commit": commit.seconds, "commit_bytes": commit.bytes, "log": log}
        return found | {"cut": cut.seconds, "cut_bytes": cut.bytes, "parts": len(parts)}


def apart(code: str) -> dict[str, float]:
    command = [sys.executable, "-c", f"import json, driver; print(json.dumps(driver.{code}))"]
    ended = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    print("| driver alone | processor s | memory |")
    print("| --- | --- | --- |")
    for rows in SIZES:
        found = apart(f"choosing({rows})")
        seconds, size = found["seconds"], found["bytes"]
        print(
            f"| duplicates and split of {rows:,} rows | {seconds:.1f} ({seconds / rows * 1e6:.2f} µs a row) "
            f"| {size / 1e6:.0f} MB ({size / rows:.0f} bytes a row) |"
        )
    found = apart("many_files()")
    print(
        f"| one commit of {FILES:,} files ({found['log'] / 1e6:.0f} MB of log) | {found['commit']:.1f} "
        f"| {found['commit_bytes'] / 1e6:.0f} MB |"
    )
    size = found["cut_bytes"] / 1e6
    print(f"| reading that log, cutting {found['parts']:,.0f} parts | {found['cut']:.1f} | {size:.0f} MB |")


if __name__ == "__main__":
    main()
