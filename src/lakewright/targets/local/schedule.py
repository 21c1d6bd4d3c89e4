"""A command at regular times on this machine: a systemd timer with its service, or a line for cron.

This module only makes the text; the user who installs it decides under which account it runs. A job runs in the folder
in which it was made, and does not start while its last run still goes.
https://www.freedesktop.org/software/systemd/man/latest/systemd.timer.html
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lakewright.errors import UsageError, nearest

Every = Literal["hourly", "daily", "weekly", "monthly"]
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class When:
    """Every hour, day, week or month, at a time of this machine's clock; weekly on a day, monthly on the first."""

    every: Every
    hour: int
    minute: int
    day: str

    @classmethod
    def parse(cls, every: str, at: str, on: str) -> When:
        """`at` is HH:MM (of an hourly job only the minutes count), `on` a day of the week. Raises UsageError."""
        if every not in get_args(Every):
            raise UsageError(f"{every!r} is not an interval", nearest(every, get_args(Every)))
        time = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
        if time is None:
            raise UsageError(f"{at!r} is not a time of day", "write HH:MM, for example 03:30")
        day = on[:3].capitalize()
        if day not in DAYS:
            raise UsageError(f"{on!r} is not a day of the week", nearest(on, DAYS))
        return cls(every, int(time[1]), int(time[2]), day)  # type: ignore[arg-type]

    @property
    def calendar(self) -> str:
        """The time in the form of systemd (systemd.time(7))."""
        time = f"{self.hour:02}:{self.minute:02}"
        return {
            "hourly": f"*-*-* *:{self.minute:02}",
            "daily": f"*-*-* {time}",
            "weekly": f"{self.day} *-*-* {time}",
            "monthly": f"*-*-01 {time}",
        }[self.every]

    @property
    def cron(self) -> str:
        """The five fields of crontab(5)."""
        day = (DAYS.index(self.day) + 1) % 7
        return {
            "hourly": f"{self.minute} * * * *",
            "daily": f"{self.minute} {self.hour} * * *",
            "weekly": f"{self.minute} {self.hour} * * {day}",
            "monthly": f"{self.minute} {self.hour} 1 * *",
        }[self.every]


def timer(name: str, command: Sequence[str], when: When, folder: Path) -> dict[str, str]:
    """File name → text: a service that runs the command once, and the timer that starts it. A time that passed while
    the machine was off is made up for."""
    unit = f"lakewright-{_named(name)}"
    words = " ".join(_systemd_quoted(word) for word in (*_program(), *command))
    service = f"""\
[Unit]
Description=lakewright {_one_line(" ".join(command))}

[Service]
Type=oneshot
WorkingDirectory={_systemd_path(folder)}
ExecStart={words}
"""
    calendar = f"""\
[Unit]
Description={when.every} lakewright {_one_line(" ".join(command))}

[Timer]
OnCalendar={when.calendar}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{unit}.service": service, f"{unit}.timer": calendar}


def write_units(files: Mapping[str, str], folder: Path) -> None:
    """A timer's two files; the timer of the same job is replaced. Raises UsageError if another job has its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        path = folder / file
        if path.suffix == ".service" and path.exists() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{path} runs another command, or the same in another folder",
                "use another name (--name NAME), or remove that file first",
            )
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")


def cron(name: str, command: Sequence[str], when: When, folder: Path) -> str:
    """One line for crontab; the command's output goes to .lakewright-NAME.log in the folder. Lines of one name never
    run at once."""
    quoted = shlex.join([*_program(), *map(_without_break, command)])
    lock, log = (shlex.quote(str(folder / f".lakewright-{_named(name)}.{end}")) for end in ("lock", "log"))
    line = f"cd {shlex.quote(str(folder))} && flock --nonblock {lock} {quoted} >> {log} 2>&1"
    return f"{when.cron} {line.replace('%', chr(92) + '%')}\n"  # cron reads a bare % as the end of the line


def name_of(command: Sequence[str]) -> str:
    """A name that another command does not have: cron has no place where a second one would be refused."""
    if len(command) == 1:
        return command[0]
    return f"{command[0]}-{hashlib.sha256(json.dumps(list(command)).encode()).hexdigest()[:8]}"


def _program() -> list[str]:
    return [sys.executable, "-m", "lakewright.cli"]


def _named(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise UsageError(f"{name!r} cannot name a job", "use letters, digits, _, - and .")
    return name


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("%", "%%")


def _systemd_path(path: Path) -> str:
    return str(path).replace("%", "%%")


def _without_break(word: str) -> str:
    if "\n" in word:
        raise UsageError("a scheduled command cannot hold a line break", "write it on one line")
    return word


def _systemd_quoted(word: str) -> str:
    """One word of a command line: systemd.service(5), "Command lines"."""
    escaped = _without_break(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
