"""What the rows of a batch hold, whatever they are made of: whether anything, which are equal, what looks damaged.

A row with texts is compared as one text. Rows of columns alone are compared a column at a time, and of a category each
distinct value once, so that no Python object is made for each value of a wide table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.rows.arrays import KINDS, Array, is_missing
from lakewright.data.rows.coded import Coded
from lakewright.data.rows.duplicates import IDENTITY, identities
from lakewright.data.rows.keys import digest, mixed
from lakewright.data.rows.kinds import Kind, missing, whole_rows

if TYPE_CHECKING:
    from lakewright.data.rows.reading import Batch

# UTF-8's bytes 80–BF in Windows-1252 or Latin-1: they follow a lead byte in text that was decoded wrongly.
_CONTINUED = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# Characters that show a wrong encoding: by finding, RE2's pattern and the remedy.
BROKEN = {
    "control_characters": (
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]",
        "with control characters: strip them, or check which program wrote them; U+0080 to U+009F come from cp1252 "
        "that was read as latin-1 (data.options.encoding).",
    ),
    "replacement_characters": (
        r"\x{fffd}",
        "with U+FFFD (�), where a letter was lost before: read the source with its own encoding.",
    ),
    "mojibake": (
        f"[ÃÂ][{_CONTINUED}]|â[€„][{_CONTINUED}]|ï»¿|ðŸ[{_CONTINUED}]",
        "that look like UTF-8 read as another encoding (Ã© for é): read the source as UTF-8.",
    ),
}
VERY_LONG = 20_000  # characters: about 5,000 tokens, ten times what a BERT-type encoder reads

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Contents:
    """[rows] each."""

    texts: Sequence[str | None]  # the whole row as text; None if it holds nothing, or lacks a text that it needs
    is_usable: Mask  # whether it does not
    identities: npt.NDArray[np.void]  # see `duplicates.identities`
    very_long: Mask
    broken: Mapping[str, Mask]  # by the name in BROKEN


def contents(batch: Batch, inputs: Mapping[str, Kind]) -> Contents:
    if {*inputs.values()} <= KINDS:
        return _of_columns(batch.values, WholeRows(batch.task_columns, inputs))
    return of_texts(whole_rows(batch.task_columns, inputs))


def of_texts(texts: Sequence[str | None]) -> Contents:
    column = pa.array(texts, pa.string())
    return Contents(
        texts,
        np.fromiter((not missing(text) for text in texts), np.bool_, len(texts)),
        identities(text or "" for text in texts),
        np.fromiter((text is not None and len(text) > VERY_LONG for text in texts), np.bool_, len(texts)),
        {name: _matches(column, pattern) for name, (pattern, _) in BROKEN.items()},
    )


def _of_columns(values: Mapping[str, Array], texts: Sequence[str | None]) -> Contents:
    rows = len(texts)
    is_usable, very_long = np.zeros((2, rows), np.bool_)
    broken = {name: np.zeros(rows, np.bool_) for name in BROKEN}
    lanes = {lane: np.zeros(rows, np.uint64) for lane in IDENTITY.names or ()}
    for name, each in values.items():
        lacks = is_missing(each)
        is_usable |= ~lacks
        if isinstance(each, Coded):
            distinct = [text or "" for text in each.texts]
            column = pa.array(distinct, pa.string())
            for finding, (pattern, _) in BROKEN.items():
                broken[finding] |= _matches(column, pattern)[each.codes]
            very_long |= np.fromiter((len(text) > VERY_LONG for text in distinct), np.bool_, len(distinct))[each.codes]
        numbers = _numbers_of(each)
        for lane, seen in lanes.items():
            own = np.where(lacks, np.uint64(0), mixed(numbers[lane] ^ _start(name, lane)))
            lanes[lane] = mixed(seen + own)
    identity = np.empty(rows, IDENTITY)
    for lane, seen in lanes.items():
        identity[lane] = seen.view(np.int64) if lane == "exact" else seen
    return Contents(texts, is_usable, identity, very_long, broken)


def _numbers_of(values: Array) -> Mapping[str, npt.NDArray[np.uint64]]:
    """64 bits of each value by lane, [rows]; in `high` and `low` equal for texts that are normalised alike."""
    if isinstance(values, Coded):
        by_text = identities(text or "" for text in values.texts)
        return {lane: by_text[lane].astype(np.uint64)[values.codes] for lane in IDENTITY.names or ()}
    bits = (values.view(np.int64) if values.dtype.kind == "M" else (values + 0.0).view(np.int64)).astype(np.uint64)
    return dict.fromkeys(IDENTITY.names or (), bits)  # 0.0 is added to make one zero of two


def _start(column: str, lane: str) -> np.uint64:
    return np.frombuffer(digest(f"{lane} {column}"), np.uint64)[0]  # type: ignore[no-any-return]


def _matches(column: pa.Array, pattern: str) -> Mask:
    matches: Mask = pc.fill_null(pc.match_substring_regex(column, pattern), False).to_numpy(zero_copy_only=False)
    return matches


@dataclass(frozen=True, eq=False)
class WholeRows(Sequence["str | None"]):
    """The text of each row, made when it is asked for."""

    table: pa.Table
    inputs: Mapping[str, Kind]

    @overload
    def __getitem__(self, at: int) -> str | None: ...

    @overload
    def __getitem__(self, at: slice) -> list[str | None]: ...

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return whole_rows(self.table.take(np.arange(len(self))[at]), self.inputs)
        return whole_rows(self.table.slice(at, 1), self.inputs)[0]

    def __len__(self) -> int:
        return int(self.table.num_rows)
