"""Commands at regular times on this machine: the files of a systemd timer, or a line for cron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lakewright.errors import UsageError, nearest

ENDLESS = ("serve", "ui")


def schedule(
    command: Sequence[str],
    *,
    every: str = "daily",
    at: str = "03:00",
    on: str = "Mon",
    kind: str = "systemd",
    name: str | None = None,
    folder: str | Path = ".",
) -> dict[str, str]:
    """The files that run `lakewright COMMAND …` in `folder` at regular times, as file name → text: a systemd service
    and its timer, or for the kind `cron` the file `crontab`. `name` is the job's name; default: the command's, for cron
    with a hash of its arguments. Jobs of one name do not run at once.

    Raises UsageError for an unknown time or kind, and for a command that does not end by itself.
    """
    from lakewright.targets.local import schedule as jobs

    if command[0] in ENDLESS:
        raise UsageError(f"{command[0]} does not end by itself", "let systemd run it as a service: docs/deployment.md")
    if kind not in ("systemd", "cron"):
        raise UsageError(f"there is no kind of schedule {kind!r}", nearest(kind, ("systemd", "cron")))
    when, place = jobs.When.parse(every, at, on), Path(folder).absolute()
    if kind == "cron":
        return {"crontab": jobs.cron(name or jobs.name_of(command), command, when, place)}
    return jobs.timer(name or command[0], command, when, place)
