"""AutoML: search for the best model of a project, a table or a file, and run any of its candidates."""

from __future__ import annotations

import gc
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakewright.cli.app import AsJson, ProfileName, Settings, app, stoppable
from lakewright.cli.elsewhere import started_elsewhere
from lakewright.cli.running import ALLOCATIONS, KEPT, end_of
from lakewright.cli.show import note, print_json, print_rows, print_run, say, visible
from lakewright.cli.tuning import check_out
from lakewright.errors import UsageError
from lakewright.system.memory import give_back

if TYPE_CHECKING:
    from lakewright.racing.glass_box import GlassBox
    from lakewright.racing.leaderboard import Entry
    from lakewright.racing.project_search import Recommended

SHOWN = 20  # candidates in the table
UNTOLD = ("learner", "n_estimators", "early_stopping_rounds")  # settings that the table leaves to leaderboard.json
PATIENCE = 600.0  # seconds after Ctrl-C: the best so far is evaluated and passes the gate


@app.command(epilog="Example: lakewright automl main.cellar.wine --label high_quality --minutes 5")
def automl(
    rows: Annotated[
        str,
        typer.Argument(metavar="PROJECT_OR_TABLE", help="project.yml, its folder, a table's name, or a file of rows"),
    ] = "project.yml",
    label: Annotated[str | None, typer.Option(help="of a table or a file: the column to predict")] = None,
    minutes: Annotated[float | None, typer.Option(help="from the prepared rows to the model; default 10")] = None,
    metric: Annotated[str | None, typer.Option(help="what the table shows first; default: the task's own")] = None,
    trials: Annotated[int | None, typer.Option(help="candidates at most")] = None,
    learners: Annotated[str | None, typer.Option(help="these alone: trees,linear")] = None,
    without: Annotated[str | None, typer.Option(help="learners to leave out: forest,xgboost")] = None,
    task: Annotated[
        str | None, typer.Option(help="of a table or a file: classification or regression; default: by the label")
    ] = None,
    name: Annotated[str | None, typer.Option(help="of a table or a file: the project's name")] = None,
    out: Annotated[str | None, typer.Option(help="also write the project file with the recommended model here")] = None,
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Search for the best model of a project or a table.

    The search takes its minutes, and Ctrl-C ends it with the best so far; a second Ctrl-C stops the command. The same
    command goes on with a search that was stopped.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright import automl as face

    give_back()
    check_out(out, rows)
    options = {"minutes": minutes, "metric": metric, "trials": trials}
    lists = {"learners": learners, "without": without}
    overrides = [f"automl.{key}={value}" for key, value in options.items() if value is not None]
    overrides += [f"automl.{key}=[{value}]" for key, value in lists.items() if value is not None]
    kept = "what is done is kept, and the search goes on with the time that it has not used"
    with redirect_stdout(sys.stderr), stoppable(kept, patience=PATIENCE):
        project = _project(rows, label, task, name, profile)
    if started_elsewhere("automl", project, [*settings, *overrides], profile, out, as_json):
        return
    with redirect_stdout(sys.stderr), stoppable(kept, patience=PATIENCE):
        found, box = face.searched(project, [*settings, *overrides], profile, say)
    if out is not None:
        shutil.copyfile(found.project, out)
    if as_json:
        print_json({**found.as_json(), "run": found.run.as_json(), "glass_box": box.as_json() if box else None})
    else:
        _print(found, box, project, out)
    raise typer.Exit(found.run.exit_code)


def _project(rows: str, label: str | None, task: str | None, name: str | None, profile: str | None) -> str:
    """The project that is searched: the one named, or a new file."""
    from lakewright import automl as face

    path = Path(rows)
    if path.suffix in (".yml", ".yaml") or (path / "project.yml").exists():
        for option, value in (("label", label), ("task", task), ("name", name)):
            if value is not None:
                raise UsageError(
                    f"--{option} is for a table or a file of rows, and {rows} is a project",
                    "leave it out: the project names its columns, its task and itself",
                )
        return rows
    if label is None:
        what = "is a file" if path.exists() else "is not a project file"
        raise UsageError(
            f"{rows} {what}, and no column to predict is named",
            f"name it: lakewright automl {shlex.quote(rows)} --label COLUMN",
        )
    written = face.new_project(rows, label, task=task, name=name, profile=profile)
    replaced = "; in place of that of an earlier call, whose search has not ended" if written.replaced else ""
    note(visible(f"project file: {written.path} ({written.task}: {written.why}){replaced}"))
    return str(written.path)


def _print(found: Recommended, box: GlassBox | None, project: str, out: str | None) -> None:
    complete = sum(entry.complete for entry in found.entries if entry.folds)
    if found.found.interrupted:
        print(f"stopped by Ctrl-C after {found.found.seconds:.0f} s: this is the best so far; the same command goes on")
    print_rows(
        [_row(rank, entry, found) for rank, entry in enumerate(found.entries[:SHOWN], start=1)], False, "candidates"
    )
    if len(found.entries) > SHOWN:
        print(f"and {len(found.entries) - SHOWN} more: {found.folder / 'leaderboard.json'}")
    marks = "= marks those not significantly worse than the recommended model"
    print(f"{complete} candidates predicted all {_folds(found)}; {marks}")
    print(f"recommended: {_members(found)}: {found.found.why}")
    if found.metric in found.out_of_fold:
        from lakewright.evaluation.metrics import written

        where = "on validation" if found.verdict is not None and found.verdict.better else "out of fold"
        print(f"{where}: {found.metric} {written(found.metric, found.out_of_fold[found.metric], 4)}")
    if found.verdict is not None and not found.verdict.better:
        print(found.verdict.why)
    for line in found.notes:
        print(f"note: {line}")
    small = found.cheapest
    alone = found.found.members[0].number if len(found.found.members) == 1 else None
    if small is None:
        print("cheapest: no candidate alone is as good")
    elif small.number == alone:
        print("cheapest: the same one; no smaller candidate is as good")
    else:
        print(
            f"cheapest that is not significantly worse: candidate {small.number} ({small.learner}, "
            f"{small.bytes / 1e6:.3g} MB): lakewright candidate {found.name} {small.number}"
        )
    print_run(found.run)
    print(f"\nproject file: {found.project}\nleaderboard: {found.folder / 'leaderboard.json'}")
    if box is not None:
        print(f"page: {box.page}\nnotebooks: {box.folder} (written in {box.seconds:.1f} s, beside the search)")
        for line in box.notes:
            print(f"note: {line}")
    place = (
        Path(out) if out is not None else Path(project if Path(project).is_file() else Path(project) / "project.yml")
    )
    print("\nagain, or another candidate:")
    if out is None:
        best = place.with_name(f"{place.stem}.best.yml")
        print(f"  {shlex.join(['cp', str(found.project), str(best)])}")
        place = best
    print(f"  {shlex.join(['lakewright', 'run', str(place)])}")
    print(
        f"  {shlex.join(['lakewright', 'candidate', found.name, 'NUMBER'])}     # evaluates and registers any of them"
    )


def _row(rank: int, entry: Entry, found: Recommended) -> dict[str, Any]:
    from lakewright.evaluation.metrics import written

    def shown(name: str) -> str:
        return written(name, entry.metrics[name], 4) if name in entry.metrics else ""

    number = f"{entry.number}{' =' if entry.tied else ''}"
    row: dict[str, Any] = {"rank": rank if entry.complete else "", "candidate": number, "learner": entry.learner}
    error = f" ± {written(found.metric, entry.error)}" if entry.error is not None else ""
    row[found.metric] = f"{shown(found.metric)}{error}"
    beside = "log_loss" if "log_loss" in found.entries[0].metrics else "mae"
    if beside != found.metric:
        row[beside] = shown(beside)
    row |= {"seconds": f"{entry.seconds:.1f}", "weight": f"{entry.weight:.2f}" if entry.weight else ""}
    incomplete = f"; {entry.failure}" if entry.failure else f"; {entry.folds} of {found.found.folds} folds"
    row["why tried"] = entry.why + ("" if entry.complete else incomplete)
    shown_settings = [f"{key}={value}" for key, value in entry.settings.items() if key not in UNTOLD]
    return {**row, "settings": ", ".join(shown_settings)}


def _folds(found: Recommended) -> str:
    return f"{found.found.folds} folds" if found.found.folds > 1 else "rows of validation"


def _members(found: Recommended) -> str:
    return " + ".join(
        f"{weight:.2f} × candidate {each.number} ({each.learner})" if len(found.found.members) > 1
        else f"candidate {each.number} ({each.learner})"
        for each, weight in zip(found.found.members, found.found.weights, strict=True)
    )  # fmt: skip


@app.command(epilog="Example: lakewright candidate wine-1a2b3c4d 7")
def candidate(
    name: Annotated[str, typer.Argument(help="the search's name, as automl prints it")],
    number: Annotated[int, typer.Argument(help="the candidate's number in the leaderboard")],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Run one candidate of an automl search.

    It is evaluated, passes the gate or not, and is registered. Nothing is trained again: its networks are those of the
    search.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright import automl as face

    give_back()
    with redirect_stdout(sys.stderr), stoppable(KEPT):
        finished = face.run_candidate(name, number, profile=profile, watch=say)
    end_of(finished, as_json)
