"""Where stages run. One file a target, found through the entry points `lakewright.targets`.

All that a target has to execute, anywhere, is `lakewright stage NAME --project project.yml --run RUN_ID`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.profile import Profile
    from lakewright.project import Project
    from lakewright.runs import Run


class Target(Protocol):
    def run(self, project: Project, profile: Profile, watch: Watch, rerun: str | None = None) -> Run:
        """Every stage in order, skipping what is done already; `rerun` names the first stage to do again anyway."""
