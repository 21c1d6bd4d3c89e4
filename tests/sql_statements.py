"""Statements of SQL, and the tables that they read: the same lists for DuckDB (test_statements.py) and for Spark
(test_spark_sql.py)."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake

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

_NOON = datetime(2024, 2, 28, 12, 30, 15, 250_000)
KINDS = pa.table(
    {
        "i": pa.array([1, 2, 3, None, -5, 6, 2_000_000_000], pa.int32()),
        "l": pa.array([10, None, 30, 40, -50, 9_000_000_000_000, 70], pa.int64()),
        "k": pa.array([1, 2, 3, 4, 5, 100, None], pa.int8()),
        "f": pa.array([0.1, 1.5, None, -2.25, 3e7, 0.0, -0.0], pa.float32()),
        "d": [0.1, 0.2, float("nan"), None, -1e300, 2.5, float("inf")],
        "m": pa.array(
            [
                Decimal("1.10"),
                Decimal("2.25"),
                None,
                Decimal("-3.50"),
                Decimal("99999.99"),
                Decimal("0.00"),
                Decimal("7"),
            ],
            pa.decimal128(12, 2),
        ),
        "t": ["Ärger", "straße", "", None, " a b ", "x,y,z", "İi"],
        "b": [True, False, None, True, True, False, None],
        "day": pa.array([date(2024, 2, 28) + timedelta(days=i) for i in range(6)] + [None], pa.date32()),
        "moment": pa.array([_NOON + timedelta(hours=7 * i) for i in range(6)] + [None], pa.timestamp("us")),
        "zoned": pa.array([_NOON + timedelta(hours=5 * i) for i in range(6)] + [None], pa.timestamp("us", "UTC")),
        "raw": [b"\x00\x01", b"abc", None, b"", b"\xff", b"zz", b"q"],
        "words": [["b", "a"], [], None, ["c", None, "a"], ["z"], ["a", "a"], ["x"]],
        "numbers": [[1, 2, 3], [4], [], None, [5, None], [6, 6], [7]],
        "point": [{"x": 1.5, "y": 2}, {"x": None, "y": 3}, None, {"x": 0.5, "y": 4}, *[{"x": 9.0, "y": 9}] * 3],
        "g": ["p", "q", "p", "q", "p", None, "p"],
    }
)

T, P, OLD, K = "main.shop.orders", "main.shop.people", "main.shop.orders@v0", "main.shop.kinds"
NAMES = {"o": T, "p": P, "v": OLD, "k": K}


def lake_in(folder: Path) -> Lake:
    """One that holds the tables, {o} in two versions."""
    lake = Lake(SqliteCatalog(folder / "catalog.sqlite"), str(folder / "tables"))
    lake.write(T, OLDER)
    lake.write(T, ORDERS.slice(5), mode="append")
    lake.write(P, PEOPLE)
    lake.write(K, KINDS)
    return lake


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

# Of the selects above, those that Spark does not run with DuckDB's answers.
NOT_ON_SPARK = [
    each
    for each in SELECTS
    if any(part in each for part in ("asof join", "attributes->'b'->>'c'", "max_by(note, amount)"))
]

# Each with the table {k} too, of all kinds of values.
OF_KINDS = [
    "select attributes->>'http.status' h, (attributes->'b')->>'c' c from {o} order by all",
    "select max_by(note, amount order by id) m, mode(customer order by id) o, quantile_cont(amount, 0.5) q from {o}",
    # numbers
    "select i + l a, i - 1 b, l * 2 c, i // 2 d, i / 2 e, i % 4 f, -i g, abs(i) h from {k} order by all",
    "select i / 0 a, d / 0 e, 0 / 0.0 f from {k} order by all",
    "select k + k a, k * 3 b, f + 1 c, f * d e, f + f g from {k} where d is not null and k < 50 order by all",
    "select m + 1 a, m * m b, m / 3 c, m - 0.05 d, m % 2 e, -m f, round(m, 1) g, m::int h from {k} order by all",
    "select 1.5 + 2 a, 0.1 + 0.2 b, 1 / 3 c, 7 // 2 d, 1e3 e, 12345678901 f, 2 ** 10 g, 0.5 h, null i",
    "select round(2.5) a, round(-2.5) b, round(d, 1) c, floor(d) e, ceil(f) g, trunc(2.7) h, sign(i) j from {k} "
    "where abs(d) < 10 order by all",
    "select sqrt(abs(i)) a, ln(abs(i)) b, exp(k / 10) c, power(i, 2) d, log2(abs(i)) e, pi() f, sin(i) g from {k} "
    "where k < 50 order by all",
    "select greatest(i, k) a, least(i, l) b, coalesce(i, k, 0) c, nullif(k, 3) e, ifnull(i, -1) f from "
    "{k} order by all",
    "select i from {k} where d > 0.15 order by i",
    "select i from {k} where d = 'nan' or f between 0.1 and 2 order by all",
    "select i from {k} where l in (10, 30, 40) and not b order by all",
    "select i from {k} where i not in (1, 2) order by all",
    "select d, f from {k} order by d desc nulls first, f",
    "select d, i from {k} order by d, i desc limit 3 offset 1",
    "select i::varchar a, d::varchar b, m::varchar c, b::varchar e, f::varchar g from {k} order by all",
    "select i::double a, l::hugeint b, k::bigint c, b::int e, m::double g, i::decimal(18, 3) h from {k} order by all",
    "select i::utinyint a, l::ubigint b from {k} where i between 0 and 100 and l > 0 order by all",
    "select try_cast(t as int) a, try_cast('12' as int) b, cast('0.5' as double) c from {k} order by all",
    "select i & 3 a, i | 8 b, xor(i, 1) c, k << 1 e, bit_count(k) f from {k} where k < 50 order by all",
    "select isnan(d) a, isinf(d) b, isfinite(d) c, d is null e from {k} order by all",
    # texts
    "select upper(t) a, lower(t) b, length(t) c, reverse(t) d, trim(t) e, t || '!' f from {k} order by all",
    "select substring(t, 2, 3) a, t[1:2] b, left(t, 2) c, right(t, 2) d, substring(t, -2) e from {k} order by all",
    "select substr(t, 0, 2) a, substr(t, 1, 0) b, instr(t, 'a') c, position('s' in t) d from {k} order by all",
    "select concat(t, i, null) a, concat_ws('-', t, i, null) b, t || null c, repeat(t, 2) d from {k} order by all",
    "select split_part(t, ',', 2) a, string_split(t, ',') b, replace(t, 'a', 'b') c, lpad(t, 4, '*') d from {k} "
    "order by all",
    "select t from {k} where t like '%a%' or t ilike 'ÄR%' order by all",
    "select t from {k} where t not like '_%' or t is null order by all",
    "select regexp_matches(t, '^[a-z]') a, regexp_replace(t, '[aeiou]', '_', 'g') b, regexp_extract(t, '(.)(.)', 2) c, "
    "regexp_extract_all(t, '[a-z]') d from {k} order by all",
    "select t ~ '.*a.*' a, t similar to '[x-z,]+' b, t glob '*a*' c from {k} order by all",
    "select starts_with(t, 'x') a, contains(t, ',') b, ends_with(t, 'z') c, strip_accents(t) d from {k} order by all",
    "select md5(t) a, sha256(t) b, hash(t) c, ascii(t) d, chr(228) e, hex(t) f from {k} order by all",
    "select levenshtein(t, 'straße') a, jaro_similarity(t, 'x') b, format('{{}}-{{}}', t, i) c, printf('%05d', i) d "
    "from {k} where t <> '' order by all",
    "select t, i from {k} order by t desc nulls last, i",
    "select t < 'b' a, t = 'straße' b, t >= '' c, min(t) over () d from {k} order by all",
    "select base64(raw) a, octet_length(raw) b, raw c, raw = 'abc'::blob d from {k} order by all",
    "select e'tab\t' a, 'back\slash' b, 'q''q' c, '' d, '😀' e",
    # dates and times
    "select year(day) a, month(day) b, day(day) c, dayofweek(day) d, week(day) e, quarter(day) f, last_day(day) g "
    "from {k} order by all",
    "select day + 1 a, day - 1 b, day - date '2024-01-01' c, day + interval 1 month d, day > '2024-03-01' e "
    "from {k} order by all",
    "select date_trunc('week', moment) a, date_trunc('hour', zoned) b, date_part('dow', moment) c, "
    "epoch(moment) d, hour(zoned) e "
    "from {k} order by all",
    "select date_diff('day', day, moment::date) a, date_sub('month', day, date '2025-01-01') b, "
    "datediff('hour', moment, zoned::timestamp) c "
    "from {k} order by all",
    "select strftime(moment, '%Y-%m-%d %H:%M') a, strptime('28.02.2024', '%d.%m.%Y') b, moment::varchar "
    "c, zoned::varchar d "
    "from {k} order by all",
    "select moment + interval 90 minute a, moment - interval '1 day' b, moment::date c, day::timestamp "
    "d, moment::time::varchar e "
    "from {k} order by all",
    "select zoned at time zone 'Europe/Berlin' a, moment at time zone 'America/New_York' b, zoned::timestamp c "
    "from {k} order by all",
    "select make_date(2024, 2, i) a, monthname(day) b, dayname(day) c, to_timestamp(0) d from {k} where "
    "i between 1 and 20 "
    "order by all",
    "select i from {k} where moment > timestamp '2024-02-29' and zoned < timestamptz '2024-02-29 "
    "12:00:00+01' order by i",
    "select i from {k} where day between date '2024-02-29' and '2024-03-02' order by i",
    "select min(day) a, max(moment) b, max(zoned) c, count(distinct day) d from {k}",
    "select date_trunc('month', day) as month, count(*) n, sum(m) s from {k} group by 1 order by 1",
    "select generate_series as day from generate_series(date '2024-02-27', date '2024-03-02', interval 1 "
    "day) order by 1",
    "select extract(epoch from moment) a, extract(isodow from day) b, (day - interval 1 year)::date c "
    "from {k} order by all",
    # groups
    "select g, count(*) n, count(i) c, sum(i) s, sum(l) t, avg(i) a, min(t) x, max(d) y from {k} group by g order by g",
    "select g, sum(m) a, avg(m) b, min(m) c, max(m) d, sum(f) e, avg(d) f from {k} where d < 1e10 group "
    "by g order by g",
    "select count(distinct g) a, sum(distinct k) b, count(distinct t) c, count(*) filter (where b) d, "
    "sum(i) filter (where k > 2) e from {k}",
    "select bool_and(b) a, bool_or(b) b, count_if(b) c, any_value(g order by i) d from {k}",
    "select g, list(i order by i) a, string_agg(t, '|' order by t) b, first(k order by k) c, max_by(t, i order by k) e "
    "from {k} group by g order by g",
    "select median(i) a, quantile_cont(k, 0.25) b, quantile_disc(l, 0.5) c, mode(g order by g) d, stddev(k) e, "
    "var_pop(k) f, skewness(k) h from {k}",
    "select corr(i, k) a, covar_samp(i, k) b, regr_slope(k, i) c, entropy(g) d, product(k) e, bit_or(k) f from {k} "
    "where i < 100",
    "select approx_count_distinct(i) a, histogram(g) b, list(distinct g order by g) c, arg_min(t, i "
    "order by t) d from {k}",
    "select sum(i) s, count(*) n from {k} where false",
    "select g, sum(i) s from {k} where false group by g",
    "select upper(g) u, i % 2 = 0 e, count(*) n from {k} group by upper(g), i % 2 = 0 order by all",
    "select upper(g) || '!' u, length(upper(g)) + count(*) n from {k} group by upper(g) order by all",
    "select g, sum(i) / count(*) a, round(avg(l), 2) b, sum(i) * 1.5 c, max(t) || '?' d from {k} group "
    "by g order by all",
    "select g, b, count(*) n, grouping(g) x from {k} group by cube (g, b) order by all",
    "select g, b, sum(k) s from {k} group by grouping sets ((g), (b), ()) order by all",
    "select g, count(*) n from {k} group by g having sum(k) > 4 and max(length(t)) > 1 order by g",
    "select b, g, count(*) from {k} group by all order by all",
    "select distinct g, b from {k} order by all",
    "select distinct words from {k} order by all",
    "select f + 0.0::float = 0 z, count(*) n from {k} group by z order by z",
    "select abs(f) a, count(*) n from {k} where i <> 1 group by a order by a",
    "select distinct on (g) g, i from {k} order by g, i desc",
    "select count(*) n, day is null x from {k} group by x order by x",
    "select sum(case when b then i else 0 end) a, sum(coalesce(k, 0)) b, avg(length(t)) c from {k}",
    # windows
    "select i, row_number() over (order by i) a, rank() over (order by g) b, dense_rank() over (order by g) c, "
    "ntile(3) over (order by i) d, percent_rank() over (order by g) e, cume_dist() over (order by g) f "
    "from {k} order by i",
    "select i, lag(t) over (order by i) a, lead(i, 2, -1) over (order by i) b, first_value(t) over (order by i) c, "
    "last_value(t) over (order by i rows between unbounded preceding and unbounded following) d, "
    "nth_value(t, 2) over (order by i) e from {k} order by i",
    "select i, sum(k) over (partition by g order by i) a, avg(k) over (partition by g) b, "
    "count(*) over (order by i rows between 1 preceding and 1 following) c, "
    "max(i) over (order by i rows between 2 preceding and 1 preceding) d from {k} order by i",
    "select i, lag(t ignore nulls) over (order by i) a, last_value(t ignore nulls) over (order by i) b "
    "from {k} order by i",
    "select g, sum(i) s, rank() over (order by sum(i) desc) r, sum(sum(i)) over () t from {k} group by g order by all",
    "select i, g from {k} qualify row_number() over (partition by g order by i desc) = 1 order by i limit 2",
    "select i, sum(k) over w s, count(*) over w n from {k} window w as (partition by g order by i) order by i",
    "select i, median(k) over (partition by g) m, sum(l) filter (where b) over (partition by g) s from {k} order by i",
    "select i, upper(first_value(g) over (order by i)) u, k - avg(k) over (partition by upper(g)) d from "
    "{k} order by all",
    # joins, subqueries, sets
    "select a.i, b.l from {k} a join {k} b on a.i = b.k order by all",
    "select a.i, b.l from {k} a left join {k} b on a.i = b.k and b.l > 20 order by all",
    "select a.i, b.k from {k} a full join {k} b on a.i = b.k order by all",
    "select a.i, p.city from {k} a right join {p} p on a.i = p.id order by all",
    "select a.i, p.city from {k} a join {p} p on lower(p.city) < a.t order by all",
    "select a.t, p.city from {k} a join {p} p on left(lower(p.city), 1) = left(a.g, 1) order by all",
    "select count(*) n from {k} a, {k} b where a.i < b.i",
    "select i from {k} a semi join {p} p on a.i = p.id order by i",
    "select i from {k} a anti join {p} p on a.i = p.id order by i",
    "select i from {k} where i > (select avg(k) from {k}) order by i",
    "select i, (select count(*) from {p} p where p.id <= a.i) n from {k} a order by i",
    "select i from {k} where i in (select id from {p} where city like '%n%') order by i",
    "select i from {k} where i not in (select id from {p}) order by i",
    "select i from {k} a where exists (select 1 from {p} p where p.id = a.i and upper(p.city) <> 'ULM') order by i",
    "select i from {k} a where not exists (from {p} p where p.id = a.i) order by i",
    "select i from {k} union select id from {p} order by 1",
    "select i, t from {k} where i < 3 union all select id, city from {p} order by all",
    "select i from {k} union all select 2.5 order by 1",
    "select i from {k} intersect select id from {p} order by 1",
    "select g from {k} except all select 'p' order by 1",
    "select null as x union all select 'a' union all select 'b' order by 1",
    "select i from {k} union by name select city, id as i from {p} order by all",
    "with a as (select i, upper(t) u from {k}), b as (select i, length(u) n from a) select sum(n) s, count(*) c from b",
    "with recursive r as (select 1 as n, 'x' as t union all select n + 1, t || 'x' from r where n < 5) "
    "from r order by n",
    "select x.i, x.u from (select i, upper(t) as u from {k}) x where x.u > 'A' order by all",
    "select * from {k} natural join (select 1 as i, 'w' as w)",
    "select a.i, a.g, b.g from {k} a join {k} b using (i) order by all",
    # lists, structs, maps
    "select words[1] a, len(words) b, list_sort(words) c, list_contains(words, 'a') d, words || ['q'] e "
    "from {k} order by all",
    "select list_sum(numbers) a, list_transform(numbers, lambda x: x * 2) b, list_filter(numbers, lambda x: x > 4) c, "
    "list_aggregate(numbers, 'max') d, array_to_string(words, ',') e, flatten([numbers, [9]]) f from {k} order by all",
    "select i, unnest(numbers) n from {k} order by all",
    "select a.i, u.w from {k} a, unnest(a.words) as u(w) order by all",
    "select w, count(*) n from (select unnest(words) w from {k}) group by w order by all",
    "select point.x a, point.y + 1 b, point c, struct_extract(point, 'y') d, point is null e from {k} order by all",
    "select {{'a': i, 'b': {{'c': t}}}} s, [i, k] l, map {{'k': k}} m, row(i, t) r, (i, t) p from {k} order by all",
    "select map {{'a': 1, 'b': 2}}['b'] a, map_keys(map {{t: i}}) b from {k} where t is not null order by all",
    "select i from {k} where words = ['b', 'a'] or point = {{'x': 9.0, 'y': 9}} order by i",
    "select words, count(*) n from {k} group by words order by all",
    "select point, i from {k} order by point desc, i",
    "select x.i, x.p.y q from (select i, point p from {k}) x order by all",
    "select to_json(point) a, json_extract_string(to_json(point), '$.y') b, [1, null]::double[] c from "
    "{k} order by all",
    "select to_json({{'Id': i, 'B c': {{'Cd': t}}}}) a, {{'Id': i}}.id b, "
    "row(i)::struct(Zx int)::json c from {k} order by i",
    "select struct_pack(Kd := i) s, to_json(struct_pack(Kd := i)) j, typeof({{'Id': i}}) t from {k} order by i",
    # tables and values
    "select * from range(3) r(n) order by n",
    "select v.a, v.b from (values (1, 'x'), (2, null), (null, 'z')) v(a, b) order by all",
    "values (1, 2.5), (3, 4.25)",
    "select x from (select unnest([1, 2, 3]) as x) where x > 1 order by x",
    "from {k} select i, t where b order by i",
    "select columns('^(i|k)$') from {k} order by all",
    "select * exclude (raw, words, numbers, point) replace (upper(t) as t) from {k} order by all",
    "select case i when 1 then 'one' when 2 then 'two' else t end c, if(b, 1, 0) d from {k} order by all",
    "select case when i > 2 then k when i = 1 then -1 end c, b and i > 1 x, b or i > 1 y, not b z from "
    "{k} order by all",
    "select i = 1 a, i is distinct from k b, i is not distinct from null c, i > k d from {k} order by all",
    "select i as I, l as \"a b\", k as \"select\", i + 1 from {k} order by all",
    "select a.i, a.i, b.i from {k} a join {k} b on a.i = b.i order by all",
    "select lower(t) as u, u || '!' as v, length(v) as n from {k} order by all",
    "select count(*) as n, n + 1 as m from {k}",
    "select typeof(i) a, typeof(m) b, typeof(sum(i)) c from {k} group by all order by all",
    "select main.shop.kinds.i, kinds.l from {k} order by all",
    "select * from {k} where b order by i",
    "select i from {k} order by l desc nulls last limit 2",
    "select i from {k} order by upper(t), i",
    "select i from {k} where length(t) > 2 and upper(t) > 'B' and i > 1 order by i",
    "select t from {k} where try_cast(i as varchar) = '1'",
    "select current_date - current_date a, now() - now() = interval 0 second b, today() = current_date c",
]  # fmt: skip

# Of rows made columns, and the other way; where PIVOT has no IN, the values of rows name the columns.
PIVOTS = [
    "from (pivot {k} on g using sum(l) group by b) order by all",
    "from (pivot {v} on customer using sum(id), max(amount) group by day) order by all",
    "from (pivot (select g, b, i, d from {k}) on b using max(d) m, count(*) n group by g) order by all",
    "from (pivot (select g, day, m from {k}) on day) order by all",
    'from (pivot (select g, b, m, i from {k}) on m, "g" using sum(i)) order by all',
    "from (pivot /* ü */ {o} on note using min(id)) order by all",
    "from (pivot {k} on g in ('q', null, 'none', 'p') using avg(d), median(i) group by b) order by all",
    "from (pivot {k} on i in (1, -5, 2000000000, '6') using max(t) group by g) order by all",
    "from (pivot {k} on upper(g) in ('P', 'q') using count(distinct t) group by b, k) order by all",
    "from (pivot (select n % 23 as k, n from range(100) r(n)) on k using sum(n)) order by all",
    "with w as (pivot (select g, b, i from {k}) on g using sum(i) group by b) "
    "select b, p + q as r from w where p > 1 order by all",
    "select w.* from (pivot (from (pivot {k} on g using sum(i) group by b)) on b using max(p)) w order by all",
    "select w.day, w.ann, p.id from (pivot {o} on customer using count(*) group by day) w left join {p} p "
    "on p.id = w.ann order by all",
    "select * from {k} pivot (string_agg(t, ',' order by i) as s, count(*) as n for g in ('p' as one, 'q') "
    "b in (true, false) group by k) order by all",
    "from (unpivot (select g, i, k, l from {k}) on i, k, l into name n value v) order by all",
    "from (unpivot (select g, i, d, f from {k}) on columns(* exclude (g))) order by all",
    "from (unpivot (select id, customer, note from {o}) on * exclude (id) into name kind value text) order by all",
    "from (unpivot (select g, words, [t, null] as ts from {k}) on words, ts) order by all",
    "select n, count(*) c, count(v) o, sum(v) s from {k} unpivot include nulls (v for n in (i, m)) group by n "
    "order by n",
    "select u.k, u.v from {k} unpivot (v for k in (I, L)) u where u.v > 3 order by all",
]
