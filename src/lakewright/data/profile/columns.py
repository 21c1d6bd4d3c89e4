"""Profiles one column at a time: its content, missing values, distribution, and suspicious values.

A column is streamed once into DuckDB and stored there as its different values with their counts; many values spill to
disk. Everything is measured on these counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lakewright.data.lake.types import columns_info
from lakewright.data.lake.writing import keep_failure
from lakewright.data.profile import suspicious
from lakewright.data.profile.labels import QUANTILES, quantile_name
from lakewright.records import Finding, Record, TableVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from lakewright.data.lake.tables import Lake

Kind = Literal["number", "time", "boolean", "category", "text", "nested", "binary"]
Flag = Literal[
    "all missing", "mostly missing", "constant", "near-constant", "id-like", "numbers as text", "mixed types"
]

MOSTLY = 0.5  # missing: mostly missing
NEARLY = 0.99  # of the values are the same: near-constant
FEW = 20  # least number of values to call them an id
WORDS_OF_TEXT = 3.0  # average words a value, from which strings are texts …
VALUES_OF_TEXT = 1000  # … with at least so many different values, or half of all
MOST_LABELS = 10_000  # different strings to compare as spellings of one label
TOP = 20
FEW_UNIQUE = 3  # values shown if none is repeated
BINS = 30
CUT = 200  # characters of a value shown
MEMORY = "1GB"  # of DuckDB, before it spills
BLANK = r"'[^\s\pZ\p{Cc}\p{Cf}]'"  # a string without such a character is blank
TIMES = ("date32[day]", "timestamp[us]")


class Value(Record):
    value: str  # as text, at most CUT characters
    rows: int
    share: float  # of all rows


class ColumnProfile(Record):
    """Missing is null, empty (""), blank (only white space) or NaN; the rest are the known values."""

    name: str
    type: str  # SQL's name, as in the catalog
    kind: Kind
    rows: int
    null: int
    empty: int
    blank: int
    nan: int
    missing: int
    missing_share: float
    distinct: int  # known values
    flags: list[Flag]
    mean: float | str | None  # of numbers and times
    deviation: float | None  # of numbers: the standard deviation of these rows
    quantiles: dict[str, float | str]  # of numbers and times: min, p1 … p99, max
    infinite: int  # of numbers; not among the quantiles
    lengths: dict[str, float]  # of strings in characters, of lists in elements: min, mean, max
    histogram: list[tuple[float | str, float | str, int]]  # of numbers and times: from, to, rows
    top: list[Value]  # the most frequent
    suspicious: list[Finding]


def profile_column(lake: Lake, table: TableVersion, field: pa.Field) -> ColumnProfile:
    import pyarrow as pa

    with counted(lake, table, field.name) as con:
        shape = _shape(field.type)
        rows, null, empty, blank, nan = _missing(con, field.type, shape)
        missing = null + empty + blank + nan
        distinct, filled = _row(con, "select count(*), coalesce(sum(n), 0) from present")
        top = _top(con, rows, TOP if distinct < filled else FEW_UNIQUE)
        lengths = _lengths(con, shape)
        kind = _kind(con, shape, distinct, filled)
        flags: list[Flag] = []
        if rows and missing == rows:
            flags.append("all missing")
        elif rows and missing >= MOSTLY * rows:
            flags.append("mostly missing")
        if distinct == 1:
            flags.append("constant")
        elif distinct > 1 and top[0].rows >= NEARLY * filled:
            flags.append("near-constant")
        if distinct == filled >= FEW and (
            pa.types.is_integer(field.type) or (shape == "string" and kind == "category")
        ):
            flags.append("id-like")
        findings: list[Finding] = []
        if shape == "string":
            findings += suspicious.in_strings(con, field.name, filled)
            flags += suspicious.stored_as_text(con, filled)
            if kind == "category" and distinct <= MOST_LABELS:
                findings += suspicious.spellings(con)
        if shape == "number":
            findings += suspicious.sentinel_numbers(con)
            findings += suspicious.infinite(con)
        if shape == "time":
            findings += suspicious.sentinel_times(con)
        mean, deviation, infinite, quantiles, histogram = _spread(con, shape)
    return ColumnProfile(
        name=field.name,
        type=columns_info(pa.schema([field]))[0]["type_text"],
        kind=kind,
        rows=rows,
        null=null,
        empty=empty,
        blank=blank,
        nan=nan,
        missing=missing,
        missing_share=missing / rows if rows else 0.0,
        distinct=distinct,
        flags=flags,
        mean=mean,
        deviation=deviation,
        quantiles=quantiles,
        infinite=infinite,
        lengths=lengths,
        histogram=histogram,
        top=top,
        suspicious=findings,
    )


@contextmanager
def counted(lake: Lake, table: TableVersion, column: str) -> Iterator[DuckDBPyConnection]:
    """A DuckDB connection with the table `counted`, each different value of the column, including null, and its rows n;
    and the view `present`, without missing values. Decimals are floats there, and times have no zone (UTC)."""
    import duckdb
    import pyarrow as pa

    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us")
        return pa.float64() if pa.types.is_decimal(kind) else kind

    reader = lake.scan(table, [column])
    kind = reader.schema.field(0).type
    schema = pa.schema([pa.field("value", plain(kind))])
    values = (
        pa.RecordBatch.from_arrays([batch.column(0).cast(schema.field(0).type)], schema=schema) for batch in reader
    )
    failures: list[BaseException] = []  # DuckDB turns them into text
    shape = _shape(kind)
    present = "value is not null"
    if shape == "string":
        present += f" and regexp_matches(value, {BLANK})"
    if pa.types.is_floating(schema.field(0).type):
        present += " and not isnan(value)"
    with tempfile.TemporaryDirectory(prefix="lakewright-profile-") as spill:
        con = duckdb.connect(
            config={"temp_directory": spill, "memory_limit": MEMORY, "preserve_insertion_order": "false"}
        )
        try:
            con.register("rows_of_column", pa.RecordBatchReader.from_batches(schema, keep_failure(values, failures)))
            try:
                con.execute("create temp table counted as select value, count(*) n from rows_of_column group by value")
            except duckdb.Error:
                if failures:
                    raise failures[0] from None
                raise
            con.execute(f"create temp view present as select value, n from counted where {present}")
            yield con
        finally:
            con.close()


def _shape(kind: pa.DataType) -> Literal["number", "time", "boolean", "string", "list", "nested", "binary"]:
    import pyarrow as pa

    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_date(kind) or types.is_timestamp(kind):
        return "time"
    if types.is_boolean(kind):
        return "boolean"
    if types.is_string(kind):
        return "string"
    if types.is_binary(kind):
        return "binary"
    return "list" if types.is_list(kind) else "nested"


def _missing(con: DuckDBPyConnection, kind: pa.DataType, shape: str) -> tuple[int, int, int, int, int]:
    """rows, null, empty, blank, NaN."""
    import pyarrow as pa

    empty = "value = ''" if shape == "string" else "false"
    blank = f"value <> '' and not regexp_matches(value, {BLANK})" if shape == "string" else "false"
    nan = "isnan(value)" if pa.types.is_floating(kind) else "false"
    conditions = ["true", "value is null", empty, blank, nan]
    sums = ", ".join(f"coalesce(sum(n) filter (where {condition}), 0)" for condition in conditions)
    rows, null, empties, blanks, nans = map(int, _row(con, f"select {sums} from counted"))
    return rows, null, empties, blanks, nans


def _top(con: DuckDBPyConnection, rows: int, most: int) -> list[Value]:
    values = con.execute(f"select value::varchar, n from present order by n desc, value limit {most}").fetchall()
    return [Value(value=cut(value), rows=n, share=n / rows) for value, n in values]


def _lengths(con: DuckDBPyConnection, shape: str) -> dict[str, float]:
    if shape not in ("string", "list", "binary"):
        return {}
    length = "octet_length(value)" if shape == "binary" else "length(value)"
    least, mean, most = _row(
        con, f"select min({length}), sum({length} * n)::double / sum(n), max({length}) from present"
    )
    return {} if least is None else {"min": least, "mean": mean, "max": most}


def _kind(con: DuckDBPyConnection, shape: str, distinct: int, filled: int) -> Kind:
    """Strings are texts if they have several words and differ, else categories."""
    if shape != "string":
        return "nested" if shape == "list" else shape  # type: ignore[return-value]
    if not distinct or distinct < min(VALUES_OF_TEXT, filled / 2):
        return "category"
    (words,) = _row(con, r"select sum(n * len(regexp_extract_all(value, '\S+')))::double / sum(n) from present")
    return "text" if words >= WORDS_OF_TEXT else "category"


Spread = tuple[
    float | str | None,
    float | None,
    int,
    dict[str, float | str],
    list[tuple[float | str, float | str, int]],
]


def _spread(con: DuckDBPyConnection, shape: str) -> Spread:
    """mean, deviation, infinite, quantiles, histogram. pN: the least value that N percent of rows do not exceed."""
    if shape not in ("number", "time"):
        return None, None, 0, {}, []
    number = "value::double" if shape == "number" else "epoch(value::timestamp)"
    con.execute(
        f"create temp table spread as select x, sum(n)::bigint as n from (select {number} as x, n from present) "
        "where isfinite(x) group by x"
    )
    (infinite,) = _row(
        con, "select (select coalesce(sum(n), 0) from present) - (select coalesce(sum(n), 0) from spread)"
    )
    total, low, high, mean = _row(con, "select sum(n), min(x), max(x), sum(x * n) / sum(n) from spread")
    if total is None:
        return None, None, int(infinite), {}, []
    (deviation,) = _row(con, "select sqrt(sum(n * (x - ?) ** 2) / sum(n)) from spread", mean)
    conditions = ", ".join(f"min(x) filter (where upto >= {q} * {total})" for q in QUANTILES)
    quantiles = _row(con, f"select {conditions} from (select x, sum(n) over (order by x) as upto from spread)")

    whole = shape == "number" and low == int(low) and high == int(high) and high - low < BINS
    bins = int(high - low) + 1 if whole else BINS if high > low else 1
    width = 1.0 if whole else (high - low) / bins
    counts = np.zeros(bins, dtype=np.int64)
    place = f"least(floor((x - ?) / ?), {bins - 1})" if width else "0 * (x - ?) * ?"
    for at, n in con.execute(f"select {place} as place, sum(n) from spread group by 1", [low, width]).fetchall():
        counts[int(at)] = n
    edges = [low + width * i for i in range(bins + 1)]

    def shown(x: float) -> float | str:
        if shape == "number":
            return x
        moment = np.datetime64(round(x * 1e6), "us")
        return str(moment.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")

    return (
        shown(mean),
        deviation if shape == "number" else None,
        int(infinite),
        {quantile_name(q): shown(x) for q, x in zip(QUANTILES, quantiles, strict=True)},
        [(shown(a), shown(b), n) for a, b, n in zip(edges, edges[1:], counts.tolist(), strict=False)],
    )


def cut(text: str) -> str:
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def _row(con: DuckDBPyConnection, query: str, *values: Any) -> tuple[Any, ...]:
    row = con.execute(query, list(values)).fetchone()
    assert row is not None
    return tuple(row)
