"""What the proofs of jobs of one step, a search and a scoring, are given: a project and a profile for each platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lakewright.plugins import TARGETS
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Deployment, Problem
from lakewright.targets.checks import problems
from platforms.databricks.given import SMALL as DATABRICKS
from platforms.everywhere import ROOT
from platforms.sagemaker.given import TARGET as SAGEMAKER
from platforms.sagemaker.runner import Runner

PLATFORMS: dict[str, dict[str, Any]] = {
    "databricks": {**DATABRICKS, "package": "lakewright[tables,train]==0.1.0", "timeout_minutes": 300},
    "sagemaker": {**SAGEMAKER, "training": {"instance_type": "ml.g5.xlarge", "hours": 5}},
    "azureml": {
        "name": "azureml",
        "subscription": "00000000-0000-0000-0000-000000000000",
        "resource_group": "our-group",
        "workspace": "our-workspace",
        "gpu": {"name": "gpu", "size": "Standard_NC24ads_A100_v4"},
        "environment": {"packages": ["lakewright[tables, train]==0.1.0"], "variables": {"HF_HUB_OFFLINE": "1"}},
        "timeout_minutes": 300,
    },
}


def write_banking77(folder: Path, more: Mapping[str, Mapping[str, Any]] = {}, **place: Any) -> None:
    """The example, with a profile of each platform, whose target has `more` settings."""
    (folder / "project.yml").write_text((ROOT / "examples" / "banking77" / "project.yml").read_text())
    place = {"workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org", **place}
    profiles = {name: {"target": target | more.get(name, {}), **place} for name, target in PLATFORMS.items()}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}, sort_keys=False))


def deployed(name: str, *settings: str) -> Deployment:
    project, profile = load_project("project.yml", settings), load_profile(name)
    found: Deployment = TARGETS.find(name).deployment(project, profile)
    return found


def noticed(name: str, *settings: str, **target: Any) -> list[Problem]:
    """What `check` says, with these settings of the project, and these of the target."""
    profiles = yaml.safe_load(Path("profiles.yml").read_text())
    profiles["profiles"][name]["target"] |= target
    Path("profiles.yml").write_text(yaml.safe_dump(profiles, sort_keys=False))
    return problems(load_project("project.yml", settings), load_profile(name))


class Dry(Runner):
    """Every request is made and checked against botocore's model, and nothing is run."""

    def __post_init__(self) -> None:
        self.running = []
        self.commands: list[list[str]] = []
        self.requests: list[dict[str, Any]] = []

    def _request(self, step: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(super()._request(step))
        return self.requests[-1]

    def _container(self, step: Any, opt: Any, command: Any, environment: Any) -> None:
        self.commands.append(command)

    def _fetch(self, uri: str, folder: Path, empty: bool = False) -> None:
        pass
