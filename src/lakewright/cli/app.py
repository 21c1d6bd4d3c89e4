"""The application that holds the commands, the options that they share, and how a signal stops a command."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from lakewright.cli.show import complain, note
from lakewright.errors import Stopped

PATIENCE = 5.0  # seconds in which a stopped command must end by itself
app = typer.Typer(
    help="From a lakehouse table to an approved model that answers requests: one project file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ProjectFile = Annotated[str, typer.Argument(help="project.yml, or its folder")]
Settings = Annotated[list[str], typer.Option("--set", help="a.b=value: change a setting for this run; repeatable")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="a profile of profiles.yml; default: the one that `default:` names")
]
Follow = Annotated[bool, typer.Option("--follow", help="go on, and do so again whenever something is new")]
Every = Annotated[float, typer.Option(min=0.1, help="seconds between two looks for what is new, with --follow")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@contextmanager
def stoppable(
    outcome: str,
    remedy: str = "run the same command again: it continues from there",
    patience: float = PATIENCE,
) -> Iterator[None]:
    """Ctrl-C, or the SIGTERM of a CI or a service, ends the block with Stopped; `outcome` states what is not lost.

    Python cannot act on a signal while native code runs (delta-rs writes, a network computes). If that takes longer
    than `patience`, or after a second signal, the process ends as if it were killed; a run must survive this.
    """
    from rich.console import Console

    signals = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

    def stopped(number: int) -> Stopped:
        return Stopped(f"stopped by {signals[signal.Signals(number)]}; {outcome}", remedy, number)

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    def watch() -> None:
        for number in os.read(read_end, 1):  # empty when the command has ended
            note("stopping; a second signal ends the command at once")
            if not select.select([read_end], [], [], patience)[0] or os.read(read_end, 1):
                Console(stderr=True).show_cursor()  # a progress bar hides it
                complain(stopped(number))
                os._exit(128 + number)

    read_end, write_end = os.pipe()  # Python writes the number of each signal when it arrives
    os.set_blocking(write_end, False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    previous = {number: signal.signal(number, interrupt) for number in signals}
    signal.set_wakeup_fd(write_end)
    try:
        yield
    except KeyboardInterrupt as stop:
        raise stopped(*stop.args or (signal.SIGINT,)) from None
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(write_end)
        watcher.join()
        os.close(read_end)
