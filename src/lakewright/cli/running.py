"""Projects: run one, plan a run, run one stage, compare finished runs."""

from __future__ import annotations

import gc
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from lakewright.cli.app import AsJson, Every, Follow, ProfileName, ProjectFile, Settings, app, stoppable
from lakewright.cli.show import complain, note, print_json, print_rows, print_run, say
from lakewright.errors import NotFound
from lakewright.system.memory import give_back

if TYPE_CHECKING:
    from lakewright.pipeline.runs import Run
    from lakewright.records import Ingested

KEPT = "the finished stages and the last checkpoint of training are kept"
ALLOCATIONS = 10_000  # between two garbage collections; with Python's 700 they take a fifth of the time of imports


@app.command(epilog="Example: lakewright run banking77 --set train.num_train_epochs=3")
def run(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    rerun: Annotated[str | None, typer.Option(help="run this stage and the stages after it again")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a project: ingest, prepare, train, evaluate, gate, register.

    Stages whose inputs are unchanged are skipped. The same command continues a run that was stopped.
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
        stop = stoppable(f"the run on {target} continues there", f"lakewright runs follow --profile {place.name}")
    with redirect_stdout(sys.stderr), stop:  # a user's source may print; stdout is for results
        finished = execute(loaded, place, rerun=rerun, watch=say)
    end_of(finished, as_json)


def end_of(run: Run, as_json: bool) -> NoReturn:
    """Prints a run and its error, and ends the command with its exit code."""
    if as_json:
        print_json(run.as_json())
    else:
        print_run(run)
    if run.error is not None:
        complain(run.error)
    raise typer.Exit(run.exit_code)


@app.command(epilog="Example: lakewright plan banking77")
def plan(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print which stages `run` would run now, and why. It runs nothing.

    Once the table is written, it prints what each column is to the model, too.
    """
    from lakewright import api

    with redirect_stdout(sys.stderr):
        steps = api.plan(project, settings=settings, profile=profile)
        try:
            uses, unknown = api.uses(project, settings=settings, profile=profile), ""
        except NotFound as missing:
            uses, unknown = [], missing.cause
    stages = [{"stage": step.stage, "action": "skip" if step.skip else "run", "why": step.why} for step in steps]
    columns = [{"column": each.column, "use": each.use, "kind": each.kind, "why": each.why} for each in uses]
    if as_json:
        print_json({"stages": stages, "columns": columns})
        return
    print_rows(stages, False, "stages")
    if columns:
        print_rows(columns, False, "columns")
    else:
        note(f"the use of columns is not known before ingest: {unknown}")


@app.command(epilog="Example: lakewright ingest reviews/project.yml --follow")
def ingest(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    follow: Follow = False,
    every: Every = 10.0,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Write a project's source into its table, and learn nothing.

    An unchanged source is not read. With data.mode: append, only files are that were not read before.
    """
    from lakewright import api
    from lakewright.records import plain

    def tell(record: Ingested) -> None:
        if as_json:
            print_json(plain(record), indent=None if follow else 2)
            return
        print(f"{record.table}: {record.table.rows:,} rows of {record.source}", flush=True)
        for finding in record.findings:
            print(f"- {finding.detail}", flush=True)

    give_back()
    with stoppable("the table has what was committed"):
        if not follow:
            with redirect_stdout(sys.stderr):  # a user's source may print
                record = api.ingest(project, settings=settings, profile=profile)
            tell(record)
            return
        for record in api.ingest_arriving(project, every=every, settings=settings, profile=profile):
            tell(record)


@app.command(epilog="Example: lakewright stage train --project banking77/project.yml --run nightly")
def stage(
    name: Annotated[
        str, typer.Argument(help="ingest, prepare, train, evaluate, gate or register; tune, automl or score")
    ],
    project: Annotated[str, typer.Option(help="project.yml")],
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run", help="the run of the stage: its id, or a name; ingest begins one; tune, automl and score have none"
        ),
    ] = None,
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    workers: Annotated[
        str | None,
        typer.Option(help="a Spark cluster that computes the parts, in place of the profile's workers: spark://…"),
    ] = None,
) -> None:
    """Run one stage of a run and print its record.

    A platform runs this command for each stage, on a separate machine. tune and automl run the search of the project's
    section here, whatever the profile's target, and score the scoring of its target.score.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright import api
    from lakewright.records import plain

    with redirect_stdout(sys.stderr), stoppable(KEPT):
        record = api.stage(name, project, run_id, settings=settings, profile=profile, workers=workers, before=give_back)
    print_json(plain(record) if record is not None else {"skipped": name})


@app.command(epilog="Example: lakewright compare banking77 --by macro_f1")
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="run ids, models:/NAME/3 or projects; none: all runs on the newest run's test rows"),
    ] = None,
    by: Annotated[str, typer.Option(help="a metric; auto: the task's primary one")] = "auto",
    out: Annotated[str | None, typer.Option(help="folder for comparison.html and comparison.json")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Rank finished runs, and recommend one.

    It separates ties from differences, and recommends the cheapest run that is not significantly worse.
    """
    from lakewright import api
    from lakewright.cli.leaderboard import table

    comparison = api.compare(runs or (), by=by, out=out, profile=profile)
    if as_json:
        print_json(comparison)
        return
    print_rows(table(comparison), False, "runs")
    print(f"recommended: {comparison['recommended']['reason']}")
    for line in comparison["notes"]:
        print(f"note: {line}")
    if comparison["left_out"]:
        print_rows(
            [{"left out": run["run_id"][:8], "why": run["why"]} for run in comparison["left_out"]], False, "left out"
        )
    print(f"page: {comparison['page']}")


@app.command(epilog="Example: lakewright schema profiles > profiles.schema.json")
def schema(
    what: Annotated[str, typer.Argument(help="project or profiles")] = "project",
) -> None:
    """Print the JSON Schema of project.yml or profiles.yml.

    Editors use it to complete and check these files.
    """
    from lakewright import api

    print_json(api.schema(what))
