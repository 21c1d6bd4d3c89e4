"""A table or a view of the lake as a source: its rows as they are at one version of every table behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.names import is_table
from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked, format_of_file

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion


def is_of_lake(source: str, base: Path) -> bool:
    """Whether the source is the name of a table or view, and of no file: rows.2026.csv has the form of a name, too."""
    return (
        is_table(source)
        and format_of_file(source) is None
        and not any(each.exists() for each in (base / source, Path(source)))
    )


class LakeSource:
    """No option. The versions are those that there are when this is made."""

    def __init__(self, lake: Lake, name: str) -> None:
        from lakewright.data.lake.sql import Session
        from lakewright.data.lake.statements import parse

        self._lake = lake
        self._session = Session(lake, parse(f"select * from {name}", lake.default_catalog))

    @property
    def views(self) -> dict[str, str]:
        """The views that the rows are read through, with their texts."""
        return self._session.named

    @property
    def reads(self) -> list[TableVersion]:
        return [rows.table for rows in self._session.views.values()]

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        check_options(options, set(), "lake")

        def rows() -> Iterator[pa.RecordBatch]:
            with self._session as session:
                yield from session.stream()

        with self._session as session:
            schema = session.stream().schema
        return checked(schema, rows(), uri, intake)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        check_options(options, set(), "lake")
        tables = [[str(table), self._lake.identity(table)] for table in self.reads]
        return hashlib.sha256(json.dumps([self.views, tables]).encode()).hexdigest()
