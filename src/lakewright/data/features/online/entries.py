"""A row of a feature table as an entry of a store: its key as text, its event's time and its values as JSON.

What comes back is what the table holds: whole numbers of 64 bits, doubles to the last bit, texts, dates, times, bytes.
An entry begins with the layout that it was written in, so that nobody reads values of a table that was made anew.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from lakewright.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features import FeatureTable
    from lakewright.data.features.online import Entry, Published

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Convert = Callable[[Any], Any]


class Rewritten(Exception):
    """The entry was written in another layout."""


@dataclass(frozen=True)
class Layout:
    """How rows of a table become entries."""

    keys: Mapping[str, str]  # name → type in SQL
    values: Mapping[str, str]
    ttl: float | None  # seconds

    @classmethod
    def of(cls, table: FeatureTable) -> Layout:
        """Raises UsageError for values of a type that no store holds."""
        shown = table.as_json()
        layout = cls(shown["keys"], shown["values"], shown["ttl_seconds"])
        for name, kind in {**layout.keys, **layout.values}.items():
            if kind not in WRITE:
                raise UsageError(
                    f"the value {name!r} of {table.name} is of type {kind}, which no online store holds",
                    "publish a table with numbers, texts, truth values, dates and times",
                )
        return layout

    @classmethod
    def published(cls, about: Published) -> Layout:
        return cls(about.keys, about.values, about.ttl)

    @cached_property
    def digest(self) -> str:
        """Differs where keys, values or the time to live do."""
        written = json.dumps([list(self.keys.items()), list(self.values.items()), self.ttl])
        return hashlib.sha256(written.encode()).hexdigest()[:8]

    def entries(self, rows: pa.RecordBatch, event_time: str) -> Iterator[Entry]:
        """Of rows that have the keys, the values and the time of the event."""
        import pyarrow as pa

        writers = [WRITE[kind] for kind in self.values.values()]
        columns = [
            column if write is None else [None if each is None else write(each) for each in column]
            for write, column in zip(writers, (rows.column(name).to_pylist() for name in self.values), strict=True)
        ]
        events = rows.column(event_time).cast(pa.int64()).to_pylist()  # microseconds
        keys = zip(*(rows.column(name).to_pylist() for name in self.keys), strict=True)
        encode, digest = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode, self.digest
        for key, event, *values in zip(keys, events, *columns, strict=True):
            yield self.key(key), encode([digest, event, *values]).encode()

    def key(self, values: Sequence[Any]) -> str:
        """One text for each key. The values as the table has them."""
        texts = [_key_text(value) for value in values]
        return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)

    def read_key(self, values: Sequence[Any]) -> str | None:
        """The same from a request's JSON; None where a part of it is null. Raises DataError for a value of another
        type."""
        if len(values) == 1 and type(values[0]) in (int, str):  # the usual one, at once
            (kind,) = self.keys.values()
            if type(values[0]) is PLAIN_KEYS.get(kind):
                return str(values[0])
        if any(value is None or value != value for value in values):
            return None
        return self.key([read_part(value, *each) for value, each in zip(values, self.keys.items(), strict=True)])

    def read(self, entry: bytes, now: datetime) -> list[Any] | None:
        """The values, as the table has them; None: they are older than the time to live. Raises Rewritten."""
        values: list[Any]
        digest, event, *values = from_json(entry)
        if digest != self.digest:
            raise Rewritten
        if self.ttl is not None and EPOCH + event * MICROSECOND < now - timedelta(seconds=self.ttl):
            return None
        for place, convert in self._converted:
            if values[place] is not None:
                values[place] = convert(values[place])
        return values

    @cached_property
    def _converted(self) -> list[tuple[int, Convert]]:
        found = [(place, READ.get(kind)) for place, kind in enumerate(self.values.values())]
        return [(place, convert) for place, convert in found if convert is not None]


def _key_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)  # a datetime is a date


def read_part(value: Any, name: str, kind: str) -> Any:
    """A part of a key in a request, as the table has it. Raises DataError."""
    try:
        read = KEYS[kind](value)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        shown = repr(value)[:40] if isinstance(value, str | int | float | bool) else type(value).__name__
        raise DataError(f"the key {name!r} is {shown}, and keys are of type {kind}", "give it in that type") from None
    return read


def _whole(value: Any) -> int:
    """A text is one where a protocol has no numbers: CSV."""
    number = int(value)
    if isinstance(value, bool) or value not in (number, str(number)):
        raise ValueError
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _day(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else _without_time(value)


def _without_time(value: date) -> date:
    if isinstance(value, datetime):
        raise TypeError
    return value


def _moment(value: Any) -> datetime:
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _unzoned(value: Any) -> datetime:
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    if time.tzinfo is not None:
        raise ValueError
    return time


WHOLE = ("tinyint", "smallint", "int", "bigint")
PLAIN_KEYS: Mapping[str, type] = {**dict.fromkeys(WHOLE, int), "string": str}
KEYS: Mapping[str, Convert] = {
    **dict.fromkeys(WHOLE, _whole),
    "string": _text,
    "boolean": _truth,
    "date": _day,
    "timestamp": _moment,
    "timestamp_ntz": _unzoned,
}
# How a value is written into JSON; None: as it is.
WRITE: Mapping[str, Convert | None] = {
    **dict.fromkeys((*WHOLE, "float", "double", "string", "boolean")),
    "date": date.isoformat,
    "timestamp": datetime.isoformat,
    "timestamp_ntz": datetime.isoformat,
    "binary": lambda value: base64.b64encode(value).decode(),
}
READ: Mapping[str, Convert] = {
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamp_ntz": datetime.fromisoformat,
    "binary": base64.b64decode,
}
