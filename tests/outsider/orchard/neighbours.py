"""Workers that are threads of this process: neighbours who help with the harvest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from lakewright.settings.profile import WorkersSettings


class NeighboursSettings(WorkersSettings):
    name: Literal["neighbours"] = "neighbours"
    neighbours: int = Field(default=2, ge=1, description="how many help")


@dataclass(frozen=True)
class Neighbours:
    processes: int
    at_home: int  # threads of this machine

    settings: ClassVar[type[WorkersSettings]] = NeighboursSettings

    @classmethod
    def open(cls, settings: WorkersSettings, threads: int) -> Self:
        assert isinstance(settings, NeighboursSettings)
        return cls(settings.neighbours, threads)

    @property
    def opens_files(self) -> bool:
        return True

    def reach(self, folder: Path) -> None:
        """They are in this process."""

    def bring(self, folder: Path) -> Callable[[], Path]:
        return lambda: folder

    def threads(self, ahead: int) -> int:
        return max(1, self.at_home // min(self.processes, ahead))

    def map(self, function: Callable[[Any], Any], parts: Iterable[Any], *, ahead: int) -> Shared:
        return Shared(function, iter(parts), ahead, ThreadPoolExecutor(self.processes))


@dataclass
class Shared:
    function: Callable[[Any], Any]
    parts: Iterator[Any]
    ahead: int
    pool: ThreadPoolExecutor

    def __post_init__(self) -> None:
        self.waiting: deque[Future[Any]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        for part in self.parts:
            self.waiting.append(self.pool.submit(self.function, part))
            if len(self.waiting) == self.ahead:
                break
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft().result()

    def close(self) -> None:
        self.parts = iter(())
        self.waiting.clear()
        self.pool.shutdown(wait=False, cancel_futures=True)
