"""Parts in processes of this machine, started anew and not forked, so that threads of this one do no harm."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

from pydantic import Field, PositiveFloat, PositiveInt

from lakewright.errors import WorkerDied
from lakewright.settings.profile import WorkersSettings

P = TypeVar("P")
R = TypeVar("R")
ATTEMPTS = 2  # of a part whose process dies


class LocalSettings(WorkersSettings):
    name: Literal["local"] = "local"
    processes: PositiveInt | Literal["auto"] = Field(
        default="auto", description="parts computed at once, each in a process of its own; auto: one for each thread"
    )
    memory: PositiveFloat | None = Field(
        default=None,
        description="GB for the data of all these processes together, each an equal part; trials one at a time run "
        "without a process of their own, and without this limit; null: as much as there is",
    )


@dataclass(frozen=True)
class LocalWorkers:
    processes: int
    machine_threads: int  # of all processes together
    memory: float | None = None  # GB, of all processes together

    settings: ClassVar[type[WorkersSettings]] = LocalSettings
    opens_files: ClassVar[bool] = True

    @classmethod
    def open(cls, settings: WorkersSettings, threads: int) -> Self:
        assert isinstance(settings, LocalSettings)
        return cls(threads if settings.processes == "auto" else settings.processes, threads, settings.memory)

    def reach(self, folder: Path) -> None:
        """Processes of this machine see what it sees."""

    def bring(self, folder: Path) -> Callable[[], Path]:
        return partial(Path, folder)

    def threads(self, ahead: int) -> int:
        return max(1, self.machine_threads // max(1, min(self.processes, ahead)))

    def map(self, function: Callable[[P], R], parts: Iterable[P], *, ahead: int) -> InThisProcess[P, R] | Pool[P, R]:
        """With one process, or one part at a time, the parts are computed in this process, with no limit."""
        if ahead < 1:
            raise ValueError(f"ahead is {ahead}, and one part is drawn at least")
        at_once = min(self.processes, ahead)
        if at_once == 1:
            return InThisProcess(function, iter(parts), ahead)
        memory = None if self.memory is None else int(self.memory * 1e9 / at_once)
        return Pool(function, iter(parts), ahead, at_once, self.threads(ahead), memory)


@dataclass
class InThisProcess(Generic[P, R]):
    function: Callable[[P], R]
    parts: Iterator[P]
    ahead: int
    _drawn: list[P] = field(default_factory=list)
    _ended: bool = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        while not self._ended and len(self._drawn) < self.ahead:
            try:
                self._drawn.append(next(self.parts))
            except StopIteration:
                self._ended = True
        if not self._drawn:
            raise StopIteration
        return self.function(self._drawn.pop(0))

    def close(self) -> None:
        self._drawn, self._ended = [], True


@dataclass
class _Process:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    number: int = -1  # of the part that it computes


class Pool(Generic[P, R]):
    """Processes that compute a function of one part after another."""

    def __init__(
        self,
        function: Callable[[P], R],
        parts: Iterator[P],
        ahead: int,
        processes: int,
        threads: int,
        memory: int | None = None,
    ) -> None:
        self._free: list[_Process] = []
        self._busy: list[_Process] = []
        import cloudpickle

        self._function = cloudpickle.dumps(function)
        self._parts, self._ahead, self._most, self._threads = parts, ahead, processes, threads
        self._memory = memory  # bytes of each process
        self._waiting: list[tuple[int, bytes]] = []  # parts that no process has yet
        self._sent: dict[int, bytes] = {}
        self._attempts: dict[int, int] = {}
        self._done: dict[int, tuple[bool, Any]] = {}  # number → whether it is a result, and it or the error
        self._drawn, self._taken, self._ended = 0, 0, False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            self._draw()
            if self._taken == self._drawn:
                self.close()
                raise StopIteration
            while self._taken not in self._done:
                self._hand_out()
                self._receive()
            self._hand_out()
        except BaseException:
            self.close()
            raise
        is_result, value = self._done.pop(self._taken)
        self._taken += 1
        if is_result:
            return cast(R, value)
        raise value

    def _draw(self) -> None:
        import cloudpickle

        while not self._ended and self._drawn - self._taken < self._ahead:
            try:
                part = next(self._parts)
            except StopIteration:
                self._ended = True
                return
            self._waiting.append((self._drawn, cloudpickle.dumps(part)))
            self._drawn += 1
            self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and (self._free or len(self._busy) < self._most):
            worker = self._free.pop() if self._free else self._start()
            worker.number, part = self._waiting.pop(0)
            self._sent[worker.number] = part
            self._attempts[worker.number] = self._attempts.get(worker.number, 0) + 1
            self._busy.append(worker)
            with suppress(OSError):  # it has died, which _receive sees
                worker.connection.send_bytes(part)

    def _receive(self) -> None:
        ready = wait([worker.connection for worker in self._busy])
        for worker in [each for each in self._busy if each.connection in ready]:
            self._busy.remove(worker)
            try:
                answer = worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._replace(worker)
                continue
            self._done[worker.number] = pickle.loads(answer)  # from a process of ours
            del self._sent[worker.number]
            self._free.append(worker)

    def _replace(self, worker: _Process) -> None:
        """Another process computes the part of one that has died; a part that has killed two is an error."""
        worker.connection.close()
        code = worker.process.wait()
        part = self._sent.pop(worker.number)
        if self._attempts[worker.number] < ATTEMPTS:
            self._waiting.insert(0, (worker.number, part))
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with the exit code {code}"
        why = ", which is how the system ends a process when memory is short" if code == -9 else ""
        error = WorkerDied(
            f"a worker process {how}{why}; so did the one that tried again",
            "run fewer processes (profiles.yml: workers: {name: local, processes: 1}), or make each part smaller",
        )
        self._done[worker.number] = (False, error)

    def _start(self) -> _Process:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "lakewright.workers.process", str(theirs.fileno()), str(self._threads)]
        command += [] if self._memory is None else [str(self._memory)]
        # A session of its own, so that Ctrl-C in a terminal reaches this process alone, which ends the others.
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        with suppress(OSError):
            ours.send_bytes(pickle.dumps(sys.path))
            ours.send_bytes(self._function)
        return _Process(process, ours)

    def close(self) -> None:
        self.__del__()
        for worker in [*self._busy, *self._free]:
            worker.process.wait()
            worker.connection.close()
        self._busy, self._free, self._waiting, self._ended = [], [], [], True
        self._drawn = self._taken

    def __del__(self) -> None:
        for worker in [*self._busy, *self._free]:
            with suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)  # with what it started
