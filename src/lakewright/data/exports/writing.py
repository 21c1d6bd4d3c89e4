"""A version of a table as one file: whole, or not at all."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakewright.data.exports import jsonlines, tfrecord, tsv
from lakewright.data.exports.formats import Format
from lakewright.errors import AGAIN, DataError, UsageError, nearest, of_disk
from lakewright.records import Finding, TableVersion
from lakewright.system.files import whole
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

FORMATS: Mapping[str, Format] = {"tsv": tsv.FORMAT, "jsonl": jsonlines.FORMAT, "tfrecord": tfrecord.TfRecord()}
PACKED = ".gz"
AT_ONCE = 8 << 20  # bytes of rows that are encoded at a time; a row is not divided
SHOWN = 5  # rows in a message
EXACT = 1 << 53  # whole numbers up to it are exact in readers that make doubles of numbers


@dataclass(frozen=True)
class Exported:
    table: TableVersion
    file: Path
    format: str
    rows: int
    bytes: int
    findings: Sequence[Finding]

    def as_json(self) -> dict[str, Any]:
        findings = [each.model_dump() for each in self.findings]
        plain = {"format": self.format, "rows": self.rows, "bytes": self.bytes, "findings": findings}
        return {"table": str(self.table), "file": str(self.file), **plain}


def export(
    lake: Lake, table: TableVersion, file: Path, format_name: str | None = None, *, float32: bool = False
) -> Exported:
    """Writes all rows of the version, in its order. The format is that of the file's ending, unless it is named; a file
    whose name ends in .gz is packed. A file that is there is replaced.

    Raises UsageError for a name without a format, DataError for what the format cannot hold: the first column of it,
    with all its rows counted; no file is written then.
    """
    name = format_name or _by_ending(file)
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}", nearest(name, FORMATS))
    if file.is_dir():
        raise UsageError(f"{file} is a folder", f"name a file in it: {file / 'rows'}.{name}")
    if float32 and name != "tfrecord":
        raise UsageError(f"float32 rounds doubles for tfrecord, and the format is {name}", "leave it out")
    into: Format = tfrecord.TfRecord(rounded=True) if float32 else FORMATS[name]
    reader = lake.scan(table)
    into.check(reader.schema)
    noticed = _Noticed(name, float32)
    try:
        with whole(file) as draft, bar(f"exporting {table}", table.rows) as advance, ExitStack() as stack:
            opened = _opened(draft, file.name.endswith(PACKED), stack)
            opened.write(into.head(reader.schema))
            for rows in _without_losses(reader, into, table, name):
                noticed.add(rows)
                opened.write(into.encoded(rows))
                advance(rows.num_rows, "")
            stack.close()
            size = draft.stat().st_size
    except OSError as failure:
        full = of_disk(failure, file, AGAIN)
        raise full or UsageError(
            f"{file} cannot be written: {failure.strerror or failure}", "name another file"
        ) from None
    return Exported(table, file, name, table.rows, size, noticed.findings())


def _by_ending(file: Path) -> str:
    plain = file.name.removesuffix(PACKED)
    for name, each in FORMATS.items():
        if plain.endswith(each.endings):
            return name
    endings = ", ".join(ending for each in FORMATS.values() for ending in each.endings)
    raise UsageError(
        f"the name {file.name} shows no format", f"end it in one of {endings}, also with {PACKED}; or name the format"
    )


def _opened(draft: Path, packed: bool, stack: ExitStack) -> IO[bytes] | gzip.GzipFile:
    file = stack.enter_context(draft.open("wb"))
    # without a name and a time, the same rows give the same bytes
    return stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0)) if packed else file


def _without_losses(
    batches: pa.RecordBatchReader, into: Format, table: TableVersion, name: str
) -> Iterator[pa.RecordBatch]:
    """The rows, in portions. Raises DataError at their end if the format cannot hold a value: from then on its column's
    rows are only counted."""
    before, column, why, remedy, count, first = 0, "", "", "", 0, list[int]()
    for batch in batches:
        for rows in _portions(batch):
            for each in into.lost(rows):
                if not count:
                    column, why, remedy = each.column, each.why, each.remedy
                if (each.column, each.why) == (column, why):
                    count += len(each.rows)
                    first += (before + each.rows[: SHOWN - len(first)]).tolist()
            before += rows.num_rows
            if not count:
                yield rows
    if count:
        shown = ", ".join(map(str, first)) + ", …" * (count > len(first))
        raise DataError(
            f"{name} cannot hold column {column!r} of {table}: {why}, in {count:,} row{'s' * (count > 1)} ({shown}); "
            "no file was written",
            remedy,
        )


def _portions(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.nbytes <= AT_ONCE or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _portions(batch.slice(0, half))
    yield from _portions(batch.slice(half))


class _Noticed:
    """Counts what a file holds, and some of its readers do not."""

    def __init__(self, name: str, rounded: bool) -> None:
        self._json, self._rounded = name == "jsonl", rounded
        self._large, self._changed = Counter[str](), Counter[str]()

    def add(self, rows: pa.RecordBatch) -> None:
        if self._json:
            for name, column in zip(rows.schema.names, rows.columns, strict=True):
                if pa.types.is_int64(column.type):
                    numbers = column.fill_null(0).to_numpy()
                    self._large[name] += int(np.count_nonzero((numbers > EXACT) | (numbers < -EXACT)))
        if self._rounded:
            for lost in tfrecord.TfRecord().lost(rows):
                self._changed[lost.column] += len(lost.rows)

    def findings(self) -> list[Finding]:
        large = [
            Finding(
                name="large_numbers",
                count=count,
                detail=f"column {name!r} has numbers beyond 2^53 in {count:,} rows: the file has all their digits, and "
                "readers that make doubles of numbers (JavaScript) round them.",
            )
            for name, count in self._large.items()
            if count
        ]
        rounded = [
            Finding(
                name="rounded_numbers",
                count=count,
                detail=f"column {name!r} was rounded to 32 bits in {count:,} rows, as float32 allows.",
            )
            for name, count in self._changed.items()
            if count
        ]
        return [*large, *rounded]
