"""A statement's translation for Spark: what Spark computes itself, what DuckDB computes there, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lakewright.data.lake.spark_sql.pivots import with_values
from lakewright.data.lake.spark_sql.translated import Tables, Translated, translated
from lakewright.data.lake.sql import Session
from lakewright.data.lake.statements import parse
from lakewright.data.lake.tables import Lake
from lakewright.errors import ProfileError, UsageError
from lakewright.settings.profile import load_profile
from sql_statements import NAMES, NOT_ON_SPARK, OF_KINDS, PIVOTS, SELECTS, lake_in


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake_in(tmp_path_factory.mktemp("lake"))


def translation(lake: Lake, query: str) -> Translated:
    statement = parse(query.format(**NAMES))
    with Session(lake, statement) as full, Session(lake, statement, empty=True, prefix="view_") as session:

        def values(query: str) -> list[str]:
            return [value for (value,) in full.connection.sql(query).fetchall()]

        tables: Tables = {}
        for number, (catalog, table) in enumerate(session.views):
            seen = session.connection.sql(f"FROM view_{number}")
            of = dict(zip(seen.columns, map(str, seen.types), strict=True))
            tables[catalog, table.schema, table.table] = (f"view_{number}", of)
        return translated(with_values(session.query, values), session.connection, tables)


@pytest.mark.parametrize(
    ("query", "spark"),
    [
        (
            "select i, l * 2 a from {k} where i > 1 and d < 0.5 order by l desc",  # Spark's DESC has NULLs last
            "SELECT `kinds`.`i` AS `i`, (`kinds`.`l`) * (2) AS `a` FROM `view_0` AS `kinds` WHERE "
            "(`kinds`.`i` > 1) AND (`kinds`.`d` < CAST(0.5 AS DOUBLE)) ORDER BY `kinds`.`l` DESC",
        ),
        (
            "select g, count(*) n from {k} group by all order by all",
            "SELECT `kinds`.`g` AS `g`, COUNT(1) AS `n` FROM `view_0` AS `kinds` GROUP BY `kinds`.`g` "
            "ORDER BY `g` ASC NULLS LAST, `n` ASC NULLS LAST",
        ),
    ],
)
def test_spark_computes_what_it_computes_as_duckdb_does(lake: Lake, query: str, spark: str) -> None:
    found = translation(lake, query)
    assert (found.text, found.functions) == (spark, [])


@pytest.mark.parametrize(
    ("query", "computed"),
    [
        ("select upper(t) u from {k}", [("UPPER(lw0)", False)]),
        ("select i / 2 h from {k}", [("lw0 / 2", False)]),
        ("select m + 1 s from {k}", [("lw0 + 1", False)]),
        ("select json_extract(t, 'a.b') j from {k}", [("JSON_EXTRACT(lw0, 'a.b')", False)]),
        ("select median(i) m from {k}", [("MEDIAN(lw0)", True)]),
        ("select i from {k} where length(t) > 2 and upper(t) > 'B' and i > 1", [
            ("LENGTH(lw0) > 2 AND UPPER(lw0) > 'B'", False),  # one function, in which the first may guard the second
        ]),
        ("select upper(g) || '!' u from {k} group by upper(g)", [("UPPER(lw0)", False), ("lw0 || '!'", False)]),
    ],
)  # fmt: skip
def test_duckdb_computes_the_rest(lake: Lake, query: str, computed: list[tuple[str, bool]]) -> None:
    functions = [(each.text, each.grouped) for each in translation(lake, query).functions]
    assert sorted(functions) == sorted(computed)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        *(
            (each, "Spark does not run this statement")
            for each in (s.replace("{f}", "{o} orders") for s in NOT_ON_SPARK)
        ),
        ("select list(i) l from {k}", r"list\(…\) depends on the order of rows"),
        ("select lag(i) over (partition by g) l from {k}", "over rows without an order"),
        ("select distinct on (g) i from {k}", "any of the rows"),
        ('select to_json(x) j from (select i as "Id" from {k}) x', "names sqlglot writes in lower case"),
        ("select i from {k} where (i, k) in (select id, id from {p})", "several columns"),
        ("select * from {k} a, lateral (select a.i + 1 as z) q", "lateral"),
        ("select alias(i) a from {k}", "another value"),
        ("select uuid() u", "another value at each call"),
        ("select sum(i) over (order by i range between 1 preceding and current row) s from {k}", "RANGE of values"),
        ("select i from {k} using sample 10%", "."),
        ("select interval 1 day i", "INTERVAL, which Spark lacks"),
        ("select count(*) n from {k} group by map {{'a': i}}", "grouped by a map"),
        ("select unnest(words) w, unnest(numbers) n from {k}", "two lists"),
        ("from (pivot {k} on upper(g) using sum(i) group by b)", "ON an expression without its values"),
        ("from (pivot {k} on g using sum(i) filter (where i > 3) group by b)", "FILTER, which DuckDB leaves out"),
        ("from (pivot {k} on g using sum(i) + 1 group by b)", "."),
        ("from (pivot {k} on g using first(i) group by b)", "order of rows"),
        ("from (unpivot {k} on i + 1, l)", "what are not columns"),
        ("from (unpivot {k} on (i, l), (l, i) into name n value v, w)", "what are not columns"),
    ],
)
def test_what_cannot_be_equal_is_refused(lake: Lake, query: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        translation(lake, query)
    assert "Spark" in caught.value.cause and caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("query", OF_KINDS)
def test_every_statement_is_translated(lake: Lake, query: str) -> None:
    assert translation(lake, query).text


@pytest.mark.slow
@pytest.mark.parametrize("query", PIVOTS)
def test_every_pivot_is_translated(lake: Lake, query: str) -> None:
    assert "PIVOT" not in translation(lake, query).text


def test_a_pivot_without_its_values() -> None:
    queries: list[str] = []

    def values(query: str) -> list[str]:
        queries.append(query)
        return ["it's", "ü"] if len(queries) == 1 else ["z"]

    made = with_values('/* ü */ from (pivot (from (pivot a on b, "C c" using sum(n))) on d) x', values)
    assert made == (
        """/* ü */ from (pivot (from (pivot a on b IN ('z'), "C c" IN ('it''s', 'ü') using sum(n))) on d IN ('z')) x"""
    )
    assert queries[:2] == [
        'SELECT DISTINCT CAST("C c" AS VARCHAR) AS v FROM a WHERE "C c" IS NOT NULL ORDER BY v',
        "SELECT DISTINCT CAST(b AS VARCHAR) AS v FROM a WHERE b IS NOT NULL ORDER BY v",
    ]
    with pytest.raises(UsageError, match="which has no values"):
        with_values("from (pivot a on b)", lambda _: [])


def test_a_text_that_sqlglot_reads_otherwise(lake: Lake) -> None:
    assert len(SELECTS) > 40
    with pytest.raises(UsageError, match="reads in another way than DuckDB"):
        translation(lake, "select attributes->'b'->>'c' c from {o}")


def test_a_profile_needs_workers_of_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profiles = {"local": {"sql": "duckdb"}, "wrong": {"workspace": "w", "sql": "spark"}}
    profiles["right"] = {"sql": "spark", "workers": {"name": "spark", "url": "local[2]"}}  # type: ignore[dict-item]
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": profiles}, sort_keys=False), "utf-8")
    assert (load_profile("local").sql, load_profile("right").sql) == ("duckdb", "spark")
    with pytest.raises(
        ProfileError, match=r"profiles\.yml:6: sql is spark, and the profile's workers are local"
    ) as caught:
        load_profile("wrong")
    assert "workers: {name: spark" in caught.value.remedy
