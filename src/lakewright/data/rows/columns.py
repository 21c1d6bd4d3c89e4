"""The columns of a table that roles name: their types, and the errors for wrong ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import missing
from lakewright.errors import DataError, ProjectError, nearest, shown

if TYPE_CHECKING:
    import pyarrow as pa

EXACT = 2.0**53  # up to here, a float holds every whole number
WHOLE_NUMBER = re.compile("-?[0-9]+")


def needed(columns: Mapping[str, Any], *roles: str) -> list[str]:
    """The names of the columns with these roles; raises ProjectError if a role is not mapped."""
    lacking = [role for role in roles if role not in columns]
    if lacking:
        raise ProjectError(
            f"data.columns names no column for the role {' and the role '.join(lacking)}",
            "for example " + ", ".join(f"columns: {{{role}: name_of_the_{role}_column}}" for role in lacking),
        )
    return [columns[role] for role in roles]


def column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"the table has no column {name!r} (data.columns.{role})", nearest(name, table.column_names))
    return table.column(name)


def text_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    import pyarrow as pa

    values = column(table, name, role)
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if not (
        pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type)
    ):
        first = list({str(value): value for value in values.slice(0, 100).to_pylist() if value is not None}.values())[
            :3
        ]
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {shown(values.type)}, not text; the first values: "
            f"{shown(first)}",
            "name the column that holds the text",
        )
    return values.cast(pa.string())


def label_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    """One class a row, as strings; whole numbers that became floats because some are missing become whole again, except
    those with more digits than a float holds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    label = column(table, name, role)
    if pa.types.is_floating(label.type):
        label = label.cast(pa.float64())
        finite = pc.if_else(pc.is_finite(label), label, None)
        fractions = pc.filter(finite, pc.not_equal(finite, pc.floor(finite)))
        if len(fractions):
            raise DataError(
                f"the column {name!r} (data.columns.{role}) holds fractions, such as "
                f"{shown(pc.unique(fractions).slice(0, 3).to_pylist())}",
                "name a column of classes: strings, whole numbers or booleans",
            )
        short = finite.cast(pa.int64(), safe=False).cast(pa.string())
        label = pc.if_else(pc.less(pc.abs(finite), EXACT), short, finite.cast(pa.string()))
    if pa.types.is_nested(label.type) or pa.types.is_binary(label.type):
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {shown(label.type)}, not one class a row",
            "name a column of strings, whole numbers or booleans; if each list has one label, take it out in SQL: "
            f"select {name}[1] as {name}, …",
        )
    return label.cast(pa.string())


@dataclass
class Problems:
    """The places of wrong values in a column: counted, the first few kept."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.count += 1
        if self.count <= 5:
            self.first.append(place)

    def merge(self, later: Problems) -> None:
        """Adds those of the rows after these."""
        self.count += later.count
        self.first += later.first[: 5 - len(self.first)]

    def refuse(self, name: str, role: str, remedy: str) -> None:
        """Raises DataError if there are any."""
        if self.count:
            places = f"{self.count} place{'s' * (self.count > 1)}"
            examples = "\n  ".join(self.first)
            raise DataError(f"the column {name!r} (data.columns.{role}) is wrong in {places}:\n  {examples}", remedy)


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels sorted; whole numbers as numbers, so that "10" comes after "2", and 01 before 1."""
    if all(map(WHOLE_NUMBER.fullmatch, labels)):
        return tuple(sorted(labels, key=lambda label: (Decimal(label), label)))
    return tuple(sorted(labels))


def _no_numbers(values: pa.ChunkedArray, name: str, role: str) -> DataError:
    """The error for a column that is not of numbers; for text, with the values that are not numbers."""
    import pyarrow as pa

    from lakewright.data.sources.words import PLACEHOLDERS
    from lakewright.data.sources.written import NUMBERS, misfits, quoted

    cause = f"the column {name!r} (data.columns.{role}) holds {shown(values.type)}, not numbers"
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return DataError(cause, "name a column of numbers, or cast it in SQL")
    texts = [value for value in values.to_pylist() if value is not None]
    odd = misfits(name, [(texts, [""] * len(texts))], NUMBERS)
    if odd.count:
        if all(value.strip().lower() in PLACEHOLDERS for value in odd.different):
            sql, words = quoted(name), odd.different[:5]
            null = f"nullif({sql}, '{words[0]}')::double" if len(words) == 1 else f"try_cast({sql} as double)"
            return DataError(f"{cause}: {odd}", f"write null at the source, or make them null in SQL: {null}")
        return DataError(f"{cause}: {odd}", "name another column, or correct the values and cast them in SQL")
    return DataError(
        cause, f"cast it in SQL, or read it as numbers: data.options.types: {{{name}: double}} (csv, json)"
    )


def number_column(table: pa.Table, name: str, role: str, in_text: bool = False) -> pa.ChunkedArray:
    """As float64, null without a number. `in_text`: numbers may be written as text. Raises DataError for columns of
    other types, and for text that is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakewright.data.rows.arrays import distinct, plain_array

    original = column(table, name, role)
    kind = original.type
    if original.null_count == len(original):  # of any type: an empty column of a csv file has strings
        return pa.chunked_array([pa.nulls(len(original), pa.float64())])
    if in_text and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        places, texts = distinct(plain_array(original))
        numbers = [None if missing(text) else number_of(text) for text in texts.to_pylist()]
        if any(number is not None and math.isnan(number) for number in numbers):
            raise _no_numbers(original, name, role)
        for number, text in zip(numbers, texts.to_pylist(), strict=True):
            if number is not None and math.isinf(number):
                raise DataError(
                    f"the column {name!r} (data.columns.{role}) holds {shown(text)}, which no float holds",
                    "correct the number at the source, or make it null in SQL",
                )
        original = pa.chunked_array([pa.array(numbers, pa.float64()).take(pa.array(places))])
        kind = original.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        raise _no_numbers(original, name, role)
    values = original.cast(pa.float64(), safe=False)  # rounds whole numbers with more digits than a float holds
    return pc.if_else(pc.is_finite(values), values, None)


def time_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    """In UTC to the microsecond, null without a time; dates, times and text in ISO 8601. Raises DataError for columns
    of other types, and for text that is no time."""
    import pyarrow as pa

    from lakewright.data.rows.arrays import distinct, plain_array

    original, kind = column(table, name, role), pa.timestamp("us", "UTC")
    if original.null_count == len(original):
        return pa.chunked_array([pa.nulls(len(original), kind)])
    if pa.types.is_date(original.type):
        return original.cast(pa.timestamp("us")).cast(kind)
    if pa.types.is_timestamp(original.type):
        return original.cast(kind, safe=False)  # nanoseconds are cut
    if not (pa.types.is_string(original.type) or pa.types.is_large_string(original.type)):
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {shown(original.type)}, not times",
            "name a column of dates or times, or cast it in SQL",
        )
    places, texts = distinct(plain_array(original))
    times, wrong = list[datetime | None](), Problems()
    for place, text in enumerate(texts.to_pylist()):
        times.append(None if missing(text) else time_of(text))
        if times[-1] is None and not missing(text):
            for _ in range(int((places == place).sum())):
                wrong.add(shown(text))
    wrong.refuse(name, role, "write times in ISO 8601, such as 2026-01-31T14:00:00Z, or cast them in SQL")
    return pa.chunked_array([pa.array(times, kind).take(pa.array(places))])


def as_times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts that are all times in ISO 8601, in UTC; any other column as it is."""
    import pyarrow as pa

    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values
    texts = values.to_pylist()
    times = [None if missing(text) else time_of(text) for text in texts]
    if any(time is None and not missing(text) for time, text in zip(times, texts, strict=True)):
        return values
    return pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))])


def time_of(text: str) -> datetime | None:
    """A time in ISO 8601, in UTC; one without a zone is UTC. None for other text."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def number_of(text: str) -> float:
    """The number; NaN for texts that float() reads but a person would not call a number: １, 1_0."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan
