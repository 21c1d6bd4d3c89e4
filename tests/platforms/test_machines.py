"""Stages on machines that share nothing but an object store and a tracking server; what every target relies on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lakewright.pipeline import STAGES
from platforms.everywhere import FAILING, Everywhere, metrics_here


def on(machine: Path, environment: Path, stage: str, *options: str, project: str = "project.yml") -> Any:
    """The record that a stage prints, run as platforms run it, on a machine (a cache folder) of its own."""
    command = [str(environment / "lakewright"), "stage", stage, "--project", project, "--profile", "away", *options]
    given = {**os.environ, "XDG_CACHE_HOME": str(machine)}
    given.pop("PYTHONPATH", None)
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done


@pytest.mark.slow
def test_every_stage_on_a_machine_of_its_own(everywhere: Everywhere, environment: Path, tmp_path: Path) -> None:
    everywhere.profile("away", {"name": "local"})
    records = {
        stage.name: on(tmp_path / stage.name, environment, stage.name, "--run", "execution-1") for stage in STAGES
    }
    metrics = {name: metric["value"] for name, metric in records["evaluate"]["metrics"].items()}
    assert metrics == metrics_here(everywhere)
    assert records["register"]["aliases"] == ["challenger", "champion"]

    # Another execution finds all of it done, and says that it is the same model version.
    again = [on(tmp_path / "another", environment, stage.name, "--run", "execution-2") for stage in STAGES]
    assert again[-1]["version"] == records["register"]["version"]


@pytest.mark.slow
def test_below_the_gate_nothing_is_registered_and_the_run_ends(
    everywhere: Everywhere, environment: Path, tmp_path: Path
) -> None:
    everywhere.profile("away", {"name": "local"})
    options = ("--run", "execution-1", "--set", f"gate.minimum.accuracy={FAILING}")
    records = {stage.name: on(tmp_path / "machine", environment, stage.name, *options) for stage in STAGES}
    assert records["gate"]["passed"] is False
    assert records["register"] == {"skipped": "register"}
    (noted,) = (tmp_path / "machine").glob("lakewright/*/runs/*/run.json")
    assert json.loads(noted.read_text())["status"] == "done"


@pytest.mark.parametrize("stage", ["prepare", "register"])
def test_a_run_is_begun_by_its_first_stage_alone(
    stage: str, everywhere: Everywhere, environment: Path, tmp_path: Path
) -> None:
    everywhere.profile("away", {"name": "local"})
    done = on(tmp_path / "machine", environment, stage, "--run", "nobody's")
    assert done.returncode == 1 and "no run nobody's" in done.stderr
