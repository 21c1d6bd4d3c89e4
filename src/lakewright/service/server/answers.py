"""Answers to frequent rows, each one model's: the row that was not asked for the longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

from pydantic_core import to_json

from lakewright.data.rows.kinds import Row
from lakewright.system.memory import size_of

Answer = TypeVar("Answer")
ENTRY = 200  # bytes that an answer's place takes beside it


class Answers(Generic[Answer]):
    """At most `rows` answers of at most `size` bytes together, by the digest of the model's files and the row. Rows are
    known by their hash: a text of a megabyte takes no more than one of a word."""

    def __init__(self, rows: int, size: int) -> None:
        self._rows, self._most, self._size = rows, size, 0
        self._kept: OrderedDict[bytes, tuple[Answer, int]] = OrderedDict()

    def get(self, key: bytes) -> Answer | None:
        if (found := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, answer: Answer) -> None:
        size = size_of(answer) + ENTRY
        if size > self._most or key in self._kept:
            return
        self._kept[key] = (answer, size)
        self._size += size
        while len(self._kept) > self._rows or self._size > self._most:
            self._size -= self._kept.popitem(last=False)[1][1]


def key_of(digest: str, row: Row) -> bytes:
    return blake2b(to_json([digest, *row.values()]), digest_size=32).digest()
