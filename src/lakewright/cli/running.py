"""Projects: run them, see what would run, run a stage, compare what was run."""

from __future__ import annotations

import gc
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from lakewright.cli.app import AsJson, ProfileName, ProjectFile, Settings, app, stoppable
from lakewright.cli.show import complain, print_json, print_rows, print_run, say
from lakewright.system.memory import give_back

KEPT = "the stages that finished are kept, and training's last checkpoint"
ALLOCATIONS = 10_000  # between two searches for cycles: every 700, as Python has it, they are a fifth of all imports


@app.command(epilog="Example: lakewright run banking77 --set train.num_train_epochs=3")
def run(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    rerun: Annotated[str | None, typer.Option(help="do this stage and those after it again")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a project: ingest, prepare, train, evaluate, gate, register.

    Stages whose inputs are unchanged are skipped; the same command goes on with a run that was stopped.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright.api.places import located
    from lakewright.api.projects import execute

    loaded, place = located(project, settings, profile)
    give_back()
    target = place.target.name
    if target == "local":
        stop = stoppable(KEPT)
    else:
        stop = stoppable(
            f"what was started on {target} goes on there", f"lakewright runs follow --profile {place.name}"
        )
    with redirect_stdout(sys.stderr), stop:  # a source of the user's may print; stdout belongs to results
        finished = execute(loaded, place, rerun=rerun, watch=say)
    if as_json:
        print_json(finished.as_json())
    else:
        print_run(finished)
    if finished.error is not None:
        complain(finished.error)
    raise typer.Exit(finished.exit_code)


@app.command(epilog="Example: lakewright plan banking77")
def plan(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print what `run` would do now, and why. Nothing is run."""
    from lakewright import api

    with redirect_stdout(sys.stderr):
        steps = api.plan(project, settings=settings, profile=profile)
    rows = [{"stage": step.stage, "action": "skip" if step.skip else "run", "why": step.why} for step in steps]
    print_rows(rows, as_json, "stages")


@app.command(epilog="Example: lakewright stage train --project banking77/project.yml --run nightly")
def stage(
    name: Annotated[str, typer.Argument(help="ingest, prepare, train, evaluate, gate or register")],
    project: Annotated[str, typer.Option(help="project.yml")],
    run_id: Annotated[
        str, typer.Option("--run", help="the run that the stage belongs to: its id, or a name; ingest begins one")
    ],
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
) -> None:
    """Run one stage of a run and print its record.

    A platform executes this command for each stage, each on a machine of its own.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright import api
    from lakewright.records import plain

    with redirect_stdout(sys.stderr), stoppable(KEPT):
        record = api.stage(name, project, run_id, settings=settings, profile=profile, before=give_back)
    print_json(plain(record) if record is not None else {"skipped": name})


@app.command(epilog="Example: lakewright compare banking77 --by macro_f1")
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="run ids, models:/NAME/3 or projects; none: all runs on the newest one's test rows"),
    ] = None,
    by: Annotated[str, typer.Option(help="a metric; auto: the task's primary one")] = "auto",
    out: Annotated[str | None, typer.Option(help="folder for comparison.html and comparison.json")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Rank finished runs, and recommend one.

    Ties are told from differences; the cheapest run that is not significantly worse is recommended.
    """
    from lakewright import api
    from lakewright.cli.leaderboard import table

    found = api.compare(runs or (), by=by, out=out, profile=profile)
    if as_json:
        print_json(found)
        return
    print_rows(table(found), False, "runs")
    print(f"recommended: {found['recommended']['reason']}")
    for note in found["notes"]:
        print(f"note: {note}")
    if found["left_out"]:
        print_rows([{"left out": run["run_id"][:8], "why": run["why"]} for run in found["left_out"]], False, "left out")
    print(f"page: {found['page']}")


@app.command(epilog="Example: lakewright schema profiles > profiles.schema.json")
def schema(
    what: Annotated[str, typer.Argument(help="project or profiles")] = "project",
) -> None:
    """Print the JSON Schema of project.yml or profiles.yml.

    Editors complete and check these files by it.
    """
    from lakewright import api

    print_json(api.schema(what))
