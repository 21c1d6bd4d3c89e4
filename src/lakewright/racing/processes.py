"""The processes of a search, with one thread each: made by a server that computes nothing itself, and imports once for
all of them what a unit needs.

A process that the system kills, because memory is short, takes its unit with it and not the search.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Self, TypeVar

from lakewright.racing import units

R = TypeVar("R")


def warm_up() -> None:
    """Starts the server that makes the processes, which imports what a unit needs while rows are prepared.

    Before it starts the process that removes the semaphores of a killed search: its warning that it did would stand in
    the terminal of whoever killed it.
    """
    from multiprocessing import forkserver, resource_tracker

    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker")))
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before
    multiprocessing.get_context("forkserver").set_forkserver_preload(["lakewright.racing.ready"])
    forkserver.ensure_running()


class Processes:
    """`memory`: bytes that each may have for its data; None: no limit but the machine's."""

    def __init__(self, count: int, memory: int | None = None) -> None:
        warm_up()
        self.count, self.memory = count, memory
        self._pool = self._made()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def submit(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        with _main_aside():
            return self._pool.submit(function, *arguments)

    def renew(self) -> None:
        """Other processes, after one of them died: a pool of which one died computes nothing any more."""
        self._end()
        self._pool = self._made()

    def _made(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        return ProcessPoolExecutor(self.count, mp_context=context, initializer=units.alone, initargs=(self.memory,))

    def _end(self) -> None:
        running = [*(self._pool._processes or {}).values()]
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in running:  # whatever still runs is not needed, and would compute for nobody
            process.kill()
        for process in running:
            process.join(5)


@contextmanager
def _main_aside() -> Iterator[None]:
    """Inside, a process that is made does not run the main script again: a script or notebook has no guard for that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
