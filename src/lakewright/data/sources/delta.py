"""A Delta table by its folder or URI, without a name in the lake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.names import check_folder
from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked
from lakewright.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable


class DeltaSource:
    """Option `version` (Delta's versionAsOf): the version to read, by default the latest."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        from lakewright.data.lake.scan import scan

        reader = scan(_table(uri, options, storage_options))
        return checked(reader.schema, iter(reader), uri, intake)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        table = _table(uri, options, storage_options)
        return hashlib.sha256(f"{table.metadata().id}@v{table.version()}".encode()).hexdigest()


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
