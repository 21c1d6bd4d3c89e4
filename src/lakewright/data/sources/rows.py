"""Python dicts as one Arrow stream; their keys and types may come in any order.

The type of a column is known only after the last row: batches wait, each with its own types, in a temporary file (in
memory while small); they are then read back with common types.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any

import pyarrow as pa

from lakewright.data.lake.types import cast, named, simplified, storable
from lakewright.data.sources import Intake, check_types
from lakewright.data.sources.words import Seen, read_as_missing
from lakewright.data.sources.written import typed
from lakewright.errors import SHOWN, DataError, shown

_ROWS = 5_000
_IN_MEMORY_BYTES = 64 << 20
# Metadata of a text column whose values were lists with several types, or objects that contain such lists.
_JSON = {list: {b"json": b"lists"}, dict: {b"json": b"objects"}}
_WORDS = {b"words": b"missing"}  # metadata of a text column that has held nothing but words for a missing value so far


def from_rows(
    rows: Iterable[tuple[str, Any]],
    types: Mapping[str, str] | None,
    intake: Intake,
    words: frozenset[str] = frozenset(),
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The rows' columns and batches. Each row comes with its place ("data.json line 3"), for messages.

    A key that a row lacks is null. `types` (SQL names) fixes columns, and is None if the source has no such option; the
    others get the type that holds all their values: whole numbers become floats beside floats. Lists with values of
    several types, such as the span [0, 4, "PER"], and objects that contain such lists become text: JSON. In a column of
    numbers, and in one that `types` declares as numbers or times, the `words` are null, and a finding names them.
    Raises DataError, which names the place where a column changes its kind, and UsageError for a type of a column that
    no row has.
    """
    declared = types
    if types is not None:
        types = {**intake.types, **types}
    waiting = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - the stream reads it to its end
    schema = pa.schema([])
    seen: dict[str, Seen] = {}
    rows = iter(rows)
    while chunk := list(islice(rows, _ROWS)):
        batch, texts = _batch(chunk, types, intake, words, seen)
        schema = _widened(schema, batch, chunk, types)
        for each in (batch, texts):
            with pa.ipc.new_stream(waiting, each.schema) as writer:
                writer.write_batch(each)
    size = waiting.tell()
    if size:
        check_types(declared or {}, [*schema.names, *intake.left_out])
    lost = {each.name: seen[each.name] for each in schema if each.name in seen and not pa.types.is_string(each.type)}
    for finding in read_as_missing(lost):
        intake.notice(finding)
    schema = storable(simplified(schema, intake.notice))
    for name, kind in intake.types.items() if types is not None else ():
        if name not in schema.names:  # no row of these has the key
            schema = schema.append(pa.field(name, named(kind)))

    def batches() -> Iterator[pa.RecordBatch]:
        with waiting:
            waiting.seek(0)
            while waiting.tell() < size:
                (batch,) = pa.ipc.open_stream(waiting)
                (texts,) = pa.ipc.open_stream(waiting)
                yield _completed(batch, texts, schema)

    return schema, batches()


def _batch(
    chunk: list[tuple[str, Any]],
    types: Mapping[str, str] | None,
    intake: Intake,
    words: frozenset[str],
    seen: dict[str, Seen],
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows' columns; and the columns of objects as JSON, in case later rows make them text, because structs would
    give all objects of a column the same keys."""
    names: dict[str, None] = {}
    for place, row in chunk:
        if not isinstance(row, Mapping):
            raise DataError(
                f"{place}: the row is of type {type(row).__name__}, not an object",
                "write each row as an object: {column: value}",
            )
        names.update(dict.fromkeys(row))
    included = intake.kept(names)
    columns = []
    for name in included:
        values, kind = [row.get(name) for _, row in chunk], (types or {}).get(name)
        metadata = None
        if words and name not in intake.as_written and (places := _words_among(values, kind, words)):
            seen.setdefault(str(name), Seen()).add(Counter(places.values()), [chunk[at][0] for at in sorted(places)])
            values, metadata = _without(values, kind, places)
        column, nested = _column(name, values, kind, chunk, types)
        columns.append((column, nested or metadata))
    fields = [
        pa.field(str(name), column.type, metadata=metadata)
        for name, (column, metadata) in zip(included, columns, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays([column for column, _ in columns], schema=pa.schema(fields))
    objects = [name for name, (column, _) in zip(included, columns, strict=True) if _has_objects(column.type)]
    texts = [_array([row.get(name) for _, row in chunk], "string") for name in objects]
    return batch, pa.record_batch(texts, list(map(str, objects)))


def _has_objects(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) or (pa.types.is_list(kind) and _has_objects(kind.value_type)))


def _words_among(values: list[Any], kind: str | None, words: frozenset[str]) -> dict[int, str]:
    """Place → the word, of values that are words for a missing value: where all others are numbers, or are declared
    as numbers or times (`kind`)."""
    if kind in ("string", "boolean", "binary"):
        return {}
    texts = [(at, value) for at, value in enumerate(values) if isinstance(value, str)]
    places = {at: text for at, text in texts if text.strip().lower() in words}
    if kind is None and len(places) < len(texts):
        return {}
    if any(isinstance(value, bool | list | dict) for value in values):
        return {}
    places |= {at: "NaN" for at, value in enumerate(values) if isinstance(value, float) and value != value}
    numbers = {float(word) for word in words if _is_number(word)}  # -999, if the project names it
    if numbers:
        places |= {at: str(value) for at, value in enumerate(values) if not isinstance(value, str) and value in numbers}
    return places


def _without(
    values: list[Any], kind: str | None, places: Mapping[int, str]
) -> tuple[list[Any], dict[bytes, bytes] | None]:
    """The values with null at these places; as they are, with the column's metadata, if all are words: later rows tell
    whether it is a column of numbers."""
    if kind is None and all(
        value is None or (at in places and isinstance(value, str)) for at, value in enumerate(values)
    ):
        return values, _WORDS
    return [None if at in places else value for at, value in enumerate(values)], None


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _column(
    name: str,
    values: list[Any],
    kind: str | None,
    chunk: list[tuple[str, Any]],
    types: Mapping[str, str] | None,
) -> tuple[pa.Array, dict[bytes, bytes] | None]:
    try:
        str(name).encode()
        return _array(values, kind), None
    except (pa.ArrowException, OverflowError) as error:
        for nested, metadata in _JSON.items() if kind is None else ():
            alike = all(value is None or isinstance(value, nested) for value in values)
            if alike and not all(_go_together([value], None) for value in values):
                return _array(values, "string"), metadata
        # the first row that does not fit those before it
        row = bisect_left(range(len(values)), True, key=lambda last: not _go_together(values[: last + 1], kind))
        if kind is None and isinstance(values[row], int) and abs(values[row]) >= 2**63:
            double = "" if types is None else f"read the column as floats, options: {{types: {{{name}: double}}}}, or "
            raise DataError(
                f"{chunk[row][0]}: the value of column {shown(name)} is a whole number beyond 64 bits: "
                f"{shown(values[row])}",
                f"{double}write such numbers as text, or leave the column out: data.exclude: [{name}]",
            ) from None
        raise _changed(name, chunk[row][0], str(error), types) from None  # its message quotes the whole value
    except UnicodeEncodeError as error:
        place = next(place for place, row in chunk if name in row and not _is_unicode([name, row[name]]))
        raise DataError(
            f"{place}: the value of column {shown(name)} holds half of a surrogate pair, which is not a character: "
            f"{error.object[error.start]!a}",
            "write the whole character, or U+FFFD in its place; cut texts only between characters",
        ) from error


def _array(values: list[Any], kind: str | None) -> pa.Array:
    if kind is None:
        return pa.array(values, from_pandas=True)
    if kind == "string" or any(isinstance(value, str) for value in values):
        texts = [
            value
            if value is None or isinstance(value, str)
            else getattr(value, "written", None) or json.dumps(value, default=str)
            for value in values
        ]
        return typed(pa.array(texts, pa.string()), kind)
    if pa.types.is_floating(named(kind)):  # Arrow takes whole numbers of 64 bits alone
        values = [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
    return pa.array(values, type=named(kind), from_pandas=True)


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _go_together(values: list[Any], kind: str | None) -> bool:
    try:
        _array(values, kind)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def _widened(
    schema: pa.Schema, batch: pa.RecordBatch, chunk: list[tuple[str, Any]], types: Mapping[str, str] | None
) -> pa.Schema:
    for field in batch.schema:
        position = schema.get_field_index(field.name)
        if position < 0:
            schema = schema.append(field)
            continue
        both = (schema.field(position), field)
        try:
            if any(one.metadata == _WORDS for one in both):
                schema = schema.set(position, _beside_words(both))
            elif any(one.metadata for one in both):
                schema = schema.set(position, _json_field(both))
            else:
                unified = pa.unify_schemas([pa.schema([one]) for one in both], promote_options="permissive")
                schema = schema.set(position, unified.field(0))
        except pa.ArrowException:
            place = next(place for place, row in chunk if row.get(field.name) is not None)
            before, after = (
                "lists of several types" if one.metadata in _JSON.values() else shown(one.type) for one in both
            )
            cause = f"{before} before, {after} here"
            raise _changed(field.name, place, cause, types) from None
    return schema


def _beside_words(both: tuple[pa.Field, pa.Field]) -> pa.Field:
    """The column of two, of which one holds only words for a missing value: numbers, if the other does. Raises
    ArrowInvalid if the other has neither texts nor numbers."""
    others = [one for one in both if one.metadata != _WORDS and not pa.types.is_null(one.type)]
    if not others:
        return next(one for one in both if one.metadata == _WORDS)
    (other,) = others
    is_number = pa.types.is_integer(other.type) or pa.types.is_floating(other.type)
    if other.metadata or not (is_number or pa.types.is_string(other.type)):
        raise pa.ArrowInvalid("texts, and other values")
    return other


def _json_field(both: tuple[pa.Field, pa.Field]) -> pa.Field:
    """Raises ArrowInvalid if one holds lists, or objects, and the other something else."""
    before, after = (one.metadata or _as_json(one.type) for one in both)
    if before and after and before != after:
        raise pa.ArrowInvalid("lists or objects, and other values")
    return pa.field(both[0].name, pa.string(), metadata=before or after)


def _as_json(kind: pa.DataType) -> dict[bytes, bytes] | None:
    """The metadata of values of this type if they become JSON; None if there are no values."""
    if pa.types.is_null(kind):
        return None
    if pa.types.is_list(kind):
        return _JSON[list]
    return _JSON[dict] if pa.types.is_struct(kind) else {b"json": b"nothing"}


def _changed(column: str, place: str, cause: str, types: Mapping[str, str] | None) -> DataError:
    if column in (types or {}):
        return DataError(
            f"{place}: the value of column {shown(column)} is not of type {(types or {})[column]}: {_cut(cause)}",
            "correct the value, write null for a missing value, or declare another type",
        )
    as_text = "" if types is None else f", read them as text with options: {{types: {{{column}: string}}}}"
    return DataError(
        f"{place}: the value of column {shown(column)} does not fit the values before it: {_cut(cause)}",
        f"give all its values one type{as_text}, or leave the column out: data.exclude: [{column}]",
    )


def _cut(cause: str) -> str:
    """pyarrow quotes whole values, so its message is cut."""
    text = " ".join(cause[:1000].split())
    return text if len(text) <= 3 * SHOWN else f"{text[: 2 * SHOWN]} … {text[-SHOWN:]}"


def _completed(batch: pa.RecordBatch, texts: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    for field in schema:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
        elif pa.types.is_string(field.type) and pa.types.is_nested(batch.column(position).type):
            prepared = field.name in texts.schema.names
            text = texts[field.name] if prepared else _array(batch.column(position).to_pylist(), "string")
            batch = batch.set_column(position, field, text)
        elif batch.schema.field(position).metadata == _WORDS and not pa.types.is_string(field.type):
            batch = batch.set_column(position, field, pa.nulls(batch.num_rows, field.type))
    return cast(batch, schema, cut_times=True)
