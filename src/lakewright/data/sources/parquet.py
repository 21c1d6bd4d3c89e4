"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, files, no_rows, plain_schema, unreadable
from lakewright.errors import DataError, shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakewright.data.sources.pieces import Pieces
    from lakewright.records import Finding


@dataclass(frozen=True, eq=False)
class _Groups:
    """Row groups of one file that lie together."""

    file: files.SourceFile
    numbers: tuple[int, ...]
    beside: tuple[Any, ...]  # the values of the columns from the file's name and folders


@dataclass(frozen=True, eq=False)
class _Piece:
    rows: int
    groups: tuple[_Groups, ...]


class ParquetSource:
    """Option: split. All files have the same columns, in any order; numbers may be wider in some files, and a column
    without values may have any type."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        return self.pieces(uri, options, storage_options, intake).reader()

    def pieces(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> Pieces[_Piece]:
        """Whole row groups, since one is read from its beginning."""
        import pyarrow as pa

        from lakewright.data.sources.pieces import Pieces

        check_options(options, files.OPTIONS, "parquet")
        source_files = files.find(uri, storage_options, "parquet", options, intake.files)
        schemas, sizes = {}, {}
        for file in source_files.files:
            with _opened(source_files.system, file) as parquet:
                schema, metadata = parquet.schema_arrow.remove_metadata(), parquet.metadata
                groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
                sizes[file.name] = [(group.num_rows, group.total_byte_size) for group in groups]
            included = intake.kept(schema.names)
            schemas[file.name] = pa.schema([each for each in schema if each.name in included])
        schema = _one_schema(schemas, intake)
        beside = files.beside(source_files, schema.names, intake)
        whole = plain_schema(pa.schema([*schema, *((name, column.type) for name, column in beside.items())]), intake)
        values = list(zip(*(column.to_pylist() for column in beside.values()), strict=True))
        pieces = list(_cut(source_files, sizes, values or [()] * len(source_files.files)))
        if not pieces:
            raise no_rows(uri)
        local = {Path(file.path): file.size for file in source_files.files[:: max(1, len(source_files.files) - 1)]}
        reading = _Reading(uri, storage_options, schema, tuple(beside), whole)
        return Pieces(whole, pieces, reading, local if source_files.local else {})

    def listing(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> files.Files:
        return files.find(uri, storage_options, "parquet", options)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        source_files = files.find(uri, storage_options, "parquet", options, intake.files)
        return files.fingerprint(source_files, options, intake.as_written.intersection(source_files.files[0].partition))


@dataclass(frozen=True)
class _Reading:
    """The rows of a piece, on any machine."""

    uri: str
    storage_options: Mapping[str, str]
    schema: pa.Schema  # of the files
    beside: tuple[str, ...]  # the columns from the files' names and folders
    whole: pa.Schema

    def __call__(self, piece: _Piece) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from lakewright.data.lake.types import cast

        system, _ = files.file_system(self.uri, self.storage_options)
        for each in piece.groups:
            more = [
                pa.scalar(value, self.whole.field(name).type)
                for name, value in zip(self.beside, each.beside, strict=True)
            ]
            with _opened(system, each.file) as parquet:
                for batch in _batches(parquet, each):
                    inside = cast(batch, self.schema, cut_times=True)
                    outside = [pa.repeat(value, batch.num_rows) for value in more]
                    yield pa.RecordBatch.from_arrays([*inside.columns, *outside], schema=self.whole)


def _opened(system: Any, file: files.SourceFile) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pre_buffer reads far ahead: 60 MB of a file of 100.
        return pq.ParquetFile(system.open_input_file(file.path), pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"{file.name} is not a Parquet file: {error}", "write the file again") from error


def _batches(parquet: pq.ParquetFile, groups: _Groups) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        yield from parquet.iter_batches(batch_size=8192, row_groups=groups.numbers)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(groups.file.name, error) from error


def _cut(
    source: files.Files, sizes: Mapping[str, list[tuple[int, int]]], beside: list[tuple[Any, ...]]
) -> Iterator[_Piece]:
    from lakewright.data.sources.pieces import BYTES, ROWS

    held: list[_Groups] = []
    rows = size = 0
    for file, values in zip(source.files, beside, strict=True):
        numbers: list[int] = []
        for number, (more, larger) in enumerate(sizes[file.name]):
            if rows and (rows + more > ROWS or size + larger > BYTES):
                yield _Piece(rows, (*held, *([_Groups(file, tuple(numbers), values)] if numbers else [])))
                held, numbers, rows, size = [], [], 0, 0
            if more:
                numbers.append(number)
                rows, size = rows + more, size + larger
        if numbers:
            held.append(_Groups(file, tuple(numbers), values))
    if held:
        yield _Piece(rows, tuple(held))


def _one_schema(schemas: Mapping[str, pa.Schema], intake: Intake) -> pa.Schema:
    import pyarrow as pa

    from lakewright.data.lake.types import simplified, storable

    (first, *others) = schemas
    columns = schemas[first].names
    for other in others:
        if difference := sorted(set(columns) ^ set(schemas[other].names)):
            file_without = other if difference[0] in columns else first
            raise DataError(
                f"column {difference[0]!r} is missing in {file_without}",
                "read only files with the same columns, by a glob",
            )
    findings: dict[str, Finding] = {}
    whole = pa.schema([])
    for name, schema in schemas.items():
        schema_findings: list[Finding] = []
        plain = storable(simplified(schema, schema_findings.append), without_value=pa.null())
        findings.update((each.detail, each) for each in schema_findings)
        try:
            whole = pa.unify_schemas([whole, plain], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"the schemas of {name} and {first} do not fit: {shown(error)}",
                "write the files with one schema, or leave the column out with data.exclude",
            ) from None  # its message quotes whole types
    for finding in findings.values():
        intake.notice(finding)
    return storable(whole)


SOURCE = ParquetSource()
