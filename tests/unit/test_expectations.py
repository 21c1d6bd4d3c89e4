"""Expectations of rows equal loops over the rows, in pieces and as a stream; what does not fit is refused first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lakewright.data.expectations import quarantine, together, writing
from lakewright.data.expectations.kinds import KINDS as OF_ROWS
from lakewright.data.expectations.kinds import compiled
from lakewright.data.expectations.sieve import SOURCE_ROW, VIOLATED
from lakewright.data.expectations.together import old
from lakewright.data.expectations.writing import Checked, Writing, check
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.data.sources import pieces
from lakewright.data.sources.pieces import Pieces
from lakewright.errors import DataError, LakewrightError, ProjectError
from lakewright.records import Finding, TableVersion
from lakewright.settings.expectations import KINDS, OF_ALL_ROWS, Expectation, Expected, expectations, in_utc, moment
from lakewright.workers.local import LocalWorkers

TABLE = "main.demo.rows"
NOW = datetime(2026, 7, 1, tzinfo=UTC)
REAL = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 0.1, 1.5, 2.0**53])
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**53 + 1])),
    "small": (pa.int8(), st.integers(-128, 127)),
    "real": (pa.float64(), REAL),
    "single": (pa.float32(), st.floats(width=32) | st.sampled_from([float(np.float32(0.7)), 0.0, -0.0])),
    "exact": (pa.decimal128(9, 2), st.decimals(-9_999_999, 9_999_999, places=2)),
    "day": (pa.date32(), st.dates()),
    "at": (pa.timestamp("us", "UTC"), TIMES.map(lambda time: time.replace(tzinfo=UTC))),
    "local": (pa.timestamp("us"), TIMES),
}
NUMBERS = ("whole", "small", "real", "single", "exact")


def of(**entry: Any) -> list[Expectation]:
    return expectations([Expected.model_validate(entry)])


def violated(column: pa.Array, each: Expectation) -> list[bool]:
    rows = pa.table({each.columns[0]: column})
    mask: list[bool] = compiled(each, rows.schema)(rows).to_pylist()
    return mask


def typed(written: Any, kind: pa.DataType) -> Any:
    """A value of the project file as Python compares it with the column's values."""
    if pa.types.is_float32(kind):
        with np.errstate(over="ignore"):
            return float(np.float32(written))
    if pa.types.is_decimal(kind):
        return Decimal(repr(written))
    if not isinstance(written, str) or pa.types.is_string(kind):
        return written
    return in_utc(moment(written)) if getattr(kind, "tz", None) else moment(written)


def outside(value: Any, low: Any, high: Any) -> bool:
    if value is None:
        return False
    if isinstance(value, float) and math.isnan(value):
        return True
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, datetime.min.time())
    return (low is not None and value < low) or (high is not None and value > high)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_range(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(COLUMNS)))
    kind, values = COLUMNS[name]
    column = pa.array(data.draw(st.lists(st.none() | values, max_size=20)), kind)
    if name in NUMBERS:
        bounds = st.integers(-(2**70), 2**70) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
    elif name == "at":
        bounds = TIMES.map(lambda time: time.isoformat()) | st.just("2024-05-01T00:00:00+02:00")
    else:
        bounds = TIMES.map(lambda time: time.isoformat()) | st.dates().map(str)
    low, high = data.draw(st.none() | bounds), data.draw(st.none() | bounds)
    try:
        (each,) = of(range={name: {"min": low, "max": high}})
    except ValidationError:
        return  # no bound, or in the wrong order
    ends = [None if bound is None else typed(bound, kind) for bound in (low, high)]
    assert violated(column, each) == [outside(value, *ends) for value in column.to_pylist()]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_allowed(data: st.DataObject) -> None:
    texts: tuple[pa.DataType, st.SearchStrategy[Any]] = (pa.string(), st.sampled_from(["", " ", "NO", "a", "é"]))
    truths: tuple[pa.DataType, st.SearchStrategy[Any]] = (pa.bool_(), st.booleans())
    few = st.integers(-3, 3)
    kinds = {
        "text": texts,
        "truth": truths,
        "whole": (pa.int64(), few),
        "real": (pa.float64(), few.map(float) | st.sampled_from([math.nan, -0.0, 0.1])),
        "exact": (pa.decimal128(5, 2), few.map(Decimal)),
        "day": (pa.date32(), few.map(lambda days: date(2024, 1, 4) + timedelta(days))),
        "at": (pa.timestamp("us", "UTC"), few.map(lambda days: datetime(2024, 1, 4, tzinfo=UTC) + timedelta(days))),
    }
    name = data.draw(st.sampled_from(list(kinds)))
    kind, values = kinds[name]
    column = pa.array(data.draw(st.lists(st.none() | values, max_size=20)), kind)
    listed = [each for each in data.draw(st.lists(values, min_size=1, max_size=4)) if each == each] or [1.0]
    listed = listed if name in ("real", "text", "truth", "whole", "day", "at") else [float(each) for each in listed]
    (each,) = of(allowed={name: [value.isoformat() if isinstance(value, date) else value for value in listed]})
    wanted = [value is not None and value not in listed for value in column.to_pylist()]
    assert violated(column, each) == wanted


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.none() | st.text("ab1 é", max_size=5), max_size=20),
    pattern=st.sampled_from(["^a", "b$", "[0-9]+", "^$", "é", "^[ab]*$", "a|1", "(?i)B"]),
)
def test_regex(texts: list[str | None], pattern: str) -> None:
    (each,) = of(regex={"t": pattern})
    wanted = [text is not None and re.search(pattern, text) is None for text in texts]
    assert violated(pa.array(texts, pa.string()), each) == wanted


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3)), max_size=20))
def test_sql_passes_where_it_is_null(rows: list[tuple[int | None, int | None]]) -> None:
    table = pa.table([pa.array([row[at] for row in rows], pa.int64()) for at in (0, 1)], ["paid", "total due"])
    (each,) = of(sql='paid <= "total due" -- or so')
    wanted = [None not in row and not row[0] <= row[1] for row in rows]  # type: ignore[operator]
    assert compiled(each, table.schema)(table).to_pylist() == wanted


def test_null_violates_not_null_alone() -> None:
    nothing = pa.array([None, None], pa.string())
    for entry in ({"regex": {"t": "a"}}, {"allowed": {"t": ["a"]}}, {"sql": "t = 'a'"}):
        (each,) = of(**entry)
        rows = pa.table({"t": nothing})
        assert compiled(each, rows.schema)(rows).to_pylist() == [False, False]
    assert violated(pa.array(["", None, "a"]), of(not_null="t")[0]) == [False, True, False]
    assert violated(pa.array([math.nan, None]), of(not_null="t")[0]) == [False, True]


# The whole: what stays, what is dropped, and the counts.

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string()), ("size", pa.float64())])
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 6),
        st.none() | st.sampled_from(["", "a", "b", "é"]),
        st.none() | st.sampled_from([0.0, -0.0, 1.0, math.nan, 9.0]),
    ),
    min_size=1,
    max_size=40,
)
ENTRIES: list[dict[str, Any]] = [
    {"not_null": ["id", "text"]},
    {"range": {"size": {"max": 5}}},
    {"allowed": {"text": ["", "a", "b"]}},
    {"sql": "id <> 3 or size > 0"},
    {"unique": "id"},
    {"unique": ["text", "size"]},
    {"unique": "size"},
    {"row_count": {"min": 5, "max": 20}},
]
ROW_TESTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "not_null_id": lambda row: row["id"] is None,
    "not_null_text": lambda row: row["text"] is None,
    "range_size": lambda row: outside(row["size"], None, 5),
    "allowed_text": lambda row: row["text"] not in (None, "", "a", "b"),
    "sql_1": lambda row: row["id"] == 3 and (row["size"] is not None and row["size"] <= 0),
}


def by_hand(rows: Sequence[dict[str, Any]], every: Sequence[Expectation]) -> tuple[list[int], dict[int, set[str]], Any]:
    """The numbers of the rows that stay; number → names of a row that does not; name → count."""
    names = [{each.name for each in every if each.kind in OF_ROWS and ROW_TESTS[each.name](row)} for row in rows]
    counts = {each.name: sum(each.name in of_row for of_row in names) for each in every}
    drops = {each.name for each in every if each.severity == "drop"}
    left = [number for number, of_row in enumerate(names) if not of_row & drops]
    for severity in ("drop", None):
        for each in every:
            if each.kind == "unique" and (each.severity == "drop") == (severity == "drop"):
                seen, repeated = set(), list[int]()
                for number in left:
                    key = tuple(
                        "nan" if rows[number][name] != rows[number][name] else rows[number][name]
                        for name in each.columns
                    )
                    if None not in key and key in seen:
                        repeated.append(number)
                        names[number].add(each.name)
                    seen.add(key)
                counts[each.name] = len(repeated)
                left = [number for number in left if number not in repeated] if severity else left
    for each in every:
        if each.kind == "row_count":
            counts[each.name] = int(not 5 <= len(left) <= 20)
    gone = {number: of_row for number, of_row in enumerate(names) if number not in left}
    return left, gone, counts


def lake_in(folder: str) -> Lake:
    return Lake(SqliteCatalog(Path(folder) / "catalog.sqlite"), f"{folder}/tables")


def in_pieces(table: pa.Table, ends: Sequence[int]) -> Pieces[pa.Table]:
    bounds = [0, *sorted({end for end in ends if 0 < end < len(table)}), len(table)]
    cut = [Slice(table.slice(first, last - first)) for first, last in pairwise(bounds)]
    return Pieces(table.schema, cut, lambda piece: iter(piece.table.to_batches()))


class Slice:
    def __init__(self, table: pa.Table) -> None:
        self.table, self.rows = table, len(table)


def written(lake: Lake, every: list[Expectation], source: Any) -> tuple[TableVersion, Checked, list[Finding]]:
    noted = list[tuple[Checked, list[Finding]]]()

    def properties(checked: Checked, findings: list[Finding]) -> dict[str, str]:
        noted.append((checked, findings))
        return {"fingerprint": "f"}

    writer = Writing(lake, TABLE, "rows.csv", every, NOW)
    table, _ = writer.write(source, lambda: LocalWorkers(1, 1), "f", properties)
    return table, *noted[0]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_stays_and_what_is_dropped(data: st.DataObject) -> None:
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in data.draw(ROWS)], SCHEMA)
    entries = data.draw(st.lists(st.sampled_from(ENTRIES), min_size=1, unique_by=str))
    severities = [
        data.draw(st.sampled_from(["warn"] if {*entry} & {*OF_ALL_ROWS} else ["warn", "drop"])) for entry in entries
    ]
    every = expectations(
        [
            Expected.model_validate({**entry, "severity": severity})
            for entry, severity in zip(entries, severities, strict=True)
        ]
    )
    rows = table.to_pylist()
    left, gone, counts = by_hand(rows, every)
    cuts = data.draw(st.lists(st.integers(1, 39), max_size=4))
    as_stream = data.draw(st.booleans())
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ROWS", data.draw(st.integers(1, 40)))
        lake = lake_in(folder)
        source = table.to_reader(data.draw(st.integers(1, 40))) if as_stream else in_pieces(table, cuts)
        if not left:
            with pytest.raises(DataError, match="no row"):
                written(lake, every, source)
            assert not list(Path(folder).rglob("*.parquet"))
            return
        version, checked, findings = written(lake, every, source)
        assert str(lake.read(version).to_pylist()) == str([rows[number] for number in left])
        assert {name: tally.count for name, tally in checked.tallies.items()} == counts
        assert [each.count for each in findings] == [counts[each.name] for each in every if counts[each.name]]
        kept = quarantine.existing(lake, TABLE)
        if not gone:
            assert kept is None
            return
        assert kept is not None
        dropped = sorted(lake.read(kept).to_pylist(), key=lambda row: int(row[SOURCE_ROW]))
        assert {row[SOURCE_ROW]: {*row[VIOLATED]} for row in dropped} == gone
        assert [str({name: row[name] for name in SCHEMA.names}) for row in dropped] == [
            str(rows[row[SOURCE_ROW]]) for row in dropped
        ]
        held = len(list(Path(folder).rglob("*.parquet")))  # none is left that no version has
        assert held == len(lake.files(version)) + len(lake.files(kept))


def test_a_finding_shows_rows_and_values(tmp_path: Path) -> None:
    every = expectations([Expected.model_validate({"range": {"size": {"max": 5}}, "severity": "drop"})])
    table = pa.table({"size": [1.0, *([9.5] * 7), 2.0]})
    *_, (finding,) = written(lake_in(str(tmp_path)), every, table.to_reader())
    assert finding.count == 7 and finding.rows == [f"row {number}: 9.5" for number in range(1, 6)]
    assert finding.detail == (
        "range_size (drop): size is not at most 5 in 7 of 9 rows (row 1: 9.5; row 2: 9.5; row 3: 9.5; row 4: 9.5; "
        "row 5: 9.5; …). They are in main.demo.rows_quarantine."
    )


def test_a_failure_leaves_nothing_and_names_all(tmp_path: Path) -> None:
    every = expectations(
        [
            Expected.model_validate(entry)
            for entry in (
                {"unique": ["id", "text"], "severity": "fail"},
                {"row_count": {"min": 100}, "severity": "fail"},
                {"not_null": "text", "severity": "drop"},
            )
        ]
    )
    table = pa.table({"id": [1, 1, 2], "text": ["a", "a", None]})
    with pytest.raises(DataError) as failure:
        written(lake_in(str(tmp_path)), every, table.to_reader())
    assert (
        "unique_id_text (fail): id, text have the values of a row before in 1 of 3 rows (row 1: id = 1, text = 'a')"
        in (failure.value.cause)
    )
    assert "row_count (fail): the number of rows is not at least 100: 2 rows." in failure.value.cause
    assert "severity" in failure.value.remedy and "not_null_text" in failure.value.noticed[0]
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("*.json"))


def test_a_table_with_partitions_is_checked_too(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    lake = lake_in(str(tmp_path))
    write_deltalake(f"{lake.root}/main/demo/rows", pa.table({"id": [5], "part": ["a"]}), partition_by=["part"])
    every = of(unique="id", severity="drop")
    table = pa.table({"id": [1, 2, 1], "part": ["a", "b", "b"]})
    version, *_ = written(lake, every, table.to_reader())
    assert sorted(lake.read(version)["id"].to_pylist()) == [1, 2]
    kept = quarantine.existing(lake, TABLE)
    assert kept is not None and lake.read(kept)[SOURCE_ROW].to_pylist() == [2]


def test_more_values_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "SETTINGS", {"memory_limit": "64MB", "threads": 1})
    number = np.arange(2_000_000)
    table = pa.table({"id": pa.array(np.where(number == 1_999_999, 7, number)).cast(pa.string())})
    with together.together(of(unique="id"), table.schema) as whole:
        for batch in table.to_batches(100_000):
            first = int(whole.rows)
            whole.add(np.arange(first, first + len(batch)), pa.table(batch))
        tallies, _ = whole.dropped()
        assert not tallies and whole.others(NOW)["unique_id"].rows == ["row 1999999: '7'"]


@pytest.mark.parametrize(
    ("column", "is_old"),
    [
        (pa.array([datetime(2026, 6, 20), None, datetime(2026, 6, 1)], pa.timestamp("us", "UTC")), True),
        (pa.array([datetime(2026, 6, 25), datetime(2020, 1, 1)], pa.timestamp("us")), False),
        (pa.array([date(2026, 6, 24), None]), False),
        (pa.array([date(2026, 6, 23)]), True),
        (pa.array([None], pa.date32()), True),
    ],
)
def test_freshness(tmp_path: Path, column: pa.Array, is_old: bool) -> None:
    (each,) = of(freshness={"at": "7d"})
    _, checked, findings = written(lake_in(str(tmp_path)), [each], pa.table({"at": column}).to_reader())
    assert checked.tallies[each.name].count == is_old
    assert findings == []  # it depends on the day, and is found anew each time
    assert old([each], json.loads(json.dumps(checked.newest)), NOW)[each.name].count == is_old
    assert old([each], checked.newest, NOW + timedelta(days=8))[each.name].count


def test_a_table_of_another_is_no_quarantine(tmp_path: Path) -> None:
    lake = lake_in(str(tmp_path))
    lake.write(f"{TABLE}_quarantine", pa.table({"id": [1]}))
    with pytest.raises(DataError, match="no quarantine"):
        written(lake, of(unique="id", severity="drop"), pa.table({"id": [1, 1]}).to_reader())
    assert quarantine.existing(lake, TABLE) is None and quarantine.empty(lake, TABLE, "f") is None


KINDS_OF_COLUMNS = pa.schema(
    [("age", pa.int64()), ("text", pa.string()), ("at", pa.timestamp("us")), ("day", pa.date32()),
     ("words", pa.list_(pa.string())), ("is", pa.bool_())]
)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "cause", "remedy"),
    [
        ({"not_null": "agee"}, "no column 'agee' (data.expect.not_null)", "did you mean 'age'"),
        ({"range": {"text": {"min": 0}}}, "a range is of numbers or times", "types"),
        ({"range": {"age": {"min": "2024-01-01"}}}, "holds numbers, and '2024-01-01' is a time", "correct"),
        ({"range": {"at": {"min": 5}}}, "holds dates or times, and 5 is none", "correct"),
        ({"range": {"at": {"min": "2024-01-01T00:00:00Z"}}}, "without a zone", "correct"),
        ({"regex": {"age": "1"}}, "a regex is for texts", "correct"),
        ({"regex": {"text": "("}}, "'(' is no regular expression", "RE2"),
        ({"regex": {"text": "(?=a)"}}, "no regular expression", "look-around"),
        ({"allowed": {"text": [False]}}, "holds texts, and false is none: write it in quotes", "correct"),
        ({"allowed": {"age": ["a"]}}, "holds numbers, and 'a' is none", "correct"),
        ({"allowed": {"age": [1.5]}}, "does not hold 1.5", "correct"),
        ({"allowed": {"is": [1]}}, "holds truth values, and 1 is none", "correct"),
        ({"allowed": {"day": ["2024-01-01T10:00:00"]}}, "holds dates", "correct"),
        ({"allowed": {"words": ["a"]}}, "cannot be listed", "correct"),
        ({"unique": "words"}, "unique compares single values", "correct"),
        ({"freshness": {"age": "7d"}}, "freshness is of dates or times", "correct"),
        ({"sql": "agee > 1"}, "agee", "did you mean 'age'"),
        ({"sql": "age >"}, "no condition of SQL", "write one"),
        ({"sql": "age"}, "of the type BIGINT", "comparison"),
        ({"sql": "count(*) > 1"}, "aggregates", "correct"),
        ({"sql": "sum(age) over () > 1"}, "window", "correct"),
        ({"sql": "age in (select 1)"}, "is a query", "one row"),
        ({"sql": "age > 1) or (true"}, "no condition of SQL", "write one"),
        ({"sql": "true; drop table x"}, "is a query", "one row"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_row(entry: dict[str, Any], cause: str, remedy: str) -> None:
    with pytest.raises(LakewrightError) as failure:
        check(of(**entry), KINDS_OF_COLUMNS, "rows.csv")
    assert cause in failure.value.cause and remedy in failure.value.remedy


def test_a_condition_that_fails_on_a_row(tmp_path: Path) -> None:
    every = of(sql="cast(text as integer) > 1")
    with pytest.raises(DataError, match="Could not convert") as failure:
        written(lake_in(str(tmp_path)), every, pa.table({"text": ["2", "x"]}).to_reader())
    assert "try_cast" in failure.value.remedy and not list(tmp_path.rglob("*.parquet"))


def test_the_columns_of_a_quarantine_are_free(tmp_path: Path) -> None:
    every = of(unique="Source_Row", severity="drop")
    with pytest.raises(ProjectError, match="has a column 'source_row'"):
        written(lake_in(str(tmp_path)), every, pa.table({"Source_Row": [1]}).to_reader())


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ({}, "an expectation has no kind"),
        ({"not_null": "a", "unique": "a"}, "an expectation has not_null and unique"),
        ({"range": {"a": {}}}, "neither min nor max"),
        ({"range": {"a": {"min": 3, "max": 2}}}, "no value lies between"),
        ({"range": {"a": {"min": "2024-01-02", "max": "2024-01-01T00:00:00Z"}}}, "no value lies between"),
        ({"range": {"a": {"min": 1, "max": "2024-01-01"}}}, "one is a number"),
        ({"range": {"a": {"min": True}}}, "neither a number nor a time"),
        ({"range": {"a": {"min": "soon"}}}, "neither a number nor a time"),
        ({"row_count": {"min": 3, "max": 2}}, "no number lies between"),
        ({"row_count": {"min": 3}, "severity": "drop"}, "no row can be dropped"),
        ({"freshness": {"a": "7d"}, "severity": "drop"}, "no row can be dropped"),
        ({"freshness": {"a": "7 days"}}, "pattern"),
        ({"allowed": {"a": []}}, "at least 1"),
        ({"unique": "a", "severity": "error"}, "'warn', 'drop' or 'fail'"),
    ],
)
def test_what_means_nothing_is_refused(entry: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(cause)):
        Expected.model_validate(entry)


def test_names() -> None:
    entries = [
        {"not_null": ["a", "b"]},
        {"not_null": ["a", "b"], "name": "full", "severity": "fail"},
        {"unique": ["a", "b"]},
        {"sql": "a > 1"},
        {"sql": "a > 2"},
        {"sql": "a > 3", "name": "more"},
    ]
    every = expectations([Expected.model_validate(entry) for entry in entries])
    assert [each.name for each in every] == [
        "not_null_a", "not_null_b", "full_a", "full_b", "unique_a_b", "sql_1", "sql_2", "more",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="2 expectations have the name 'not_null_a'"):
        expectations([Expected.model_validate({"not_null": "a"})] * 2)


def test_every_kind_is_checked_somewhere() -> None:
    from lakewright.data.expectations.findings import WORDS

    assert {*KINDS} == {*OF_ROWS, "unique", "row_count", "freshness"} == {*WORDS}
    assert writing.drops(of(unique="a", severity="drop")) and not writing.drops(of(unique="a"))
