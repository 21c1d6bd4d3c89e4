"""The rows of a statement as a file: CSV, Parquet or JSON, by its ending."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.lake.statements import parse
from lakewright.data.lake.types import python_rows
from lakewright.errors import DataError, UsageError
from lakewright.system import jsonfile
from lakewright.system.files import whole

ENDINGS = (".csv", ".parquet", ".json")


def check_result(query: str, path: Path) -> None:
    """Raises UsageError for a file of another kind, and for a statement that gives no rows: before it runs."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path} is no file for rows", f"name one that ends in {', '.join(ENDINGS)}")
    check_rows(query)


def check_rows(query: str) -> None:
    """Raises UsageError for a statement that gives no rows: before it runs."""
    if parse(query).target is not None:
        raise UsageError("the statement writes a table and gives no rows", "leave out --out and --plot")


def write_result(rows: pa.Table, path: Path) -> None:
    """The whole file or none. In CSV null is nothing, and no text at all is "". Raises DataError for columns that CSV
    cannot hold, and for numbers that JSON cannot."""
    ending = path.suffix.lower()
    for name, column in zip(rows.column_names, rows.columns, strict=True) if ending == ".json" else ():
        if pa.types.is_floating(column.type):
            strange = len(column) - column.null_count - (pc.sum(pc.is_finite(column)).as_py() or 0)
            if strange:
                raise DataError(
                    f"JSON has no NaN and no infinity, and the column {name!r} has them in {strange:,} rows",
                    f'make them null (case when isfinite("{name}") then "{name}" end), or write .parquet',
                )
    nested = [field.name for field in rows.schema if pa.types.is_nested(field.type) or pa.types.is_binary(field.type)]
    if ending == ".csv" and nested:
        raise DataError(
            f"CSV cannot hold the column {nested[0]!r}", f"cast it ({nested[0]}::varchar), or write .parquet"
        )
    try:
        with whole(path) as draft:
            if ending == ".csv":
                from pyarrow import csv

                csv.write_csv(rows, draft)
            elif ending == ".parquet":
                import pyarrow.parquet as pq

                pq.write_table(rows, draft)
            else:
                draft.write_text(jsonfile.text(python_rows(rows), default=str), encoding="utf-8")
    except OSError as failure:
        raise UsageError(f"{path} cannot be written: {failure.strerror or failure}", "name another file") from None
