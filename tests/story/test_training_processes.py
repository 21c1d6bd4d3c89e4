"""A run whose encoder is trained by two processes is the run of one; what one process trains is refused before work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

import lakewright as lw
from clusters import standalone, why_not
from lakewright.api.places import opener
from lakewright.errors import ProfileError, TrainingError, UsageError
from lakewright.settings.profile import load_profile
from lakewright.workspace.tracking import PARENT
from projects import Call, write_linear_project

TWO = {"device": "cpu", "threads": 2, "training": {"processes": 2}}


def with_profiles(project: Path, **train: Any) -> Path:
    """The project with a profile of one process and one of two, each with a workspace of its own."""
    profiles = {"one": {"workspace": "one", "device": "cpu", "threads": 2}, "two": {"workspace": "two", **TWO}}
    profiles["many"] = {"workspace": "one", "training": {"machines": 2}}
    (project.parent / "profiles.yml").write_text(yaml.safe_dump({"default": "one", "profiles": profiles}))
    shown = yaml.safe_load(project.read_text())
    shown["train"] |= {"num_train_epochs": 2, "learning_rate": 5e-4, "interpolate": "never", "folds": 0, **train}
    shown["gate"] = {"minimum": {"accuracy": 0.0}}
    project.write_text(yaml.safe_dump(shown, sort_keys=False))
    for name in ("one", "two"):
        (project.parent / name).mkdir()
        shutil.copy(project.parent / ".lakewright" / "mlflow.db", project.parent / name)
    return project


def weights(run: Any) -> np.ndarray:
    from safetensors.numpy import load_file

    found = load_file(run.model_folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)])


def test_a_run_of_two_processes_is_the_run_of_one(project: Path) -> None:
    with_profiles(project)
    one, two = (lw.run(project, profile=name) for name in ("one", "two"))
    assert two.exit_code == one.exit_code == 0
    assert np.linalg.norm(weights(two) - weights(one)) <= 1e-3 * np.linalg.norm(weights(one))
    assert two.records["train"].validation == pytest.approx(one.records["train"].validation, abs=1e-3)
    assert two.records["train"].details.keys() == one.records["train"].details.keys()
    names = [{file.name for file in run.model_folder.rglob("*")} for run in (one, two)]
    assert names[0] == names[1]
    # one curve and one ending, of the first process
    with opener(load_profile("two"))().tracking.client() as client:
        experiment = client.get_run(two.run_id).info.experiment_id
        (stage,) = client.search_runs([experiment], f"tags.`{PARENT}` = '{two.run_id}' and run_name = 'train'")
        steps = [point.step for point in client.get_metric_history(stage.info.run_id, "loss")]
        assert steps == list(range(1, two.records["train"].details["steps"] + 1))
        assert stage.info.status == "FINISHED" and "fitted.steps" in stage.data.params
    log = (Path("two") / "runs" / two.run_id / "log.txt").read_text()
    assert log.count("epoch 2, step") == 1
    assert not list(Path("two", "work").glob("train*"))


def test_what_one_process_trains_is_refused_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = write_linear_project(tmp_path)
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": {"two": {"workspace": "two", **TWO}}}))
    for verb in (lw.run, lw.plan):
        with pytest.raises(
            ProfileError, match=r"profiles.yml:\d+: 2 processes are to train together.*linear"
        ) as caught:
            verb(project, profile="two")
        assert "train.learner" in caught.value.remedy and "encoder" in caught.value.remedy
    assert not (tmp_path / "two" / "tables").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"2 processes were started \(WORLD_SIZE\)"):
        lw.run(project)


def test_machines_that_nothing_started_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_profiles(project)
    with pytest.raises(ProfileError, match="2 machines are to train together, and nothing has started"):
        lw.run(project, profile="many")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for start in (lambda: lw.run(project), lambda: lw.stage("ingest", project, "r1")):
        with pytest.raises(UsageError, match=r"2 processes were started \(WORLD_SIZE\)"):
            start()


@pytest.mark.slow
def test_an_error_of_training_is_the_runs(project: Path, call: Call) -> None:
    with_profiles(project, learning_rate=1e30)
    ended = call("run", "--profile", "two")
    assert ended.code == TrainingError.exit_code
    assert "training diverged" in ended.err and "lower train.learning_rate (now 1e+30)" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_does_not_change_the_model(project: Path, rank: int) -> None:
    with_profiles(project, save_seconds=1e-9, num_train_epochs=12)
    undisturbed = lw.run(project, profile="two")
    expected, digest = weights(undisturbed), undisturbed.records["train"].digest
    shutil.rmtree("two/records")
    killed: list[int] = []
    killer = threading.Thread(target=kill_in_the_loop, args=(Path("two/work"), rank, killed))
    killer.start()
    again = lw.run(project, profile="two")
    killer.join()
    assert killed and again.exit_code == 0
    assert np.array_equal(weights(again), expected), digest
    log = (Path("two") / "runs" / again.run_id / "log.txt").read_text()
    assert "a training process died; all go on from the last checkpoint, attempt 2" in log


def kill_in_the_loop(work: Path, rank: int, killed: list[int]) -> None:
    """The process of this rank, once there is a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not killed:
        if list(work.glob("train-*/checkpoints/checkpoint.pt")):
            trainers = [
                child
                for launcher in psutil.Process().children(recursive=True)
                if "lakewright.learning.processes.launcher" in launcher.cmdline()
                for child in launcher.children()
                if any("spawn_main" in word for word in child.cmdline())
            ]
            if len(trainers) == 2:
                victim = sorted(trainers, key=lambda each: each.pid)[rank]  # they are started in the order of ranks
                victim.kill()
                killed.append(victim.pid)
        time.sleep(0.01)


@pytest.mark.slow
def test_torchrun_starts_the_stage(project: Path) -> None:
    """Two processes of one machine, as two machines would start them; the first leaves the record."""
    with_profiles(project)
    for name in ("ingest", "prepare"):
        lw.stage(name, project, "r1", profile="one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    stage = ["stage", "train", "--project", str(project), "--run", "r1", "--profile", "one"]
    done = subprocess.run(
        [*torchrun, "-m", "--", "lakewright.cli", *stage], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"model_folder"') == 1  # of the first process
    assert lw.stage("evaluate", project, "r1", profile="one") is not None


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_spark_starts_the_stage(project: Path, tmp_path: Path) -> None:
    """As docs/distributed.md shows it, on two workers of a standalone cluster."""
    with_profiles(project)
    for name in ("ingest", "prepare"):
        lw.stage(name, project, "r1", profile="one")
    script = tmp_path / "driver.py"
    script.write_text(
        """
import sys
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

def train(project, run, profile):
    import lakewright as lw

    lw.stage("train", project, run, profile=profile)

SparkSession.builder.master(sys.argv[1]).config("spark.executor.memory", "1g").getOrCreate()
TorchDistributor(num_processes=2, local_mode=False, use_gpu=False).run(train, sys.argv[2], "r1", "one")
"""
    )
    with standalone(tmp_path / "cluster") as url:
        environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        command = [sys.executable, str(script), url, str(project)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    evaluated = lw.stage("evaluate", project, "r1", profile="one")
    assert evaluated is not None
