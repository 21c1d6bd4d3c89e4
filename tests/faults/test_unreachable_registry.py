"""A tracking server that is away is told at once, with what to do; and work that is done does not fail for it."""

from __future__ import annotations

import json
import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import free_port, sentences, small_project, write_csv
from lakewright.errors import LakewrightError
from lakewright.model.folder import seal
from lakewright.records import ModelVersion
from lakewright.registry import mlflow_process, versions
from lakewright.service.server import endpoint
from lakewright.workspace import mlflow_server, tracking
from lakewright.workspace.tracking import Tracking


@pytest.fixture
def hung() -> Iterator[str]:
    """The address of a server that takes connections, and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.fixture
def gateway() -> Iterator[str]:
    """The address of a gateway whose server is away."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(502)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["nobody", "hung", "gateway"])
def away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(mlflow_server, "SECONDS_TO_ANSWER", 0.2)
    if request.param == "nobody":
        return f"http://127.0.0.1:{free_port()}"
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture
def project(away: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "things.csv", sentences(60))
    (tmp_path / "project.yml").write_text(yaml.safe_dump({**small_project(tmp_path), "train": {"learner": "linear"}}))
    profile = {"workspace": ".lakewright", "tracking": away.replace("//", "//me:secret@")}
    (tmp_path / "profiles.yml").write_text(json.dumps({"profiles": {"local": profile}}))
    return tmp_path / "project.yml"


MODEL = "models:/main.demo.things@champion"


def opened() -> lw.Workspace:
    return lw.Workspace.open(lw.load_profile())


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "run": lw.run,
    "predict": lambda _: lw.load(MODEL),
    "score": lambda _: mlflow_process.located(opened(), MODEL),
    "serve": lambda _: endpoint.one(opened(), MODEL),
    "models": lambda _: versions.list_models(opened().tracking),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_away_is_told_before_mlflow_tries_for_a_minute(
    project: Path, away: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tries(*_: object, **__: object) -> None:
        pytest.fail("MLflow was asked")

    monkeypatch.setattr(tracking, "_opened", tries)
    with pytest.raises(LakewrightError, match=f"MLflow at {away} cannot be reached") as failure:
        COMMANDS[command](project)
    assert "start it, or check the address" in failure.value.remedy
    assert "secret" not in str(failure.value)


def test_whoever_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants credentials for everything, say; once is enough."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    paths: list[str] = []
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(2):
            mlflow_server.reach(f"http://127.0.0.1:{server.server_port}/mlflow/")
        server.shutdown()
    assert paths == ["/mlflow/health"]


@pytest.mark.parametrize(
    ("uri", "cause", "remedy"),
    [
        ("sqlite:///{folder}/damaged.db", "file is not a database", "restore it"),
        ("sqlite:////proc/nowhere/mlflow.db", "No such file or directory", "profile"),
        ("postgresql://me:secret@127.0.0.1:1/db", "No module named", "profile"),
    ],
)
def test_a_database_that_cannot_be_opened(tmp_path: Path, uri: str, cause: str, remedy: str) -> None:
    (tmp_path / "damaged.db").write_bytes(bytes(range(256)) * 20)
    tracking = Tracking(uri.format(folder=tmp_path), None, "")
    with pytest.raises(LakewrightError, match=cause) as failure, tracking.client():
        pass
    assert "secret" not in str(failure.value) and remedy in failure.value.remedy


# Scoring with a registry that takes no notes ----------------------------------------------------------------------


@pytest.fixture
def scored_by(greeter: Path, tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    """A registered version in a workspace that holds a table of 30 rows to score."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    shutil.copy(mlflow_template, tmp_path / ".lakewright" / "mlflow.db")
    model = Path(shutil.copytree(greeter, tmp_path / "model"))
    project = json.loads((model / "project.json").read_text())
    (model / "project.json").write_text(json.dumps({**project, "data": {"columns": {"text": "text"}}}))
    digest = seal(model)
    workspace = opened()
    workspace.lake.write("main.demo.posts", pa.table({"text": ["good morning"] * 30}))
    run_id = workspace.tracking.start("demo", "first", {})
    return versions.register(
        workspace.tracking,
        run_id=run_id,
        folder=model,
        digest=digest,
        name="main.demo.greetings",
        alias="champion",
        tags={},
        example=[{"text": "good morning"}],
    )


@pytest.mark.parametrize(
    "refusal",
    [
        LakewrightError("MLflow at http://it answered: set-tag failed with error code 403", "ask for more"),
        LakewrightError("MLflow at http://it cannot be reached: Connection refused", "start it"),
    ],
)
def test_rows_that_are_written_are_no_failure(
    scored_by: ModelVersion,
    refusal: LakewrightError,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuses(what: str, tracking: Tracking, given: Any) -> dict[str, Any]:
        raise refusal

    monkeypatch.setattr(mlflow_process, "_ask", refuses)  # the version is found without: its files are here
    with caplog.at_level(logging.WARNING):
        scored = lw.score(scored_by.at, "main.demo.posts")
    assert (scored.rows, scored.output.rows) == (30, 30)
    (warning,) = caplog.messages
    assert "main.demo.posts_predictions@v0 is written" in warning and refusal.cause in warning


def test_a_run_of_scoring_is_ended_where_the_version_may_not_be_changed(
    scored_by: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    def refuses(*_: object) -> None:
        raise MlflowException("Permission denied")

    workspace = opened()
    table = workspace.lake.version("main.demo.posts").model_dump(mode="json")
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", refuses)
    with pytest.raises(LakewrightError, match="Permission denied"):
        mlflow_process._note(
            workspace.tracking,
            scored_by.model_dump(mode="json"),
            {"output": table},
            "main.demo.posts@v0",
            {"rows": 30.0, "seconds_per_1000_rows": 2.0},
        )
    with workspace.tracking.client() as client:
        experiment = client.get_experiment_by_name("main.demo.greetings scoring")
        (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.metrics["rows"]) == ("FINISHED", 30)
