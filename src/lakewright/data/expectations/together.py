"""What shows only in all rows together: unique, row_count and freshness, of the rows that stay.

The values of the columns that they name are held in DuckDB, exactly and one by one, in a file beside where they take
more than its memory. The first row of a value stays; a later one violates `unique`. A null is equal to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.expectations.conditions import SETTINGS
from lakewright.data.expectations.sieve import SHOWN, Tally, example
from lakewright.data.lake.duck import listed, session
from lakewright.data.lake.types import python_rows
from lakewright.errors import ProjectError
from lakewright.settings.expectations import Expectation, duration

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PIECE, PLACE, NUMBER = "piece", "place", "number"  # of a row: its file, its place there, its number in the source


def held_columns(expectations: Sequence[Expectation], schema: pa.Schema) -> list[str]:
    """The columns whose values are held. Raises ProjectError for one that has no equal or no newest value."""
    names = list[str]()
    for each in expectations:
        if each.kind not in ("unique", "freshness"):
            continue
        for name in each.columns:
            kind = schema.field(name).type
            if each.kind == "freshness" and not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
                needs = "freshness is of dates or times"
            elif pa.types.is_nested(kind):
                needs = "unique compares single values"
            else:
                names.append(name)
                continue
            raise ProjectError(
                f"data.expect: {each.name}: the column {name!r} has the type {kind}, and {needs}",
                f"correct data.expect.{each.kind}",
            )
    return list(dict.fromkeys(names))


@dataclass(frozen=True, eq=False)
class Repeated:
    """Rows of a piece that are dropped, as others before them have the same values."""

    places: npt.NDArray[np.int64]  # in the piece's file, rising
    numbers: npt.NDArray[np.int64]  # in the source
    names: Sequence[str]  # of the expectations …
    violated: npt.NDArray[np.bool_]  # … and which of them each row violates [names, rows]


class Together:
    """Rows come piece by piece, in the order of the source."""

    def __init__(
        self, connection: DuckDBPyConnection | None, expectations: Sequence[Expectation], schema: pa.Schema
    ) -> None:
        """None: no columns are held."""
        self.expectations, self.rows = expectations, 0
        self.columns = held_columns(expectations, schema)
        self._uniques = [each for each in expectations if each.kind == "unique"]
        self._connection, self._pieces = connection, 0
        self._numbers = {name: f"c{number}" for number, name in enumerate(self.columns)}
        fields = [pa.field(self._numbers[name], schema.field(name).type) for name in self.columns]
        beside = [pa.field(name, pa.int64()) for name in (PIECE, PLACE, NUMBER)]
        self._schema = pa.schema([*beside, *fields])
        if connection is not None:
            connection.register("more", self._schema.empty_table())
            connection.execute("CREATE TABLE held AS SELECT * FROM more")

    def add(self, numbers: npt.NDArray[np.int64], values: pa.Table) -> None:
        """The rows of the next piece that stay: their numbers in the source, and the columns that are held."""
        if self._connection is not None and len(numbers):
            piece, place = np.full(len(numbers), self._pieces), np.arange(len(numbers))
            columns = [values[name] for name in self.columns]
            self._connection.register("more", pa.table([piece, place, numbers, *columns], schema=self._schema))
            self._connection.execute("INSERT INTO held SELECT * FROM more")
        self._pieces += 1
        self.rows += len(numbers)

    def dropped(self) -> tuple[dict[str, Tally], Iterator[tuple[int, Repeated]]]:
        """The tallies of `unique` with the severity drop, in their order, each of the rows that those before it leave;
        and by piece the rows that are dropped for them, which do not count from now on."""
        drops = [each for each in self._uniques if each.severity == "drop"]
        if self._connection is None or not drops:
            return {}, iter(())
        self._connection.execute(f"CREATE TABLE gone ({PIECE} BIGINT, {PLACE} BIGINT, {NUMBER} BIGINT, name INTEGER)")
        tallies = {}
        for at, each in enumerate(drops):
            tallies[each.name] = self._repeated(each)
            self._connection.execute(f"INSERT INTO gone SELECT {PIECE}, {PLACE}, {NUMBER}, {at} FROM repeated")
            self._connection.execute(f"DELETE FROM held WHERE {NUMBER} IN (SELECT {NUMBER} FROM repeated)")
        self.rows -= sum(each.count for each in tallies.values())
        return tallies, self._by_piece(self._connection, [each.name for each in drops])

    def _by_piece(self, connection: DuckDBPyConnection, names: Sequence[str]) -> Iterator[tuple[int, Repeated]]:
        pieces = connection.execute(f"SELECT DISTINCT {PIECE} FROM gone ORDER BY ALL").fetchall()
        for (piece,) in pieces:
            query = f"SELECT {PLACE}, {NUMBER}, name FROM gone WHERE {PIECE} = {piece} ORDER BY {PLACE}"
            places, numbers, which = connection.execute(query).fetchnumpy().values()
            violated = np.arange(len(names))[:, None] == which[None, :]
            yield piece, Repeated(np.asarray(places), np.asarray(numbers), names, violated)

    def others(self, now: datetime) -> dict[str, Tally]:
        """The tallies of all other expectations of these kinds; `newest` has what freshness goes by."""
        tallies = {each.name: self._repeated(each) for each in self._uniques if each.severity != "drop"}
        for each in self.expectations:
            if each.kind == "row_count":
                low, high = each.argument.min, each.argument.max
                outside = (low is not None and self.rows < low) or (high is not None and self.rows > high)
                tallies[each.name] = Tally(int(outside), [f"{self.rows:,} rows"] if outside else [])
        return tallies | old(self.expectations, self.newest(), now)

    def newest(self) -> dict[str, int | None]:
        """Expectation → the newest value of its column, in microseconds since 1970."""
        found = {}
        for each in self.expectations:
            if each.kind == "freshness":
                column = self._numbers[each.columns[0]]
                assert self._connection is not None, "its column is held"
                found[each.name] = _one(self._connection, f"SELECT epoch_us(max({column})) FROM held")
        return found

    def _repeated(self, each: Expectation) -> Tally:
        """Rows whose values a row before has; they are in the table `repeated` then."""
        assert self._connection is not None, "its columns are held"
        columns = [self._numbers[name] for name in each.columns]
        known = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        values = f"SELECT {listed(columns)} FROM held WHERE {known} GROUP BY ALL HAVING count(*) > 1"
        self._connection.execute(
            f"CREATE OR REPLACE TABLE repeated AS SELECT * EXCLUDE (n) FROM (SELECT {PIECE}, {PLACE}, {NUMBER}, "
            f"{listed(columns)}, row_number() OVER (PARTITION BY {listed(columns)} ORDER BY {NUMBER}) AS n "
            f"FROM held SEMI JOIN ({values}) USING ({listed(columns)})) WHERE n > 1"
        )
        count = _one(self._connection, "SELECT count(*) FROM repeated")
        first = self._connection.sql(
            f"SELECT {NUMBER}, {listed(columns)} FROM repeated ORDER BY {NUMBER} LIMIT {SHOWN}"
        ).to_arrow_table()
        shown_values = python_rows(first.select(columns).rename_columns(list(each.columns)))
        numbers = first[NUMBER].to_pylist()
        rows = [example(number, of_row) for number, of_row in zip(numbers, shown_values, strict=True)]
        return Tally(count, rows)


def _one(connection: DuckDBPyConnection, query: str) -> Any:
    ((value,),) = connection.execute(query).fetchall()
    return value


@contextmanager
def together(expectations: Sequence[Expectation], schema: pa.Schema) -> Iterator[Together]:
    if not held_columns(expectations, schema):
        yield Together(None, expectations, schema)
        return
    with session(**SETTINGS) as connection:
        yield Together(connection, expectations, schema)


def old(expectations: Sequence[Expectation], newest: Mapping[str, int | None], now: datetime) -> dict[str, Tally]:
    """The tallies of freshness, by the newest values."""
    tallies = {}
    for each in expectations:
        if each.kind != "freshness":
            continue
        micros, most = newest.get(each.name), duration(each.argument)
        if micros is None:
            tallies[each.name] = Tally(1, ["no value"])
            continue
        last = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        is_old = now - last > most
        tallies[each.name] = Tally(int(is_old), [last.isoformat(timespec="seconds")] if is_old else [])
    return tallies
