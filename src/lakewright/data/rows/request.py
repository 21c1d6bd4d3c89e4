"""Checks a user's row against the expected inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from itertools import islice
from typing import Any

from lakewright.data.rows.kinds import TEXTS, Kind, Row, missing, requires_text
from lakewright.errors import DataError


def read_row(inputs: Mapping[str, Kind], row: Any, at: int) -> dict[str, Any]:
    """A user's row, checked against the task's inputs. Raises DataError, which names the row and the input.

    A text alone is a row if the text is its only required input. Words in place of a text are joined by one space.
    """
    texts = [name for name, kind in inputs.items() if kind in TEXTS]
    if isinstance(row, str) and texts:
        row = {texts[0]: row}
    if not isinstance(row, Mapping):
        form = "a text or a mapping" if texts else "a mapping"
        raise DataError(f"row {at} is {type(row).__name__}, not {form}", _row_form(inputs))
    refuse_misspelt(inputs, row, at)
    values: dict[str, Any] = {}
    for name, kind in inputs.items():
        value = row.get(name)
        if kind == "words":
            if value is not None:
                if not isinstance(value, Sequence) or isinstance(value, str):
                    raise DataError(
                        f"row {at}: {name!r} is {type(value).__name__}, not a list of words", _row_form(inputs)
                    )
                value = [_word(word, at, name) for word in value]
                values["text"] = " ".join(value)
        elif kind in ("text", "optional text"):
            missing = kind == "text" and not any(row.get(other) is not None for other in _sources_of(name, inputs))
            if missing and name not in row:
                raise DataError(f"row {at} has no {name!r}", _row_form(inputs))
            if missing or (value is not None and not isinstance(value, str)):
                form = "null" if value is None else f"{type(value).__name__}, not a string"
                raise DataError(
                    f"row {at}: {name!r} is {form}",
                    "leave out rows without text" if value is None else _row_form(inputs),
                )
            if value is not None and not value.isascii():
                _check_unicode(value, at, name)
        elif kind == "number":
            value = None if value is None else read_number(value, at, name)
        elif kind == "time":
            value = None if value is None else read_time(value, at, name)
        else:
            value = read_category(value, at, name)
        values.setdefault(name, value)
    return values


def _check_unicode(text: str, at: int, name: str) -> None:
    """No tokenizer, table or answer can hold half of a surrogate pair, with which a text cut in UTF-16 may end."""
    try:
        text.encode()
    except UnicodeEncodeError as failure:
        cause = f"character {failure.start} is half of a surrogate pair"
        raise DataError(f"row {at}: {name!r} is not valid Unicode text: {cause}", "leave that character out") from None


def _word(value: Any, at: int, name: str) -> str:
    try:
        if value is None or _is_collection(value):
            raise TypeError
        word = str(value)
    except (TypeError, ValueError):  # ValueError: a whole number of thousands of digits
        cause = f"row {at}: {name!r} holds {type(value).__name__}, not a word"
        raise DataError(cause, "give a list of strings") from None
    _check_unicode(word, at, name)
    return word


def read_number(value: Any, at: int, name: str) -> float | None:
    try:
        if not hasattr(value, "__float__"):  # float() would read strings as well
            raise TypeError
        number = float(value)
    except OverflowError:  # a whole number too large for a float, like 1e400
        number = math.inf
    except (TypeError, ValueError):
        cause = f"row {at}: {name!r} is {type(value).__name__}, not a number"
        raise DataError(cause, "give a number or null") from None
    if math.isinf(number):
        raise DataError(f"row {at}: {name!r} is a number that is infinite or too large", "give a finite number or null")
    return None if math.isnan(number) else number


def read_time(value: Any, at: int, name: str) -> datetime:
    """In UTC, like times in tables; a time without a zone is UTC, a date is its midnight."""
    try:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        description = repr(value)[:40] if isinstance(value, str) else type(value).__name__
        cause = f"row {at}: {name!r} is {description}, not a time"
        raise DataError(cause, "give it in ISO 8601, such as 2026-01-31T14:00:00Z, or null") from None


def read_category(value: Any, at: int, name: str) -> str | None:
    try:
        if _is_collection(value):
            raise TypeError
        name_of_category = category(value)
    except (TypeError, ValueError):
        cause = f"row {at}: {name!r} is {type(value).__name__}, not a category"
        raise DataError(cause, "give a string, a number, true, false or null") from None
    if name_of_category is not None and not name_of_category.isascii():
        _check_unicode(name_of_category, at, name)
    return name_of_category


def _is_collection(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__")


def lacks(inputs: Mapping[str, Kind], row: Row) -> bool:
    """Whether nothing can be predicted for the row: a text that the task needs is missing or blank, or, for a row of a
    table, all inputs are missing (its texts also where they are blank)."""
    if not requires_text(inputs):
        return all(
            row.get(name) is None or (kind == "optional text" and _is_empty(row[name])) for name, kind in inputs.items()
        )
    for name, kind in inputs.items():
        if kind == "text":  # words take precedence over the text that they make
            values = [row[other] for other in reversed(_sources_of(name, inputs)) if row.get(other) is not None]
            if not values or _is_empty(values[0]):
                return True
        elif kind == "optional text" and row.get(name) is not None and _is_empty(row[name]):
            return True
    return False


def _is_empty(text: Any) -> bool:
    return missing(" ".join(map(str, text)) if isinstance(text, list | tuple) else text)


def refuse_misspelt(inputs: Mapping[str, Kind], row: Row, at: int) -> None:
    """Unknown columns are harmless, and so are inputs that a row with a text lacks; but one may be a misspelling of the
    other. A row of a table that has no text has every input: that one was forgotten would show nowhere."""
    absent = [name for name in inputs if name not in row]
    if not absent:
        return
    # The search for near names is slow; in a row of half a million columns nobody misspelt a name.
    unknown = [str(name) for name in islice((name for name in row if name not in inputs), 100)]
    for name in absent:
        has_no_text = inputs[name] in ("number", "category", "time")  # nothing else shows that it is missing
        misspelt = unknown if has_no_text else get_close_matches(name, unknown, n=1)
        if misspelt:
            raise DataError(
                f"row {at} has {misspelt[0]!r}, which is not an input, and has no {name!r}", _row_form(inputs)
            )
    if not requires_text(inputs) and all(row.get(name) is None for name, kind in inputs.items() if kind in TEXTS):
        more = f" and {len(absent) - 1} more" * (len(absent) > 1)
        raise DataError(f"row {at} has no {absent[0]!r}{more}", "give null for a value that is not known")


def category(value: Any) -> str | None:
    """A category as text, the same from a table of any type and from JSON: true and 1, never True and 1.0."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _row_form(inputs: Mapping[str, Kind]) -> str:
    examples = {"words": "[…]", "number": "3", "time": '"2026-01-31"'}
    return "give {" + ", ".join(f'"{name}": ' + examples.get(kind, '"…"') for name, kind in inputs.items()) + "}"


def _sources_of(name: str, inputs: Mapping[str, Kind]) -> list[str]:
    """The inputs that a text can come from: itself, or its words."""
    return [name, *(other for other, kind in inputs.items() if kind == "words" and name == "text")]
