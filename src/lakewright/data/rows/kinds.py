"""A row: named inputs, each of a kind, and their missing values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa


Row = Mapping[str, Any]  # a row's inputs, by name
Prediction = dict[str, Any]
Kind = Literal["text", "optional text", "words", "number", "category", "time"]
TEXTS: tuple[Kind, ...] = ("text", "optional text")  # without words, which make the text beside them
FILLERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Blank or invisible, though Unicode counts them among letters, marks and symbols."""


def requires_text(inputs: Mapping[str, Kind]) -> bool:
    """Whether a row is nothing without its texts. A row of a table, whose texts stand beside other columns, needs a
    value of any input."""
    return "text" in inputs.values()


def whole_text(texts: Iterable[str | None]) -> str:
    """Several texts of a row as one."""
    return "\n".join(text for text in texts if text is not None)


def whole_row(row: Row, inputs: Mapping[str, Kind]) -> str:
    """All inputs of a row as one text, equal for equal rows: its texts unchanged, any other as NAME=VALUE."""
    named = ((name, kind, row.get(name)) for name, kind in inputs.items() if kind != "words")
    return whole_text(
        value if value is None or kind in TEXTS else f"{name}={written(value)}" for name, kind, value in named
    )


def written(value: Any) -> str:
    """A value as text; a time in ISO 8601."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def is_blank(text: str) -> bool:
    """Nothing to read: no character, or only white space and invisible ones."""
    return not text.strip() or all(map(_is_invisible, text))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") or bool(FILLERS.match(character))


def missing(value: object) -> bool:
    """Null, NaN or a blank string. An empty list is a value: a sentence without entities."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and is_blank(value))
    )


def whole_rows(table: pa.Table, inputs: Mapping[str, Kind]) -> list[str | None]:
    """Each row's `whole_row`; None if it has no value at all, and where texts are required, if one of them is missing
    or blank."""
    names = [name for name, kind in inputs.items() if kind != "words" and name in table.column_names]
    columns = [table[name].to_pylist() for name in names]
    texts = [columns[i] for i, name in enumerate(names) if inputs[name] in TEXTS and requires_text(inputs)]
    if len(texts) == len(names):
        return [None if any(map(missing, row)) else "\n".join(row) for row in zip(*columns, strict=True)]
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    incomplete = (any(map(missing, row)) for row in (zip(*texts, strict=True) if texts else ((),) * table.num_rows))
    return [
        None if lacks_text else whole_row(row, inputs) or None for row, lacks_text in zip(rows, incomplete, strict=True)
    ]
