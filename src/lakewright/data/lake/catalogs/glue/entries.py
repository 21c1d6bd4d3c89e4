"""A Delta table's entry in Glue, as Athena's documentation shows it, and the entries of other writers.

https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables-syncing-metadata.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakewright.data.lake.names import TableName

OURS = "lakewright.table_id"  # a table's parameter: marks the entry as ours to change, and names its table
_HIVE = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint", "timestamp_ntz": "timestamp"}
_NAMES = {"int": "INT", "bigint": "LONG", "smallint": "SHORT", "tinyint": "BYTE"}


def table_input(
    name: TableName,
    table_id: str,
    location: str,
    columns: Sequence[Mapping[str, Any]],
    properties: Mapping[str, str],
    comment: str,
    existing: Mapping[str, Any],
) -> dict[str, Any]:
    """Glue's TableInput of a Delta table; additions of others to an `existing` entry stay.

    https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html, whose limits cut comments.
    """
    parameters = {"EXTERNAL": "TRUE", "spark.sql.sources.provider": "delta", OURS: table_id, **properties}
    return {
        "Name": name.table,
        "Description": (comment or existing.get("Description", ""))[:2048],
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {**existing.get("Parameters", {}), **parameters},
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [
                {
                    "Name": column["name"].lower(),  # as Hive and Athena know it
                    "Type": hive_type(json.loads(column["type_json"])),
                    "Comment": column["comment"][:255],
                }
                for column in columns
            ],
            "Location": location,
            "SerdeInfo": {"Parameters": {"serialization.format": "1", "path": location}},
        },
    }


def hive_type(kind: str | Mapping[str, Any]) -> str:
    """Hive's name for a type of Delta's log: {"type": "array", "elementType": "long", …} is array<bigint>.

    Hive has one kind of timestamp. https://docs.aws.amazon.com/athena/latest/ug/data-types.html
    """
    if isinstance(kind, str):
        return _HIVE.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{hive_type(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{hive_type(kind['keyType'])},{hive_type(kind['valueType'])}>"
    return "struct<" + ",".join(f"{field['name']}:{hive_type(field['type'])}" for field in kind["fields"]) + ">"


def column_info(column: Mapping[str, Any], position: int) -> dict[str, Any]:
    """Glue's Column in the shape of Unity Catalog's ColumnInfo."""
    text = str(column.get("Type", ""))
    word = text.partition("<")[0].partition("(")[0]
    return {
        "name": column["Name"],
        "type_text": text,
        "type_name": _NAMES.get(word, word.upper()),
        "position": position,
        "nullable": True,
        "comment": column.get("Comment", ""),
    }


def is_delta(table: Mapping[str, Any]) -> bool:
    # Spark and our entries have the first, Athena's own `create table` the second, a crawler the third.
    parameters = table.get("Parameters", {})
    formats = (parameters.get(each, "") for each in ("spark.sql.sources.provider", "table_type", "classification"))
    return "delta" in [each.lower() for each in formats]


def place(table: Mapping[str, Any]) -> str:
    """Spark writes a placeholder for the location, and the path beside the SerDe's parameters."""
    described = table.get("StorageDescriptor", {})
    path = described.get("SerdeInfo", {}).get("Parameters", {}).get("path") or described.get("Location", "")
    return str(path).rstrip("/")


def _milliseconds(time: Any) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)
