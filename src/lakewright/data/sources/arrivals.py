"""The files of a source that a table does not hold yet, so that each is read once (`data.mode: append`).

What was read is noted in a file beside the table's own, `_arrivals/ID.json`, and the commit that adds the rows names it
by a transaction of Delta's: rows and note come together, or neither does. A transaction lasts as long as the table,
whatever becomes of the old commits of its log.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from lakewright.data.lake import parts
from lakewright.data.lake.parts import Written
from lakewright.data.sources.files import Files, stamp
from lakewright.errors import DataError

if TYPE_CHECKING:
    from lakewright.data.lake.catalogs import Location
    from lakewright.data.lake.tables import Lake

APPLICATION = "lakewright.arrivals"
REPLACED = 0  # the transaction's version where a later commit replaced all rows


@dataclass(frozen=True)
class Adding:
    """How rows become a table's next version. `note` is called just before that, with the version of the quarantine
    that belongs to it; `quarantine` is the one that belongs to the table as it is."""

    mode: Literal["overwrite", "append"] = "overwrite"
    transactions: Mapping[str, tuple[int | None, int]] = field(default_factory=dict)
    quarantine: int | None = None
    note: Callable[[int | None], object] = lambda quarantine: None


@dataclass(frozen=True)
class Arrivals:
    adding: Adding
    new: Sequence[str]  # names of files; where the table is written anew, all of them
    changed: Sequence[str]  # of files that are others than when they were read


def arrivals(lake: Lake, table: str, files: Files, again: bool, source: str) -> Arrivals:
    """The files that the table does not hold. A table that was written in another way, or is to be written `again`, is
    written anew. Raises DataError where the note of what was read is gone, or is of another source: files of the same
    names are others there."""
    before = lake.transactions(table, [APPLICATION])[APPLICATION]
    ours = random.SystemRandom().randrange(1, 1 << 62)
    now = {file.name: stamp(file) for file in files.files}
    continues = bool(before) and not again
    last = _read(lake, table, before) if continues and before else _Note({})
    seen = last.files
    if seen and last.source != source:
        raise DataError(
            f"{table} holds the files of {last.source}, and data.source is {source} now",
            "name another table (data.table), or read all files anew: lakewright run --rerun ingest",
        )

    def note(quarantine: int | None) -> None:
        place = _place(lake, table)
        content = vars(_Note({**now, **seen}, quarantine, before, source))
        parts.put(Written(_file(ours), 0, 0, json.dumps(content).encode()), place)
        if last.before:  # nothing names it any more
            parts.remove([Written(_file(last.before), 0, 0)], place)

    transactions = {APPLICATION: (before, ours)}
    adding = Adding("append" if continues else "overwrite", transactions, last.quarantine, note)
    changed = [name for name in now if name in seen and seen[name] != now[name]]
    return Arrivals(adding, [name for name in now if name not in seen], changed)


def replacing(lake: Lake, table: str) -> Adding:
    """Of a commit that replaces all rows, so that a later append does not go on from before it."""
    before = lake.transactions(table, [APPLICATION])[APPLICATION]
    return Adding("overwrite", {APPLICATION: (before, REPLACED)} if before else {})


@dataclass(frozen=True)
class _Note:
    files: Mapping[str, str]  # file → its size and its time, when it was read
    quarantine: int | None = None  # the version that belongs to the table's
    before: int | None = None  # the note until then
    source: str = ""  # as the project names it


def _read(lake: Lake, table: str, note: int) -> _Note:
    try:
        with parts.opened(_place(lake, table), _file(note)) as file:
            return _Note(**json.loads(file.read()))
    except (OSError, ValueError, TypeError) as failure:
        raise DataError(
            f"the note of the files that {table} holds cannot be read: {failure}",
            "read all files again: lakewright run --rerun ingest",
        ) from failure


def _file(note: int) -> str:
    return f"{note:016x}.json"


def _place(lake: Lake, table: str) -> Location:
    place = lake.place_to_write(table)
    return replace(place, uri=f"{place.uri.rstrip('/')}/_arrivals")
