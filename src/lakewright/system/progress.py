"""The progress of long work, on stderr, since stdout is for results: a bar if stderr is a terminal, else a line every
half minute. The run's log gets the lines, too."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG = logging.getLogger("lakewright")
SECONDS = 30.0  # between two lines
Advance = Callable[[int, str], None]
_hidden = False


def hide() -> None:
    """From now on this process shows no progress: it works beside one that does."""
    global _hidden
    _hidden = True


@contextmanager
def bar(title: str, total: int | None, completed: int = 0) -> Iterator[Advance]:
    """Yields `advance(n, note)`; shows completed/total, time left and the note."""
    if _hidden:
        yield _unseen
        return
    from rich.console import Console

    began, first, note, ended = time.monotonic(), completed, "", threading.Event()
    console = Console(stderr=True)

    def report() -> None:
        while not ended.wait(SECONDS):
            text = line(title, completed, total, completed - first, time.monotonic() - began, note)
            LOG.info("%s", text)
            if not console.is_terminal:
                print(text, file=sys.stderr, flush=True)

    threading.Thread(target=report, name=f"progress of {title}", daemon=True).start()
    with _drawn(console, title, total, completed) if console.is_terminal else nullcontext() as draw:

        def advance(n: int, new_note: str = "") -> None:
            nonlocal completed, note
            completed, note = completed + n, new_note
            if draw is not None:
                draw(n, new_note)

        try:
            yield advance
        finally:
            ended.set()


def _unseen(n: int, note: str = "") -> None:
    pass


def line(title: str, completed: int, total: int | None, since: int, seconds: float, note: str) -> str:
    """`since`: the amount of `completed` that belongs to those seconds; the rest was completed before."""
    parts = [f"{title}: {completed:,}" if total is None else f"{title}: {completed:,} of {total:,}"]
    rate = since / seconds
    if since > 0:
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
    if since > 0 and total is not None:
        parts.append(f"{timedelta(seconds=round((total - completed) / rate))} left")
    else:
        parts.append(f"{timedelta(seconds=round(seconds))} so far")
    return ", ".join(parts) + (f"; {note}" if note else "")


@contextmanager
def _drawn(console: Console, title: str, total: int | None, completed: int) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=completed, note="")
        yield lambda n, note: progress.update(task, advance=n, note=note)
