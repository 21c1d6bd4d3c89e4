"""A run whose stages are on another machine: deployed, started, watched to its end, and read from what it left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from lakewright.errors import LakewrightError, UsageError
from lakewright.pipeline.runs import Run, noted_runs
from lakewright.records import StageResult
from lakewright.targets import Execution, OpenWorkspace, Target
from lakewright.targets.checks import problems, refuse

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project

POLL_SECONDS = 10.0
ENDED = ("done", "failed", "stopped")


class Away(Target, Protocol):
    """A target whose platform runs the stages."""

    def start(self, project: Project, profile: Profile, values: Mapping[str, str] = {}) -> Execution:
        """What is deployed, once, with these values of its parameters (name → value) in place of its defaults."""


def run_away(
    target: Away,
    project: Project,
    profile: Profile,
    workspace: OpenWorkspace,
    watch: Watch,
    rerun: str | None = None,
) -> Run:
    """Deploys the project, starts it and waits for its end. A failure that the platform tells is in `Run.error`."""
    from lakewright.pipeline import records_of

    if rerun is not None:
        raise UsageError(
            f"--rerun means nothing to the target {target.name}", "change a setting, or run again on the platform"
        )
    refuse(problems(project, profile))
    for _ in target.deploy(target.deployment(project, profile), project, profile, workspace):
        pass
    *_, ended = follow(target, target.start(project, profile), project, profile, workspace, watch)
    opened = workspace()  # now, not before: it has what the stages left
    noted = next((run for run in noted_runs(project, opened) if ended.id in (run.name, run.run_id)), None)
    records = records_of(opened, noted.run_id) if noted else {}
    stages = {
        name: StageResult(status=status, seconds=0.0, why=ended.page)
        for name, status in ended.stages.items()
        if status in ("done", "skipped", "failed")
    }
    error = None
    if ended.status != "done" and "gate" not in records:
        error = LakewrightError(
            f"{ended.id} {ended.status}: {ended.why}",
            f"`lakewright runs follow --profile {profile.name}` has its log",
        )
    return Run(noted.run_id if noted else ended.id, stages, dict(records), error)


def follow(
    target: Target, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch
) -> Iterator[Execution]:
    """The execution as it goes on, until it ended; `watch` is told of each stage that begins or ends."""
    told: dict[str, str] = {}
    while True:
        found = next(
            (each for each in target.executions(project, profile, workspace) if each.id == execution.id), execution
        )
        for stage, status in found.stages.items():
            if told.get(stage) != status and status != "waiting":
                watch(stage, "run" if status == "running" else status, found.page if status == "running" else "")
                told[stage] = status
        yield found
        if found.status in ENDED:
            return
        time.sleep(POLL_SECONDS)
