"""Continuous batching: what waits together is computed together, the queue is bounded, nobody pays for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.service.server.batching import Batches
from lakewright.service.server.refusals import Busy, Draining, Late


class Compute:
    """Doubles numbers once its gate is open, and remembers the batches."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[tuple[str, list[int], bool]] = []

    def __call__(self, model: str, rows: Sequence[int], alone: bool) -> list[int]:
        self.batches.append((model, list(rows), alone))
        assert self.gate.wait(10)
        if 13 in rows:
            raise ValueError("thirteen")
        return [2 * row for row in rows]


Story = Callable[[Compute, Batches[str, int, int]], Coroutine[Any, Any, None]]


def play(story: Story, **settings: Any) -> Compute:
    compute = Compute()

    async def all_of_it() -> None:
        values = {"batch_rows": 4, "queue_rows": 8, "queue_seconds": 100.0, **settings}
        batches = Batches[str, int, int](compute, values.pop("threads", 1), **values)
        await asyncio.wait_for(story(compute, batches), 20)
        await batches.close()

    asyncio.run(all_of_it())
    return compute


def ask(batches: Batches[str, int, int], *rows: int, model: str = "a", length: int = 10) -> asyncio.Task[list[int]]:
    return asyncio.create_task(batches.ask(model, rows, length, 30))


def test_a_lone_request_goes_at_once_and_the_others_together() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1)
        await asyncio.sleep(0.05)
        others = [ask(batches, n) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        assert batches.depth == 3
        compute.gate.set()
        assert await first == [2] and [await other for other in others] == [[4], [6], [8]]

    assert play(story).batches == [("a", [1], True), ("a", [2, 3, 4], False)]


def test_a_batch_has_one_model_and_rows_of_a_like_length() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        waiting = [ask(batches, 1), ask(batches, 2), ask(batches, 3, length=900), ask(batches, 4, model="b")]
        waiting += [ask(batches, 5, length=700), ask(batches, 6)]
        await asyncio.sleep(0.05)
        compute.gate.set()
        assert [(await one)[0] for one in waiting] == [2, 4, 6, 8, 10, 12]

    found = [(model, rows) for model, rows, _ in play(story).batches]
    assert found == [("a", [1]), ("a", [2, 6]), ("a", [3, 5]), ("b", [4])]


def test_whoever_came_late_passes_few() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        # The later, the nearer in length to the first of them
        waiting = [ask(batches, 0), *(ask(batches, n, length=100 if n == 1 else 220 - 10 * n) for n in range(1, 13))]
        await asyncio.sleep(0.05)
        compute.gate.set()
        for one in waiting:
            await one

    found = [rows for _, rows, _ in play(story, queue_rows=20).batches]
    assert found[:2] == [[0], [1, 6, 7, 8]]  # and not 10, 11 and 12, which are nearer


def test_a_full_queue_says_no_and_when_to_come_again() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        waiting = [ask(batches, n) for n in range(9)]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy) as refused:
            await batches.ask("a", [1], 10, 30)
        assert int(refused.value.headers["Retry-After"]) >= 1
        compute.gate.set()
        assert [(await one)[0] for one in waiting] == [2 * n for n in range(9)]
        assert await batches.ask("a", [1], 10, 30) == [2] and batches.depth == 0

    play(story)


def test_what_would_wait_too_long_is_refused() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        compute.gate.set()
        slow = compute.gate
        assert await batches.ask("a", [1], 10, 30) == [2]  # how fast it is, is known now
        slow.clear()
        waiting = [ask(batches, 1)]
        await asyncio.sleep(0.05)
        waiting.append(ask(batches, 2))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await batches.ask("a", [3], 10, 30)
        slow.set()
        assert [await one for one in waiting] == [[2], [4]]

    play(story, queue_seconds=1e-9)


def test_a_request_whose_time_is_over_is_not_computed() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1)
        await asyncio.sleep(0.05)
        late = asyncio.create_task(batches.ask("a", [2], 10, 0.01))
        gone = ask(batches, 3)
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        compute.gate.set()
        with pytest.raises(Late):
            await late
        assert await first == [2] and batches.depth == 0

    assert [rows for _, rows, _ in play(story).batches] == [[1]]


def test_nobody_pays_for_anothers_row() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1)
        await asyncio.sleep(0.05)
        waiting = [ask(batches, n) for n in (12, 13, 14)]
        await asyncio.sleep(0)
        compute.gate.set()
        assert await first == [2] and await waiting[0] == [24] and await waiting[2] == [28]
        with pytest.raises(ValueError, match="thirteen"):
            await waiting[1]
        assert await batches.ask("a", [1], 10, 30) == [2]

    play(story)


def test_closing_answers_what_waits_and_takes_nothing_more() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        waiting = [ask(batches, n) for n in range(3)]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(batches.close())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await batches.ask("a", [1], 10, 30)
        compute.gate.set()
        await closing
        assert [await one for one in waiting] == [[0], [2], [4]]

    play(story)


def test_patience_makes_fuller_batches_and_only_under_load() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1)
        await asyncio.sleep(0.02)
        second = ask(batches, 2)
        await asyncio.sleep(0.02)
        third = ask(batches, 3)
        await asyncio.sleep(0.02)
        compute.gate.set()
        assert [await one for one in (first, second, third)] == [[2], [4], [6]]

    found = play(story, threads=2, wait_seconds=0.2).batches
    assert [rows for _, rows, _ in found] == [[1], [2, 3]]
    found = play(story, threads=2).batches
    assert [rows for _, rows, _ in found] == [[1], [2], [3]]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 500)), max_size=12), st.integers(1, 3)
)
def test_every_row_gets_its_own_answer(requests: list[tuple[int, str, int]], threads: int) -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        compute.gate.set()
        waiting = [
            ask(batches, *range(100 * at, 100 * at + rows), model=model, length=length)
            for at, (rows, model, length) in enumerate(requests)
        ]
        for at, (one, (rows, _, _)) in enumerate(zip(waiting, requests, strict=True)):
            assert await one == [2 * row for row in range(100 * at, 100 * at + rows)]
        assert batches.depth == 0

    found = play(story, threads=threads, queue_rows=1000)
    assert all(len(rows) <= 4 for _, rows, _ in found.batches)


def test_rows_that_are_asked_as_a_whole_are_computed_without_others() -> None:
    """In parts of any length; what `compute` gives for a part is passed on as it is."""

    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1, length=0)
        await asyncio.sleep(0.05)
        whole = asyncio.create_task(batches.ask_whole("a", [range(20, 26), range(26, 27)], 30))
        others = [ask(batches, n, length=0) for n in (2, 3)]
        await asyncio.sleep(0)
        assert batches.depth == 9
        compute.gate.set()
        assert await first == [2] and [await other for other in others] == [[4], [6]]
        assert await whole == [[40, 42, 44, 46, 48, 50], [52]]

    computed = [rows for _, rows, _ in play(story, queue_rows=20).batches]
    assert computed == [[1], [20, 21, 22, 23, 24, 25], [26], [2, 3]]


def test_a_part_of_a_whole_that_fails_or_is_late_harms_nobody_else() -> None:
    async def story(compute: Compute, batches: Batches[str, int, int]) -> None:
        first = ask(batches, 1, length=0)
        await asyncio.sleep(0.05)
        fails = asyncio.create_task(batches.ask_whole("a", [range(5), range(10, 20)], 30))
        late = asyncio.create_task(batches.ask_whole("a", [range(5)], 0.001))
        other = ask(batches, 2, length=0)
        await asyncio.sleep(0.05)
        compute.gate.set()
        with pytest.raises(ValueError, match="thirteen"):
            await fails
        with pytest.raises(Late):
            await late
        assert await first == [2] and await other == [4] and batches.depth == 0

    play(story, queue_rows=30)
