"""Platforms: check a profile, deploy a project, list its runs there and follow the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lakewright.cli import former
from lakewright.cli.app import AsJson, ProfileName, ProjectFile, Settings, app
from lakewright.cli.show import complain, note, print_json, print_rows, say, visible


@app.command(epilog="Example: lakewright check banking77 --profile databricks")
def check(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Check a profile for mistakes, before anything is sent."""
    from lakewright import api
    from lakewright.errors import ProfileError

    problems = api.check(project, settings=settings, profile=profile)
    if as_json:
        print_json({"problems": [vars(problem) for problem in problems]})
    else:
        for problem in problems:
            print(f"{problem.where}: {problem.kind}: {problem.cause}\n  → {problem.remedy}")
        print(f"{len(problems)} problem{'s' * (len(problems) != 1)} found")
    raise typer.Exit(ProfileError.exit_code if any(problem.kind == "error" for problem in problems) else 0)


@app.command(epilog="Example: lakewright deploy banking77 --profile databricks --dry-run")
def deploy(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the requests, and send nothing")] = False,
    out: Annotated[Path | None, typer.Option(help="folder for the files that would be sent")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a project to its profile's platform.

    These are the pipeline of its stages, the registry and the endpoint. A second deploy changes only what is different.
    """
    from lakewright import api
    from lakewright.errors import ProfileError

    deployed = api.deploy(
        project,
        settings=settings,
        profile=profile,
        dry_run=dry_run,
        out=out,
        noticed=lambda each: note(f"{each.where}: {each.kind}: {each.cause} → {each.remedy}"),
        watch=note,
    )
    written = [str(path) for path in deployed.written]
    if dry_run:
        if as_json:
            problems = [vars(each) for each in deployed.problems]
            print_json({"files": deployed.files, "written": written, "problems": problems})
        else:
            for name, text in deployed.files.items():
                print(f"# {name}\n{text}")
        raise typer.Exit(ProfileError.exit_code if any(each.kind == "error" for each in deployed.problems) else 0)
    if as_json:
        print_json({"sent": deployed.sent, "written": written})


runs = typer.Typer(cls=former.group(former.runs), no_args_is_help=False)
app.add_typer(runs, name="runs", help="The runs of a project: list them, or follow the newest.")


@runs.command("list", epilog="Example: lakewright runs list banking77 --profile databricks")
def list_runs(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List the runs where the profile runs the project, newest first.

    The list shows their status, their stages, and why they failed.
    """
    from lakewright import api

    rows: list[dict[str, Any]] = [
        {"run": each.id, "status": each.status, "began": each.began, "stages": dict(each.stages), "why": each.why}
        for each in api.runs(project, settings=settings, profile=profile)
    ]
    print_rows(rows, as_json, "runs")


@runs.command("show", epilog="Example: lakewright runs show 0f3a1b… --json")
def show_run(
    run: Annotated[str, typer.Argument(help="the run's id, as `lakewright run` prints it")],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show what each stage of a run made, and where.

    The run is one of this workspace; where its parts were computed is counted by machine."""
    from lakewright import api

    shown = api.shown_run(run, profile=profile)
    if as_json:
        print_json(shown)
        return
    print(visible(f"{shown['project']}: {shown['status']}, began {shown['began']}"))
    rows = [{"stage": name, "made": each["made"], "parts": each["parts"]} for name, each in shown["stages"].items()]
    print_rows(rows, False, "stages")
    for reason in shown["not_rebuildable"]:
        print(f"cannot be made again: {reason}")
    print(visible(f"log: {shown['log']}"))


@runs.command("follow", epilog="Example: lakewright runs follow banking77 --profile databricks")
def follow_run(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Watch the newest run until it ends: its stages and its log.

    The exit code is 1 if the run failed.
    """
    from lakewright import api
    from lakewright.errors import LakewrightError

    last = api.follow(project, settings=settings, profile=profile, watch=say, log=note)
    if as_json:
        print_json(vars(last))
    if last.status != "done":
        error = LakewrightError(f"{last.id} {last.status}: {last.why}", last.page or "see the log above")
        complain(error)
        raise typer.Exit(error.exit_code)
