"""A run whose stages are on another machine: deploys it, starts it, watches it to its end, and reads its records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast

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
    """A target whose platform runs the stages; with `runs_single_jobs = True`, jobs of one step as well."""

    def start(
        self, project: Project, profile: Profile, values: Mapping[str, str] = {}, job: str | None = None
    ) -> Execution:
        """Starts the deployed stages once, with these values (name → value) in place of the parameters' defaults; or
        the job of one step `tune`, `automl` or `score`, which has no parameters."""


def run_away(
    target: Away,
    project: Project,
    profile: Profile,
    workspace: OpenWorkspace,
    watch: Watch,
    rerun: str | None = None,
) -> Run:
    """Deploys the project, starts it and waits for its end. A failure that the platform reports is in `Run.error`."""
    from lakewright.pipeline import records_of

    if rerun is not None:
        raise UsageError(
            f"--rerun has no effect on the target {target.name}", "change a setting, or run again on the platform"
        )
    refuse(problems(project, profile))
    for _ in target.deploy(target.deployment(project, profile), project, profile, workspace):
        pass
    *_, last = follow(target, target.start(project, profile), project, profile, workspace, watch)
    opened = workspace()  # now, not before: it has the records of the stages
    note = next((run for run in noted_runs(project, opened) if last.id in (run.name, run.run_id)), None)
    records = records_of(opened, note.run_id) if note else {}
    stages = {
        name: StageResult(status=status, seconds=0.0, why=last.page)
        for name, status in last.stages.items()
        if status in ("done", "skipped", "failed")
    }
    error = None
    if last.status != "done" and "gate" not in records:
        error = LakewrightError(
            f"{last.id} {last.status}: {last.why}",
            f"read its log: lakewright runs follow --profile {profile.name}",
        )
    return Run(note.run_id if note else last.id, stages, dict(records), error)


def start_single_job(
    target: Target, job: str, project: Project, profile: Profile, workspace: OpenWorkspace
) -> Execution:
    """Deploys the project and starts its job of one step, which goes on by itself. Raises UsageError if the target has
    no such jobs."""
    if not getattr(target, "runs_single_jobs", False):
        raise UsageError(
            f"the target {target.name} has no job for {job}",
            "name a profile whose target is a platform (--profile), or one that is local, and do it here",
        )
    refuse(problems(project, profile))
    for _ in target.deploy(target.deployment(project, profile), project, profile, workspace):
        pass
    return cast(Away, target).start(project, profile, job=job)


def follow(
    target: Target, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch
) -> Iterator[Execution]:
    """The states of the execution until it ends; `watch` is called for each stage that begins or ends."""
    reported: dict[str, str] = {}
    while True:
        state = next(
            (each for each in target.executions(project, profile, workspace) if each.id == execution.id), execution
        )
        for stage, status in state.stages.items():
            if reported.get(stage) != status and status != "waiting":
                watch(stage, "run" if status == "running" else status, state.page if status == "running" else "")
                reported[stage] = status
        yield state
        if state.status in ENDED:
            return
        time.sleep(POLL_SECONDS)
