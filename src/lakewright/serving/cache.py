"""Answers to frequent rows, each one model's: the row that was not asked for the longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from lakewright.tasks import Row

Answer = TypeVar("Answer")


class Answers(Generic[Answer]):
    """At most `most` answers, by the digest of the model's files and the row."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self.hits = self.misses = 0

    def get(self, digest: str, row: Row) -> Answer | None:
        key = _key(digest, row)
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self._kept.move_to_end(key)
        return found

    def put(self, digest: str, row: Row, answer: Answer) -> None:
        self._kept[_key(digest, row)] = answer
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


def _key(digest: str, row: Row) -> Hashable:
    return digest, *(tuple(value) if isinstance(value, list) else value for value in row.values())
