"""A statement reaches DuckDB as it is written: beside plain DuckDB over the same rows, all is equal."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.lake.tables import Lake
from lakewright.errors import DataError, UsageError
from sql_statements import FROMS, OLD, OLDER, ORDERS, PEOPLE, SELECTS, P, T, lake_in

STATEMENTS = [
    # each select from two of the sources, and from all of them in the slow part
    pytest.param(select.replace("{f}", source), marks=[] if (i + j) % 3 == 0 else pytest.mark.slow)
    for i, select in enumerate(SELECTS)
    for j, source in enumerate(FROMS)
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake_in(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def plain() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for schema, table, rows in (("shop", "orders", ORDERS), ("shop", "people", PEOPLE), ("old", "orders", OLDER)):
        connection.register(f"{schema}_{table}", rows)
        connection.execute(f"create schema if not exists {schema}")
        connection.execute(f"create view {schema}.{table} as from {schema}_{table}")
    return connection


def whole_numbers(table: pa.Table) -> pa.Table:
    """The one difference: whole numbers of 128 bits are bigint."""

    def of(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_list(kind):
            return pa.list_(kind.value_field.with_type(of(kind.value_type)))
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(of(field.type)) for field in kind])
        return pa.int64() if kind == pa.decimal128(38, 0) else kind

    return table.cast(pa.schema([pa.field(field.name, of(field.type)) for field in table.schema]))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_plain_duckdb_gives(lake: Lake, plain: duckdb.DuckDBPyConnection, statement: str) -> None:
    found = lake.sql(statement.format(o=T, p=P, v=OLD))
    assert isinstance(found, pa.Table)
    relation = plain.sql(statement.format(o="shop.orders", p="shop.people", v="old.orders"))
    names = [str(name) for name in relation.df().columns]  # two of one name are distinct there
    expected = whole_numbers(relation.to_arrow_table().rename_columns(names))
    assert found.schema.equals(expected.schema)
    assert found.to_pylist() == expected.to_pylist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_strings_names_and_comments_are_no_business_of_ours(lake: Lake, text: str) -> None:
    literal, name = text.replace("'", "''"), text.replace('"', '""') or "x"
    comment = text.replace("*/", "").replace("/*", "").strip("*/")
    where = f"where note || '{literal}{T}' is not null"
    found = rows(lake, f"select '{literal}' as \"{name}\", id /* {comment} {T} */ from {T} {where}")
    assert found.column_names == [text or "x", "id"] or text.lower() == "id"
    assert found[0].to_pylist() == [text] * 7


def rows(lake: Lake, statement: str) -> pa.Table:
    found = lake.sql(statement)
    assert isinstance(found, pa.Table)
    return found


def test_two_columns_of_one_name_are_both_there(lake: Lake) -> None:
    statement = f"select a.id, b.id, a.id as ID from {P} a join {P} b on a.id = b.id - 1 order by 1"
    expected = {"id": [1, 2], "id_1": [2, 3], "ID_2": [1, 2]}
    assert rows(lake, statement).to_pydict() == expected
    lake.sql(f"create or replace table main.shop.twice as {statement}")
    assert lake.read(lake.version("main.shop.twice")).to_pydict() == expected


def test_whole_sums_are_whole_numbers(lake: Lake) -> None:
    statement = "select sum(id) s, {'x': [sum(id)]} n, map {'a': sum(id)} m, sum(id)::decimal(38, 0) d from " + P
    assert [str(kind) for kind in rows(lake, statement).schema.types] == [
        "int64", "struct<x: list<l: int64>>", "map<string, int64>", "decimal128(38, 0)",
    ]  # fmt: skip
    lake.sql(f"create or replace table main.shop.sums as select sum(id) as s from {P}")
    assert [column["type_text"] for column in lake.show("main.shop.sums")["columns"]] == ["bigint"]
    with pytest.raises(DataError, match="column 's' does not fit the type 'bigint'"):
        lake.sql(f"select sum(9223372036854775807) as s from {P}")
    assert rows(lake, f"select sum(9223372036854775807)::double as s from {P}")["s"].to_pylist() == [3 * 2.0**63]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"select main.s.t from {T} as main where id = 2", 1),  # a struct, though main.s.t could be a table
        (f"with main as (select {{'a': {{'orders': 5}}}} as x) select main.x.a.orders from main, {T}@v0 limit 1", 5),
        (f"with orders as (select 1 as id) select count(*) from orders, {T}", 8),
        (f"select min({T}.id + main.shop.people.id) from {T} join {P} using (customer) where city = 'Bonn'", 4),
        (f"select {T}.id from {T}@v0 order by 1 desc limit 1", 5),
        ('select count(*) from "main" . shop/**/."Orders"@v0', 5),
        (f"select count(*) from {T} as z(a, b, c) where c > 3", 6),  # names by position, columns that are not named
        (f"select count(*) from (describe {T})", 8),
        (f"select count(*) from (table {T})", 8),
        (f"select ann - 7 from (pivot (select customer, id from {T}) on customer using sum(id))", 5),
        (f"select count(*) from (pivot {T}@v0 on customer using sum(id))", 5),
        (f"select version as of from (select 7 as version), {T}@v0 limit 1", 7),
    ],
)
def test_names_that_are_tables_and_names_that_are_not(lake: Lake, statement: str, expected: int) -> None:
    assert rows(lake, statement)[0].to_pylist() == [expected]


@pytest.mark.parametrize("statement", [f"select {T}@v0", f"select 1 from {P} where {T}@v0 = 1", "select '\ud800'"])
def test_a_version_belongs_behind_a_table(lake: Lake, statement: str) -> None:
    with pytest.raises(UsageError):
        lake.sql(statement)
