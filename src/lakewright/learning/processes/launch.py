"""Starts processes on this machine that train together.

Between them and this process stands one of ours (launcher.py), so that torch's agent takes over neither the signals of
this process nor its main module, and so that one session holds all of them, which ends as one.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TypeVar, cast

from lakewright.errors import WorkerDied

R = TypeVar("R")


def together(function: Callable[[], R], processes: int, folder: Path) -> R:
    """What the function returns in the first of so many processes, each of which calls it once in the environment that
    torchrun makes.

    Where one is killed, all are started anew, a few times. An exception in one of them ends all, and is raised here as
    it was. `folder` holds what the others print; the first one prints here. Raises WorkerDied where they die again and
    again.
    """
    import cloudpickle

    ours, theirs = Pipe()
    command = [sys.executable, "-m", "lakewright.learning.processes.launcher"]
    # A session of its own, so that Ctrl-C in a terminal reaches this process alone, which ends the others.
    process = subprocess.Popen(
        [*command, str(theirs.fileno()), str(processes), str(folder)],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=2,  # what they print is no result
        start_new_session=True,
    )
    theirs.close()
    ended = False
    try:
        with suppress(OSError):  # it has died, which the answer shows
            # Through a pipe and no file, as the function may hold secrets.
            ours.send_bytes(pickle.dumps(sys.path))
            ours.send_bytes(cloudpickle.dumps(function))
        try:
            is_result, value = pickle.loads(ours.recv_bytes())  # from a process of ours
        except (EOFError, OSError):
            raise WorkerDied(
                "the process that started the training processes ended",
                "run again: it goes on from the last checkpoint",
            ) from None
        ended = True
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # before wait, after which the number may be another's
        process.wait()
        ours.close()
        if not ended:
            from rich.console import Console

            Console(stderr=True).show_cursor()  # a progress bar hides it
    if is_result:
        return cast(R, value)
    raise value
