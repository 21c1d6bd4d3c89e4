"""A Spark cluster of the machines of one job: it begins with the job, and ends with it.

The first machine has the master and a worker, and runs what the job is for; every other one has a worker until the
master is gone. What runs learns the cluster's address by `--workers spark://…`.

    python -m lakewright.workers.standalone lakewright stage prepare --project …

is started on every machine, in the environment that platforms make for one process a machine (RANK, WORLD_SIZE,
MASTER_ADDR), and runs the command on the first one. Where there is one machine, it runs the command as it is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lakewright.errors import LakewrightError, UsageError, WorkerDied
from lakewright.system.files import cores
from lakewright.workers.spark import check_java

PORT, PAGE = 7077, 7080  # of the master, and of its page, which lists the workers
PATIENCE = 600.0  # seconds for the other machines: a platform starts them at different times
GONE = 5  # seconds without an answer after which the master is gone
# What says that several processes were started, which the stage refuses: here one of them runs it.
GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def first(own: str, machines: int) -> Iterator[str]:
    """The cluster's address, on its first machine, whose name or address is `own`, once all its machines are there.

    What this process, and those that it starts, compute by Spark, they compute there. Raises UsageError without Java or
    pyspark, WorkerDied where a machine does not come or the master ends.
    """
    _be(own)
    with ExitStack() as held:
        url = f"spark://{own}:{PORT}"
        at = ("--host", own, "--port", str(PORT), "--webui-port", str(PAGE))
        master = held.enter_context(_program("org.apache.spark.deploy.master.Master", *at))
        _answering(own, PORT, master)
        held.enter_context(_worker(own, url))
        _await_workers(own, machines, master)
        yield url


def other(master: str, own: str) -> None:
    """A worker on another machine, until the master on the machine `master` is gone.

    Raises UsageError without Java or pyspark, WorkerDied where the master does not come, or the worker ends before it.
    """
    _be(own)
    _answering(master, PORT)
    with _worker(own, f"spark://{master}:{PORT}") as worker:
        silent = 0
        while silent < GONE:
            time.sleep(1)
            silent = 0 if _answers(master, PORT) else silent + 1
            if not silent:
                worker.check()


def check() -> None:
    """Raises UsageError where this machine has no Java or no pyspark."""
    check_java()
    if find_spec("pyspark") is None:
        raise UsageError(
            "a Spark cluster needs pyspark, which is not installed here", "pip install 'lakewright[spark]'"
        )


def await_names(hosts: Sequence[str], seconds: float = PATIENCE) -> None:
    """Until each name has an address. Raises WorkerDied that names those that have none after so many seconds."""
    deadline = time.monotonic() + seconds
    while missing := [host for host in hosts if not _resolves(host)]:
        if time.monotonic() > deadline:
            raise WorkerDied(
                f"after {seconds:.0f} seconds there is no machine {', '.join(missing)}, of {', '.join(hosts)}",
                "start again; if it happens again, read the log of that machine: its container may not have started",
            )
        time.sleep(1)


def main(command: Sequence[str]) -> int:
    """The exit code: the command's on the first machine, 0 on others."""
    environment = {name: os.environ.pop(name) for name in GROUP if name in os.environ}
    machines, rank = int(environment.get("WORLD_SIZE", "1")), int(environment.get("RANK", "0"))
    if machines == 1:
        return subprocess.run(command, check=False).returncode
    master = environment["MASTER_ADDR"]
    try:
        await_names([master])
        if rank:
            other(master, _address_towards(master))
            return 0
        with first(master, machines) as url:
            return subprocess.run([*command, "--workers", url], check=False).returncode
    except LakewrightError as error:
        print(f"error: {error.cause}\n  → {error.remedy}", file=sys.stderr)
        return error.exit_code


@dataclass(frozen=True)
class _Program:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises WorkerDied where it has ended."""
        code = self.process.poll()
        if code is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            raise WorkerDied(
                f"Spark's {self.name} ended with {code}: {' '.join(said)}", "read the lines above; start again"
            )


@contextmanager
def _program(program: str, *arguments: str) -> Iterator[_Program]:
    """A program of Spark with what it starts, until the block ends, or this process."""
    with TemporaryDirectory(prefix="lakewright-spark-") as folder:
        log = Path(folder) / "log.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-class"), program, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        try:
            yield _Program(program.rpartition(".")[2].lower(), process, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _worker(own: str, url: str) -> Iterator[_Program]:
    with TemporaryDirectory(prefix="lakewright-worker-", ignore_cleanup_errors=True) as work:
        of = ("--host", own, "--webui-port", "0", "--cores", str(cores()), "--work-dir", work)
        with _program("org.apache.spark.deploy.worker.Worker", *of, url) as worker:
            yield worker


def _end_with_parent() -> None:
    """Linux kills the process where its parent dies; elsewhere it ends with the block alone."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _be(own: str) -> None:
    """Prepares the environment of this process, and of those that it starts: the programs of pyspark, this Python, and
    where Spark is, for which it else asks the system, by a name that others may not know."""
    check()
    import pyspark

    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = os.environ["SPARK_LOCAL_HOSTNAME"] = own


def _await_workers(own: str, machines: int, master: _Program) -> None:
    """Until so many workers are there: Spark counts cores as work begins, and would leave late ones out."""
    deadline = time.monotonic() + PATIENCE
    while len(there := _workers(own)) < machines:
        master.check()
        if time.monotonic() > deadline:
            raise WorkerDied(
                f"after {PATIENCE:.0f} seconds {len(there)} of {machines} machines have joined the Spark cluster: "
                f"{', '.join(there) or 'none'}",
                "start again; if it happens again, read the logs of the others, and let the machines reach each other "
                f"(the port {PORT} of {own}, and any port between them)",
            )
        time.sleep(0.5)


def _workers(own: str) -> list[str]:
    """The hosts of the workers that the master has."""
    with suppress(OSError, ValueError), urllib.request.urlopen(f"http://{own}:{PAGE}/json/", timeout=10) as answer:
        return [each["host"] for each in json.load(answer)["workers"] if each["state"] == "ALIVE"]
    return []


def _answering(host: str, port: int, program: _Program | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(host, port):
        if program is not None:
            program.check()
        if time.monotonic() > deadline:
            raise WorkerDied(
                f"after {PATIENCE:.0f} seconds no Spark master answers at {host}:{port}",
                "read the log of that machine, and let the machines reach each other",
            )
        time.sleep(0.5)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _address_towards(host: str) -> str:
    """This machine's address on the network of the other. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((host, PORT))
        return str(towards.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
