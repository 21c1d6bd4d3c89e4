"""Every online store: it holds what was known, as the table has it; a reader sees all of one version or of the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import redis_server
from lakewright import plugins
from lakewright.data.features import FeatureTable, create, defined, feature_table
from lakewright.data.features.joining import values_at
from lakewright.data.features.online import OnlineStore, Superseded
from lakewright.data.features.online.entries import Layout
from lakewright.data.features.online.lookups import Lookup, Lookups, values_online
from lakewright.data.features.online.publishing import publish
from lakewright.data.features.online.redis import RedisStore, RedisStoreSettings
from lakewright.data.features.online.sqlite import SqliteStore, SqliteStoreSettings
from lakewright.data.features.writing import add
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import DataError, MissingPackage, NoStore, NotFound, UsageError
from lakewright.settings.profile import Profile
from lakewright.workspace import Workspace

DAILY = "main.shop.daily"
TIME = pa.timestamp("us", "UTC")
CASES = ("sqlite", "redis")
Open = Callable[[], OnlineStore]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if redis_server.why_not():
        pytest.skip(redis_server.why_not())
    with redis_server.running(tmp_path_factory.mktemp("redis"), "a pass word".replace(" ", "-")) as (url, _):
        yield url


@pytest.fixture(params=CASES)
def settings_of(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The profile's section `online`."""
    if request.param == "sqlite":
        return {"name": "sqlite", "file": str(tmp_path / "values" / "online.sqlite")}
    url = request.getfixturevalue("redis_url")
    import redis

    redis.Redis.from_url(url).flushall()
    return {"name": "redis", "url": url}


@pytest.fixture
def store(settings_of: dict[str, Any], tmp_path: Path) -> OnlineStore:
    return Workspace.open(Profile(workspace=str(tmp_path / "workspace"), online=settings_of)).online()  # type: ignore[arg-type]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))


def at(day: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)


NOW = at(20)


def daily(lake: Lake, rows: list[tuple[int, float, float, float | None]], **options: Any) -> FeatureTable:
    table = defined(
        DAILY, {"customer": "bigint"}, "day", {"spend": "double", "plan": "string"}, known_at="loaded", **options
    )
    create(lake, table)
    write(lake, rows)
    return feature_table(lake, DAILY)


def write(lake: Lake, rows: list[tuple[int, float, float, float | None]]) -> None:
    customers, days, loaded, spend = zip(*rows, strict=True)
    times = {"day": pa.array(map(at, days), TIME), "loaded": pa.array(map(at, loaded), TIME)}
    columns = {"customer": pa.array(customers, pa.int64()), **times, "spend": pa.array(spend, pa.float64())}
    plans = pa.array([f"plan {each}" for each in customers])
    add(lake, feature_table(lake, DAILY), pa.table({**columns, "plan": plans}).to_reader())


def test_each_installed_store_has_a_case() -> None:
    assert {*CASES} == {*plugins.STORES.names()}


def test_it_holds_what_is_known_now(lake: Lake, store: OnlineStore) -> None:
    """Of one event what was known last, and nothing that is known only later."""
    rows: list[tuple[int, float, float, float | None]] = [
        (1, 1, 2, 1.0), (1, 3, 4, 2.0), (1, 3, 5, 2.5), (2, 1, 30, 9.0),
        (3, 25, 1, 9.0), (4, 1, 1, None), (4, 2, 99, 9.0),
    ]  # fmt: skip
    table = daily(lake, rows)
    published = publish(lake, DAILY, store, NOW)
    assert (published.entries, published.version) == (2, 1)
    assert store.published(DAILY) == published and list(store.tables()) == [published]
    keys = [{"customer": each} for each in (4, 1, 2, 3, 77, 1)]
    asked = pa.table({"customer": [each["customer"] for each in keys], "as of": pa.array([NOW] * 6, TIME)})
    assert values_online(store, DAILY, keys) == values_at(lake, table, asked, "as of").drop_columns("as of").to_pylist()
    assert values_online(store, DAILY, keys)[1] == {"customer": 1, "spend": 2.5, "plan": "plan 1"}
    later = publish(lake, DAILY, store, at(40))
    assert later.entries == 4 and values_online(store, DAILY, keys)[2]["spend"] == 9.0


def test_publishing_replaces_all_and_never_by_what_was_known_before(lake: Lake, store: OnlineStore) -> None:
    daily(lake, [(1, 1, 1, 1.0), (2, 1, 1, 2.0)])
    publish(lake, DAILY, store, NOW)
    lake.sql(f"create or replace table {DAILY}_kept as select * from {DAILY} where customer = 1")
    write(lake, [(1, 2, 2, 5.0)])
    second = publish(lake, DAILY, store, NOW)
    with pytest.raises(Superseded, match="@v2"):
        publish(lake, DAILY, store, at(19))
    assert store.published(DAILY) == second
    assert values_online(store, DAILY, [{"customer": 1}])[0]["spend"] == 5.0
    assert store.remove(DAILY) and not store.remove(DAILY) and store.published(DAILY) is None and not store.tables()
    with pytest.raises(NotFound, match="features publish"):
        values_online(store, DAILY, [{"customer": 1}])


def test_a_table_without_values_is_published_too(lake: Lake, store: OnlineStore) -> None:
    daily(lake, [(1, 30, 30, 1.0)])
    assert publish(lake, DAILY, store, NOW).entries == 0
    assert values_online(store, DAILY, [{"customer": 1}]) == [{"customer": 1, "spend": None, "plan": None}]


def test_values_end_with_their_time_to_live(lake: Lake, store: OnlineStore) -> None:
    daily(lake, [(1, 10, 10, 1.0)], ttl="5d")
    publish(lake, DAILY, store, at(12))
    lookups = Lookups([Lookup(DAILY, {"customer": "buyer"}, {"spend": "spent"})], store, ["spent"])
    assert lookups.completed([{"buyer": 1}], at(15)) == ([{"spent": 1.0}], {})
    assert lookups.completed([{"buyer": 1}], at(15.001)) == ([{"spent": None}], {0: ["spent"]})


def test_a_table_that_was_made_anew_is_read_anew(lake: Lake, store: OnlineStore) -> None:
    daily(lake, [(1, 1, 1, 1.0)])
    publish(lake, DAILY, store, NOW)
    lookups = Lookups([Lookup(DAILY, {"customer": "customer"}, {"spend": "spend"})], store, ["spend"])
    assert lookups.completed([{"customer": 1}])[0][0]["spend"] == 1.0
    columns = {"plan": ["x"], "more": [7.0], "spend": [3.0], "customer": [1], "day": pa.array([at(1)], TIME)}
    other = defined(DAILY, {"customer": "bigint"}, "day", {"plan": "string", "more": "double", "spend": "double"})
    fresh = Lake(SqliteCatalog(Path(lake.root) / "other.sqlite"), f"{lake.root}/other")
    create(fresh, other)
    for day in (1, 2):
        columns["day"] = pa.array([at(day)], TIME)
        add(fresh, other, pa.table(columns).to_reader())
    publish(fresh, DAILY, store, NOW)
    assert lookups.completed([{"customer": 1}])[0][0]["spend"] == 3.0


KINDS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "tinyint": st.integers(-128, 127),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(st.characters(codec="utf-8")),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "timestamp_ntz": st.datetimes(),
    "binary": st.binary(),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_come_back_as_the_table_has_them(data: st.DataObject) -> None:
    """Of every type, and by keys of every type that a key may have."""
    keys = {name: name for name in ("tinyint", "bigint", "string", "date", "boolean", "timestamp")}
    table = defined(DAILY, {f"k {name}": name for name in keys}, "day", {f"v {name}": name for name in KINDS})
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    **{f"k {name}": KINDS[name] for name in keys},
                    **{f"v {name}": st.none() | kind for name, kind in KINDS.items()},
                    "day": st.just(at(1)),
                }
            ),
            min_size=1,
            max_size=5,
        )
    )
    batch = pa.RecordBatch.from_pylist(rows, pa.schema([field.remove_metadata() for field in table.schema]))
    layout = Layout.of(table)
    entries = list(layout.entries(batch, "day"))
    for (key, entry), row in zip(entries, batch.to_pylist(), strict=True):
        values = layout.read(entry, NOW)
        assert values == [row[f"v {name}"] for name in KINDS]
        plain = [row[name] for name in layout.keys]
        in_json = [each.isoformat() if isinstance(each, date) else each for each in plain]
        assert key == layout.key(plain) == layout.read_key(plain) == layout.read_key(json.loads(json.dumps(in_json)))
    assert len({key for key, _ in entries}) == len({tuple(row[f"k {name}"] for name in keys) for row in rows})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"a": 1}, "row 0 has no 'b', a part of the key of main.shop.pairs"),
        ({"a": "01", "b": "x"}, "row 0: the key 'first' is '01', and keys are of type bigint"),
        ({"a": True, "b": "x"}, "'first' is True"),
        ({"a": 1.5, "b": "x"}, "'first' is 1.5"),
        ({"a": 1, "b": 7}, "'second' is 7, and keys are of type string"),
        ({"a": [1], "b": "x"}, "'first' is list"),
    ],
)
def test_a_key_that_is_none(lake: Lake, store: OnlineStore, row: dict[str, Any], why: str) -> None:
    pairs(lake, store)
    lookups = Lookups([Lookup("main.shop.pairs", {"first": "a", "second": "b"}, {"value": "value"})], store, ["value"])
    with pytest.raises(DataError) as failure:
        lookups.completed([row])
    assert why in failure.value.cause and failure.value.remedy


def test_keys_of_several_columns(lake: Lake, store: OnlineStore) -> None:
    pairs(lake, store)
    keys = {"second": "b", "first": "a"}  # in another order than the table's
    lookups = Lookups([Lookup("main.shop.pairs", keys, {"value": "value"})], store, ["value", "a"])
    rows = [
        {"a": 1, "b": 'x", "y'},
        {"a": 1.0, "b": "x"},
        {"a": None, "b": "x"},
        {"a": 1, "b": "x", "value": 0},
        "text",
    ]
    completed, unknown = lookups.completed(rows)
    assert completed == [
        {"a": 1, "value": 1}, {"a": 1.0, "value": 2}, {"a": None, "value": None}, {"a": 1, "b": "x", "value": 0},
        "text",
    ]  # fmt: skip
    assert unknown == {2: ["value"]}
    batch = pa.RecordBatch.from_pydict({"b": ['x", "y', "x", "z"], "a": [1, 1, 1]})
    table, absent = lookups.completed_table(batch)
    assert table["value"].to_pylist() == [1, 2, None] and absent == {2: ["value"]}
    with pytest.raises(DataError, match="has no 'value', and no b, a"):
        lookups.completed_table(batch.select(["a"]))


def test_two_tables_by_one_key(lake: Lake, store: OnlineStore) -> None:
    daily(lake, [(1, 1, 1, 1.0)])
    publish(lake, DAILY, store, NOW)
    other = defined("main.shop.other", {"customer": "bigint"}, "day", {"age": "int"})
    create(lake, other)
    add(
        lake,
        other,
        pa.table({"customer": [1], "day": pa.array([at(1)], TIME), "age": pa.array([40], pa.int32())}).to_reader(),
    )
    publish(lake, other.name, store, NOW)
    by = {"customer": "buyer"}
    tables = [Lookup(DAILY, by, {"spend": "spent"}), Lookup(other.name, by, {"age": "age"})]
    lookups = Lookups(tables, store, ["spent", "age"])
    rows, unknown = lookups.completed([{"buyer": 1}, {"buyer": 2}, {"buyer": 1, "age": 7}])
    assert rows == [{"spent": 1.0, "age": 40}, {"spent": None, "age": None}, {"spent": 1.0, "age": 7}]
    assert unknown == {1: ["spent", "age"]}


def pairs(lake: Lake, store: OnlineStore) -> None:
    name = "main.shop.pairs"
    table = defined(name, {"first": "bigint", "second": "string"}, "day", {"value": "bigint"})
    create(lake, table)
    columns = {"first": [1, 1], "second": ['x", "y', "x"], "day": pa.array([at(1), at(1)], TIME), "value": [1, 2]}
    add(lake, table, pa.table(columns).to_reader())
    publish(lake, name, store, NOW)


def test_a_key_and_a_value_may_have_any_name(lake: Lake, store: OnlineStore) -> None:
    name, names = "main.shop.named", ("place", "known", "event", "row")
    table = defined(name, dict.fromkeys(names[:2], "bigint"), names[2], {names[3]: "bigint"})
    create(lake, table)
    add(lake, table, pa.table({"place": [1], "known": [2], "event": pa.array([at(1)], TIME), "row": [3]}).to_reader())
    publish(lake, name, store, NOW)
    key = {"place": 1, "known": 2}
    assert values_online(store, name, [key]) == [{**key, "row": 3}]
    rows = pa.table({"place": [1], "known": [2], "as of": pa.array([NOW], TIME)})
    assert values_at(lake, feature_table(lake, name), rows, "as of")["row"].to_pylist() == [3]


PUBLISH = """
import json, os, sys, time
from lakewright.settings.profile import Profile
from lakewright.workspace import Workspace
online, folder, about = json.loads(sys.argv[1])
store = Workspace.open(Profile(workspace=folder, online=online)).online()
def entries():
    for batch in range(1000):
        yield [(f"{batch}-{number}", b"new") for number in range(100)]
        print(batch, flush=True)
        time.sleep(0.005)
store.replace("main.shop.daily", entries(), about)
"""


def about(version: int) -> dict[str, Any]:
    names = {"keys": {"customer": "string"}, "values": {}, "ttl": None, "layout": "x"}
    return {"table": DAILY, "version": version, "as_of": NOW.isoformat(), **names}


def test_killed_between(settings_of: dict[str, Any], store: OnlineStore, tmp_path: Path) -> None:
    store.replace(DAILY, [[("1", b"old"), ("2", b"old")]], about(1))
    arguments = json.dumps([settings_of, str(tmp_path / "workspace"), about(2)])
    process = subprocess.Popen([sys.executable, "-c", PUBLISH, arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "20":
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert store.get(DAILY, ["1", "2", "0-0"]) == [b"old", b"old", None]
    current = store.published(DAILY)
    assert current is not None and (current.version, current.entries) == (1, 2)
    store.replace(DAILY, [[("3", b"newer")]], about(2))
    assert store.get(DAILY, ["1", "3"]) == [None, b"newer"]


def test_a_reader_sees_all_of_one_version(settings_of: dict[str, Any], store: OnlineStore, tmp_path: Path) -> None:
    keys, seen, ended = [str(number) for number in range(50)], set[tuple[bytes | None, ...]](), threading.Event()
    store.replace(DAILY, [[(key, b"0") for key in keys]], about(0))
    other = Workspace.open(Profile(workspace=str(tmp_path / "workspace"), online=settings_of)).online()  # type: ignore[arg-type]

    def read() -> None:
        while not ended.is_set():
            seen.add(tuple(other.get(DAILY, keys[:1])))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(1, 30):
        store.replace(DAILY, ([(key, str(version).encode())] for key in keys), about(version))
    time.sleep(0.05)
    ended.set()
    reader.join()
    assert (None,) not in seen and (b"29",) in seen


def test_what_no_store_holds(lake: Lake, store: OnlineStore) -> None:
    lake.write("main.shop.plain", pa.table({"a": [1]}))
    with pytest.raises(NotFound, match="no feature table"):
        publish(lake, "main.shop.plain", store, NOW)
    daily(lake, [(1, 1, 1, 1.0)])
    publish(lake, DAILY, store, NOW)
    lookups = Lookups([Lookup(DAILY, {"customer": "customer"}, {"spent": "spent"})], store, ["spent"])
    with pytest.raises(DataError, match="no value 'spent'"):
        lookups.check()
    with pytest.raises(DataError, match="by buyer"):
        Lookups([Lookup(DAILY, {"buyer": "customer"}, {"spend": "spend"})], store, ["spend"]).check()
    with pytest.raises(DataError, match="has the keys customer"):
        values_online(store, DAILY, [{"buyer": 1}])


def test_a_table_that_is_gone_is_no_unknown_key(lake: Lake, store: OnlineStore) -> None:
    """A server of Redis that starts again without its data answers, and has nothing."""
    daily(lake, [(1, 1, 1, 1.0)])
    publish(lake, DAILY, store, NOW)
    lookups = Lookups([Lookup(DAILY, {"customer": "buyer"}, {"spend": "spent"})], store, ["spent"])
    assert lookups.completed([{"buyer": 1}, {"buyer": 2}]) == ([{"spent": 1.0}, {"spent": None}], {1: ["spent"]})
    store.remove(DAILY)
    with pytest.raises(NotFound, match=r"no values of main\.shop\.daily"):
        lookups.completed([{"buyer": 1}])
    publish(lake, DAILY, store, NOW)
    assert lookups.completed([{"buyer": 1}])[0] == [{"spent": 1.0}]
    with pytest.raises(DataError, match="has no 'spent', and no buyer, by which") as failure:
        lookups.completed([{"price": 1}])
    assert "give buyer" in failure.value.remedy


def test_a_store_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = RedisStore.open(RedisStoreSettings(url="redis://:secret-word@127.0.0.1:1/0"), tmp_path)  # type: ignore[arg-type]
    for call in (
        lambda: dead.get(DAILY, ["1"]),
        lambda: dead.published(DAILY),
        dead.tables,
        lambda: dead.remove(DAILY),
    ):
        with pytest.raises(NoStore) as failure:
            call()
        assert "127.0.0.1:1" in failure.value.cause and "secret-word" not in str(failure.value)
    with pytest.raises(NoStore, match="no address"):
        RedisStore.open(RedisStoreSettings(url="nowhere"), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "online.sqlite").write_text("no database, but a text that is long enough to be read as one " * 20)
    damaged = SqliteStore.open(SqliteStoreSettings(), tmp_path)
    for call in (lambda: damaged.get(DAILY, ["1"]), lambda: damaged.published(DAILY), damaged.tables):
        with pytest.raises(NoStore, match=r"online\.sqlite"):
            call()
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingPackage):
        RedisStore.open(RedisStoreSettings(url="redis://127.0.0.1:1/0"), tmp_path)  # type: ignore[arg-type]


def test_values_that_no_store_holds(lake: Lake, store: OnlineStore) -> None:
    table = daily(lake, [(1, 1, 1, 1.0)])
    lists = FeatureTable(
        table.name, table.keys, table.event_time, None, None, {"many": pa.list_(pa.float64())}, table.key_types
    )
    with pytest.raises(UsageError, match=r"'many' of main\.shop\.daily is of type array"):
        Layout.of(lists)
