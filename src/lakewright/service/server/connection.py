"""A caller's connection, also while the server stops: uvicorn's, with the bounds that it lacks.

uvicorn waits for a request's head without end, reads a head of any length, starts all requests that one read brings,
and keeps an answer until it is fetched. Here each of these is bounded in seconds or in bytes. The number of connections
is bounded too: above it, the connection that was silent for the longest time is closed.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from random import getrandbits

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Process

from lakewright.service.server.refusals import Busy, LargeHead, Refused, TooSlow, as_json

HEAD_BYTES = 32 << 10  # of a request's line and headers
HEADERS = 100  # most headers; each takes more memory than its bytes
AHEAD_REQUESTS = 16  # most requests on one connection before the first is answered
AHEAD_BYTES = 64 << 10  # most bytes of their bodies
BACKLOG = 2048  # connections that wait to be accepted, in the system's queue
OTHER_FILES = 256  # that a process has open: the model, the log, the endpoint
LAST_SECONDS = 0.5  # for a request that arrives while the server stops


class Room:
    """Bytes that all connections together hold: of bodies until they are answered, of answers until they are fetched.

    Half of the room is for complete bodies: callers that stop in the middle of a body cannot block the others.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0

    def check(self, more: int, whole: bool) -> None:
        """Raises Busy if so many more bytes do not fit."""
        if self.used + more > (self.most if whole else self.most // 2):
            raise Busy(f"the unfinished requests and answers hold {self.used:,} bytes", 1.0)


@dataclass(frozen=True)
class Bounds:
    """The bounds of all connections of one server process: `bounds` in the state of the application's lifespan."""

    room: Room
    connections: int
    read_seconds: float
    fetch_seconds: float
    closed: Callable[[str], None]
    """Called with the reason why the server ended a connection: late or crowded."""


def connections_allowed(most: int) -> int:
    """`most`, or as many as the process's limit of open files allows beside its other files. The limit is raised as far
    as the system permits: callers that meet it are cut off."""
    allowed, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + BACKLOG + OTHER_FILES
    if allowed < needed and allowed != resource.RLIM_INFINITY:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return max(1, min(most, allowed - OTHER_FILES))
    return most


class Connection(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bounds: Bounds = self.app_state["bounds"]
        self._last_data = time.monotonic()
        self._in_head, self._head_bytes, self._stopping = False, 0, False
        self._refused: Refused | None = None
        self._late: asyncio.TimerHandle | None = None  # runs while it is the caller's turn
        self._unfetched: tuple[int, asyncio.TimerHandle] | None = None  # bytes of answers, and until when
        if len(self.connections) > self._bounds.connections:
            self._bounds.closed("crowded")
            open_ones = [one for one in self.connections if isinstance(one, Connection)]
            quiet = min((one for one in open_ones if one._is_waited_for), key=lambda one: one._last_data)
            if quiet is self:  # all others have an open request
                self.end(Busy("too many connections are open", 1.0))
                return
            quiet.transport.abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_late()
        self._fetched()

    @property
    def _waits(self) -> bool:
        """Whether no request is open."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_waited_for(self) -> bool:
        """Whether it is the caller's turn: no request is open, or its body is not complete."""
        return self._waits or self.cycle.more_body

    # -- receiving

    def data_received(self, data: bytes) -> None:
        self._last_data = time.monotonic()
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.end(_large_head())
                return
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEADERS:
            self._refuse(_large_head())

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse(_large_head())
        if len(self.pipeline) >= AHEAD_REQUESTS:
            self._refuse(Refused(f"{AHEAD_REQUESTS} requests of this connection wait", "wait for an answer"))
        super().on_headers_complete()
        self.cycle.keep_alive &= not self._stopping

    def on_body(self, body: bytes) -> None:
        if self.pipeline and sum(len(cycle.body) for cycle, _ in self.pipeline) + len(body) > AHEAD_BYTES:
            self._refuse(
                Refused(
                    f"more than {AHEAD_BYTES:,} bytes arrived before the last request was answered",
                    "wait for an answer",
                )
            )
        super().on_body(body)

    def _refuse(self, refused: Refused) -> None:
        """In a callback of the parser, which then ends the connection."""
        self._refused = refused
        raise refused

    # -- whose turn it is

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._watch()

    def _watch(self) -> None:
        """Ends the wait for a head, or for the rest of a refused body, after a time."""
        if not self._waits:
            self._forget_late()
        elif self._late is None and (self.timeout_keep_alive_task is None or self._in_head or self.cycle.more_body):
            self._late = self.loop.call_later(self._bounds.read_seconds, self._too_late)

    def _forget_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._bounds.closed("late")
        if self._in_head:
            self.end(TooSlow(f"the head took more than {self._bounds.read_seconds:g} s", "send it at once"))
        else:
            self.transport.close()

    # -- sending

    def pause_writing(self) -> None:
        super().pause_writing()
        self._fetched()
        size = self.transport.get_write_buffer_size()
        self._bounds.room.used += size
        self._unfetched = size, self.loop.call_later(self._bounds.fetch_seconds, self._not_fetched)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._fetched()

    def _fetched(self) -> None:
        if self._unfetched is not None:
            size, timer = self._unfetched
            timer.cancel()
            self._bounds.room.used -= size
            self._unfetched = None

    def _not_fetched(self) -> None:
        self._bounds.closed("late")
        self.transport.abort()

    # -- ending

    def shutdown(self) -> None:
        """The server stops. Requests that are arriving or not read yet are still answered."""
        self._stopping = True
        if self._waits:
            self._forget_late()
            self._late = self.loop.call_later(LAST_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this for bytes that are not HTTP, and after `_refuse`."""
        self.end(self._refused or Refused("the request is not HTTP", "send HTTP/1.1"))

    def end(self, refused: Refused) -> None:
        """Sends the refusal and closes the connection."""
        body = as_json(refused, f"{getrandbits(128):032x}")
        status = HTTPStatus(refused.status)
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in {"Connection": "close", **refused.headers}.items()),
        ]
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.transport.close()


def _large_head() -> LargeHead:
    return LargeHead(f"the head has more than {HEAD_BYTES:,} bytes or {HEADERS} headers", "send fewer or shorter ones")


class Server(uvicorn.Server):
    """Also answers callers that wait to be accepted when the server stops; uvicorn cuts them off."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = [one for listening in sockets or () for one in _accepted(listening)]
        for server in self.servers:  # first: callers that connect in between are cut off
            server.close()
        tasks = [asyncio.create_task(self._take(one)) for one in waiting]
        await super().shutdown(sockets)
        await asyncio.gather(*tasks)

    async def _take(self, waiting: socket.socket) -> None:
        def protocol() -> Connection:
            return Connection(self.config, self.server_state, self.lifespan.state)

        _, connection = await asyncio.get_running_loop().connect_accepted_socket(protocol, waiting)
        connection.shutdown()


def _accepted(listening: socket.socket) -> Iterator[socket.socket]:
    with suppress(BlockingIOError):
        while True:
            yield listening.accept()[0]


class Worker(Process):
    """One of several processes that share a port."""

    @cached_property
    def server(self) -> Server:
        return Server(self.config)
