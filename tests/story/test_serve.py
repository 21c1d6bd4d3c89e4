"""A model behind HTTP, asked as its users ask: protocols, refusals, aliases that move, keys, a log of it all."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jwt
import numpy as np
import pytest
import yaml

import lakewright as lw
from conftest import Server, greeting_model, one_object, serving
from lakewright.errors import LakewrightError
from lakewright.model.folder import digest_of
from lakewright.model.predictor import Predictor
from lakewright.registry import versions

TEXTS = ["Good morning to you", "good night", "what?"]
NAME = "main.demo.greetings"


@pytest.fixture(scope="module")
def server(greeter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(greeter, "--set", "request_rows=100", folder=tmp_path_factory.mktemp("server")) as started:
        yield started
    assert started.process.returncode == 0, started.log.read_text()


@pytest.fixture(scope="module")
def expected(greeter: Path) -> list[dict[str, Any]]:
    return Predictor.open(greeter, use="latency").predict(TEXTS)


def test_the_plain_protocol(server: Server, expected: list[dict[str, Any]], greeter: Path) -> None:
    answer = server.ask("POST", "/predict", {"texts": TEXTS}, {"X-Request-Id": "one-two.3"})
    assert answer.status == 200
    said = answer.json
    assert [one["label"] for one in said["predictions"]] == [one["label"] for one in expected]
    assert [one["confidence"] for one in said["predictions"]] == pytest.approx([e["confidence"] for e in expected])
    assert all(one.keys() == {"label", "confidence", "abstain"} for one in said["predictions"])
    assert said["model_version"] == digest_of(greeter)[:12] and said["latency_ms"] > 0
    assert answer.headers["x-request-id"] == "one-two.3"
    assert answer.headers["x-model-version"] == f"{NAME}/{said['model_version']}"

    options = {"rows": [{"text": TEXTS[2]}], "probabilities": True, "least_confidence": 0.9}
    (one,) = server.ask("POST", "/predict", options).json["predictions"]
    assert one["abstain"] is True and sum(one["probabilities"].values()) == pytest.approx(1)
    assert server.ask("POST", "/predict", {"texts": []}).json["predictions"] == []
    made_up = server.ask("POST", "/predict", {"texts": ["x"]}, {"X-Request-Id": "a b"}).headers["x-request-id"]
    assert len(made_up) == 32


def test_mlflows_protocol(server: Server, expected: list[dict[str, Any]]) -> None:
    rows = [{"text": text} for text in TEXTS]
    for body in (
        {"dataframe_split": {"columns": ["text"], "index": [5, 6, 7], "data": [[text] for text in TEXTS]}},
        {"dataframe_records": rows},
        {"instances": rows},
        {"instances": TEXTS},
        {"inputs": TEXTS, "params": {}},
        {"inputs": {"text": TEXTS}},
    ):
        answer = server.ask("POST", "/invocations", body)
        assert answer.status == 200, (body, answer.body)
        assert [one["label"] for one in answer.json["predictions"]] == [one["label"] for one in expected]
        assert answer.json["predictions"][0]["probabilities"].keys() == {"hello", "goodbye"}
    csv = 'id,text\n1,"Good morning, to ""you"""\n2,good night\n'
    answer = server.ask("POST", "/invocations", csv, {"Content-Type": "text/csv; charset=utf-8"})
    assert [one["label"] for one in answer.json["predictions"]] == ["hello", "goodbye"]
    lines = '{"features": ["good morning"]}\n{"features":["good night"]}\n'
    answer = server.ask("POST", "/invocations", lines, {"Content-Type": "application/jsonlines"})
    said = [json.loads(line) for line in answer.body.splitlines()]
    assert [one["predicted_label"] for one in said] == ["hello", "goodbye"] and said[0]["probability"] > 0.9
    assert server.ask("GET", "/ping").status == 200 and server.ask("GET", "/version").status == 200


def test_mlflow_gives_the_same_answer_to_the_same_body(greeter: Path, server: Server, tmp_path: Path) -> None:
    from mlflow.pyfunc.scoring_server import init, load_model
    from starlette.testclient import TestClient

    from lakewright.model.pyfunc import save_model

    save_model(greeter, tmp_path / "mlflow", [{"text": "a"}])
    with TestClient(init(load_model(str(tmp_path / "mlflow")))) as theirs:
        body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}}
        assert theirs.post("/invocations", json=body).json() == server.ask("POST", "/invocations", body).json


def test_the_open_inference_protocol(server: Server, expected: list[dict[str, Any]]) -> None:
    model = server.ask("GET", f"/v2/models/{NAME}").json
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [tensor["name"] for tensor in model["outputs"]] == ["label", "probabilities", "confidence"]
    (version,) = model["versions"]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [3, 1], "data": [[text] for text in TEXTS]}
    body = {"id": "mine", "inputs": [tensor], "outputs": [{"name": "label"}, {"name": "confidence"}]}
    for path in (f"/v2/models/{NAME}/infer", f"/v2/models/{NAME}/versions/{version}/infer"):
        answer = server.ask("POST", path, body).json
        assert answer["id"] == "mine" and answer["model_version"] == version
        label, confidence = answer["outputs"]
        assert label == {"name": "label", "datatype": "BYTES", "shape": [3], "data": [e["label"] for e in expected]}
        assert confidence["data"] == pytest.approx([one["confidence"] for one in expected])
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}/ready"):
        assert server.ask("GET", path).status == 200, path
    assert "this server has" in server.ask("GET", "/v2/models/other").json["remedy"]
    assert server.ask("POST", f"/v2/models/{NAME}/versions/nine/infer", body).status == 404


def test_what_it_is_and_how_it_does(server: Server, greeter: Path) -> None:
    about = server.ask("GET", "/model").json
    assert about["labels"] == ["goodbye", "hello"] and about["digest"] == digest_of(greeter)
    assert about["variants"] == [{"variant": about["version"], "version": about["version"], "percent": 100}]
    server.ask("POST", "/predict", {"texts": ["good night", "good night"]})
    server.ask("POST", "/predict", {"texts": ["good night"]})
    page = server.ask("GET", "/metrics").body.decode()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}
    assert found['lakewright_requests_total{path="/predict",status="200"}'] >= 2
    assert found[f'lakewright_predicted_total{{label="goodbye",version="{about["version"]}"}}'] >= 3
    assert found['lakewright_cache_rows_total{found="yes"}'] >= 1
    for name in ("lakewright_waiting_rows", "lakewright_batch_rows_count"):
        assert name in found
    assert found['lakewright_request_seconds_count{path="/predict"}'] >= 2


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "told"),
    [
        ("/predict", b"{", "", 400, "is not JSON"),
        ("/predict", b'{"texts": ["\xff"]}', "", 400, "is not JSON"),
        ("/predict", b'{"texts": ["\\ud800"]}', "", 400, "is not JSON"),
        ("/predict", b'{"texts": [NaN]}', "", 400, "is not JSON"),
        ("/predict", b'{"texts": ' + b"[" * 5000 + b"]" * 5000 + b"}", "", 400, "is not JSON"),
        ("/predict", {"texts": "good"}, "", 400, "not hold one list"),
        ("/predict", {"texts": ["a", None]}, "", 400, r"texts[1] is null, not a string"),
        ("/predict", {"rows": [{"txt": "a"}]}, "", 400, "row 0"),
        ("/predict", {"texts": ["a"], "rows": []}, "", 400, "not hold one list"),
        ("/predict", {"texts": ["a"], "probability": True}, "", 400, "unknown key 'probability'"),
        ("/predict", {"texts": ["a"], "least_confidence": 2}, "", 400, "not a number from 0 to 1"),
        ("/predict", {"texts": ["a"] * 101}, "", 413, "101 rows"),
        ("/predict", {"texts": ["a" * 100_001]}, "", 413, "100,001 characters"),
        ("/predict", b" " * (9 << 20), "", 413, "larger than 8,388,608 bytes"),
        ("/invocations", {"texts": ["a"]}, "", 400, "unknown key"),
        ("/invocations", {"inputs": ["a"], "instances": ["a"]}, "", 400, "dataframe"),
        ("/invocations", {"dataframe_split": {"columns": ["text"], "data": [["a", "b"]]}}, "", 400, "row 0"),
        ("/invocations", b"text\n\"a", "text/csv", 400, "is not CSV"),
        ("/invocations", b"text\na,b\n", "text/csv", 400, "line 2 has 2 values"),
        ("/invocations", b"<a/>", "application/xml", 415, "application/xml"),
        ("/invocations", b'{"features": []}', "application/jsonlines", 400, "line 1"),
        (f"/v2/models/{NAME}/infer", {"inputs": []}, "", 400, "no list of inputs"),
        ("/v1/embeddings", {"input": "a"}, "", 404, "there is nothing: /v1/embeddings"),
        ("/model", b"", "", 405, "POST is not answered here"),
    ],
)  # fmt: skip
def test_what_is_refused(server: Server, path: str, body: Any, kind: str, status: int, told: str) -> None:
    answer = server.ask("POST", path, body, {"Content-Type": kind} if kind else {})
    assert answer.status == status, answer.body
    assert told in answer.json["error"]
    assert answer.json["remedy"] and answer.json["request_id"] == answer.headers["x-request-id"]
    assert (answer.headers.get("allow") == "GET") == (status == 405)
    assert server.ask("POST", "/predict", {"texts": TEXTS}).status == 200


def test_a_body_that_does_not_say_how_long_it_is_is_counted(server: Server) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/predict", (b" " * (1 << 20) for _ in range(9)), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413
    connection.close()


def test_the_document_and_the_page(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert server.ask("POST", "/predict", example).status == 200
    bodies = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    assert "example" not in bodies.pop("application/vnd.apache.arrow.stream")  # it is binary
    for path, body in bodies.items():
        sent = body["example"] if isinstance(body["example"], str) else json.dumps(body["example"])
        answer = server.ask("POST", "/invocations", sent, {"Content-Type": path})
        assert answer.status == 200, (path, answer.body)
    for path in ("/swagger/swagger-ui-bundle.js", "/swagger/swagger-ui.css"):
        assert server.ask("GET", path).status == 200
    assert b"//cdn" not in server.ask("GET", "/docs").body
    assert server.ask("HEAD", "/ping").status == 200
    zipped = server.ask("POST", "/predict", b"x", {"Content-Encoding": "gzip"})
    assert zipped.status == 415 and "compressed" in zipped.json["error"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium: apt-get install chromium")
def test_the_page_in_a_browser_without_the_internet(server: Server, tmp_path: Path) -> None:
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        f"--user-data-dir={tmp_path}",
    ]
    resolve = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = ["chromium", *options, resolve, "--dump-dom", f"http://127.0.0.1:{server.port}/docs"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert NAME in page and "/invocations" in page and "Open Inference" in page


def test_a_server_imports_no_torch_no_transformers_no_mlflow(server: Server) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in maps and "libtorch" not in maps
    code = (
        "import sys\nfrom lakewright.service import server\nimport lakewright.service.server.app\n"
        "import lakewright.service.server.model\n"
        "found = {'torch', 'transformers', 'mlflow', 'pandas'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_it_answers_what_it_took_before_it_stops(greeter: Path, tmp_path: Path) -> None:
    long = {"texts": ["good morning to you all " * 2000] * 150}  # a second and more, for a busy machine
    with serving(greeter, "--set", "cache_rows=0", "--set", "queue_seconds=60", folder=tmp_path) as server:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.ask, "POST", "/predict", long) for _ in range(4)]
            until(lambda: "lakewright_batch_rows_count 0.0" not in server.ask("GET", "/metrics").body.decode())
            assert not any(one.done() for one in asked)
            server.process.send_signal(signal.SIGTERM)
            assert [one.result().status for one in asked] == [200] * 4
            assert server.process.wait(30) == 0
        assert not answers(server)


def test_more_than_it_can_do(greeter: Path, tmp_path: Path) -> None:
    long = "good morning to you all " * 2000  # some ten milliseconds
    settings = [part for one in ("queue_rows=4", "batch_rows=2", "cache_rows=0") for part in ("--set", one)]
    with serving(greeter, *settings, folder=tmp_path) as server:
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: server.ask("POST", "/predict", {"texts": [long]}), range(200)))
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert all(answer.json["predictions"][0]["label"] == "hello" for answer in answers if answer.status == 200)
        assert server.ask("POST", "/predict", {"texts": TEXTS}).status == 200
        page = server.ask("GET", "/metrics").body.decode()
        assert f'lakewright_requests_total{{path="/predict",status="429"}} {len(refused)}.0' in page
        assert "lakewright_waiting_rows 0.0" in page


# -- the registry ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], int]:
    """Registers a greeter of this weight as the next version, in the workspace of the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    (tmp_path / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    workspace = lw.Workspace.open(lw.load_profile())

    def register(weight: float) -> int:
        folder = greeting_model(tmp_path / f"greeter-{weight}", weight)
        made = versions.register(
            workspace.tracking,
            run_id=workspace.tracking.start("demo", f"{weight}", {}),
            folder=folder,
            digest=digest_of(folder),
            name=NAME,
            alias="challenger",
            tags={"metric.accuracy": "0.9", "lakewright.table": "main.demo.greetings@v3"},
            example=[{"text": "a"}],
        )
        return made.version

    return register


def alias(name: str, version: int) -> None:
    versions.set_alias(lw.Workspace.open(lw.load_profile()).tracking, NAME, name, version)


def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that within 20 s")


def version_of(server: Server) -> str:
    return str(server.ask("POST", "/predict", {"texts": ["good night"]}).json["model_version"])


@pytest.mark.slow
def test_it_follows_the_alias_and_nobody_notices(
    registered: Callable[[float], int], tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]]
) -> None:
    alias("champion", registered(5.0))
    with serving(f"models:/{NAME}@champion", "--follow-alias", "--set", "poll_seconds=0.2", folder=tmp_path) as server:
        about = server.ask("GET", "/model").json
        assert about["version"] == "1" and about["metrics"] == {"accuracy": 0.9}
        assert about["table"] == "main.demo.greetings@v3"
        statuses, stop = list[int](), threading.Event()

        def ask() -> None:
            while not stop.is_set():
                statuses.append(server.ask("POST", "/predict", {"texts": TEXTS}).status)

        asking = threading.Thread(target=ask)
        asking.start()
        alias("champion", registered(3.0))
        until(lambda: version_of(server) == "2")
        assert lakewright("traffic", "rollback", NAME).returncode == 0
        until(lambda: version_of(server) == "1")
        time.sleep(1)  # the alias has not moved since: it stays rolled back
        assert version_of(server) == "1"
        # A version whose files were changed is never served.
        third = registered(2.0)
        folder = next((tmp_path / ".lakewright" / "artifacts").rglob(f"{digest_folder(tmp_path, 2.0)}/model.onnx"))
        folder.write_bytes(b"something else")
        alias("champion", third)
        until(lambda: bool(server.ask("GET", "/model").json["refused"]))
        assert "its hash differs" in server.ask("GET", "/model").json["refused"]
        assert version_of(server) == "1"
        stop.set()
        asking.join()
        assert set(statuses) == {200} and len(statuses) > 20


def digest_folder(tmp_path: Path, weight: float) -> str:
    return (tmp_path / f"greeter-{weight}").name


@pytest.mark.slow
def test_a_rollback_outlives_a_restart_and_a_start_that_fails_changes_nothing(
    registered: Callable[[float], int], tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]]
) -> None:
    alias("champion", registered(5.0))
    champion = f"models:/{NAME}@champion"
    with serving(champion, folder=tmp_path):
        pass
    alias("champion", registered(3.0))
    with serving(champion, folder=tmp_path) as server:
        assert version_of(server) == "2"
        taken = lakewright("serve", f"models:/{NAME}/1", "--port", str(server.port))
        assert taken.returncode != 0
        assert lakewright("traffic", "rollback", NAME).returncode == 0
        until(lambda: version_of(server) == "1")
    with serving(champion, folder=tmp_path) as server:
        assert (
            version_of(server) == "1" and "keeps its last split or rollback: champion 100 %" in server.log.read_text()
        )
        taken = lakewright("serve", f"models:/{NAME}/2", "--port", str(server.port))
        assert taken.returncode != 0
        time.sleep(1)
        assert version_of(server) == "1"


@pytest.mark.slow
def test_it_starts_while_the_registry_is_down(
    registered: Callable[[float], int], tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]]
) -> None:
    """With what it was started with last, if those folders are still the same; and with nothing else."""
    alias("champion", registered(5.0))
    champion, database = f"models:/{NAME}@champion", tmp_path / ".lakewright" / "mlflow.db"
    with serving(champion, folder=tmp_path):
        pass
    database.write_bytes(b"no database")
    with serving(champion, folder=tmp_path) as server:
        assert version_of(server) == "1"
        log = server.log.read_text()
        assert "cannot be read" in log and f"serving the versions that were served last: models:/{NAME}/1" in log
    for other in (f"models:/{NAME}@challenger", f"models:/{NAME}/1"):
        done = lakewright("serve", other, "--port", str(server.port))
        assert done.returncode == 1 and "cannot be read" in done.stderr
    manifest = next((tmp_path / ".lakewright" / "artifacts").rglob("manifest.json"))
    manifest.write_text(manifest.read_text() + " ")
    done = lakewright("serve", champion, "--port", str(server.port))
    assert done.returncode == 1 and "cannot be read" in done.stderr


def test_two_versions_side_by_side(
    registered: Callable[[float], int], tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]]
) -> None:
    alias("champion", registered(5.0))
    registered(3.0)
    with serving(f"models:/{NAME}@champion", "--split", "champion=70,challenger=30", folder=tmp_path) as server:
        said = [server.ask("POST", "/predict", {"texts": ["good night"]}).json for _ in range(200)]
        counts = {one: [answer["model_version"] for answer in said].count(one) for one in ("1", "2")}
        assert sum(counts.values()) == 200 and 30 <= counts["2"] <= 90
        sure = {answer["model_version"]: answer["predictions"][0]["confidence"] for answer in said}
        assert sure["1"] > sure["2"]  # each its own answer, also from the cache
        same = {server.ask("GET", "/ping").status} and {
            server.ask("POST", "/predict", {"texts": ["a"]}, {"X-Request-Id": "r7"}).json["model_version"]
            for _ in range(10)
        }
        assert len(same) == 1
        for name, number in (("champion", "1"), ("challenger", "2")):
            answer = server.ask("POST", "/predict", {"texts": ["a"]}, {"X-Variant": name})
            assert answer.json["model_version"] == number and answer.headers["x-model-version"] == f"{NAME}/{number}"
        assert server.ask("POST", "/predict", {"texts": ["a"]}, {"X-Variant": "champoin"}).status == 400
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
        answer = server.ask("POST", f"/v2/models/{NAME}/versions/2/infer", {"inputs": [tensor]})
        assert answer.json["model_version"] == "2"

        told = one_object(lakewright("traffic", "split", NAME, "2=100", "--json").stdout)
        assert [(one["version"], one["percent"]) for one in told["variants"]] == [(f"models:/{NAME}/2", 100)]
        until(lambda: {version_of(server) for _ in range(20)} == {"2"})
        wrong = lakewright("traffic", "split", NAME, "champion=70,challenger=20")
        assert wrong.returncode == 2 and "add up to 90" in wrong.stderr
        wrong = lakewright("traffic", "show", "main.demo.greeting")
        assert wrong.returncode == 1 and "did you mean 'main.demo.greetings'?" in wrong.stderr


# -- access ------------------------------------------------------------------------------------------------------------


def test_keys(greeter: Path, tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]]) -> None:
    public = lakewright("serve", str(greeter), "--host", "0.0.0.0", cwd=tmp_path)
    assert public.returncode == 2 and "no key is needed" in public.stderr and "lakewright keys add" in public.stderr
    key = lakewright("keys", "add", "team", cwd=tmp_path).stdout.strip()
    file = tmp_path / ".lakewright" / "keys.json"
    assert key.startswith("lw_") and key not in file.read_text() and file.stat().st_mode & 0o077 == 0
    assert lakewright("keys", "add", "team", cwd=tmp_path).returncode == 2
    other = one_object(lakewright("keys", "add", "other", "--json", cwd=tmp_path).stdout)["key"]
    limits = ["--set", "rate=5", "--set", "burst=3"]
    with serving(greeter, "--host", "0.0.0.0", *limits, folder=tmp_path) as server:
        refused = server.ask("POST", "/predict", {"texts": TEXTS})
        assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert server.ask("GET", "/metrics").status == server.ask("GET", "/model").status == 401
        assert server.ask("GET", "/ping").status == server.ask("GET", "/v2/health/ready").status == 200
        wrong = {"Authorization": f"Bearer {key[:-1]}"}
        assert server.ask("POST", "/predict", {"texts": TEXTS}, wrong).status == 401
        mine = {"Authorization": f"Bearer {key}"}
        statuses = [server.ask("POST", "/predict", {"texts": TEXTS}, mine) for _ in range(8)]
        assert [one.status for one in statuses[:3]] == [200] * 3 and statuses[-1].status == 429
        assert statuses[-1].headers["retry-after"] == "1"
        assert server.ask("POST", "/predict", {"texts": TEXTS}, {"X-API-Key": other}).status == 200  # a rate each
        assert lakewright("keys", "remove", "other", cwd=tmp_path).returncode == 0
        until(lambda: server.ask("GET", "/model", None, {"X-API-Key": other}).status == 401)
        assert server.ask("GET", "/model", None, mine).status == 200
        assert key not in server.log.read_text()


@pytest.mark.slow
def test_tokens_of_an_identity_provider(greeter: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    private, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k1", "alg": "RS256", "use": "sig"}]}))
    oidc = {"issuer": "https://login.example.org", "audience": "lakewright", "keys": "jwks.json"}
    profiles = {"profiles": {"local": {"workspace": ".lakewright", "serve": {"oidc": oidc}}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profiles))

    def token(signed_by: Any = private, algorithm: str = "RS256", **changes: Any) -> str:
        claims = {"iss": oidc["issuer"], "aud": "lakewright", "sub": "ada", "exp": time.time() + 60, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, signed_by, algorithm=algorithm, headers={"kid": "k1"})

    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "k1"}).encode()).decode().rstrip("=")
    unsigned = f"{none}.e30."
    nested = base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=")
    deep = f"{nested}.e30.e30"
    bad = [
        token(other), token(exp=time.time() - 60), token(aud="another"), token(iss="https://evil.example.org"),
        token(sub="\ud800"), token(sub="a" * 256), token(sub="a\nb"), token(exp=float("inf")), deep,
        token(exp=None), token(sub=None), token("secret" * 8, "HS256"), unsigned, "a.b.c", "",
    ]  # fmt: skip
    with serving(greeter, folder=tmp_path) as server:
        for wrong in bad:
            assert server.ask("GET", "/model", None, {"Authorization": f"Bearer {wrong}"}).status == 401, wrong
        assert server.ask("GET", "/model", None, {"Authorization": f"Bearer {token()}"}).status == 200


def test_browsers_may_call_from_named_pages_only(greeter: Path, tmp_path: Path) -> None:
    asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    with serving(greeter, "--set", "origins=[https://app.example.org]", folder=tmp_path) as server:
        allowed = server.ask("OPTIONS", "/predict", None, asked)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"
        other = server.ask("OPTIONS", "/predict", None, {**asked, "Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in other.headers


def test_none_is_allowed_unless_told(server: Server) -> None:
    answer = server.ask(
        "OPTIONS", "/predict", None, {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
    )
    assert answer.status == 405 and "access-control-allow-origin" not in answer.headers


# -- the log of requests, workers, what cannot be ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_of_requests(greeter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "hooks.py").write_text("def shout(text):\n    return text.replace('you', 'XXX')\n")
    settings = ("log_table=main.demo.requests", "log_seconds=0.5", "redact=hooks:shout")
    with serving(greeter, *(part for one in settings for part in ("--set", one)), folder=tmp_path) as server:
        server.ask("POST", "/predict", {"texts": TEXTS}, {"X-Request-Id": "first"})
        lake = lw.Workspace.open(lw.load_profile()).lake
        until(lambda: (tmp_path / ".lakewright/tables/main/demo/requests/_delta_log").exists())
        server.ask("POST", "/invocations", {"inputs": ["good night"]}, {"X-Request-Id": "second"})
    rows = lake.read(lake.version("main.demo.requests")).to_pylist()
    rows.sort(key=lambda row: (row["request_id"], row["row"]))
    assert [(row["request_id"], row["row"]) for row in rows] == [
        ("first", 0),
        ("first", 1),
        ("first", 2),
        ("second", 0),
    ]
    assert json.loads(rows[0]["inputs"]) == {"text": "Good morning to XXX"}
    assert rows[1]["label"] == "goodbye" and rows[1]["confidence"] > 0.9 and rows[1]["model"] == NAME
    assert json.loads(rows[3]["prediction"])["probabilities"].keys() == {"hello", "goodbye"}


def test_workers_share_the_port(greeter: Path, tmp_path: Path) -> None:
    with serving(greeter, "--workers", "2", folder=tmp_path) as server:
        for _ in range(40):
            assert server.ask("POST", "/predict", {"texts": TEXTS}).status == 200
        counted = 'lakewright_requests_total{path="/predict",status="200"} 40.0'
        assert counted in server.ask("GET", "/metrics").body.decode()
    assert server.process.returncode == 0


@pytest.mark.slow
def test_workers_end_with_the_one_who_started_them(greeter: Path, tmp_path: Path) -> None:
    with serving(greeter, "--workers", "2", folder=tmp_path) as server:
        server.process.kill()
        until(lambda: not answers(server))
    with serving(greeter, folder=tmp_path, port=server.port) as server:
        assert server.ask("GET", "/ping").status == 200


def answers(server: Server) -> bool:
    try:
        return server.ask("GET", "/ping").status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{folder}", "--follow-alias"], 2, "a model folder has no aliases"),
        (["{folder}", "--set", "queue_row=3"], 2, "did you mean 'queue_rows'?"),
        (["{folder}", "--set", "queue_rows=0"], 2, "greater than or equal to 1"),
        (["{folder}", "--set", "redact=nowhere:f"], 2, "serve.redact names no function"),
        (["{folder}", "--set", "serve.keys=nowhere.json"], 2, "there is no file nowhere.json of keys"),
        (["{folder}", "--set", "log_table=requests"], 2, "'requests'"),
        (["{folder}", "--endpoint", "../../evil"], 2, "cannot name an endpoint"),
        (["{folder}/nowhere"], 1, "is not a model folder"),
        (["models:/main.demo.greetings@champion"], 1, "main.demo.greetings"),
        (["models:/x", "--split", "champion=50"], 2, "add up to 50"),
    ],
)
def test_what_cannot_be_served(
    greeter: Path, tmp_path: Path, lakewright: Callable[..., CompletedProcess[str]], arguments: list[str], code: int,
    told: str,
) -> None:  # fmt: skip
    done = lakewright("serve", *(each.format(folder=greeter) for each in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken(server: Server, greeter: Path, tmp_path: Path, lakewright: Any) -> None:
    done = lakewright("serve", str(greeter), "--port", str(server.port), cwd=tmp_path)
    assert done.returncode == 2 and str(server.port) in done.stderr and "Traceback" not in done.stderr


def test_embeddings(tiny_base: Path, project: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(project.read_text())
    pairs = [{"a": f"the {w} is here", "b": f"we saw a {w} today"} for w in ("dog", "cat", "oak", "fern", "opal")] * 12
    (tmp_path / "pairs.csv").write_text("a,b\n" + "\n".join(f"{one['a']},{one['b']}" for one in pairs) + "\n")
    values |= {
        "task": "sentence_similarity",
        "data": {"source": "pairs.csv", "columns": {"text": "a", "text_pair": "b"}},
        "train": {**values["train"], "num_train_epochs": 1},
        "evaluate": {"resamples": 100},
        "gate": {"minimum": {}},
    }
    project.write_text(yaml.safe_dump(values))
    run = lw.run("project.yml")
    with serving(run.model_folder, folder=tmp_path) as server:
        body = {"input": ["the dog is here", "an oak"], "model": "any"}
        answer = server.ask("POST", "/v1/embeddings", body).json
        vectors = np.array([one["embedding"] for one in answer["data"]])
        expected = Predictor.open(Path(run.model_folder)).embed(body["input"])
        np.testing.assert_allclose(vectors, expected, atol=1e-3)
        assert answer["object"] == "list" and answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 4
        encoded = server.ask("POST", "/v1/embeddings", {**body, "encoding_format": "base64", "dimensions": 8}).json
        short = np.frombuffer(base64.b64decode(encoded["data"][0]["embedding"]), dtype=np.float32)
        assert len(short) == 8 and np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
        assert server.ask("POST", "/v1/embeddings", {**body, "dimensions": 999}).status == 400
        pair = {"rows": [{"text": "the dog is here", "text_pair": "the dog is here"}]}
        assert server.ask("POST", "/predict", pair).json["predictions"][0]["cosine"] == pytest.approx(1, abs=1e-3)


def test_the_error_tree_holds() -> None:
    from lakewright.service.server import refusals

    statuses = {kind.status for kind in vars(refusals).values() if isinstance(kind, type) and hasattr(kind, "status")}
    assert statuses == {400, 401, 404, 405, 408, 413, 415, 429, 431, 500, 503, 504}
    assert issubclass(refusals.Refused, LakewrightError)
