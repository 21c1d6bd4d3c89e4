"""Rows of a table with the values of feature tables that were known at each row's time: a point-in-time join.

A value is known from the later of its two times on: when its event was, and when somebody knew it. Of the values that
are known at a row's time, the row gets those of the latest event, and of one event those that were known last. So no
row sees a value from its future, by either time. A value older than the table's time to live is null.

DuckDB joins keys and times, a part of the rows at a time: each value whose event is not later than one that was known
before it is left out, and the others follow one another by the time from which they are known, which ASOF joins by.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from lakewright.data.features import TIME, FeatureTable, feature_table
from lakewright.data.lake import parts
from lakewright.data.lake.duck import listed, session
from lakewright.data.lake.names import TableName, quoted
from lakewright.data.lake.parts import File, Part, Shape, Slice, Written
from lakewright.data.lake.portions import Portion, Portions, check_seen
from lakewright.data.lake.types import storable, within_years
from lakewright.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lakewright.data.lake.catalogs import Location
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers

ROWS = 1 << 20  # of a part: each part reads the feature tables once
WITHOUT = "without"  # the property of a commit of joined rows: value → rows without one
TOO_OLD = "too old"  # the same: feature table → rows whose values were older than its time to live
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Lookup:
    """Values of a feature table for the rows of another one."""

    table: FeatureTable
    version: TableVersion
    keys: Mapping[str, str]  # key of the feature table → column of the rows
    values: Mapping[str, str]  # column of the feature table → its name beside the rows

    @classmethod
    def of(cls, lake: Lake, reference: str, keys: Mapping[str, str] = {}, values: Mapping[str, str] = {}) -> Self:
        """Of a table, or of one of its versions. Keys that are not named have the same name beside the rows; without
        values it is all of them. Raises NotFound for a table that is no feature table, UsageError for another key or
        value."""
        version = lake.version(reference)
        table = feature_table(lake, reference)
        for key in keys:
            if key not in table.keys:
                raise UsageError(f"the feature table {table.name} has no key {key!r}", nearest(key, table.keys))
        for value in values:
            if value not in table.values:
                raise UsageError(
                    f"the feature table {table.name} has no value {value!r}", nearest(value, [*table.values])
                )
        every = {each: each for each in table.values}
        return cls(table, version, {key: keys.get(key, key) for key in table.keys}, dict(values) or every)

    @property
    def columns(self) -> list[str]:
        """Those of the feature table that are read."""
        return [*self.table.keys, *self.table.times, *self.values]


@dataclass(frozen=True)
class Joined:
    table: TableVersion
    rows: int
    without: Mapping[str, int]  # column → rows for which no value was known
    too_old: Mapping[str, int]  # feature table → rows whose values were older than its time to live
    parts: Mapping[str, int]  # machine → parts that it joined


@dataclass(frozen=True, eq=False)
class Stored:
    """A lookup's table, as a worker reads it."""

    lookup: Lookup
    shape: Shape
    files: tuple[File, ...]
    location: Location

    @classmethod
    def of(cls, lake: Lake, lookup: Lookup) -> Self:
        version = lookup.version
        return cls(lookup, lake.shape(version, lookup.columns), tuple(lake.files(version)), lake.place(version))

    def rows(self) -> pa.RecordBatchReader:
        whole = Part(0, 0, tuple(Slice(file, 0, file.rows) for file in self.files))
        return pa.RecordBatchReader.from_batches(
            self.shape.schema, parts.read(whole, self.shape, self.location, parts.GROUP)
        )


@dataclass(frozen=True, eq=False)
class _Done:
    file: Written
    without: Counter[str]
    too_old: Counter[str]
    host: str


@dataclass(frozen=True, eq=False)
class _Join:
    """The rows of a part with their values, as a file."""

    time: str  # the column of each row's time
    stored: tuple[Stored, ...]
    schema: pa.Schema  # of what is written

    def __call__(self, portion: Portion[None], advance: Advance | None) -> _Done:
        without, too_old = Counter[str](), Counter[str]()
        file = portion.write(within_years(self._batches(portion, without, too_old, advance)), self.schema)
        return _Done(file, without, too_old, socket.gethostname())

    def _batches(
        self, portion: Portion[None], without: Counter[str], too_old: Counter[str], advance: Advance | None
    ) -> Iterator[pa.RecordBatch]:
        rows = pa.Table.from_batches(portion.read(), portion.shape.schema)
        lookups = [(each.lookup, each.rows()) for each in self.stored]
        whole = with_values(rows, self.time, lookups, self.schema, too_old)
        for stored in self.stored:
            for column in stored.lookup.values.values():
                without[column] += whole.column(column).null_count
        for batch in whole.to_batches(max_chunksize=parts.GROUP):
            if advance is not None:
                advance(batch.num_rows, "")
            yield batch


def with_values(
    rows: pa.Table,
    time: str,
    lookups: Sequence[tuple[Lookup, pa.RecordBatchReader]],
    schema: pa.Schema,
    too_old: Counter[str],
) -> pa.Table:
    """The rows with the values that were known at their time; each lookup with the rows of its feature table. `too_old`
    counts the rows whose values were older than their time to live, by table."""
    columns = {name: rows[name] for name in rows.column_names}
    for lookup, stored in lookups:
        with session() as connection:
            connection.register("stored", stored)
            columns |= looked_up(rows, time, lookup, connection, too_old)
    return pa.table({each.name: columns[each.name].cast(each.type) for each in schema}, schema=schema)


def looked_up(
    rows: pa.Table, time: str, lookup: Lookup, connection: DuckDBPyConnection, too_old: Counter[str]
) -> dict[str, pa.ChunkedArray]:
    """The values of a lookup for these rows, by the names that they get; `stored` is the feature table in DuckDB.

    DuckDB joins keys and times alone: a value goes from one table to the other as it is.
    """
    table = lookup.table
    moment = rows[time].cast(pa.timestamp("us")) if pa.types.is_date(rows[time].type) else rows[time]
    columns = {"row": pa.array(np.arange(len(rows))), "moment": moment.cast(TIME)}
    numbered = [f"key {number}" for number in range(len(table.keys))]
    given = pa.table(columns | {name: rows[lookup.keys[key]] for name, key in zip(numbered, table.keys, strict=True)})
    connection.register("given", given)
    on = " AND ".join(f"s.{quoted(key)} = given.{quoted(name)}" for name, key in zip(numbered, table.keys, strict=True))
    query = f"SELECT {listed(lookup.columns)} FROM stored s SEMI JOIN given ON {on}"
    asked = connection.sql(query).to_arrow_table()
    connection.register("asked", _identified(asked, table, numbered))
    on = " AND ".join(f"s.{quoted(name)} = given.{quoted(name)}" for name in numbered)
    query = (
        f"SELECT given.row, s.place, given.moment, s.event FROM given "
        f'ASOF JOIN ({_known(table, listed(numbered))}) s ON {on} AND given.moment >= s."known from"'
    )
    oldest = "moment" if table.ttl is None else f"moment - to_microseconds({table.ttl // MICROSECOND})"
    joined = connection.sql(f"SELECT row, place, event >= {oldest} AS lives FROM ({query})").to_arrow_table()
    lives = joined["lives"].to_numpy() if table.ttl is not None else np.ones(len(joined), np.bool_)
    too_old[table.name] += int(len(lives) - lives.sum())
    found = np.full(len(rows), -1)
    found[joined["row"].to_numpy()[lives]] = joined["place"].to_numpy()[lives]
    places = pa.array(found, mask=found < 0)
    return {after: asked[before].take(places) for before, after in lookup.values.items()}


def _identified(rows: pa.Table, table: FeatureTable, keys: Sequence[str]) -> pa.Table:
    """Keys, times and place of each row, under names of our own: a key may be called `place`."""
    names = [*keys, "event", *(["known"] if table.known_at is not None else [])]
    return (
        rows.select(list(table.identity)).rename_columns(names).append_column("place", pa.array(np.arange(len(rows))))
    )


def _known(table: FeatureTable, keys: str) -> str:
    """The rows of `asked`, each with the time from which it is known; without those that a later event supersedes
    before they are known."""
    if table.known_at is None:
        return 'SELECT *, event AS "known from" FROM asked'
    return (
        'SELECT * FROM (SELECT *, greatest(event, known) AS "known from" FROM asked) '
        f'QUALIFY event >= max(event) OVER (PARTITION BY {keys} ORDER BY "known from", event, known '
        f'ROWS UNBOUNDED PRECEDING) AND row_number() OVER (PARTITION BY {keys}, "known from" '
        f"ORDER BY event DESC, known DESC) = 1"
    )


def values_at(lake: Lake, table: FeatureTable, keys: pa.Table, time: str) -> pa.Table:
    """The values that were known of these keys at their `time`, beside them and in their order."""
    version = lake.version(table.name)
    lookup = Lookup(table, version, {key: key for key in table.keys}, {each: each for each in table.values})
    check(version, keys.schema, time, [lookup])
    schema = storable(pa.schema([*keys.schema, *(pa.field(each, kind) for each, kind in table.values.items())]))
    return with_values(keys, time, [(lookup, lake.scan(version, lookup.columns))], schema, Counter())


def join(
    lake: Lake,
    rows: TableVersion,
    time: str,
    lookups: Sequence[Lookup],
    output: str,
    workers: Workers,
    properties: Mapping[str, str] = {},
) -> Joined:
    """The rows with the values that were known at their time, as a table of their own: all columns of `rows`, in its
    order, and the values beside them. A row without a time or a key has none.

    Raises DataError for columns that are not there or do not fit, UsageError for two of one name.
    """
    shape = lake.shape(rows)
    check(rows, shape.schema, time, lookups)
    if str(TableName.parse(output)[0]) in (rows.name, *(each.table.name for each in lookups)):
        raise UsageError(f"{output} is one of the tables that are joined", "name another table for the joined rows")
    stored = tuple(Stored.of(lake, each) for each in lookups)
    for each in stored:
        check_seen(workers, each.location)
    values = [pa.field(after, each.table.values[before]) for each in lookups for before, after in each.values.items()]
    schema = storable(pa.schema([*shape.schema, *values]))
    portions = Portions(lake, rows, shape, workers, lambda part: None, output=output, most=ROWS)
    files, without, too_old, hosts = list[Written](), Counter[str](), Counter[str](), Counter[str]()
    try:
        for done in portions.computed(_Join(time, stored, schema), f"joining {rows}"):
            files.append(done.file)
            without += done.without
            too_old += done.too_old
            hosts[done.host] += 1
    except BaseException:
        parts.remove(files, lake.place_to_write(output))
        raise
    counts = {each.name: without[each.name] for each in values}
    joined = {"table": str(rows), "features": ", ".join(str(each.version) for each in lookups)}
    noted = {**properties, **joined, WITHOUT: json.dumps(counts), TOO_OLD: json.dumps(too_old)}
    version = lake.add_files(output, schema, files, mode="overwrite", properties=noted)
    return Joined(version, version.rows, counts, dict(too_old), dict(hosts))


def check(rows: TableVersion, schema: pa.Schema, time: str, lookups: Sequence[Lookup]) -> None:
    """Raises DataError for columns that are not there or do not fit, UsageError for two of one name."""
    if time not in schema.names:
        raise DataError(f"{rows} has no column {time!r}, the time of its rows", nearest(time, schema.names))
    kind = schema.field(time).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        made = f"to_timestamp({quoted(time)})" if is_number else f"{quoted(time)}::timestamptz"
        raise DataError(
            f"the column {time!r} of {rows} is of type {kind}, and no time",
            f"make it one in SQL: create table … as select * replace ({made} as {quoted(time)}) from …",
        )
    taken = [*schema.names]
    for each in lookups:
        for key, column in each.keys.items():
            if column not in schema.names:
                raise DataError(
                    f"{rows} has no column {column!r}, the key {key!r} of {each.table.name}",
                    nearest(column, schema.names),
                )
            if schema.field(column).type != each.table.key_types[key]:
                raise DataError(
                    f"the column {column!r} of {rows} is of type {schema.field(column).type}, and the key {key!r} of "
                    f"{each.table.name} of type {each.table.key_types[key]}",
                    "cast one of them in SQL",
                )
        for before, after in each.values.items():
            if after.lower() in (name.lower() for name in taken):
                raise UsageError(
                    f"two columns would be named {after!r}: one of {each.table.name}, and one before it",
                    f"name the value otherwise, values: {{{before}: {each.table.name.rpartition('.')[2]}_{before}}}",
                )
            taken.append(after)
