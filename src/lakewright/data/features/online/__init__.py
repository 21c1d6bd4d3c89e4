"""Feature values online: of each key, those that are known now, for whoever has only the key.

A table is published as a whole: its entries replace those that were there at once, so that a reader sees the former
ones or the new ones. Each store is one file, loaded through the entry points `lakewright.stores`.

    __init__.py    what a store is                   entries.py   a row as a key and bytes, and back
    sqlite.py      a file of this machine            publishing.py   the newest values of a table into a store
    redis.py       a server of Redis or Valkey       lookups.py   rows with the values that their keys have
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from lakewright.errors import DataError, NotFound, nearest
from lakewright.records import Record

if TYPE_CHECKING:
    from lakewright.settings.profile import StoreSettings

Entry = tuple[str, bytes]  # a key, and its values


class Published(Record):
    """What a store holds of a table."""

    table: str  # catalog.schema.table
    version: int  # of the table
    as_of: str  # the time at which the values were known, ISO 8601
    keys: dict[str, str]  # key → its type in SQL
    values: dict[str, str]  # value → its type
    ttl: float | None  # seconds after its event in which a value is used
    layout: str  # of the entries: another one where keys, values or the time to live are others
    entries: int


class OnlineStore(Protocol):
    settings: ClassVar[type[StoreSettings]]
    remote: ClassVar[bool]  # whether a get waits for another machine

    @classmethod
    def open(cls, settings: Any, folder: Path) -> Self:
        """The store of the profile's settings; `folder` is the workspace. Raises NoStore where it does not answer."""

    def replace(self, table: str, entries: Iterable[Sequence[Entry]], about: Mapping[str, Any]) -> Published:
        """Makes these the table's only entries, each key once, all at once; killed before the end, it has changed
        nothing. `about` is Published without the number of entries. Raises Superseded where the store holds what was
        known later, and whatever `entries` raises."""

    def published(self, table: str) -> Published | None:
        """What it holds of the table; None: it was not published."""

    def tables(self) -> Sequence[Published]:
        """All that it holds, by name."""

    def get(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        """The values of each key, in the keys' order; None: it has none."""

    def remove(self, table: str) -> bool:
        """Deletes the table's entries. Returns whether there were any."""


class Superseded(DataError):
    """The store holds values that were known later."""

    def __init__(self, current: Published) -> None:
        super().__init__(
            f"the online store holds {current.table}@v{current.version} as of {current.as_of}, which is later",
            "nothing was published; publish the table's newest version",
        )
        self.current = current

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.current,)


def check_order(current: Published | None, about: Mapping[str, Any]) -> None:
    """Raises Superseded where `current` was known later."""
    if current is not None and (current.version, current.as_of) > (about["version"], about["as_of"]):
        raise Superseded(current)


def remove(store: OnlineStore, table: str) -> None:
    """Raises NotFound where the store has nothing of the table."""
    if not store.remove(table):
        raise NotFound(
            f"the online store has no values of {table}", nearest(table, [each.table for each in store.tables()])
        )
