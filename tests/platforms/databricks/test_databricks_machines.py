"""Several machines in one job: they train one model together, and they compute the parts of `prepare`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from databricks.bundles.jobs import Job
from safetensors.numpy import load_file

import lakewright as lw
from clusters import standalone, why_not
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Problem
from lakewright.targets.checks import problems
from lakewright.targets.databricks import TARGET
from platforms.databricks.given import SMALL, banking
from platforms.databricks.runner import LAUNCH, filled
from platforms.databricks.work import check_job
from platforms.everywhere import Everywhere

CLUSTER: dict[str, Any] = {**SMALL, "cluster": {"node_type": "i3.xlarge"}}
GPUS: dict[str, Any] = {**SMALL, "cluster": {"node_type": "i3.xlarge", "gpu_node_type": "g5.xlarge", "spot": False}}


def job(folder: Path, target: dict[str, Any], **place: Any) -> dict[str, Any]:
    found = TARGET.deployment(*banking(folder, target, **place)).files["databricks.yml"]["resources"]["jobs"]["stages"]
    check_job(found)
    Job.from_dict(found)  # refuses unknown fields and words
    return cast(dict[str, Any], found)


def words(found: dict[str, Any], stage: str) -> list[str]:
    (task,) = [each for each in found["tasks"] if each["task_key"] == stage]
    return cast(list[str], task["python_wheel_task"]["parameters"])


@pytest.mark.parametrize(("target", "key"), [(CLUSTER, "train"), (GPUS, "gpu")], ids=["cpu", "gpu"])
def test_train_has_a_cluster_of_so_many_machines(target: dict[str, Any], key: str, tmp_path: Path) -> None:
    found = job(tmp_path, target, training={"machines": 3, "processes": 2})
    clusters = {each["job_cluster_key"]: each["new_cluster"] for each in found["job_clusters"]}
    assert set(clusters) == {"stages", key}
    assert clusters[key]["num_workers"] == 3 and not {"autoscale", "is_single_node"} & clusters[key].keys()
    used = {each["task_key"]: each.get("job_cluster_key") for each in found["tasks"]}
    assert used["train"] == key and used["prepare"] == used["evaluate"] == "stages"
    assert words(found, "train")[:4] == ["together", "6", "stage", "train"]
    alone = job(tmp_path, target)
    assert words(alone, "train")[:2] == ["stage", "train"]
    assert all("num_workers" not in each["new_cluster"] for each in alone["job_clusters"])


def test_parts_are_computed_by_the_jobs_cluster(tmp_path: Path) -> None:
    with_cluster = job(tmp_path, CLUSTER)
    assert words(with_cluster, "prepare")[-2:] == ["--workers", "databricks"]
    assert all("--workers" not in words(with_cluster, stage) for stage in ("ingest", "train", "evaluate"))
    assert "--workers" not in words(job(tmp_path, SMALL), "prepare")  # serverless
    assert "--workers" not in words(job(tmp_path, CLUSTER, workers={"name": "local"}), "prepare")
    loaded = banking(tmp_path, CLUSTER, ("train={learner: xgboost_spark}",))  # whose training the workers do
    of_trees = TARGET.deployment(*loaded).files["databricks.yml"]["resources"]["jobs"]["stages"]
    assert words(of_trees, "train")[-2:] == ["--workers", "databricks"]


@pytest.mark.parametrize(
    ("target", "place", "said", "kind"),
    [
        (SMALL, {"training": {"machines": 2}}, "serverless compute trains on one machine", "error"),
        ({**SMALL, "accelerator": "GPU_1xH100"}, {"training": {"processes": 8}}, "GPU_1xH100 has 1", "error"),
        ({**SMALL, "accelerator": "GPU_8xH100"}, {"training": {"processes": 8}}, "", ""),
        (CLUSTER, {"training": {"machines": 2}}, "any of the 2 machines of train may be taken away", "warning"),
        (GPUS, {"training": {"machines": 2, "processes": 4}}, "", ""),
        (
            {**SMALL, "cluster": {"node_type": "i3.xlarge", "spot": False}},
            {"training": {"machines": 2, "processes": 4}},
            "would share its cores",
            "error",
        ),
    ],
)
def test_what_stops_several_machines_is_a_problem(
    target: dict[str, Any], place: dict[str, Any], said: str, kind: str, tmp_path: Path
) -> None:
    found = noticed(tmp_path, target, **place)
    assert [each.kind for each in found] == ([kind] if kind else []), found
    assert all(said in each.cause and each.remedy and each.where.startswith("profiles.yml:") for each in found)


def noticed(folder: Path, target: dict[str, Any], *settings: str, **place: Any) -> list[Problem]:
    written = ("register.approval=manual", *settings)
    found = problems(*banking(folder, target, written, **place))
    return [each for each in found if "machines" in each.cause or "one machine" in each.cause or "proces" in each.cause]


def test_every_target_says_what_one_process_trains(tmp_path: Path) -> None:
    (learner,) = noticed(tmp_path, GPUS, "train={learner: linear}", training={"machines": 2})
    assert "2 processes are to train together, and one trains the learner linear" in learner.cause
    space = "tune={space: {train.learning_rate: {loguniform: [1.0e-5, 1.0e-3]}}}"
    (search,) = noticed(tmp_path, GPUS, space, training={"machines": 2})
    assert "the job of the search tune has one" in search.cause and search.kind == "warning"


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_the_tasks_run_on_a_cluster(
    everywhere: Everywhere, environment: Path, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the wheel tasks of ingest, prepare and train are given, on two workers of a standalone cluster."""
    project = yaml.safe_load(everywhere.project.read_text())
    project["train"] = {"learner": "encoder", "base_model": str(tiny_base), "num_train_epochs": 2, "folds": 0}
    project["train"] |= {"dropout": 0.0, "early_stopping_patience": None, "quantize": "never", "interpolate": "never"}
    everywhere.project.write_text(yaml.safe_dump(project, sort_keys=False))
    everywhere.profile("prod", CLUSTER, training={"machines": 2})
    deployment = TARGET.deployment(load_project(everywhere.project), load_profile("prod"))
    found = deployment.files["databricks.yml"]["resources"]["jobs"]["stages"]
    root = tmp_path / "driver"
    for place, content in deployment.uploads.items():
        path = root / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    known = {f"job.parameters.{each['name']}": each["default"] for each in found["parameters"]} | {"job.run_id": "7"}
    python, cache = str(environment / "python"), tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))  # of the workers, which are processes of this machine
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with standalone(tmp_path / "cluster") as url:
        variables = {
            **os.environ,
            "PYSPARK_SUBMIT_ARGS": f"--master {url} --conf spark.ui.enabled=false pyspark-shell",
            "PYSPARK_PYTHON": python,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "DATABRICKS_RUNTIME_VERSION": "17.3",
        }
        for stage in ("ingest", "prepare", "train"):
            given = [filled(word, known) for word in words(found, stage)]
            given = [f"{root}{word}" if word.startswith("/Workspace/") else word for word in given]
            command = [python, "-c", LAUNCH, "lakewright", "databricks", *given]
            done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, f"{stage}: {done.stdout[-3000:]} {done.stderr[-3000:]}"
    assert (done.stdout + done.stderr).count('"model_folder"') == 1, done.stdout  # in the driver's log
    (made,) = cache.glob("lakewright/*/models/*/model.safetensors")
    here = {"workspace": "here", "tracking": None, "training": {"processes": 2}}
    everywhere.profile("here", {"name": "local"}, **here)
    assert np.array_equal(weights(made.parent), weights(lw.run("project.yml", profile="here").model_folder))


def weights(folder: Path) -> np.ndarray:
    found = load_file(folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)]).astype(np.float64)
