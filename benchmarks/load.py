"""An open loop: requests arrive as from many people (Poisson, at a rate), whether or not the server keeps up.

    python benchmarks/load.py --port 8000 --path /predict --bodies FILE --rate 500 --seconds 10

A latency counts from the arrival that was drawn, so a server that falls behind is charged for the wait of all who stood
behind it (no coordinated omission). FILE holds a JSON body a line; they are asked in turn.

Plain sockets on one epoll: a request costs three system calls, and select() wakes within microseconds, where the timers
of asyncio and uvloop step by the millisecond that a whole answer takes.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOST = "127.0.0.1"
CONNECTIONS = 2048  # at most; opened as they are needed, so that the server's own queue decides, not ours
PATIENCE = 20.0  # seconds for what is still unanswered at the end
GRACE = 0.1  # seconds after the end in which what had arrived is still sent
NEVER, CLOSED = 0, 1  # in place of a status: never answered (or never sent); the connection closed before an answer
FLOOD = 200_000  # requests/s: more than any Python process sends


@dataclass(frozen=True)
class Outcome:
    """What came of each request, in the order of arrival."""

    arrived: NDArray[np.float64]  # seconds from the start, as drawn
    noticed: NDArray[np.float64]  # when this process came to it
    answered: NDArray[np.float64]
    status: NDArray[np.int16]
    retry_after: NDArray[np.bool_]
    seconds: float
    recovered: float  # seconds from the end until a single answer was as fast as `bound`; nan where not asked

    def latency(self, begin: float = 0.0, end: float = float("inf")) -> NDArray[np.float64]:
        """Of the requests that arrived in between and were answered with 200."""
        chosen = (self.status == 200) & (self.arrived >= begin) & (self.arrived < end)
        taken: NDArray[np.float64] = (self.answered - self.arrived)[chosen]
        return taken

    def statuses(self) -> dict[int, int]:
        values, counts = np.unique(self.status, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def late(self) -> float:
        """Seconds by which this process itself was behind its drawn arrivals, at their 99th percentile."""
        return percentile(self.noticed - self.arrived, 99)

    def save(self, path: Path) -> None:
        np.savez(path, **asdict(self))

    @classmethod
    def read(cls, path: Path) -> Outcome:
        with np.load(path) as saved:
            arrays = [saved[field.name] for field in fields(cls)]
        values: list[Any] = [array if array.ndim else float(array) for array in arrays]
        return cls(*values)


def percentile(values: NDArray[np.float64], at: float) -> float:
    return float(np.percentile(values, at)) if len(values) else float("nan")


class Connection:
    """A connection, kept alive, with one request on its way at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.request = -1  # which, while one is on its way
        self.used = False
        self.buffer = b""

    def send(self, request: int, content: bytes) -> None:
        self.request, self.buffer = request, b""
        self.socket.sendall(content)  # smaller than the socket's buffer

    def read(self) -> tuple[int, bool] | None:
        """Status and whether Retry-After was given; None where more is to come. Raises ConnectionError at the end."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionResetError
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.lower()
        _, named, value = lines.partition(b"\r\ncontent-length:")
        if not named:
            raise ConnectionError(f"an answer without Content-Length: {head!r}")
        if len(body) < int(value.partition(b"\r\n")[0]):
            return None
        self.used = True
        return int(lines[9:12]), b"\r\nretry-after:" in lines


def request(path: str, body: str) -> bytes:
    content = body.encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def offer(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 13) -> Outcome:
    """Offers the requests in turn, `rate` a second in the mean."""
    drawn = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 1.5) + 100).cumsum()
    arrived: list[float] = drawn[drawn < seconds].tolist()
    many = len(arrived)
    noticed, answered = [seconds] * many, [float("nan")] * many
    status, retry_after = [NEVER] * many, [False] * many
    poll = select.epoll()
    free: list[Connection] = []
    opened: dict[int, Connection] = {}
    waiting: deque[int] = deque()  # arrived, without a connection yet
    coming = 0
    began = time.perf_counter() + 0.01

    def forget(connection: Connection) -> None:
        """It closed. An idle connection may close just as it is used again: such a request is sent anew, as every
        HTTP client does."""
        del opened[connection.socket.fileno()]
        connection.socket.close()
        if connection.request < 0:
            free.remove(connection)
        elif connection.used and not connection.buffer:
            waiting.appendleft(connection.request)
        else:
            status[connection.request] = CLOSED

    while True:
        now = time.perf_counter() - began
        while coming < many and arrived[coming] <= now:
            noticed[coming] = now
            waiting.append(coming)
            coming += 1
        while waiting and now < seconds + GRACE and (free or len(opened) < CONNECTIONS):
            if not free:
                fresh = Connection(port)
                opened[fresh.socket.fileno()] = fresh
                poll.register(fresh.socket, select.EPOLLIN)
                free.append(fresh)
            connection, number = free.pop(), waiting.popleft()
            try:
                connection.send(number, requests[number % len(requests)])
            except ConnectionError:
                forget(connection)
        left = len(opened) - len(free)
        if now > seconds + PATIENCE or (now >= seconds and not left and (not waiting or now > seconds + GRACE)):
            break
        until = arrived[coming] if coming < many else max(seconds, now + 0.01)
        if until > (now := time.perf_counter() - began):
            select.select([poll], [], [], until - now)
        for descriptor, _ in poll.poll(0):
            connection = opened[descriptor]
            try:
                found = connection.read()
            except ConnectionError:
                forget(connection)
                continue
            if found is not None:
                number, connection.request = connection.request, -1
                status[number], retry_after[number] = found
                answered[number] = time.perf_counter() - began
                free.append(connection)
    for connection in opened.values():
        connection.socket.close()
    poll.close()
    arrays = np.array(arrived), np.array(noticed), np.array(answered), np.array(status, np.int16), np.array(retry_after)
    return Outcome(*arrays, seconds, float("nan"))


def one_by_one(port: int, requests: Sequence[bytes], going_on: Callable[[list[float]], bool]) -> list[float]:
    """Seconds of each request, one after the other, for as long as `going_on` says. Infinite: not answered with 200."""
    connection = Connection(port)
    poll = select.epoll()
    poll.register(connection.socket, select.EPOLLIN)
    taken: list[float] = []
    while not taken or going_on(taken):
        began = time.perf_counter()
        connection.send(0, requests[len(taken) % len(requests)])
        found = None
        while found is None:
            if not poll.poll(PATIENCE):
                raise SystemExit(f"no answer in {PATIENCE:.0f} s")
            found = connection.read()
        taken.append(time.perf_counter() - began if found[0] == 200 else float("inf"))
    connection.socket.close()
    poll.close()
    return taken


def single(port: int, requests: Sequence[bytes], seconds: float = 2.0) -> float:
    """The median latency of requests one at a time, on a server with nothing else to do."""
    end = time.perf_counter() + seconds
    return statistics.median(one_by_one(port, requests, lambda taken: time.perf_counter() < end))


def recovery(port: int, requests: Sequence[bytes], bound: float) -> float:
    """Seconds until a single request was answered within `bound`."""
    began = time.perf_counter()
    one_by_one(port, requests, lambda taken: taken[-1] > bound and time.perf_counter() < began + PATIENCE)
    return time.perf_counter() - began


def trivial(port: int) -> None:
    """A server that answers everything at once with the same: what this generator can do is measured against it."""
    import asyncio

    import uvloop

    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:  # one request a packet: small, and none is sent before an answer
            self.transport.write(answer)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, HOST, port, backlog=CONNECTIONS)
        await server.serve_forever()

    uvloop.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--bodies", type=Path, help="a JSON body a line")
    parser.add_argument("--rate", type=float, default=FLOOD, help="requests/s")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--bound", type=float, help="seconds: tell when, after the end, one answer was as fast as this")
    parser.add_argument("--single", action="store_true", help="no load: the latency of one request at a time")
    parser.add_argument("--trivial", action="store_true", help="be the server that the generator is measured against")
    parser.add_argument("--out", type=Path, help="an .npz of what came of each request")
    parser.add_argument("--seed", type=int, default=13)
    arguments = parser.parse_args()
    if arguments.trivial:
        return trivial(arguments.port)
    bodies = arguments.bodies.read_text(encoding="utf-8").splitlines() if arguments.bodies else ["{}"]
    requests = [request(arguments.path, body) for body in bodies]
    if arguments.single:
        print(json.dumps({"single": single(arguments.port, requests, arguments.seconds)}))
        return None
    outcome = offer(arguments.port, requests, arguments.rate, arguments.seconds, arguments.seed)
    drained = float(np.nanmax(outcome.answered, initial=0.0)) - arguments.seconds
    if arguments.bound:
        recovered = max(drained, 0.0) + recovery(arguments.port, requests, arguments.bound)
        outcome = Outcome(**{**vars(outcome), "recovered": recovered})
    if arguments.out:
        outcome.save(arguments.out)
    took = max(arguments.seconds, drained + arguments.seconds)
    said = {"offered": len(outcome.arrived), "statuses": outcome.statuses(), "answered_per_second": 0.0}
    said["answered_per_second"] = float((outcome.status > CLOSED).sum() / took)
    said |= {f"p{at}": percentile(outcome.latency(), at) for at in (50, 99)}
    print(json.dumps({**said, "late": outcome.late(), "recovered": outcome.recovered}))
    return None


if __name__ == "__main__":
    main()
