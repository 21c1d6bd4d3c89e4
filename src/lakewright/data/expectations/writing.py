"""A source's rows as a table, checked on the way: once, while they are written, by whoever writes them.

Pieces of the source are checked by the workers that copy them, a stream in pieces of its own, so that both give the
same rows and counts. Files lie in the tables' folders and belong to no version until all rows were looked at; those
that hold rows which `unique` drops are then written again. The quarantine's commit comes before the table's.
"""

from __future__ import annotations

import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.expectations import quarantine
from lakewright.data.expectations.findings import finding, refusal
from lakewright.data.expectations.sieve import SOURCE_ROW, VIOLATED, Sieve, Tally, quarantined
from lakewright.data.expectations.together import Repeated, held_columns, together
from lakewright.data.lake import parts
from lakewright.data.lake.catalogs import Location
from lakewright.data.lake.parts import File, Part, Shape, Slice, Written
from lakewright.data.lake.types import cast, storable, within_years
from lakewright.data.sources import pieces
from lakewright.data.sources.arrivals import Adding
from lakewright.data.sources.pieces import Piece, Pieces, counted, written
from lakewright.errors import DataError, ProjectError, nearest
from lakewright.settings.expectations import Expectation
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.records import Finding, TableVersion
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers


@dataclass(frozen=True, eq=False)
class Checked:
    """A source whose rows were all looked at, in files that belong to no table's version yet."""

    schema: pa.Schema
    files: Sequence[Written]
    dropped: Sequence[Written]
    tallies: Mapping[str, Tally]
    newest: Mapping[str, int | None]  # of freshness: expectation → microseconds since 1970
    rows: int  # of the source
    parts: dict[str, int]  # machine → the pieces that it copied
    quarantine: TableVersion | None = None


@dataclass(frozen=True, eq=False)
class _Sifted:
    """A piece, checked and written."""

    rows: int
    file: Written | None  # None: no row stays
    dropped: Written | None
    tallies: Mapping[str, Tally]
    numbers: npt.NDArray[np.int64]  # in the source, of the rows that stay
    held: pa.Table  # of these rows, the columns that `together` looks at
    host: str


@dataclass(frozen=True, eq=False)
class _Sifting:
    """Checks the rows of a piece and writes them; sent to other machines."""

    schema: pa.Schema
    expectations: Sequence[Expectation]
    read: Callable[[Any], Iterator[pa.RecordBatch]]

    def __call__(self, piece: Piece[Any], advance: Advance | None) -> _Sifted:
        return self.sifted(counted(self.read(piece.piece), advance), piece.first, piece.targets)

    def sifted(self, batches: Iterable[pa.RecordBatch], first: int, targets: Sequence[Location]) -> _Sifted:
        sieve, held = Sieve(self.expectations, self.schema), held_columns(self.expectations, self.schema)
        numbers, values = [np.empty(0, np.int64)], [self.schema.empty_table().select(held)]

        def staying() -> Iterator[pa.RecordBatch]:
            for rows, of_rows in sieve.kept(batches, first):
                numbers.append(of_rows)
                values.append(rows.select(held))
                yield from rows.to_batches()

        target, *of_dropped = targets
        file = _written(staying(), self.schema, target)
        dropped = None
        if sieve.dropped:
            dropped = _written(pa.concat_tables(sieve.dropped).to_batches(), quarantined(self.schema), of_dropped[0])
        return _Sifted(
            rows=sieve.rows,
            file=file,
            dropped=dropped,
            tallies=sieve.tallies,
            numbers=np.concatenate(numbers),
            held=pa.concat_tables(values),
            host=socket.gethostname(),
        )


def _written(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: Location) -> Written | None:
    """None: there are no rows."""
    file = parts.write(batches, schema, target)
    if file.rows:
        return file
    parts.remove([file], target)
    return None


def check(expectations: Sequence[Expectation], schema: pa.Schema, source: str) -> None:
    """Raises DataError for a column that is not there, and ProjectError for an expectation that does not fit its
    columns."""
    for each in expectations:
        for name in each.columns:
            if name not in schema.names:
                raise DataError(
                    f"{source} has no column {name!r} (data.expect.{each.kind})", nearest(name, schema.names)
                )
    for name in (VIOLATED, SOURCE_ROW) if drops(expectations) else ():
        if name.lower() in [column.lower() for column in schema.names]:
            raise ProjectError(
                f"{source} has a column {name!r}, which the rows that expectations drop have beside the source's",
                "rename it at the source, leave it out (data.exclude), or drop no rows (severity: warn)",
            )
    held_columns(expectations, schema)
    Sieve(expectations, schema)


def drops(expectations: Sequence[Expectation]) -> bool:
    return any(each.severity == "drop" for each in expectations)


@dataclass(frozen=True, eq=False)
class Writing:
    """The rows of one source on their way into a table."""

    lake: Lake
    table: str
    source: str  # as the project names it
    expectations: Sequence[Expectation]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    adding: Adding = field(default_factory=Adding)

    def write(
        self,
        rows: Pieces[Any] | pa.RecordBatchReader,
        open_workers: Callable[[], Workers],
        fingerprint: str,
        properties: Callable[[Checked, list[Finding]], Mapping[str, str]],
    ) -> tuple[TableVersion, dict[str, int]]:
        """The rows that stay as the table's next version, and how many pieces each machine copied; what was dropped is
        the quarantine's. `properties` are those of the table's commit.

        Raises DataError where an expectation of the severity fail is violated, or no row stays; then nothing changed.
        """
        schema = storable(rows.schema)
        check(self.expectations, schema, self.source)
        if drops(self.expectations):
            quarantine.check_name(self.lake, self.table)
        with ExitStack() as stack:
            takes_files = self.lake.takes_files(self.table)
            place = self._place() if takes_files else _draft(stack)
            files, dropped = list[Written](), list[Written]()
            try:
                checked = self._checked(rows, schema, place, open_workers, files, dropped)
                self._refuse(checked)
            except BaseException:
                parts.remove(files, place())
                if dropped:
                    parts.remove(dropped, self._quarantine())
                raise
            # From here on the files may be a version's.
            kept = quarantine.put(self.lake, self.table, quarantined(schema), dropped, fingerprint, self.adding)
            checked = replace(checked, quarantine=kept)
            of_commit = properties(checked, self.findings(checked))
            self.adding.note(None if kept is None else kept.version)
            into: dict[str, Any] = {"mode": self.adding.mode, "transactions": self.adding.transactions}
            if takes_files:
                table = self.lake.add_files(self.table, schema, files, properties=of_commit, **into)
            else:
                batches = chain.from_iterable(_read(file, schema, place()) for file in files)
                reader = pa.RecordBatchReader.from_batches(schema, batches)
                table = self.lake.write(self.table, reader, properties=of_commit, **into)
        return table, checked.parts

    def findings(self, checked: Checked) -> list[Finding]:
        """Of the expectations that are violated, but for freshness, which depends on the day."""
        return [
            finding(each, checked.tallies[each.name], checked.rows, self.table)
            for each in self.expectations
            if each.kind != "freshness" and checked.tallies[each.name].count
        ]

    def _refuse(self, checked: Checked) -> None:
        tallies = [(each, checked.tallies[each.name]) for each in self.expectations]
        violated = [(each, tally) for each, tally in tallies if tally.count]
        if (error := refusal(violated, checked.rows, self.source, self.table)) is not None:
            raise error
        if not checked.files and self.adding.mode == "overwrite":
            names = ", ".join(each.name for each, _ in violated if each.severity == "drop")
            raise DataError(
                f"no row of {self.source} is as expected: all {checked.rows:,} would be dropped ({names}), and "
                f"{self.table} stays as it is",
                "correct the source or data.expect",
            )

    def _checked(
        self,
        source: Pieces[Any] | pa.RecordBatchReader,
        schema: pa.Schema,
        place: Callable[[], Location],
        open_workers: Callable[[], Workers],
        files: list[Written],
        dropped: list[Written],
    ) -> Checked:
        """Writes files, and adds them to `files` and `dropped` at once."""
        tallies = {each.name: Tally() for each in self.expectations}
        of_pieces, rows, hosts = list[Written | None](), 0, Counter[str]()
        sifting = self._sifted(source, schema, place, open_workers)
        with together(self.expectations, schema) as whole, closing(sifting) as sifted:
            for each in sifted:
                of_pieces.append(each.file)
                files += [each.file] if each.file is not None else []
                dropped += [each.dropped] if each.dropped is not None else []
                for name, tally in each.tallies.items():
                    tallies[name].add(tally.count, tally.rows)
                whole.add(each.numbers, each.held)
                rows += each.rows
                hosts[each.host] += 1
            of_uniques, repeated = whole.dropped()
            for number, of_piece in repeated:
                file = of_pieces[number]
                assert file is not None, "rows that are dropped lie in it"
                stays, goes = self._without(file, of_piece, schema, place())
                at = files.index(file)
                files[at : at + 1] = [stays] if stays is not None else []
                dropped.append(goes)
                parts.remove([file], place())
            tallies |= of_uniques | whole.others(self.now)
            newest = whole.newest()
        of_workers = dict(hosts) if isinstance(source, Pieces) else {}
        return Checked(schema, files, dropped, tallies, newest, rows, of_workers)

    def _sifted(
        self,
        source: Pieces[Any] | pa.RecordBatchReader,
        schema: pa.Schema,
        place: Callable[[], Location],
        open_workers: Callable[[], Workers],
    ) -> Generator[_Sifted, None, None]:
        if isinstance(source, Pieces):
            work = _Sifting(schema, self.expectations, source.read)
            tables = [self.table, *([quarantine.name_of(self.table)] if drops(self.expectations) else [])]
            yield from written(source, work, self.lake, tables, open_workers)
            return
        work, first = _Sifting(schema, self.expectations, iter), 0
        with bar(f"writing {self.table}", None) as advance:
            for piece in _pieces(within_years(cast(batch, schema) for batch in source)):
                targets = [place(), *([self._quarantine()] if drops(self.expectations) else [])]
                sifted = work.sifted(piece, first, targets)
                first += sifted.rows
                advance(sifted.rows, "")
                yield sifted

    def _without(
        self, file: Written, repeated: Repeated, schema: pa.Schema, place: Location
    ) -> tuple[Written | None, Written]:
        """The file written again without these rows, and a file of the quarantine with them."""
        rows = pa.Table.from_batches(_read(file, schema, place), schema)
        sieve, gone = Sieve(self.expectations, schema), rows.take(pa.array(repeated.places))
        violated = np.concatenate([sieve.violated(gone), repeated.violated])
        dropped = sieve.with_names(gone, repeated.numbers, violated, repeated.names)
        stay = np.ones(len(rows), np.bool_)
        stay[repeated.places] = False
        stays = _written(rows.filter(pa.array(stay)).to_batches(), schema, place)
        goes = _written(dropped.to_batches(), dropped.schema, self._quarantine())
        assert goes is not None
        return stays, goes

    def _place(self) -> Callable[[], Location]:
        return lambda: self.lake.place_to_write(self.table)  # keys to it may be valid for an hour only

    def _quarantine(self) -> Location:
        return self.lake.place_to_write(quarantine.name_of(self.table))


def _draft(stack: ExitStack) -> Callable[[], Location]:
    """A folder for files that are read again at once, as the table itself takes rows alone."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lakewright-expect-"))
    return lambda: Location(folder, {})


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """A stream in pieces, each of which is read to its end before the next is drawn."""
    for first in batches:

        def piece(batch: pa.RecordBatch | None = first) -> Iterator[pa.RecordBatch]:
            rows = size = 0
            while batch is not None:
                yield batch
                rows, size = rows + batch.num_rows, size + batch.nbytes
                batch = next(batches, None) if rows < pieces.ROWS and size < pieces.BYTES else None

        yield piece()


def _read(file: Written, schema: pa.Schema, place: Location) -> Iterator[pa.RecordBatch]:
    part = Part(0, file.rows, (Slice(File(file.path, file.rows, file.size), 0, file.rows),))
    return parts.read(part, Shape(schema), place)
