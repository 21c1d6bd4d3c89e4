"""A version of a table cut into parts, which workers read themselves: rows of its files, in the order of `Lake.scan`.

A part is cut by the table alone. Its rows come in windows, which begin at the same rows of a file however the parts are
cut, so that what is computed of a window together does not depend on the parts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakewright.data.lake.catalogs import Location
from lakewright.data.lake.scan import schema_of
from lakewright.data.lake.types import storable, within_years
from lakewright.errors import AGAIN, DataError, nearest, of_disk

if TYPE_CHECKING:
    from deltalake import DeltaTable

GRID = 1 << 11  # rows of a file that are computed together: parts end there, or two of them compute the same rows
ROWS = 12 * GRID  # of a part at most
BYTES = 64 << 20  # of its files, about
GROUP = 1 << 14  # rows of a row group


@dataclass(frozen=True, eq=False)
class File:
    """A data file of a table."""

    path: str  # as the log has it: from the table's folder, or absolute
    rows: int  # all that it holds
    size: int  # in bytes
    values: Mapping[str, Any] = field(default_factory=dict)  # column → the value that all its rows have (a partition)
    masked: bytes | None = None  # a bit for each row that belongs to the table; None: all of them do

    @cached_property
    def kept(self) -> NDArray[np.bool_] | None:
        """[rows] Whether the row belongs to the table; None: all of them do."""
        if self.masked is None:
            return None
        return np.unpackbits(np.frombuffer(self.masked, np.uint8), count=self.rows).view(np.bool_)

    def only(self, places: NDArray[np.int64]) -> File:
        """The file of which these rows alone belong to the table."""
        kept = np.zeros(self.rows, np.bool_)
        kept[places] = True
        return File(self.path, self.rows, self.size, self.values, np.packbits(kept).tobytes())

    def count(self, start: int, stop: int) -> int:
        """The rows that belong to the table, of these of the file."""
        return stop - start if self.kept is None else int(self.kept[start:stop].sum())

    def after(self, rows: int) -> int:
        """The place in the file after so many of the table's rows."""
        if self.kept is None or not rows:
            return rows
        return int(np.flatnonzero(self.kept)[rows - 1]) + 1


@dataclass(frozen=True, eq=False)
class Slice:
    """Rows of a file that lie together."""

    file: File
    start: int
    stop: int

    def places(self) -> NDArray[np.int64]:
        """Where in the file its rows are that belong to the table."""
        kept = self.file.kept
        return (
            np.arange(self.start, self.stop)
            if kept is None
            else self.start + np.flatnonzero(kept[self.start : self.stop])
        )


@dataclass(frozen=True, eq=False)
class Part:
    first: int  # the number of its first row among all that were cut
    rows: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive rows of one file."""

    rows: pa.RecordBatch
    first: int  # the number of its first row
    start: int  # which of the rows belong to the part, and not to one beside it
    stop: int
    place: tuple[str, int]  # the file and the first row in it


@dataclass(frozen=True, eq=False)
class Shape:
    """How the files of a table hold the columns that are read."""

    schema: pa.Schema  # of the columns
    stored: Mapping[str, str] = field(default_factory=dict)  # column → its name in the files, where that is another

    def stored_name(self, column: str) -> str:
        return self.stored.get(column, column)


@dataclass(frozen=True, eq=False)
class InHand:
    """Rows of a part as bytes, for a worker that may open no file."""

    uri: str  # of the table
    rows: Mapping[tuple[str, int], bytes]  # a file and the first row → the rows from there on, as an Arrow stream


def files_of(delta: DeltaTable, location: Location) -> list[File]:
    """The files of a version, in the order of `Lake.scan`."""
    actions = pa.RecordBatchReader.from_stream(delta.get_add_actions(flatten=False)).read_all()
    values = actions["partition"].to_pylist() if "partition" in actions.column_names else [None] * len(actions)
    kept = _kept(delta)
    files = []
    for path, rows, size, of_partition in zip(
        *(actions[name].to_pylist() for name in ("path", "num_records", "size_bytes")), values, strict=True
    ):
        mask = kept.get(_within(path, delta.table_uri))
        count = rows_of(location, path, rows if mask is None else None)
        file = File(path, count, size, of_partition or {})
        if mask is not None:  # it may end with the last row that is deleted
            file = file.only(np.flatnonzero(np.pad(mask, (0, count - len(mask)), constant_values=True)))
        files.append(file)
    return files


def shape_of(delta: DeltaTable, columns: Sequence[str] | None = None) -> Shape:
    """Raises DataError for an unknown column, and for one whose fields have other names in the files."""
    schema = storable(schema_of(delta))
    for name in columns or ():
        if name not in schema.names:
            raise DataError(f"{delta.table_uri} has no column {name!r}", nearest(name, schema.names))
    chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    if delta.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        return Shape(chosen)
    for each in chosen:
        if "struct<" in str(each.type):
            raise DataError(
                f"the fields of column {each.name!r} of {delta.table_uri} have other names in its files",
                "write the table anew without column mapping (create or replace table … as select …)",
            )
    key = "delta.columnMapping.physicalName"
    stored = {each.name: each.metadata.get(key, each.name) for each in delta.schema().fields}
    return Shape(chosen, {name: stored[name] for name in chosen.names})


def parts_of(files: Iterable[File], most: int = ROWS, begin: int = 0) -> Iterator[Part]:
    """Parts of at most so many rows, from row `begin` of these files on. Small files share a part; one that holds GRID
    rows of a larger file ends at a multiple of GRID in it."""
    first = begin
    slices: list[Slice] = []
    rows = size = 0
    for file in files:
        count = file.count(0, file.rows)
        if begin >= count:
            begin -= count
            continue
        start = file.after(begin)
        begin = 0
        each = max(1, min(most, file.rows * BYTES // max(1, file.size)))
        while start < file.rows:
            room = min(each, most - rows)
            stop = min(start + room, file.rows)
            if stop < file.rows and each >= GRID:
                if (whole := stop - stop % GRID) > start:
                    stop = whole
                elif slices:
                    yield Part(first, rows, tuple(slices))
                    first, slices, rows, size = first + rows, [], 0, 0
                    continue
            share = file.size * (stop - start) // file.rows
            if slices and size + share > BYTES:
                yield Part(first, rows, tuple(slices))
                first, slices, rows, size = first + rows, [], 0, 0
                continue
            if found := file.count(start, stop):
                slices.append(Slice(file, start, stop))
                rows, size = rows + found, size + share
            start = stop
            if rows >= most or size >= BYTES:
                yield Part(first, rows, tuple(slices))
                first, slices, rows, size = first + rows, [], 0, 0
    if slices:
        yield Part(first, rows, tuple(slices))


def windows(part: Part, shape: Shape, location: Location | InHand, size: int) -> Iterator[Window]:
    """The part's rows in windows of at most `size` rows of a file; GRID is a multiple of `size`. A window may hold rows
    of the part before, or after: those are computed with it, and belong to the other."""
    number = part.first
    for each in part.slices:
        start = each.start - each.start % size
        stop = min(each.stop + -each.stop % size, each.file.rows)
        for rows in _read(each.file, start, stop, size, shape, location):
            before, after = each.file.count(start, max(start, each.start)), rows.num_rows
            if start + size > each.stop:
                after = each.file.count(start, each.stop)
            window = Window(rows, number - before, before, after, (each.file.path, start))
            number += after - before
            start += size
            if after > before:
                yield window


def read(part: Part, shape: Shape, location: Location | InHand, size: int = 8192) -> Iterator[pa.RecordBatch]:
    """The part's rows, and no others."""
    for each in part.slices:
        yield from _read(each.file, each.start, each.stop, size, shape, location)


def in_hand(part: Part, shape: Shape, location: Location) -> InHand:
    """The part's rows, and those that lie in one window with them."""
    rows = {}
    for each in part.slices:
        start, stop = each.start - each.start % GRID, min(each.stop + -each.stop % GRID, each.file.rows)
        with _stored(each.file, start, stop, GRID, shape, location) as stored:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.BufferOutputStream() as stream, pa.ipc.new_stream(stream, stored.schema, options=options) as writer:
                for _, batch in stored.batches if stored.schema.names else ():
                    writer.write_batch(batch)
        rows[each.file.path, start] = stream.getvalue().to_pybytes()
    return InHand(location.uri, rows)


@dataclass(frozen=True)
class Written:
    """A data file that is written, and not yet in a table."""

    path: str
    rows: int
    size: int  # in bytes
    content: bytes | None = field(default=None, repr=False)  # of one that is in hand, and nowhere else


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, location: Location | None) -> Written:
    """One file in the table's folder; without a location, in hand. It belongs to no version until `Lake.add_files`
    commits it; VACUUM removes it if that never happens. On any failure there is none."""
    name = f"part-{uuid.uuid4()}.zstd.parquet"
    if location is None:
        with pa.BufferOutputStream() as stream:
            rows, size = _write(batches, schema, stream)
        return Written(name, rows, size, stream.getvalue().to_pybytes())
    try:
        with opened(location, name, writes=True) as file:
            return Written(name, *_write(batches, schema, file))
    except BaseException as failure:
        remove([Written(name, 0, 0)], location)
        if isinstance(failure, OSError):
            raise of_disk(failure, location.uri, AGAIN) or failure from None
        raise


def put(written: Written, location: Location) -> Written:
    """A file in hand, in the table's folder."""
    assert written.content is not None
    try:
        with opened(location, written.path, writes=True) as file:
            file.write(written.content)
    except BaseException as failure:
        remove([written], location)
        if isinstance(failure, OSError):
            raise of_disk(failure, location.uri, AGAIN) or failure from None
        raise
    return replace(written, content=None)


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: Any) -> tuple[int, int]:
    """The rows and the bytes."""
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(batches):
            writer.write_table(group)
            rows += len(group)
    return rows, file.tell()


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Row groups: of few rows they would be slow to read, of many they would take memory."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= GROUP or sum(each.nbytes for each in held) >= BYTES:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def remove(written: Iterable[Written], location: Location) -> None:
    """Files that no version holds, where that is possible."""
    for each in written:
        try:
            if (folder := local(location)) is not None:
                (folder / each.path).unlink(missing_ok=True)
            else:
                store_of(location).delete_file(each.path)
        except Exception:  # VACUUM does
            return


def local(location: Location) -> Path | None:
    """The table's folder, if this machine sees it as one."""
    if location.uri.startswith("file://"):
        return Path(unquote(urlsplit(location.uri).path))
    return None if "://" in location.uri else Path(location.uri)


def _read(
    file: File, start: int, stop: int, size: int, shape: Shape, location: Location | InHand
) -> Iterator[pa.RecordBatch]:
    """The table's rows among these of the file, by windows: a batch each, which may be empty."""
    with _stored(file, start, stop, size, shape, location) as stored:
        for at, rows in stored.batches:
            fitted = pa.record_batch(
                [_column(rows, each, shape.stored_name(each.name), file.values) for each in shape.schema],
                schema=shape.schema,
            )
            if file.kept is not None:
                fitted = fitted.filter(pa.array(file.kept[at : at + rows.num_rows]))
            yield from within_years([fitted])


@dataclass(frozen=True, eq=False)
class _Stored:
    """Rows as a file holds them."""

    schema: pa.Schema
    batches: Iterator[tuple[int, pa.RecordBatch]]  # each with its first row


@contextmanager
def _stored(
    file: File, start: int, stop: int, size: int, shape: Shape, location: Location | InHand
) -> Iterator[_Stored]:
    """These rows of the file, `size` in a batch, with those columns of the shape that the file has."""
    import pyarrow.parquet as pq

    if isinstance(location, InHand):
        first = start - start % GRID
        with pa.ipc.open_stream(location.rows[file.path, first]) as stream:
            batches = _exactly(iter(stream), first, start, stop, size, empty=not stream.schema.names)
            yield _Stored(stream.schema, batches)
        return
    with opened(location, unquote(file.path)) as stored:
        parquet = pq.ParquetFile(stored)
        if parquet.metadata.num_rows != file.rows:
            raise DataError(
                f"the file {file.path} of {location.uri} has {parquet.metadata.num_rows:,} rows, and its commit says "
                f"{file.rows:,}",
                "restore the file, or write the table anew",
            )
        whole = parquet.schema_arrow.remove_metadata()
        inside = map(shape.stored_name, shape.schema.names)
        present = [name for name in inside if name in whole.names and name not in file.values]
        groups, first = _row_groups(parquet, start, stop)
        batches = parquet.iter_batches(size, row_groups=groups, columns=present)
        yield _Stored(
            pa.schema([whole.field(name) for name in present]),
            _exactly(batches, first, start, stop, size, empty=not present),
        )


def _row_groups(parquet: Any, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold these rows, and the first row of the first of them."""
    ends = np.cumsum([parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)])
    begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    groups = np.flatnonzero((ends > start) & (begins < stop)).tolist()
    return groups, int(begins[groups[0]]) if groups else 0


def _exactly(
    batches: Iterator[pa.RecordBatch], first: int, start: int, stop: int, size: int, empty: bool
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows from `start` to `stop`, of batches that begin at row `first`, `size` in each; and its first row."""
    if empty:  # no column of the file is read
        for at in range(start, stop, size):
            nothing = pa.array(np.zeros(min(size, stop - at), np.int8))
            yield at, pa.record_batch([nothing], ["nothing"])
        return
    waiting: list[pa.RecordBatch] = []
    held = 0
    at = start
    for batch in batches:
        low, high = max(start - first, 0), min(stop - first, batch.num_rows)
        first += batch.num_rows
        rows = batch.slice(low, max(0, high - low))
        while rows.num_rows:
            taken = min(rows.num_rows, size - held)
            waiting.append(rows.slice(0, taken))
            held += taken
            rows = rows.slice(taken)
            if held == size:
                yield at, _joined(waiting)
                at, waiting, held = at + held, [], 0
    if held:
        yield at, _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _column(batch: pa.RecordBatch, field: pa.Field, stored: str, values: Mapping[str, Any]) -> pa.Array:
    """A column of the table: from the file, one value for all its rows (a partition), or null (added later)."""
    if stored in values or field.name in values:
        value = values[stored] if stored in values else values[field.name]
        scalar = _parsed(value, field.type) if isinstance(value, str) else pa.scalar(value, field.type)
        return pa.repeat(scalar, batch.num_rows)
    if stored not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    return batch.column(stored).cast(field.type)


def _parsed(text: str, kind: pa.DataType) -> pa.Scalar:
    """A partition's value as the log has it.
    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization"""
    if pa.types.is_timestamp(kind) and kind.tz is not None and not text.endswith("Z"):
        text += "Z"
    return pa.scalar(text, pa.string()).cast(kind)


def _kept(delta: DeltaTable) -> dict[str, NDArray[np.bool_]]:
    """File → which of its rows are not deleted, for files of which some are."""
    if "deletionVectors" not in (delta.protocol().reader_features or ()):
        return {}
    vectors = pa.RecordBatchReader.from_stream(delta.deletion_vectors()).read_all()
    return {
        _within(path, delta.table_uri): np.array(kept, np.bool_)
        for path, kept in zip(vectors["filepath"].to_pylist(), vectors["selection_vector"].to_pylist(), strict=True)
    }


def _within(path: str, table_uri: str) -> str:
    """A file's path from the table's folder, however it was written."""
    folder = table_uri.rstrip("/") + "/"
    for prefix in (folder, folder.removeprefix("file://")):
        path = path.removeprefix(prefix)
    return unquote(path)


def rows_of(location: Location, path: str, noted: int | None) -> int:
    """The rows that a file holds: as its commit notes them, else from its footer."""
    import pyarrow.parquet as pq

    if noted is not None:
        return noted
    with opened(location, unquote(path)) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


@contextmanager
def opened(location: Location, path: str, writes: bool = False) -> Iterator[IO[bytes] | Any]:
    """A file in the table's folder, as a stream of bytes; one that is written is made anew."""
    import pyarrow.fs as fs

    if "://" in path:  # of a shallow clone
        folder, _, path = path.rpartition("/")
        location = Location(folder, location.storage_options)
    folder_here = local(location)
    if folder_here is not None and writes:
        folder_here.mkdir(parents=True, exist_ok=True)
    store = fs.LocalFileSystem() if folder_here is not None else store_of(location)
    whole = path if folder_here is None else str(folder_here / path)
    with store.open_output_stream(whole) if writes else store.open_input_file(whole) as file:
        yield file


def store_of(location: Location) -> Any:
    """The filesystem whose root is the table's folder."""
    import pyarrow.fs as fs
    from deltalake.fs import DeltaStorageHandler

    return fs.PyFileSystem(DeltaStorageHandler(location.uri, dict(location.storage_options)))
