"""Reads the project and the profile of a verb, and opens the workspace. No function below `api` opens one."""

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
    """A function that opens the profile's workspace, for targets: they call it only if they need it."""
    from lakewright.workspace import Workspace

    return partial(Workspace.open, profile)


def located(project: str | Path, settings: Sequence[str], profile: str | None) -> tuple[Project, Profile]:
    """The project and its profile; profiles.yml is looked for in the project's folder first."""
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project

    loaded = load_project(project, settings)
    return loaded, load_profile(profile, loaded.folder)
