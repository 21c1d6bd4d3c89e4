"""Reads the project and the profile of a verb, and opens the workspace. No function below `api` opens one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.errors import UsageError

if TYPE_CHECKING:
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project
    from lakewright.targets import Execution, OpenWorkspace
    from lakewright.workspace import Workspace


def opened(profile: str | None) -> Workspace:
    """The workspace of the profile called `profile`, or of the default one."""
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import Workspace

    return Workspace.open(load_profile(profile))


def refuse_elsewhere(profile: Profile, search: str) -> None:
    """Raises UsageError if the profile's stages, and so its searches, run on a platform."""
    if profile.target.name != "local":
        raise UsageError(
            f"the profile {profile.name} runs stages on {profile.target.name}, and this search would run here",
            f"start it there, lakewright.{search}.start(…) or lakewright {search} --profile {profile.name}; or name a "
            "profile whose target is local",
        )


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


def start_job(job: str, project: str | Path, settings: Sequence[str], profile: str | None) -> Execution:
    """What `tune.start`, `automl.start` and `start_scoring` do."""
    from lakewright import plugins
    from lakewright.targets.remote import start_single_job
    from lakewright.targets.single_jobs import single_jobs

    loaded, place = located(project, settings, profile)
    if job == "automl" and loaded.automl is None:  # all its keys are optional
        loaded, place = located(project, [*settings, "automl={}"], profile)
    if job not in single_jobs(loaded, place):
        raise UsageError(f"{loaded.path.name} has no section {job}", f"add one: {job}: {{…}} (docs/projects.md)")
    return start_single_job(plugins.TARGETS.find(place.target.name), job, loaded, place, opener(place))
