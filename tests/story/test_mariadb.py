"""Tables of MariaDB, read as those of PostgreSQL are, and written: each row once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import database_servers
import lakewright as lw
from database_servers import Server
from lakewright.data.sources.opening import open_source
from lakewright.errors import Busy, DataError, NoStore, NotFound, UsageError
from lakewright.service.scoring.outputs import DatabaseOutput, Wave
from story.test_databases import INPUT, here, lake, posts, trained  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(database_servers.why_not_mariadb()), reason=database_servers.why_not_mariadb() or "-"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with database_servers.mariadb() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(server: Server) -> None:
    server.sql("drop database shop", "create database shop character set utf8mb4", database="")


def read(server: Server, table: str = "", **options: str) -> pa.Table:
    source, uri = open_source(f"{server.database}{table}", None, {}, Path())
    return source.open(uri, options, server.secrets).read_all()


def test_values_come_back_exactly(server: Server) -> None:
    server.sql(
        "create table things (id int primary key, a tinyint unsigned, b bigint, c decimal(20,5), d float, e double, "
        "f date, g datetime(6), h timestamp(6) null, i time(3), j json, k blob, l enum('x','y'), m bit(8), n year, "
        "o varchar(20), p binary(3), q boolean)",
        "insert into things values (2,255,-9223372036854775808,'123456789012345.67891',1.23456789,0.1,'0001-01-01',"
        "'9999-12-31 23:59:59.999999','2020-01-01 00:00:01.5','-12:00:01.5','{\"a\": 1.10}',x'dead00','y',5,2020,"
        "'naïve 😀 ''\"\\\\',x'010203',true), (1" + ",null" * 17 + ")",
    )
    empty, full = read(server, "/things").to_pylist()
    assert empty == {"id": 1, **dict.fromkeys(list(full)[1:])}
    assert full == {
        "id": 2,
        "a": 255,
        "b": -(2**63),
        "c": Decimal("123456789012345.67891"),
        "d": pa.scalar(1.23456789, pa.float32()).as_py(),
        "e": 0.1,
        "f": date(1, 1, 1),
        "g": datetime(9999, 12, 31, 23, 59, 59, 999999),
        "h": datetime(2020, 1, 1, 0, 0, 1, 500000, tzinfo=UTC),
        "i": "-12:00:01.500",
        "j": '{"a": 1.10}',
        "k": b"\xde\xad\x00",
        "l": "y",
        "m": 5,
        "n": 2020,
        "o": "naïve 😀 '\"\\",
        "p": b"\x01\x02\x03",
        "q": 1,
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"query": "select * from nowhere"}, NotFound, "nowhere"),
        ({"query": "select nope from things"}, DataError, "Unknown column 'nope'"),
        ({"query": "select 1; drop table things"}, DataError, "it is one statement"),
        ({"query": "select 18446744073709551615 as odd"}, DataError, "column 'odd' does not fit the type"),
        ({"query": "select id, at from things"}, DataError, "column 'at' does not fit"),
        ({"query": "select cast(1e60 as decimal(65,0)) as odd"}, DataError, "column 'odd' does not fit"),
        ({"query": "select 1 as a, 2 as a"}, DataError, "Duplicate column name 'a'"),
    ],
)
def test_what_is_wrong_is_an_error(
    server: Server, options: dict[str, str], error: type[Exception], message: str
) -> None:
    server.sql(
        "create table things (id int, at date)", "set sql_mode = ''", "insert into things values (1, '0000-00-00')"
    )
    with pytest.raises(error, match=message):
        read(server, **options)


def test_rows_are_those_of_one_moment_and_show_a_change(server: Server) -> None:
    server.sql(
        "create table things (id int primary key, x float) as select seq as id, seq / 7 as x from seq_1_to_50000"
    )
    source, uri = open_source(f"{server.database}/things", None, {}, Path())
    before = source.fingerprint(uri, {}, server.secrets)
    assert source.fingerprint(uri, {}, server.secrets) == before
    rows = list[int]()
    for batch in source.open(uri, {}, server.secrets):
        if not rows:
            server.sql("delete from things where id % 2 = 0", "update things set id = id + 1000000 where id % 3 = 0")
        rows += batch.column("id").to_pylist()
    assert rows == list(range(1, 50_001))
    assert source.fingerprint(uri, {}, server.secrets) != before
    with pytest.raises(DataError, match="refuses the user"):
        source.open(uri, {}, {"MYSQL_PASSWORD": "falsch-und-lang"})
    with pytest.raises(UsageError, match="no parameter 'charset'"):
        source.open(f"{uri}?charset=x", {}, server.secrets)


def predictions(server: Server) -> list[tuple[Any, ...]]:
    return server.sql("select record_id, label from scored order by record_id")


def test_rows_are_scored_once_though_the_server_stops_and_another_writes(
    here: Path,  # noqa: F811
    server: Server,
    trained: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake().write(INPUT, posts(300))
    output, commit, commits = f"{server.database}/scored", DatabaseOutput.commit, list[Wave]()

    def stopping(self: DatabaseOutput, wave: Wave) -> int:
        commits.append(wave)
        if len(commits) == 2:
            server.stop()
        return commit(self, wave)

    def overtaken(self: DatabaseOutput, wave: Wave) -> int:
        commits.append(wave)
        if len(commits) == 4:
            assert lw.score(trained, INPUT, output, profile="other").rows == 100
        return commit(self, wave)

    monkeypatch.setattr(DatabaseOutput, "commit", stopping)
    with pytest.raises(NoStore, match="does not answer"):
        lw.score(trained, INPUT, output, commit_rows=100)
    server.start()
    assert len(predictions(server)) == 100
    monkeypatch.setattr(DatabaseOutput, "commit", overtaken)
    with pytest.raises(Busy, match="another process wrote"):
        lw.score(trained, INPUT, output, commit_rows=100)
    assert len(predictions(server)) == 300
    monkeypatch.setattr(DatabaseOutput, "commit", commit)
    lake().write(INPUT, posts(50, first=290), mode="append")
    second = lw.score(trained, INPUT, output)
    assert (second.rows, second.replaced, second.output.rows) == (50, 10, 340)
    again = lw.score(trained, INPUT, output, full=True)
    assert (again.rows, again.replaced, again.output.rows) == (350, 10, 340)
    server.sql("create table plain (record_id varchar(255), label text)")
    with pytest.raises(UsageError, match="has other columns"):
        lw.score(trained, INPUT, f"{server.database}/plain")
