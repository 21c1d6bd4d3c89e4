"""All stages in this process, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.profile import Profile
    from lakewright.project import Project
    from lakewright.runs import Run


class LocalTarget:
    @staticmethod
    def run(project: Project, profile: Profile, watch: Watch, rerun: str | None = None) -> Run:
        from lakewright.pipeline import execute
        from lakewright.workspace import Workspace

        return execute(project, Workspace.open(profile), watch, rerun)
