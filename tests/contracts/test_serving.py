"""One suite over a server of every kind of model: whatever is sent, no answer is a 5xx, each refusal says as JSON why
and what to do, and a row is answered alike whichever way it comes."""

from __future__ import annotations

import concurrent.futures
import csv
import http.client
import io
import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from conftest import Server, sentences, serving
from lakewright.data.rows.kinds import requires_text
from lakewright.errors import DataError
from lakewright.model.predictor import Predictor
from lakewright.service.server.protocols.arrow import STREAM
from lakewright.service.server.service import Service
from lakewright.settings.profile import Serve
from served_models import SAMPLES, answering, make

EXAMPLES = int(os.environ.get("EXAMPLES", "20"))  # of each property; EXAMPLES=5000 to search
MOST_ROWS = 50
SEARCH = "EXAMPLES" in os.environ  # else the same examples each time: what is new is looked for on purpose
few = settings(max_examples=EXAMPLES, derandomize=not SEARCH, database=None, suppress_health_check=list(HealthCheck))
fewer = settings(few, max_examples=max(1, EXAMPLES // 4))  # of what is slow to make

# -- their servers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A server in a thread of this process, and the same model without one."""

    port: int
    service: Service
    predictor: Predictor
    session: requests.Session

    @property
    def at(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return self.service.model.name

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        return SAMPLES[self.name.rpartition(".")[2].replace("greetings", "text")]

    def ask(self, method: str, path: str, body: bytes | Any = None, **headers: str | bytes) -> requests.Response:
        """What is not bytes is sent as JSON. Fails where the answer is a 5xx, or a refusal that does not say why."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.session.request(method, self.at + path, data=sent, headers=named, allow_redirects=False)
        check(answer)
        return answer


def check(answer: requests.Response) -> None:
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code != 200 and answer.request.method != "HEAD":
        said = answer.json()
        assert said.keys() == {"error", "remedy", "request_id"} and all(said.values())
        assert said["request_id"] == answer.headers["x-request-id"]


@pytest.fixture(scope="session", params=list(SAMPLES))
def asked(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    at = tmp_path_factory.mktemp(request.param)
    folder = make(request.param, at / "model", tiny_base)
    with answering(folder, at, Serve(request_rows=MOST_ROWS)) as (port, service), requests.Session() as session:
        yield Asked(port, service, Predictor.open(folder, use="latency"), session)


# -- what the OpenAPI document promises --------------------------------------------------------------------------------

PROMISES = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def document(asked: Asked) -> dict[str, Any]:
    """The server's own, with the model's name and version as what may stand in a path: else all there is are 404s."""
    told: dict[str, Any] = asked.session.get(f"{asked.at}/openapi.json").json()
    for methods in told["paths"].values():
        for method in methods.values():
            for parameter in method.get("parameters", ()):
                known = asked.name if parameter["name"] == "name" else asked.service.model.version
                parameter["schema"] = {"type": "string", "enum": [known]}
    return told


def test_the_document_is_kept(asked: Asked) -> None:
    config = schemathesis.Config.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": [400, 404, 405, 413, 415]}}}
    )
    for found in schemathesis.openapi.from_dict(document(asked), config=config).get_all_operations():
        operation = found.ok()
        if "/versions/" in operation.path and operation.body:  # the same handler as without the version
            continue
        may_be_wrong = bool(operation.path_parameters) or bool(operation.body)
        for mode in GenerationMode if may_be_wrong else [GenerationMode.POSITIVE]:
            fewer(given(operation.as_strategy(generation_mode=mode))(kept(asked)))()


def kept(asked: Asked) -> Callable[[schemathesis.Case], None]:
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(base_url=asked.at, session=asked.session)
        table = isinstance(case.body, dict) and "dataframe_split" in case.body
        promises = list(PROMISES)
        if case.operation.path == "/ping":  # MLflow's own answer, a line without anything, is no JSON
            promises.remove(checks.content_type_conformance)
            promises.remove(checks.response_schema_conformance)
        # No schema says that a text is CSV, that a table is as wide as its columns, that a tensor is as long as its
        # shape; so there a body that is right by the schema can be refused. And /invocations reads some forms that
        # MLflow's clients send and the document leaves out for brevity: columns, texts alone.
        if case.media_type in (None, "application/json") and not case.operation.path.endswith("/infer"):
            if not table:
                promises.append(checks.positive_data_acceptance)
            if case.operation.path != "/invocations":
                promises.append(checks.negative_data_rejection)
        case.validate_response(answer, checks=promises)

    return ask


# -- whatever is sent --------------------------------------------------------------------------------------------------

ODD = [
    "", " ", "\0", "\x1b[31m\x07\x7f", "\ufeff", "\ufffe", "👩‍👩‍👧‍👦🏳️‍🌈", "שָׁלוֹם \u202eعالم\u202c", "e\u0301" * 40,
    "한국어", "㍍½ﬁ", "a" * 300, "\r\n\t\u2028", "𝔘𝔫𝔦", "=1+1", "NaN", "-1e999", "[UNK] [SEP] [PAD]", "null", "{}",
    "%s%n", "<script>", "\udfff", "a\ud83d",
]  # fmt: skip
characters = st.characters(exclude_categories=())  # surrogates too
texts = st.sampled_from(ODD) | st.text(characters, max_size=60)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from([10**400, -(10**4000), 2**63, -0.0])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)


def rows_of(asked: Asked) -> st.SearchStrategy[Any]:
    """Anything; objects with the inputs' names and anything in them; and rows that are nearly always right."""
    inputs = asked.predictor.task.inputs
    names = st.sampled_from(list(inputs)) | st.sampled_from([f"{name}s" for name in inputs]) | texts
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "text": texts,
        "optional text": st.none() | texts,
        "words": st.none() | st.lists(texts, max_size=5),
        "number": st.none() | st.floats() | st.integers(),
        "category": scalars,
    }
    right = st.fixed_dictionaries({name: kinds[kind] for name, kind in inputs.items()})
    return st.one_of(right, right, st.dictionaries(names, values, max_size=4), values)


def is_json(value: Any) -> bool:
    """Whether the value can be said in JSON, as RFC 8259 has it and Python's json has not; and read again here, where
    no number is larger than a float can be."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        json.loads(text, parse_int=lambda digits: math.isfinite(float(digits)) or int("too large"))
    except ValueError:
        return False
    return True


def test_the_predictor_answers_or_names_the_row(asked: Asked) -> None:
    predictor = asked.predictor

    @few
    @given(rows_of(asked))
    @example("\ud800")
    @example({next(iter(predictor.task.inputs)): "a\udc00"})
    def told(row: Any) -> None:
        try:
            said = predictor.predict([asked.rows[0], row])
        except DataError as failure:
            assert "row 1" in failure.cause and failure.remedy
            assert is_json(str(failure))
        else:
            assert len(said) == 2 and is_json(said)
            assert all(0 <= predictor.task.confidence(one) <= 1 for one in said)

    told()
    with pytest.raises(DataError, match=r"row 0.*half of a surrogate pair"):
        inputs = predictor.task.inputs
        predictor.predict([{n: "\ud800" if "text" in kind or n == "place" else None for n, kind in inputs.items()}])


def test_a_request_is_answered_where_its_rows_can_be_read(asked: Asked) -> None:
    """And refused where they cannot, whichever way it comes."""

    @few
    @given(st.lists(rows_of(asked), max_size=4))
    def told(rows: list[Any]) -> None:
        try:
            said = asked.predictor.predict(rows)
        except DataError:
            said = None
        mappings = all(isinstance(row, dict) for row in rows)
        readable = said is not None and is_json(rows)
        body = asked.ask("POST", "/predict", {"rows": rows})
        assert (body.status_code == 200) == (readable and mappings)
        for form in ("dataframe_records", "instances", "inputs"):
            answer = asked.ask("POST", "/invocations", {form: rows})
            assert (answer.status_code == 200) == (readable and (mappings or form != "dataframe_records"))
        lines = "\n".join(json.dumps(row) for row in rows).encode()
        asked.ask("POST", "/invocations", lines, Content_Type="application/jsonlines")

    told()


def routes(asked: Asked) -> dict[str, list[Any]]:
    """Where something is posted, with bodies that are right."""
    rows, inputs = list(asked.rows), asked.predictor.task.inputs
    names = [name for name in inputs if all(row.get(name) is not None for row in rows[:1])]
    columns = {name: [rows[0][name]] for name in names}
    tensors = [
        {"name": name, "datatype": "FP64" if inputs[name] == "number" else "BYTES", "shape": [1], "data": values}
        for name, values in columns.items()
    ]
    infer = {"id": "x", "parameters": {}, "inputs": tensors, "outputs": [{"name": "confidence"}]}
    found: dict[str, list[Any]] = {
        "/predict": [{"rows": rows, "probabilities": True, "least_confidence": 0.5}],
        "/invocations": [
            {"dataframe_split": {"columns": names, "index": [0], "data": [[rows[0][name] for name in names]]}},
            {"inputs": columns, "params": {}},
            {"instances": rows},
        ],
        f"/v2/models/{asked.name}/infer": [infer],
        f"/v2/models/{asked.name}/versions/{asked.service.model.version}/infer": [infer],
    }
    if asked.predictor.task.level == "vector":
        found["/v1/embeddings"] = [{"input": ["a", "b"], "model": "x", "encoding_format": "base64", "dimensions": 4}]
    return found


def places(value: Any) -> list[tuple[Any, ...]]:
    """The ways to everything that is in a body, itself among them."""
    found: list[tuple[Any, ...]] = [()]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [(key, *rest) for key, part in parts for rest in places(part)]


def replaced(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], other)
    return copy


def test_a_body_with_something_else_anywhere(asked: Asked) -> None:
    for path, bodies in routes(asked).items():
        for body in bodies:
            assert asked.ask("POST", path, body).status_code == 200, (path, body)
            changed = st.builds(replaced, st.just(body), st.sampled_from(places(body)), values)

            @few
            @given(sent=changed)
            def told(sent: Any, path: str) -> None:
                asked.ask("POST", path, sent)

            told(path=path)


def test_bytes_that_are_no_body(asked: Asked) -> None:
    kinds = st.sampled_from(["application/json", "text/csv", "application/jsonlines", STREAM])
    deep = b'{"rows":' + b"[" * 150 + b"]" * 150 + b"}"
    for path, (body, *_) in routes(asked).items():
        right = json.dumps(body).encode()
        cut = st.integers(0, len(right)).map(lambda at, right=right: right[:at])
        other = st.tuples(st.integers(0, len(right)), st.binary(max_size=3)).map(
            lambda drawn, right=right: right[: drawn[0]] + drawn[1] + right[drawn[0] + 1 :]
        )

        @few
        @given(sent=st.binary(max_size=80) | cut | other, kind=kinds)
        @example(sent=b"\xef\xbb\xbf" + right, kind="application/json")
        @example(sent=right.decode().encode("utf-16"), kind="application/json")
        @example(sent=deep, kind="application/json")
        @example(sent=b"[" * 100_000, kind="application/json")
        @example(sent=b'{"rows":[],"rows":[]}', kind="application/json")
        def told(sent: bytes, kind: str, path: str) -> None:
            asked.ask("POST", path, sent, Content_Type=kind)

        told(path=path)


def test_any_text_as_csv(asked: Asked) -> None:
    names = list(asked.predictor.task.inputs)

    @few
    @given(
        st.text(st.sampled_from(',"\n\r\0\ufeffa1é'), max_size=40),
        st.sampled_from(["", f"{','.join(names)}\n", "\ufeff" + names[0]]),
    )
    def told(text: str, header: str) -> None:
        asked.ask("POST", "/invocations", (header + text).encode(), Content_Type="text/csv; charset=utf-8")

    told()


def test_any_header(asked: Asked) -> None:
    """None is answered with itself but an id that is one; a deadline may pass, which is what a 504 is for."""
    readable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=300)

    @few
    @given(readable, st.integers().map(str) | readable, readable, readable)
    @example("a b", "9" * 5000, "x" * 5000, "text/csv; charset=\xff")
    @example("x" * 129, "0", "", "application/json; charset=utf-16")
    @example("evil\\r\\nX-Evil: 1", "\xb2", "\x80", ";;charset=")
    def told(id: str, deadline: str, variant: str, kind: str) -> None:
        given = {
            "X-Request-Id": id, "X-Request-Timeout-Ms": deadline, "X-Variant": variant, "Content-Type": kind,
            "Authorization": variant, "X-API-Key": id, "Accept": kind, "Content-Encoding": variant, "Expect": kind,
        }  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", asked.port, timeout=30)
        try:
            encoded = {name: value.encode("latin-1") for name, value in given.items()}
            connection.request("POST", "/invocations", json.dumps({"instances": asked.rows}), encoded)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            assert answer.status < 500 or (answer.status == 504 and deadline.strip().isdigit()), said
            assert answer.status == 200 or said.keys() == {"error", "remedy", "request_id"}
            assert len(answer.headers["X-Request-Id"]) in (32, len(id.strip())) and "X-Evil" not in answer.headers
        finally:
            connection.close()

    told()


def test_any_name_and_any_method(asked: Asked) -> None:
    @few
    @given(
        texts.map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
        st.sampled_from(["", "/ready", "/infer"]),
    )
    @example("%ff%00%0d%0aX-Evil:%201", "")
    @example("..%2f..%2fetc%2fpasswd", "")
    @example("%", "")
    def told(name: str, rest: str) -> None:
        for path in (f"/v2/models/{name}{rest}", f"/v2/models/{asked.name}/versions/{name}{rest}", f"/{name}"):
            assert "X-Evil" not in asked.ask("POST" if rest == "/infer" else "GET", path, None).headers

    told()
    for path in (*document(asked)["paths"], "/health", "/nowhere", "/predict/", "//predict", "/docs", "/openapi.json"):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            asked.ask(method, path.replace("{name}", asked.name))


def test_much(asked: Asked) -> None:
    name = next(iter(asked.predictor.task.inputs))
    row = asked.rows[0]
    assert asked.ask("POST", "/predict", {"rows": [row] * 10_000}).status_code == 413
    assert asked.ask("POST", "/predict", {"rows": [row | {name: "é" * 1_000_000}]}).status_code == 413
    assert asked.ask("POST", "/predict", {"rows": [row | {name: "wort " * 10_000}]}).status_code == 200
    near = {f"{name}{at:06}": 0 for at in range(50_000)}
    assert asked.ask("POST", "/predict", {"rows": [near]}).status_code == 400


# -- a row is answered alike -------------------------------------------------------------------------------------------


def what(said: Mapping[str, Any]) -> Any:
    """What is predicted, without how surely."""
    spans = [(one["start"], one["end"], one["label"]) for one in said.get("entities") or ()]
    return said.get("label"), said.get("start"), said.get("end"), spans


def test_a_row_is_answered_alike(asked: Asked) -> None:
    """Alone, among others, from the cache, in every protocol, and while others are asked, as the predictor does."""
    task = asked.predictor.task
    rows = [*asked.rows, *(long_rows(asked))]
    expected = [asked.predictor.predict([row])[0] for row in rows]

    def alike(said: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]] = expected) -> None:
        assert [what(one) for one in said] == [what(one) for one in wanted]
        sure = [one.get("confidence", task.confidence(dict(one))) for one in said]
        assert sure == pytest.approx([task.confidence(dict(one)) for one in wanted], abs=1e-3)

    def predicted(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        found: list[Any] = asked.ask("POST", "/predict", {"rows": rows}).json()["predictions"]
        return found

    alike(asked.predictor.predict(rows))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # which wait together, so are computed together
        for said, wanted in zip(pool.map(predicted, [[row] for row in rows]), expected, strict=True):
            alike(said, [wanted])
    for _ in range(2):  # the second time from the cache
        alike(predicted(rows))
        alike(asked.ask("POST", "/invocations", {"dataframe_records": rows}).json()["predictions"])
    for row, wanted in zip(rows, expected, strict=True):
        # A row of a table has all of its inputs.
        names = [n for n in task.inputs if row.get(n) is not None or not requires_text(task.inputs)]
        columns = {name: [row[name]] for name in names}
        for body in (
            {"inputs": columns},
            {"dataframe_split": {"columns": names, "data": [[row[name] for name in names]]}},
        ):
            alike(asked.ask("POST", "/invocations", body).json()["predictions"], [wanted])
        line = json.dumps(row).encode()
        said = json.loads(asked.ask("POST", "/invocations", line, Content_Type="application/x-ndjson").content)
        assert said.get("predicted_label") == wanted.get("label")
        tensors = [
            {
                "name": name,
                "datatype": "FP64" if task.inputs[name] == "number" else "BYTES",
                "shape": [1],
                "data": values,
            }
            for name, values in columns.items()
        ]
        if [None] not in columns.values():
            told = asked.ask("POST", f"/v2/models/{asked.name}/infer", {"inputs": tensors}).json()["outputs"]
            outputs = {tensor["name"]: tensor["data"][0] for tensor in told}
            assert outputs["confidence"] == pytest.approx(task.confidence(wanted), abs=1e-3)
            assert outputs.get("label") == wanted.get("label") and outputs.get("answer") == wanted.get("answer")
        if "tokens" not in names:
            text = io.StringIO()
            csv.writer(text).writerows([names, [row[name] for name in names]])
            answer = asked.ask("POST", "/invocations", text.getvalue().encode(), Content_Type="text/csv")
            alike(answer.json()["predictions"], [wanted])
        if task.level == "vector" and names == ["text"]:
            (one,) = asked.ask("POST", "/v1/embeddings", {"input": row["text"]}).json()["data"]
            assert one["embedding"] == pytest.approx(wanted["embedding"], abs=1e-3)


def long_rows(asked: Asked) -> list[dict[str, Any]]:
    """Rows of many lengths, so that some are padded and some read in windows."""
    made = []
    for at in range(1, 25):
        words = " ".join(sentences(1, seed=at)[0]["text"].split() * (1 + at % 4))
        row = {
            name: words
            if kind == "text"
            else {"optional text": words[::-1], "number": at, "category": "north"}.get(kind)
            for name, kind in asked.predictor.task.inputs.items()
        }
        made.append(row)
    return made


# -- what is no HTTP ---------------------------------------------------------------------------------------------------

OK = b'{"texts":["good morning"]}'
GARBAGE = [
    b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000,
    b"GET\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"BREW /ping HTTP/1.1\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /ping HTTP/9.9\r\n\r\n", b"GET /ping\r\n\r\n",
    "GET /ü HTTP/1.1\r\n\r\n".encode(), b"GET ?a HTTP/1.1\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\n\r\n",
    b"GET /ping/ HTTP/1.1\r\nHost: [\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: \x80\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHo st: x\r\n\r\n", b"GET /ping HTTP/1.1\r\nA: \0\r\n\r\n",
    b"GET /ping HTTP/1.1\r\n: x\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + OK,
    b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\n\r\n" + OK,
    b"POST /predict HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + OK,
    b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
    b"POST /predict HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + OK,
    b"POST /predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n",
    b"POST /v2/models/main.demo.greetings/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + OK,
    b"POST /predict HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 26\r\n\r\n" + OK,
    b"GET /predict HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
]  # fmt: skip


def sent(port: int, data: bytes, patience: float = 0.3) -> bytes:
    """What comes back until the server ends the connection, or is silent; then it is ended here."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        found = b""
        try:
            connection.sendall(data)
            while part := connection.recv(1 << 16):
                found += part
        except OSError:  # nothing more, or the server did not want to hear all of it
            pass
        return found


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.fixture(scope="module")
def process(greeter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As a user starts it. At its end it has said nothing of failures, and nothing was answered with one."""
    with serving(greeter, folder=tmp_path_factory.mktemp("process")) as started:
        yield started
        page = started.ask("GET", "/metrics").body.decode()
        assert 'status="5' not in page, page
    assert started.process.returncode == 0
    log = started.log.read_text()
    assert "Traceback" not in log and "failed" not in log, log


def answers(server: Server) -> None:
    began = time.monotonic()
    assert server.ask("POST", "/predict", OK).json["predictions"][0]["label"] == "hello"
    assert time.monotonic() - began < 5


def test_garbage(process: Server) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # nearly all of the time is waiting for silence
        for data, answer in zip(GARBAGE, pool.map(lambda data: sent(process.port, data), GARBAGE), strict=True):
            assert all(status < 500 for status in statuses(answer)), (data, answer)
    answers(process)


def test_any_bytes_at_all(process: Server) -> None:
    right = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 26\r\n\r\n" + OK

    @few
    @given(st.integers(0, len(right)), st.binary(max_size=4))
    def told(at: int, other: bytes) -> None:
        answer = sent(process.port, right[:at] + other + right[at + 1 :])
        assert all(status < 500 for status in statuses(answer)), answer

    told()
    answers(process)


def test_old_clients_and_pipelines(process: Server) -> None:
    old = sent(process.port, b"POST /predict HTTP/1.0\r\nContent-Length: 26\r\n\r\n" + OK, 30)
    assert statuses(old) == [200] and b'"label":"hello"' in old
    first = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\n" + OK
    second = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert statuses(sent(process.port, first + second, 30)) == [200, 200]
    chunks = b"".join(b"1;ext=1\r\n" + bytes([byte]) + b"\r\n" for byte in OK) + b"0\r\nTrailer: x\r\n\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(sent(process.port, head + chunks, 30)) == [200]


def test_no_rows_are_made_of_too_many(process: Server) -> None:
    """While they were, nobody else was answered: for up to 6 s, of 8 MB, in a gigabyte."""
    for kind, body in {
        "application/json": {"dataframe_split": {"columns": ["text"], "data": [["a"]] * 1_000_000}},
        "application/json; charset=utf-8": {"inputs": {"text": ["a"] * 1_500_000}},
        "text/csv": b"text" + b"\na" * 4_000_000,
        "application/jsonlines": b"{}\n" * 2_500_000,
    }.items():
        before = processor_seconds(process)
        answer = process.ask("POST", "/invocations", body, {"Content-Type": kind})
        assert answer.status == 413 and answer.json["error"] == "the request has more than 1,000 rows"
        assert processor_seconds(process) - before < 3


def processor_seconds(server: Server) -> float:
    """Of the server so far: what it takes on a busy machine, too."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_gigantic_head(process: Server) -> None:
    for head in (b"GET /ping HTTP/1.1\r\nX-Much: " + b"a" * (4 << 20), b"GET /" + b"a" * (4 << 20) + b" HTTP/1.1"):
        assert all(status < 500 for status in statuses(sent(process.port, head + b"\r\n\r\n")))
    answers(process)


def test_slow_requests_block_nobody(process: Server) -> None:
    """Halves of requests whose rest does not come, of heads and of bodies (Slowloris)."""
    halves = [b"POST /predict HTTP/1.1\r\nX-A", b"POST /predict HTTP/1.1\r\nContent-Length: 26\r\n\r\n{", b""]
    slow = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(300)]
    try:
        for at, connection in enumerate(slow):
            connection.sendall(halves[at % len(halves)])
        for _ in range(20):
            answers(process)
            for connection in slow[::3]:
                connection.sendall(b"a")
    finally:
        for connection in slow:
            connection.close()
    answers(process)
