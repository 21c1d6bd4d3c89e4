"""What is written for Azure ML: azure-ai-ml's own loaders take it, and nothing of it is lost on the way."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakewright.plugins import TARGETS
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Deployment
from lakewright.targets.files import texts, write

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SOURCE = ("data.source=abfss://raw@ouraccount.dfs.core.windows.net/banking77", "data.format=parquet")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """What the example banking77 becomes with profiles.yml of this folder, all options in use."""
    return made(tmp_path_factory.mktemp("banking77"), (HERE / "profiles.yml").read_text(), *SOURCE)


def made(folder: Path, profiles: str, *settings: str) -> Deployment:
    (folder / "project.yml").write_text((ROOT / "examples/banking77/project.yml").read_text())
    (folder / "profiles.yml").write_text(profiles)
    project, profile = load_project(folder / "project.yml", settings), load_profile(None, folder)
    found: Deployment = TARGETS.find(profile.target.name).deployment(project, profile)
    return found


@pytest.fixture(scope="module")
def folder(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("written")
    write(deployment, found)
    return found


def test_golden_files(deployment: Deployment) -> None:
    """Reviewed by eye. Written again by `lakewright deploy --dry-run --out GOLDEN` with the settings in SOURCE, in a
    folder with examples/banking77/project.yml and the profiles.yml that lies beside this file."""
    golden = {str(path.relative_to(HERE / "golden")): path for path in (HERE / "golden").rglob("*") if path.is_file()}
    found = texts(deployment)
    assert found.keys() == golden.keys()
    for name, text in found.items():
        assert text == golden[name].read_text(), name


def loaders() -> dict[str, Callable[..., Any]]:
    from azure.ai import ml
    from azure.ai.ml.entities._load_functions import load_model_batch_deployment, load_schedule

    stages = ("ingest", "prepare", "train", "evaluate", "gate", "register")
    return {
        "compute-cpu.yml": ml.load_compute,
        "compute-gpu.yml": ml.load_compute,
        "compute-batch.yml": ml.load_compute,
        "environment.yml": ml.load_environment,
        "environment-online.yml": ml.load_environment,
        "environment-batch.yml": ml.load_environment,
        "data.yml": ml.load_data,
        **{f"components/{stage}.yml": ml.load_component for stage in stages},
        "pipeline.yml": ml.load_job,
        "score.yml": ml.load_job,
        "schedule.yml": load_schedule,
        "score-schedule.yml": load_schedule,
        "endpoint.yml": ml.load_online_endpoint,
        "deployment-blue.yml": ml.load_online_deployment,
        "deployment-green.yml": ml.load_online_deployment,
        "batch-endpoint.yml": ml.load_batch_endpoint,
        "batch-deployment.yml": load_model_batch_deployment,
    }


def test_every_file_has_its_loader(deployment: Deployment) -> None:
    described = {name for name in deployment.files if name.endswith(".yml") and not name.startswith("code/")}
    assert described == loaders().keys()


@pytest.mark.parametrize("name", sorted(loaders()))
def test_loaders_take_it_whole(name: str, folder: Path) -> None:
    assert complaints(name, folder) == ""


@pytest.mark.parametrize("name", sorted(loaders()))
def test_what_is_not_azures_is_noticed(name: str, folder: Path, tmp_path: Path) -> None:
    """So that the test above says something: most loaders refuse an unknown key, and those of components lose it."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    written = yaml.safe_load((folder / name).read_text())
    for spoilt in wrong(written):
        (tmp_path / name).write_text(yaml.safe_dump(spoilt, sort_keys=False))
        said = complaints(name, tmp_path)
        assert "lakewrigth" in said or "nonsense" in said, spoilt


def complaints(name: str, folder: Path) -> str:
    """What azure-ai-ml says against the file, or the keys that are not in the entity that it would send."""
    from azure.ai.ml._schema.component.command_component import CommandComponentSchema

    try:
        loaded = loaders()[name](folder / name)
        if name.startswith("components/"):  # whose loader keeps what it does not know; the schema itself does not
            schema = CommandComponentSchema(context={"base_path": folder / "components"})
            schema.load(yaml.safe_load((folder / name).read_text()))
    except Exception as refused:
        return str(refused)
    sent = plain(loaded._to_dict())
    if name == "score.yml":  # whose step is a component of its own
        sent["jobs"] = {step: {**part["component"], **part} for step, part in sent["jobs"].items()}
    lost = missing(yaml.safe_load((folder / name).read_text()), sent)
    # Files that are named are read; a path of this machine is spelt out.
    read = {"$schema", "create_job", "code", "component"}
    return " ".join(each for each in lost if each.rpartition(".")[2] not in read)


def wrong(written: dict[str, Any]) -> list[dict[str, Any]]:
    """The file with a key too many at its top and in its parts, and with a word that is none of those known."""
    found = [{**written, "lakewrigth": 1}]
    found += [{**written, key: "nonsense"} for key in ("tier", "auth_mode") if key in written]
    parts = ("request_settings", "trigger", "settings", "identity", "resources", "inputs.Seed", "outputs.record")
    for part in parts:
        spoilt = copy.deepcopy(written)
        holds: Any = spoilt
        for key in part.split("."):
            holds = holds.get(key) if isinstance(holds, dict) else None
        if isinstance(holds, dict):
            holds["lakewrigth"] = 1
            found.append(spoilt)
    return found


def missing(written: Any, loaded: Any, at: str = "") -> list[str]:
    """The dotted keys of what was written whose value is not in what was loaded."""
    if isinstance(written, dict):
        if not isinstance(loaded, Mapping):
            return [at]
        return [
            each for key, value in written.items() for each in missing(value, loaded.get(key), f"{at}.{key}".strip("."))
        ]
    if isinstance(written, list):
        pairs = (
            zip(written, loaded, strict=True) if isinstance(loaded, list) and len(loaded) == len(written) else [(0, 1)]
        )
        return [each for value, other in pairs for each in missing(value, other, f"{at}[]")]
    return [] if alike(written, loaded) else [at]


def alike(written: Any, loaded: Any) -> bool:
    if isinstance(loaded, Mapping) and set(loaded) & {"path", "value"}:  # a reference, spelt out
        return written in loaded.values()
    return str(written) == str(loaded) or (written, loaded) == ("managed", "managed_identity")  # the same


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def test_the_pipelines_steps_are_the_components(folder: Path) -> None:
    """A pipeline's loader passes over what it does not know in a step: each is what was checked alone above, and has
    no key that is not a step's."""
    from azure.ai.ml import load_component, load_job
    from azure.ai.ml._schema.pipeline.component_job import CommandSchema

    job = load_job(folder / "pipeline.yml")
    known = CommandSchema(context={"base_path": folder}).fields.keys()
    written = yaml.safe_load((folder / "pipeline.yml").read_text())["jobs"]
    for name, node in job.jobs.items():
        assert written[name].keys() <= known
        alone = load_component(folder / "components" / f"{name}.yml")
        for part in ("command", "inputs", "outputs", "environment", "is_deterministic"):
            assert plain(node.component._to_dict()[part]) == plain(alone._to_dict()[part])


def test_databricks_is_attached_as_azure_takes_it(deployment: Deployment) -> None:
    from azure.ai.ml._restclient.v2023_10_01.models import Databricks

    (request,) = deployment.requests
    compute = Databricks.from_dict(request.body["properties"])
    assert compute.compute_type == "Databricks"
    assert compute.serialize() == request.body["properties"]
    assert "oken" not in str(request.body)


def test_no_secret_is_sent_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = yaml.safe_load((HERE / "profiles.yml").read_text())
    profiles["profiles"]["azureml"]["storage_options"] = {"AZURE_STORAGE_ACCOUNT_KEY": "${env:OUR_KEY}"}
    monkeypatch.setenv("OUR_KEY", "s3cr3t")
    found = texts(made(tmp_path, yaml.safe_dump(profiles)))
    assert "s3cr3t" not in "".join(found.values())
    sent = yaml.safe_load(found["code/profiles.yml"])["profiles"]["azureml"]
    assert sent["storage_options"] == {"AZURE_STORAGE_ACCOUNT_KEY": "${env:OUR_KEY}"}


def test_settings_of_the_command_line_are_in_every_step(tmp_path: Path) -> None:
    deployment = made(tmp_path, (HERE / "profiles.yml").read_text(), "register.description=it's ours", "train.seed=7")
    for name, component in deployment.files.items():
        if name.startswith("components/"):
            assert """--set 'register.description=it'"'"'s ours'""" in component["command"]
            assert component["inputs"]["Seed"]["default"] == 7


@pytest.mark.slow
def test_a_dry_run_needs_no_sdk_and_no_credentials(tmp_path: Path) -> None:
    for name, text in {
        "project.yml": ROOT / "examples/banking77/project.yml",
        "profiles.yml": HERE / "profiles.yml",
    }.items():
        (tmp_path / name).write_text(text.read_text())
    code = "import sys; sys.modules['azure'] = None; from lakewright.cli import main; main()"
    command = [sys.executable, "-c", code, "deploy", "project.yml", "--dry-run", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "data asset" in done.stderr  # hf:// is no place that one points to
    assert (tmp_path / "out" / "pipeline.yml").exists() and "# endpoint.yml" in done.stdout
    # Sending needs it, and says what to install.
    sent = subprocess.run(command[:-3], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert sent.returncode == 2 and "data asset" in sent.stderr


def test_what_the_api_gets(folder: Path) -> None:
    """The entities as azure-ai-ml turns them into the API's objects."""
    from azure.ai import ml
    from azure.ai.ml.entities._load_functions import load_model_batch_deployment

    cluster = ml.load_compute(folder / "compute-gpu.yml")._to_rest_object().serialize()["properties"]["properties"]
    assert cluster["vmPriority"] == "LowPriority"
    assert cluster["scaleSettings"] == {"maxNodeCount": 1, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT5M"}
    endpoint = (
        ml.load_online_endpoint(folder / "endpoint.yml")._to_rest_online_endpoint("here").serialize()["properties"]
    )
    assert (endpoint["traffic"], endpoint["mirrorTraffic"]) == ({"blue": 100, "green": 0}, {"green": 10})
    blue = ml.load_online_deployment(folder / "deployment-blue.yml")._to_rest_object("here").serialize()
    assert blue["properties"]["requestSettings"]["requestTimeout"] == "PT5S" and blue["sku"]["capacity"] == 1
    batch = (
        load_model_batch_deployment(folder / "batch-deployment.yml")._to_rest_object("here").serialize()["properties"]
    )
    assert (batch["outputAction"], batch["miniBatchSize"]) == ("SummaryOnly", 10)
    assert batch["retrySettings"] == {"maxRetries": 3, "timeout": "PT10M"}

    job = ml.load_job(folder / "pipeline.yml")
    assert job._validate().passed
    for name, node in job.jobs.items():
        node._component = f"azureml:{name}:1"  # as if each were registered
    sent = job._to_rest_object().serialize()["properties"]
    values = {name: given["value"] for name, given in sent["inputs"].items()}  # all are texts there
    assert values["LearningRate"] == "0.0008" and values["Seed"] == "13" and values["MinAccuracyValue"] == "0.9"
    register = sent["jobs"]["register"]
    assert register["inputs"]["gate"]["value"] == "${{parent.jobs.gate.outputs.record}}"
    assert register["inputs"]["Seed"]["value"] == "${{parent.inputs.Seed}}"
