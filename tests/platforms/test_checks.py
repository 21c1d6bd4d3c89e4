"""What `lakewright check` finds whatever the target, and what a deployment does about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from conftest import one_object

Lakewright = Callable[..., CompletedProcess[str]]
SAGEMAKER = {
    "name": "sagemaker",
    "region": "eu-west-1",
    "role": "arn:aws:iam::123456789012:role/stages",
    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/lakewright:0.1.0",
}
WHOLE = {"target": SAGEMAKER, "workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org"}


def checked(lakewright: Lakewright, project: Path, profile: dict[str, Any], *settings: str) -> Any:
    (project.parent / "profiles.yml").write_text(yaml.safe_dump({"profiles": {"prod": profile}}, sort_keys=False))
    done = lakewright("check", "--profile", "prod", "--json", "--set", "train={learner: linear}", *settings)
    found = one_object(done.stdout)["problems"]
    assert done.returncode == 2 * any(problem["kind"] == "error" for problem in found)
    return found


@pytest.mark.parametrize(
    ("change", "settings", "where", "cause"),
    [
        ({"workspace": "here"}, (), "profiles.yml:8", "a folder of this machine"),
        ({"tracking": None}, (), "profiles.yml:9", "which machines cannot share"),
        ({"storage_options": {"AWS_SECRET_ACCESS_KEY": "s3cr3t"}}, (), "profiles.yml:11", "is written in profiles.yml"),
        ({"lake": "tables"}, (), "profiles.yml:10", "a folder of this machine"),
        ({"tracking": "sqlite:///mlflow.db"}, (), "profiles.yml:9", "is this machine's"),
        ({"target": {**SAGEMAKER, "parameters": {"a b": "train.C"}}}, (), "profiles.yml:8", "cannot name a parameter"),
        ({}, ("--set", "train={base_model: ./mine}"), "project.yml", "train.base_model: ./mine"),
        (
            {},
            ("--set", "train={learner: trees}", "--set", "prepare.recipe={sentence_embeddings: {base_model: ./mine}}"),
            "project.yml",
            "prepare.recipe.sentence_embeddings.base_model: ./mine",
        ),
        ({}, ("--set", "gate.minimum={}"), "project.yml", "becomes champion without approval"),
        ({}, ("--set", "data.source=things.csv"), "project.yml", "a file of this machine"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    project: Path, lakewright: Lakewright, change: dict[str, Any], settings: tuple[str, ...], where: str, cause: str
) -> None:
    elsewhere = ("--set", "data.source=s3://lake/things.csv")
    (found,) = checked(lakewright, project, {**WHOLE, **change}, *elsewhere, *settings)
    assert found["where"] == where and cause in found["cause"] and found["kind"] == "error" and found["remedy"]


def test_a_gate_that_does_not_block_may_have_a_person_behind_it(project: Path, lakewright: Lakewright) -> None:
    settings = ("data.source=s3://lake/things.csv", "gate.minimum={}", "register.approval=manual")
    (found,) = checked(lakewright, project, WHOLE, *(part for each in settings for part in ("--set", each)))
    assert found["kind"] == "warning" and "the gate does not block" in found["cause"]


def test_nothing_is_sent_while_there_is_an_error(project: Path, lakewright: Lakewright) -> None:
    assert checked(lakewright, project, WHOLE)  # things.csv is a file of this machine
    linear = ("--profile", "prod", "--set", "train={learner: linear}")
    refused = lakewright("deploy", *linear)
    assert refused.returncode == 2 and "error: project.yml: data.source: things.csv" in refused.stderr
    told = lakewright("deploy", *linear, "--dry-run", "--out", "sent")
    assert told.returncode == 2 and "data.source: things.csv is a file of this machine" in told.stderr
    assert told.stdout.startswith("# pipeline.json\n") and (project.parent / "sent" / "requests.json").exists()
