"""Feature tables: what they refuse, each row once, and no value from the future, against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.features import FeatureTable, create, defined, feature_table, feature_tables, joining
from lakewright.data.features.joining import Lookup, join
from lakewright.data.features.writing import Added, add
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, NotFound, UsageError
from lakewright.workers import parts
from lakewright.workers.local import LocalWorkers

DAILY, ORDERS, TRAIN = "main.shop.daily", "main.shop.orders", "main.shop.training"
ONE = LocalWorkers(1, 1)
TIME = pa.timestamp("us", "UTC")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))


def at(day: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)


def daily(lake: Lake, name: str = DAILY, **options: Any) -> FeatureTable:
    values = {"spend": "double", "plan": "string"}
    table = defined(name, {"customer": "bigint"}, "day", values, **{"known_at": "loaded", **options})
    create(lake, table)
    return feature_table(lake, name)


Row = tuple[int | None, float, float, float | None, str | None]


def of(rows: Sequence[Row]) -> pa.Table:
    customers, days, loaded, spend, plans = zip(*rows, strict=True)
    columns = {"customer": customers, "day": map(at, days), "loaded": map(at, loaded), "spend": spend, "plan": plans}
    kinds = [pa.int64(), TIME, TIME, pa.float64(), pa.string()]
    return pa.table({name: pa.array(each, kind) for (name, each), kind in zip(columns.items(), kinds, strict=True)})


def added(lake: Lake, table: FeatureTable, rows: Sequence[Row]) -> Added:
    return add(lake, table, of(rows).to_reader())


def orders(lake: Lake, rows: Sequence[tuple[int | None, float | None]]) -> None:
    customers, times = [each for each, _ in rows], [None if day is None else at(day) for _, day in rows]
    table = pa.table(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "buyer": pa.array(customers, pa.int64()),
            "at": pa.array(times, TIME),
        }
    )
    lake.write(ORDERS, table)


def joined(lake: Lake, table: FeatureTable, workers: Any = ONE) -> pa.Table:
    lookup = Lookup(table, lake.version(table.name), {"customer": "buyer"}, {"spend": "spend", "plan": "the plan"})
    made = join(lake, lake.version(ORDERS), "at", [lookup], TRAIN, workers)
    result = lake.read(made.table)
    assert made.without == {name: result[name].null_count for name in ("spend", "the plan")}
    return result


# What a feature table is -------------------------------------------------------------------------------------------


def test_the_lake_keeps_the_definition(lake: Lake) -> None:
    table = daily(lake, ttl="30d", description="spend by day", owner="ann")
    lake.write(ORDERS, pa.table({"id": [1]}))
    added(lake, table, [(1, 0, 1, 2.0, "a")])
    assert feature_table(lake, DAILY) == table and table.ttl == timedelta(days=30)
    assert (table.description, table.owner, table.known_at) == ("spend by day", "ann", "loaded")
    assert [each.name for each in feature_tables(lake)] == [DAILY]
    with pytest.raises(NotFound, match="a table, and no feature table"):
        feature_table(lake, ORDERS)
    with pytest.raises(UsageError, match="exists already"):
        create(lake, table)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"keys": {}}, "no key"),
        ({"values": {}}, "no value"),
        ({"values": {"customer": "double"}}, "'customer' twice"),
        ({"event_time": "customer"}, "'customer' twice"),
        ({"values": {"Customer": "double"}}, "'customer' and 'Customer'"),
        ({"values": {"spend": "decimals"}}, "no column type 'decimals'"),
        ({"keys": {"customer": "double"}}, "is a double"),
        ({"ttl": "a month"}, "no time to live"),
        ({"ttl": "0d"}, "no time to live"),
        ({"ttl": "9999999999w"}, "too long"),
    ],
)
def test_a_definition_that_cannot_be(options: dict[str, Any], why: str) -> None:
    whole = {"keys": {"customer": "bigint"}, "event_time": "day", "values": {"spend": "double"}, **options}
    with pytest.raises((UsageError, DataError), match=why):
        defined(DAILY, whole.pop("keys"), whole.pop("event_time"), whole.pop("values"), **whole)


# Rows into it ------------------------------------------------------------------------------------------------------


def test_each_row_is_there_once(lake: Lake) -> None:
    table = daily(lake)
    first = added(lake, table, [(1, 5, 6, 1.0, "a"), (1, 0, 1, None, None), (1, 5, 6, 1.0, "a")])
    assert (first.rows, first.repeated, first.known, first.table.rows) == (2, 1, 0, 2)
    again = added(lake, table, [(1, 0, 1, None, None), (2, 0, 1, float("nan"), "b")])
    assert (again.rows, again.known, again.table.rows) == (1, 1, 3)
    none = added(lake, table, [(2, 0, 1, float("nan"), "b")])
    assert (none.rows, none.known, none.table) == (0, 1, again.table)
    assert sorted(lake.read(again.table)["day"].to_pylist()) == [at(0), at(0), at(5)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(None, 0, 1, 1.0, "a"), (1, 0, 1, 1.0, "a")], "1 row of main.shop.daily have no 'customer'"),
        ([(1, 0, 1, 1.0, "a"), (1, 0, 1, 2.0, "a")], "2 rows have other values at the same time of the same key: 1,"),
        ([(1, 0, 1, 1.0, None), (1, 0, 1, 1.0, "a")], "2 rows have other values"),
        ([(7, 0, 1, 5.0, "seven"), (9, 0, 1, 1.0, "a")], "1 row differ from what main.shop.daily holds.*: 7, 2024"),
        ([(7, 0, 1, None, "seven"), (9, 0, 1, 1.0, "a")], "1 row differ"),
    ],
)
def test_rows_that_contradict_leave_the_table_as_it_was(lake: Lake, rows: Sequence[Row], why: str) -> None:
    table = daily(lake)
    before = added(lake, table, [(7, 0, 1, 7.0, "seven")]).table
    with pytest.raises(DataError, match=why):
        added(lake, table, rows)
    assert lake.version(DAILY) == before


def test_a_correction_that_was_known_later_is_another_row(lake: Lake) -> None:
    table = daily(lake)
    added(lake, table, [(7, 0, 1, 7.0, "seven")])
    assert added(lake, table, [(7, 0, 2, 8.0, "seven")]).table.rows == 2


def test_columns_that_do_not_fit(lake: Lake) -> None:
    table, rows = daily(lake), of([(1, 0, 1, 1.0, "a")])
    for wrong, why in (
        (rows.drop_columns(["plan"]), "no column 'plan'"),
        (rows.append_column("plans", rows["plan"]), "has no column 'plans'"),
        (rows.set_column(3, "spend", [["much"]]), "'spend' of main.shop.daily is of type double, the rows have string"),
        (rows.slice(0, 0), "no rows to write"),
    ):
        with pytest.raises(DataError, match=why):
            add(lake, table, wrong.to_reader())
    whole_numbers = rows.set_column(3, "spend", pa.array([1], pa.int32()))
    assert add(lake, table, whole_numbers.to_reader()).rows == 1


def test_a_value_that_is_known_before_its_event_is_a_finding(lake: Lake) -> None:
    (finding,) = added(lake, daily(lake), [(1, 5, 4, 1.0, "a"), (1, 6, 7, 1.0, "a")]).findings
    assert (finding.name, finding.count) == ("known_before_event", 1) and "swapped" in finding.detail


def test_another_writer_comes_between(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table, write = daily(lake), Lake.write

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(Lake, "write", write)
        added(lake, table, [(1, 0, 1, 1.0, "a")])
        return write(*arguments, **options)

    monkeypatch.setattr(Lake, "write", late)
    with pytest.raises(Busy):
        added(lake, table, [(1, 0, 1, 1.0, "a"), (2, 0, 1, 1.0, "a")])
    assert lake.version(DAILY).rows == 1


# Rows of a table with their values ---------------------------------------------------------------------------------


def test_no_value_comes_from_the_future(lake: Lake) -> None:
    table = daily(lake, ttl="30d")
    added(lake, table, [(1, 0, 1, 1.0, "a"), (1, 5, 9, 2.0, None), (1, 5, 11, 2.5, "b"), (2, 1, 0, 3.0, "c")])
    orders(lake, [(1, 0.5), (1, 6), (1, 9), (1, 11), (1, 35), (1, 35.1), (2, 1), (3, 1), (None, 6), (1, None)])
    result = joined(lake, table)
    assert result["spend"].to_pylist() == [None, 1.0, 2.0, 2.5, 2.5, None, 3.0, None, None, None]
    assert result["the plan"].to_pylist() == [None, "a", None, "b", "b", None, "c", None, None, None]
    assert result["id"].to_pylist() == list(range(10))


days = st.integers(0, 8)
values = st.lists(st.tuples(st.integers(0, 2), days, days), unique=True, max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=values,
    asked=st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.floats(0, 9)), min_size=1, max_size=20),
    ttl=st.none() | st.integers(1, 9),
    known=st.booleans(),
)
def test_joined_rows_are_those_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    asked: list[tuple[int | None, float | None]],
    ttl: int | None,
    known: bool,
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
    if not known:
        rows = [(key, day, day) for key, day in dict.fromkeys((key, day) for key, day, _ in rows)]
    table = daily(lake, known_at="loaded" if known else None, ttl=None if ttl is None else f"{ttl}d")
    numbered = [(key, day, loaded, float(number), str(number)) for number, (key, day, loaded) in enumerate(rows)]
    if numbered:
        given = of(numbered)
        add(lake, table, (given if known else given.drop_columns(["loaded"])).to_reader())
    orders(lake, asked)

    def brute(key: int | None, time: float | None) -> float | None:
        if key is None or time is None:
            return None
        then = at(time)
        seen = [each for each in numbered if each[0] == key and at(each[1]) <= then and at(each[2]) <= then]
        if not seen:
            return None
        last = max(seen, key=lambda each: (each[1], each[2]))
        return None if ttl is not None and at(last[1]) < then - timedelta(days=ttl) else last[3]

    assert joined(lake, table)["spend"].to_pylist() == [brute(*each) for each in asked]


def test_values_that_are_too_old_are_counted(lake: Lake) -> None:
    table = daily(lake, ttl="5d")
    added(lake, table, [(1, 1, 1, 1.0, "a"), (2, 1, 1, 2.0, "b")])
    orders(lake, [(1, 6), (1, 6.001), (2, 30), (3, 3), (1, 0)])
    lookup = Lookup.of(lake, DAILY, {"customer": "buyer"})
    done = join(lake, lake.version(ORDERS), "at", [lookup], TRAIN, ONE)
    assert (done.too_old, done.without["spend"]) == ({DAILY: 2}, 4)


def test_parts_of_two_processes_join_the_same(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = daily(lake)
    added(lake, table, [(key, day, day + key % 3, float(day), None) for key in range(20) for day in range(20)])
    orders(lake, [(row % 23, (row * 7 % 200) / 10) for row in range(1000)])
    whole = joined(lake, table)
    monkeypatch.setattr(joining, "ROWS", 130)
    monkeypatch.setattr(parts, "WORTH", 1)
    assert joined(lake, table).equals(whole) and joined(lake, table, LocalWorkers(2, 2)).equals(whole)
    assert 0 < whole["spend"].null_count < 1000


def test_lookups_that_do_not_fit(lake: Lake) -> None:
    table = daily(lake)
    added(lake, table, [(1, 0, 1, 1.0, "a")])
    lake.write(ORDERS, pa.table({"buyer": [1], "name": ["a"], "at": pa.array([at(1)], TIME), "day": ["Monday"]}))
    version = lake.version(DAILY)
    for time, keys, wanted, why in (
        ("when", {"customer": "buyer"}, {"spend": "spend"}, "no column 'when'"),
        ("day", {"customer": "buyer"}, {"spend": "spend"}, "'day' of .* is of type string, and no time"),
        ("at", {"customer": "buyers"}, {"spend": "spend"}, "no column 'buyers', the key 'customer'"),
        ("at", {"customer": "name"}, {"spend": "spend"}, "'name' of .* is of type string, and the key"),
        ("at", {"customer": "buyer"}, {"spend": "Name"}, "two columns would be named 'Name'"),
    ):
        with pytest.raises((DataError, UsageError), match=why):
            join(lake, lake.version(ORDERS), time, [Lookup(table, version, keys, wanted)], TRAIN, ONE)
    for keys, wanted, why in (({"client": "buyer"}, {}, "no key 'client'"), ({}, {"spent": "x"}, "no value 'spent'")):
        with pytest.raises(UsageError, match=why):
            Lookup.of(lake, DAILY, keys, wanted)
    lookup = Lookup.of(lake, DAILY, {"customer": "buyer"}, {"spend": "spend"})
    assert lookup == Lookup(table, version, {"customer": "buyer"}, {"spend": "spend"})
    for output in (ORDERS, DAILY):
        with pytest.raises(UsageError, match="one of the tables that are joined"):
            join(lake, lake.version(ORDERS), "at", [lookup], output, ONE)
