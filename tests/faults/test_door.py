"""Who is let in, and how much a server holds for strangers: bodies, heads, connections, answers, the file of keys."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conftest import serving
from lakewright.errors import UsageError
from lakewright.model.tasks.classification import TextClassification
from lakewright.service.server import access, requestlog
from lakewright.service.server.access import Access, add_key, read_keys, remove_key
from lakewright.service.server.answers import Answers, key_of
from lakewright.service.server.connection import AHEAD_REQUESTS, HEAD_BYTES
from lakewright.service.server.refusals import NoKey
from lakewright.service.server.requestlog import Answered, RequestLog
from lakewright.settings.profile import Oidc, Serve
from lakewright.system.memory import size_of
from served_models import BESIDE, OTHERS, answering, linear

PATIENCE = 30.0  # seconds after which a test fails
GOOD = b'{"texts":["good morning"]}'


class Door:
    """A server of greetings, as its callers see it."""

    def __init__(self, port: int, name: str) -> None:
        self.port, self.name = port, name

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, bytes, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def counted(self, metric: str, label: str) -> float:
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(f"lakewright_{metric}") and label in line
        )


def heard(connection: socket.socket) -> tuple[int | None, bytes]:
    """What comes until the server ends the connection, and its status."""
    found = b""
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            found += part
    return int(found[9:12]) if found else None, found


@contextmanager
def door(model: Path, at: Path, **settings: Any) -> Iterator[Door]:
    with answering(model, at, Serve(**settings)) as (port, service):
        yield Door(port, service.model.name)


# -- bodies, heads, connections ----------------------------------------------------------------------------------------


def head(length: int) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()


def test_bodies_under_way_are_bounded_together_and_shut_nobody_out(greeter: Path, tmp_path: Path) -> None:
    most = 2 << 20
    with (
        door(greeter, tmp_path, held_bytes=most, request_bytes=most // 2, read_seconds=60) as server,
        ExitStack() as left,
    ):
        stalled = [left.enter_context(server.connected()) for _ in range(8)]
        for one in stalled:
            with suppress(ConnectionError):
                one.sendall(head(most // 2) + b" " * (most // 2 - 100_000))
            assert server.ask("POST", "/predict", GOOD)[0] == 200  # whole bodies have their half
        for refused in stalled[1:]:
            answer = refused.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 429 ") and b"\r\nretry-after: 1\r\n" in answer
        stalled[0].close()
        until(lambda: server.counted("requests", '"/predict",status="400"') == 1)  # noticed
        assert server.ask("POST", "/predict", b" " * 900_000 + GOOD)[0] == 200  # and now there is room again


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (head(100) + b"{", [408]),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", [408]),
        (b"POST /predict HTTP/1.1\r\nHost: a\r\nX-a: ", [408]),
        (b"GET", [408]),
        (b"\r\n\r\n", []),
        (b"", []),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /pi", [200, 408]),
        (b"POST /nowhere HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{", [404]),  # the rest of what was refused
    ],
)
def test_what_stops_half_way_is_ended(greeter: Path, tmp_path: Path, sent: bytes, statuses: list[int]) -> None:
    with door(greeter, tmp_path, read_seconds=0.3) as server, server.connected() as connection:
        connection.sendall(sent)
        answer = heard(connection)[1]
        assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", answer)] == statuses


def test_a_head_or_a_body_that_trickles_is_ended(greeter: Path, tmp_path: Path) -> None:
    with door(greeter, tmp_path, read_seconds=0.5, deadline_seconds=1.5) as server:
        for begun in (b"GET /ping HTTP/1.1\r\nX-a: ", head(10_000)):
            with server.connected() as connection:
                connection.sendall(begun)
                connection.settimeout(0.05)
                answer, began = b"", time.monotonic()
                while not answer:
                    assert time.monotonic() - began < PATIENCE
                    with suppress(TimeoutError):
                        connection.sendall(b"a")
                        answer = connection.recv(1 << 16)
                assert answer.startswith(b"HTTP/1.1 408 ")


def test_half_heads_keep_nobody_out(greeter: Path, tmp_path: Path) -> None:
    with door(greeter, tmp_path, connections=20, read_seconds=60) as server, ExitStack() as left:
        for _ in range(60):
            left.enter_context(server.connected()).sendall(b"POST /predict HTTP/1.1\r\nX-a: ")
            assert server.ask("POST", "/predict", GOOD)[0] == 200
        for _ in range(60):
            left.enter_context(server.connected()).sendall(head(26) + b"{")
            assert server.ask("POST", "/predict", GOOD)[0] == 200
        assert server.counted("closed", "crowded") >= 100


@pytest.mark.parametrize("size", [HEAD_BYTES + 1, 4 << 20])
@pytest.mark.parametrize("before", [b"GET /ping HTTP/1.1\r\nX-Much: ", b"GET /"])
def test_a_large_head(greeter: Path, tmp_path: Path, before: bytes, size: int) -> None:
    with door(greeter, tmp_path) as server:
        with server.connected() as connection:
            with suppress(ConnectionError):
                connection.sendall(before + b"a" * size + b"\r\n\r\n"[: 4 if size < 1 << 20 else 0])
            status, _ = heard(connection)
            assert status == 431 or (status is None and size > 1 << 20)  # cut off while it still sent
        assert server.ask("GET", "/ping", headers={"X-Much": "a" * (HEAD_BYTES - 1000)})[0] == 200
        assert server.ask("GET", "/ping", headers={f"X-{at}": "" for at in range(90)})[0] == 200
        assert server.ask("GET", "/ping", headers={f"X-{at}": "" for at in range(101)})[0] == 431


def test_requests_ahead_of_their_answers_are_bounded(greeter: Path, tmp_path: Path) -> None:
    ping = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
    with door(greeter, tmp_path) as server:
        with server.connected() as connection:
            connection.sendall(ping * AHEAD_REQUESTS + ping.replace(b"Host: a", b"Connection: close"))
            assert heard(connection)[1].count(b"HTTP/1.1 200 ") == AHEAD_REQUESTS + 1
        with server.connected() as connection:
            connection.sendall(ping * 1000)
            assert b"HTTP/1.1 400 " in heard(connection)[1]
        with server.connected() as connection:
            connection.sendall((head(50_000) + b" " * 50_000) * 4)
            assert b"HTTP/1.1 400 " in heard(connection)[1]


def test_answers_that_nobody_fetches_are_held_for_a_while_only(greeter: Path, tmp_path: Path) -> None:
    many = json.dumps({"texts": ["good morning"] * 1000, "probabilities": True}).encode()
    with door(greeter, tmp_path, deadline_seconds=1, queue_seconds=60) as server, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE)
        slow.connect(("127.0.0.1", server.port))
        for at in range(500):  # until the system's own buffers are full
            with suppress(ConnectionError):
                slow.sendall(head(len(many)) + many)
            until(lambda at=at: server.counted("requests", '"/predict"') > at or server.counted("closed", "late"))
            if server.counted("closed", "late"):
                break
        assert server.counted("closed", "late") == 1
        assert server.ask("POST", "/predict", GOOD)[0] == 200


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_answers_are_kept_within_rows_and_bytes() -> None:
    answers: Answers[dict[str, str]] = Answers(rows=100, size=100_000)
    for at in range(1000):
        answers.put(key_of("model", {"text": "a" * 100_000 + str(at)}), {"answer": "b" * 9000})
    kept = [at for at in range(1000) if answers.get(key_of("model", {"text": "a" * 100_000 + str(at)}))]
    assert kept == list(range(990, 1000))  # the last ones: ten of some 9,300 bytes
    answers.put(b"large", {"answer": "b" * 100_000})
    assert answers.get(b"large") is None and answers.get(key_of("model", {"text": "a" * 100_000 + "999"}))
    for at in range(1000):
        answers.put(key_of("model", {"text": str(at)}), {})
    assert sum(answers.get(key_of("model", {"text": str(at)})) is not None for at in range(1000)) == 100


def test_rows_are_known_apart_by_their_hashes() -> None:
    rows: list[dict[str, Any]] = [
        {"a": "1", "b": None}, {"a": 1.0, "b": None}, {"a": None, "b": "1"}, {"a": ["1"], "b": None},
        {"a": "", "b": None}, {"a": ["a", "b"], "b": None}, {"a": ["a,b"], "b": None}, {"a": '1",null', "b": None},
        {"a": True, "b": None},
    ]  # fmt: skip
    keys = [key_of(model, row) for row in rows for model in ("one", "two")]
    assert len(set(keys)) == len(keys) and {len(key) for key in keys} == {32}


def test_size_of() -> None:
    assert size_of("\U0001f600" * 1000) > 4000
    assert size_of({"a": [{"b": "c" * 500}] * 10}) > 5000


def answered(id: str, rows: int = 1, text: str = "a", caller: str = "ada") -> Answered:
    prediction = {"label": "hello", "confidence": 0.9}
    given = [{"text": text}] * rows
    return Answered(id, datetime.now(UTC), caller, "m", "1", "v", given, [prediction] * rows, [False] * rows, 1.0)


class Lake:
    """Keeps the tables that are written; `ready` is awaited first."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def write(self, name: str, table: Any, mode: str, comment: str) -> None:
        self.written.append(table)


def test_a_row_that_cannot_be_written_is_left_out_and_counted() -> None:
    lake, counted = Lake(), Counter[str]()

    def redact(text: str) -> str:
        return "\ud800" if text == "poison" else text

    def count(outcome: str, rows: int) -> None:
        counted[outcome] += rows

    log = RequestLog(lake, "main.ops.requests", 1.0, 3600, redact, count)  # type: ignore[arg-type]
    for at in range(20):
        log.add(answered(f"r{at}", caller="\ud800" if at % 7 == 3 else "ada"))
    mixed = answered("mixed", rows=3)
    log.add(Answered(**{**vars(mixed), "rows": [{"text": "a"}, {"text": "poison"}, {"text": "b"}]}))
    log.close()
    (table,) = lake.written
    kept = [f"r{at}" for at in range(20) if at % 7 != 3]
    assert table.column("request_id").to_pylist() == [*kept, "mixed", "mixed"]
    assert table.column("row").to_pylist()[-2:] == [0, 2]
    assert counted == {"written": 19, "unwritable": 4}


def test_rows_that_wait_for_the_log_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestlog, "BYTES", 1 << 20)
    lake, counted = Lake(), Counter[str]()
    log = RequestLog(lake, "t", 1.0, 3600, None, lambda outcome, rows: counted.update({outcome: rows}))  # type: ignore[arg-type]
    for at in range(30):
        log.add(answered(f"r{at}", text=f"{at}" + "\U0001f600" * 25_000))  # 100,000 bytes each
    assert counted == {"dropped": 20}
    log.close()
    assert sum(table.num_rows for table in lake.written) == counted["written"] == 10


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_that_are_added_and_removed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key that was shown is there, each that was removed stays away."""
    file, read = tmp_path / "keys.json", read_keys

    def slowly(file: Path) -> list[access.Key]:
        keys = read(file)
        time.sleep(0.005)  # in which others would change the file
        return keys

    monkeypatch.setattr(access, "read_keys", slowly)
    for at in range(8):
        add_key(file, f"old{at}")
    with ThreadPoolExecutor(16) as pool:
        added = [pool.submit(add_key, file, f"new{at}") for at in range(8)]
        removed = [pool.submit(remove_key, file, f"old{at}") for at in range(8)]
        assert all(one.result().startswith("lw_") for one in added) and not any(one.result() for one in removed)
    assert {key.name for key in read(file)} == {f"new{at}" for at in range(8)}
    assert file.stat().st_mode & 0o077 == 0
    with ThreadPoolExecutor(8) as pool:  # the same name twice is refused to all but one
        tries = [pool.submit(add_key, file, "same") for _ in range(8)]
        assert sum(one.exception() is None for one in tries) == 1


def test_keys_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    add_key(file, "ann")
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        add_key(file, "bob")
    assert file.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} == {"keys.json", ".keys.json.lock"}


DAMAGED = ["", " ", "[]", "null", "{}", "[1]", '[{"name": "a"}]', '[{"name": 1, "sha256": 2, "made": 3}]', "\0", "[{"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_file_of_keys_that_is_there_means_that_one_is_needed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    assert not Access(file, None).needed
    file.write_text(text)
    guarded = Access(file, None)
    assert guarded.needed
    with pytest.raises(NoKey):
        asyncio.run(guarded.who({}))
    with pytest.raises(NoKey):
        asyncio.run(guarded.who({b"x-api-key": b"lw_any"}))
    if text != "[]":
        with pytest.raises(UsageError, match="holds no API keys"):
            add_key(file, "bob")


def test_what_is_no_file_of_keys_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    assert Access(tmp_path / "keys.json", None).needed
    (tmp_path / "file").write_text("")
    assert Access(tmp_path / "file" / "keys.json", None).needed  # not to be read, so who knows


def test_a_server_notices_keys_and_takes_none_from_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now = tmp_path / "keys.json", [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    guarded = Access(file, None)

    def who(key: str) -> str:
        now[0] += 2
        try:
            return asyncio.run(guarded.who({b"x-api-key": key.encode()}))
        except NoKey:
            return "nobody"

    assert who("any") == ""
    key = add_key(file, "ann")
    assert who("any") == "nobody" and who(key) == "ann"
    whole = file.read_text()
    for damaged in (whole[:-9], "", "null", "[{"):
        file.write_text(damaged)
        assert who(key) == who(key) == "nobody"
        file.write_text(whole)
        assert who(key) == "ann"
    remove_key(file, "ann")
    assert who(key) == "nobody" and guarded.needed
    file.unlink()
    assert who(key) == "nobody"
    assert Access(file, None, needed=True).needed  # a worker process of a server that began with keys


@pytest.mark.parametrize("text", ["", "[]", "null", '{"keys": 1}', '{"keys": [{"kty": "RSA"}]}', "[" * 9000, "<html>"])
def test_a_provider_that_answers_nonsense_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "jwks.json").write_text(text)
    oidc = Oidc(issuer="a", audience="b", keys=str(tmp_path / "jwks.json"))
    guarded = Access(tmp_path / "keys.json", oidc)
    with pytest.raises(NoKey):
        asyncio.run(guarded.who({b"authorization": b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.e30"}))


def test_the_last_key_removed_opens_no_server_that_is_started_anew(greeter: Path, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "ann")
    remove_key(tmp_path / "keys.json", "ann")
    with door(greeter, tmp_path) as server:
        assert server.ask("GET", "/model")[0] == server.ask("POST", "/predict", GOOD)[0] == 401


def test_without_a_key_nobody_learns_which_model_it_is(greeter: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "ann")
    with door(greeter, tmp_path) as server:
        pages = ["/", "/docs", "/openapi.json", "/v2", "/model", "/version", "/metrics", f"/v2/models/{server.name}",
                 "/swagger/swagger-ui.css", "/nowhere", "/v1/embeddings", "/v2/models/a"]  # fmt: skip
        health = ["/ping", "/v2/health/live", "/v2/health/ready"]
        for path in (*pages, *health):
            status, body, headers = server.ask("GET", path)
            assert status == (200 if path in health else 401), path
            assert b"greetings" not in body and "greetings" not in str(headers) and "x-model-version" not in headers
        for path in ("/", "/docs", "/openapi.json", "/v2", "/model", "/version", "/metrics", "/swagger/swagger-ui.css"):
            status, _, headers = server.ask("GET", path, headers={"X-API-Key": key})
            assert status == 200 and "greetings" in headers["x-model-version"]


# -- proxies -----------------------------------------------------------------------------------------------------------


def statuses(server: Door, *forwarded: str) -> list[int]:
    return [server.ask("POST", "/predict", GOOD, {"X-Forwarded-For": one})[0] for one in forwarded]


def test_nobodys_word_for_where_a_request_comes_from_is_believed(greeter: Path, tmp_path: Path) -> None:
    with door(greeter, tmp_path, rate=0.001, burst=2) as server:
        assert statuses(server, "1.1.1.1", "2.2.2.2", "3.3.3.3") == [200, 200, 429]
    with door(greeter, tmp_path, rate=0.001, burst=2, proxies=["10.0.0.0/8"]) as server:
        assert statuses(server, "1.1.1.1", "2.2.2.2", "3.3.3.3") == [200, 200, 429]


def test_but_a_named_proxys(greeter: Path, tmp_path: Path) -> None:
    with door(greeter, tmp_path, rate=0.001, burst=1, proxies=["127.0.0.0/8", "10.1.0.1"]) as server:
        assert statuses(server, "1.1.1.1", "2.2.2.2", "1.1.1.1") == [200, 200, 429]
        assert statuses(server, "9.9.9.9, 1.1.1.1", "9.9.9.8, 1.1.1.1, 10.1.0.1") == [429, 429]  # what callers add
        assert statuses(server, "2001:db8::1", "2001:db8::1", "a" * 9000, "a" * 9000) == [200, 429, 200, 429]


@pytest.mark.parametrize("wrong", ["*", "nginx", "10.0.0.1/8", "", "10.0.0.0/33", "1.2.3"])
def test_what_names_no_proxy(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Serve(proxies=[wrong])


# -- what is said of a body, and what is in it -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A server of a model that reads a text, a number and a category."""
    at = tmp_path_factory.mktemp("mixed")
    task = TextClassification(("a", "b"), inputs=BESIDE)
    with door(linear(at / "model", "columns", task, OTHERS), at) as server:
        yield server


ROW = '{"text":"a","age":%s,"place":"north"}'
TENSOR = '{"name":"%s","datatype":"%s","shape":[1],"data":[%s]}'
INFER = '{"inputs":[%s,%s,%s]%%s}' % (  # noqa: UP031
    TENSOR % ("text", "BYTES", '"a"'), TENSOR % ("age", "FP64", "%s"), TENSOR % ("place", "BYTES", '"north"'),
)  # fmt: skip
INFER_AT = "/v2/models/main.demo.columns/infer"
PLACES = {  # where a number may stand, in every protocol
    "plain row": ("/predict", '{"rows":[%s]}' % ROW),  # noqa: UP031
    "least_confidence": ("/predict", '{"texts":[],"least_confidence":%s}'),
    "records": ("/invocations", '{"dataframe_records":[%s]}' % ROW),  # noqa: UP031
    "split": ("/invocations", '{"dataframe_split":{"columns":["text","age","place"],"data":[["a",%s,null]]}}'),
    "index": ("/invocations", '{"dataframe_split":{"columns":["text"],"index":[%s],"data":[]}}'),
    "columns": ("/invocations", '{"inputs":{"text":["a"],"age":[%s],"place":["north"]}}'),
    "params": ("/invocations", '{"instances":[],"params":{"a":%s}}'),
    "tensor": (INFER_AT, INFER % ("%s", "")),
    "parameters": (INFER_AT, INFER % ("1", ',"parameters":{"a":[%s]}')),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 400, "9" * 5000, "01"]
)
def test_a_number_that_is_none(mixed: Door, place: str, number: str) -> None:
    path, body = PLACES[place]
    if place != "params":
        assert mixed.ask("POST", path, (body % "0").encode())[0] == 200
    status, told, _ = mixed.ask("POST", path, (body % number).encode())
    answer = json.loads(told)
    assert status == 400 and answer["remedy"]
    if number != "01":  # of thousands of digits, too
        cause = f"{number} is not JSON" if number[-1] in "Ny" else f"the number {number[:40]}"
        assert cause in answer["error"] and "null" in answer["remedy"]
    line = "text,age,place\na,%s,north\n"
    kind = {"Content-Type": "text/csv"}
    assert mixed.ask("POST", "/invocations", (line % "31").encode(), kind)[0] == 200
    if number != "01":
        status, told, _ = mixed.ask("POST", "/invocations", (line % number).encode(), kind)
        assert status == 400 and ("too large" in told.decode()) == (number[-1] not in "Ny")
        lines = ROW % "1" + "\n" + ROW % number
        status, told, _ = mixed.ask("POST", "/invocations", lines.encode(), {"Content-Type": "application/jsonlines"})
        assert status == 400 and json.loads(told)["error"].startswith("line 2: ")


@pytest.mark.parametrize("number", ["1_0", "٣", "0x10", "1e", "--1", "1 2", "infinity", "nan", "1" * 100_000 + "x"])
def test_a_cell_that_is_no_number(mixed: Door, number: str) -> None:
    body = f"text,age\na,{number}\n".encode()
    assert mixed.ask("POST", "/invocations", body, {"Content-Type": "text/csv"})[0] == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", b""),
        ("/predict", b'{"rows":[],"rows":[]}'),
        ("/predict", b'{"texts":["a"],"t\\u0065xts":["b"]}'),
        ("/predict", b'{"rows":[{"text":"a","text":"b","age":1,"place":null}]}'),
        ("/predict", b'{"rows":[{"text":"\\udc00","age":1,"place":null}]}'),
        ("/predict", b'{"texts":["\xff"]}'),
        ("/predict", b'{"rows":' + b"[" * 100_000),
        ("/predict", b'{"texts":["a"]} {"texts":["b"]}'),
        ("/invocations", b""),
        ("/invocations", b'{"inputs":{"text":["a"],"text":["b"]}}'),
        ("/invocations", b'{"instances":[],"params":{"a":1,"a":1}}'),
        (INFER_AT, b""),
        (INFER_AT, (INFER % ("1", ',"parameters":[]')).encode()),
        (INFER_AT, (INFER % ("1", ',"parameters":{"a":1,"a":2}')).encode()),
        (INFER_AT, (INFER % ("1", ',"outputs":0')).encode()),
        (INFER_AT, (INFER % ("1", ',"outputs":[{"name":"label"},{"name":"label"}]')).encode()),
        (INFER_AT, (INFER % ("1", "")).replace("FP64", "FP65").encode()),
        (INFER_AT, (INFER % ("1.5", "")).replace("FP64", "INT8").encode()),
        (INFER_AT, (INFER % ("300", "")).replace("FP64", "UINT8").encode()),
        (INFER_AT, (INFER % ("-1", "")).replace("FP64", "UINT64").encode()),
        (INFER_AT, (INFER % ("1e300", "")).replace("FP64", "FP32").encode()),
        (INFER_AT, (INFER % ("70000", "")).replace("FP64", "FP16").encode()),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read(mixed: Door, path: str, body: bytes) -> None:
    status, told, _ = mixed.ask("POST", path, body)
    assert status == 400 and json.loads(told)["remedy"], told


@pytest.mark.parametrize(
    ("value", "datatype"), [("127", "INT8"), ("-128", "INT8"), ("2.0", "UINT8"), ("65504", "FP16")]
)
def test_a_tensor_whose_datatype_holds_it(mixed: Door, value: str, datatype: str) -> None:
    assert mixed.ask("POST", INFER_AT, (INFER % (value, "")).replace("FP64", datatype).encode())[0] == 200


def test_a_key_that_is_there_twice_among_many(mixed: Door) -> None:
    body = "{" + ",".join(f'"{at}":0' for at in [*range(300_000), 299_999]) + "}"
    status, told, _ = mixed.ask("POST", "/predict", body.encode())
    assert status == 400 and "'299999' occurs twice" in json.loads(told)["error"]


def test_a_refusal_is_short_however_long_the_body_was(mixed: Door) -> None:
    long = (INFER % ("1", "")).replace("FP64", "F" * 500_000).encode()
    status, told, _ = mixed.ask("POST", INFER_AT, long)
    assert status == 400 and len(told) < 3000
    status, told, _ = mixed.ask("POST", "/predict", b'{"rows":[{"' + b"t" * 500_000 + b'":1}]}')
    assert status == 400 and len(told) < 3000


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"good morning\n", "text/csv"),
        (b"good morning\ngood night\n", "text/csv"),
        (b'"good morning, you",31,north\n', "text/csv"),
        (b"", "text/csv"),
        (b"\n", "text/csv"),
        (b"", "application/jsonlines"),
        (b"\n \n", "application/x-ndjson"),
    ],
)
def test_a_csv_body_without_the_header_and_empty_ones(greeter: Path, mixed: Door, body: bytes, kind: str) -> None:
    status, told, _ = mixed.ask("POST", "/invocations", body, {"Content-Type": kind})
    assert status == 400 and json.loads(told)["remedy"]


@pytest.mark.parametrize("path", ["/predict", "/invocations", INFER_AT])
@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ("; charset=utf-8", 200),
        (';charset="UTF-8"', 200),
        ("; Charset=Utf8 ;", 200),
        (r'; charset="utf\-8"', 200),
        ('; a="b; charset=utf-16"', 200),
        ("; charset=us-ascii", 200),
        ("; charset=utf-16", 415),
        ("; charset=latin-1", 415),
        ("; charset=klingon", 415),
        ("; charset=", 415),
        ("; charset=utf-8; charset=utf-16", 415),
        ('; charset="utf-8', 415),
    ],
)
def test_charsets(mixed: Door, path: str, parameters: str, status: int) -> None:
    body = {"/predict": PLACES["plain row"][1], "/invocations": PLACES["columns"][1], INFER_AT: INFER % ("%s", "")}[
        path
    ]
    answer = mixed.ask("POST", path, (body % "1").encode(), {"Content-Type": f"Application/JSON{parameters}"})
    assert answer[0] == status, answer
    assert (
        status == 200
        or "UTF-8" in json.loads(answer[1])["remedy"]
        or "charset=utf-8" in json.loads(answer[1])["remedy"]
    )


@pytest.mark.parametrize("more", [-3, 5])
def test_a_length_that_is_not_the_bodys(greeter: Path, tmp_path: Path, more: int) -> None:
    with door(greeter, tmp_path, read_seconds=0.3) as server, server.connected() as connection:
        connection.sendall(head(len(GOOD) + more) + GOOD)
        assert heard(connection)[0] in (400, 408)


# -- several processes -------------------------------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_that_die_and_workers_that_stop(greeter: Path, tmp_path: Path) -> None:
    import psutil

    with serving(greeter, "--workers", "2", folder=tmp_path) as server:
        until(lambda: len(workers(server.process.pid)) == 2)
        killed = workers(server.process.pid)[0]
        shared = Path(killed.environ()["PROMETHEUS_MULTIPROC_DIR"])
        until(lambda: any(shared.glob(f"gauge_livesum_{killed.pid}.db")))
        killed.kill()
        until(lambda: not any(shared.glob(f"gauge_livesum_{killed.pid}.db")))
        until(lambda: len(workers(server.process.pid)) == 2)
        # Whoever is connected when the server is told to stop is answered.
        outcomes, stopped = Counter[str](), threading.Event()

        def ask() -> None:
            while not stopped.is_set():
                try:
                    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
                except ConnectionError:
                    return  # nobody listens any more
                with connection:
                    try:
                        connection.sendall(head(len(GOOD)) + GOOD)
                        outcomes[connection.recv(1 << 16)[:12].decode()] += 1
                    except ConnectionError as failure:
                        outcomes[type(failure).__name__] += 1

        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(ask) for _ in range(12)]
            until(lambda: outcomes["HTTP/1.1 200"] > 200)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(PATIENCE)
            stopped.set()
        assert not any(one.exception() for one in asking)
        assert set(outcomes) == {"HTTP/1.1 200"}
    assert psutil.Process().is_running() and server.process.returncode == 0


def workers(parent: int) -> list[Any]:
    import psutil

    return [one for one in psutil.Process(parent).children() if "spawn_main" in " ".join(one.cmdline())]
