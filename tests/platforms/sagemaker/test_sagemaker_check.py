"""What is wrong with a profile is told before anything is sent, and where it stands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakewright.api.places import opener
from lakewright.errors import LakewrightError, ProfileError
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Problem
from lakewright.targets.sagemaker import TARGET
from platforms.everywhere import ROOT
from platforms.sagemaker.given import ACCOUNT, WHOLE
from platforms.sagemaker.given import TARGET as LEAST

ENDPOINT = {"endpoint": "banking77"}
MANUAL = ["register.approval=manual"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project.yml").write_text((ROOT / "examples" / "banking77" / "project.yml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def profiles(target: dict[str, Any], **more: Any) -> None:
    place = {"workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org"}
    written = {"profiles": {"prod": {"target": target, **place, **more}}}
    Path("profiles.yml").write_text(yaml.safe_dump(written, sort_keys=False))


def found(*settings: str) -> list[Problem]:
    return list(TARGET.problems(load_project("project.yml", settings), load_profile("prod")))


def line_of(text: str) -> int:
    lines = Path("profiles.yml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("target", "settings", "kind", "at", "said"),
    [
        ({"training": {"instance_type": "ml.p3.2xlarge"}}, [], "error", "instance_type", "no longer exists"),
        ({"training": {"instance_type": "ml.p2.xlarge"}}, [], "warning", "instance_type", "may be unavailable"),
        ({"image": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/x:1"}, [], "error", "image", "the region is us-east-1"),
        ({"training": {"spot": True, "checkpoints": False}}, [], "error", "checkpoints", "starts from the beginning"),
        ({"training": {"spot": True, "hours": 4, "wait_hours": 2}}, [], "error", "wait_hours", "is less than hours"),
        ({"training": {"wait_hours": 2}}, [], "error", "wait_hours", "no effect without spot"),
        ({"debugger_rules": [{"name": "r", "image": "i"}]}, [], "warning", "debugger_rules", "closed to new customers"),
        ({"approval": "Approved"}, MANUAL, "error", "approval", "would approve every model"),
        ({"endpoint": ENDPOINT}, [], "warning", "endpoint", "serves it without approval"),
        ({"endpoint": {**ENDPOINT, "least": 4, "most": 1}}, MANUAL, "error", "least", "is more than most"),
        ({"endpoint": {**ENDPOINT, "champion": {"percent": 90}}}, MANUAL, "error", "percent", "sums to 90 percent"),
        (
            {"endpoint": {**ENDPOINT, "champion": {"percent": 50}, "challenger": {"percent": 50}}},
            MANUAL, "error", "challenger", "are both version: approved",
        ),
        (
            {"endpoint": {**ENDPOINT, "least": 1, "most": 2, "champion": {"instances": 3}}},
            MANUAL, "error", "instances", "more than most",
        ),
        ({"environment": {"API_TOKEN": "x"}}, [], "error", "API_TOKEN", "looks like a secret"),
        ({"secrets": {"TOKEN": "hunter2"}}, [], "error", "TOKEN", "not the ARN"),
        ({"feature_store": "s3://our-lake/features"}, [], "error", "feature_store", "column of times"),
        (
            {"feature_store": "s3://our-lake/features"},
            ["data.columns.event_time=at", "data.unlabeled=more.csv"],
            "error", "feature_store", "data.unlabeled have none",
        ),
        ({"batch": {"input": "s3://a/b", "output": "s3://a/c"}}, [], "error", "batch", "there is none"),
        ({}, [f"register.description={'long ' * 60}"], "error", "--set", "longer than 256"),
        ({}, [f"register.model=main.bank.{'long' * 16}"], "error", "target", "more than 63 characters"),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_line(
    target: dict[str, Any], settings: list[str], kind: str, at: str, said: str
) -> None:
    profiles(LEAST | target)
    (problem,) = found(*settings)
    assert (problem.kind, said in problem.cause) == (kind, True), problem
    assert problem.remedy
    assert problem.where == (at if at in ("project.yml", "--set") else f"profiles.yml:{line_of(f'{at}:')}")


def test_nothing_is_wrong_with_a_good_profile() -> None:
    profiles(LEAST)
    assert found() == []
    profiles(WHOLE)
    assert [problem.where for problem in found(*MANUAL)] == [f"profiles.yml:{line_of('debugger_rules:')}"]


def test_a_gpu_is_wanted_where_train_has_none() -> None:
    profiles(LEAST, device="cuda")
    (problem,) = found()
    assert problem.kind == "error" and "ml.m6i.xlarge has no GPU" in problem.cause
    assert problem.where == f"profiles.yml:{line_of('device:')}"
    for instance in ("ml.g5.xlarge", "ml.p5.48xlarge"):
        profiles(LEAST | {"training": {"instance_type": instance}}, device="cuda:0")
        assert found() == []


def test_a_reference_that_no_container_can_fill_in_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", "hunter2")
    options = {"AWS_SECRET_ACCESS_KEY": "${env:LAKE_KEY}"}
    profiles(LEAST, storage_options=options)
    (problem,) = found()
    assert "no step has LAKE_KEY" in problem.cause
    assert problem.where == f"profiles.yml:{line_of('${env:LAKE_KEY}')}"
    arn = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:lake-AbCdEf"
    profiles(LEAST | {"secrets": {"LAKE_KEY": arn}}, storage_options=options)
    assert found() == []
    deployment = TARGET.deployment(load_project("project.yml"), load_profile("prod"))
    sent = json.dumps([deployment.files, [request.body for request in deployment.requests]])
    assert "hunter2" not in sent and arn in sent


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"role": None}, "role"),
        ({"region": "Europe"}, "region"),
        ({"image": ...}, "'profiles.prod.target.image' is missing"),
        ({"processing": {"volume_gb": 0}}, "greater than or equal to 1"),
        ({"endpoint": {"endpoint": "a_b"}}, "endpoint.endpoint"),
        ({"endpoint": {"endpoint": "a", "least": 1}}, "both least and most"),
        ({"trainng": {}}, "did you mean 'training'"),
    ],
)
def test_a_setting_that_is_none_is_refused_as_the_profile_is_read(change: dict[str, Any], told: str) -> None:
    profiles({name: value for name, value in (LEAST | change).items() if value is not ...})
    with pytest.raises(ProfileError) as refused:
        load_profile("prod")
    assert re.search(r"profiles\.yml:\d+", str(refused.value)) and told in str(refused.value)


@pytest.mark.slow
def test_a_deployment_with_an_error_is_not_sent_and_a_dry_run_needs_no_boto3(
    folder: Path, lakewright: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    profiles(LEAST | {"training": {"spot": True, "checkpoints": False}})
    (folder / "boto3.py").write_text("raise AssertionError('boto3 was imported')\n")
    refused = lakewright("deploy", "--profile", "prod", cwd=folder)
    assert refused.returncode == 2 and "starts from the beginning" in refused.stderr
    shown = lakewright("deploy", "--profile", "prod", "--dry-run", "--json", "--out", "sent", cwd=folder)
    assert shown.returncode == 2, shown.stderr
    files = json.loads(shown.stdout)["files"]
    assert sorted(files) == ["pipeline.json", "requests.json"]
    assert (folder / "sent" / "pipeline.json").read_text() == files["pipeline.json"]
    requests = json.loads(files["requests.json"])
    assert [request["operation"] for request in requests["requests"]] == [
        "sagemaker.create_model_package_group",
        "sagemaker.create_pipeline",
    ]
    assert json.loads(requests["requests"][1]["body"]["PipelineDefinition"]) == json.loads(files["pipeline.json"])
    assert {place.rpartition("/")[2] for place in requests["uploads"]} == {"boto3.py", "profiles.yml", "project.yml"}


def test_data_and_workspaces_are_no_code(folder: Path) -> None:
    from lakewright.errors import UsageError
    from lakewright.targets import project_files
    from lakewright.targets.sagemaker import code

    profiles(LEAST)
    for name in (".lakewright/models/a", "here/.writable", "here/models/b", "source/rows.py", "__pycache__/c.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    project, profile = load_project("project.yml"), load_profile("prod")
    files = code.project_files(project, profile)
    assert sorted(files) == ["profiles.yml", "project.yml", "source/rows.py"]
    before = code.prefix(files, project, profile)
    (folder / "source" / "rows.py").write_text("y")
    assert code.prefix(code.project_files(project, profile), project, profile) != before
    with (folder / "rows.csv").open("wb") as file:
        file.truncate(project_files.MOST_BYTES + 1)
    with pytest.raises(UsageError, match="MiB in"):
        code.project_files(project, profile)


def test_without_credentials_a_deployment_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    profiles(LEAST)
    project, profile = load_project("project.yml"), load_profile("prod")
    with pytest.raises(LakewrightError, match="credentials"):
        list(TARGET.deploy(TARGET.deployment(project, profile), project, profile, opener(profile)))
