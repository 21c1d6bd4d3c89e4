"""The command in processes that are forked from one which has imported what they need, so that it takes no seconds to
start; killed by strace on entering a system call, or from here."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "lakewright.cli",
        "deltalake",
        "duckdb",
        "fastapi",
        "jinja2",
        "matplotlib.pyplot",
        "mlflow.pyfunc",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.system_metrics.system_metrics_monitor",
        "mlflow.tracking",
        "onnx",
        "onnxruntime",
        "pandas",
        "scipy.stats",
        "sklearn.linear_model",
        "sqlglot",
        "tokenizers",
        "torch",
        "uvicorn",
    ]
)


@dataclass(frozen=True)
class Started:
    process: ForkServerProcess
    output: Path

    def kill(self) -> None:
        """With the processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)

    def ended(self) -> tuple[int, str]:
        """The exit code, -9 after a kill, and all that was printed. What it started and left is killed as well."""
        self.process.join(300)
        self.kill()
        assert self.process.exitcode is not None, f"it does not end: {self.output.read_text()}"
        return self.process.exitcode, self.output.read_text(errors="replace")


def start(arguments: Sequence[str], folder: Path, trace: Sequence[str] = ()) -> Started:
    """`lakewright ARGUMENTS` in the folder; under strace where there are options for it."""
    return _start(_command, folder, arguments, trace)


def call(function: Callable[[], Any], folder: Path) -> Any:
    """What the function returns in the folder: JSON."""
    code, output = _start(_function, folder, function).ended()
    assert code == 0, output
    return json.loads(output.splitlines()[-1])


def _start(function: Callable[..., None], folder: Path, *arguments: Any) -> Started:
    output = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.out")
    process = FORKS.Process(target=_in_group, args=(function, folder, output, *arguments))
    process.start()
    return Started(process, output)


def _in_group(function: Callable[..., None], folder: Path, output: Path, *arguments: Any) -> None:
    os.setsid()
    os.chdir(folder)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function(*arguments)


def _command(arguments: Sequence[str], trace: Sequence[str]) -> None:
    from lakewright import cli

    if trace:
        strace = ["strace", "-f", "-p", str(os.getpid()), *trace]
        with TemporaryFile() as attached:
            subprocess.Popen(strace, stderr=attached, start_new_session=True)
            while not os.pread(attached.fileno(), 1, 0):  # "Process 123 attached"
                time.sleep(0.005)
    sys.argv = ["lakewright", *arguments]
    cli.main()


def _function(function: Callable[[], Any]) -> None:
    print(json.dumps(function(), default=str))
