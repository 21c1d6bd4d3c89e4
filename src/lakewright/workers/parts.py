"""The parts of one piece of work, with one progress bar, in this process or wherever the workers are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Protocol, TypeVar

from lakewright.system.progress import Advance, bar
from lakewright.workers import Workers
from lakewright.workers.local import LocalWorkers


class HasRows(Protocol):
    @property
    def rows(self) -> int: ...


WORTH = 4  # parts that another process of this machine is begun for
P = TypeVar("P", bound=HasRows)
R = TypeVar("R")


def at_once(workers: Workers, rows: int, part: int) -> int:
    """How many parts of `part` rows are computed at once. Of this machine's processes no more than there are WORTH
    parts for: to begin one takes some seconds of a processor, and threads of this one do most of the work, too."""
    if not isinstance(workers, LocalWorkers):
        return workers.processes
    return min(workers.processes, max(1, -(-rows // (WORTH * part))))


def computed(
    workers: Workers,
    function: Callable[[P, Advance | None], R],
    parts: Iterable[P],
    most: int,
    *,
    title: str,
    rows: int,
    done: int = 0,
    note: Callable[[R], str] = lambda result: "",
) -> Generator[R, None, None]:
    """The function's results, in the order of the parts, `most` of them computed at once; the parts have `rows` rows,
    with the `done` ones before them. In this process the function shows its own progress; elsewhere it gets None for
    that, and the bar advances part by part, with a note of the result."""
    here = most == 1 and isinstance(workers, LocalWorkers)
    drawn: deque[int] = deque()

    def counted() -> Iterator[P]:
        for part in parts:
            drawn.append(part.rows)
            yield part

    with bar(title, rows, done) as advance:
        task = partial(function, advance=advance if here else None)  # type: ignore[call-arg]
        with closing(workers.map(task, counted(), ahead=1 if here else 2 * most)) as results:
            for result in results:
                advance(0 if here else drawn.popleft(), note(result))
                yield result
