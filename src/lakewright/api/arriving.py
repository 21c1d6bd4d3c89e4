"""Rows as they arrive: a project's source into its table, and a table's new rows into predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lakewright.api.places import located, opened, opener
from lakewright.api.predictions import score

if TYPE_CHECKING:
    from lakewright.records import Ingested
    from lakewright.service.scoring import Scored

EVERY = 10.0  # seconds between two looks
R = TypeVar("R")


def ingest(
    project: str | Path = "project.yml", *, settings: Sequence[str] = (), profile: str | None = None
) -> Ingested:
    """Write the project's source into its table, without a run: nothing is prepared or learned. A source that is
    unchanged is not read; with `data.mode: append`, only the files are that were not read before.

    Raises what the stage `ingest` of a run raises, and Busy if another process works on the project.
    """
    from lakewright.pipeline.stages.ingest import ingest as written

    loaded, place = located(project, settings, profile)
    workspace = opener(place)()
    with workspace.lock(f"{loaded.schema_}.{loaded.name}"):
        return written(loaded, workspace)


def ingest_arriving(
    project: str | Path = "project.yml",
    *,
    every: float = EVERY,
    settings: Sequence[str] = (),
    profile: str | None = None,
) -> Iterator[Ingested]:
    """As `ingest`, again and again: whenever the source has changed, at a look `every` so many seconds. It ends by an
    error, or when you leave the loop."""
    from lakewright.pipeline.stages.ingest import fingerprint

    loaded, place = located(project, settings, profile)
    workspace = opener(place)()
    return _arriving(
        lambda: fingerprint(loaded, workspace), lambda: ingest(project, settings=settings, profile=profile), every
    )


def score_arriving(
    model: str | Path, input: str, output: str | None = None, *, every: float = EVERY, **options: Any
) -> Iterator[Scored]:
    """As `score`, again and again: whenever the table has a new version, at a look `every` so many seconds. `options`
    are those of `score`. It ends by an error, or when you leave the loop."""
    lake = opened(options.get("profile")).lake
    return _arriving(lambda: lake.version(input).version, lambda: score(model, input, output, **options), every)


def _arriving(look: Callable[[], object], act: Callable[[], R], every: float) -> Iterator[R]:
    seen: object = None
    while True:
        now = look()  # before the act: what arrives meanwhile is seen by the next look
        if now != seen:
            yield act()
            seen = now
        time.sleep(every)
