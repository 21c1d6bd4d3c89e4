"""What computes a part, in the process where it is computed: one that workers/local.py starts by `python -m
lakewright.workers.process FILE THREADS [BYTES]`, or one of a cluster.

The first ends when the process that started it does, even in the middle of a part: that one holds the other end of the
pipe.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import Any

ONE = threading.Lock()  # a cache alone lets two threads load twice
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(descriptor: int, threads: int, memory: int | None = None) -> None:
    prepare(threads)
    if memory is not None:
        from lakewright.system.memory import limit

        limit(memory)
    os.dup2(2, 1)  # what a part prints belongs to no result
    connection: Connection[Any, Any] = Connection(descriptor)
    sys.path[:] = pickle.loads(connection.recv_bytes())
    function = partial(_loaded, connection.recv_bytes())
    parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                parts.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=listen, name="parts", daemon=True).start()
    while True:
        connection.send_bytes(_answer(function, parts.get()))


def answer(function: bytes, part: bytes, threads: int) -> bytes:
    """In a process that somebody else has started, and may start several parts in."""
    with ONE:
        prepare(threads)
        loaded = partial(_loaded, function)
        with suppress(Exception):  # as an error of the part, below
            loaded()
    return _answer(loaded, part)


def prepare(threads: int) -> None:
    for of_library in THREADS:
        os.environ[of_library] = str(threads)  # before the libraries that read them are imported
    os.environ["TTY_COMPATIBLE"] = "0"  # no progress bar: several processes would draw over each other


@cache
def _loaded(function: bytes) -> Callable[[Any], Any]:
    """Once, so that what it keeps between two parts stays; within a part, so that an error is the part's."""
    loaded: Callable[[Any], Any] = pickle.loads(function)
    return loaded


def _answer(function: Callable[[], Callable[[Any], Any]], part: bytes) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps((True, function()(pickle.loads(part)))))
    except BaseException as error:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            error = RuntimeError(f"it called for the end of the process: {error!r}")
        return failed(error)


def failed(error: BaseException) -> bytes:
    """The answer that it is: the error, or where it cannot be sent, a LakewrightError that says the same."""
    import cloudpickle

    from lakewright.errors import LakewrightError

    error.add_note("".join(traceback.format_exception(error)))
    try:
        answer = bytes(cloudpickle.dumps((False, error)))
        pickle.loads(answer)
    except Exception:
        remedy = "read the lines above; the part failed in a process of its own"
        answer = pickle.dumps((False, LakewrightError(f"{type(error).__name__}: {error}", remedy)))
    return answer


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
