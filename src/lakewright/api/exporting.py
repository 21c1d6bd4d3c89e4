"""A table as one file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.api.places import opened

if TYPE_CHECKING:
    from lakewright.data.exports.writing import Exported


def export(
    table: str, file: str | Path, *, format: str | None = None, float32: bool = False, profile: str | None = None
) -> Exported:
    """Write the rows of `catalog.schema.table[@vN]` to a file: whole, or, on any failure, not at all.

    `format` is tsv, jsonl or tfrecord; without it, the file's ending says it (.tsv, .jsonl, .ndjson, .tfrecord). A name
    that ends in .gz is packed. `float32` rounds doubles, which a TFRecord lacks. docs/data.md says how each type is
    written. Raises NotFound for a table or a version that does not exist, UsageError for a file or a format that cannot
    be, DataError for a value that the format cannot hold.
    """
    from lakewright.data.exports.writing import export as exported

    lake = opened(profile).lake
    return exported(lake, lake.version(table), Path(file), format, float32=float32)
