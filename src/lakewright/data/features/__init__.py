"""Feature tables: values by key and time, which rows of other tables are joined with.

A feature table is a Delta table of the lake: key columns, the time of the event that a value describes, the time when
the value was known (where that is another), and the values. What the columns are stands in the table's own schema, as
metadata of the column of the event's time, so that whoever has the table has its definition.

    __init__.py  what a feature table is             writing.py   rows into it, each once
    joining.py   rows with the values of their time  standing.py  what it holds now
    newest.py    what is known now of each key       history.py    all values of a key
    online/      the newest values, by key alone
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakewright.data.lake.catalogs import VIEW
from lakewright.data.lake.types import named, storable
from lakewright.errors import NotFound, UsageError, nearest

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

PROPERTY = "lakewright.feature_table"  # of the column of the event's time: the definition, as JSON
TIME = pa.timestamp("us", "UTC")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
TIME_TO_LIVE = re.compile(r"(\d+)([smhdw])")


@dataclass(frozen=True)
class FeatureTable:
    name: str  # catalog.schema.table
    keys: tuple[str, ...]
    event_time: str  # the column that holds when the event was
    known_at: str | None  # the column that holds when the values were known; None: when the event was
    ttl: timedelta | None  # a value is not used so long after its event; None: for ever
    values: Mapping[str, pa.DataType]  # column → type
    key_types: Mapping[str, pa.DataType]
    description: str = ""
    owner: str = ""

    @property
    def times(self) -> tuple[str, ...]:
        return (self.event_time,) if self.known_at is None else (self.event_time, self.known_at)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns of which no two rows have the same values."""
        return (*self.keys, *self.times)

    @property
    def schema(self) -> pa.Schema:
        definition = {
            "keys": self.keys,
            "known_at": self.known_at,
            "ttl": None if self.ttl is None else self.ttl.total_seconds(),
            "owner": self.owner,
        }
        of_time = {PROPERTY: json.dumps(definition)}
        return pa.schema(
            [
                *(pa.field(name, self.key_types[name]) for name in self.keys),
                pa.field(self.event_time, TIME, metadata=of_time),
                *([] if self.known_at is None else [pa.field(self.known_at, TIME)]),
                *(pa.field(name, kind) for name, kind in self.values.items()),
            ]
        )

    def as_json(self) -> dict[str, Any]:
        from lakewright.data.lake.types import columns_info

        types = {each["name"]: each["type_text"] for each in columns_info(self.schema)}
        return {
            "name": self.name,
            "keys": {name: types[name] for name in self.keys},
            "event_time": self.event_time,
            "known_at": self.known_at,
            "ttl_seconds": None if self.ttl is None else self.ttl.total_seconds(),
            "values": {name: types[name] for name in self.values},
            "description": self.description,
            "owner": self.owner,
        }


def defined(
    name: str,
    keys: Mapping[str, str],
    event_time: str,
    values: Mapping[str, str],
    *,
    known_at: str | None = None,
    ttl: str | None = None,
    description: str = "",
    owner: str = "",
) -> FeatureTable:
    """A definition as people write it: types by their names in SQL, `ttl` as 90s, 15m, 12h, 30d or 4w. Raises
    UsageError for one that cannot be."""
    if not keys:
        raise UsageError(f"the feature table {name} has no key", "name its key: --key customer_id:bigint")
    if not values:
        raise UsageError(f"the feature table {name} has no value", "name its values: --value spend:double")
    columns = [*keys, event_time, *([] if known_at is None else [known_at]), *values]
    for each in columns:
        if not each or columns.count(each) > 1:
            raise UsageError(f"the feature table {name} names the column {each!r} twice", "name each column once")
    table = FeatureTable(
        name=name,
        keys=tuple(keys),
        event_time=event_time,
        known_at=known_at,
        ttl=None if ttl is None else time_to_live(ttl),
        values={column: named(kind) for column, kind in values.items()},
        key_types={column: named(kind) for column, kind in keys.items()},
        description=description,
        owner=owner,
    )
    for column, kind in table.key_types.items():
        if pa.types.is_floating(kind):
            raise UsageError(f"the key {column!r} of {name} is a {kind}", "key by whole numbers, texts or dates")
    storable(table.schema)
    return table


def time_to_live(text: str) -> timedelta:
    matched = TIME_TO_LIVE.fullmatch(text.strip())
    if matched is None or not int(matched[1]):
        raise UsageError(f"{text!r} is no time to live", "write a number and a unit: 90s, 15m, 12h, 30d or 4w")
    try:
        return timedelta(seconds=int(matched[1]) * UNITS[matched[2]])
    except OverflowError:
        raise UsageError(
            f"{text!r} is too long a time to live", "leave it out: values are then used for ever"
        ) from None


def create(lake: Lake, table: FeatureTable) -> None:
    """Makes the table, without rows. Raises UsageError where there is one of this name."""
    try:
        lake.create(table.name, table.schema, comment=table.description)
    except UsageError as failure:
        if "exists already" not in failure.cause:
            raise
        raise UsageError(
            failure.cause, f"write rows to it (lakewright features write {table.name} ROWS), or choose another name"
        ) from None


def feature_table(lake: Lake, name: str) -> FeatureTable:
    """The definition of a table of the lake. Raises NotFound where there is none, or it is no feature table."""
    table = _defined_by(lake, name)
    if table is None:
        others = [each.name for each in feature_tables(lake)]
        raise NotFound(
            f"{name} is a table, and no feature table",
            nearest(name, others) if others else "make one: lakewright features create",
        )
    return table


def feature_tables(lake: Lake) -> Sequence[FeatureTable]:
    """All of the lake, by name."""
    tables = (_defined_by(lake, entry["full_name"]) for entry in lake.list() if entry["table_type"] != VIEW)
    return [table for table in tables if table is not None]


def _defined_by(lake: Lake, name: str) -> FeatureTable | None:
    """The definition that the table's schema holds; None: it holds none."""
    shown, schema = lake.show(name), lake.schema(lake.version(name))
    time = next((field for field in schema if PROPERTY.encode() in (field.metadata or {})), None)
    if time is None:
        return None
    definition = json.loads(time.metadata[PROPERTY.encode()])
    keys, known_at, ttl = tuple(definition["keys"]), definition["known_at"], definition["ttl"]
    own = {*keys, time.name, known_at}
    return FeatureTable(
        name=shown["full_name"],
        keys=keys,
        event_time=time.name,
        known_at=known_at,
        ttl=None if ttl is None else timedelta(seconds=ttl),
        values={field.name: field.type for field in schema if field.name not in own},
        key_types={key: schema.field(key).type for key in keys},
        description=shown["comment"],
        owner=definition["owner"],
    )
