"""Several instances in one job: they train one model together, and they compute the parts of `prepare`."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

import lakewright as lw
from clusters import why_not
from conftest import free_port
from lakewright.records import Prepared
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets.sagemaker import TARGET
from lakewright.workspace import Workspace
from platforms.everywhere import Everywhere
from platforms.sagemaker.given import DOCKERFILE, on_moto
from platforms.sagemaker.runner import Outcome, Runner
from small_parts import small_parts

# Relative, L2, of a network of 39,000 weights whose gradients are nearly nothing; tests/unit/test_group.py has others.
ROUNDING = 1e-5


def encoder(everywhere: Everywhere, base: Path, **train: Any) -> None:
    project = yaml.safe_load(everywhere.project.read_text())
    project["train"] = {"learner": "encoder", "base_model": str(base), "num_train_epochs": 2, "learning_rate": 2e-5}
    project["train"] |= {"dropout": 0.0, "early_stopping_patience": None, "quantize": "never", "interpolate": "never"}
    project["train"] |= {"folds": 0, **train}
    everywhere.project.write_text(yaml.safe_dump(project, sort_keys=False))


def definition() -> dict[str, Any]:
    """What is deployed, up to train."""
    project, profile = load_project("project.yml"), load_profile("prod")
    assert not [problem for problem in TARGET.problems(project, profile) if problem.kind == "error"]
    deployment = TARGET.deployment(project, profile)
    for _ in TARGET.deploy(deployment, project, profile, lambda: Workspace.open(profile)):
        pass
    made: dict[str, Any] = deployment.files["pipeline.json"]
    return {**made, "Steps": made["Steps"][:3]}


def machines(
    everywhere: Everywhere, environment: Path, folder: Path, kind: type[Runner] = Runner, **more: str
) -> Runner:
    """Instances whose addresses no other test has."""
    net = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"
    role = {**everywhere.environment, "MASTER_PORT": str(free_port()), **more}
    return kind(environment, DOCKERFILE, folder, role, net)


def model(folder: Path, outcome: Outcome) -> Path:
    return folder / outcome.id / "train" / "opt" / "ml" / "model"


def weights(folder: Path) -> np.ndarray:
    found = load_file(folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)]).astype(np.float64)


def trained_here(everywhere: Everywhere, processes: int) -> np.ndarray:
    """The weights when all of it runs on this machine."""
    name = f"here{processes}"
    place = {"workspace": name, "tracking": None, "training": {"processes": processes}}
    everywhere.profile(name, {"name": "local"}, **place)
    return weights(lw.run("project.yml", profile=name).model_folder)


def log_of(folder: Path, outcome: Outcome, step: str, instance: int) -> str:
    opt = folder / outcome.id / step / ("opt" if instance == 1 else f"instance {instance}/opt")
    return (opt / "log").read_text()


def test_their_numbers_are_the_profiles(everywhere: Everywhere, tiny_base: Path) -> None:
    encoder(everywhere, tiny_base)
    on_moto(everywhere, {"training": {"machines": 3}}, processing={"count": 2})
    made = definition()
    values = {each["Name"]: each["DefaultValue"] for each in made["Parameters"]}
    assert (values["TrainingInstanceCount"], values["ProcessingInstanceCount"]) == (3, 2)
    counts = {}
    for step in made["Steps"]:
        resources = step["Arguments"].get("ProcessingResources", {}).get("ClusterConfig")
        counts[step["Name"]] = (resources or step["Arguments"]["ResourceConfig"])["InstanceCount"]
    both = {name: {"Get": f"Parameters.{name}InstanceCount"} for name in ("Processing", "Training")}
    assert counts == {"ingest": 1, "prepare": both["Processing"], "train": both["Training"]}


@pytest.mark.slow
def test_two_instances_train_the_model_of_one_process(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path
) -> None:
    encoder(everywhere, tiny_base)
    on_moto(everywhere, {"training": {"machines": 2}})
    alone, two_here = (trained_here(everywhere, processes) for processes in (1, 2))
    folder = tmp_path / "machines"
    runner = machines(everywhere, environment, folder)
    outcome = runner.execute(definition(), "a1b2c3d4e5f6")
    assert outcome.status == "Succeeded", outcome.message
    two = weights(model(folder, outcome))
    assert np.array_equal(two, two_here)  # bit by bit those of two processes of one machine
    assert np.linalg.norm(two - alone) <= ROUNDING * np.linalg.norm(alone)
    # One model, one record and one curve: those of the first instance.
    assert not list((folder / outcome.id / "train" / "instance 2" / "opt" / "ml" / "model").iterdir())
    assert '"model_folder"' in log_of(folder, outcome, "train", 1)
    assert '{"skipped":"train"}' in log_of(folder, outcome, "train", 2).replace(" ", "").replace("\n", "")
    with Workspace.open(load_profile("prod")).tracking.client() as client:
        experiment = client.get_experiment_by_name(load_project("project.yml").model)
        runs = client.search_runs([experiment.experiment_id])
        steps = [metric.step for run in runs for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert len(steps) == len(set(steps)) > 10


class Killing(Runner):
    """Kills the process of a rank, the first time that there is a checkpoint."""

    rank, killed = 1, 0

    def _containers(self, step: Any, opts: list[Path], command: list[str], environment: Any) -> None:
        if step["Name"] != "train":
            super()._containers(step, opts, command, environment)
            return
        from threading import Thread

        killer = Thread(target=self._kill, args=(opts,))
        killer.start()
        super()._containers(step, opts, command, environment)
        killer.join()

    def _kill(self, opts: list[Path]) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not self.killed:
            if list(opts[0].parent.glob("cache/lakewright/*/work/train-*/checkpoints/checkpoint.pt")):
                for container in [*self.running]:
                    for each in psutil.Process(container.pid).children(recursive=True):
                        if each.environ().get("RANK") == str(self.rank) and "train" in each.cmdline():
                            each.kill()
                            self.killed = each.pid
            time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_does_not_change_the_model(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path, rank: int
) -> None:
    encoder(everywhere, tiny_base, save_seconds=1e-9, num_train_epochs=12)
    on_moto(everywhere, {"training": {"machines": 2}})
    made, folder = definition(), tmp_path / "machines"
    runner = machines(everywhere, environment, folder, Killing)
    assert isinstance(runner, Killing)
    runner.rank = rank
    outcome = runner.execute(made, "a1b2c3d4e5f6")
    assert outcome.status == "Succeeded" and runner.killed, outcome.message
    assert np.array_equal(weights(model(folder, outcome)), trained_here(everywhere, 2))
    with Workspace.open(load_profile("prod")).tracking.client() as client:
        experiment = client.get_experiment_by_name(load_project("project.yml").model)
        runs = client.search_runs([experiment.experiment_id])
        steps = [metric.step for run in runs for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps.count(1) <= 1  # it went on, and did not begin again


class Patient(Runner):
    """Lets every container come to its own end."""

    def _containers(self, step: Any, opts: list[Path], command: list[str], environment: Any) -> None:
        with ThreadPoolExecutor(len(opts)) as pool:
            running = [pool.submit(self._container, step, opt, command, environment) for opt in opts]
        for done in running:
            done.result()


@pytest.mark.slow
def test_the_cause_of_a_failure_is_on_every_instance(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path
) -> None:
    encoder(everywhere, tiny_base, learning_rate=1e30)
    on_moto(everywhere, {"training": {"machines": 2}})
    folder = tmp_path / "machines"
    outcome = machines(everywhere, environment, folder, Patient).execute(definition(), "a1b2c3d4e5f6")
    assert outcome.status == "Failed" and "training diverged" in outcome.message
    for place in ("opt", "instance 2/opt"):
        told = (folder / outcome.id / "train" / place / "ml" / "output" / "failure").read_text()
        assert told.startswith("error: ") and "→" in told and "torch" not in told, told


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_two_instances_compute_the_parts_of_prepare(everywhere: Everywhere, environment: Path, tmp_path: Path) -> None:
    on_moto(everywhere, processing={"count": 2})
    made, folder = definition(), tmp_path / "machines"
    made["Steps"] = made["Steps"][:2]
    runner = machines(everywhere, environment, folder, PYTHONPATH=small_parts(tmp_path / "site"))
    outcome = runner.execute(made, "a1b2c3d4e5f6")
    assert outcome.status == "Succeeded", outcome.message
    printed = log_of(folder, outcome, "prepare", 1)
    record, _ = json.JSONDecoder().raw_decode(printed[printed.index("\n{") + 1 :])
    prepared = Prepared.model_validate(record)
    assert set(prepared.parts) == {f"{runner.net}.1", f"{runner.net}.2"} and sum(prepared.parts.values()) > 8
    everywhere.profile("here", {"name": "local"}, workspace="here", tracking=None)
    here = lw.run("project.yml", profile="here").records["prepare"]
    there, own = (
        Workspace.open(load_profile(name)).lake.read(features).sort_by("row")
        for name, features in (("prod", prepared.features), ("here", here.features))
    )
    assert there.equals(own) and len(own) > 250
    # Nothing is left of the cluster.
    lines = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if f"{runner.net}.1" in line]


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_stage_that_fails_ends_the_cluster(everywhere: Everywhere, environment: Path, tmp_path: Path) -> None:
    on_moto(everywhere, processing={"count": 2})
    made, folder = definition(), tmp_path / "machines"
    made["Steps"] = [{**made["Steps"][1], "DependsOn": []}]  # prepare, of a run that does not exist
    runner = machines(everywhere, environment, folder)
    outcome = runner.execute(made, "a1b2c3d4e5f6")
    assert outcome.steps == {"prepare": "Failed"} and "has no run a1b2c3d4e5f6" in outcome.message
