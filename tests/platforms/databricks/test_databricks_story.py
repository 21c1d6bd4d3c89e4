"""The story on Databricks: deployed, run and watched from the command line; what is emitted is what runs.

The workspace is the strict server of this folder, asked by the real databricks-sdk. Its runner executes the job as it
was sent, each task in the wheel's own environment, on a machine of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import one_object
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets import remote
from lakewright.targets.databricks import TARGET
from platforms.databricks.runner import Runner
from platforms.databricks.server import TOKEN, served
from platforms.databricks.workspace import Databricks
from platforms.everywhere import FAILING, Everywhere, metrics_here


@pytest.fixture
def databricks(
    everywhere: Everywhere, environment: Path, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Databricks]:
    """A workspace, and the profile `prod` whose stages run in it; secrets are the storage's keys."""
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)
    runner = Runner(environment)
    workspace = Databricks(
        tmp_path / ".databricks",
        everywhere.tracking,
        {f"lake/{name}": value for name, value in everywhere.environment.items()},
        runner,
    )
    with served(workspace):
        target = {
            "name": "databricks",
            "host": workspace.host,
            "package": f"{wheel}[train]",
            "cluster": {"node_type": "i3.xlarge"},
            "environment": {name: f"{{{{secrets/lake/{name}}}}}" for name in everywhere.environment},
            "retries": {"times": 0},
        }
        everywhere.profile("prod", target, workers={"name": "local"})  # parts on a cluster: test_databricks_machines.py
        yield workspace
        runner.wait()


def lakewright(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """The command in this process (so that it polls faster): its exit code, what --json printed, and its messages."""
    from lakewright.cli.app import app

    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        app([*arguments, "--profile", "prod", "--json"])
    said = capsys.readouterr()
    return int(end.value.code or 0), one_object(said.out), said.err


def metrics(run: dict[str, Any]) -> dict[str, float]:
    return {name: metric["value"] for name, metric in run["metrics"].items()}


@pytest.mark.slow
def test_deployed_run_and_watched(
    databricks: Databricks, everywhere: Everywhere, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sent, _ = lakewright("deploy", capsys=capsys)
    assert code == 0
    assert any(line.startswith("job main.demo.") for line in sent["sent"])

    code, run, messages = lakewright("run", capsys=capsys)
    assert code == 0, messages
    assert metrics(run) == metrics_here(everywhere)
    assert run["model_version"]["aliases"] == ["challenger", "champion"]
    assert {name: stage["status"] for name, stage in run["stages"].items()} == dict.fromkeys(
        ("ingest", "prepare", "train", "evaluate", "gate", "register"), "done"
    )

    # The other branch, by a parameter of the job alone.
    project, profile = load_project(everywhere.project), load_profile("prod", everywhere.folder)
    started = TARGET.start(project, profile, {"MinAccuracyValue": str(FAILING)})
    code, last, messages = lakewright("runs", "follow", capsys=capsys)
    assert (code, last["id"], last["status"]) == (0, started.id, "done")
    assert (last["stages"]["gate"], last["stages"]["register"]) == ("done", "skipped")
    assert 'gate:   "passed": false' in messages
    gate = databricks.folder / "machines" / f"{started.id}-gate-0"
    (folder,) = [
        path.parent
        for path in gate.glob("cache/lakewright/*/runs/*/run.json")
        if json.loads(path.read_text())["name"] == started.id
    ]
    assert json.loads((folder / "records" / "gate.json").read_text())["passed"] is False

    code, listed, _ = lakewright("runs", "list", capsys=capsys)
    assert code == 0
    assert [each["run"] for each in listed["runs"]] == sorted((str(number) for number in databricks.runs), reverse=True)


@pytest.mark.slow
def test_below_the_gate_the_exit_code_is_three(
    databricks: Databricks, everywhere: Everywhere, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run, _ = lakewright("run", "--set", f"gate.minimum.accuracy={FAILING}", capsys=capsys)
    assert code == 3
    assert run["decision"]["passed"] is False and run["model_version"] is None
    assert run["stages"]["register"]["status"] == "skipped"


def test_a_stage_that_fails_fails_the_run_and_says_where(
    databricks: Databricks, everywhere: Everywhere, capsys: pytest.CaptureFixture[str]
) -> None:
    text = everywhere.project.read_text()
    everywhere.project.write_text(text.replace("things.parquet", "nothing.parquet"))
    code, run, messages = lakewright("run", capsys=capsys)
    assert code == 1
    assert "ingest failed" in run["error"]["cause"]
    assert run["stages"]["ingest"]["status"] == "failed"
    assert run["stages"]["register"]["status"] == "skipped"
    code, _, messages = lakewright("runs", "follow", capsys=capsys)
    assert code == 1
    assert "ingest: " in messages and "nothing.parquet" in messages
