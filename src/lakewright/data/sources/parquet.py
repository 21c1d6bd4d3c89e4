"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked, files
from lakewright.errors import DataError, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.records import Finding


class ParquetSource:
    """Option: split. All files have the same columns, in any order; numbers may be wider in some files, and a column
    without values may have any type."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from lakewright.data.lake.types import cast

        check_options(options, files.OPTIONS, "parquet")
        source_files = files.find(uri, storage_options, "parquet", options)

        def opened(file: files.SourceFile) -> pq.ParquetFile:
            try:
                # pre_buffer reads far ahead: 60 MB of a file of 100.
                return pq.ParquetFile(source_files.system.open_input_file(file.path), pre_buffer=False)
            except pa.ArrowInvalid as error:
                raise DataError(f"{file.name} is not a Parquet file: {error}", "write the file again") from error

        schemas = {}
        for file in source_files.files:
            with opened(file) as parquet:
                schema = parquet.schema_arrow.remove_metadata()
            included = intake.kept(schema.names)
            schemas[file.name] = pa.schema([each for each in schema if each.name in included])
        schema = _one_schema(schemas, intake)

        def read(file: files.SourceFile) -> Iterator[pa.RecordBatch]:
            with opened(file) as parquet:
                for batch in parquet.iter_batches(batch_size=8192):
                    yield cast(batch, schema, cut_times=True)

        return checked(*files.joined(source_files, schema, read, intake), uri, intake)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        source_files = files.find(uri, storage_options, "parquet", options)
        return files.fingerprint(source_files, options, intake.as_written.intersection(source_files.files[0].partition))


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
