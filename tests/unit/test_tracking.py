"""Runs, nested runs and what is written to them, against a real SQLite MLflow."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakewright.errors import LakewrightError, UsageError
from lakewright.records import TableVersion
from lakewright.workspace import tracking as module
from lakewright.workspace.tracking import Tracking


def run_of(tracking: Tracking, run_id: str) -> Any:
    with tracking.client() as client:
        return client.get_run(run_id)


def test_a_run_and_its_stages_are_found_again(tracking: Tracking) -> None:
    run_id = tracking.start("it's a demo", "run 1", {"git": "abc"})
    assert tracking.start("it's a demo", "run 2", {}) != run_id
    with tracking.stage(run_id, "train") as log:
        assert run_of(tracking, log.run_id).info.status == "RUNNING"
        first = log.run_id
    nested = run_of(tracking, first)
    assert (nested.info.run_name, nested.info.status) == ("train", "FINISHED")
    assert nested.data.tags["mlflow.parentRunId"] == run_id
    with pytest.raises(ZeroDivisionError), tracking.stage(run_id, "train") as log:
        assert log.run_id == first
        assert run_of(tracking, first).info.status == "RUNNING"
        log.metric("loss", 1.0, 1)
        1 / 0  # noqa: B018
    assert run_of(tracking, first).info.status == "FAILED"
    assert run_of(tracking, first).data.metrics == {"loss": 1.0}
    with pytest.raises(KeyboardInterrupt), tracking.stage(run_id, "evaluate") as log:
        raise KeyboardInterrupt
    assert run_of(tracking, log.run_id).info.status == "KILLED"

    tracking.finish(run_id, "FAILED", {"accuracy": 0.5}, {"decision": "refused"})
    assert tracking.start("it's a demo", "run 1", {"git": "def"}) == run_id
    again = run_of(tracking, run_id)
    assert again.info.status == "RUNNING"
    assert again.data.metrics == {"accuracy": 0.5}
    assert (again.data.tags["git"], again.data.tags["decision"]) == ("def", "refused")
    assert again.info.artifact_uri.startswith((Path(tracking.artifacts) / "it's a demo").as_uri().replace("'", "%27"))


def test_params(tracking: Tracking) -> None:
    run_id = tracking.start("demo", "run", {})
    long = "x" * 7000
    with tracking.stage(run_id, "train") as log:
        log.params({"train": {"learning_rate": 3e-5, "freeze": None, "layers": [1, 2]}, "name": "é", "prompt": long})
        log.params({f"many.{i}": i for i in range(150)})
    with tracking.stage(run_id, "train") as log:
        log.params({"train.learning_rate": 1e-4, "name": "é", "prompt": long})
    data = run_of(tracking, log.run_id).data
    assert data.params["train.learning_rate"] == "3e-05"
    assert data.tags["changed.train.learning_rate"] == "0.0001"
    assert (data.params["train.freeze"], data.params["train.layers"], data.params["name"]) == ("null", "[1, 2]", "é")
    assert data.params["many.149"] == "149"
    assert len(data.params["prompt"]) == 6000
    assert [tag for tag in data.tags if tag.startswith("changed.")] == ["changed.train.learning_rate"]
    with tracking.client() as client:
        assert Path(client.download_artifacts(log.run_id, "params/prompt.txt")).read_text() == long


def test_metrics_never_wait_for_the_store(tracking: Tracking, tmp_path: Path) -> None:
    with tracking.stage(tracking.start("demo", "run", {}), "train") as log:
        store = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        store.execute("begin exclusive")  # the store takes nothing for longer than the loop lasts
        for step in range(2500):
            log.metrics({"loss": 1 / (step + 1), "F1 (macro)": 0.5}, step)
        store.execute("rollback")
        store.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not run_of(tracking, log.run_id).data.metrics:
            time.sleep(0.1)
        assert run_of(tracking, log.run_id).data.metrics, "nothing was sent while the stage ran"
    with tracking.client() as client:
        history = client.get_metric_history(log.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(step, 1 / (step + 1)) for step in range(2500)]
        assert len(client.get_metric_history(log.run_id, "F1 _macro_")) == 2500


def test_metrics_outlive_a_store_that_is_away(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_BATCHES", 0.05)
    with tracking.stage(tracking.start("demo", "run", {}), "train") as log:
        send, failures = log._client.log_batch, iter([ConnectionError("the server is away")] * 2)

        def log_batch(*args: Any, **kwargs: Any) -> None:
            for failure in failures:
                raise failure
            send(*args, **kwargs)

        monkeypatch.setattr(log._client, "log_batch", log_batch)
        log.metric("loss", 0.25, 7)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not run_of(tracking, log.run_id).data.metrics:
            time.sleep(0.05)
    assert run_of(tracking, log.run_id).data.metrics == {"loss": 0.25}
    assert caplog.text.count("the server is away") == 2


def test_metrics_that_are_lost_fail_the_stage(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("no room")

    with (
        pytest.raises(LakewrightError, match="answered: no room"),
        tracking.stage(tracking.start("demo", "run", {}), "train") as log,
    ):
        monkeypatch.setattr(log._client, "log_batch", refuse)
        log.metric("loss", 0.25, 7)
    assert run_of(tracking, log.run_id).info.status == "FAILED"


@given(st.text())
@example("a//b").via("an empty path part")
@example("../..").via("a path out")
@example("/" * 300).via("long")
@example("x" * 249 + "/y").via("cut at a slash")
@example("x" * 248 + "/..y").via("cut at a dot")
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    _validate_metric_name(module._key(name))
    _validate_param_name(module._key(name))
    assert module._key("entity_f1/per label") == "entity_f1/per label"


def test_tables(tracking: Tracking) -> None:
    import pyarrow as pa

    table = TableVersion(name="main.demo.rows", version=3, uri="file:///lake/main/demo/rows", rows=10)
    kinds = {
        "id": pa.int64(),
        "text": pa.string(),
        "ids": pa.list_(pa.int32()),
        "at": pa.timestamp("us"),
        "x": pa.null(),
    }
    with tracking.stage(tracking.start("demo", "run", {}), "train") as log:
        for _ in range(2):
            log.table(table, "training", pa.schema(kinds))
        log.table(table.model_copy(update={"version": 4}), "evaluation")
    found = run_of(tracking, log.run_id).inputs.dataset_inputs
    by_context = {given.tags[0].value: given.dataset for given in found}
    assert len(found) == len(by_context) == 2
    training = by_context["training"]
    assert (training.name, training.source_type) == ("main.demo.rows", "delta_table")
    source = json.loads(training.source)
    assert (source["path"], source["delta_table_version"]) == (table.uri, 3)
    types = [column["type"] for column in json.loads(training.schema)["mlflow_colspec"]]
    assert types == ["long", "string", "array", "datetime", "any"]
    assert by_context["evaluation"].digest != training.digest
    assert run_of(tracking, log.run_id).data.tags["table.training"] == "main.demo.rows@v3"


def test_files(tracking: Tracking, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("<p>")
    with tracking.stage(tracking.start("demo", "run", {}), "evaluate") as log:
        log.picture(Figure(), "confusion")
        log.text("hello", "notes.txt")
        log.file(folder)
        log.file(folder / "report.html")
    with tracking.client() as client:
        assert [file.path for file in client.list_artifacts(log.run_id)] == [
            "notes.txt",
            "pictures",
            "report",
            "report.html",
        ]
        assert Path(client.download_artifacts(log.run_id, "pictures/confusion.png")).read_bytes()[1:4] == b"PNG"
        assert Path(client.download_artifacts(log.run_id, "report/report.html")).read_text() == "<p>"
    assert (tmp_path / "MLflow files, ü").is_dir()


def test_system_metrics(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")  # instead of our 5 s
    with tracking.stage(tracking.start("demo", "run", {}), "train") as log:
        time.sleep(0.5)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= run_of(
        tracking, log.run_id
    ).data.metrics.keys()


def test_the_users_own_mlflow_is_left_alone(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    own = [f"sqlite:///{tmp_path / name}" for name in ("own.db", "own-registry.db")]
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")  # MLflow sets them and never takes them back: monkeypatch does
    try:
        mlflow.set_tracking_uri(own[0])
        mlflow.set_registry_uri(own[1])
        first, second = tracking.start("demo", "run 1", {}), tracking.start("demo", "run 2", {})
        with tracking.stage(first, "train") as one, tracking.stage(second, "train") as two:
            one.metric("loss", 1.0, 1)
            two.metric("loss", 2.0, 1)
            assert mlflow.active_run() is None
        with tracking.client() as client:
            client.create_registered_model("main.demo.model")
        assert [mlflow.get_tracking_uri(), mlflow.get_registry_uri()] == own
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    assert [run_of(tracking, log.run_id).data.metrics["loss"] for log in (one, two)] == [1.0, 2.0]
    assert not list(tmp_path.glob("own*"))


def test_errors_say_what_to_do(tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.start("demo", "run", {})
    with tracking.client() as client:
        client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    with pytest.raises(UsageError, match="mlflow experiments restore"):
        tracking.start("demo", "run", {})
    with pytest.raises(LakewrightError, match="migrate to a database"):
        Tracking(str(tmp_path / "mlruns"), None, "").start("demo", "run", {})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("lakewright.workspace.tracking.reach", lambda uri: None)  # it was there, and went away since
    with pytest.raises(LakewrightError, match=r"MLflow at http://127\.0\.0\.1:9 answered: API request") as refused:
        Tracking(f"http://user:{'word'[::-1]}@127.0.0.1:9", None, "").start("demo", "run", {})
    assert "drow" not in "".join(traceback.format_exception(refused.value))


# A process of its own, as MLflow's chatter is set when it is first imported. Its children share that import.
NEW_WORKSPACE = """
import os, signal, sys, time
from pathlib import Path
from lakewright.workspace.tracking import Tracking

path = Path(sys.argv[1])
tracking = Tracking(f"sqlite:///{path}", None, str(path.parent / "artifacts"))
with Tracking(f"sqlite:///{sys.argv[2]}", None, "").client():
    import mlflow.store.tracking.sqlalchemy_store  # all imported before the fork

def child(name):
    if not (pid := os.fork()):
        tracking.start("demo", name, {})
        os._exit(0)
    return pid

killed = child("killed")
drafts = ".mlflow.db.draft-*[0-9a-f]"  # and not SQLite's journal beside them, which comes and goes
while not [draft for draft in path.parent.glob(drafts) if draft.stat().st_size > 30_000]:
    time.sleep(0.001)  # until the migrations are under way
os.kill(killed, signal.SIGKILL)
os.waitpid(killed, 0)
assert not path.exists()
codes = [os.waitpid(pid, 0)[1] for pid in [child("one"), child("two")]]
assert codes == [0, 0], codes
run_id = tracking.start("demo", "run", {})
with tracking.stage(run_id, "train") as log:
    log.metric("loss", 1.0, 1)
tracking.finish(run_id, "FINISHED", {}, {})
"""


def test_a_new_workspace_is_made_whole_silently_and_once(tmp_path: Path, mlflow_template: Path) -> None:
    path = tmp_path / "workspace" / "mlflow.db"
    made = subprocess.run(
        [sys.executable, "-c", NEW_WORKSPACE, str(path), str(mlflow_template)],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert not list(path.parent.glob("*draft*"))
    tracking = Tracking(f"sqlite:///{path}", None, "")
    with tracking.client() as client:
        (experiment,) = client.search_experiments(filter_string="name = 'demo'")
        top = [
            run for run in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" not in run.data.tags
        ]
    assert sorted(run.info.run_name for run in top) == ["one", "run", "two"]


def test_the_next_workspace_is_a_copy_of_an_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.workspace import mlflow_database

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second, third = (
        Tracking(f"sqlite:///{tmp_path / name / 'mlflow.db'}", None, str(tmp_path / name)) for name in "abc"
    )
    runs = {first: first.start("demo", "run", {})}
    (kept,) = (tmp_path / "cache" / "lakewright").iterdir()
    assert kept.read_bytes() != (tmp_path / "a" / "mlflow.db").read_bytes()
    monkeypatch.setattr(mlflow_database, "_migrate", lambda draft: pytest.fail("made anew"))
    runs[second] = second.start("demo", "run", {})
    for of, run in runs.items():
        of.finish(run, "FINISHED", {"accuracy": 1.0}, {})
        with of.client() as client:
            assert client.get_run(run).data.metrics == {"accuracy": 1.0}
            places = {each.name: each.artifact_location for each in client.search_experiments()}
        assert len(places) == 2 and str(tmp_path) in places["demo"]
    kept.unlink()
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        third.start("demo", "run", {})
