"""The values of truth columns, one by one: JSON in strings, labels, places in a text, numbers.

A wrong value raises ValueError, whose message `Problems` shows beside the row.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from lakewright.data.rows.columns import EXACT, Problems, column, number_column, number_of
from lakewright.data.rows.kinds import is_blank, missing
from lakewright.data.rows.request import category
from lakewright.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa


def _distinct(labels: list[str]) -> list[str]:
    if not labels or len(set(labels)) < len(labels):
        raise ValueError("name each label once")
    if any(map(is_blank, labels)):
        raise ValueError("a label is blank")
    return labels


LabelNames = Annotated[list[str], AfterValidator(_distinct)]


def from_json(value: Any) -> Any:
    """A string parsed as JSON; any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        printed = (
            ", but a list as Python prints it: write it with json.dumps" if value[:2] in ("['", '["', "[{") else ""
        )
        raise ValueError(f"{shown(value)} is not JSON{printed}") from None


def label_name(value: Any) -> str:
    """A label as text, the same from a table of any type and from JSON."""
    if value is None or value != value:
        raise ValueError("a label is null")
    if isinstance(value, list | tuple | dict | bytes):
        raise ValueError(f"{shown(value)} is not a label")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"the label {value!r} is a fraction")
    name = str(value) if isinstance(value, float) and abs(value) >= EXACT else str(category(value))
    if is_blank(name):
        raise ValueError("a label is blank")
    check_unicode([name])
    return name


def check_unicode(texts: Iterable[str]) -> None:
    """JSON can write half of a surrogate pair, which no table can hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(text)} is not valid Unicode text") from None


def offset(value: Any) -> int:
    """A count of characters: a whole number in any written form."""
    if value is None:
        raise ValueError("a start or an end is missing")
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value != value // 1:
        raise ValueError(f"{shown(value)} is not an offset in a text")
    return int(value)


def truth_numbers(table: pa.Table, name: str, role: str, first: int, problems: Problems) -> pa.ChunkedArray:
    """`number_column` of a truth, with texts read as numbers; those that are not numbers go into `problems`. `first` is
    the number of the table's first row."""
    import pyarrow as pa

    values = column(table, name, role)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return number_column(table, name, role)
    numbers: list[float | None] = []
    for row, text in enumerate(values.to_pylist(), start=first):
        number = None
        if not missing(text):
            number = number_of(text)
            if not math.isfinite(number):
                problems.add(f"row {row}: {shown(text)} is not a number")
                number = None
        numbers.append(number)
    return pa.chunked_array([pa.array(numbers, pa.float64())])
