"""Encoded examples as columns of the features table, and back: one table row a row, whatever it is made of.

row       the row's number in the source table: what the rows of a split are sorted by when they are read

ids       the token ids of all the row's sequences, one after another; not where rows are numbers alone
lengths   how many of them each sequence has; only where a row may be several sequences
types, weights, columns   as in Encoded, where it has them
target    as the task makes them: numbers of the row, or one beside each id
part      where the row's folds follow from (data/rows/folds.py); none in a split by time

Training reads them from files that memory maps, so that a split larger than memory can be learned from: what a batch
needs comes from the disk, or from the system's cache where there is room. In memory are about 60 bytes a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.data.rows.objects import Objects
from lakewright.errors import of_disk
from lakewright.learning.learners import Examples
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged

if TYPE_CHECKING:
    from pathlib import Path

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


def from_columns(table: pa.Table, targets_beside_ids: bool, folder: Path | None = None) -> tuple[Encoded, Ragged]:
    """What `as_columns` stored, without positions. `targets_beside_ids`: the task reads tokens. `folder`: where files
    for the values belong; None: memory."""
    if "ids" not in table.column_names:
        numbers = _ragged(table, "columns", folder).values.reshape(table.num_rows, -1)
        return Encoded.of_columns(numbers), _ragged(table, "target", folder)
    ids, offsets = _ragged(table, "ids", folder), None
    if "lengths" in table.column_names:
        lengths = _ragged(table, "lengths", folder)
        offsets = lengths.offsets
        ids = Ragged(ids.values, np.concatenate([[0], np.cumsum(lengths.values, dtype=np.int64)]))

    def beside_ids(name: str) -> Ragged | None:
        return Ragged(_ragged(table, name, folder).values, ids.offsets) if name in table.column_names else None

    targets = _ragged(table, "target", folder)
    if targets_beside_ids:
        targets = Ragged(targets.values, ids.offsets)
    columns = None
    if "columns" in table.column_names:
        columns = _ragged(table, "columns", folder).values.reshape(table.num_rows, -1)
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


def _ragged(table: pa.Table, name: str, folder: Path | None) -> Ragged:
    """Its offsets have 64 bits, so that a split may hold more than 2³¹ ids."""
    chunks, offsets = table[name].chunks, np.zeros(len(table) + 1, dtype=np.int64)
    rows = 0
    for chunk in chunks:
        np.cumsum(np.diff(chunk.offsets.to_numpy()), out=offsets[rows + 1 : rows + 1 + len(chunk)])
        offsets[rows + 1 : rows + 1 + len(chunk)] += offsets[rows]
        rows += len(chunk)
    values = (chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks)
    if folder is None or not offsets[-1]:  # a file without bytes cannot be mapped
        return Ragged(np.concatenate([*values]), offsets)
    path = folder / f"{name}.values"
    try:
        with path.open("wb") as file:  # by write, for a full disk ends whoever writes into a map
            for each in values:
                kind = each.dtype
                file.write(each.tobytes())
    except OSError as failure:
        raise of_disk(failure, path) or failure from None
    return Ragged(np.asarray(np.memmap(path, kind, "c")), offsets)


def mapped_split(lake: Lake, features: TableVersion, split: str, columns: Sequence[str], folder: Path) -> pa.Table:
    """As `read_split`, from a file in the folder that memory maps. Raises DiskFull or the like as `of_disk` says."""
    import pyarrow as pa

    rows = lake.scan(features, ["row", *columns], predicate=f"split = '{split}'")
    path = folder / "rows.arrow"
    try:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
    except OSError as failure:
        raise of_disk(failure, path) or failure from None
    return _in_order(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def read_split(lake: Lake, features: TableVersion, split: str, columns: Sequence[str]) -> pa.Table:
    """A split's examples, these columns and `row`, in the source table's order."""
    return _in_order(lake.read(features, columns=["row", *columns], predicate=f"split = '{split}'"))


def _in_order(table: pa.Table) -> pa.Table:
    """As prepare writes it; a table of another writer is sorted in memory."""
    rows = table["row"].to_numpy()
    return table if np.all(rows[1:] >= rows[:-1]) else table.take(np.argsort(rows, kind="stable"))
