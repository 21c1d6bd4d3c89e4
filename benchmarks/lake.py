"""The lake: feature tables beside DuckDB's ASOF join, and rows that are checked; writes docs/benchmarks.md.

    python benchmarks/lake.py            # minutes

A million rows and a million values of ten columns, by both times. The peer joins by the event's time alone, and so
gives some rows values that nobody knew yet. Both read Delta tables and write one, by turns, each in a process of its
own; the ratio is within a pair. A drawn thousand of rows is computed by hand as well.

A million rows of twenty columns are ingested from Parquet, with an expectation of each column and without, by turns as
well: expectations.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from page import stamp, write

ROWS, KEYS, VALUES, DAYS = 1_000_000, 10_000, 10, 30
PAIRS, DRAWN = 5, 1000
DAY = 86_400_000_000  # microseconds
FEATURES, ORDERS = "main.shop.features", "main.shop.orders"
CHECKED, PARQUET = "main.shop.checked", "sales.parquet"


def lake_in(folder: Path) -> Any:
    from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
    from lakewright.data.lake.tables import Lake

    return Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))


def write_tables(folder: Path) -> None:
    from lakewright.data.features import TIME, create, defined

    draw, begin, lake = np.random.default_rng(0), 1_700_000_000_000_000, lake_in(folder)
    event = begin + draw.integers(0, 365 * DAY, ROWS)
    values = {f"f{number}": draw.random(ROWS) for number in range(VALUES)}
    times = {"day": pa.array(event, TIME), "loaded": pa.array(event + draw.integers(0, DAY, ROWS), TIME)}
    table = defined(
        FEATURES, {"customer": "bigint"}, "day", dict.fromkeys(values, "double"), known_at="loaded", ttl=f"{DAYS}d"
    )
    create(lake, table)
    lake.write(FEATURES, pa.table({"customer": draw.integers(0, KEYS, ROWS), **times, **values}), mode="append")
    at = pa.array(begin + draw.integers(0, 365 * DAY, ROWS), TIME)
    lake.write(ORDERS, pa.table({"id": np.arange(ROWS), "customer": draw.integers(0, KEYS, ROWS), "at": at}))


def ours(lake: Any) -> str:
    from lakewright.data.features import feature_table
    from lakewright.data.features.joining import Lookup, join
    from lakewright.workers.local import LocalWorkers

    table = feature_table(lake, FEATURES)
    lookup = Lookup(table, lake.version(FEATURES), {"customer": "customer"}, {each: each for each in table.values})
    return str(join(lake, lake.version(ORDERS), "at", [lookup], "main.shop.ours", LocalWorkers(1, 1)).table)


def peer(lake: Any) -> str:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET asof_loop_join_threshold = 0")
    connection.register("rows", lake.scan(lake.version(ORDERS)))
    connection.register("stored", lake.scan(lake.version(FEATURES)))
    values = ", ".join(
        f"CASE WHEN f.day >= r.at - INTERVAL {DAYS} DAY THEN f.f{number} END AS f{number}" for number in range(VALUES)
    )
    joined = connection.sql(
        f"SELECT r.*, {values} FROM rows r ASOF LEFT JOIN stored f ON r.customer = f.customer AND r.at >= f.day"
    )
    return str(lake.write("main.shop.peer", joined.to_arrow_reader(65_536), ordered=False))


def write_parquet(folder: Path) -> None:
    """Twenty columns, each of which violates its expectation in some rows, but for the ids."""
    import pyarrow.parquet as pq

    draw = np.random.default_rng(2)
    columns: dict[str, Any] = {"id": np.arange(ROWS), "code": [f"c-{number:07}" for number in range(ROWS)]}
    for number in range(8):
        columns[f"f{number}"] = draw.normal(size=ROWS)
    for number in range(4):
        columns[f"n{number}"] = pa.array(draw.integers(0, 1000, ROWS), mask=draw.random(ROWS) < 1e-4)
    for number in range(4):
        columns[f"c{number}"] = pa.array(np.array(["red", "green", "blue", "?"]).take(draw.choice(4, ROWS, p=SHARES)))
    columns["day"] = pa.array(1_700_000_000_000_000 + draw.integers(0, 365 * DAY, ROWS), pa.timestamp("us", "UTC"))
    columns["paid"] = draw.random(ROWS)
    pq.write_table(pa.table(columns), folder / PARQUET, row_group_size=1 << 17)


SHARES = (0.5, 0.3, 0.1999, 0.0001)
EXPECT: list[dict[str, Any]] = [
    {"unique": "id", "severity": "drop"},
    {"regex": {"code": "^c-[0-9]{7}$"}},
    {"range": {f"f{number}": {"min": -4, "max": 4} for number in range(8)}, "severity": "drop"},
    {"not_null": ["n0", "n1"], "severity": "drop"},
    {"range": {f"n{number}": {"min": 0, "max": 999} for number in (2, 3)}},
    {"allowed": {f"c{number}": ["red", "green", "blue"] for number in range(4)}},
    {"range": {"day": {"min": "2023-11-15"}}},
    {"sql": "paid between 0 and 0.9999"},
]


def ingest(folder: Path, expect: list[dict[str, Any]]) -> str:
    from lakewright.data.expectations.writing import Writing
    from lakewright.data.sources.parquet import SOURCE
    from lakewright.data.sources.pieces import copied
    from lakewright.settings.expectations import Expected, expectations
    from lakewright.workers.local import LocalWorkers

    lake, rows = lake_in(folder), SOURCE.pieces(str(folder / PARQUET), {}, {})
    if not expect:
        return str(copied(rows, lake, CHECKED, lambda: LocalWorkers(1, 1), {})[0])
    every = expectations([Expected.model_validate(each) for each in expect])
    assert len(every) == len(rows.schema) == 20
    properties = {"fingerprint": "f"}
    writing = Writing(lake, CHECKED, PARQUET, every)
    return str(writing.write(rows, lambda: LocalWorkers(1, 1), "f", lambda *_: properties)[0])


WORK = {
    "ours": lambda folder: ours(lake_in(folder)),
    "peer": lambda folder: peer(lake_in(folder)),
    "checked": lambda folder: ingest(folder, EXPECT),
    "unchecked": lambda folder: ingest(folder, []),
}


# Imported before the clock starts: else what Python compiles of them would be most of the difference.
WARM = ("duckdb", "sqlglot.dialects.duckdb", "lakewright.data.expectations.writing", "lakewright.data.sources.parquet")


def measured(which: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, which, str(folder)]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return result


def one(which: str, folder: Path) -> None:
    for module in WARM if which in ("checked", "unchecked") else ():
        import_module(module)
    began = time.process_time()
    table = WORK[which](folder)
    seconds, memory = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"table": table, "seconds": seconds, "memory": memory}))


def by_hand(lake: Any, table: str) -> tuple[int, int]:
    """Of some drawn rows, those that have the value which loops over all values give; and how many rows of the peer
    have a value from their future."""
    rows = lake.read(lake.version(table)).sort_by("id")
    peers = lake.read(lake.version("main.shop.peer")).sort_by("id")
    stored = lake.read(lake.version(FEATURES))
    customer, day, loaded = (stored[name].cast(pa.int64()).to_numpy() for name in ("customer", "day", "loaded"))
    values = stored["f0"].to_numpy()
    of_value = {value: place for place, value in enumerate(values.tolist())}
    at = rows["at"].cast(pa.int64()).to_numpy()
    right = 0
    for place in np.random.default_rng(1).choice(len(rows), DRAWN, replace=False):
        known = (customer == rows["customer"][place].as_py()) & (day <= at[place]) & (loaded <= at[place])
        last = np.flatnonzero(known)[np.argmax(day[known])] if known.any() else None
        expected = None if last is None or day[last] < at[place] - DAYS * DAY else values[last]
        right += rows["f0"][place].as_py() == expected
    early = [
        (place, of_value[value])
        for place, value in enumerate(peers["f0"].to_pylist())
        if value is not None and max(day[of_value[value]], loaded[of_value[value]]) > at[place]
    ]
    ours_early = [
        place
        for place, value in enumerate(rows["f0"].to_pylist())
        if value is not None and max(day[of_value[value]], loaded[of_value[value]]) > at[place]
    ]
    assert not ours_early, f"{len(ours_early)} rows have a value from their future"
    return right, len(early)


def join_features(folder: Path) -> None:
    write_tables(folder)
    pairs = [(measured("ours", folder), measured("peer", folder)) for _ in range(PAIRS)]
    right, early = by_hand(lake_in(folder), pairs[-1][0]["table"])
    seconds, memory, ratio = told(pairs)
    write(
        "lake",
        [
            "| joined | processor seconds | memory, GB | rows with a value from their future |",
            "| --- | --- | --- | --- |",
            f"| Lakewright, by both times | {seconds[0]:.1f} | {memory[0]:.2f} | 0 |",
            f"| DuckDB's ASOF join, by the event's time | {seconds[1]:.1f} | {memory[1]:.2f} | {early:,} |",
            "",
            f"{ratio}; of {DRAWN:,} drawn rows, {right:,} have the value that loops give.",
            "",
            stamp("python benchmarks/lake.py"),
        ],
    )


def expect_rows(folder: Path) -> None:
    write_parquet(folder)
    pairs = [(measured("checked", folder), measured("unchecked", folder)) for _ in range(PAIRS)]
    seconds, memory, ratio = told(pairs)
    lake = lake_in(folder)
    kept = lake.version(pairs[-1][0]["table"]).rows
    dropped = lake.version(f"{CHECKED}_quarantine").rows
    assert kept + dropped == ROWS
    write(
        "expectations",
        [
            "| ingested | processor seconds | memory, GB | rows in quarantine |",
            "| --- | --- | --- | --- |",
            f"| with an expectation of each column | {seconds[0]:.1f} | {memory[0]:.2f} | {dropped:,} |",
            f"| without | {seconds[1]:.1f} | {memory[1]:.2f} | |",
            "",
            f"{ratio}.",
            "",
            stamp("python benchmarks/lake.py expectations"),
        ],
        script="lake",
    )


def told(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[list[float], list[float], str]:
    """The medians of the processor seconds, the most memory, and the ratio of the first to the second."""
    ratios = sorted(mine["seconds"] / other["seconds"] for mine, other in pairs)
    middle = [statistics.median(each[side]["seconds"] for each in pairs) for side in (0, 1)]
    memory = [max(each[side]["memory"] for each in pairs) for side in (0, 1)]
    ratio = (
        f"{statistics.median(ratios):.2f} × the second in the median of {PAIRS} pairs ({ratios[0]:.2f} to "
        f"{ratios[-1]:.2f})"
    )
    return middle, memory, ratio


BENCHMARKS = {"features": join_features, "expectations": expect_rows}


def main(names: list[str]) -> None:
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory() as scratch:
            BENCHMARKS[name](Path(scratch))


if __name__ == "__main__":
    one(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main(sys.argv[1:])
