"""A column of a database as a table stores it: exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa

from lakewright.data.lake.types import cast
from lakewright.errors import DataError

DIGITS = 38  # of a decimal, in a table


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as the server calls it
    digits: tuple[int, int] | None = None  # of a decimal: in all, and after the point; None: any, or no decimal


@dataclass(frozen=True)
class Read:
    """How a column is read."""

    name: str
    sql: str  # over the column, as the statement selects it
    kind: pa.DataType | None  # of its values; None: a decimal, of as many digits as it has
    checks: Mapping[str, str] = field(default_factory=dict)  # what cannot be read → the condition of such a row


def selected(reads: Sequence[Read], quoted: Sequence[str]) -> str:
    return ", ".join(f"{read.sql} as {name}" for read, name in zip(reads, quoted, strict=True))


def schema_of(reads: Sequence[Read], decimals: Mapping[str, tuple[int, int]]) -> pa.Schema:
    """`decimals`: column → the most digits that its values have before the point, and after it."""
    fields = []
    for read in reads:
        kind = read.kind
        if kind is None:
            before, after = decimals[read.name]
            if before + after > DIGITS:
                raise cannot_be_read(read.name, f"{before} digits before the point and {after} after it", None)
            kind = pa.decimal128(max(1, before + after), after)
        fields.append(pa.field(read.name, kind))
    return pa.schema(fields)


def cannot_be_read(column: str, what: str, count: int | None) -> DataError:
    rows = "" if count is None else f" in {count:,} row{'s' * (count != 1)}"
    return DataError(
        f"column {column!r} holds {what}{rows}, which a table cannot hold",
        "read it by a query that makes it null, or another type (data.options: {query: select cast(… as text) …}), "
        f"or leave it out (data.exclude: [{column}])",
    )


def as_declared(
    batches: Generator[pa.RecordBatch, None, None], schema: pa.Schema
) -> Generator[pa.RecordBatch, None, None]:
    """The batches in the types of the schema, which their texts are cast to. Raises DataError, which names the
    column."""
    with closing(batches):
        for batch in batches:
            columns = [_wide(column, each.type) for column, each in zip(batch.columns, schema, strict=True)]
            yield cast(pa.RecordBatch.from_arrays(columns, names=schema.names), schema)


def _wide(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Texts of decimals as wider ones: Arrow's cast of a text with more than 38 digits gives another number."""
    is_text = pa.types.is_string(column.type) and pa.types.is_decimal(kind)
    return column.cast(pa.decimal256(76, kind.scale)) if is_text else column


def nested_as_json(rows: pa.Table) -> pa.Table:
    """Lists, maps and structures as texts of JSON."""
    for place, each in enumerate(rows.schema):
        if pa.types.is_nested(each.type):
            values = rows.column(place).to_pylist(maps_as_pydicts="strict")
            texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values]
            rows = rows.set_column(place, each.name, pa.array(texts, pa.string()))
    return rows
