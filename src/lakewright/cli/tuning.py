"""Searches: tune a project, list what a learner can be set to."""

from __future__ import annotations

import gc
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakewright.cli.app import AsJson, ProfileName, ProjectFile, Settings, app, stoppable
from lakewright.cli.elsewhere import started_elsewhere
from lakewright.cli.running import ALLOCATIONS
from lakewright.cli.show import note, print_json, print_rows, say, visible
from lakewright.errors import UsageError
from lakewright.system.memory import give_back

if TYPE_CHECKING:
    from lakewright.tuning.search import Found
    from lakewright.tuning.trials import Trial

SHOWN = 20  # trials in the table


@app.command(epilog="Example: lakewright tune banking77 --set tune.trials=20")
def tune(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    out: Annotated[str | None, typer.Option(help="also write the project file with the best settings here")] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the settings of a project that are best on validation.

    What is searched says the section tune of the project.

    The test split is not read. The same command goes on with a search that was stopped.
    """
    gc.set_threshold(ALLOCATIONS)
    from lakewright import tune as tuning

    give_back()
    check_out(out, project)
    kept = "the trials that ended are kept, and the best so far is best.yml in the workspace's folder tune"
    if started_elsewhere("tune", project, settings, profile, out, as_json):
        return
    with redirect_stdout(sys.stderr), stoppable(kept):
        found = tuning.search(project, settings=settings, profile=profile, watch=say, report=_line)
    if out is not None:
        shutil.copyfile(found.project, out)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found, project, settings)


def check_out(out: str | None, project: str) -> None:
    """Raises UsageError before a search for a file that its end could not write, or that holds something else."""
    if out is None:
        return
    path = Path(out)
    if path.suffix not in (".yml", ".yaml") or path.is_dir():
        raise UsageError(f"--out {out}: a project file is written there", "name a file that ends in .yml")
    if not path.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {path.parent}", "make it, or name another file")
    if path.exists() and not is_project(path):
        raise UsageError(f"--out {out} exists and is no project file", "name another file, or delete it")
    searched = Path(project) / "project.yml" if Path(project).is_dir() else Path(project)
    if searched.exists() and path.exists() and path.samefile(searched):
        raise UsageError(f"--out {out} is the project that is searched", "name another file")


def is_project(path: Path) -> bool:
    from lakewright.settings.yamlfile import read_yaml

    try:
        return {"name", "task"} <= {*read_yaml(path, UsageError).values}
    except UsageError:
        return False


def _line(trial: Trial, best: Trial | None) -> None:
    from lakewright.tuning.minimize import shown_values
    from lakewright.tuning.search import HOW
    from lakewright.tuning.verdict import value

    metric = str(trial.results.get("metric") or "")
    what = (
        f"{metric} {value(metric, trial.metric)}"
        if trial.metric is not None
        else f"{HOW[trial.status]}: {trial.reason.splitlines()[0]}"
    )
    so_far = "" if best is None or best is trial else f" (best {value(metric or _metric(best), best.metric)})"
    own = "the project's own settings: " if trial.number == 0 else ""
    note(visible(f"trial {trial.number}: {what}{so_far}, {trial.seconds:.1f} s; {own}{shown_values(trial.values)}"))


def _metric(trial: Trial) -> str:
    return str(trial.results.get("metric"))


def _print(found: Found, project: str, settings: list[str]) -> None:
    from lakewright.tuning.minimize import shown_values
    from lakewright.tuning.verdict import value

    rows: list[dict[str, Any]] = []
    for rank, trial in enumerate(found.ranked[:SHOWN], start=1):
        measured = {found.metric: value(found.metric, trial.metric) if trial.metric is not None else trial.status}
        own = " (the project's own)" if trial.number == 0 else ""
        values = {"settings": f"{shown_values(trial.values)}{own}" if trial.metric is not None else trial.reason}
        rows.append({"rank": rank, "trial": trial.number, **measured, "seconds": f"{trial.seconds:.1f}", **values})
    print_rows(rows, False, "trials")
    if len(found.trials) > SHOWN:
        print(f"and {len(found.trials) - SHOWN} more: {found.folder / 'trials.json'}")
    print(f"best: trial {found.best.number}. {found.verdict.sentence}")
    if found.note:
        print(f"note: {found.note}")
    print(f"page: {found.page}\nproject file: {found.project}\n\nnext:")
    sets = [f"{name}={_as_set(value)}" for name, value in found.settings.items()]
    kept = [each for each in settings if not each.startswith("tune")]  # which run does not read
    command = ["lakewright", "run", project, *(word for each in [*kept, *sets] for word in ("--set", each))]
    print(f"  {shlex.join(command)}")


def _as_set(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, default=str)


@app.command(epilog="Example: lakewright params trees")
def params(
    learner: Annotated[str, typer.Argument(help="a learner's name: linear, trees, encoder, …")],
    as_json: AsJson = False,
) -> None:
    """List what a learner can be set to: type, default and range.

    Each is a setting under train of project.yml, and may be named in tune.space as train.NAME.
    """
    from lakewright import api

    found = api.params(learner)
    if as_json:
        print_json({"learner": learner, "parameters": found})
        return
    print_rows([_parameter(each) for each in found], False, "parameters")


def _parameter(each: dict[str, Any]) -> dict[str, Any]:
    choices = ", ".join(map(str, each["choices"] or ()))
    return {
        "name": each["name"],
        "type": each["type"],
        "default": _as_set(each["default"]),
        "range": "; ".join(part for part in (choices, each["range"]) if part),
        "description": each["description"],
    }
