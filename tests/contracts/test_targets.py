"""One suite over every target: the same project, the same records, wherever its stages run."""

from __future__ import annotations

from pathlib import Path

from lakewright import plugins
from lakewright.api.places import opener
from lakewright.pipeline import STAGES, run_stage
from lakewright.records import Report
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.workspace import Workspace


def test_the_local_target_runs_every_stage_and_skips_what_is_done(project: Path) -> None:
    loaded = load_project(project, ["train={learner: linear}"])
    profile = load_profile()
    seen: list[tuple[str, str]] = []
    target = plugins.TARGETS.find("local")
    finished = target.run(loaded, profile, opener(profile), lambda stage, status, why: seen.append((stage, status)))
    assert finished.error is None
    assert [stage for stage, status in seen if status == "done"] == [stage.name for stage in STAGES]
    again = target.run(loaded, profile, opener(profile), lambda *_: None)
    assert {result.status for result in again.stages.values()} == {"skipped"}
    asked = target.run(loaded, profile, opener(profile), lambda *_: None, rerun="gate")
    assert [stage for stage, result in asked.stages.items() if result.status == "done"] == ["gate", "register"]

    # What a target executes elsewhere, one stage a process, gives the same records.
    workspace = Workspace.open(profile)
    for stage in STAGES:
        assert run_stage(stage.name, loaded, workspace, finished.run_id) == asked.records[stage.name]
    report = asked.records["evaluate"]
    assert isinstance(report, Report) and report == finished.report
