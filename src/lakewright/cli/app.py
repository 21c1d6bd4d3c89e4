"""The application that the commands register with, the options that they share, and how a command is stopped."""

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

PATIENCE = 5.0  # seconds that a stopped command has to end by itself
app = typer.Typer(
    help="From a lakehouse table to an approved model that answers requests: one project file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ProjectFile = Annotated[str, typer.Argument(help="project.yml, or the folder that holds it")]
Settings = Annotated[list[str], typer.Option("--set", help="a.b=value: change a setting for this run; repeatable")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="a profile of profiles.yml")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@contextmanager
def stoppable(kept: str, remedy: str = "the same command again goes on from there") -> Iterator[None]:
    """Ctrl-C, or the SIGTERM of a CI or a service, ends what is within with Stopped: `kept` says what is not lost.

    Python cannot act on a signal while native code is at work (delta-rs writes, a network computes). Where that takes
    longer than PATIENCE, or after a second signal, the process ends as if it were killed, which a run has to survive.
    """
    from rich.console import Console

    signals = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

    def stopped(number: int) -> Stopped:
        return Stopped(f"stopped by {signals[signal.Signals(number)]}; {kept}", remedy, number)

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    def watch() -> None:
        for number in os.read(reading, 1):  # none where the command ended
            note("stopping; once more ends it at once")
            if not select.select([reading], [], [], PATIENCE)[0] or os.read(reading, 1):
                Console(stderr=True).show_cursor()  # which a progress bar hides
                complain(stopped(number))
                os._exit(128 + number)

    reading, writing = os.pipe()  # Python writes the number of each signal as it comes
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    before = {number: signal.signal(number, interrupt) for number in signals}
    signal.set_wakeup_fd(writing)
    try:
        yield
    except KeyboardInterrupt as stop:
        raise stopped(*stop.args or (signal.SIGINT,)) from None
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        watcher.join()
        os.close(reading)
