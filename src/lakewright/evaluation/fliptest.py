"""The counterfactual fliptest: would a row of a facet be predicted otherwise if it were one of the other rows?

Black, Yeom & Fredrikson, "FlipTest: fairness testing via optimal transport" (FAT* 2020). SageMaker Clarify takes the
nearest rows of the rest in place of a transport, and so does this: the majority of the NEIGHBOURS nearest rows.

    FT = (F+ - F-) / n_d    F+: rows predicted negative whose neighbours are predicted positive; F-: the reverse

so that above 0 is to the facet's disadvantage, as Clarify documents it. (Its library computes F- less F+.)

A distance is over the inputs that are numbers, times and categories, without the facet's own column: the square of a
difference in standard deviations, and 1 for another category, or where one of two values is missing. Rows as near as
the last of the neighbours are neighbours as well, so that nothing depends on the order of rows; an even vote flips
nothing. Of many rows the test takes those with the smallest digest of their id: it costs at most
FACET_ROWS · REST_ROWS distances, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.keys import digests
from lakewright.data.rows.kinds import Kind
from lakewright.evaluation.scorers import Mask

if TYPE_CHECKING:
    import pyarrow as pa

NEIGHBOURS = 5
FEWEST = 10  # rows of the rest for so many neighbours; of fewer the nearest one decides, as in Clarify's library
FACET_ROWS = 1_000
REST_ROWS = 5_000
AT_ONCE = 250  # rows of the facet
SAME = 1e-9  # distances that differ by rounding alone are equal
COMPARED: tuple[Kind, ...] = ("number", "time", "category")


@dataclass(frozen=True, eq=False)
class Side:
    rows: pa.ChunkedArray  # structs of their inputs
    predicted: Mask  # [rows]: positive


@dataclass(frozen=True, eq=False)
class Fliptest:
    flips: NDArray[np.int64]  # [rows of the facet]: 1 where it is in F+, -1 where it is in F-, else 0
    others: int  # rows of the rest


@dataclass(frozen=True, eq=False)
class Compared:
    """The inputs of rows as what a distance is over."""

    numbers: NDArray[np.float64]  # [rows, numbers and times]; 0 where one is missing, in standard deviations
    categories: NDArray[np.float64]  # [rows, categories], as codes; and for each number, whether it is missing

    def part(self, start: int, end: int) -> Compared:
        return Compared(self.numbers[start:end], self.categories[start:end])


def compared_inputs(inputs: Mapping[str, Kind], column: str) -> list[str]:
    """The inputs that a distance can be over: of these kinds, and not the facet's own column."""
    return [name for name, kind in inputs.items() if kind in COMPARED and name != column]


def by_digest(ids: Sequence[str]) -> NDArray[np.int64]:
    """The places of rows in the order in which the test takes them."""
    return np.argsort(digests(ids), kind="stable")


def chosen(order: NDArray[np.int64], facet: Mask, rest: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the facet's rows and of the rest's that the test takes. Both [rows], and so is `by_digest`."""
    return order[facet[order]][:FACET_ROWS], order[rest[order]][:REST_ROWS]


def fliptest(facet: Side, rest: Side, inputs: Mapping[str, Kind]) -> Fliptest:
    """`inputs` are those that are compared; each side has a row."""
    read, size = _read([facet.rows, rest.rows], inputs), len(facet.rows)
    others = read.part(size, size + len(rest.rows))
    votes, majorities = np.where(rest.predicted, 1, -1), []
    near = NEIGHBOURS if len(rest.rows) >= FEWEST else 1
    for start in range(0, size, AT_ONCE):
        distances = _distances(read.part(start, min(start + AT_ONCE, size)), others)
        last = np.partition(distances, near - 1, axis=1)[:, near - 1 : near]
        majorities.append(np.sign((distances <= last + SAME) @ votes))
    majority, own = np.concatenate(majorities), np.where(facet.predicted, 1, -1)
    return Fliptest(np.where(majority == -own, majority, 0), len(rest.rows))


def _distances(ours: Compared, theirs: Compared) -> NDArray[np.float64]:
    """[ours, theirs], squared."""
    from scipy.spatial.distance import cdist

    distances = np.zeros((len(ours.numbers), len(theirs.numbers)))
    if ours.numbers.shape[1]:
        distances += cdist(ours.numbers, theirs.numbers, "sqeuclidean")
    if ours.categories.shape[1]:
        distances += cdist(ours.categories, theirs.categories, "hamming") * ours.categories.shape[1]
    return distances


def _read(rows: Sequence[pa.ChunkedArray], inputs: Mapping[str, Kind]) -> Compared:
    """Structs, of all chunks together."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers, categories = [], []
    for name, kind in inputs.items():
        column = pa.chunked_array([chunk for part in rows for chunk in pc.struct_field(part, name).chunks])
        if kind == "category":
            codes = pc.index_in(column, value_set=column.unique().drop_null())
            categories.append(pc.fill_null(codes, -1).to_numpy().astype(np.float64))
            continue
        values = (column.cast(pa.int64()) if kind == "time" else column).cast(pa.float64()).to_numpy()
        known = np.isfinite(values)
        away = np.where(known, values - values[known].mean(), 0.0) if known.any() else np.zeros(len(values))
        spread = float(away[known].std()) if known.any() else 0.0
        numbers.append(away / (spread or 1.0))
        if not known.all():
            categories.append((~known).astype(np.float64))
    empty = np.empty((sum(map(len, rows)), 0))
    return Compared(
        np.stack(numbers, axis=1) if numbers else empty, np.stack(categories, axis=1) if categories else empty
    )
