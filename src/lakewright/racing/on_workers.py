"""The processes of a search on the profile's workers: each unit is a part of its own, computed by whoever is free."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from functools import partial
from typing import Any, Self, TypeVar

from lakewright.errors import WorkerDied
from lakewright.workers import Results, Workers

R = TypeVar("R")


class OnWorkers:
    """As `Processes`; a worker that dies takes its own unit with it alone."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.count = workers, workers.processes
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="units")
        self._running: set[Results[Any]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for results in [*self._running]:
            with suppress(Exception):  # the thread that waits for it ends it, too
                results.close()

    def submit(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        return self._threads.submit(self._computed, partial(function, *arguments))

    def renew(self) -> None:
        """Workers replace one that died."""

    def _computed(self, unit: Callable[[], R]) -> R:
        with closing(self.workers.map(_called, [unit], ahead=1)) as results:
            self._running.add(results)
            try:
                return next(results)
            except WorkerDied as death:
                raise BrokenProcessPool(str(death)) from death
            finally:
                self._running.discard(results)


def _called(unit: Callable[[], R]) -> R:
    return unit()
