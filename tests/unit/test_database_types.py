"""Values of PostgreSQL's types come back as they are, or their column is an error that names it."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_servers import Server
from lakewright.data.databases.address import Address
from lakewright.data.lake.types import within_years
from lakewright.data.sources import Intake
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, UsageError


def read(server: Server, query: str, intake: Intake | None = None) -> pa.Table:
    source, uri = open_source(server.database, None, server.secrets, Path())
    return source.open(uri, {"query": query}, server.secrets, intake or Intake()).read_all()


def whole(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
# type of PostgreSQL → its values, and the type of a table
KINDS: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "bool": (st.booleans(), pa.bool_()),
    "int2": (whole(16), pa.int16()),
    "int4": (whole(32), pa.int32()),
    "int8": (whole(64), pa.int64()),
    "float4": (st.floats(width=32, allow_nan=False), pa.float32()),
    "float8": (st.floats(allow_nan=False), pa.float64()),
    "text": (TEXT, pa.string()),
    "varchar(5)": (TEXT.filter(lambda text: len(text) <= 5), pa.string()),
    "bytea": (st.binary(), pa.binary()),
    "date": (st.dates(), pa.date32()),
    "timestamp": (st.datetimes(), pa.timestamp("us")),
    "timestamptz": (st.datetimes(timezones=st.just(UTC)), pa.timestamp("us", "UTC")),
    "numeric(20,5)": (st.decimals(-(10**14), 10**14, places=5), pa.decimal128(20, 5)),
    "uuid": (st.uuids().map(str), pa.string()),
    "int8[]": (st.lists(st.none() | whole(64)), pa.list_(pa.field("element", pa.int64()))),
    "text[]": (st.lists(st.none() | TEXT), pa.list_(pa.field("element", pa.string()))),
}


def written(value: Any) -> Any:
    """As PostgreSQL reads it from a text."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, list):
        each = (
            "null" if item is None else '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'
            for item in value
        )
        return "{" + ",".join(each) + "}"
    if isinstance(value, datetime | date):
        return value.isoformat()
    return None if value is None else str(value)


@given(st.lists(st.fixed_dictionaries({kind: st.none() | values for kind, (values, _) in KINDS.items()}), min_size=1))
@settings(max_examples=20)
def test_values_come_back_exactly(postgresql: Server, rows: list[dict[str, Any]]) -> None:
    table = f"exact_{uuid.uuid4().hex}"
    columns = ", ".join(f'"{kind}" {kind}' for kind in KINDS)
    values = ", ".join(f"${at}::text::{kind}" for at, kind in enumerate(KINDS, start=1))
    with closing(postgresql.connected()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"create table {table} (place int primary key, {columns})")
        for place, row in enumerate(rows):
            texts = tuple(written(row[kind]) for kind in KINDS)
            cursor.executemany(
                f"insert into {table} values ({place}, {values})",
                pa.Table.from_pylist(
                    [dict(zip(KINDS, texts, strict=True))], schema=pa.schema([(kind, pa.string()) for kind in KINDS])
                ),
            )
        connection.commit()
    found = read(postgresql, f"select * from {table} order by place").drop(["place"])
    assert found.to_pylist() == rows
    assert dict(zip(found.column_names, found.schema.types, strict=True)) == {k: kind for k, (_, kind) in KINDS.items()}
    postgresql.sql(f"drop table {table}")


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**20), max_value=10**20), min_size=1
    )
)
@settings(max_examples=20)
def test_decimals_without_declared_digits_keep_all_they_have(postgresql: Server, numbers: list[Decimal]) -> None:
    values = ", ".join(f"({place}, '{number:f}'::numeric)" for place, number in enumerate(numbers))
    found = read(postgresql, f"select * from (values {values}) as v (place, number) order by place")
    assert found["number"].to_pylist() == numbers and pa.types.is_decimal(found["number"].type)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'NaN'::numeric", "NaN or infinite numbers in 1 row"),
        ("'NaN'::numeric(9,2)", "NaN or infinite numbers"),
        ("1e40::numeric", "41 digits before the point"),
        ("0.1::numeric * 1e-40::numeric", "0 digits before the point and 41 after"),
        ("1.5::numeric(60,20) * 1e25", "digits before the point"),
        ("'infinity'::date", "infinite times in 1 row"),
        ("'-infinity'::timestamptz", "infinite times in 1 row"),
        ("date '0044-03-15 BC'", "outside of the years 1 to 9999"),
        ("timestamp '12000-01-01'", "outside of the years 1 to 9999"),
        ("array[[1,2],[3,4]]", "arrays of several dimensions in 1 row"),
    ],
)
def test_what_no_type_holds_exactly_is_an_error_with_its_column(postgresql: Server, value: str, message: str) -> None:
    query = f"select 1 as id, {value} as odd"
    with pytest.raises(DataError, match=message) as caught:
        list(within_years(read(postgresql, query).to_batches()))
    assert "'odd'" in caught.value.cause and "data.exclude: [odd]" in caught.value.remedy


def test_any_other_type_is_the_text_that_the_server_writes(postgresql: Server) -> None:
    postgresql.sql("drop type if exists mood", "create type mood as enum ('glad', 'sad')")
    values = {
        "'{\"a\": 1.10}'::json": '{"a": 1.10}',
        "'{\"a\": [1,2]}'::jsonb": '{"a": [1, 2]}',
        "'glad'::mood": "glad",
        "'a'::char(4)": "a",
        "interval '1 month -2 hours'": "1 mon -02:00:00",
        "1234.5::money": "$1,234.50",
        "inet '10.0.0.1/8'": "10.0.0.1/8",
        "int4range(1, 3)": "[1,3)",
        "row(1, 'a')": "(1,a)",
        "4294967295::oid": "4294967295",
        "time '10:00:01.5'": "10:00:01.500000",
        "timetz '10:00+02'": "10:00:00+02",
        "array['glad', null]::mood[]": ["glad", None],
        "array[1.10, 2]::numeric[]": ["1.10", "2"],
        "null": None,
    }
    noticed: list[Any] = []
    select = ", ".join(f"{sql} as c{place}" for place, sql in enumerate(values))
    found = read(postgresql, f"select {select}", Intake(notice=noticed.append))
    assert list(found.to_pylist()[0].values()) == list(values.values())
    assert [finding.name for finding in noticed] == ["times_of_day"]


@pytest.mark.parametrize(
    "address",
    ["postgresql://ana:geheim@host/db/s.t", "postgresql://host/db/s.t?password=geheim", "mysql://a:geheim@h/d/t"],
)
def test_an_address_with_a_password_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="holds a password") as caught:
        Address.parse(address)
    assert "geheim" not in str(caught.value) and "${env:" in caught.value.remedy


def test_names_are_read_as_they_are_written() -> None:
    address = Address.parse("postgresql://ana@/shop/s.my%20Table?host=/run/pg")
    assert (address.table, address.database, str(address)) == (
        ("s", "my Table"),
        "shop",
        "postgresql://ana@/shop/s.my Table",
    )
