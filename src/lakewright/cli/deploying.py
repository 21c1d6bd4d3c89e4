"""Platforms: what would be sent to one, sent, and watched; and what is wrong with a profile before that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakewright.cli.app import AsJson, ProfileName, ProjectFile, Settings, app
from lakewright.cli.show import complain, note, print_json, print_rows, say

if TYPE_CHECKING:
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project


@app.command()
def check(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with a profile, as far as can be known before anything is sent."""
    from lakewright.errors import ProfileError
    from lakewright.targets.checks import problems

    found = problems(*_loaded(project, settings, profile))
    if as_json:
        print_json({"problems": [vars(problem) for problem in found]})
    else:
        for problem in found:
            print(f"{problem.where}: {problem.kind}: {problem.cause}\n  → {problem.remedy}")
        print(f"{len(found)} problem{'s' * (len(found) != 1)} found")
    raise typer.Exit(ProfileError.exit_code if any(problem.kind == "error" for problem in found) else 0)


@app.command()
def deploy(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be sent, and send nothing")] = False,
    out: Annotated[Path | None, typer.Option(help="folder to write it to")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a project to its profile's platform: the pipeline of its stages, the registry, the endpoint."""
    from lakewright.errors import ProfileError
    from lakewright.plugins import find
    from lakewright.targets.checks import problems, refuse
    from lakewright.targets.files import texts, write

    loaded, place = _loaded(project, settings, profile)
    target = find("targets", place.target.name)
    deployment = target.deployment(loaded, place)
    found = problems(loaded, place)
    refuse([each for each in found if each.secret])  # before anything is printed or written
    for problem in found:
        if dry_run or problem.kind == "warning":  # errors are told as such below
            note(f"{problem.where}: {problem.kind}: {problem.cause} → {problem.remedy}")
    sources = [folder for folder in (loaded.folder, place.folder) if folder is not None]
    written = [str(path) for path in write(deployment, out, sources)] if out is not None else []
    if dry_run:
        if as_json:
            print_json({"files": texts(deployment), "written": written, "problems": [vars(each) for each in found]})
        else:
            for name, text in texts(deployment).items():
                print(f"# {name}\n{text}")
        raise typer.Exit(ProfileError.exit_code if any(each.kind == "error" for each in found) else 0)
    refuse(found)
    lines = []
    for line in target.deploy(deployment, loaded, place):
        note(line)
        lines.append(line)
    if as_json:
        print_json({"sent": lines, "written": written})


@app.command()
def runs(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    follow: Annotated[bool, typer.Option("--follow", help="watch the newest run until it ended, with its log")] = False,
    as_json: AsJson = False,
) -> None:
    """List the runs of a project where its profile runs it."""
    from lakewright.errors import LakewrightError, NotFound
    from lakewright.plugins import find
    from lakewright.targets.remote import follow as followed

    loaded, place = _loaded(project, settings, profile)
    target = find("targets", place.target.name)
    found = target.executions(loaded, place)
    if not follow:
        rows: list[dict[str, Any]] = [
            {"run": each.id, "status": each.status, "began": each.began, "stages": dict(each.stages), "why": each.why}
            for each in found
        ]
        print_rows(rows, as_json, "runs")
        return
    if not found:
        raise NotFound(
            f"{loaded.name} has not run on {place.target.name} yet", f"lakewright run --profile {place.name}"
        )
    shown, last = 0, found[0]
    for last in followed(target, found[0], loaded, place, say):
        lines = list(target.log(last, loaded, place))
        for line in lines[shown:]:
            note(line)
        shown = len(lines)
    if as_json:
        print_json(vars(last))
    if last.status != "done":
        error = LakewrightError(f"{last.id} {last.status}: {last.why}", last.page or "see the log above")
        complain(error)
        raise typer.Exit(error.exit_code)


def _loaded(project: str, settings: list[str], profile: str | None) -> tuple[Project, Profile]:
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project

    loaded = load_project(project, settings)
    return loaded, load_profile(profile, loaded.folder)
