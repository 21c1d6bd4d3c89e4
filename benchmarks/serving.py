"""Serving beside `mlflow models serve`, a plain FastAPI app and LitServe: the same model, the same texts, one machine.

    make bench-serving DATA=folder        # holds banking77/; needs wrk

A model is trained once (examples/banking77). Then, for several rounds and for each load, the servers take turns, one at
a time, each with its defaults and all cores: 1, 8 and 64 clients that ask again as soon as they are answered (wrk), and
requests that arrive at random at half of the most that the server reached (load.py). Last, ours gets five times what it
can do. Written to docs/benchmarks.md.

`--scratch FOLDER` keeps the trained model for the next try; `--only NAME` and `--dry` print and leave the page alone.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from load import CLOSED, FLOOD, HOST, NEVER, Outcome, percentile
from page import ROOT, commit, stamp, write
from run import run
from servers import (
    CHECKED,
    KEPT,
    MLFLOW,
    MLFLOW_PIPELINE,
    OURS,
    PEERS,
    SERVERS,
    Running,
    Server,
    Setting,
    agreement,
    environment,
    fill,
    free_port,
    resident,
    running,
    settle,
)

CLIENTS = (1, 8, 64)
WARM_UP = 2.0  # seconds at the load that is measured next
OVERLOAD, OVERLOAD_SECONDS, WINDOW = 5, 60.0, 5.0
LATE = 0.1  # seconds: a generator further behind its own arrivals than this measured itself
SPARE = 1.5  # times the rate that it is asked for: what the generator must reach with a server that does nothing
WRK = """
local requests, at = {}, 0
function init(arguments)
  for line in io.lines(arguments[2]) do
    requests[#requests + 1] = wrk.format("POST", arguments[1], {["Content-Type"] = "application/json"}, line)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"rate": %f, "p50": %f, "p99": %f, "failed": %d}\\n',
    (summary.requests - e.status) / summary.duration * 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Closed:
    """A closed loop: each client asks again as soon as it is answered."""

    rate: float  # of requests answered with 200, a second
    p50: float  # seconds, of all answers
    p99: float
    failed: int


@dataclass(frozen=True)
class Open:
    """Random arrivals at half of the most that the server reached."""

    rate: float
    single: float  # the latency of one request at a time, median
    p50: float
    p99: float
    failed: int
    late: float  # by which the generator itself was behind


@dataclass
class Found:
    """Of one server: one value a visit, or a round."""

    ready: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)  # MB after a load
    agreed: float = math.nan
    closed: dict[int, list[Closed]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})
    opened: list[Open] = field(default_factory=list)


def prepared(data: Path, scratch: Path) -> Setting:
    """Trains (or finds, where the scratch folder was used before) the model, and writes the pipeline for MLflow."""
    from lakewright.model.predictor import Predictor

    settings = (f"data.source={data}", "gate.minimum={}", "gate.champion=false")
    told = run("banking77/project.yml", settings, scratch)
    model = Path(told["model_folder"])
    saved = scratch / f"pipeline-{model.name}"
    if not saved.exists():
        script = ROOT / "benchmarks" / "peers" / "mlflow_text.py"
        command = [sys.executable, str(script), f"--model={model}", f"--out={saved}"]
        done = subprocess.run(command, stderr=subprocess.PIPE, env=environment(scratch), text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{script.name} failed: {done.stderr[-2000:]}")
    (scratch / "wrk.lua").write_text(WRK, encoding="utf-8")
    texts = pq.read_table(data / "test.parquet")["text"].to_pylist()
    predictor = Predictor.open(model, use="latency")
    said: list[Any] = [predictor.predict([text])[0] for text in texts[:CHECKED]]  # alone, as the servers are asked
    surest = max(range(CHECKED), key=lambda i: said[i]["confidence"])
    folders = {"model": model, "registered": Path(told["model_version"]["uri"]), "pipeline": saved}
    return Setting(scratch, folders, texts, [str(row["label"]) for row in said], surest)


def closed_loop(found: Running, setting: Setting, clients: int, seconds: float) -> Closed:
    def asked(duration: float) -> Closed:
        script, url = str(setting.scratch / "wrk.lua"), f"http://{HOST}:{found.port}{found.server.path}"
        options = ("-t1", f"-c{clients}", f"-d{math.ceil(duration)}s", "--timeout=30s", "-s", script)
        command = ["wrk", *options, url, "--", found.server.path, str(setting.bodies(found.server))]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return Closed(**json.loads(told.splitlines()[-1]))

    asked(WARM_UP)
    settle(found)
    measured = asked(seconds)
    if not measured.rate:
        raise SystemExit(f"{found.server.name} answered nobody of {clients} clients within {seconds:.0f} s")
    return measured


def load(*options: str) -> dict[str, Any]:
    """benchmarks/load.py, in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "load.py"), *options]
    told: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return told


def offered(found: Running, setting: Setting, rate: float, seconds: float, *options: str) -> Outcome:
    out = setting.scratch / "outcome.npz"
    load(*at(found, setting), f"--rate={rate}", f"--seconds={seconds}", f"--out={out}", *options)
    return Outcome.read(out)


def alone(found: Running, setting: Setting) -> float:
    """The latency of one request at a time."""
    return float(load(*at(found, setting), "--single", "--seconds=2")["single"])


def at(found: Running, setting: Setting) -> tuple[str, ...]:
    return f"--port={found.port}", f"--path={found.server.path}", f"--bodies={setting.bodies(found.server)}"


def open_loop(found: Running, setting: Setting, rate: float, seconds: float) -> Open:
    offered(found, setting, rate, WARM_UP)
    settle(found)
    single = alone(found, setting)
    came = offered(found, setting, rate, seconds)
    latency = came.latency()
    failed = len(came.status) - len(latency)
    return Open(rate, single, percentile(latency, 50), percentile(latency, 99), failed, came.late())


def generator_alone() -> float:
    """Requests/s that the generator reaches with a server that does nothing."""
    port = free_port()
    script = str(ROOT / "benchmarks" / "load.py")
    server = subprocess.Popen([sys.executable, script, f"--port={port}", "--trivial"])
    try:
        for _ in range(500):
            time.sleep(0.02)
            with socket.socket() as knocking:
                if knocking.connect_ex((HOST, port)) == 0:
                    break
        return float(load(f"--port={port}", f"--rate={FLOOD}", "--seconds=2")["answered_per_second"])
    finally:
        server.kill()
        server.wait()


def overload(setting: Setting, capacity: float, seconds: float, usual: float) -> list[str]:
    """What ours does with five times its capacity, as lines of the page."""
    rate = OVERLOAD * capacity
    possible = generator_alone()
    print(f"the generator alone: {possible:.0f} requests/s", flush=True)
    if possible < SPARE * rate:
        return [f"Overload: not reported. The generator reaches {possible:.0f} requests/s, too few for {rate:.0f}."]
    with running(OURS, setting) as found:
        closed_loop(found, setting, 8, WARM_UP)
        settle(found)
        single = alone(found, setting)
        full = offered(found, setting, capacity, min(seconds, 10.0))
        memory = [resident(found.process)]
        over = threading.Event()

        def sample() -> None:
            while not over.wait(1.0):
                memory.append(resident(found.process))

        sampler = threading.Thread(target=sample)
        sampler.start()
        came = offered(found, setting, rate, seconds, f"--bound={2 * single}")
        over.set()
        sampler.join()
    if came.late() > LATE:
        return [f"Overload: not reported. The generator was {came.late() * 1e3:.0f} ms behind its own arrivals."]
    return told_of_overload(came, full, rate, single, usual, memory, possible)


def told_of_overload(
    came: Outcome, full: Outcome, rate: float, single: float, usual: float, memory: Sequence[float], possible: float
) -> list[str]:
    counted = came.statuses()
    ok, refused, closed, never = (counted.pop(status, 0) for status in (200, 429, CLOSED, NEVER))
    told = int(came.retry_after[came.status == 429].sum())
    facts = {
        f"offered, {OVERLOAD} × the peak": f"{rate:.0f} requests/s for {came.seconds:.0f} s: {len(came.status):,}",
        "answered with 200": f"{ok:,}, {ok / came.seconds:.0f}/s",
        "refused with 429": f"{refused:,}, {refused / len(came.status):.0%}; {told:,} of them with Retry-After",
        "other statuses": ", ".join(f"{status}: {count:,}" for status, count in counted.items()) or "none",
        "closed without an answer": f"{closed:,}",
        "never answered, or never sent for want of a free connection": f"{never:,}",
        "p99 at half of the peak": f"{ms(usual)} ms",
        "p99 at the peak": f"{ms(percentile(full.latency(), 99))} ms",
        "one request at a time, before": f"{ms(single)} ms",
        "after the end, until one took less than twice that": f"{came.recovered:.2f} s",
        "resident memory before, at most, at the end": f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f} MB",
        "the generator alone": f"{possible:.0f} requests/s",
        "the generator behind its own arrivals, p99": f"{ms(came.late())} ms",
    }
    lines = [
        f"| overload of `{OURS.name}` | |",
        "| --- | --- |",
        *(f"| {fact} | {value} |" for fact, value in facts.items()),
        "",
        "| arrived in, s | answered/s | p50, ms | p99, ms | p99 ÷ at half of the peak | refused |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for begin in range(0, math.ceil(came.seconds), int(WINDOW)):
        latency = came.latency(begin, begin + WINDOW)
        during = (came.arrived >= begin) & (came.arrived < begin + WINDOW)
        p50, p99 = (percentile(latency, of) for of in (50, 99))
        share = (came.status[during] == 429).mean()
        lines.append(
            f"| {begin} – {begin + WINDOW:.0f} | {len(latency) / WINDOW:.0f} | {ms(p50)} | {ms(p99)} "
            f"| {p99 / usual:.1f} | {share:.0%} |"
        )
    return lines


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} – {max(values):.{digits}f})"


def times(one: Sequence[float], other: Sequence[float]) -> str:
    """How many times the other, in each round."""
    return spread([a / b for a, b in zip(one, other, strict=True)], 1) if other else ""


def tables(found: Mapping[str, Found]) -> list[str]:
    base, plain = (found.get(server.name, Found()) for server in (MLFLOW, MLFLOW_PIPELINE))
    lines = [
        "| | ready, s (least – greatest) | × sooner than `mlflow models serve` | resident then, MB "
        f"| most after a load, MB | same label as the model, of {CHECKED} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        memory = statistics.median(one.resident)
        lines.append(
            f"| {name} | {spread(one.ready, 1)} | {times(base.ready, one.ready) if base.ready else ''} | {memory:.0f} "
            f"| {max(one.used):.0f} | {one.agreed:.0%} |"
        )
    lines += [
        "",
        "| clients | | requests/s (least – greatest) | × `mlflow models serve` | × its transformers pipeline | p50, ms "
        "| p99, ms | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for clients in CLIENTS:
        for name, one in found.items():
            rates, others, slow = ([loop.rate for loop in of.closed[clients]] for of in (one, base, plain))
            p50, p99 = (statistics.median(getattr(loop, at) for loop in one.closed[clients]) for at in ("p50", "p99"))
            failed = sum(loop.failed for loop in one.closed[clients])
            lines.append(
                f"| {clients} | {name} | {spread(rates)} | {times(rates, others)} | {times(rates, slow)} | {ms(p50)} "
                f"| {ms(p99)} | {failed} |"
            )
    lines += [
        "",
        "| random arrivals at half of the peak | requests/s | one at a time, ms | p50, ms | p99, ms "
        "| p99 ÷ one at a time (least – greatest) | failed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        if any(loop.late > LATE for loop in one.opened):
            lines.append(f"| {name} | not reported: the generator was behind its own arrivals | | | | | |")
            continue
        columns = [[getattr(loop, of) for loop in one.opened] for of in ("rate", "single", "p50", "p99")]
        rate, single, p50, p99 = map(statistics.median, columns)
        ratio = spread([loop.p99 / loop.single for loop in one.opened], 1)
        failed = sum(loop.failed for loop in one.opened)
        lines.append(f"| {name} | {rate:.0f} | {ms(single)} | {ms(p50)} | {ms(p99)} | {ratio} | {failed} |")
    return lines


def versions() -> str:
    packages = [f"{name} {version(name)}" for name in ("mlflow", "fastapi", "uvicorn")]
    packages += [f"litserve {one.version}" for one in distributions(name="litserve", path=[str(PEERS)])]
    told = subprocess.run(["wrk", "-v"], stdout=subprocess.PIPE, text=True, check=False).stdout.split()[1]
    return ", ".join([*packages, f"wrk {told}"])


def visit(server: Server, setting: Setting, found: Found, clients: int | None, seconds: float) -> None:
    """Starts the server, measures one load (None: random arrivals) and stops it."""
    with running(server, setting) as started:
        found.ready.append(started.ready)
        found.resident.append(started.resident)
        said = f"{server.name}: ready in {started.ready:.1f} s, {started.resident:.0f} MB"
        if server is KEPT:
            fill(started, setting)
        if math.isnan(found.agreed):
            found.agreed = agreement(started, setting)
            said += f", agrees on {found.agreed:.0%}"
        if clients is None:
            peak = max(loops[-1].rate for loops in found.closed.values())
            found.opened.append(open_loop(started, setting, peak / 2, seconds))
            print(f"{said}; {found.opened[-1]}", flush=True)
        else:
            found.closed[clients].append(closed_loop(started, setting, clients, seconds))
            print(f"{said}; {clients} clients: {found.closed[clients][-1]}", flush=True)
        found.used.append(resident(started.process))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overload", type=float, default=OVERLOAD_SECONDS, help="seconds of it; 0: none")
    parser.add_argument("--only", default="", help="the servers whose name holds this")
    parser.add_argument("--scratch", type=Path, help="a folder to keep; what is trained in it is used again")
    parser.add_argument("--dry", action="store_true", help="print the tables and leave the page alone")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk makes the load and is not installed: apt-get install wrk")
    servers = [server for server in SERVERS if arguments.only.lower() in server.name.lower()]
    if not servers:
        raise SystemExit(f"no server is named {arguments.only}: " + ", ".join(server.name for server in SERVERS))
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (arguments.scratch or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        setting = prepared(arguments.data.resolve() / "banking77", scratch)
        found = {server.name: Found() for server in servers}
        for server in servers:  # reads every file once: a first start is slower than any later one
            with running(server, setting):
                pass
        for _ in range(arguments.rounds):
            for clients in (*CLIENTS, None):
                for server in servers:
                    visit(server, setting, found[server.name], clients, arguments.seconds)
        lines = tables(found)
        if OURS in servers and arguments.overload:
            ours = found[OURS.name]
            peak = max(statistics.median(loop.rate for loop in loops) for loops in ours.closed.values())
            usual = statistics.median(loop.p99 for loop in ours.opened)
            lines += ["", *overload(setting, peak, arguments.overload, usual)]
    rounds = f"{arguments.rounds} round{'s' * (arguments.rounds > 1)} of {arguments.seconds:.0f} s"
    lines += ["", f"Commit {commit()}, {rounds}, {versions()}."]
    lines[-1] += " " + stamp("make bench-serving DATA=folder")
    if arguments.dry or arguments.only:
        print("\n".join(lines))
    else:
        write("serving", lines)


if __name__ == "__main__":
    main()
