"""Files that a statement names as tables: csv.`rows/new.csv`, as in Databricks, or read_csv('rows/new.csv'), as in
DuckDB. DuckDB opens none of them: it gets another name, under which it finds the rows that `Files` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from lakewright.errors import UsageError

FORMS = "csv.`PATH`, json.`PATH`, parquet.`PATH` or delta.`PATH`"
_NAME = "lakewright_file_"
# Comments and quoted text first: what they hold is no file.
_FILES = re.compile(
    r"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$).*?\1"""
    r"""|\b(?P<format>csv|json|parquet|delta)\s*\.\s*`(?P<path>[^`]*)`"""
    r"""|\bread_(?P<reader>csv|json|parquet)\s*\((?P<arguments>\s*'(?:[^']|'')*'\s*\)|)""",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class FileName:
    format: str  # the source that reads it
    path: str


class Files(Protocol):
    """The files that SQL may read."""

    def open(self, file: FileName) -> pa.RecordBatchReader:
        """Its rows. Raises UsageError for a file that SQL may not read, and the errors of the source."""


def without_files(query: str) -> tuple[str, Mapping[str, FileName]]:
    """The statement with names in place of the files, and the files by these names. Raises UsageError for a function
    with more than a path."""
    files: dict[str, FileName] = {}

    def name(part: re.Match[str]) -> str:
        if part["format"]:
            file = FileName(part["format"].lower(), part["path"])
        elif part["reader"]:
            if not part["arguments"]:
                raise UsageError(
                    f"read_{part['reader'].lower()} takes a path in quotes and nothing else here",
                    "for other options write a project with data.options (lakewright ingest)",
                )
            path = part["arguments"].rpartition(")")[0].strip()[1:-1].replace("''", "'")
            file = FileName(part["reader"].lower(), path)
        else:
            return part[0]
        known = next((key for key, value in files.items() if value == file), f"{_NAME}{len(files)}")
        files[known] = file
        return f" {known} "

    return _FILES.sub(name, query), files
