"""Words for a missing value among numbers and times: NA, N/A, null, -, ….

A column whose other values are all numbers, or all dates or times, reads them as missing, and a finding says so.
Everywhere else (labels, ids, groups, categories, texts) they are values like others: NA is Namibia.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakewright.errors import UsageError, shown
from lakewright.records import Finding

if TYPE_CHECKING:
    import pyarrow as pa

OPTION = "missing"
# In lower case.
PLACEHOLDERS = (
    *("n/a", "#n/a", "na", "n.a.", "null", "<null>", "(null)", "none", "nil", "nan", "undefined", "unknown", "missing"),
    *("not available", "not applicable", "no data", "tbd", "todo", "xxx", "-", "--", "---", "?", "??", "???", "."),
    *("...", "_", "\\n", "(blank)", "(none)", "(empty)", "[deleted]", "[removed]"),
)
_SHOWN = 5  # words, and rows, of a column
_KEPT = 20  # words of a column: with all their cases and white space, there may be many


def words_in(options: Mapping[str, Any]) -> frozenset[str]:
    """The words of the option `missing`, in lower case; PLACEHOLDERS by default. Raises UsageError for anything but a
    list of texts and numbers."""
    words = options.get(OPTION, PLACEHOLDERS)
    if not isinstance(words, list | tuple):
        raise UsageError(f"options.{OPTION} is {words!r}", f"for example {OPTION}: [NA, -999], or [] for none")
    for word in words:
        if not isinstance(word, str | int | float) or isinstance(word, bool):  # YAML changes no and ~
            raise UsageError(f"options.{OPTION} holds {word!r}, which is not a text", "write it in quotes")
    return frozenset(str(word).strip().lower() for word in words) - {""}


def are_words(values: pa.Array, words: frozenset[str]) -> pa.BooleanArray:
    """Which of these texts are words for a missing value, in whatever case and with white space around."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(values)), pa.array(sorted(words), pa.string()))


def without_words(column: pa.Array, words: frozenset[str]) -> pa.Array:
    """The column of texts with null for these words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(are_words(column, words), pa.scalar(None, pa.string()), column)


@dataclass
class Seen:
    """The words in a column so far: counted as they are written, with the first few places."""

    counts: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, counts: Mapping[str, int], places: Sequence[str]) -> None:
        self.total += sum(counts.values())
        for word, count in counts.items():
            if word in self.counts or len(self.counts) < _KEPT:
                self.counts[word] += count
        self.places += places[: _SHOWN - len(self.places)]

    def __str__(self) -> str:
        most = sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))
        words = ", ".join(f"{shown(word)} ({count:,})" for word, count in most[:_SHOWN])
        return f"{words}{', …' * (len(most) > _SHOWN)}: {', '.join(self.places)}{', …' * (self.total > _SHOWN)}"


def read_as_missing(seen: Mapping[str, Seen]) -> list[Finding]:
    """The finding on the columns with such words; none without a column."""
    if not seen:
        return []
    total, names = sum(each.total for each in seen.values()), list(seen)
    first = ", ".join(map(repr, names[:_SHOWN])) + ", …" * (len(names) > _SHOWN)
    detail = (
        f"{total:,} value{'s' * (total != 1)} of {len(names):,} column{'s' * (len(names) != 1)} ({first}) are words "
        "for a missing value among numbers or times, and are read as missing. If one means something else, name those "
        f"that are missing, or none: data.options.{OPTION}: []; data.options.types: {{{names[0]}: string}} keeps "
        "all of a column."
    )
    rows = [f"{name}: {each}" for name, each in seen.items()]
    return [Finding(name="words_read_as_missing", count=total, detail=detail, rows=rows)]
