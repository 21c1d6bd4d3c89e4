"""What `lakewright check` says of a profile of Azure ML's, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import Problem
from lakewright.targets.checks import problems

GOOD: dict[str, Any] = {"name": "azureml", "subscription": "s", "resource_group": "g", "workspace": "w"}
ONLINE = {"name": "bank-intents"}
Check = Callable[..., list[Problem]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """The problems of a profile whose target has these settings beside, or in place of, good ones."""

    def found(more: dict[str, Any], approval: str = "manual", **profile: Any) -> list[Problem]:
        project = {
            "name": "things",
            "task": "text_classification",
            "data": {"source": "abfss://raw@ours.dfs.core.windows.net/things", "columns": {"text": "t", "label": "l"}},
            "gate": {"minimum": {"accuracy": 0.8}},
            "register": {"approval": approval},
        }
        place = {
            "target": {**GOOD, **more},
            "workspace": "abfss://lake@ours.dfs.core.windows.net/w",
            "tracking": "https://mlflow.our.org",
            **profile,
        }
        (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
        (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": {"prod": place}}, sort_keys=False))
        return problems(load_project(tmp_path / "project.yml"), load_profile("prod", tmp_path))

    return found


def test_a_good_profile_has_none(check: Check) -> None:
    assert (
        check({"online": ONLINE, "batch": {"name": "bank-batch"}, "data": "questions", "schedule": "0 5 * * 1"}) == []
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"subscription": ""}, "no subscription"),
        ({"resource_group": ""}, "no resource_group"),
        ({"workspace": ""}, "no workspace"),
        (
            {"cpu": {"name": "cpu", "min_instances": 5, "max_instances": 2}},
            "min_instances (5) is more than max_instances (2)",
        ),
        ({"gpu": {"name": "gpu", "size": "Standard_NC6s_v3"}}, "Azure stopped it on 30 September 2025"),
        ({"gpu": {"name": "gpu", "size": "standard_nv12"}}, "Azure stopped it on 6 September 2023"),
        ({"gpu": {"name": "cpu", "size": "Standard_NC24ads_A100_v4"}}, "two clusters are named cpu"),
        ({"online": {**ONLINE, "blue": {"traffic": 90}}}, "sums to 90 percent"),
        ({"online": {**ONLINE, "green": {"traffic": 10}}}, "sums to 110 percent"),
        ({"online": {**ONLINE, "low_priority": True}}, "cannot run on low-priority"),
        ({"online": {"name": "ab"}}, "has 2 characters"),
        ({"online": {"name": "a" * 33}}, "has 33 characters"),
        ({"online": {"name": "bank_intents"}}, "characters that Azure ML refuses"),
        ({"batch": {"name": "bank-"}}, "characters that Azure ML refuses"),
        ({"batch": {"name": "bank", "instances": 9}}, "batch.instances is 9, and the cluster has at most 4 nodes"),
        (
            {"online": {**ONLINE, "blue": {"traffic": 100, "mirror": 5}, "green": {"traffic": 0, "mirror": 5}}},
            "mirrored to both",
        ),
        ({"online": {**ONLINE, "packages": ["openvino"]}}, "online.packages does not install lakewright"),
        ({"environment": {"packages": ["torch"]}}, "environment.packages does not install lakewright"),
        ({"environment": {"variables": {"OUR_SECRET": "x"}}}, "would be written to a file"),
        ({"schedule": "0 5 * *"}, "does not have five fields"),
        ({"parameters": {"Text": "register.nothing"}}, "which this project does not have"),
    ],
)
def test_each_error_is_found_and_says_where(check: Check, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    (error,) = [problem for problem in check(more) if problem.kind == "error"]
    assert said in error.cause and error.remedy
    file, line = error.where.split(":")
    assert file == "profiles.yml"
    # The line is one of the target's, and of the setting itself where that is written.
    key = next(iter(more))
    text = (tmp_path / "profiles.yml").read_text().splitlines()
    first = next(at for at, each in enumerate(text, 1) if each.strip().startswith(f"{key}:"))
    assert int(line) >= first or key in ("gpu", "parameters")


@pytest.mark.parametrize(
    ("more", "rest", "said"),
    [
        ({"gpu": {"name": "gpu", "size": "Standard_NC6"}}, {}, "may be unavailable"),
        ({"online": ONLINE}, {"approval": "automatic"}, "serves it without approval"),
        ({}, {"storage_options": {"AZURE_STORAGE_ACCOUNT_KEY": "${env:OUR_KEY}"}}, "only if the image sets it"),
    ],
)
def test_warnings_stop_nothing(
    check: Check, more: dict[str, Any], rest: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "x")
    (warning,) = check(more, **rest)
    assert warning.kind == "warning" and said in warning.cause


def test_a_gpu_is_wanted_where_train_has_none(check: Check) -> None:
    (error,) = check({}, device="cuda")
    assert error.kind == "error" and "Standard_E4ds_v4 has no GPU" in error.cause
    assert check({"gpu": {"name": "gpu", "size": "Standard_NC24ads_A100_v4"}}, device="cuda") == []


def test_a_secret_in_the_file_itself(check: Check) -> None:
    (error,) = check({}, storage_options={"AZURE_STORAGE_ACCOUNT_KEY": "s3cr3t"})
    assert error.kind == "error" and "is written in profiles.yml itself" in error.cause and "s3cr3t" not in str(error)


def test_bounds_are_refused_with_the_profile(check: Check) -> None:
    from lakewright.errors import ProfileError

    for more, said in (
        ({"cpu": {"name": "cpu", "idle_seconds": 5}}, "idle_seconds"),
        ({"online": {**ONLINE, "blue": {"traffic": 101}}}, "traffic"),
        ({"online": {**ONLINE, "green": {"mirror": 51}}}, "mirror"),
        ({"online": {**ONLINE, "instances": 0}}, "instances"),
        ({"identity": "me"}, "identity"),
        ({"workspce": "w"}, "workspace"),
    ):
        with pytest.raises(ProfileError, match=said):
            check(more)
