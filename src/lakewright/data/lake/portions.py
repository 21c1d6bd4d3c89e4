"""A function of each part of a table, computed by the workers.

Where the rows lie and what was decided of them here goes with each part. The rows do not: the worker reads them, unless
workers may open no file. Then they go with the part, and the file that is made of them comes back with its result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from lakewright.data.lake import parts
from lakewright.data.lake.catalogs import Location
from lakewright.data.lake.parts import File, InHand, Part, Shape, Window, Written, local, parts_of
from lakewright.workers import Workers
from lakewright.workers.parts import at_once, computed

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion
    from lakewright.system.progress import Advance

D = TypeVar("D")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Portion(Generic[D]):
    part: Part
    shape: Shape
    source: Location | InHand  # where the table lies
    target: Location | None  # where the table does that the results are written into; None: a file comes back in hand
    decided: D  # of these rows

    @property
    def rows(self) -> int:
        return self.part.rows

    def read(self) -> Iterator[pa.RecordBatch]:
        return parts.read(self.part, self.shape, self.source)

    def windows(self) -> Iterator[Window]:
        return parts.windows(self.part, self.shape, self.source, parts.GRID)

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Written:
        return parts.write(batches, schema, self.target)


@dataclass(frozen=True, eq=False)
class Portions(Generic[D]):
    """The parts of a table's version, and the workers that compute them."""

    lake: Lake
    table: TableVersion
    shape: Shape  # the columns that are read
    workers: Workers
    decided: Callable[[Part], D]
    output: str | None = None  # the name of the table that results are written into
    files: Iterable[File] | None = None  # None: all of the version
    rows: int | None = None  # of these files; None: as many as the version has
    begin: int = 0  # the rows of them before the first part
    most: int | None = None  # rows of a part; None: parts.ROWS
    worth: int | None = None  # rows of a part, of which another process takes some; None: as many

    @property
    def total(self) -> int:
        return self.table.rows if self.rows is None else self.rows

    @property
    def at_once(self) -> int:
        return at_once(self.workers, self.total - self.begin, self.worth or self._most)

    @property
    def _most(self) -> int:
        return self.most or parts.ROWS

    def computed(
        self,
        function: Callable[[Portion[D], Advance | None], R],
        title: str,
        note: Callable[[R], str] = lambda result: "",
    ) -> Generator[R, None, None]:
        """The function's results, in the order of the rows; one with a file has it as `file`. Raises UsageError where a
        worker does not see the table, and what is wrong with its files as `Lake.explained` says it."""
        lake, table, workers = self.lake, self.table, self.workers
        if workers.opens_files:
            check_seen(workers, lake.place(table))
            if self.output is not None:
                check_seen(workers, lake.place_to_write(self.output))
        files = lake.files(table) if self.files is None else self.files
        portions = map(self._portion, parts_of(files, self._most, self.begin))
        results = computed(
            workers, function, portions, self.at_once, title=title, rows=self.total, done=self.begin, note=note
        )
        try:
            with closing(results):
                for result in results:
                    yield result if workers.opens_files else self._put(result)
        except (OSError, pa.ArrowException) as failure:
            raise lake.explained(table, failure) from failure

    def _portion(self, part: Part) -> Portion[D]:
        # keys to a lake may be valid for an hour only, so each part gets new ones
        lake, source = self.lake, self.lake.place(self.table)
        if not self.workers.opens_files:
            return Portion(part, self.shape, parts.in_hand(part, self.shape, source), None, self.decided(part))
        target = None if self.output is None else lake.place_to_write(self.output)
        return Portion(part, self.shape, source, target, self.decided(part))

    def _put(self, result: Any) -> Any:
        """The result, whose file is in the table's folder now."""
        file: Written | None = getattr(result, "file", None)
        if self.output is None or file is None:
            return result
        return replace(result, file=parts.put(file, self.lake.place_to_write(self.output)))


def check_seen(workers: Workers, *locations: Location) -> None:
    """Raises UsageError where a worker does not see one of the tables' folders of this machine."""
    for location in locations:
        if (folder := local(location)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            workers.reach(folder)
