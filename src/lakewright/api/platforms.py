"""Platforms: check a profile, deploy a project, list its runs there and follow the newest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.api.places import located, opener
from lakewright.errors import NotFound

if TYPE_CHECKING:
    from lakewright.targets import Deployed, Execution, Problem


def check(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[Problem]:
    """The problems of a project's profile, as far as they can be known before anything is sent."""
    from lakewright.targets.checks import problems

    return problems(*located(project, settings, profile))


def deploy(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    dry_run: bool = False,
    out: str | Path | None = None,
    noticed: Callable[[Problem], object] = lambda problem: None,
    watch: Callable[[str], object] = lambda line: None,
) -> Deployed:
    """Send a project to its profile's platform: the pipeline of its stages, the registry, the endpoint.

    `dry_run` sends nothing; `out` is a folder for the files that are sent. `noticed` is called with each problem that
    does not end the call, `watch` with a line for each thing that is made or changed. Raises ProfileError for a
    problem that must be solved first; for a secret in a file, before anything is written.
    """
    from lakewright import plugins
    from lakewright.targets import Deployed
    from lakewright.targets.checks import problems, refuse
    from lakewright.targets.files import texts, write

    loaded, place = located(project, settings, profile)
    target = plugins.TARGETS.find(place.target.name)
    deployment = target.deployment(loaded, place)
    all_problems = problems(loaded, place)
    refuse([each for each in all_problems if each.secret])  # before anything is printed or written
    for problem in all_problems:
        if dry_run or problem.kind == "warning":
            noticed(problem)
    sources = [folder for folder in (loaded.folder, place.folder) if folder is not None]
    written = write(deployment, Path(out), sources) if out is not None else []
    sent: list[str] = []
    if not dry_run:
        refuse(all_problems)
        for line in target.deploy(deployment, loaded, place, opener(place)):
            watch(line)
            sent.append(line)
    return Deployed(texts(deployment), all_problems, list(written), sent)


def runs(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[Execution]:
    """The runs of a project where its profile runs it, the newest first."""
    from lakewright import plugins

    loaded, place = located(project, settings, profile)
    return list(plugins.TARGETS.find(place.target.name).executions(loaded, place, opener(place)))


def follow(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    watch: Callable[[str, str, str], None] = lambda stage, what, why: None,
    log: Callable[[str], object] = lambda line: None,
) -> Execution:
    """Watch the newest run until it ends, and return it. `watch` is called with each stage, `log` with each new line
    of the run's log. Raises NotFound if the project has not run there."""
    from lakewright import plugins
    from lakewright.targets.remote import follow as followed

    loaded, place = located(project, settings, profile)
    target = plugins.TARGETS.find(place.target.name)
    workspace = opener(place)
    executions = target.executions(loaded, place, workspace)
    if not executions:
        raise NotFound(
            f"{loaded.name} has not run on {place.target.name} yet", f"lakewright run --profile {place.name}"
        )
    printed, last = 0, executions[0]
    for last in followed(target, executions[0], loaded, place, workspace, watch):
        lines = list(target.log(last, loaded, place, workspace))
        for line in lines[printed:]:
            log(line)
        printed = len(lines)
    execution: Execution = last
    return execution
