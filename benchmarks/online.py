"""Feature values by key: a store beside its bare client, and a request with the key alone beside one with all values;
writes docs/benchmarks.md.

    python benchmarks/online.py          # minutes; redis-server is needed

A hundred thousand keys of ten doubles. The peers read the same: ten columns of a table of SQLite, a text of the same
length of Redis. Requests go to one `lakewright serve`, whose processor seconds are counted. By turns, in one process;
the ratio is within a pair.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from page import stamp, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

KEYS, PAIRS, GETS, REQUESTS = 100_000, 7, 20_000, 2_000
TABLE, NAMES = "main.shop.features", [f"f{number}" for number in range(10)]
PROJECT = {
    "name": "buyers",
    "schema": "main.shop",
    "task": "classification",
    "data": {
        "source": "orders.parquet",
        "columns": {"label": "kept", "event_time": "at", "numbers": [*NAMES, "price"], "id": "id"},
    },
    "features": [{"table": TABLE}],
    "train": {"learner": "linear"},
    "gate": {"champion": False},
}


def publish_values(folder: Path) -> Any:
    """The feature table in the workspace of the folder, and in its online store."""
    import lakewright as lw

    os.chdir(folder)
    lw.features.create(TABLE, keys={"customer": "bigint"}, event_time="day", values=dict.fromkeys(NAMES, "double"))
    draw, day = np.random.default_rng(0), datetime.now(UTC) - timedelta(days=2)
    times = pa.array([day] * KEYS, pa.timestamp("us", "UTC"))
    values = {name: draw.random(KEYS) for name in NAMES}
    lw.features.write(TABLE, pa.table({"customer": np.arange(KEYS), "day": times, **values}))
    lw.features.publish(TABLE)
    return values


def gets(folder: Path, url: str, values: Any) -> dict[str, list[float]]:
    """Processor seconds of each: ours, its peer."""
    import redis

    from lakewright.data.features.online.lookups import Lookup, Lookups
    from lakewright.data.features.online.publishing import publish
    from lakewright.settings.profile import Profile
    from lakewright.workspace import Workspace

    plain = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute(f"CREATE TABLE plain (customer INTEGER PRIMARY KEY, {', '.join(f'{name} REAL' for name in NAMES)})")
    rows = zip(range(KEYS), *(values[name].tolist() for name in NAMES), strict=True)
    plain.execute("BEGIN")
    plain.executemany(f"INSERT INTO plain VALUES (?{', ?' * len(NAMES)})", rows)
    plain.execute("COMMIT")
    workspace = Workspace.open(Profile(workspace=str(folder / ".lakewright")))
    in_redis = Workspace.open(
        Profile(workspace=str(folder / ".lakewright"), online={"name": "redis", "url": url})  # type: ignore[arg-type]
    ).online()
    publish(workspace.lake, TABLE, in_redis, datetime.now(UTC))
    client = redis.Redis.from_url(url)
    length = len(workspace.online().get(TABLE, ["1"])[0] or b"")
    client.mset({f"plain {key}": "x" * length for key in range(KEYS)})
    keys = [random.Random(1).randrange(KEYS) for _ in range(GETS)]
    lookup, now = Lookup(TABLE, {"customer": "customer"}, {name: name for name in NAMES}), datetime.now(UTC)
    select = f"SELECT {', '.join(NAMES)} FROM plain WHERE customer = ?"

    def ours(store: Any) -> Callable[[], None]:
        layout = Lookups([lookup], store, NAMES)._layout(lookup)

        def get() -> None:
            for key in keys:
                (entry,) = store.get(TABLE, [layout.read_key([key])])
                layout.read(entry, now)

        return get

    def bare_select() -> None:
        for key in keys:
            plain.execute(select, (key,)).fetchone()

    def bare_get() -> None:
        for key in keys:
            client.get(f"plain {key}")

    sides = {
        "SQLite": (ours(workspace.online()), bare_select),
        "Redis": (ours(in_redis), bare_get),
    }
    return {name: _ratios(*pair) for name, pair in sides.items()}


def _ratios(one: Callable[[], None], other: Callable[[], None]) -> list[float]:
    one(), other()
    found = []
    for _ in range(PAIRS):
        seconds = []
        for each in (one, other):
            began = time.process_time()
            each()
            seconds.append(time.process_time() - began)
        found.append(seconds[0] / seconds[1])
    return sorted(found)


def requests(folder: Path, values: Any) -> list[float]:
    """The server's processor seconds of requests by key, over those of the same requests with all values."""
    import lakewright as lw

    draw, count = random.Random(0), 2_000
    buyers = [draw.randrange(KEYS) for _ in range(count)]
    at = pa.array([datetime.now(UTC)] * count, pa.timestamp("us", "UTC"))
    kept = ["yes" if values["f0"][buyer] > 0.5 else "no" for buyer in buyers]
    ids = [f"r{number}" for number in range(count)]
    table = pa.table({"id": ids, "customer": buyers, "at": at, "price": [1.0 * (b % 7) for b in buyers], "kept": kept})
    import pyarrow.parquet as pq

    pq.write_table(table, folder / "orders.parquet")
    (folder / "project.yml").write_text(json.dumps(PROJECT))
    lw.run(str(folder / "project.yml"))
    (model,) = (folder / ".lakewright" / "models").iterdir()
    port = 18_000 + os.getpid() % 1000
    command = [sys.executable, "-m", "lakewright.cli", "serve", str(model), "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        connection = _connected(port)

        def ask(row: dict[str, Any]) -> dict[str, Any]:
            connection.request("POST", "/predict", json.dumps({"rows": [row]}), {"Content-Type": "application/json"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer

        by_key = [{"customer": key, "price": 1.0 * (place % 1000)} for place, key in enumerate(buyers)]
        whole = [
            {"price": row["price"], **{name: float(values[name][row["customer"]]) for name in NAMES}} for row in by_key
        ]
        for one, other in zip(by_key[:200], whole[:200], strict=True):
            assert ask(one)["predictions"] == ask(other)["predictions"]
        found = []
        for turn in range(PAIRS):
            seconds = []
            for side, rows in enumerate((by_key, whole)):
                began = _seconds_of(server.pid)
                for place in range(REQUESTS):  # a row of its own each time: answers are cached
                    ask({**rows[place % count], "price": 10_000.0 * (2 * turn + side + 1) + place})
                seconds.append(_seconds_of(server.pid) - began)
            found.append(seconds[0] / seconds[1])
        return sorted(found)
    finally:
        server.terminate()
        server.wait()


def _connected(port: int) -> http.client.HTTPConnection:
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/ping")
            connection.getresponse().read()
            return connection
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not come up")


def _seconds_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    import redis_server

    with tempfile.TemporaryDirectory() as scratch, redis_server.running(Path(scratch)) as (url, _):
        values = publish_values(Path(scratch))
        found = gets(Path(scratch), url, values)
        by_key = requests(Path(scratch), values)
    rows = [
        ("a key's values of SQLite", "a bare SELECT of them", found["SQLite"]),
        ("a key's values of Redis", "a bare GET of a text as long", found["Redis"]),
        ("a request with the key alone", "the same with all values (the server's seconds)", by_key),
    ]
    write(
        "online",
        [
            "| | beside | processor seconds, median of pairs (least to most) |",
            "| --- | --- | --- |",
            *(
                f"| {one} | {other} | {statistics.median(each):.2f} × ({each[0]:.2f} to {each[-1]:.2f}) |"
                for one, other, each in rows
            ),
            "",
            f"{KEYS:,} keys of ten doubles; {GETS:,} gets and {REQUESTS:,} requests a turn, {PAIRS} pairs.",
            "",
            stamp("python benchmarks/online.py"),
        ],
    )


if __name__ == "__main__":
    main()
