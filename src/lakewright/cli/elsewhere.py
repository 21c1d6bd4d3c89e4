"""A search or a scoring whose profile's target is a platform: it is started there, and goes on by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from lakewright.cli.show import print_json
from lakewright.errors import UsageError

if TYPE_CHECKING:
    import typer

    from lakewright.targets import Execution


def started_elsewhere(
    search: Literal["tune", "automl"],
    project: str,
    settings: Sequence[str],
    profile: str | None,
    out: str | None,
    as_json: bool,
) -> bool:
    """Whether the search was started on a platform; False: the target is this machine. Raises UsageError for `out`,
    which a job elsewhere cannot write."""
    from lakewright import automl, tune
    from lakewright.api.places import located

    _, place = located(project, settings, profile)
    if place.target.name == "local":
        return False
    if out is not None:
        raise UsageError(
            f"--out writes the best project here, and the search would run on {place.target.name}",
            f"leave it out; best.yml will be in the workspace, {place.workspace}/{search}",
        )
    start = tune.start if search == "tune" else automl.start
    execution = start(project, settings=settings, profile=profile)
    print_started(search, place.target.name, execution, as_json)
    if not as_json:
        print(f"what it finds: {place.workspace}/{search}; the same command goes on with a search that was stopped")
    return True


def refuse_both_ways(context: typer.Context) -> None:
    """Raises UsageError if the options of `lakewright score` are for a scoring here, in whole or in part: that needs a
    model and a table, and no project; one on a platform has its options in the profile."""
    there, both = {"project", "settings"}, {"profile", "as_json"}
    given = {
        str(each.name): each.opts[0]
        for each in context.command.params
        if (source := context.get_parameter_source(str(each.name))) is not None and source.name == "COMMANDLINE"
    }
    here = [option for name, option in given.items() if name not in there | both]
    if not here:
        return
    missing = " and ".join(option for option in ("--model", "--input") if option not in here)
    if missing:
        raise UsageError(
            f"{here[0]} is for a scoring here, and {missing} is not named",
            f"name {missing}; or leave {', '.join(here)} out: the profile's target.score has what its platform scores",
        )
    other = " and ".join(given[name] for name in sorted(there & given.keys()))
    raise UsageError(
        f"{other} is for a scoring on a platform, and --model and --input are scored here",
        "leave the one or the other out",
    )


def start_scoring(project: str, settings: Sequence[str], profile: str | None, as_json: bool) -> None:
    from lakewright import api
    from lakewright.api.places import located
    from lakewright.targets.scoring import scoring_of

    execution = api.start_scoring(project, settings=settings, profile=profile)
    _, place = located(project, settings, profile)
    print_started("score", place.target.name, execution, as_json)
    scoring = scoring_of(place)
    if scoring is not None and not as_json:
        into = scoring.output or f"{scoring.input}_predictions"
        print(f"predictions: {into}; the same command scores the rows that came since")


def print_started(job: str, target: str, execution: Execution, as_json: bool) -> None:
    if as_json:
        print_json(json.loads(json.dumps(asdict(execution))))
    else:
        print(f"started on {target}: {job} {execution.id}{f', {execution.page}' if execution.page else ''}")
