"""What a container does beside its stage: checkpoints, secrets, and what it says when it fails."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from conftest import Server, free_port
from lakewright.records import Decision, Metric, Report
from lakewright.targets.sagemaker import container
from lakewright.workers import standalone


@pytest.fixture
def opt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's /opt/ml."""
    folder = tmp_path / "opt" / "ml"
    folder.mkdir(parents=True)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(folder))
    return folder


def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def test_checkpoints_outlive_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "COPIED_EVERY", 0.02)
    kept, work = tmp_path / "checkpoints", tmp_path / "first" / "work"
    kept.mkdir()
    folder = work / "train-0123456789abcdef"
    with container.checkpoints_kept(kept, work):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "model").mkdir()
        (folder / "model" / "half").write_text("made")
        (folder / "checkpoints" / "state.partial").write_text("being written")
        (folder / "checkpoints" / "state").write_text("step 1")
        copied = kept / folder.name / "checkpoints" / "state"
        until(lambda: copied.exists() and copied.read_text() == "step 1")
        (folder / "checkpoints" / "state").write_text("step 2")
        os.utime(folder / "checkpoints" / "state", ns=(1, 1))
        until(lambda: copied.read_text() == "step 2")
    assert [path.name for path in kept.rglob("*") if path.is_file()] == ["state"]  # no model, nothing half-written

    another = tmp_path / "second" / "work"
    with container.checkpoints_kept(kept, another):
        assert (another / folder.name / "checkpoints" / "state").read_text() == "step 2"


def test_without_checkpoints_nothing_is_copied(tmp_path: Path) -> None:
    with container.checkpoints_kept(tmp_path / "none", tmp_path / "work"):
        pass
    assert not (tmp_path / "work").exists()


def test_secrets_are_read_as_the_container_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    with mock_aws():
        manager = boto3.client("secretsmanager", region_name="eu-west-1")
        arn = manager.create_secret(Name="mlflow", SecretString="hunter2")["ARN"]
        monkeypatch.setenv("LAKEWRIGHT_SECRET_MLFLOW_TRACKING_TOKEN", arn)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")  # so that it is gone after the test
        container._read_secrets()
        assert os.environ["MLFLOW_TRACKING_TOKEN"] == "hunter2"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["sereve"], 2, "did you mean 'serve'"),
        (["stage", "ingest"], 1, "No such file or directory"),  # no project was given to the job
    ],
)
def test_the_cause_of_a_failure_is_where_sagemaker_looks(arguments: list[str], code: int, told: str, opt: Path) -> None:
    assert container.main(arguments) == code
    assert told in (opt / "output" / "failure").read_text()


def several(opt: Path, config: str, *hosts: str) -> None:
    (opt / config).mkdir(parents=True)
    told = {"current_host": hosts[-1], "hosts": hosts, "network_interface_name": "lo"}
    (opt / config / "resourceconfig.json").write_text(json.dumps(told))


def training(opt: Path, machines: int) -> None:
    """What a training job of this profile has of its settings."""
    project = opt / "input" / "data" / "project"
    project.mkdir(parents=True)
    profile = {"workspace": str(opt / "workspace"), "training": {"machines": machines}}
    (project / "profiles.yml").write_text(json.dumps({"profiles": {"prod": profile}}))
    values = {"project": "project.yml", "profile": "prod", "run": "r1", "given": "[]"}
    (opt / "input" / "config" / "hyperparameters.json").write_text(json.dumps(values))


def test_a_stage_that_computes_on_one_machine_refuses_several(opt: Path) -> None:
    several(opt, "config", "algo-1", "algo-2")
    assert container.main(["stage", "gate"]) == 2
    assert "2 instances, and the stage gate runs on one" in (opt / "output" / "failure").read_text()


@pytest.mark.parametrize(("hosts", "machines"), [(2, 3), (2, 1), (1, 2)])
def test_other_instances_than_the_profiles_are_refused(hosts: int, machines: int, opt: Path) -> None:
    several(opt, "input/config", *(f"127.0.0.{n + 1}" for n in range(hosts)))
    training(opt, machines)
    assert container.main(["train"]) == 2
    told = (opt / "output" / "failure").read_text()
    assert f"the job has {hosts} instances, and the profile's training.machines is {machines}" in told


@pytest.mark.parametrize(("config", "command"), [("input/config", ["train"]), ("config", ["stage", "prepare"])])
def test_an_instance_that_does_not_come_is_named(
    config: str, command: list[str], opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Sequence[str]] = []

    def impatient(hosts: Sequence[str]) -> None:
        waited.append(hosts)
        await_names(hosts, seconds=0.5)

    await_names = standalone.await_names
    monkeypatch.setattr(standalone, "await_names", impatient)
    several(opt, config, "127.0.0.1", "algo-2.invalid")
    (opt / "input" / "config").mkdir(parents=True, exist_ok=True)
    training(opt, 2)
    assert container.main(command) == 1
    told = (opt / "output" / "failure").read_text()
    assert "there is no machine algo-2.invalid, of 127.0.0.1, algo-2.invalid" in told and len(waited) == 1


def test_the_first_process_is_on_the_first_instance(opt: Path) -> None:
    """By the order of the names in which torch numbers machines, however many there are."""
    names = [f"algo-{n}" for n in range(1, 12)]
    several(opt, "input/config", *names)
    hosts = container.Hosts.of(opt / "input" / "config" / "resourceconfig.json")
    assert hosts.first == "algo-1" and list(hosts.names) == sorted(names) and hosts.own == "algo-11"


def test_a_metric_that_cannot_be_told_is_null(opt: Path) -> None:
    """A property file is JSON, which has no NaN."""
    nothing = Metric(value=math.nan, low=math.nan, high=math.nan)
    report = Report(
        metrics={"roc_auc": nothing}, primary="roc_auc", rows=3, test_rows="", html="", json_file="", runtime="onnx",
        model_bytes=1, seconds_per_1000_rows=1.0,
    )  # fmt: skip
    container.note("evaluate", report, None)  # type: ignore[arg-type]
    written = (opt / "processing" / "output" / "evaluation" / "evaluation.json").read_text()
    assert json.loads(written, parse_constant=pytest.fail)["metrics"]["roc_auc"]["value"] is None


def test_where_there_is_no_container_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of the profile by hand, on any machine."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "none"))
    container.note("gate", Decision(passed=True, checks=[]), None)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


def test_an_endpoint_answers_without_a_key_where_only_sagemaker_can_ask(
    opt: Path, greeter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve`, as SageMaker starts it: `lakewright serve --guarded` in its place, which SIGTERM ends."""
    port = free_port()
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", str(port))
    shutil.copytree(greeter, opt / "model")
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "lakewright.targets.sagemaker.container", "serve"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file)
    server = Server(port, process, log)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            with suppress(OSError):
                if server.ask("GET", "/ping").status == 200:
                    break
            time.sleep(0.1)
        answer = server.ask("POST", "/invocations", {"inputs": ["good night"]})
        assert answer.status == 200 and answer.json["predictions"]
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
