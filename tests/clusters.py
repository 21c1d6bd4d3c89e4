"""Spark clusters on this machine, from the pyspark wheel: a standalone master with workers, a Connect server, Sail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START = 120.0  # seconds: a JVM on a busy machine


def why_not() -> str:
    """Why Spark cannot run here; empty: it can."""
    import importlib.util

    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("pysail") is None:
        return "pyspark and pysail are not installed: make spark"
    return "" if shutil.which("java") else "there is no Java: make spark"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def running(
    folder: Path, *command: str, port: int | None = None, hidden: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Spark, with what it started, until the block ends; begun when its port answers. It sees an empty
    folder in place of `hidden`, as a machine would that has none of these files."""
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*_hiding(hidden), str(home / "bin" / command[0]), *command[1:]],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if port is not None:
            wait_for(port, process, folder / "log.txt")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _hiding(folder: Path | None) -> list[str]:
    mount = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    return [] if folder is None else ["unshare", "-m", "sh", "-c", mount, str(folder)]


def cannot_hide() -> str:
    """Why no program can be run that does not see a folder; empty: it can."""
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    able = shutil.which("unshare") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    return "" if able else "nothing can be mounted here: run as root, with util-linux"


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.2)
    raise AssertionError(f"nothing answers at port {port}: {log.read_text()[-2000:]}")


@contextmanager
def standalone(folder: Path, workers: int = 2, hidden: Path | None = None) -> Iterator[str]:
    """The url of a master with so many workers of one core, which do not see the folder `hidden`."""
    port = free_port()
    at = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", str(free_port()))
    url = f"spark://127.0.0.1:{port}"
    with running(folder / "master", "spark-class", "org.apache.spark.deploy.master.Master", *at, port=port):
        yield from _with_workers(folder, url, workers, hidden)


def _with_workers(folder: Path, url: str, workers: int, hidden: Path | None) -> Iterator[str]:
    if not workers:
        yield url
        return
    of = ("--host", "127.0.0.1", "-c", "1", "-m", "1500m", "--webui-port", str(free_port()), "-d")
    place = folder / f"worker{workers}"
    command = ("spark-class", "org.apache.spark.deploy.worker.Worker", *of, str(place), url)
    with running(place, *command, hidden=hidden):
        yield from _with_workers(folder, url, workers - 1, hidden)


@contextmanager
def connect_server(folder: Path, master: str) -> Iterator[str]:
    """The url of a Connect server whose tasks run on the master's workers."""
    port = free_port()
    settings = {
        "spark.connect.grpc.binding.port": port,
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "512m",
    }
    given = [each for name, value in settings.items() for each in ("--conf", f"{name}={value}")]
    server = ("--class", "org.apache.spark.sql.connect.service.SparkConnectServer")
    command = ("spark-submit", *server, "--master", master, *given, "spark-internal")
    with running(folder / "connect", *command, port=port):
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def sail(folder: Path) -> Iterator[str]:
    """The url of Sail's Connect server, in a process of its own: a task that is killed takes it along."""
    port = free_port()
    script = f"from pysail.spark import SparkConnectServer as S; S('127.0.0.1', {port}).start(background=False)"
    log = folder / "sail.txt"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(port, process, log)
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
