"""The emitted pipeline, executed: the same metrics as here, the gate's other branch, one run in all steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from conftest import free_port
from lakewright.data.sources.files import file_system
from lakewright.pipeline import STAGES
from lakewright.plugins import TARGETS
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets.files import write
from platforms.azureml.runner import Runner, edges
from platforms.everywhere import FAILING, Everywhere, metrics_here

TARGET = {"name": "azureml", "subscription": "s", "resource_group": "g", "workspace": "w"}


def emitted(place: Everywhere, environment: Path, tmp_path: Path) -> Runner:
    """The project as it is deployed, written to files, and what runs those."""
    place.profile("away", {**TARGET, "parameters": {"Resamples": "evaluate.resamples"}})
    project, profile = load_project(place.project), load_profile("away", place.folder)
    write(TARGETS.find("azureml").deployment(project, profile), tmp_path / "deployed")
    # The cluster's image knows the storage; Azure ML names the workspace's MLflow, and its run, in each step.
    variables = {**place.environment, "MLFLOW_TRACKING_URI": place.tracking}
    return Runner(tmp_path / "deployed", environment, tmp_path / "machines", variables)


@pytest.fixture
def runner(everywhere: Everywhere, environment: Path, tmp_path: Path) -> Runner:
    return emitted(everywhere, environment, tmp_path)


def record(runner: Runner, job: str, step: str) -> Any:
    return json.loads((runner.machines / f"{job}-{step}" / "output" / "record.json").read_text())


@pytest.mark.slow
def test_the_gates_two_branches(runner: Runner, everywhere: Everywhere) -> None:
    project = load_project(everywhere.project)
    client = MlflowClient(everywhere.tracking, everywhere.tracking)
    steps = runner.run("job_1", {"MinAccuracyValue": FAILING})
    assert [step.exit_code for step in steps.values()] == [0] * 6, steps[list(steps)[-1]].log
    assert list(steps)[-1] == "register" and "register: not_registered" in steps["register"].log
    assert record(runner, "job_1", "register") == {"skipped": "register"}
    assert record(runner, "job_1", "gate")["passed"] is False and "gate: refused" in steps["gate"].log
    assert list(client.search_model_versions(f"name = '{project.model}'")) == []
    assert '"fingerprint"' in steps["prepare"].log  # a step prints the records that it goes on from

    # Another execution, with the pipeline's own values: a run of its own, in which what is done is not done again.
    steps = runner.run("job_2")
    assert [step.exit_code for step in steps.values()] == [0] * 6, steps[list(steps)[-1]].log
    assert "register: registered" in steps["register"].log
    assert record(runner, "job_2", "register")["aliases"] == ["challenger", "champion"]
    assert record(runner, "job_2", "train")["digest"] == record(runner, "job_1", "train")["digest"]
    metrics = {name: metric["value"] for name, metric in record(runner, "job_2", "evaluate")["metrics"].items()}
    assert metrics == metrics_here(everywhere)
    (version,) = client.search_model_versions(f"name = '{project.model}'")
    assert client.get_run(version.run_id).info.run_name == "job_2"  # one run for all steps, named by the job


def test_a_failed_stage_stops_the_pipeline(runner: Runner) -> None:
    steps = runner.run("job_1", {"InputData": "s3://lake/nothing there.parquet"})
    assert list(steps) == ["ingest"] and steps["ingest"].exit_code == 1
    assert "nothing there" in steps["ingest"].log


def test_without_the_jobs_name_no_stage_begins_a_run_of_its_own(runner: Runner) -> None:
    nameless = Runner(
        runner.folder, runner.environment, runner.machines, {**runner.variables, "AZUREML_ROOT_RUN_ID": ""}
    )
    steps = nameless.run("job_1")
    assert list(steps) == ["ingest"] and steps["ingest"].exit_code != 0
    assert "AZUREML_ROOT_RUN_ID" in steps["ingest"].log


def test_each_step_waits_for_those_whose_records_it_needs(runner: Runner) -> None:
    job = yaml.safe_load((runner.folder / "pipeline.yml").read_text())
    assert edges(job) == {stage.name: set(stage.needs) for stage in STAGES}


def test_a_step_tells_the_workspaces_mlflow(everywhere: Everywhere, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.records import Metric, Report
    from lakewright.targets.azureml.tracked import https, track

    client = MlflowClient(everywhere.tracking)
    run = client.create_run(client.create_experiment(f"steps of {everywhere.folder}")).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", everywhere.tracking)
    monkeypatch.setenv("AZUREML_RUN_ID", run)
    half = Metric(value=0.5, low=0.4, high=0.6)
    places = {"test_rows": "t", "html": "h", "json_file": "j"}
    report = Report(
        metrics={"accuracy": half}, primary="accuracy", rows=1, runtime="onnx", model_bytes=1, seconds_per_1000_rows=1,
        **places,
    )  # fmt: skip
    track("evaluate", report)
    track("register", None)
    data = client.get_run(run).data
    assert data.metrics == {"accuracy": 0.5}
    assert data.tags["lakewright.stage"] == "register" and data.tags["lakewright.outcome"] == "not_registered"
    assert (
        https("azureml://westeurope.api.azureml.ms/mlflow/v1.0/x") == "https://westeurope.api.azureml.ms/mlflow/v1.0/x"
    )


AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"  # Azurite's own account, and its key, which its documentation tells everybody
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[dict[str, str]]:
    """delta-rs's storage options for Azure's emulator of blob storage, with the container `lake`."""
    if shutil.which("npx") is None:
        pytest.skip(f"Azure's storage emulator ({AZURITE}) needs node, which is not installed")
    port, log = free_port(), tmp_path / "azurite.log"
    command = ["npx", "--yes", "--package", AZURITE, "azurite-blob", "--location", str(tmp_path / "azurite")]
    command += ["--blobPort", str(port), "--skipApiVersionCheck", "--disableTelemetry"]
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        for _ in range(1800):  # the first time, it is installed
            if server.poll() is not None:
                pytest.skip(f"{AZURITE} cannot be had here: {log.read_text().strip()[-300:]}")
            if "successfully listens" in log.read_text():
                break
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        options = {
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }
        system, _ = file_system(f"abfss://lake@{ACCOUNT}.dfs.core.windows.net/", options)
        system.create_dir("lake")
        yield options
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)


@pytest.mark.slow
def test_rows_tables_and_workspace_in_azures_storage(
    everywhere: Everywhere, azurite: dict[str, str], environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on abfss://, served by Azurite: pyarrow's file system for files, delta-rs for tables."""
    for option, value in azurite.items():
        monkeypatch.setenv(option, value)
    here = metrics_here(everywhere)
    root = f"abfss://lake@{ACCOUNT}.dfs.core.windows.net"
    rows = yaml.safe_load(everywhere.project.read_text())
    source, name = rows["data"]["source"], rows["name"]
    s3_system, s3_path = file_system(source, everywhere.environment)
    azure, _ = file_system(root, azurite)
    with s3_system.open_input_stream(s3_path) as read, azure.open_output_stream(f"lake/{name}/things.parquet") as out:
        out.write(read.read())
    rows["data"]["source"] = f"{root}/{name}/things.parquet"
    everywhere.project.write_text(yaml.safe_dump(rows, sort_keys=False))
    place = Everywhere(everywhere.folder, f"{root}/{name}/workspace", everywhere.tracking, azurite)
    runner = emitted(place, environment, tmp_path)
    steps = runner.run("job_1")
    assert [step.exit_code for step in steps.values()] == [0] * 6, steps[list(steps)[-1]].log
    assert {name: one["value"] for name, one in record(runner, "job_1", "evaluate")["metrics"].items()} == here
    assert record(runner, "job_1", "prepare")["features"]["uri"].startswith(root)
