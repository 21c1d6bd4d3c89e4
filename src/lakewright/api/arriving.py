"""Rows as they arrive: a project's source into its table, and a table's new rows into predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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
    model: str | Path,
    input: str,
    output: str | None = None,
    *,
    every: float = EVERY,
    columns: Mapping[str, str] = {},
    id: str | None = None,
    keep: Sequence[str] = (),
    least_confidence: float = 0.0,
    probabilities: bool = True,
    explain: int = 0,
    commit_rows: int | None = None,
    runtime: str = "auto",
    profile: str | None = None,
) -> Iterator[Scored]:
    """As `score`, again and again: whenever the table has a new version, at a look `every` so many seconds. It ends by
    an error, or when you leave the loop."""
    lake = opened(profile).lake
    scored = partial(
        score, model, input, output,
        columns=columns, id=id, keep=keep, least_confidence=least_confidence, probabilities=probabilities,
        explain=explain, commit_rows=commit_rows, runtime=runtime, profile=profile,
    )  # fmt: skip
    return _arriving(lambda: lake.version(input).version, scored, every)


def _arriving(look: Callable[[], object], act: Callable[[], R], every: float) -> Iterator[R]:
    seen: object = None
    while True:
        now = look()  # before the act: what arrives meanwhile is seen by the next look
        if now != seen:
            yield act()
            seen = now
        time.sleep(every)
