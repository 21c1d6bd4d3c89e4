"""What has run and what is wrong, before anything is sent: `lakewright runs`, `check` and `deploy` on one machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from conftest import one_object

Lakewright = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_runs_are_listed_and_followed_to_their_end(project: Path, lakewright: Lakewright) -> None:
    nothing = lakewright("runs", "follow")
    assert nothing.returncode == 1 and "has not run on local yet" in nothing.stderr

    done = lakewright("run", "--set", "train={learner: linear}", "--json")
    assert done.returncode == 0
    refused = lakewright("run", "--set", "train={learner: linear}", "--set", "gate.minimum.accuracy=1.01", "--json")
    assert refused.returncode == 3
    newest, first = one_object(lakewright("runs", "list", "--json").stdout)["runs"]
    assert first["run"] == json.loads(done.stdout)["run_id"] and first["status"] == "done"
    assert "register" in first["stages"] and "register" not in newest["stages"]
    assert newest["began"] > first["began"]

    shown = one_object(lakewright("runs", "show", first["run"], "--json").stdout)
    assert shown["status"] == "done" and shown["stages"]["ingest"]["made"] == "main.demo.things@v0"
    assert sum(shown["stages"]["prepare"]["parts"].values()) == 1 and shown["stages"]["gate"]["made"] == "passed"
    said = lakewright("runs", "show", first["run"])
    assert said.returncode == 0 and "main.demo.things_features@v0" in said.stdout
    unknown = lakewright("runs", "show", first["run"][:-1])
    assert unknown.returncode == 1 and f"did you mean '{first['run']}'" in unknown.stderr

    followed = lakewright("runs", "follow")
    assert followed.returncode == 0
    assert "✓ gate" in followed.stderr and "gate: done in" in followed.stderr  # the stages, and the run's own log


def test_a_run_that_failed_says_so(project: Path, lakewright: Lakewright) -> None:
    assert lakewright("run", "--set", "train={learner: linear, C: -1}").returncode == 2
    (project.parent / "things.csv").write_text("id,text,label\n1,a,b\n")
    assert lakewright("run", "--set", "train={learner: linear}").returncode == 1
    followed = lakewright("runs", "follow")
    assert followed.returncode == 1 and "failed" in followed.stderr


def test_to_this_machine_nothing_is_deployed(project: Path, lakewright: Lakewright) -> None:
    refused = lakewright("deploy", "--dry-run")
    assert refused.returncode == 2
    assert "the profile local runs on this machine" in refused.stderr and "lakewright serve" in refused.stderr


def test_a_profile_of_one_machine_has_no_problems(project: Path, lakewright: Lakewright) -> None:
    checked = lakewright("check", "--json")
    assert checked.returncode == 0 and one_object(checked.stdout) == {"problems": []}


def test_an_unknown_target_and_a_setting_it_has_not(project: Path, lakewright: Lakewright) -> None:
    profiles = project.parent / "profiles.yml"
    profiles.write_text(yaml.safe_dump({"profiles": {"prod": {"target": "sagemakr"}}}))
    unknown = lakewright("check", "--profile", "prod")
    assert unknown.returncode == 2
    assert "profiles.yml:3: there is no target named 'sagemakr'" in unknown.stderr and "sagemaker" in unknown.stderr
    profiles.write_text(yaml.safe_dump({"profiles": {"prod": {"target": {"name": "local", "roel": "x"}}}}))
    unknown = lakewright("check", "--profile", "prod")
    assert unknown.returncode == 2 and "profiles.prod.target.roel" in unknown.stderr
