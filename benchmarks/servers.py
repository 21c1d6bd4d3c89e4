"""The servers that benchmarks/serving.py compares: how each is started, asked and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from load import HOST
from page import ROOT

CHECKED, AGREED = 50, 0.9  # texts, and the share of them whose label must be the model's own
PATIENCE = 180.0  # seconds for a server to answer at all
LOOK, IDLE = 0.2, 0.4  # seconds between two looks, and the share of a core that a server uses while nobody asks
BIN = Path(sys.executable).parent
PEERS = ROOT / ".peers"


@dataclass(frozen=True)
class Server:
    """`command` and `environment` may name {model}, {registered}, {pipeline} (folders) and {port}."""

    name: str
    command: tuple[str, ...]
    body: Callable[[str], Any]
    label: Callable[[Any], str]
    path: str = "/predict"
    environment: Mapping[str, str] = field(default_factory=dict)


def lakewright(name: str, *settings: str) -> Server:
    command = (f"{BIN}/lakewright", "serve", "{model}", "--port", "{port}", *settings)
    return Server(name, command, lambda text: {"texts": [text]}, lambda said: str(said["predictions"][0]["label"]))


def mlflow(name: str, folder: str, body: Callable[[str], Any]) -> Server:
    command = (f"{BIN}/mlflow", "models", "serve", "-m", folder, "--env-manager", "local", "-p", "{port}")
    return Server(name, command, body, lambda said: str(said["predictions"][0]["label"]), "/invocations")


def peer(name: str, *command: str, **environment: str) -> Server:
    asked = {"MODEL": "{model}", **environment}
    return Server(
        name,
        (sys.executable, *command),
        lambda text: {"text": text},
        lambda said: str(said["label"]),
        "/predict",
        asked,
    )


OURS = lakewright("lakewright serve", "--set", "cache_rows=0")
MLFLOW = mlflow("mlflow models serve", "{registered}", lambda text: {"inputs": {"text": [text]}})
MLFLOW_PIPELINE = mlflow("mlflow models serve, transformers pipeline", "{pipeline}", lambda text: {"inputs": [text]})
KEPT = lakewright("lakewright serve, answers kept")  # as it is by default, for more texts than there are here
SERVERS = (
    OURS,
    KEPT,
    MLFLOW,
    MLFLOW_PIPELINE,
    peer(
        *("FastAPI, transformers pipeline", "-m", "uvicorn", f"--app-dir={ROOT / 'benchmarks/peers'}"),
        *("fastapi_text:app", "--port={port}"),
    ),
    peer(
        *("LitServe, transformers pipeline, batched", str(ROOT / "benchmarks/peers/litserve_text.py"), "--port={port}"),
        PYTHONPATH=str(PEERS),
    ),
)


@dataclass(frozen=True)
class Setting:
    """What all servers have in common."""

    scratch: Path
    folders: Mapping[str, Path]
    texts: Sequence[str]
    labels: Sequence[str]  # what the model itself says of the first CHECKED texts
    surest: int  # the text, among those, of whose label the model is surest

    def bodies(self, server: Server) -> Path:
        file = self.scratch / f"{server.name}.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps(server.body(text)) + "\n" for text in self.texts), encoding="utf-8")
        return file


@dataclass(frozen=True)
class Running:
    server: Server
    process: psutil.Process
    port: int
    ready: float  # seconds from the start of the process to the first correct answer
    resident: float  # MB then


def free_port() -> int:
    with socket.socket() as any_free:
        any_free.bind((HOST, 0))
        return int(any_free.getsockname()[1])


def environment(scratch: Path) -> dict[str, str]:
    """Nobody asks a hub or reports to one, and commands find each other."""
    alone = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "huggingface"), "DO_NOT_TRACK": "true"}
    return {**os.environ, **alone, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def running(server: Server, setting: Setting) -> Iterator[Running]:
    """The server, from its first correct answer on; afterwards every process of it is gone."""
    port = free_port()
    names = {**setting.folders, "port": port}
    own = {name: value.format(**names) for name, value in server.environment.items()}
    log = setting.scratch / f"{server.name}.log"
    with log.open("w") as file:
        began = time.perf_counter()
        started = subprocess.Popen(
            [part.format(**names) for part in server.command],
            cwd=setting.scratch,
            env={**environment(setting.scratch), **own},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(started.pid)
    try:
        text, expected = setting.texts[setting.surest], setting.labels[setting.surest]
        while (said := answer(server, port, text)) != expected:
            if started.poll() is not None or time.perf_counter() - began > PATIENCE:
                ended = log.read_text(encoding="utf-8")[-3000:]
                raise SystemExit(f"{server.name}: {said!r} instead of {expected!r}. Its log ends with\n{ended}")
            time.sleep(0.02)
        ready = time.perf_counter() - began
        yield Running(server, process, port, ready, resident(process))
    finally:
        stop(started)


def stop(started: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):  # to its children as well: they are in its group
        with suppress(ProcessLookupError):
            os.killpg(started.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            started.wait(10)


def answer(server: Server, port: int, text: str) -> str | None:
    """The label; None while the server does not answer, or not with 200."""
    said = post(server, port, server.body(text))
    return None if said is None else server.label(said)


def post(server: Server, port: int, body: Any) -> Any:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("POST", server.path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        return json.loads(content) if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> float:
    """MB of the process and its children, with what several of them share counted once."""
    total = 0
    for one in tree(process):
        with suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().pss
    return total / 1e6


def fill(found: Running, setting: Setting) -> None:
    """Every text is asked once, so that its answer is kept."""
    for start in range(0, len(setting.texts), 500):
        if post(found.server, found.port, {"texts": setting.texts[start : start + 500]}) is None:
            raise SystemExit(f"{found.server.name} did not answer 500 texts at once")


def settle(found: Running) -> None:
    """Waits until the server has done what was asked before: a client that left does not end its request."""
    before = processor(found.process)
    for _ in range(int(PATIENCE / LOOK)):
        time.sleep(LOOK)
        if (now := processor(found.process)) - before < IDLE * LOOK:
            return
        before = now
    raise SystemExit(f"{found.server.name} is still busy {PATIENCE:.0f} s after the last request")


def processor(process: psutil.Process) -> float:
    """Seconds of processor time of all its processes."""
    total = 0.0
    for one in tree(process):
        with suppress(psutil.NoSuchProcess):
            spent = one.cpu_times()
            total += spent.user + spent.system
    return total


def agreement(found: Running, setting: Setting) -> float:
    """The share of texts of which the server says what the model says. SystemExit where it answers nonsense."""
    said = [answer(found.server, found.port, text) for text in setting.texts[:CHECKED]]
    share = sum(a == b for a, b in zip(said, setting.labels, strict=True)) / CHECKED
    if share < AGREED:
        raise SystemExit(f"{found.server.name} says what the model says of {share:.0%} of {CHECKED} texts only")
    return share
