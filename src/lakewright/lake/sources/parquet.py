"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakewright.errors import DataError
from lakewright.lake.sources import checked, files, known_options

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetSource:
    """Option: split. All files have the same columns, in any order; numbers may be wider in some."""

    def open(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> pa.RecordBatchReader:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from lakewright.lake.columns import cast

        known_options(options, {"split"}, "parquet")
        found = files.find(uri, storage_options, "parquet", options.get("split"))

        def opened(file: files.SourceFile) -> pq.ParquetFile:
            try:
                # pre_buffer reads ahead whatever the file holds: 60 MB of a file of 100.
                return pq.ParquetFile(found.system.open_input_file(file.path), pre_buffer=False)
            except pa.ArrowInvalid as error:
                raise DataError(f"{file.name} is not a Parquet file: {error}", "write the file again") from error

        schemas = {}
        for file in found.files:
            with opened(file) as parquet:
                schemas[file.name] = parquet.schema_arrow.remove_metadata()
        schema = _one_schema(schemas)

        def read(file: files.SourceFile) -> Iterator[pa.RecordBatch]:
            with opened(file) as parquet:
                for batch in parquet.iter_batches(batch_size=8192):
                    yield cast(batch, schema)

        return checked(*files.joined(found, schema, read), uri)

    def fingerprint(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> str:
        return files.fingerprint(files.find(uri, storage_options, "parquet", options.get("split")), options)


def _one_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    import pyarrow as pa

    from lakewright.lake.columns import storable

    (first, *others) = schemas
    columns = schemas[first].names
    for other in others:
        if difference := sorted(set(columns) ^ set(schemas[other].names)):
            lacking = other if difference[0] in columns else first
            raise DataError(
                f"column {difference[0]!r} is missing in {lacking}", "read only files with the same columns, by a glob"
            )
    try:
        return pa.unify_schemas([storable(schema) for schema in schemas.values()], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the files {', '.join(schemas)} do not agree: {error}", "write them with one schema"
        ) from error


SOURCE = ParquetSource()
