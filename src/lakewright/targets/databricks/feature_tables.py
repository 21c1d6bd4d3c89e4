"""A feature table of the lake as Databricks' feature engineering finds it: by a primary key with its time.

https://docs.databricks.com/aws/en/machine-learning/feature-store/uc/feature-tables-uc
"""

from __future__ import annotations

from lakewright.data.features import FeatureTable
from lakewright.data.lake.names import TableName
from lakewright.errors import UsageError


def constraints(table: FeatureTable) -> list[str]:
    """The statements of Databricks SQL that give a table of Unity Catalog its primary key; rows can be written here as
    before. Raises UsageError for a table with a time of knowledge: a primary key has one time, and a join by the
    event's would give rows values of their future."""
    name, keys = TableName.parse(table.name)[0], ", ".join(map(_quoted, table.keys))
    place = ".".join(map(_quoted, (name.catalog, name.schema, name.table)))
    event = _quoted(table.event_time)
    if table.known_at is not None:
        values = ", ".join(map(_quoted, table.values))
        known = f"greatest({event}, {_quoted(table.known_at)})"
        raise UsageError(
            f"{table.name} has two times, {table.event_time} and {table.known_at}, and Databricks joins by one: rows "
            "would get values that nobody knew yet",
            f"make a table of one time, and name that: select {keys}, {known} as known_from, {values} from {place}, "
            "without the rows that a later event supersedes before they are known",
        )
    return [
        *(f"ALTER TABLE {place} ALTER COLUMN {_quoted(each)} SET NOT NULL" for each in table.identity),
        f"ALTER TABLE {place} ADD CONSTRAINT {_quoted(f'{name.table}_key')} PRIMARY KEY ({keys}, {event} TIMESERIES)",
    ]


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"
