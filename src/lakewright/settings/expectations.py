"""What a project expects of its source's rows: `data.expect`, a list with one kind of expectation in each entry.

    expect:
      - not_null: [id, text]
      - {unique: id, severity: fail}
      - {range: {age: {min: 0, max: 120}}, severity: drop}
      - allowed: {country: [DE, FR, IT]}
      - {sql: "paid <= total", name: paid_in_full}

`lakewright.data.expectations` checks them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lakewright.settings.strict import Settings
from lakewright.settings.yamlfile import Refused

Severity = Literal["warn", "drop", "fail"]
ONE_BY_ONE = ("not_null", "range", "regex", "allowed", "freshness")  # an expectation for each column that they name
OF_ALL_ROWS = ("row_count", "freshness")  # no row of its own violates them
UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def moment(text: str) -> datetime:
    """A date or a time as YAML and JSON write it; a date is its midnight. Raises ValueError for any other text."""
    return datetime.fromisoformat(text)


def _plain(value: object) -> object:
    """A value of YAML as JSON stores it: dates and times are texts."""
    return value.isoformat() if isinstance(value, date) else value


def _bound(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is neither a number nor a time")
    if isinstance(value := _plain(value), str):
        try:
            moment(value)
        except ValueError:
            raise Refused(
                f"{value!r} is neither a number nor a time", "write 0, 2.5, 2026-01-31 or 2026-01-31T12:00:00Z"
            ) from None
    return value


def _columns(value: object) -> object:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_columns)]
Bound = Annotated[int | float | str, BeforeValidator(_bound)]
Allowed = Annotated[bool | int | float | str, BeforeValidator(_plain)]
Duration = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?[wdhms]$")]


class Range(Settings):
    min: Bound | None = Field(default=None, description="the least value: a number, or a date or time")
    max: Bound | None = Field(default=None, description="the greatest value")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is None and self.max is None:
            raise Refused("a range has neither min nor max", "write {min: 0}, {max: 120} or both")
        if self.min is None or self.max is None:
            return self
        if isinstance(self.min, str) != isinstance(self.max, str):
            raise ValueError(f"min is {self.min!r} and max is {self.max!r}: one is a number, the other a time")
        low, high = (in_utc(moment(each)) if isinstance(each, str) else each for each in (self.min, self.max))
        if low > high:  # type: ignore[operator]
            raise Refused(f"min is {self.min} and max is {self.max}: no value lies between them", "exchange them")
        return self


def in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Count(Settings):
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is None and self.max is None:
            raise Refused("a number of rows has neither min nor max", "write {min: 1000}, {max: 5000} or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Refused(f"min is {self.min} and max is {self.max}: no number lies between them", "exchange them")
        return self


class Expected(Settings):
    """One kind of expectation, of one column or several. A null passes all but not_null."""

    not_null: Columns = Field(default=[], description="columns that have a value in every row")
    unique: Columns = Field(default=[], description="columns whose values together occur in no two rows")
    range: dict[str, Range] = Field(default={}, description="column of numbers or times → {min: 0, max: 120}")
    regex: dict[str, str] = Field(
        default={}, description="column of texts → a pattern that is found in each (RE2; ^…$ for a whole text)"
    )
    allowed: dict[str, Annotated[list[Allowed], Field(min_length=1)]] = Field(
        default={}, description="column → the values that it may have"
    )
    row_count: Count | None = Field(default=None, description="rows that the table gets: {min: 1000, max: 5000}")
    freshness: dict[str, Duration] = Field(
        default={}, description="column of dates or times → how old its newest value may be: 7d (w, d, h, m, s)"
    )
    sql: str | None = Field(default=None, description="a condition in DuckDB's SQL over a row's columns")
    name: str | None = Field(default=None, min_length=1, description="null: the kind and its columns")
    severity: Severity = Field(
        default="warn",
        description="what becomes of rows that violate it; warn: a finding counts them; drop: they go to the table "
        "{table}_quarantine instead; fail: the run fails, and no table is written",
    )

    @property
    def kinds(self) -> list[str]:
        return [name for name in KINDS if getattr(self, name)]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.kinds) != 1:
            has = f"has {' and '.join(self.kinds)}" if self.kinds else "has no kind"
            raise Refused(f"an expectation {has}", f"write one of these in each entry of the list: {', '.join(KINDS)}")
        (kind,) = self.kinds
        if self.severity == "drop" and kind in OF_ALL_ROWS:
            raise Refused(
                f"{kind} is of all rows together, so that no row can be dropped for it",
                "set severity: warn or severity: fail",
            )
        return self

    @property
    def parts(self) -> list[Expectation]:
        """An expectation for each column, where the kind is of single columns."""
        (kind,) = self.kinds
        of = getattr(self, kind)
        if kind in ONE_BY_ONE:
            each = of.items() if isinstance(of, dict) else [(column, None) for column in of]
            parts: list[tuple[tuple[str, ...], Any]] = [((column,), argument) for column, argument in each]
        else:
            parts = [(tuple(of), None) if kind == "unique" else ((), of)]
        beside = len(parts) > 1
        return [
            Expectation(self._named(kind, columns, beside), kind, columns, argument, self.severity)
            for columns, argument in parts
        ]

    def _named(self, kind: str, columns: Sequence[str], beside: bool) -> str:
        if self.name is None:
            return "_".join([kind, *columns])
        return "_".join([self.name, *columns]) if beside else self.name


KINDS = tuple(name for name in Expected.model_fields if name not in ("name", "severity"))


@dataclass(frozen=True)
class Expectation:
    """One expectation, as it is checked and counted."""

    name: str
    kind: str
    columns: tuple[str, ...]
    argument: Any  # Range, Count, a pattern, the values, a duration, a condition
    severity: Severity


def expectations(entries: Sequence[Expected]) -> list[Expectation]:
    """All of a project. Raises Refused for two of the same name; conditions of SQL without one are numbered."""
    found = [part for entry in entries for part in entry.parts]
    conditions = [at for at, part in enumerate(found) if part.name == part.kind == "sql"]
    for number, at in enumerate(conditions, 1):
        found[at] = Expectation(f"sql_{number}", "sql", (), found[at].argument, found[at].severity)
    for name, count in Counter(part.name for part in found).items():
        if count > 1:
            raise Refused(
                f"{count} expectations have the name {name!r}", "give all but one of them a name of its own (name: …)"
            )
    return found


def duration(text: str) -> timedelta:
    """Of 7d, 12h, 1.5w (weeks, days, hours, minutes, seconds)."""
    return timedelta(**{UNITS[text[-1]]: float(text[:-1])})
