"""A column of lists, row by row: names of labels or, if nothing else is possible, multi-hot vectors of 0 and 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lakewright.data.rows.truths import from_json, label_name
from lakewright.errors import DataError, nearest, shown

BITS = {"0": False, "0.0": False, "1": True, "1.0": True}
PRINTED = {"0": False, "0.": False, "1": True, "1.": True, "True": True, "False": False}  # numpy's printed bits


@dataclass
class LabelLists:
    """Reads every list of a column, returns the labels of each, and checks in the end whether that was right.

    `labels` are the names of the labels, in the order of a vector's places; without them no list is read as a vector.
    """

    labels: Sequence[str] | None = None
    vectors: bool = False  # some lists were read as vectors
    names: bool = False  # some lists were read as names
    lengths: set[int] = field(default_factory=set)  # of lists read as names
    only_bits: bool = True  # these hold only 0 and 1
    repeats: bool = False  # one of these has the same bit twice, unlike a list of names

    def merge(self, later: LabelLists) -> None:
        """Adds what was seen in other rows."""
        self.vectors |= later.vectors
        self.names |= later.names
        self.lengths |= later.lengths
        self.only_bits &= later.only_bits
        self.repeats |= later.repeats

    def read(self, value: Any) -> list[str]:
        """The labels of one row, sorted. Raises ValueError for a list of neither names nor bits."""
        values = _values(value)
        bits = _bits(values)
        repeats = bits is not None and len(set(bits)) < len(bits)
        if self.labels is not None and values and bits is not None and (repeats or len(bits) == len(self.labels)):
            self.vectors = True
            return sorted(_marked(bits, self.labels))
        self.names |= bool(values)
        self.lengths.add(len(values))
        self.only_bits &= bits is not None
        self.repeats |= repeats
        row_labels = sorted({label_name(value) for value in values})
        unknown = next((name for name in row_labels if self.labels is not None and name not in self.labels), None)
        if unknown is not None:
            raise ValueError(f"task.labels lacks {shown(unknown)}: {nearest(unknown, self.labels or ())}")
        return row_labels

    @property
    def unnamed_vectors(self) -> bool:
        """Whether the lists read as names were vectors: of one length, with only 0 and 1."""
        alike = len(self.lengths) == 1 and self.lengths != {0}
        return self.labels is None and self.only_bits and (alike or self.repeats)

    def check(self, column: str) -> None:
        """Call it after the last row. Raises DataError."""
        if self.unnamed_vectors:
            size = " or ".join(str(length) for length in sorted(self.lengths - {0})[:3])
            raise DataError(
                f"the column {column!r} (data.columns.labels) holds lists of {size} values that are all 0 or 1: "
                "multi-hot vectors, whose places have no names",
                "name the label of each place, in their order: task: {name: multilabel_classification, "
                "labels: [one, two]}; or make columns of 0 and 1 of them: data.columns.labels: [one, two]",
            )
        if self.vectors and self.names:
            raise DataError(
                f"the column {column!r} (data.columns.labels) holds multi-hot vectors in some rows and names of labels "
                "in others",
                "write all rows in one form at the source",
            )


def _values(value: Any) -> list[Any]:
    if isinstance(value, str) and re.fullmatch(r"\[[\s,.01TrueFals]*\]", value):
        printed = [PRINTED.get(word) for word in re.split(r"[\s,]+", value[1:-1].strip(", \n")) if word]
        if None not in printed:
            return printed
    values = from_json(value)
    if isinstance(values, dict) and values.keys() == {"choices"}:  # Label Studio's export of several choices
        values = values["choices"]
    if not isinstance(values, list):
        raise ValueError(f"{shown(value)} is not a list of labels")
    return values


def _bits(values: Sequence[Any]) -> list[bool | None] | None:
    """The list's bits, None for a null value; None for a list with anything but 0 and 1."""
    bits: list[bool | None] = []
    for value in values:
        if value is None or value != value:
            bits.append(None)
        elif isinstance(value, str) and value in BITS:
            bits.append(BITS[value])
        elif not isinstance(value, str | list | dict) and value in (0, 1):
            bits.append(bool(value))
        else:
            return None
    return bits


def _marked(bits: Sequence[bool | None], labels: Sequence[str]) -> list[str]:
    if len(bits) != len(labels):
        raise ValueError(f"a vector has {len(bits)} places, and task.labels names {len(labels)} labels")
    if None in bits:
        raise ValueError("a place of the vector is null")
    return [label for label, bit in zip(labels, bits, strict=True) if bit]
