"""A row: named inputs, each of a kind, and what of them is missing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa


Row = Mapping[str, Any]  # a row's inputs, by name
Prediction = dict[str, Any]
Kind = Literal["text", "optional text", "words", "number", "category"]
TEXTS = ("text", "text_pair", "negative", "question", "context")  # inputs that are texts; no other is called so
FILLERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Blank or invisible, though Unicode counts them among letters, marks and symbols."""


def whole_text(row: Row) -> str:
    """All that a row's texts say, for looking at them as one."""
    return "\n".join(row[name] for name in TEXTS if row.get(name) is not None)


def is_blank(text: str) -> bool:
    """Nothing to read: no character, or none but white space and invisible ones."""
    return not text.strip() or all(map(_is_invisible, text))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") or bool(FILLERS.match(character))


def missing(value: object) -> bool:
    """Null, NaN or a blank string. An empty list is a value: a sentence without entities."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and is_blank(value))
    )


def complete_texts(table: pa.Table) -> list[str | None]:
    """Each row's `whole_text`; None where one of its texts is missing or blank."""
    sides = [table[name].to_pylist() for name in TEXTS if name in table.column_names]
    return [None if any(missing(text) for text in texts) else "\n".join(texts) for texts in zip(*sides, strict=True)]
