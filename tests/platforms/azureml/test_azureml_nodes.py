"""Several nodes in one step: they train one model together, and they compute the parts of `prepare`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from azure.ai import ml
from safetensors.numpy import load_file

import lakewright as lw
from clusters import why_not
from lakewright.plugins import TARGETS
from lakewright.records import Prepared
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Problem
from lakewright.targets.files import write
from lakewright.workspace import Workspace
from platforms.azureml.runner import Runner
from platforms.everywhere import Everywhere
from small_parts import small_parts

TARGET: dict[str, Any] = {"name": "azureml", "subscription": "s", "resource_group": "g", "workspace": "w"}


def deployed(everywhere: Everywhere, folder: Path, target: dict[str, Any], **place: Any) -> Path:
    everywhere.profile("away", {**TARGET, **target}, **place)
    project, profile = load_project(everywhere.project), load_profile("away", everywhere.folder)
    write(TARGETS.find("azureml").deployment(project, profile), folder)
    return folder


def noticed(everywhere: Everywhere, target: dict[str, Any], **place: Any) -> list[Problem]:
    everywhere.profile("away", {**TARGET, **target}, **place)
    project, profile = load_project(everywhere.project), load_profile("away", everywhere.folder)
    return [*TARGETS.find("azureml").problems(project, profile)]


def encoder(everywhere: Everywhere, base: Path) -> None:
    project = yaml.safe_load(everywhere.project.read_text())
    project["train"] = {"learner": "encoder", "base_model": str(base), "num_train_epochs": 2, "learning_rate": 2e-5}
    project["train"] |= {"dropout": 0.0, "early_stopping_patience": None, "quantize": "never", "interpolate": "never"}
    project["train"] |= {"folds": 0}
    everywhere.project.write_text(yaml.safe_dump(project, sort_keys=False))


def test_azure_takes_several_nodes(everywhere: Everywhere, tiny_base: Path, tmp_path: Path) -> None:
    encoder(everywhere, tiny_base)
    training = {"machines": 2, "processes": 4}
    folder = deployed(everywhere, tmp_path / "sent", {"prepare_instances": 3}, training=training)
    job = ml.load_job(folder / "pipeline.yml")
    assert job._validate().passed
    for name, node in job.jobs.items():
        node._component = f"azureml:{name}:1"  # as if each were registered
    sent = job._to_rest_object().serialize()["properties"]["jobs"]
    nodes = {name: (each.get("resources"), each.get("distribution")) for name, each in sent.items()}
    distribution = {"distribution_type": "PyTorch", "process_count_per_instance": 4}
    assert nodes["train"] == ({"instance_count": 2}, distribution)
    assert nodes["prepare"] == ({"instance_count": 3}, {**distribution, "process_count_per_instance": 1})
    assert nodes["ingest"] == nodes["evaluate"] == (None, None)
    environment = yaml.safe_load((folder / "environment.yml").read_text())["conda_file"]["dependencies"]
    assert "openjdk=17" in environment and environment[-1]["pip"][0].startswith("pyspark[connect]")
    assert ml.load_environment(folder / "environment.yml").conda_file["dependencies"] == environment

    alone = deployed(everywhere, tmp_path / "alone", {}, training={"machines": 1, "processes": 4})
    for name in ("train", "prepare"):  # the stage itself starts its processes
        assert not {"distribution", "resources"} & yaml.safe_load((alone / f"components/{name}.yml").read_text()).keys()
    assert "openjdk" not in (alone / "environment.yml").read_text()


@pytest.mark.parametrize(
    ("target", "place", "said", "kind"),
    [
        ({"prepare_instances": 5}, {}, "the cluster cpu has at most 4 nodes", "error"),
        ({}, {"training": {"machines": 9}}, "training.machines is 9, and the cluster cpu has at most 4", "error"),
        (
            {"cpu": {"name": "cpu", "low_priority": True}},
            {"training": {"machines": 2}},
            "any of the 2 machines of train may be taken away",
            "warning",
        ),
        (
            {"prepare_instances": 2},
            {"workers": {"name": "spark", "url": "spark://10.0.0.4:7077"}},
            "target.prepare_instances makes a cluster of 2 machines",
            "error",
        ),
        ({}, {"workers": {"name": "spark", "url": "databricks"}}, "the stages run on azureml", "error"),
        (
            {},
            {"workers": {"name": "spark", "url": "sc://localhost:15002"}},
            "the machine of each stage itself",
            "error",
        ),
    ],
)
def test_what_stops_several_nodes_is_a_problem(
    target: dict[str, Any], place: dict[str, Any], said: str, kind: str, everywhere: Everywhere, tiny_base: Path
) -> None:
    encoder(everywhere, tiny_base)
    (problem,) = [each for each in noticed(everywhere, target, **place) if "the image sets it" not in each.cause]
    assert said in problem.cause and problem.kind == kind and problem.where.startswith("profiles.yml:")


@pytest.mark.slow
def test_processes_of_two_nodes_train_as_those_of_one_do(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path
) -> None:
    encoder(everywhere, tiny_base)
    folder = deployed(everywhere, tmp_path / "sent", {}, training={"machines": 2, "processes": 2})
    variables = {**everywhere.environment, "MLFLOW_TRACKING_URI": everywhere.tracking}
    runner = Runner(folder, environment, tmp_path / "machines", variables)
    job = yaml.safe_load((folder / "pipeline.yml").read_text())
    for name in ("evaluate", "gate", "register"):
        del job["jobs"][name]
    (folder / "pipeline.yml").write_text(yaml.safe_dump(job, sort_keys=False))
    steps = runner.run("job_1")
    assert [step.exit_code for step in steps.values()] == [0] * 3, steps[list(steps)[-1]].log
    record = json.loads((steps["train"].output / "record.json").read_text())
    first, *others = steps["train"].logs
    assert len(others) == 3 and all('"skipped"' in log for log in others) and '"skipped"' not in first
    here = {"workspace": "here", "tracking": None, "training": {"processes": 4}}
    everywhere.profile("here", {"name": "local"}, **here)
    (model,) = (tmp_path / "machines" / "job_1-train").rglob(f"models/{record['digest'][:16]}/model.safetensors")
    four_here = weights(lw.run("project.yml", profile="here").model_folder)
    assert np.array_equal(weights(model.parent), four_here)  # bit by bit those of four processes of one machine


def weights(folder: Path) -> np.ndarray:
    found = load_file(folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)]).astype(np.float64)


def loopback() -> str:
    """Addresses of this machine that no other test has."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_two_nodes_compute_the_parts_of_prepare(everywhere: Everywhere, environment: Path, tmp_path: Path) -> None:
    folder = deployed(everywhere, tmp_path / "sent", {"prepare_instances": 2})
    variables = {**everywhere.environment, "MLFLOW_TRACKING_URI": everywhere.tracking}
    variables["PYTHONPATH"] = small_parts(tmp_path / "site")
    runner = Runner(folder, environment, tmp_path / "machines", variables, loopback())
    job = yaml.safe_load((folder / "pipeline.yml").read_text())
    for name in ("train", "evaluate", "gate", "register"):
        del job["jobs"][name]
    (folder / "pipeline.yml").write_text(yaml.safe_dump(job, sort_keys=False))
    steps = runner.run("job_1")
    assert [step.exit_code for step in steps.values()] == [0] * 2, steps[list(steps)[-1]].log
    prepared = Prepared.model_validate_json((steps["prepare"].output / "record.json").read_text())
    assert len(prepared.parts) == 2 and sum(prepared.parts.values()) > 8
    everywhere.profile("here", {"name": "local"}, workspace="here", tracking=None)
    here = lw.run("project.yml", profile="here").records["prepare"]
    there, own = (
        Workspace.open(load_profile(name)).lake.read(features).sort_by("row")
        for name, features in (("away", prepared.features), ("here", here.features))
    )
    assert there.equals(own) and len(own) > 250
