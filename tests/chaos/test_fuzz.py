"""Thousands of requests that no client would send, over every protocol, to a server of each task: all are answered,
none with a mistake of ours, and the server's memory stays within the bounds of docs/serving.md.

The requests are drawn from a seed, so that a failure comes again: SEED=… REQUESTS=… pytest tests/chaos.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Server, serving
from served_models import SAMPLES, make

SEED = int(os.environ.get("SEED", "1"))
REQUESTS = int(os.environ.get("REQUESTS", "10000"))  # of the slow test, over all models
WARM_UP = 1000  # requests after which the memory is compared
SLACK = 20 << 20
HANGS = 300.0  # seconds without an answer, on a machine that has other work too
CACHE, HELD, CONNECTIONS = 4 << 20, 2 << 20, 40
SETTINGS = (f"cache_bytes={CACHE}", f"held_bytes={HELD}", f"request_bytes={HELD // 2}", f"connections={CONNECTIONS}",
            "queue_seconds=5", "read_seconds=2")  # fmt: skip
BOUND = CACHE + HELD + CONNECTIONS * (32 << 10)
TASKS = ("columns", "several", "words", "question", "similarity")

ODD_TEXTS = [
    "", " ", "\0", "a" * 300, "é" * 5000, "\U0001f600" * 20_000, "wort " * 19_000, "x" * 100_000, "x" * 100_001, "\r\n",
    "=1+1", "NaN", "[UNK] [SEP]", "null", "{}", "e\u0301" * 40, "\u202eab", "a\tb", "'\"\\", "%s%n", "\ufeff",
]  # fmt: skip
ODD_JSON = [  # as they are written, for Python would not write them
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1E999", b"1" + b"0" * 400, b"1" * 5000, b'"\\ud800"', b"[1,]",
    b'"\\udfff"', b'"a\xff"', b'{"a":1,"a":2}', b"[" * 150 + b"]" * 150, b"[" * 9000, b'{"a":' * 300,
    b"1e-400", b"-0.0", b"01", b"+1", b"'a'", b"", b"true", b"null", b'"\x00"', b"\xef\xbb\xbf1", b"[[]]", b"9" * 19,
]  # fmt: skip
KINDS = [
    "application/json", "text/csv", "application/jsonlines", "", "Application/JSON; charset=utf8",
    'text/csv; Charset="UTF-8"', "application/json; charset=latin-1", "text/csv; charset=", ";;", "a" * 2000,
    "application/x-www-form-urlencoded", "text/csv;charset=utf-16", 'application/json; a="b;charset=x"',
]  # fmt: skip
HEADERS = [
    ("X-Request-Id", "a b"), ("X-Request-Id", "x" * 5000), ("X-Request-Timeout-Ms", "0"), ("Accept", "\xff"),
    ("X-Request-Timeout-Ms", "9" * 50), ("X-Variant", "nobody"), ("Content-Encoding", "gzip"), ("Cookie", "a;" * 900),
    ("X-Forwarded-For", "1.1.1.1, " * 99), ("Connection", "upgrade"), ("Upgrade", "websocket"),
    ("Expect", "100-continue"), ("Authorization", "Bearer " + "a." * 3000), ("X-API-Key", "\xe9"),
    ("Transfer-Encoding", "gzip, chunked"),
]  # fmt: skip


@dataclass(frozen=True)
class Sent:
    data: bytes
    whole: bool = True
    """Whether an answer is due: halves of requests are left lying, and get one only where the server ends them."""


class Requests:
    """Drawn from a seed, for one model."""

    def __init__(self, name: str, seed: int) -> None:
        self.draw = random.Random(f"{name} {seed}")
        self.rows, self.model = SAMPLES[name], f"main.demo.{name}"
        names = list(self.rows[0])
        columns = {column: [row.get(column) for row in self.rows[:1]] for column in names}
        tensors = [
            {"name": column, "datatype": "FP64" if column == "age" else "BYTES", "shape": [1], "data": values}
            for column, values in columns.items()
        ]
        self.bodies: list[tuple[str, Any]] = [
            ("/predict", {"rows": self.rows, "probabilities": True, "least_confidence": 0.5}),
            ("/predict", {"texts": ["a", "the dog is here"]}),
            ("/invocations", {"dataframe_split": {"columns": names, "data": [list(self.rows[0].values())]}}),
            ("/invocations", {"inputs": columns, "params": {}}),
            ("/invocations", {"dataframe_records": self.rows}),
            ("/invocations", {"instances": self.rows}),
            (f"/v2/models/{self.model}/infer", {"id": "a", "parameters": {"a": 1}, "inputs": tensors, "outputs": None}),
            ("/v1/embeddings", {"input": ["a", "b"], "model": "a", "encoding_format": "float", "dimensions": 4}),
        ]

    def __iter__(self) -> Iterator[Sent]:
        kinds: list[Callable[[], Sent]] = [self.changed] * 6 + [self.long] * 4 + [self.as_lines] * 2 + [
            self.torn, self.torn, self.no_http, self.page, self.half,
        ]  # fmt: skip
        while True:
            yield self.draw.choice(kinds)()

    def changed(self) -> Sent:
        """A right body with something else somewhere in it, or under a key that is there already."""
        path, body = self.draw.choice(self.bodies)
        marked = replaced(body, self.draw.choice(places(body)), "\x01")
        other = self.draw.choice(ODD_JSON) if self.draw.random() < 0.5 else self.text()
        written = json.dumps(marked).encode().replace(b'"\\u0001"', other)
        if self.draw.random() < 0.1:
            written = written[:-1] + b"," + written[1:]
        return self.post(path, written)

    def as_lines(self) -> Sent:
        """CSV, or JSON lines, hardly ever as they should be."""
        names = list(self.rows[0])
        cells = [*names, "1e400", "nan", "1_0", "٣", '"', '""', ",", "\n", "\r\n", "", "a", "31", "\ufeff", "\0"]
        if self.draw.random() < 0.5:
            text = ",".join(names) + "\n" + ",".join(self.draw.choices(cells, k=len(names)))
        else:
            text = "".join(self.draw.choices([*cells, json.dumps(self.rows[0])], k=self.draw.randrange(9)))
        return self.post("/invocations", text.encode(), self.draw.choice(KINDS[1:4]))

    def torn(self) -> Sent:
        """A right body with some bytes cut, changed or doubled, or one that has another length than it says."""
        path, body = self.draw.choice(self.bodies)
        written = bytearray(json.dumps(body).encode())
        for _ in range(self.draw.randrange(4)):
            at = self.draw.randrange(len(written))
            written[at : at + self.draw.randrange(3)] = self.draw.randbytes(self.draw.randrange(4))
        off = self.draw.choice([0, 0, -1, 1, 500])
        sent = self.post(path, bytes(written), length=max(0, len(written) + off))
        return Sent(sent.data, whole=off <= 0)

    def long(self) -> Sent:
        """Long texts, many of them, each another one."""
        long = self.draw.choice(["a", "é", "\U0001f600"]) * self.draw.randrange(1000, 60_000)
        texts = [f"{self.draw.random()} {long}" for _ in range(self.draw.randrange(1, 4))]
        rows = [self.rows[0] | {next(iter(self.rows[0])): text} for text in texts]
        return self.post("/predict", json.dumps({"rows": rows}, ensure_ascii=False).encode())

    def page(self) -> Sent:
        path = self.draw.choice(["/ping", "/model", "/metrics", "/v2", "/docs", "/openapi.json", "/nowhere", "/%ff%00",
                                 f"/v2/models/{self.model}", "//predict", "/predict?a=b", "/swagger/../x"])  # fmt: skip
        method = self.draw.choice(["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST", "TRACE"])
        return Sent(self.head(method, path, 0))

    def no_http(self) -> Sent:
        right = self.post(*self.draw.choice([(path, json.dumps(body).encode()) for path, body in self.bodies])).data
        at = self.draw.randrange(len(right))
        return Sent(right[:at] + self.draw.randbytes(3) + right[at + 2 :], whole=False)

    def half(self) -> Sent:
        """The beginning of a request."""
        path, body = self.draw.choice(self.bodies)
        long = json.dumps(body).encode() + b" " * self.draw.choice([0, 90_000])
        data = self.post(path, long, length=len(long) + 10_000).data
        return Sent(data[: self.draw.randrange(len(data))], whole=False)

    def largest(self) -> Iterator[Sent]:
        """What takes the most memory to compute, which a runtime then keeps: by the threads together, and in parts."""
        for rows in (1, 2, 3, 3):
            for text in ("wort " * 20_000, "\U0001f600" * 60_000, "é" * 60_000, "a b " * 25_000):
                row = {name: text if isinstance(value, str) else value for name, value in self.rows[0].items()}
                yield self.post("/predict", json.dumps({"rows": [row] * rows}, ensure_ascii=False).encode())

    def text(self) -> bytes:
        return json.dumps(self.draw.choice(ODD_TEXTS), ensure_ascii=self.draw.random() < 0.5).encode()

    def post(self, path: str, body: bytes, kind: str | None = None, length: int | None = None) -> Sent:
        more = self.draw.sample(HEADERS, k=self.draw.choice([0, 0, 0, 1, 2]))
        kind = self.draw.choice(KINDS) if kind is None and self.draw.random() < 0.3 else kind or KINDS[0]
        head = self.head("POST", path, len(body) if length is None else length, ("Content-Type", kind), *more)
        return Sent(head + body)

    def head(self, method: str, path: str, length: int, *headers: tuple[str, str]) -> bytes:
        named = [("Host", "a"), ("Content-Length", str(length)), *headers]
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def places(value: Any) -> list[tuple[Any, ...]]:
    """The ways to everything that is in a body, itself among them."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, part in parts for rest in places(part))]


def replaced(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], other)
    return copy


def status_of(port: int, sent: Sent, lying: list[socket.socket]) -> int | None:
    """Of the answer. Fails where there is none and one is due, where it is a mistake of ours, where a refusal does not
    say why. Half a request is left lying."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=HANGS)
    with suppress(ConnectionError):  # refused before all of it was sent
        connection.sendall(sent.data)
    if not sent.whole:
        lying.append(connection)
        connection.settimeout(0.002)
    answer = http.client.HTTPResponse(connection, method=sent.data.partition(b" ")[0].decode("latin-1"))
    try:
        answer.begin()
        body = answer.read()
    except (ConnectionError, TimeoutError):
        assert not sent.whole, sent.data[:300]
        return None
    finally:
        answer.close()
        if sent.whole:
            connection.close()
    about = sent.data[:300], answer.status, body[:300]
    assert answer.status < 500 or (answer.status == 503 and answer.headers["Retry-After"]), about
    if answer.status >= 400 and body:
        assert json.loads(body).keys() == {"error", "remedy", "request_id"}, about
    return answer.status


@contextmanager
def fuzzed(name: str, requests: int, folder: Path, base: Path) -> Iterator[tuple[Server, int]]:
    """A server that was sent so many requests, and by how many bytes its memory grew after the first thousand."""
    model = make(name, folder / "model", base)
    with serving(model, *(part for one in SETTINGS for part in ("--set", one)), folder=folder) as server:
        lying: list[socket.socket] = []
        statuses: list[int | None] = []
        before = 0
        for sent in Requests(name, SEED).largest():
            status_of(server.port, sent, lying)
        for at, sent in zip(range(requests), Requests(name, SEED), strict=False):
            statuses.append(status_of(server.port, sent, lying))
            assert server.process.poll() is None, (sent.data[:300], server.log.read_text()[-3000:])
            if at == min(WARM_UP, requests // 2):
                before = resident(server)
            while len(lying) > 2 * CONNECTIONS:  # else this process runs out of files first
                lying.pop(0).close()
        grown = resident(server) - before
        for one in lying:
            one.close()
        assert {200, 400, 415} <= set(statuses), statuses
        assert server.ask("POST", "/predict", {"rows": SAMPLES[name]}).status == 200
        yield server, grown
    log = server.log.read_text()
    assert server.process.returncode == 0 and "Traceback" not in log, log[-3000:]


def resident(server: Server) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_some_hundred_requests(tmp_path: Path, tiny_base: Path) -> None:
    with fuzzed("columns", 400, tmp_path, tiny_base):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_ten_thousand_requests(name: str, tmp_path: Path, tiny_base: Path) -> None:
    with fuzzed(name, WARM_UP + REQUESTS // len(TASKS), tmp_path, tiny_base) as (_, grown):
        assert grown <= BOUND + SLACK, f"{grown / 2**20:.0f} MB"
