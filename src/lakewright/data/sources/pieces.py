"""A source's rows in pieces, which workers read by themselves and write into files of a table.

Only the source cuts its rows, so the table is the same wherever the pieces are copied, and its rows lie in the order of
the source.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pyarrow as pa

from lakewright.data.lake import parts
from lakewright.data.lake.portions import check_seen
from lakewright.data.lake.types import within_years
from lakewright.workers.local import LocalWorkers
from lakewright.workers.parts import WORTH, at_once, computed

if TYPE_CHECKING:
    from lakewright.data.lake.catalogs import Location
    from lakewright.data.lake.tables import Lake
    from lakewright.data.sources.arrivals import Adding
    from lakewright.records import TableVersion
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers

LOG = logging.getLogger("lakewright")

ROWS = 1 << 18  # of a piece at most: to read a row is a tenth of the work of encoding it, or less
BYTES = 256 << 20  # of a piece, about, before they are compressed


class HasRows(Protocol):
    @property
    def rows(self) -> int: ...


P = TypeVar("P", bound=HasRows)
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Pieces(Generic[P]):
    schema: pa.Schema  # as a table stores it
    pieces: Sequence[P]  # in the order of the rows; one at least
    read: Callable[[P], Iterator[pa.RecordBatch]]  # sent to other machines; batches of the schema
    # Some files of this machine that are read → bytes; none: the source is an address that every machine reaches
    files: Mapping[Path, int] = field(default_factory=dict)

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, chain.from_iterable(map(self.read, self.pieces)))


@dataclass(frozen=True, eq=False)
class Piece(Generic[P]):
    piece: P
    first: int  # the number of its first row in the source
    targets: tuple[Location, ...]  # where files of its rows go; keys to them may be valid for an hour only

    @property
    def rows(self) -> int:
        return self.piece.rows


@dataclass(frozen=True, eq=False)
class _Copied:
    file: parts.Written
    host: str


@dataclass(frozen=True, eq=False)
class _Copying(Generic[P]):
    """Writes the rows of a piece into a file of the table."""

    schema: pa.Schema
    read: Callable[[P], Iterator[pa.RecordBatch]]

    def __call__(self, piece: Piece[P], advance: Advance | None) -> _Copied:
        (target,) = piece.targets
        batches = counted(self.read(piece.piece), advance)
        return _Copied(parts.write(batches, self.schema, target), socket.gethostname())


def counted(batches: Iterable[pa.RecordBatch], advance: Advance | None) -> Iterator[pa.RecordBatch]:
    """The batches, as the progress bar sees them pass. Raises DataError for times that Python lacks."""
    for batch in within_years(batches):
        if advance is not None:
            advance(batch.num_rows, "")
        yield batch


def copied(
    source: Pieces[Any],
    lake: Lake,
    table: str,
    open_workers: Callable[[], Workers],
    properties: Mapping[str, str],
    adding: Adding,
) -> tuple[TableVersion, dict[str, int]]:
    """The source's rows as the table's next version, in one commit; and how many pieces each machine copied. The table
    takes files (`Lake.takes_files`), and where rows are appended it has the source's columns."""
    files, hosts = list[parts.Written](), Counter[str]()
    try:
        for each in written(source, _Copying(source.schema, source.read), lake, [table], open_workers):
            files.append(each.file)
            hosts[each.host] += 1
    except BaseException:
        parts.remove(files, lake.place_to_write(table))
        raise
    # Not in the block above: where this fails after its commit, the files are the table's.
    adding.note(None)
    version = lake.add_files(
        table, source.schema, files, mode=adding.mode, properties=properties, transactions=adding.transactions
    )
    return version, dict(hosts)


def written(
    source: Pieces[P],
    work: Callable[[Piece[P], Advance | None], R],
    lake: Lake,
    tables: Sequence[str],
    open_workers: Callable[[], Workers],
) -> Generator[R, None, None]:
    """What `work` makes of each piece, in the order of the rows, with files in these tables' folders. Few pieces are
    computed here, and so are those that other machines do not see."""
    here = LocalWorkers(1, 1)
    workers = here if len(source.pieces) <= WORTH else open_workers()
    if not workers.opens_files:
        workers = here
    elif not _see(workers, source.files):
        LOG.warning("no worker elsewhere sees %s: its rows are read here", next(iter(source.files)))
        workers = here
    check_seen(workers, *map(lake.place_to_write, tables))
    rows = [piece.rows for piece in source.pieces]
    pieces = (
        Piece(piece, first, tuple(map(lake.place_to_write, tables)))
        for piece, first in zip(source.pieces, accumulate(rows, initial=0), strict=False)
    )
    most = at_once(workers, sum(rows), ROWS)
    return computed(workers, work, pieces, most, title=f"writing {tables[0]}", rows=sum(rows))


def _see(workers: Workers, files: Mapping[Path, int]) -> bool:
    """Whether the workers see these files: as many are asked as compute at once."""
    if not files or isinstance(workers, LocalWorkers):
        return True
    with closing(workers.map(partial(_are_here, files), range(workers.processes), ahead=workers.processes)) as answers:
        return all(answers)


def _are_here(files: Mapping[Path, int], number: int) -> bool:
    return all(path.is_file() and path.stat().st_size == size for path, size in files.items())
