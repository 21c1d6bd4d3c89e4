"""Encoded examples as columns of the features table, and back: one table row a row, whatever it is made of.

row       the row's number in the source table: what the rows of a split are sorted by when they are read

ids       the token ids of all the row's sequences, one after another; not where rows are numbers alone
lengths   how many of them each sequence has; only where a row may be several sequences
types, weights, columns   as in Encoded, where it has them
target    as the task makes them: numbers of the row, or one beside each id
part      where the row's folds follow from (data/rows/folds.py); none in a split by time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.data.rows.objects import Objects
from lakewright.learning.learners import Examples
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion


def as_columns(encoded: Encoded, targets: Ragged) -> dict[str, pa.Array]:
    def by_row(ragged: Ragged) -> pa.Array:
        if encoded.rows is None or len(ragged) == len(encoded):
            return _lists(ragged)
        return _lists(Ragged(ragged.values, ragged.offsets[encoded.rows]))

    columns = {"target": by_row(targets)}
    if not encoded.numbers_alone:
        columns["ids"] = by_row(encoded.ids)
    if encoded.rows is not None:
        columns["lengths"] = _lists(Ragged(encoded.ids.lengths.astype(np.int32), encoded.rows))
    if encoded.types is not None:
        columns["types"] = by_row(encoded.types)
    if encoded.weights is not None:
        columns["weights"] = by_row(encoded.weights)
    if encoded.columns is not None:
        size, width = encoded.columns.shape
        columns["columns"] = _lists(Ragged(encoded.columns.ravel(), np.arange(size + 1) * width))
    return columns


def from_columns(table: pa.Table, targets_beside_ids: bool) -> tuple[Encoded, Ragged]:
    """What `as_columns` stored, without positions. `targets_beside_ids`: the task reads tokens."""
    if "ids" not in table.column_names:
        numbers = _ragged(table, "columns").values.reshape(table.num_rows, -1)
        return Encoded.of_columns(numbers), _ragged(table, "target")
    ids, offsets = _ragged(table, "ids"), None
    if "lengths" in table.column_names:
        lengths = _ragged(table, "lengths")
        offsets = lengths.offsets
        ids = Ragged(ids.values, np.concatenate([[0], np.cumsum(lengths.values, dtype=np.int64)]))

    def beside_ids(name: str) -> Ragged | None:
        return Ragged(_ragged(table, name).values, ids.offsets) if name in table.column_names else None

    targets = _ragged(table, "target")
    if targets_beside_ids:
        targets = Ragged(targets.values, ids.offsets)
    columns = None
    if "columns" in table.column_names:
        columns = _ragged(table, "columns").values.reshape(table.num_rows, -1)
    encoded = Encoded(ids, rows=offsets, types=beside_ids("types"), weights=beside_ids("weights"), columns=columns)
    return encoded, targets


def joined(first: Examples, second: Examples) -> Examples:
    """The rows of both, in order: rows of one sequence each, or of numbers alone."""
    a, b = first.encoded, second.encoded

    def beside(x: Ragged | None, y: Ragged | None) -> Ragged | None:
        if x is None or y is None:
            return None
        return Ragged(np.concatenate([x.values, y.values]), np.concatenate([x.offsets, y.offsets[1:] + x.offsets[-1]]))

    ids, targets = beside(a.ids, b.ids), beside(first.targets, second.targets)
    assert a.rows is None and b.rows is None and ids is not None and targets is not None
    columns = None if a.columns is None or b.columns is None else np.concatenate([a.columns, b.columns])
    parts = None if first.parts is None or second.parts is None else np.concatenate([first.parts, second.parts])
    return Examples(
        Encoded(ids, weights=beside(a.weights, b.weights), columns=columns),
        targets,
        np.concatenate([first.weights, second.weights]),
        _one_after_another(first.rows, second.rows),
        _one_after_another(first.truths, second.truths),
        parts,
    )


def _one_after_another(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    return first.followed_by(second) if isinstance(first, Objects) else [*first, *second]


def _lists(ragged: Ragged) -> pa.Array:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(ragged.offsets, pa.int32()), pa.array(ragged.values))


def _ragged(table: pa.Table, name: str) -> Ragged:
    """Its offsets have 64 bits, so that a split may hold more than 2³¹ ids."""
    chunks = table[name].chunks
    lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in chunks]
    offsets = np.zeros(len(table) + 1, dtype=np.int64)
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return Ragged(np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]), offsets)


def read_split(lake: Lake, features: TableVersion, split: str, columns: Sequence[str]) -> pa.Table:
    """A split's examples, these columns and `row`, in the source table's order: a large table is not written in it."""
    table = lake.read(features, columns=["row", *columns], predicate=f"split = '{split}'")
    rows = table["row"].to_numpy()
    return table if np.all(rows[1:] >= rows[:-1]) else table.take(np.argsort(rows, kind="stable"))
