"""What is emitted: against the schemas of databricks-bundles and databricks-sdk, and against what a person has read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.clusters import Cluster
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.jobs import Job
from databricks.bundles.model_serving_endpoints import ModelServingEndpoint
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from databricks.bundles.volumes import Volume
from databricks.sdk.service import jobs as sdk

from lakewright.targets.databricks import TARGET
from lakewright.targets.files import texts
from platforms.databricks.given import SMALL, WHOLE, banking
from platforms.databricks.strict import Refused, conforms
from platforms.databricks.work import check_job

GOLDEN = Path(__file__).with_name("golden") / "databricks.yml"
KINDS: dict[str, Any] = {
    "schemas": Schema,
    "volumes": Volume,
    "registered_models": RegisteredModel,
    "experiments": MlflowExperiment,
    "clusters": Cluster,
    "jobs": Job,
    "model_serving_endpoints": ModelServingEndpoint,
}
SERVERLESS = {name: value for name, value in WHOLE.items() if name != "cluster"} | {"accelerator": "GPU_1xA10"}


def emitted(folder: Path, target: dict[str, Any]) -> dict[str, Any]:
    """databricks.yml, as the Databricks CLI reads it."""
    text = texts(TARGET.deployment(*banking(folder, target)))["databricks.yml"]
    bundle: dict[str, Any] = yaml.safe_load(text)
    return bundle


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_empty(part) for name, part in value.items() if part not in (None, [], {})}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("target", [SMALL, WHOLE, SERVERLESS], ids=["small", "whole", "serverless"])
def test_every_resource_is_one_that_bundles_know(target: dict[str, Any], tmp_path: Path) -> None:
    resources = emitted(tmp_path, target)["resources"]
    assert {*resources} <= {*KINDS}
    for kind, named in resources.items():
        for key, resource in named.items():
            loaded = KINDS[kind].from_dict(resource)  # refuses unknown fields, other types, unknown words of enums
            assert without_empty(loaded.as_dict()) == without_empty(resource), (kind, key)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"tasks": [{"task_key": "a", "python_wheel_task": {"package_name": "x", "entry_point": "y", "arguments": []}}]},
        {"tasks": [{"task_key": "a", "condition_task": {"op": "IS", "left": "1", "right": "1"}}]},
        {"max_concurrent_runs": "two"},
        {"job_clusters": [{"job_cluster_key": "a", "new_cluster": {"data_security_mode": "UNITY"}}]},
    ],
    ids=["unknown field", "unknown word", "wrong type", "unknown mode"],
)
def test_both_schemas_refuse_what_is_wrong(spoilt: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        conforms({"name": "job", **spoilt}, sdk.JobSettings)
    with pytest.raises(Exception, match=r"(?i)unexpected|expected|not a valid|invalid literal"):
        Job.from_dict({"name": "job", **spoilt})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("target", [SMALL, WHOLE, SERVERLESS], ids=["small", "whole", "serverless"])
def test_jobs_survive_the_sdk(target: dict[str, Any], tmp_path: Path) -> None:
    for key, job in emitted(tmp_path, target)["resources"]["jobs"].items():
        sent = json.loads(json.dumps(job).replace('"${resources.jobs.stages.id}"', "7"))
        check_job(sent)
        assert without_empty(sdk.JobSettings.from_dict(sent).as_dict()) == without_empty(sent), key


def test_the_bundle_is_the_one_that_was_read(tmp_path: Path) -> None:
    """Read tests/platforms/databricks/golden/databricks.yml after each change of it. LAKEWRIGHT_GOLDEN=1 writes it."""
    import os

    text = texts(TARGET.deployment(*banking(tmp_path, {**SMALL, "cluster": {"node_type": "i3.xlarge"}}, ())))
    if os.environ.get("LAKEWRIGHT_GOLDEN"):
        GOLDEN.write_text(text["databricks.yml"])
    assert text["databricks.yml"] == GOLDEN.read_text()


def test_settings_of_the_command_line_and_parameters_reach_every_stage(tmp_path: Path) -> None:
    loaded = banking(
        tmp_path, {**SMALL, "parameters": {"Smoothing": "train.label_smoothing_factor"}}, ("train.seed=3",)
    )
    job = yaml.safe_load(texts(TARGET.deployment(*loaded))["databricks.yml"])["resources"]["jobs"]["stages"]
    given = {each["name"]: each["default"] for each in job["parameters"]}
    assert (given["Seed"], given["Smoothing"]) == ("3", "0.1")
    wheels = [task["python_wheel_task"]["parameters"] for task in job["tasks"] if "python_wheel_task" in task]
    assert len(wheels) == 6
    for parameters in wheels:
        assert parameters.index("train.seed=3") < parameters.index("train.seed={{job.parameters.Seed}}")
        assert "train.label_smoothing_factor={{job.parameters.Smoothing}}" in parameters


def test_deploying_dry_needs_no_sdk_and_no_credentials(tmp_path: Path) -> None:
    import subprocess
    import sys

    banking(tmp_path, WHOLE)
    code = (
        "import sys; sys.modules['databricks'] = None\n"
        "from lakewright.cli import main\n"
        "sys.argv = 'lakewright deploy project.yml --profile prod --dry-run --out out'.split()\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "before anybody approves it" in done.stderr
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["approval.py", "databricks.yml", "profiles.yml", "project.yml", "requests.json"]
    operations = [
        each["operation"] for each in json.loads((tmp_path / "out" / "requests.json").read_text())["requests"]
    ]
    assert operations.count("POST /api/2.2/jobs/create") == 3
