"""What was not as expected, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lakewright.data.expectations.quarantine import name_of
from lakewright.data.expectations.sieve import Tally
from lakewright.errors import DataError, shown
from lakewright.records import Finding
from lakewright.settings.expectations import OF_ALL_ROWS, Expectation

NAME = "not_as_expected"


def finding(each: Expectation, tally: Tally, rows: int, table: str) -> Finding:
    return Finding(name=NAME, count=tally.count, detail=_detail(each, tally, rows, table), rows=tally.rows)


def refusal(violated: Sequence[tuple[Expectation, Tally]], rows: int, source: str, table: str) -> DataError | None:
    """The error of a run, which has what else was noticed; None where no expectation of the severity fail is
    violated."""
    failed = [(each, tally) for each, tally in violated if each.severity == "fail"]
    if not failed:
        return None
    details = [_detail(each, tally, rows, table) for each, tally in failed]
    error = DataError(
        "\n".join([f"{source} is not as expected, and {table} stays as it is:", *details]),
        "correct the source, or set the expectation's severity in data.expect to warn"
        + " or drop" * all(each.kind not in OF_ALL_ROWS for each, _ in failed),
    )
    error.findings = [finding(each, tally, rows, table) for each, tally in violated if each.severity != "fail"]
    return error


def _detail(each: Expectation, tally: Tally, rows: int, table: str) -> str:
    words = f"{each.name} ({each.severity}): {WORDS[each.kind](each)}"
    if each.kind in OF_ALL_ROWS:
        return f"{words}: {tally.rows[0]}."
    some = "; ".join([*tally.rows, *["…"] * (tally.count > len(tally.rows))])
    where = f" They are in {name_of(table)}." if each.severity == "drop" else ""
    return f"{words} in {tally.count:,} of {rows:,} rows ({some}).{where}"


def _not_null(each: Expectation) -> str:
    return f"{each.columns[0]} is null"


def _unique(each: Expectation) -> str:
    plural = len(each.columns) > 1
    return f"{', '.join(each.columns)} {'have' if plural else 'has'} the value{'s' * plural} of a row before"


def _range(each: Expectation) -> str:
    return f"{each.columns[0]} is not {_between(each.argument)}"


def _regex(each: Expectation) -> str:
    return f"{each.columns[0]} does not match {shown(each.argument)}"


def _allowed(each: Expectation) -> str:
    return f"{each.columns[0]} is none of {shown(each.argument)}"


def _row_count(each: Expectation) -> str:
    return f"the number of rows is not {_between(each.argument)}"


def _freshness(each: Expectation) -> str:
    return f"the newest value of {each.columns[0]} is older than {each.argument}"


def _sql(each: Expectation) -> str:
    return f"{shown(each.argument)} is not true"


WORDS: dict[str, Callable[[Expectation], str]] = {
    "not_null": _not_null,
    "unique": _unique,
    "range": _range,
    "regex": _regex,
    "allowed": _allowed,
    "row_count": _row_count,
    "freshness": _freshness,
    "sql": _sql,
}


def _between(limits: Any) -> str:
    if limits.min is None:
        return f"at most {limits.max}"
    return f"at least {limits.min}" if limits.max is None else f"between {limits.min} and {limits.max}"
