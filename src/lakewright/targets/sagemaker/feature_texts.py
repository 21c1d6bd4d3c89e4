"""Columns as features: their types, the texts of their values, and what Feature Store does not take of them.

https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-quotas.html
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.texts import as_json, joined, plain
from lakewright.errors import DataError

JOINED = "record_id"  # the feature that identifies a record of several keys
LONGEST = 358_400  # bytes of a record, and of a value
LONGEST_IDENTIFIER = 2_048  # bytes

Record = dict[str, str]  # feature → value, but for nulls


def identifier(keys: Sequence[str]) -> str:
    """The feature that identifies a record: a group has one."""
    return JOINED if len(keys) > 1 else keys[0]


def definitions(schema: pa.Schema, keys: Sequence[str], event_time: str) -> list[dict[str, str]]:
    """Whole numbers and truth values are Integral, others and the event's time Fractional, all else is String.

    The event's time is in seconds, whose fraction keeps microseconds: the texts that Feature Store takes end at
    milliseconds. https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_FeatureDefinition.html
    """
    types = {JOINED: "String"} if len(keys) > 1 else {}
    types |= {field.name: "Fractional" if field.name == event_time else _type(field.type) for field in schema}
    return [{"FeatureName": name, "FeatureType": each} for name, each in types.items()]


def _type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "Integral"
    return "Fractional" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "String"


def records(batch: pa.RecordBatch, keys: Sequence[str], event_time: str) -> list[Record]:
    """Each row's values as texts, without those that are null."""
    columns = {name: column.to_pylist() for name, column in _texts(batch, keys, event_time).items()}
    rows = zip(*columns.values(), strict=True)
    return [{name: value for name, value in zip(columns, row, strict=True) if value is not None} for row in rows]


def check(
    batches: Iterable[pa.RecordBatch], keys: Sequence[str], event_time: str, *, subject: str, remedy: str
) -> None:
    """Raises DataError where rows are no records."""
    counts = Counter[tuple[str, str]]()
    for batch in batches:
        counts.update(_faults(batch, keys, event_time))
    for (where, why), count in counts.items():
        if count:
            raise DataError(
                f"{subject} have {why}, in {count:,} row{'s' * (count > 1)} of {where}; nothing was published", remedy
            )


def _faults(batch: pa.RecordBatch, keys: Sequence[str], event_time: str) -> dict[tuple[str, str], int]:
    """Column and what it has → rows."""
    faults: dict[tuple[str, str], int] = {}
    sizes = np.zeros(batch.num_rows, np.int64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_floating(column.type):
            strange = pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
            faults[f"column {name!r}", "NaN or infinity, which Feature Store may refuse"] = strange
    for name, column in _texts(batch, keys, event_time).items():
        where, most = f"column {name!r}", LONGEST_IDENTIFIER if name == identifier(keys) else LONGEST
        if name in (identifier(keys), event_time):
            faults[where, "no value, which Feature Store needs"] = column.null_count
        lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        why = f"more than {most:,} bytes, the most that Feature Store takes"
        faults[where, why] = int((lengths > most).sum())
        sizes += lengths
    faults["all columns together", f"more than {LONGEST:,} bytes in a record"] = int((sizes > LONGEST).sum())
    return faults


def _texts(batch: pa.RecordBatch, keys: Sequence[str], event_time: str) -> dict[str, pa.Array]:
    texts = {
        name: _seconds(column) if name == event_time else _text(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    if len(keys) > 1:
        texts[JOINED] = joined("[", [""] * len(keys), [batch.column(key) for key in keys], "]")
    return texts


def _text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_boolean(kind):
        return plain(column.cast(pa.int8()))
    if pa.types.is_binary(kind):
        texts = [None if each is None else base64.b64encode(each).decode() for each in column.to_pylist()]
        return pa.array(texts, pa.string())
    return as_json(column) if pa.types.is_nested(kind) else plain(column)


def _seconds(times: pa.Array) -> pa.Array:
    return pa.array(
        [
            None if us is None else f"{'-' * (us < 0)}{abs(us) // 10**6}.{abs(us) % 10**6:06d}"
            for us in times.cast(pa.int64()).to_pylist()
        ],
        pa.string(),
    )
