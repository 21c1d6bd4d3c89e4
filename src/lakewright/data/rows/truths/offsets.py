"""The place of a span in its text: offsets in characters or in UTF-16 units, without blanks at its ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import Any, Literal

from lakewright.data.rows.kinds import is_blank

Offsets = Literal["characters", "utf16"]


def in_characters(offsets: Iterable[int], text: str, unit: Offsets) -> list[int]:
    """The offsets in characters; -1 beyond the text or within a character."""
    if unit == "characters":
        return [offset if 0 <= offset <= len(text) else -1 for offset in offsets]
    places = _characters_at(text)
    return [places.get(offset, -1) for offset in offsets]


def mistake(start: int, end: int, form: Any, text: str, unit: Offsets) -> str | None:
    """The error in a span, and whether other offsets fix it; `form` is the source's copy of its text, or None."""
    wrong = _mistake(start, end, form, text, unit)
    other: Offsets = "characters" if unit == "utf16" else "utf16"
    if wrong and not _mistake(start, end, form, text, other) and (form or not _splits(start, end, text, unit)):
        wrong += f" (it is correct with task.offsets: {other})"
    return wrong


def _mistake(start: int, end: int, form: Any, text: str, unit: Offsets) -> str | None:
    first, last = in_characters((start, end), text, unit)
    if _splits(start, end, text, unit):
        return f"span {start}–{end} {'begins' if first < 0 else 'ends'} within a character, counted in UTF-16 units"
    if not 0 <= first < last:
        return f"span {start}–{end} is outside its text of {len(text)} characters"
    if isinstance(form, str) and _plain(form) != _plain(text[first:last]):
        return f"span {start}–{end} is {text[first:last]!r}, not {form!r}"
    return None


def _splits(start: int, end: int, text: str, unit: Offsets) -> bool:
    """Whether a bound lies within a character of two UTF-16 units."""
    units = len(text.encode("utf-16-le")) // 2
    inside = 0 <= start < end <= units
    return unit == "utf16" and inside and min(in_characters((start, end), text, unit)) < 0


def _plain(form: str) -> str:
    return " ".join(form.split()).casefold()


def without_blanks(start: int, end: int, text: str) -> tuple[int, int]:
    """The bounds without blanks at the ends; unchanged if all is blank."""
    visible = [at for at in range(start, end) if not is_blank(text[at])]
    return (visible[0], visible[-1] + 1) if visible else (start, end)


def fits_in_utf16(start: int, end: int, text: str, starts: Collection[int], ends: Collection[int]) -> bool:
    """Whether a span read in characters would begin and end at these places if it counted UTF-16 units. It may have
    lost blanks at its ends."""
    first, last = start, end
    while first > 0 and is_blank(text[first - 1]):
        first -= 1
    while last < len(text) and is_blank(text[last]):
        last += 1
    begins = in_characters(range(first, start + 1), text, "utf16")
    stops = in_characters(range(end, last + 1), text, "utf16")
    other = (begins[-1], stops[0]) != (start, end)
    return other and not set(starts).isdisjoint(begins) and not set(ends).isdisjoint(stops)


def _characters_at(text: str) -> dict[int, int]:
    """Offset in UTF-16 units → offset in characters, for each start of a character and the text's end."""
    units = accumulate((1 + (character > "\uffff") for character in text), initial=0)
    return {offset: at for at, offset in enumerate(units)}
