"""Repeated texts of a table, and the rows that stay so that no text is in two splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.keys import digest
from lakewright.errors import UsageError

COARSE_REPEATS = 0.05  # share of the rows of a table …
COARSE_CONFLICTS = 0.1  # … and, of the rows that are equal to others, those with another truth
IDENTITY = np.dtype([("high", np.uint64), ("low", np.uint64), ("exact", np.int64)])


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The rows that repeat others; rows are positions in the texts, counted from 0, in ascending order."""

    exact: npt.NDArray[np.int64]  # rows whose text an earlier row has, letter for letter
    normalised: npt.NDArray[np.int64]  # rows whose normalised text an earlier row has; includes exact
    conflicting: npt.NDArray[np.int64]  # rows whose normalised text has another truth elsewhere
    group_of_row: npt.NDArray[np.int64]  # (rows,): the same number for the same normalised text

    @property
    def are_coarse(self) -> bool:
        """Whether equal rows are different things rather than copies: a copy has its original's truth, too."""
        rows = len(self.group_of_row)
        equal = int((np.bincount(self.group_of_row) > 1).sum()) + len(self.normalised)
        return len(self.normalised) > COARSE_REPEATS * rows and len(self.conflicting) > COARSE_CONFLICTS * equal


def normalise(text: str) -> str:
    """The text without differences that a reader would ignore: Unicode's NFKC, case-folded, white space collapsed.

    NFKC runs before folding, because it can make capitals ('㎒' is 'MHz'), and after it, because folding can undo
    composition (The Unicode Standard, section 3.13, compatibility caseless matching).
    """
    if text.isascii():  # NFKC does not change ASCII, and most texts are ASCII
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split())


def identities(texts: Iterable[str]) -> npt.NDArray[np.void]:
    """The identity of each text, 24 bytes for any length: (texts,) of IDENTITY.

    16 bytes of BLAKE2 of the normalised text: two of a million texts share them with a chance of about 1e-27. And 8
    bytes of the original text, which are compared only among equal normalised texts.
    """
    pairs = (digest(normalise(text), 16) + digest(text) for text in texts)
    return np.fromiter(pairs, dtype="S24").view(IDENTITY)


def codes(values: Iterable[Hashable] | npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """The same number for the same value, (len(values),): counted from 0 in the order of first occurrence."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "iu":
            return _numbered(values)
        values = values.tolist()
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), dtype=np.int64)


def find_duplicates(texts: Iterable[str], truths: Iterable[Hashable] | npt.NDArray[np.str_] | None) -> Duplicates:
    """The repeats among `texts`, read once; `truths` (labels, tuples of tags, …) has one a text."""
    return duplicates_of(identities(texts), None if truths is None else codes(truths))


def duplicates_of(texts: npt.NDArray[np.void], truths: npt.NDArray[np.integer] | None) -> Duplicates:
    """The repeats among texts, by their `identities`; `truths` has equal numbers for equal truths."""
    group_of_row = _numbered(texts["high"], texts["low"])
    normalised = _repeats(group_of_row)
    # Only rows of groups with several rows can be exact or conflicting, and those are few.
    several = np.flatnonzero(np.bincount(group_of_row)[group_of_row] > 1) if len(normalised) else normalised
    groups = group_of_row[several]
    conflicting = several[:0] if truths is None else several[_conflicts(groups, codes(truths[several]))]
    return Duplicates(
        exact=several[_repeats(_numbered(groups, texts["exact"][several]))],
        normalised=normalised,
        conflicting=conflicting,
        group_of_row=group_of_row,
    )


def drop_duplicates(
    group_of_row: npt.NDArray[np.int64],
    split: npt.NDArray[np.generic],
    priority: Sequence[str] = ("test", "validation", "train"),
) -> npt.NDArray[np.bool_]:
    """Which rows stay, (rows,), so that no group is in two splits.

    A group stays in its first split by `priority`. The first split keeps all its rows, repeats too, so that a published
    test split stays whole and its metrics comparable; the others keep the first row of a group.

    Raises UsageError for a split that `priority` does not name.
    """
    rank = np.full(len(split), len(priority), dtype=np.int8)
    for place, name in enumerate(priority):
        rank[split == name] = place
    unknown = np.unique(split[rank == len(priority)]).tolist()
    if unknown:
        raise UsageError(
            f"no priority is given to the split {unknown[0]!r}",
            f"name all splits of the rows in priority; now it is {', '.join(priority)}",
        )
    # By group, then by priority, then by row: a group stays in the split of its first row here.
    order = np.lexsort((rank, group_of_row))
    groups = group_of_row[order]
    first_of_group = np.ones(len(order), dtype=np.bool_)
    first_of_group[1:] = groups[1:] != groups[:-1]
    keep = np.zeros(len(split), dtype=np.bool_)
    keep[order[first_of_group]] = True
    keep[rank == 0] = True
    return keep


def _numbered(*keys: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """`codes` of rows, which are equal if all their keys are equal, without a Python object a row."""
    order = np.lexsort(keys)  # stable: of equal rows the first comes first
    new = np.zeros(len(order), dtype=np.bool_)
    new[:1] = True
    for key in keys:
        in_order = key[order]
        new[1:] |= in_order[1:] != in_order[:-1]
        del in_order
    first = np.arange(len(order))
    first[~new] = 0
    np.maximum.accumulate(first, out=first)  # for each place in the order, the start of its equals
    first_row = np.empty_like(order)
    first_row[order] = order[first]
    del order, first
    number: npt.NDArray[np.int64] = np.cumsum(first_row == np.arange(len(first_row))) - 1
    return number[first_row]


def _repeats(codes_of_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows whose code an earlier row has: codes count up by first occurrence, so a new one exceeds all before."""
    highest = np.maximum.accumulate(codes_of_rows)
    return np.flatnonzero(codes_of_rows[1:] <= highest[:-1]) + 1


def _conflicts(group_of_row: npt.NDArray[np.int64], truth_of_row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows whose group holds more than one truth."""
    width = int(truth_of_row.max(initial=0)) + 1
    truths_of_group = np.bincount(np.unique(group_of_row * width + truth_of_row) // width)
    return np.flatnonzero(truths_of_group[group_of_row] > 1)
