"""All stages in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from lakewright.errors import UsageError
from lakewright.settings.profile import TargetSettings
from lakewright.targets import Deployment, Execution, OpenWorkspace, Problem

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.records import Record
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


class LocalSettings(TargetSettings):
    name: Literal["local"] = "local"


class LocalTarget:
    name = "local"
    settings = LocalSettings

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        from lakewright.pipeline import execute

        return execute(project, workspace(), watch, rerun)

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        yield from ()

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        raise UsageError(
            f"the profile {profile.name} runs on this machine, and nothing is deployed there",
            "use `lakewright run` and `lakewright serve` here, or name a profile with another target",
        )

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        yield from ()

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        from lakewright.pipeline import records_of
        from lakewright.pipeline.runs import noted_runs, worked_on
        from lakewright.workspace.run_folder import RunFolder

        opened = workspace()
        notes = noted_runs(project, opened)
        alive = worked_on(notes, project, opened)
        result = []
        for run in notes:
            # In a shared workspace, another machine may work on it.
            dead = run.status == "running" and run != alive and opened.mirror is None
            result.append(
                Execution(
                    id=run.run_id,
                    status="stopped" if dead else run.status,
                    began=run.began,
                    stages=dict.fromkeys(records_of(opened, run.run_id), "done"),
                    why="no process works on it; `lakewright run` with its settings continues it" if dead else "",
                    page=str(RunFolder.of(opened.folder, run.run_id).report),
                )
            )
        return result

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        from lakewright.workspace.run_folder import RunFolder

        path = RunFolder.of(workspace().folder, execution.id).log
        yield from path.read_text(encoding="utf-8").splitlines() if path.exists() else ()

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        pass


TARGET = LocalTarget()
