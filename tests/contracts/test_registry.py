"""Model versions against a real SQLite MLflow and a real `mlflow server`: idempotence, kill -9, aliases, pyfunc."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakewright.errors import LakewrightError, ModelError, NotFound, UsageError
from lakewright.model.folder import digest_of, seal
from lakewright.records import ModelVersion
from lakewright.registry import versions
from lakewright.registry.mlflow_process import located
from lakewright.registry.uri import model_folder as open_model_folder
from lakewright.registry.uri import version_of
from lakewright.registry.without_mlflow import alias_version, reader
from lakewright.settings.profile import load_profile
from lakewright.workspace import Workspace
from lakewright.workspace.tracking import Tracking
from recipes import store
from recipes import terms as terms_of

NAME = "main.demo.greetings"
ROWS = [{"text": "good morning"}, {"text": "good night"}]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole linear model folder, small: "morning" is hello, "night" is goodbye."""
    from lakewright.learning.learners.linear import export

    folder = tmp_path_factory.mktemp("made") / "model"
    terms = terms_of(["good morning", "good night"], max_features=10)
    store(folder, terms)
    weight = np.zeros((len(terms.idf), 2), dtype=np.float32)
    weight[terms.vocabulary["morning"], 1] = weight[terms.vocabulary["night"], 0] = 5
    export(weight, np.zeros((0, 2), dtype=np.float32), np.zeros(2, dtype=np.float32), folder / "model.onnx")
    task = {"name": "text_classification", "labels": ["goodbye", "hello"], "inputs": {"text": "text"}}
    (folder / "model.json").write_text(json.dumps({"format": 3, "task": task, "learner": "linear"}))
    (folder / "project.json").write_text("{}")
    (folder / "samples.json").write_text(json.dumps({"rows": ROWS}))
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[Tracking]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(mlflow_template, folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--serve-artifacts"]
    place = [
        "--artifacts-destination",
        str(folder / "files"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *place],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    for _ in range(1800):  # a busy machine needs a minute to import MLflow
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (folder / "log.txt").read_text()
        time.sleep(0.1)
    else:
        raise AssertionError(f"no MLflow server came up: {(folder / 'log.txt').read_text()}")
    yield Tracking(f"http://127.0.0.1:{port}", None, "")
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)


def register(tracking: Tracking, folder: Path, run_id: str, alias: str = "challenger", name: str = NAME) -> Any:
    return versions.register(
        tracking,
        run_id=run_id,
        folder=folder,
        digest=digest_of(folder),
        name=name,
        alias=alias,
        tags={"lakewright.data_version": "main.demo.rows@v3", "lakewright.git_sha": "abc"},
        example=ROWS,
        description="says hello or goodbye",
    )


def test_register_twice_gives_one_version(tracking: Tracking, model_folder: Path) -> None:
    run_id = tracking.start("demo", "first", {})
    first = register(tracking, model_folder, run_id)
    assert register(tracking, model_folder, run_id) == first
    assert (first.version, first.aliases, first.digest) == (1, ["challenger"], digest_of(model_folder))
    assert first.tags["lakewright.data_version"] == "main.demo.rows@v3"
    assert first.tags["lakewright.run_id"] == run_id
    with tracking.client() as client:
        (output,) = client.get_run(run_id).outputs.model_outputs
        logged = client.get_logged_model(output.model_id)
        assert (logged.status, logged.source_run_id, logged.name) == ("READY", run_id, "model")
        assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": 1}]
        assert client.get_model_version(NAME, "1").description == "says hello or goodbye"

    second = register(tracking, model_folder, tracking.start("demo", "second", {}))
    assert (second.version, second.aliases) == (2, ["challenger"])
    listed = [(found.name, found.version, found.aliases) for found in versions.list_models(tracking)]
    assert listed == [(NAME, 2, ["challenger"]), (NAME, 1, [])]


def test_served_byte_for_byte(tracking: Tracking, model_folder: Path, tmp_path: Path) -> None:
    version = register(tracking, model_folder, tracking.start("demo", "first", {}))
    served = versions.download(tracking, version, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()  # a local folder is used where it lies
    assert files(served) == files(model_folder)
    (served / "manifest.json").write_text("{}")
    with pytest.raises(ModelError, match="is not the folder that was registered"):
        versions.download(tracking, version, tmp_path / "cache")
    shutil.rmtree(served)
    with pytest.raises(ModelError, match="are gone"):
        versions.download(tracking, version, tmp_path / "cache")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_folder_than_the_gated_one_is_refused(tracking: Tracking, model_folder: Path, tmp_path: Path) -> None:
    gated = digest_of(model_folder)
    changed = shutil.copytree(model_folder, tmp_path / "model")
    (changed / "project.json").write_text('{"seed": 2}')
    seal(changed)
    with pytest.raises(ModelError, match=gated):
        versions.register(
            tracking,
            run_id=tracking.start("demo", "first", {}),
            folder=changed,
            digest=gated,
            name=NAME,
            alias="challenger",
            tags={},
            example=ROWS,
        )
    assert versions.list_models(tracking) == []


def test_resolve(tracking: Tracking, model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert versions.champion(tracking, NAME) is None
    register(tracking, model_folder, tracking.start("demo", "first", {}))
    assert versions.champion(tracking, NAME) is None
    versions.set_alias(tracking, NAME, "champion", 1)
    versions.set_alias(tracking, NAME, "production", 1)
    found = versions.champion(tracking, NAME)
    assert found is not None and found.aliases == ["challenger", "champion", "production"]
    for uri in (f"models:/{NAME}@champion", f"models:/{NAME}/1", f"models:/{NAME}/latest"):
        assert versions.resolve(tracking, uri) == found
    assert not [record for record in caplog.records if record.name.startswith("lakewright")]
    assert versions.resolve(tracking, f"models:/{NAME}/Production") == found
    assert "is read as models:/main.demo.greetings@production" in caplog.text

    with pytest.raises(NotFound, match=r"did you mean '@champion'\? known: /1, @challenger, @champion, @production"):
        versions.resolve(tracking, f"models:/{NAME}@champoin")
    with pytest.raises(NotFound, match=r"there is no models:/main\.demo\.greetings/7"):
        versions.resolve(tracking, f"models:/{NAME}/7")
    with pytest.raises(NotFound, match=r"did you mean 'main\.demo\.greetings'"):
        versions.resolve(tracking, "models:/main.demo.greeting@champion")
    for wrong in ("main.demo.greetings", "models:/a@b/c", "models:/", "runs:/1/model"):
        with pytest.raises(UsageError, match="names no model version"):
            versions.resolve(tracking, wrong)
    for wrong in ("latest", "v3", "a b", ""):
        with pytest.raises(UsageError, match="cannot be an alias"):
            versions.set_alias(tracking, NAME, wrong, 1)
    with pytest.raises(NotFound, match="no version 5"):
        versions.set_alias(tracking, NAME, "champion", 5)


@pytest.fixture(params=["a SQLite file", "a server"])
def kept(request: pytest.FixtureRequest) -> Tracking:
    at: Tracking = request.getfixturevalue("tracking" if request.param == "a SQLite file" else "server")
    return at


def told(ask: Callable[..., Any], *given: Any) -> Any:
    try:
        return ask(*given)
    except LakewrightError as error:
        return type(error), error.cause, error.remedy


@pytest.mark.slow
def test_read_without_mlflow_it_says_the_same(
    kept: Tracking, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = reader(kept)
    assert registry is not None
    name = "main.demo.it's here"
    asked = [
        f"{name}{which}" for which in ("@champion", "@champoin", "@", "/1", "/2", "/3", "/7", "/latest", "/Staging")
    ]
    uris = [f"models:/{which}" for which in (*asked, "main.demo.it@x", "main.demo.it/latest", "a@b/c", "")]

    def same() -> list[Any]:
        both = [(told(versions.resolve, kept, uri), told(version_of, registry, uri)) for uri in uris]
        assert [by_mlflow for by_mlflow, _ in both] == [without for _, without in both]
        return [without for _, without in both]

    assert not any(isinstance(found, ModelVersion) for found in same())
    assert alias_version(registry, name, "champion") is None
    for run in ("first", "second", "third"):
        register(kept, model_folder, kept.start("looked up", run, {}), name=name)
    versions.set_alias(kept, name, "champion", 1)
    versions.set_alias(kept, name, "staging", 2)
    with kept.client() as client:
        client.delete_model_version(name, "3")
        client.set_model_version_tag(name, "1", "empty", "")
    found = dict(zip(asked, same(), strict=False))
    numbers = {which: found[f"{name}{which}"].version for which in ("@champion", "/1", "/2", "/latest", "/Staging")}
    assert numbers == {"@champion": 1, "/1": 1, "/2": 2, "/latest": 2, "/Staging": 2}
    assert found[f"{name}/3"][0] is NotFound
    assert caplog.text.count(f"is read as models:/{name}@staging") == 2  # both say so
    assert alias_version(registry, name, "champion") == 1
    versions.set_alias(kept, name, "champion", 2)
    assert alias_version(registry, name, "champion") == 2
    assert alias_version(registry, name, "challenger") is None  # went with the version that was deleted


def test_a_registry_that_only_mlflow_reads(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("databricks-uc", "postgresql://mlflow@there/db", "sqlite:///a.db?timeout=5"):
        assert reader(Tracking(tracking.tracking_uri, uri, "")) is None
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert reader(tracking) is None


def test_the_half_of_a_commit_that_a_killed_process_left_is_undone(tracking: Tracking, model_folder: Path) -> None:
    version = register(tracking, model_folder, tracking.start("demo", "first", {}))
    killed = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA cache_size = 1')\n"
        'db.execute("UPDATE registered_model_aliases SET version = 9")\n'
        "db.execute(\"UPDATE model_version_tags SET value = printf('%.*c', 100000, 'x')\"); os.kill(os.getpid(), 9)"
    )
    path = tracking.tracking_uri.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", killed, path], check=False)
    assert Path(f"{path}-journal").stat().st_size > 0
    registry = reader(tracking)
    assert registry is not None and version_of(registry, f"models:/{NAME}@challenger") == version


@pytest.mark.slow
def test_located_without_mlflow_where_the_files_are_at_hand(
    kept: Tracking, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(kept, model_folder, kept.start("located", "first", {}), name="main.demo.located")
    profile = {"workspace": "workspace", "tracking": kept.tracking_uri}
    (tmp_path / "profiles.yml").write_text(json.dumps({"profiles": {"local": profile}}))
    monkeypatch.chdir(tmp_path)
    if version.uri.startswith("mlflow-artifacts:"):
        downloaded, folder = located(Workspace.open(load_profile()), version.at)
        assert (downloaded, files(folder)) == (version, files(model_folder))
    code = (
        "import sys; from pathlib import Path; from lakewright import Workspace, load_profile\n"
        "from lakewright.registry.mlflow_process import located\n"
        "opened = Workspace.open(load_profile())\n"
        "version, folder = located(opened, 'models:/main.demo.located@challenger')\n"
        "assert 'mlflow' not in sys.modules\n"
        "print(version.model_dump_json()); print(folder)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import subprocess; subprocess.Popen = None; {code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record, folder = done.stdout.splitlines()
    assert ModelVersion.model_validate_json(record) == version and files(Path(folder)) == files(model_folder)
    (Path(folder) / "manifest.json").write_text("{}")
    if not version.uri.startswith("mlflow-artifacts:"):
        with pytest.raises(ModelError, match="is not the folder that was registered"):
            located(Workspace.open(load_profile()), version.at)


def test_a_server_that_is_away_refuses_or_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":  # whether it is there is asked without
                credentials.append(self.headers["Authorization"])
            self.send_response(200 if credentials[-1:] == ["Bearer right"] else 401)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_: Any) -> None: ...

    credentials: list[str | None] = []
    with HTTPServer(("127.0.0.1", 0), Answers) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{other.server_port}"

        def answer(uri: str) -> tuple[str, str]:
            registry = reader(Tracking(uri, None, ""))
            assert registry is not None
            kind, cause, remedy = told(version_of, registry, f"models:/{NAME}@champion")
            assert kind is LakewrightError
            return cause, remedy

        monkeypatch.setenv("HOME", "/nowhere")
        cause, remedy = answer(f"http://{at}")
        assert "answered 401" in cause and "MLFLOW_TRACKING_USERNAME" in remedy
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "right")
        assert "is not an MLflow server" in answer(f"http://{at}")[0]
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "who")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        assert "answered 401" in answer(f"http://{at}")[0]
        assert f"MLflow at http://{at} answered 401" in answer(f"http://me:p%40ss@{at}")[0]  # the password is not told
        other.shutdown()
    basic = [f"Basic {b64encode(each).decode()}" for each in (b"who:wrong", b"me:p@ss")]
    assert credentials == [None, "Bearer right", *basic]
    assert f"MLflow at http://{at} cannot be reached: " in answer(f"http://{at}")[0]


# One process imports all that registering needs and forks a child an attempt: importing costs seconds, a fork nothing.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import shutil
from mlflow.tracking import MlflowClient
from lakewright.registry import versions
from lakewright.workspace.tracking import Tracking

uri, artifacts, folder, digest, name, rows = sys.argv[1:]
warm = uri + "-warm"  # a database of its own: an open SQLite connection must not cross a fork
shutil.copy(uri.removeprefix("sqlite:///"), warm.removeprefix("sqlite:///"))
WRITES = ("create_run", "create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs",
          "create_registered_model", "create_model_version", "set_logged_model_tags", "set_registered_model_alias")

def register(uri, run_name):
    tracking = Tracking(uri, None, artifacts)
    versions.register(tracking, run_id=tracking.start("demo", run_name, {}), folder=Path(folder), digest=digest,
                      name=name, alias="challenger", tags={"a": "b"}, example=json.loads(rows))

def attempt(run_name, dies=None, half_way=False):  # in a child, killed once MLflow did what the method `dies` asks
    if (child := os.fork()):
        return child
    def doomed(method):
        def call(self, *args, **kwargs):
            if half_way:
                args = (args[0], args[1] + "/data", "data")
            try:
                method(self, *args, **kwargs)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        return call
    if dies:
        setattr(MlflowClient, dies, doomed(getattr(MlflowClient, dies)))
    register(uri, run_name)
    os._exit(0)

def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

register(warm, "warm")
codes = []
for point in [(method, False) for method in WRITES] + [("log_model_artifacts", True)]:
    codes.append([str(point), code(attempt(str(point), *point)), code(attempt(str(point)))])
began = time.monotonic()
assert code(attempt("measured")) == 0
length = time.monotonic() - began
chance = random.Random(int(os.environ.get("SEED", "13")))
for i in range(4):
    child = attempt(f"random {i}")
    time.sleep(chance.uniform(0.1, 1.0) * length)
    os.kill(child, signal.SIGKILL)
    code(child)
    codes.append([f"random {i}", -9, code(attempt(f"random {i}"))])
first = code(attempt("two at once", "create_logged_model"))
pair = [attempt("two at once") for _ in range(2)]
codes.append(["two at once", first, max(code(child) for child in pair)])
print(json.dumps(codes))
"""


def test_kill_9_at_any_point_then_again(tracking: Tracking, model_folder: Path) -> None:
    given = [tracking.tracking_uri, tracking.artifacts, str(model_folder), digest_of(model_folder), NAME]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *given, json.dumps(ROWS)], capture_output=True, text=True, timeout=120
    )
    print(killed.stderr)  # in full, where this fails: the traceback of the attempt that did
    assert killed.returncode == 0
    codes = json.loads(killed.stdout)
    assert {(first, second) for _, first, second in codes} == {(-signal.SIGKILL, 0)}, codes
    with tracking.client() as client:
        experiment = client.get_experiment_by_name("demo")
        runs = {run.info.run_id: run.info.run_name for run in client.search_runs([experiment.experiment_id])}
    names = [name for name, _, _ in codes] + ["measured"]
    assert sorted(runs.values()) == sorted(names)  # a run that was started twice is one run, too
    made = versions.list_models(tracking)
    assert sorted(runs[version.tags["lakewright.run_id"]] for version in made) == sorted(names)
    assert [version.aliases for version in made] == [["challenger"], *([] for _ in made[1:])]
    for version in made:
        assert files(versions.download(tracking, version, Path("unused"))) == files(model_folder)


def test_two_at_once_that_both_look_before_either_acts(
    tracking: Tracking, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient
    from mlflow.utils import file_utils

    run_id = tracking.start("demo", "first", {})

    def slow(look: Any, seconds: float) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            try:
                return look(*args, **options)
            finally:
                time.sleep(seconds)

        return call

    with monkeypatch.context() as patched:  # what an attempt leaves that was killed while it wrote
        patched.setattr(MlflowClient, "log_model_artifacts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            register(tracking, model_folder, run_id)
    for look in ("search_logged_models", "search_model_versions", "get_registered_model"):
        monkeypatch.setattr(MlflowClient, look, slow(getattr(MlflowClient, look), 0.2))
    monkeypatch.setattr(file_utils.os.path, "exists", slow(os.path.exists, 0.005))  # before MLflow's os.mkdir
    with ThreadPoolExecutor() as pool:
        pair = [pool.submit(register, tracking, model_folder, run_id) for _ in range(2)]
        first, second = (attempt.result() for attempt in pair)
    assert first == second
    assert [version.version for version in versions.list_models(tracking)] == [first.version]
    assert files(versions.download(tracking, first, Path("unused"))) == files(model_folder)


def test_against_a_server(
    server: Tracking, model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = server.start("demo", "first", {})
    with server.stage(run_id, "register") as log:
        log.metric("loss", 0.5, 1)
        version = register(server, model_folder, log.run_id)
        assert register(server, model_folder, log.run_id) == version
    server.finish(run_id, "FINISHED", {"accuracy": 0.9}, {})
    assert version.uri.startswith("mlflow-artifacts:")
    copy = versions.download(server, versions.resolve(server, f"models:/{NAME}@challenger"), tmp_path / "cache")
    assert files(copy) == files(model_folder)
    assert versions.download(server, version, tmp_path / "cache") == copy
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [copy.name]
    assert capfd.readouterr().out == ""  # MLflow would print the run's address there


# Refuses what the place of serving lacks; and finds Lakewright in the MLflow model alone.
CLEAN = """
import importlib.abc, json, sys
REFUSED = {"torch", "transformers", "sklearn", "scipy", "typer", "rich", "deltalake", "duckdb", "sqlglot", "onnx",
           "safetensors", "datasets", "matplotlib"}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} is not installed here")
        if name == "lakewright" and not any("/code" in entry for entry in sys.path):
            raise ModuleNotFoundError("lakewright is not installed here")
sys.meta_path.insert(0, Refuse())
uri, model = sys.argv[1:]
import mlflow
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
import pandas as pd
first = loaded.predict(pd.DataFrame({"text": ["good morning", "good night"]}))
second = loaded.predict([{"text": "good morning"}, {"text": "good night"}])
third = loaded.predict({"text": ["good morning", "good night"]})
assert first.equals(second) and first.equals(third)
assert loaded.predict({"text": "good night"}).to_dict("records") == first.to_dict("records")[1:]
import lakewright
print(json.dumps({
    "rows": first.to_dict("records"),
    "from": lakewright.__file__,
    "inputs": str(loaded.metadata.signature.inputs),
    "outputs": str(loaded.metadata.signature.outputs),
    "example": loaded.input_example.to_dict("records"),
    "ours": sorted(name for name in sys.modules if name.startswith("lakewright.")),
}))
"""


@pytest.mark.slow
def test_pyfunc_where_only_its_requirements_are(tracking: Tracking, model_folder: Path, tmp_path: Path) -> None:
    version = register(tracking, model_folder, tracking.start("demo", "first", {}))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "MLFLOW" not in name}
    clean = subprocess.run(
        [sys.executable, "-c", CLEAN, tracking.tracking_uri, f"models:/{NAME}@challenger"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )
    assert clean.returncode == 0, clean.stderr
    answer = json.loads(clean.stdout)
    assert [row["label"] for row in answer["rows"]] == ["hello", "goodbye"]
    assert answer["rows"][0]["confidence"] == answer["rows"][0]["probabilities"]["hello"] > 0.9
    assert answer["from"].startswith(version.uri)
    assert answer["example"] == ROWS
    assert "'text': string (required)" in answer["inputs"]
    assert "'label': string (required), 'confidence': double (required)" in answer["outputs"]
    assert "lakewright.records" not in answer["ours"]  # pydantic stays out
    requirements = (Path(version.uri) / "requirements.txt").read_text().split()
    assert [line.split("==")[0] for line in requirements] == ["mlflow", "numpy", "onnxruntime", "pandas", "tokenizers"]
    carried = [path.name for path in (Path(version.uri) / "code").glob("*.dist-info/*")]
    assert sorted(carried) == ["METADATA", "entry_points.txt"]


def test_a_model_that_names_the_former_loader(tracking: Tracking, model_folder: Path) -> None:
    """As models name it that were registered before the runtimes moved: MLflow loads it, and so does the registry."""
    import mlflow.pyfunc

    version = register(tracking, model_folder, tracking.start("demo", "former", {}))
    described = Path(version.uri) / "MLmodel"
    former = described.read_text().replace("lakewright.model.pyfunc", "lakewright.runtimes.pyfunc")
    assert former != described.read_text()
    described.write_text(former)
    answer = mlflow.pyfunc.load_model(version.uri).predict(ROWS)
    assert answer["label"].tolist() == ["hello", "goodbye"]
    assert open_model_folder(Path(version.uri), version).is_dir()
