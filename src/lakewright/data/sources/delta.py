"""A Delta table by its folder or URI, without a name in the lake."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lakewright.data.lake.names import check_folder
from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked, no_rows, plain_schema, unreadable
from lakewright.errors import DataError, NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from lakewright.data.lake.catalogs import Location
    from lakewright.data.lake.parts import File, Part, Shape
    from lakewright.data.sources.pieces import Pieces


class DeltaSource:
    """Option `version` (Delta's versionAsOf): the version to read, by default the latest."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        from lakewright.data.lake.scan import scan

        reader = scan(_table(uri, options, storage_options))
        return checked(reader.schema, iter(reader), uri, intake)

    def pieces(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> Pieces[Part] | None:
        from lakewright.data.lake.catalogs import Location
        from lakewright.data.lake.parts import files_of, parts_of, shape_of
        from lakewright.data.lake.scan import schema_of
        from lakewright.data.sources.pieces import ROWS, Pieces

        table = _table(uri, options, storage_options)
        schema = plain_schema(schema_of(table), intake)
        try:
            shape = shape_of(table, schema.names)
        except DataError:  # only delta-rs reads fields that have other names in the files
            return None
        location = Location(table.table_uri, storage_options)
        files = files_of(table, location)
        pieces = list(parts_of(files, ROWS))
        if not pieces:
            raise no_rows(uri)
        return Pieces(schema, pieces, partial(_read, shape, location, schema), _local(location, files))

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        table = _table(uri, options, storage_options)
        return hashlib.sha256(f"{table.metadata().id}@v{table.version()}".encode()).hexdigest()


def _read(shape: Shape, location: Location, schema: pa.Schema, part: Part) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    from lakewright.data.lake.parts import read
    from lakewright.data.lake.types import cast

    batches = read(part, shape, location)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(location.uri, error) from error
        if batch is None:
            return
        yield cast(batch, schema, cut_times=True)


def _local(location: Location, files: Sequence[File]) -> dict[Path, int]:
    from lakewright.data.lake.parts import local

    folder = local(location)
    return {} if folder is None else {folder / unquote(each.path): each.size for each in (files[0], files[-1])}


def _table(uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    check_options(options, {"version"}, "delta")
    check_folder(uri)
    version = options.get("version")
    if version is not None and not isinstance(version, int):
        raise UsageError(f"version {version!r} is not a whole number", "write options: {version: 3}")
    try:
        return DeltaTable(uri, version=version, storage_options=dict(storage_options))
    except TableNotFoundError as error:
        raise NotFound(f"{uri} is not a Delta table", "name the folder that holds _delta_log") from error
    except DeltaError as error:
        raise NotFound(f"{uri} has no version {version}", "leave out options.version to read the latest") from error


SOURCE = DeltaSource()
