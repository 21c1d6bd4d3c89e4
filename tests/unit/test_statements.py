"""A statement reaches DuckDB as it is written: beside plain DuckDB over the same rows, all is equal."""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import DataError, UsageError

ORDERS = pa.table(
    {
        "id": list(range(1, 9)),
        "Customer": ["ann", "bob", None, "ann", "cid", "bob", "ann", "dee"],
        "amount": [3.5, 20.0, 7.25, None, 1.0, 12.5, 9.0, 4.0],
        "day": pa.array([19_000 + 9 * i for i in range(8)], pa.date32()),
        "tags": [["a"], [], ["b", "a"], None, ["c"], ["a", "c"], [], ["b"]],
        "s": [{"t": i, "u": f"v{i}"} for i in range(8)],
        "attributes": [json.dumps({"http.status": 200 + i, "a[0]": i, "b": {"c": i}}) for i in range(8)],
        "note": ["it's", 'a "q"', "-- no comment", "/* nor this */", "main.shop.orders", "ü€😀", "", None],
    }
)
PEOPLE = pa.table({"Customer": ["ann", "bob", "cid"], "city": ["Ulm", "Bonn", "Köln"], "id": [1, 2, 3]})
OLDER = ORDERS.slice(0, 5)

T, P, OLD = "main.shop.orders", "main.shop.people", "main.shop.orders@v0"
# Each {o}, {p}, {v} is a table: orders, people, the older version of orders.
FROMS = [
    "{o}",
    "{o} as orders",
    "(select * from {o}) orders",
    "{v} orders",
    "(from {o} union all from {v}) as orders",
    "/* {{o}} ' */ {o} -- it's main.shop.orders\n",
]
SELECTS = [
    "select * from {f} order by all",
    "select count(*), count(id), sum(id), sum(amount), avg(amount) from {f}",
    'select "Customer" c, sum(id) s, list(id order by id) l from {f} group by all order by all',
    "select orders.id, orders.s.t, s['u'], s from {f} order by id",
    "select attributes->>'http.status' h, attributes->>'a[0]' a, attributes->'b'->>'c' c from {f} order by all",
    "select attributes->>'$.b.c' x, json_extract(attributes, '$.\"http.status\"') y from {f} order by all",
    "select id, row_number() over w r, sum(id) over w s, lag(amount, 1, 0) over (partition by customer order by id) g "
    "from {f} window w as (order by id, amount) order by all",
    "select tags[1] t, len(tags) n, list_transform(tags, lambda x: x || '!') m, [x for x in tags if x > 'a'] k "
    "from {f} order by all",
    "select unnest(tags) t, id from {f} order by all",
    "select date_trunc('month', day) m, day + interval 3 day d, date_diff('day', day, date '2025-01-01') n, "
    "extract(year from day) y, strftime(day, '%d.%m.%Y') f from {f} order by all",
    "select note, 'it''s main.shop.orders' a, $$main.shop.orders'$$ b, e'\\'\\n' c, length(note) n from {f} "
    "order by all",
    "with orders as (select id, note from {f}), n as (select count(*) n from orders) "
    "select * from orders, n order by all",
    "select * exclude (s, tags, attributes), id * 2 as \"main.shop.orders\" from {f} order by all",
    "select columns('^(id|am)') from {f} order by all",
    "select * replace (upper(note) as note) from {f} order by all",
    "select id, case when amount > 5 then 'big' when amount is null then null else 'small' end k from {f} order by all",
    "select distinct on (customer) customer, id from {f} order by customer, id",
    "select id from {f} where id in (select id from {p}) or note like '%main.shop%' order by all",
    "select id from {f} where exists (from {p} p where p.customer = orders.customer) order by all",
    "select id, (select city from {p} p where p.customer = orders.customer) c from {f} order by all",
    "select o.id, p.city, p.id from {f} join {p} p on p.customer = orders.customer, (select 1 as id) o order by all",
    "select * from {f} left join {p} using (customer) order by all",
    "select id from {f} except select id from {p} order by 1",
    "select id, note from {f} union all by name select city as note, id from {p} order by all",
    "select customer, id from {f} qualify row_number() over (partition by customer order by id) = 1 order by all",
    "select customer, day, sum(id) s, grouping(customer) g from {f} group by rollup (customer, day) order by all",
    "select sum(id) filter (where amount > 5) f, max_by(note, amount) m, mode(customer) o, "
    "quantile_cont(amount, 0.5) q from {f}",
    "select * from (select customer, id from {f}) pivot (count(*) for customer in ('ann', 'bob')) order by all",
    "select * from (select id, s.t as t, length(note) as n from {f}) unpivot (v for k in (t, n)) order by all",
    "select map {{'a': id}} m, {{'x': sum(id), 'y': [sum(id)]}} n, struct_pack(a := id) p from {f} "
    "group by id order by all",
    "select try_cast(note as int) i, id::varchar || note v, amount::decimal(10, 2) d, id::hugeint h from {f} "
    "order by all",
    "select id % 3 as k, count(*) n from {f} group by k having count(*) > 1 order by k limit 2 offset 0",
    "from {f} select id, id as id, note order by id",
    "select #1 from {f} order by 1",
    "select o from (select id, note from {f}) o order by all",
    "with recursive r(n) as (select 1 union all select n + 1 from r where n < 4) "
    "select n, count(id) from r left join {f} on id = n group by n order by n",
    "select a.id, b.id, a.note from {f} join {o} a using (id) asof join {v} b on a.id >= b.id order by all",
    "select list_reduce(list(id order by id), lambda x, y: x + y) r, regexp_extract(max(note), '(\\w+)', 1) e from {f}",
    "select id from {f} where note = 'main.shop.orders' or note similar to '.*\"q\".*' order by id",
    "select orders.s.t t, main.shop.orders u from {f}, (select {{'orders': 7}} as shop) as main order by all",
    "values (1, 'main.shop.orders'), (2, (select max(note) from {f}))",
    "select id, sum(id) over (order by id rows between 1 preceding and current row) s from {f} order by all",
    "select bool_and(id > 0) b, string_agg(customer, ', ' order by id) c, approx_count_distinct(id) d, min(day) m "
    "from {f}",
]  # fmt: skip
STATEMENTS = [
    # each select from two of the sources, and from all of them in the slow part
    pytest.param(select.replace("{f}", source), marks=[] if (i + j) % 3 == 0 else pytest.mark.slow)
    for i, select in enumerate(SELECTS)
    for j, source in enumerate(FROMS)
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
    lake.write(T, OLDER)
    lake.write(T, ORDERS.slice(5), mode="append")
    lake.write(P, PEOPLE)
    return lake


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
