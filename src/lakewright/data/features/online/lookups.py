"""Rows with the values that their keys have in a store: what a row may leave out if it has the key.

A value that a row brings itself counts, and not the store's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from lakewright.data.features.online.entries import Layout, Rewritten
from lakewright.data.lake.names import TableName
from lakewright.errors import DataError, NotFound, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features.online import OnlineStore

Row = Mapping[str, Any]
Unknown = Mapping[int, list[str]]  # number of a row → its inputs of which the store has no value


@dataclass(frozen=True)
class Lookup:
    """Values of a feature table, by the names that a model's rows have for them."""

    table: str
    keys: Mapping[str, str]  # key of the table → its name in a row
    values: Mapping[str, str]  # value of the table → its name in a row: those that the model reads


def lookups_in(described: Sequence[Mapping[str, Any]], inputs: Collection[str]) -> list[Lookup]:
    """Those that a model folder describes, with the values that are its inputs."""
    return [
        Lookup(
            str(TableName.parse(each["table"])[0]),
            {**each["keys"]},
            {value: name for value, name in each["values"].items() if name in inputs},
        )
        for each in described
    ]


def values_online(store: OnlineStore, table: str, keys: Sequence[Row]) -> list[dict[str, Any]]:
    """Each key with its values, null where it has none, or they are older than the time to live. Raises NotFound for a
    table that was not published, DataError for a key that lacks a part or has another."""
    published = store.published(table)
    if published is None:
        raise _not_published(table)
    for at, key in enumerate(keys):
        if {*key} != {*published.keys}:
            raise DataError(
                f"key {at} names {', '.join(key)}, and {table} has the keys {', '.join(published.keys)}",
                f"give {' '.join(f'{name}=VALUE' for name in published.keys)}",
            )
    lookup = Lookup(table, {name: name for name in published.keys}, {name: name for name in published.values})
    completed, _ = Lookups([lookup], store, published.keys).completed(keys)
    return [{name: row[name] for name in (*published.keys, *published.values)} for row in completed]


def _not_published(table: str) -> NotFound:
    return NotFound(
        f"the online store has no values of {table}",
        f"publish them: lakewright features publish {table}; or send all inputs",
    )


class Lookups:
    """The lookups of a model, in a store."""

    def __init__(self, lookups: Sequence[Lookup], store: OnlineStore, inputs: Collection[str]) -> None:
        """`inputs` are those of the model."""
        self.store = store
        self._no_inputs = {column for each in lookups for column in each.keys.values()} - {*inputs}
        self._lookups = [each for each in lookups if each.values]
        self._values = [(each, tuple(each.values.values())) for each in self._lookups]
        self._layouts: dict[str, Layout] = {}

    def check(self) -> None:
        """Raises NotFound for a table that the store lacks, DataError for one that lacks a value, NoStore."""
        for lookup in self._lookups:
            self._layout(lookup)

    def lacks(self, rows: Sequence[Any]) -> bool:
        """Whether a row leaves out a value."""
        return any(
            isinstance(row, Mapping) and any(name not in row for name in names)
            for _, names in self._values
            for row in rows
        )

    def completed(self, rows: Sequence[Any], now: datetime | None = None) -> tuple[list[Any], Unknown]:
        """The rows with the values that they leave out, null where the key has none, and which those are. Raises
        DataError for a row with a part of a key or a key of another type, and what `check` raises."""
        completed, unknown, looked_up = list(rows), dict[int, list[str]](), set[int]()
        now = now or datetime.now(UTC)
        for lookup, names in self._values:
            keys = {
                at: {key: row[column] for key, column in lookup.keys.items() if column in row}
                for at, row in enumerate(completed)
                if isinstance(row, Mapping) and any(name not in row for name in names)
            }
            for at, key in keys.items():
                if not key:
                    _raise_lacking(lookup, completed[at], at)
            if not keys:
                continue
            for at, values in zip(keys, self._values_of(lookup, keys, now), strict=True):
                row, found = completed[at], dict(zip(names, values, strict=True))
                if lacking := [name for name in names if name not in row and found[name] is None]:
                    unknown.setdefault(at, []).extend(lacking)
                completed[at] = {**found, **row}
                looked_up.add(at)
        for at in looked_up:  # a key that is no input would look like a misspelt one
            completed[at] = {name: value for name, value in completed[at].items() if name not in self._no_inputs}
        return completed, unknown

    def completed_table(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, Unknown]:
        """The same of columns: those that are absent are looked up."""
        import pyarrow as pa

        from lakewright.data.lake.types import named

        unknown: dict[int, list[str]] = {}
        for lookup, names in self._values:
            absent = [name for name in names if name not in rows.schema.names]
            if not absent:
                continue
            if not {*lookup.keys.values()} <= {*rows.schema.names}:
                _raise_lacking(lookup, dict.fromkeys(rows.schema.names), 0)
            columns = zip(*(rows.column(each).to_pylist() for each in lookup.keys.values()), strict=True)
            keys = {at: dict(zip(lookup.keys, key, strict=True)) for at, key in enumerate(columns)}
            found = self._values_of(lookup, keys, datetime.now(UTC))
            kinds = self._layout(lookup).values
            for place, (value, name) in enumerate(lookup.values.items()):
                if name in absent:
                    column = [values[place] for values in found]
                    rows = rows.append_column(name, pa.array(column, named(kinds[value])))
                    for at, each in enumerate(column):
                        if each is None:
                            unknown.setdefault(at, []).append(name)
        return rows, unknown

    def _values_of(self, lookup: Lookup, keys: Mapping[int, Row], now: datetime) -> list[list[Any]]:
        """Of each row's key, in the order of the lookup's values; null where it has none, or where they are too old."""
        layout = self._layout(lookup)
        read = [_read_key(layout, lookup, key, at) for at, key in keys.items()]
        try:
            return self._found(lookup, layout, read, now)
        except Rewritten:  # the table was made anew since
            del self._layouts[lookup.table]
            return self._found(lookup, self._layout(lookup), read, now)

    def _found(self, lookup: Lookup, layout: Layout, keys: Sequence[str | None], now: datetime) -> list[list[Any]]:
        got = self.store.get(lookup.table, [key for key in keys if key is not None])
        if None in got and self.store.published(lookup.table) is None:  # not the key is unknown: the table is gone
            self._layouts.pop(lookup.table, None)
            raise _not_published(lookup.table)
        entries = iter(got)
        every = [*layout.values]
        places = [every.index(value) for value in lookup.values]
        found: list[list[Any]] = []
        for key in keys:
            entry = None if key is None else next(entries)
            values = None if entry is None else layout.read(entry, now)
            found.append([None] * len(places) if values is None else [values[place] for place in places])
        return found

    def _layout(self, lookup: Lookup) -> Layout:
        layout = self._layouts.get(lookup.table)
        if layout is None:
            published = self.store.published(lookup.table)
            if published is None:
                raise _not_published(lookup.table)
            layout = Layout.published(published)
            if {*layout.keys} != {*lookup.keys}:
                raise DataError(
                    f"the model looks values of {lookup.table} up by {', '.join(lookup.keys)}, and the online store "
                    f"has them by {', '.join(layout.keys)}",
                    "send all inputs, or train with the table as it is",
                )
            for value in lookup.values:
                if value not in layout.values:
                    raise DataError(
                        f"the online store's {lookup.table} has no value {value!r}, which the model reads",
                        f"publish a table that has it, or send all inputs; {nearest(value, layout.values)}",
                    )
            self._layouts[lookup.table] = layout
        return layout


def _raise_lacking(lookup: Lookup, row: Row, at: int) -> NoReturn:
    name = next(name for name in lookup.values.values() if name not in row)
    keys = ", ".join(lookup.keys.values())
    raise DataError(
        f"row {at} has no {name!r}, and no {keys}, by which {lookup.table} has it",
        f"give {keys}, or {name!r} itself, null if it is not known",
    )


def _read_key(layout: Layout, lookup: Lookup, key: Row, at: int) -> str | None:
    for part, column in lookup.keys.items():
        if part not in key:
            raise DataError(
                f"row {at} has no {column!r}, a part of the key of {lookup.table}",
                f"give all of the key: {', '.join(lookup.keys.values())}; or all inputs",
            )
    try:
        return layout.read_key([key[part] for part in layout.keys])
    except DataError as failure:
        raise DataError(f"row {at}: {failure.cause}", failure.remedy) from None
