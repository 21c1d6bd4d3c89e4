"""Commands at regular times on this machine: a systemd timer, or a line for cron."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lakewright.cli import former
from lakewright.cli.app import AsJson, app
from lakewright.cli.show import print_json

schedule = typer.Typer(cls=former.group(former.schedule, "--kind", options_first=True), no_args_is_help=True)
app.add_typer(
    schedule,
    name="schedule",
    help="Make a systemd timer or a cron line that runs a command.",
)
OPTIONS_FIRST = {"allow_interspersed_args": False}  # options after the command's name belong to that command
Command = Annotated[
    list[str], typer.Argument(metavar="COMMAND", help="the command and its options: score --model … --input …")
]
Every = Annotated[str, typer.Option(help="hourly, daily, weekly or monthly")]
At = Annotated[str, typer.Option(help="HH:MM by this machine's clock")]
On = Annotated[str, typer.Option(help="weekly: the day")]
Name = Annotated[
    str | None,
    typer.Option(help="the job's name, of its files and its lock; default: the command's (cron: and its arguments')"),
]


@schedule.command(
    "systemd",
    context_settings=OPTIONS_FIRST,
    epilog="Example: lakewright schedule systemd --every daily --at 03:30 run banking77/project.yml",
)
def systemd(
    command: Command,
    every: Every = "daily",
    at: At = "03:00",
    on: On = "Mon",
    name: Name = None,
    out: Annotated[str | None, typer.Option(help="folder for the two files; without it they are printed")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a systemd service and the timer that starts it. Options come before the command."""
    from lakewright.targets.local.schedule import write_units

    files = _files(command, every, at, on, name, "systemd")
    if out is not None:
        write_units(files, Path(out))
    if as_json:
        print_json({"files": files})
        return
    for file, text in files.items():
        print(f"{Path(out) / file}" if out is not None else f"# {file}\n{text}")
    unit = next(file for file in files if file.endswith(".timer"))
    print(
        f"start it with: systemctl --user daemon-reload && systemctl --user enable --now {unit}\n"
        "(the files belong in ~/.config/systemd/user)",
        file=sys.stderr,
    )


@schedule.command(
    "cron",
    context_settings=OPTIONS_FIRST,
    epilog="Example: lakewright schedule cron --every weekly --on Sun --at 04:00 run banking77/project.yml",
)
def cron(
    command: Command,
    every: Every = "daily",
    at: At = "03:00",
    on: On = "Mon",
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Print a line for crontab. Options come before the command."""
    line = _files(command, every, at, on, name, "cron")["crontab"]
    if as_json:
        print_json({"cron": line})
        return
    print(line, end="")
    print("add it with: crontab -e", file=sys.stderr)


def _files(command: list[str], every: str, at: str, on: str, name: str | None, kind: str) -> dict[str, str]:
    from lakewright import api
    from lakewright.errors import UsageError, nearest

    commands = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    if command[0] not in commands:
        raise UsageError(f"lakewright has no command {command[0]!r}", nearest(command[0], commands))
    return api.schedule(command, every=every, at=at, on=on, kind=kind, name=name)
