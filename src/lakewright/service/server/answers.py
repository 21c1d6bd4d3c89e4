"""A cache of answers to frequent rows: the row that was not requested for the longest time is removed first."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

from pydantic_core import to_json

from lakewright.data.rows.kinds import Row
from lakewright.system.memory import size_of

Answer = TypeVar("Answer")
ENTRY = 200  # bytes of a cache entry beside the answer


class Answers(Generic[Answer]):
    """At most `rows` answers of at most `size` bytes together, by the digest of the model's files and the row. Rows are
    stored as hashes: a text of a megabyte takes no more memory than a word."""

    def __init__(self, rows: int, size: int) -> None:
        self._rows, self._most, self._size = rows, size, 0
        self._entries: OrderedDict[bytes, tuple[Answer, int]] = OrderedDict()

    def get(self, key: bytes) -> Answer | None:
        if (entry := self._entries.get(key)) is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, answer: Answer) -> None:
        size = size_of(answer) + ENTRY
        if size > self._most or key in self._entries:
            return
        self._entries[key] = (answer, size)
        self._size += size
        while len(self._entries) > self._rows or self._size > self._most:
            self._size -= self._entries.popitem(last=False)[1][1]


def key_of(digest: str, row: Row) -> bytes:
    return blake2b(to_json([digest, *row.values()]), digest_size=32).digest()
