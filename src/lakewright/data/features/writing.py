"""Rows into a feature table: each once, however often they are written, and none that contradicts one that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakewright.data.features import FeatureTable
from lakewright.data.lake.duck import listed, session
from lakewright.data.lake.names import quoted
from lakewright.data.lake.types import accepts, cast, storable, within_years
from lakewright.data.lake.writing import keep_failure
from lakewright.errors import DataError, nearest
from lakewright.records import Finding, TableVersion

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lakewright.data.lake.tables import Lake

APPLICATION = "lakewright.features"  # of Delta's transactions: one writer after the other
EXAMPLES = 3
ROWS = 65_536  # of a batch
REMEDY = "correct the rows at their source; nothing was written"


@dataclass(frozen=True)
class Added:
    table: TableVersion
    rows: int  # that were not there
    repeated: int  # that stand twice among these
    known: int  # that were there before
    findings: Sequence[Finding]


def add(lake: Lake, table: FeatureTable, rows: pa.RecordBatchReader) -> Added:
    """Adds the rows that the table does not hold, in one commit, in the order of their times.

    Raises DataError for columns that are missing, unknown or of other types, for a key or a time that is null, and for
    two rows of one identity (key, event, known) with other values, among these or beside one that is there; Busy where
    another process writes at the same time.
    """
    before = lake.transactions(table.name, [APPLICATION])[APPLICATION]
    pinned = lake.version(table.name)
    with session() as connection:
        failures: list[BaseException] = []
        fitted = keep_failure(within_years(_fitted(rows, table)), failures)
        connection.register("given", pa.RecordBatchReader.from_batches(_plain(table), fitted))
        try:
            connection.execute('CREATE TEMP TABLE rows AS SELECT *, row_number() OVER () AS "row number" FROM given')
        except Exception:
            if failures:
                raise failures.pop() from None
            raise
        total = _number(connection, "SELECT count(*) FROM rows")
        if not total:
            raise DataError(f"there are no rows to write to {table.name}", "check the source that they come from")
        _check_nulls(connection, table)
        _check_contradictions(connection, table)
        identity, event = listed(table.identity), quoted(table.event_time)
        repeated = total - _number(connection, f"SELECT count(*) FROM (SELECT DISTINCT {identity} FROM rows)")
        ((first, last),) = connection.execute(f"SELECT min({event}), max({event}) FROM rows").fetchall()
        # only rows of the same times can be the same
        same_time = f"{event} >= '{first.isoformat()}' AND {event} <= '{last.isoformat()}'"
        connection.register("stored", lake.scan(pinned, predicate=same_time))
        connection.execute(f"CREATE TEMP TABLE there AS SELECT s.* FROM stored s SEMI JOIN rows USING ({identity})")
        _check_changes(connection, table)
        query = (
            f"SELECT {listed(_plain(table).names)} FROM rows ANTI JOIN there USING ({identity}) "
            f'QUALIFY row_number() OVER (PARTITION BY {identity} ORDER BY "row number") = 1 '
            f'ORDER BY {listed(table.times)}, "row number"'
        )
        new = _number(connection, f"SELECT count(*) FROM ({query})")
        findings = _early(connection, table)
        if not new:
            return Added(pinned, 0, repeated, total - repeated, findings)
        version = lake.write(
            table.name,
            connection.sql(query).to_arrow_reader(ROWS),
            mode="append",
            properties={"features": f"{new} rows"},
            transactions={APPLICATION: (before, 1 if before is None else before + 1)},
        )
    return Added(version, new, repeated, total - repeated - new, findings)


def _plain(table: FeatureTable) -> pa.Schema:
    return storable(table.schema)


def _fitted(rows: pa.RecordBatchReader, table: FeatureTable) -> Iterator[pa.RecordBatch]:
    wanted, names = _plain(table), rows.schema.names
    for name in wanted.names:
        if name not in names:
            raise DataError(f"the rows for {table.name} have no column {name!r}", nearest(name, names))
    for name in names:
        if name not in wanted.names:
            raise DataError(
                f"the feature table {table.name} has no column {name!r}; {nearest(name, wanted.names)}",
                "leave the column out, or make a feature table that has it",
            )
    given = storable(rows.schema)
    for field in wanted:
        kind = given.field(field.name).type
        is_time = pa.types.is_timestamp(field.type) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind))
        if not is_time and not accepts(field.type, kind):
            raise DataError(
                f"column {field.name!r} of {table.name} is of type {field.type}, the rows have {kind}",
                "cast it at the source",
            )
    for batch in rows:
        if batch.num_rows:
            yield cast(batch, wanted)


def _check_nulls(connection: DuckDBPyConnection, table: FeatureTable) -> None:
    for name in table.identity:
        if rows := _shown(connection, table, f"SELECT * FROM rows WHERE {quoted(name)} IS NULL"):
            raise DataError(f"{_counted(rows)} of {table.name} have no {name!r}: {rows[1]}", REMEDY)


def _check_contradictions(connection: DuckDBPyConnection, table: FeatureTable) -> None:
    """Raises DataError for two values at one time."""
    values = ", ".join(map(quoted, table.values))
    rows = _shown(
        connection,
        table,
        f"SELECT * FROM rows QUALIFY count(DISTINCT ROW({values}, 0)) OVER (PARTITION BY {listed(table.identity)}) > 1",
    )
    if rows:
        raise DataError(f"{_counted(rows)} have other values at the same time of the same key: {rows[1]}", REMEDY)


def _check_changes(connection: DuckDBPyConnection, table: FeatureTable) -> None:
    differs = " OR ".join(f"r.{quoted(each)} IS DISTINCT FROM t.{quoted(each)}" for each in table.values)
    rows = _shown(
        connection,
        table,
        f"SELECT r.* FROM rows r JOIN there t USING ({listed(table.identity)}) WHERE {differs}",
    )
    if rows:
        raise DataError(
            f"{_counted(rows)} differ from what {table.name} holds for the same key and time: {rows[1]}",
            "nothing was written, since a model may have learned from what is there"
            + (
                f": write the correction with a later {table.known_at!r}"
                if table.known_at
                else ": a feature table with --known-at holds corrections beside what was known before"
            ),
        )


def _early(connection: DuckDBPyConnection, table: FeatureTable) -> list[Finding]:
    if table.known_at is None:
        return []
    rows = _shown(connection, table, f"SELECT * FROM rows WHERE {quoted(table.known_at)} < {quoted(table.event_time)}")
    if not rows:
        return []
    detail = (
        f"{_counted(rows)} are known before their event: they are used from their event on. "
        f"Are {table.known_at!r} and {table.event_time!r} swapped, or in other time zones?"
    )
    return [Finding(name="known_before_event", count=rows[0], detail=detail, rows=rows[1].split("; "))]


def _shown(connection: DuckDBPyConnection, table: FeatureTable, query: str) -> tuple[int, str] | None:
    """How many rows a query gives, and some of them."""
    count = _number(connection, f"SELECT count(*) FROM ({query})")
    if not count:
        return None
    examples = connection.execute(f"SELECT {listed(table.identity)} FROM ({query}) LIMIT {EXAMPLES}").fetchall()
    return count, "; ".join(", ".join(map(_text, each)) for each in examples)


def _text(value: Any) -> str:
    return "null" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


def _counted(rows: tuple[int, str]) -> str:
    return f"{rows[0]:,} row{'s' * (rows[0] != 1)}"


def _number(connection: DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])
