"""Where a verb works: its project and its profile read, its workspace opened. Nothing below `api` opens one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project
    from lakewright.targets import OpenWorkspace
    from lakewright.workspace import Workspace


def opened(profile: str | None) -> Workspace:
    """The workspace of the profile called `profile`, or of the default one."""
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    return Workspace.open(load_profile(profile))


def opener(profile: Profile) -> OpenWorkspace:
    """For a target, which opens the profile's workspace only where it needs it."""
    from lakewright.workspace import Workspace

    return partial(Workspace.open, profile)


def located(project: str | Path, settings: Sequence[str], profile: str | None) -> tuple[Project, Profile]:
    """The project, and the profile that is looked for from its folder upwards."""
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project

    loaded = load_project(project, settings)
    return loaded, load_profile(profile, loaded.folder)
