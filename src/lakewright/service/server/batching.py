"""Rows that wait together are computed together, and no row waits while nothing is computed (continuous batching).

A few batches are computed at the same time, one thread each. Rows that arrive meanwhile wait in a queue that is bounded
in rows and in their computing time; when a thread is free, it takes the oldest row, with others of its length. So
batches grow with the load, and a lone request is computed at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lakewright.service.server.refusals import Busy, Draining, Late

Model = TypeVar("Model", bound=Hashable)
Row = TypeVar("Row")
Answer = TypeVar("Answer")

ROW = 16  # a row costs as much as this many characters, beside its own
ALIKE = 4  # how many times longer one row of a batch may be than another
OLDEST = 2  # a batch is chosen among the oldest requests, rows for this many batches: no request is delayed for long
SMOOTHING = 0.1
QUIET = 0.1  # seconds without other requests after which a request counts as a lone one


@dataclass(eq=False)
class Waiting(Generic[Model, Row, Answer]):
    model: Model
    rows: Sequence[Row]  # or any other object of a length, if they are computed by themselves
    length: int  # characters of the longest
    deadline: float  # time.monotonic(), as the arrival
    arrived: float
    answer: asyncio.Future[Any]  # Sequence[Answer], or what `compute` gives for such an object
    by_itself: bool = False

    @property
    def work(self) -> int:
        return len(self.rows) * (self.length + ROW)


class Batches(Generic[Model, Row, Answer]):
    """`compute(model, rows, alone)` is called in a thread, with rows for one model, or a part of `ask_whole`; `alone`
    is true if there was no other request for a while: then it may use all cores. `observe` is called with the number
    of rows of each batch."""

    def __init__(
        self,
        compute: Callable[[Model, Sequence[Row], bool], Sequence[Answer]],
        threads: int,
        *,
        batch_rows: int,
        queue_rows: int,
        queue_seconds: float,
        wait_seconds: float = 0.0,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._compute, self._observe = compute, observe
        self._batch_rows, self._queue_rows, self._queue_seconds = batch_rows, queue_rows, queue_seconds
        self._wait = wait_seconds
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._queue: list[Waiting[Model, Row, Answer]] = []
        self._computing = 0
        self._crowded = -QUIET  # when a request last met another one
        self._speed = 0.0  # work of one thread in a second, smoothed; 0: not measured yet
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.depth = 0  # rows that wait
        self._work = 0  # of these rows

    @property
    def wait(self) -> float:
        """Seconds that the waiting rows will take."""
        return self._work / (self._speed * self._threads) if self._speed else 0.0

    def check_open(self) -> None:
        """Raises Draining if the server is stopping."""
        if self._closing:
            raise Draining("the server is stopping", "send the request again: another server will answer it")

    def check(self) -> None:
        """Raises Busy if the queue is full, Draining if the server is stopping."""
        self.check_open()
        if self.depth >= self._queue_rows or (self.depth and self.wait > self._queue_seconds):
            raise Busy(f"{self.depth:,} rows are waiting", self.wait)

    async def ask(self, model: Model, rows: Sequence[Row], length: int, seconds: float) -> list[Answer]:
        """The answers, one for each row; `length` is that of the longest row in characters. More rows than one batch
        are computed in several. Raises Busy, Draining, Late, or the exception of `compute`.
        """
        parts = [rows[start : start + self._batch_rows] for start in range(0, len(rows), self._batch_rows)]
        answers = await self._ask(model, parts, length, seconds, by_itself=False)
        return list(answers[0]) if len(answers) == 1 else [answer for part in answers for answer in part]

    async def ask_whole(self, model: Model, parts: Sequence[Any], seconds: float) -> list[Any]:
        """What `compute` gives for each part: an object whose length is that of its rows, which have no texts and are
        computed without others. Raises as `ask`."""
        return await self._ask(model, parts, 0, seconds, by_itself=True)

    async def _ask(self, model: Model, parts: Sequence[Any], length: int, seconds: float, by_itself: bool) -> list[Any]:
        self.check()
        now, loop = time.monotonic(), asyncio.get_running_loop()
        pieces = [
            Waiting[Model, Row, Answer](model, part, length, now + seconds, now, loop.create_future(), by_itself)
            for part in parts
        ]
        if self._computing or len(pieces) > 1:
            self._crowded = now
        self._queue += pieces
        self.depth += sum(len(part) for part in parts)
        self._work += sum(piece.work for piece in pieces)
        self._idle.clear()
        self._dispatch()
        try:
            if len(pieces) == 1:
                return [await pieces[0].answer]
            return await asyncio.gather(*(piece.answer for piece in pieces))
        finally:
            for piece in pieces:  # one failed, or the caller is gone: the rest is not computed
                if not piece.answer.cancel() and not piece.answer.cancelled():
                    piece.answer.exception()  # retrieved, so that asyncio does not warn

    async def close(self) -> None:
        """Computes the waiting rows and accepts no more."""
        self._closing = True
        self._dispatch()
        await self._idle.wait()
        self._pool.shutdown()

    def _dispatch(self) -> None:
        """Gives waiting rows to idle threads."""
        while self._queue and self._computing < self._threads:
            if (patience := self._patience()) > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(patience, self._woken)
                return
            batch = self._next()
            if not batch:
                break
            self._computing += 1
            alone = self._computing == 1 and not self._queue and time.monotonic() - self._crowded > QUIET
            asyncio.get_running_loop().create_task(self._run(batch, alone))
        if not self._queue and not self._computing:
            self._idle.set()

    def _patience(self) -> float:
        """Seconds to wait for a fuller batch: 0 while nothing is computed."""
        if not self._wait or not self._computing or self._closing or self.depth >= self._batch_rows:
            return 0.0
        return self._queue[0].arrived + self._wait - time.monotonic()

    def _woken(self) -> None:
        self._timer = None
        self._dispatch()

    def _next(self) -> list[Waiting[Model, Row, Answer]]:
        """The next batch: the oldest request, and of the next ones for the same model those nearest to it in length.
        The others stay in their order; requests past their deadline or without a caller are removed."""
        now, requests = time.monotonic(), list[Waiting[Model, Row, Answer]]()
        for waiting in self._queue:
            if waiting.answer.done() or waiting.deadline < now:
                self._leave(waiting)
                if not waiting.answer.done():
                    late = Late("the deadline passed while the request waited", "send it again, or allow more time")
                    waiting.answer.set_exception(late)
            else:
                requests.append(waiting)
        if not requests:
            self._queue = requests
            return []
        oldest, rows, members = requests[0], 0, set[int]()
        candidates = requests[: OLDEST * self._batch_rows]
        for waiting in sorted(candidates, key=lambda one: (one is not oldest, abs(one.length - oldest.length))):
            shorter, longer = sorted((oldest.length + ROW, waiting.length + ROW))
            if longer > ALIKE * shorter or rows >= self._batch_rows:
                break
            together = waiting is oldest or not (oldest.by_itself or waiting.by_itself)
            fits = waiting is oldest or rows + len(waiting.rows) <= self._batch_rows
            if together and fits and waiting.model is oldest.model:
                members.add(id(waiting))
                rows += len(waiting.rows)
        self._queue = [waiting for waiting in requests if id(waiting) not in members]
        batch = [waiting for waiting in requests if id(waiting) in members]
        for waiting in batch:
            self._leave(waiting)
        return batch

    def _leave(self, waiting: Waiting[Model, Row, Answer]) -> None:
        self.depth -= len(waiting.rows)
        self._work -= waiting.work

    async def _run(self, batch: list[Waiting[Model, Row, Answer]], alone: bool) -> None:
        try:
            await self._answer(batch, alone)
        finally:
            self._computing -= 1
            self._dispatch()

    async def _answer(self, batch: list[Waiting[Model, Row, Answer]], alone: bool) -> None:
        by_itself = batch[0].by_itself
        rows: Any = batch[0].rows if by_itself else [row for waiting in batch for row in waiting.rows]
        began = time.monotonic()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._compute, batch[0].model, rows, alone
            )
        except Exception as failure:
            if len(batch) > 1:  # one of them caused it; the others are computed again, one by one
                for waiting in batch:
                    await self._answer([waiting], False)
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(failure)
            return
        speed = sum(waiting.work for waiting in batch) / max(time.monotonic() - began, 1e-6)
        self._speed += (speed - self._speed) * (SMOOTHING if self._speed else 1)
        self._observe(len(rows))
        if by_itself:
            if not batch[0].answer.done():
                batch[0].answer.set_result(answers)
            return
        start = 0
        for waiting in batch:
            if not waiting.answer.done():  # else the caller is gone
                waiting.answer.set_result(answers[start : start + len(waiting.rows)])
            start += len(waiting.rows)
