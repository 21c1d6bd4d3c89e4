"""Requests of many rows of a table: the same server asked in JSON and as an Arrow stream, by turns.

    make bench-requests DATA=folder of parquet sets      # reads diamonds/

A model of 100 trees is trained, and one `lakewright serve` answers, with its defaults, one client that asks again as
soon as it is answered. In every round each form of a request takes its turn: `dataframe_records`, `dataframe_split`, an
Arrow stream answered in JSON, and one answered as a stream, each of 1, 16, 100 and 1,000 rows; no row stands twice in a
round, so that no answer is kept. Reported are rows per second of wall time, and the server's own processor time a row.
Written to docs/benchmarks.md.

`--source FOLDER` serves with another checkout's `src` (its package must be the first on PYTHONPATH); forms that it
refuses are left out.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import page
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from load import HOST
from servers import BIN, environment, free_port

STREAM = "application/vnd.apache.arrow.stream"
SIZES = (1, 16, 100, 1000)
AT_ONCE = 8000  # rows of one measurement
Rows = Sequence[Mapping[str, Any]]


def stream(rows: Rows) -> bytes:
    table, sink = pa.Table.from_pylist(list(rows)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def split(rows: Rows) -> bytes:
    names = list(rows[0])
    return json.dumps({"dataframe_split": {"columns": names, "data": [[*row.values()] for row in rows]}}).encode()


def records(rows: Rows) -> bytes:
    return json.dumps({"dataframe_records": rows}).encode()


FORMS: dict[str, tuple[Callable[[Rows], bytes], dict[str, str]]] = {
    "JSON, dataframe_records": (records, {"Content-Type": "application/json"}),
    "JSON, dataframe_split": (split, {"Content-Type": "application/json"}),
    "Arrow, answered in JSON": (stream, {"Content-Type": STREAM}),
    "Arrow, answered in Arrow": (stream, {"Content-Type": STREAM, "Accept": STREAM}),
}


def trained(data: Path, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The model folder, and rows of the table."""
    table = pq.read_table(data / "diamonds")
    pq.write_table(table, folder / "rows.parquet")
    project = {
        "name": "diamonds",
        "schema": "main.bench",
        "task": "regression",
        "data": {"source": "rows.parquet", "columns": {"label": "target"}},
        "train": {"learner": "trees", "n_estimators": 100},
        "evaluate": {"resamples": 100},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    command = [f"{BIN}/lakewright", "run", "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)["model_folder"], table.drop_columns(["target"]).to_pylist()


def seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(port: int, process: psutil.Process, form: str, rows: Rows, size: int) -> tuple[float, float] | None:
    """Rows per second, and the server's processor time a row in µs; None if it does not read this form."""
    make, headers = FORMS[form]
    bodies = [make(rows[start : start + size]) for start in range(0, len(rows), size)]
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    before, began = seconds(process), time.perf_counter()
    for body in bodies:
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 415:
            return None
        assert answer.status == 200, answer.status
    wall, used = time.perf_counter() - began, seconds(process) - before
    connection.close()
    return len(rows) / wall, used / len(rows) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path, help="the `src` of another checkout, for the server")
    parser.add_argument("--dry", action="store_true", help="print the table and leave the page alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = Path(temporary), free_port()
        model, every = trained(arguments.data.resolve(), folder)
        environ = environment(folder)
        if arguments.source:
            environ["PYTHONPATH"] = os.pathsep.join([str(arguments.source.resolve()), environ.get("PYTHONPATH", "")])
        command = [f"{BIN}/lakewright", "serve", model, "--port", str(port)]
        with (folder / "log").open("w") as log:
            process = psutil.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        try:
            _wait(port)
            for round_ in range(arguments.rounds + 1):  # the first one warms up
                for number, size in enumerate(SIZES):
                    for place, form in enumerate(FORMS):
                        at = (round_ * 17 + number * 5 + place) * AT_ONCE % (len(every) - AT_ONCE)
                        count = min(AT_ONCE, 1000 * size)
                        one = measured(port, process, form, every[at : at + count], size)
                        if round_ and one is not None:
                            found.setdefault((form, size), []).append(one)
        finally:
            process.terminate()
            process.wait()
    lines = [
        "| rows a request | form | rows/s (least – greatest) | server's processor µs a row |",
        "| --- | --- | --- | --- |",
    ]
    for size in SIZES:
        for form in FORMS:
            if (form, size) in found:
                rates, used = zip(*found[form, size], strict=True)
                middle = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} – {max(rates):,.0f})"
                lines.append(f"| {size:,} | {form} | {middle} | {statistics.median(used):.1f} |")
    lines += ["", f"Commit {page.commit()}, {arguments.rounds} rounds. {page.stamp('make bench-requests DATA=folder')}"]
    if arguments.dry or arguments.source:
        print("\n".join(lines))
    else:
        page.write("requests_of_many", lines)


def _wait(port: int) -> None:
    for _ in range(600):
        time.sleep(0.1)
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=5)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            continue
    sys.exit("the server does not answer")


if __name__ == "__main__":
    main()
