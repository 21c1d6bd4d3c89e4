"""Values that are present but probably wrong: words for "missing", broken characters, markup, sentinels.

Each check reads the tables `counted` and `present` of `columns.counted` and returns findings with the first few values.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from lakewright.data.rows.contents import BROKEN
from lakewright.data.rows.duplicates import normalise
from lakewright.data.sources.words import PLACEHOLDERS
from lakewright.records import Finding

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXAMPLES = 5
CUT = 80  # characters of an example
FEW_NUMBERS = 10  # least number of different numbers to call one a sentinel
SOME = 0.01  # least share of values of another type: mixed types

NUMBERS = (*(-(10**k) + 1 for k in range(1, 7)), *(10**k - 1 for k in range(2, 11)), -1, 2**31 - 1, -(2**31), 2**63 - 1)
TIMES = ("0001-01-01", "1900-01-01", "1970-01-01", "2099-12-31", "2999-12-31", "9999-12-31")

PATTERNS = {
    **BROKEN,
    "html": (
        r"</?[A-Za-z][A-Za-z0-9]*(\s[^<>]*)?/?>|<!--|&(amp|lt|gt|quot|apos|nbsp|#[0-9]{1,6}|#x[0-9A-Fa-f]{1,6});",
        "with remains of HTML: unescape them and drop the tags, unless the model should learn them.",
    ),
    "padded": (
        r"^[\s\pZ]|[\s\pZ]$",
        "that begin or end with white space.",
    ),
}
SUPPORTED_TYPES = {"number": "double", "date": "timestamp"}


def in_strings(con: DuckDBPyConnection, column: str, filled: int) -> list[Finding]:
    """`filled`: the number of rows with a value."""
    if not filled:
        return []
    quoted = ", ".join("'" + word.replace("'", "''") + "'" for word in PLACEHOLDERS)
    # Of a long text, show the part around the match.
    around = f"substr(value, greatest(1, strpos(value, regexp_extract(value, ?)) - {CUT // 3}), {CUT})"
    checks: dict[str, tuple[str, str, list[str], str]] = {
        "placeholders": (
            "value",
            f"lower(trim(value)) in ({quoted})",
            [],
            "with a word for a missing value: make them null.",
        ),
        "column_name": (
            "value",
            "lower(trim(value)) = lower(trim(?))",
            [column],
            "that are the column's own name: a header line was read as a row.",
        ),
        **{
            name: (around, "regexp_matches(value, ?)", [pattern, pattern], detail)
            for name, (pattern, detail) in PATTERNS.items()
        },
    }
    findings = []
    for name, (field, condition, values, detail) in checks.items():
        con.execute(
            f"select {field}, n, sum(n) over () from present where {condition} order by n desc, value limit {EXAMPLES}",
            values,
        )
        if examples := con.fetchall():
            findings.append(_finding(name, int(examples[0][2]), detail, [(value, n) for value, n, _ in examples]))
    return findings


def stored_as_text(con: DuckDBPyConnection, filled: int) -> list[Literal["numbers as text", "mixed types"]]:
    """Whether all strings, or a part (between 1 % and all of them), are numbers or times."""
    if not filled:
        return []
    numbers, times = con.execute(
        "select coalesce(sum(n) filter (where try_cast(value as double) is not null), 0), "
        "coalesce(sum(n) filter (where try_cast(value as timestamp) is not null), 0) from present"
    ).fetchone() or (0, 0)
    if numbers == filled:
        return ["numbers as text"]
    return ["mixed types"] if any(SOME * filled <= part < filled for part in (numbers, times)) else []


def spellings(con: DuckDBPyConnection) -> list[Finding]:
    """Values that differ only in case, white space or Unicode form from a more frequent one."""
    variants: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for value, n in con.execute("select value, n from present order by n desc, value").fetchall():
        variants[normalise(value)].append((value, n))
    several = [same for same in variants.values() if len(same) > 1]
    if not several:
        return []
    count = sum(n for same in several for _, n in same[1:])
    examples = [" / ".join(f"{value[:CUT]!r} ({n:,})" for value, n in same[:EXAMPLES]) for same in several[:EXAMPLES]]
    detail = f"{_rows(count)} that differ from a more frequent value only in case, white space or Unicode form."
    return [Finding(name="spellings", count=count, detail=detail, rows=examples)]


def sentinel_numbers(con: DuckDBPyConnection) -> list[Finding]:
    """A number such as 999 or -1 that is the least or the greatest, far from the others (farther than their spread), or
    the only negative one: it may mean "unknown"."""
    (distinct,) = con.execute("select count(*) from present").fetchone() or (0,)
    if distinct < FEW_NUMBERS:
        return []
    low = con.execute("select value, n from present order by value limit 2").fetchall()
    high = con.execute("select value, n from present order by value desc limit 2").fetchall()
    (lowest, at_low), (second, _) = low
    (highest, at_high), (last_but_one, _) = high
    sentinels = []
    if lowest in NUMBERS and lowest < 0 and (second >= 0 or second - lowest > highest - second):
        sentinels.append((lowest, at_low))
    if highest in NUMBERS and highest > 0 and highest - last_but_one > last_but_one - second:
        sentinels.append((highest, at_high))
    if not sentinels:
        return []
    return [
        _finding(
            "sentinels",
            sum(n for _, n in sentinels),
            "with a number far from all others that often stands for “unknown”: make it null.",
            [(f"{value:g}", n) for value, n in sentinels],
        )
    ]


def infinite(con: DuckDBPyConnection) -> list[Finding]:
    values = con.execute("select value::varchar, n from present where isinf(value::double) order by n desc").fetchall()
    if not values:
        return []
    detail = "with an infinite number, from which a model learns nothing: make it null."
    return [_finding("infinite", sum(n for _, n in values), detail, values)]


def sentinel_times(con: DuckDBPyConnection) -> list[Finding]:
    """The dates that programs write for "unknown" or "for ever", if they are the first or the last of the column."""
    listed = ", ".join(f"timestamp '{day}'" for day in TIMES)
    values = con.execute(
        f"select value::varchar, n from present where value::timestamp in ({listed}) and "
        "(value = (select min(value) from present) or value = (select max(value) from present)) order by n desc, value"
    ).fetchall()
    if not values:
        return []
    detail = "with a date that often stands for “unknown” or “for ever”: make it null."
    return [_finding("sentinels", sum(n for _, n in values), detail, values)]


def _finding(name: str, count: int, detail: str, examples: list[tuple[str, int]]) -> Finding:
    lines = [f"{value[:CUT]!r} ({n:,})" for value, n in examples]
    return Finding(name=name, count=count, detail=f"{_rows(count)} {detail}", rows=lines)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
