"""The suite for workers: results in order, parts that see the results before them, processes that die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lakewright.errors import DataError, WorkerDied
from lakewright.workers import Workers


@dataclass(frozen=True)
class WorkersCase:
    workers: Workers
    shared: Path  # a folder that this process and those of the workers see
    separate: bool = True  # parts are computed in other processes than this one


class WorkersSuite:
    """Subclass it as Test…, with a fixture `case` that gives a WorkersCase of two processes or more, or of one."""

    def test_results_come_in_the_order_of_the_parts(self, case: WorkersCase) -> None:
        factor = 3  # a closure goes along

        def slower_at_first(part: int) -> int:
            threading.Event().wait(0.2 if part == 0 else 0)
            return factor * part

        with closing(case.workers.map(slower_at_first, iter(range(7)), ahead=4)) as results:
            assert list(results) == [0, 3, 6, 9, 12, 15, 18]

    @pytest.mark.parametrize("ahead", [1, 3])
    def test_a_part_is_drawn_when_the_result_so_many_before_it_was_taken(self, case: WorkersCase, ahead: int) -> None:
        seen: list[tuple[str, int]] = []

        def parts() -> Iterator[int]:
            for part in range(6):
                seen.append(("drawn", part))
                yield part

        with closing(case.workers.map(abs, parts(), ahead=ahead)) as results:
            for result in results:
                seen.append(("taken", result))
        for part in range(6):
            before = seen[: seen.index(("drawn", part))]
            assert sum(what == "taken" for what, _ in before) == max(0, part - ahead + 1), seen

    def test_no_parts_give_no_results(self, case: WorkersCase) -> None:
        assert list(case.workers.map(abs, iter(()), ahead=2)) == []

    def test_an_error_is_raised_at_its_turn_and_the_next_part_follows(self, case: WorkersCase) -> None:
        def of(part: int) -> int:
            if part == 1:
                raise DataError("row 7 has no label", "give it one")
            if part == 2:
                raise Unsendable(threading.Lock())
            return part

        with closing(case.workers.map(of, iter(range(4)), ahead=2)) as results:
            assert next(results) == 0
            with pytest.raises(DataError, match="row 7") as failure:
                next(results)
            assert failure.value.remedy == "give it one"
            with pytest.raises(Exception, match="cannot be sent"):
                next(results)
            assert next(results) == 3
            with pytest.raises(StopIteration):
                next(results)

    def test_a_folder_is_where_a_part_calls_for_it(self, case: WorkersCase) -> None:
        folder = case.shared / "brought"
        (folder / "inner").mkdir(parents=True, exist_ok=True)
        (folder / "inner" / "file.txt").write_text("here")
        find = case.workers.bring(folder)

        def read(_: int) -> str:
            return (find() / "inner" / "file.txt").read_text()

        with closing(case.workers.map(read, iter(range(3)), ahead=2)) as results:
            assert list(results) == ["here"] * 3

    def test_what_it_keeps_between_two_parts_stays(self, case: WorkersCase) -> None:
        kept: list[int] = []

        def of(part: int) -> int:
            kept.append(part)
            return len(kept)

        most = max(case.workers.map(of, iter(range(20)), ahead=2))
        assert most >= 20 / max(1, case.workers.processes)

    def test_a_process_that_dies_is_replaced(self, case: WorkersCase) -> None:
        """Parts 2 and 4 kill their process: the one once, the other whenever it is computed."""
        if not case.separate:
            pytest.skip("parts are computed in this process")
        shared = str(case.shared)

        def of(part: int) -> int:
            mark = Path(shared) / f"{part}"
            if part == 4 or (part == 2 and not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return part

        results: Any = case.workers.map(of, iter(range(7)), ahead=3)
        with closing(results):
            assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
            with pytest.raises(WorkerDied, match=r"killed by signal 9|died") as death:
                next(results)
            assert "processes" in death.value.remedy
            assert list(results) == [5, 6]

    def test_when_it_is_closed_nothing_goes_on(self, case: WorkersCase) -> None:
        if not case.separate:
            pytest.skip("parts are computed in this process")
        shared = str(case.shared)

        def of(part: int) -> int:
            if part > 0:
                (Path(shared) / f"pid-{os.getpid()}").touch()
                threading.Event().wait(600)
            return part

        results: Any = case.workers.map(of, iter(range(4)), ahead=3)
        assert next(results) == 0
        wait_until(lambda: any(case.shared.glob("pid-*")))
        results.close()
        pids = [int(mark.name.removeprefix("pid-")) for mark in case.shared.glob("pid-*")]
        wait_until(lambda: not any(runs(pid) for pid in pids))  # a cluster kills what was cancelled a little later
        assert list(results) == []


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come to hold in 30 seconds")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Unsendable(Exception):
    def __init__(self, lock: object) -> None:
        super().__init__("cannot be sent")
        self.lock = lock
