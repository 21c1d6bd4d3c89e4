"""Facets: the rows that hold one value of a column, or a number on one side of a threshold, which bias measures compare
with the other rows.

COLUMN         each value in turn; a column of many numbers is cut at its quartiles
COLUMN=VALUE   one value
COLUMN>NUMBER  the rows above it; COLUMN<=NUMBER the others
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.profile.labels import Mask, categories, floats
from lakewright.data.rows.quality import counted
from lakewright.errors import DataError, NotFound, nearest
from lakewright.records import Finding, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

MOST_VALUES = 20  # of a column; the rest are counted, not compared
FEW = 30  # rows of a value, or of the rest: with fewer, a measure depends on chance
OPERATORS = ("<=", "=", ">")


@dataclass(frozen=True, eq=False)
class Facet:
    column: str
    codes: npt.NDArray[np.int64]  # [rows]: the place of the row's value in `names`; -1 without one
    names: tuple[str, ...]
    chosen: int | None = None  # the place of the one value that is compared; None: each

    def compared(self, rows: Mask) -> list[int]:
        """The places of the values that are compared, the most frequent among these rows first."""
        if self.chosen is not None:
            return [self.chosen]
        counts = np.bincount(self.codes[rows & (self.codes >= 0)], minlength=len(self.names))
        return [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place]][:MOST_VALUES]

    def take(self, rows: npt.NDArray[np.integer]) -> Facet:
        return Facet(self.column, self.codes[rows], self.names, self.chosen)


def column_of(facet: str, columns: Sequence[str]) -> tuple[str, str, str]:
    """The column, the operator and the value; both empty where each value is meant. Raises NotFound if no column has
    this name."""
    if facet in columns:
        return facet, "", ""
    for place in range(1, len(facet)):
        for operator in OPERATORS:
            column = next((name for name in (facet[:place], facet[:place].rstrip()) if name in columns), None)
            if column is not None and facet.startswith(operator, place):
                return column, operator, facet[place + len(operator) :].strip()
    ends = [place for operator in OPERATORS if (place := facet.find(operator)) >= 0]
    raise _no_column(facet[: min(ends)].rstrip() if ends else facet, columns)


def read_facets(lake: Lake, table: TableVersion, facets: Iterable[str]) -> list[Facet]:
    """Raises NotFound for an unknown column or value, DataError for a threshold of a column without numbers."""
    return [read_facet(lake, table, facet) for facet in dict.fromkeys(facets)]


def read_facet(lake: Lake, table: TableVersion, facet: str) -> Facet:
    column, operator, value = column_of(facet, lake.scan(table).schema.names)
    if operator in (">", "<="):
        return _beside(lake, table, column, operator, value)
    if not operator:
        return read_values(lake, table, column)
    codes, names = categories(lake, table, column)
    if value not in names:
        raise NotFound(
            f"column {column!r} has no value {value!r}",
            nearest(value, names if len(names) <= 50 else get_close_matches(value, names, 5)),
        )
    return Facet(column, codes, names, names.index(value))


def read_values(lake: Lake, table: TableVersion, column: str) -> Facet:
    """Each value of a column; numbers of many values by quartile."""
    columns = lake.scan(table).schema.names
    if column not in columns:
        raise _no_column(column, columns)
    codes, names = categories(lake, table, column)
    if len(names) <= MOST_VALUES or not _has_numbers(lake, table, column):
        return Facet(column, codes, names)
    values = _numbers(lake, table, column)
    finite = np.isfinite(values)
    edges = np.unique(np.quantile(values[finite], [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.where(finite, np.searchsorted(edges, values), -1)
    bounds = [f"{edge:g}" for edge in edges.tolist()]
    middle = [f"over {low} to {high}" for low, high in pairwise(bounds)]
    return Facet(column, place, (f"up to {bounds[0]}", *middle, f"over {bounds[-1]}"))


def findings_of_facet(facet: Facet, rows: Mask, noun: str) -> Iterator[Finding]:
    """What makes the measures of these rows [rows] hard to read, or leaves rows out; `noun` names a row."""
    without = int((rows & (facet.codes < 0)).sum())
    if without:
        yield Finding(
            name="no_facet_value",
            count=without,
            detail=f"{counted(without, noun)} without a value in {facet.column!r}, left out of its bias measures: "
            "correct them at the source, or give them a value of their own (coalesce(column, 'unknown') in SQL).",
        )
    counts = np.bincount(facet.codes[rows & (facet.codes >= 0)], minlength=len(facet.names))
    all_rows, compared = int(counts.sum()), facet.compared(rows)
    if facet.chosen is None and len(left := np.flatnonzero(counts)) > len(compared):
        yield Finding(
            name="many_facet_values",
            count=all_rows - int(counts[compared].sum()),
            detail=f"{facet.column!r} has {len(left):,} values: bias is measured for the {MOST_VALUES} most frequent. "
            "Name others as COLUMN=VALUE, or join rare ones in SQL.",
        )
    few = {facet.names[place]: (int(counts[place]), all_rows - int(counts[place])) for place in compared}
    few = {name: sides for name, sides in few.items() if min(sides) < FEW}
    if few:
        yield Finding(
            name="few_facet_rows",
            count=len(few),
            detail=f"{counted(len(few), 'value')} of {facet.column!r} with fewer than {FEW} {noun}s on one side of "
            "the comparison: the bias measures depend on chance. Add rows, or join values in SQL.",
            rows=[f"{name}: {counted(own, noun)}, {rest:,} others" for name, (own, rest) in few.items()][:5],
        )


def _no_column(name: str, columns: Sequence[str]) -> NotFound:
    return NotFound(f"there is no column {name!r} to measure bias by", nearest(name, columns))


def _beside(lake: Lake, table: TableVersion, column: str, operator: str, value: str) -> Facet:
    try:
        threshold = float(value)
    except ValueError:
        threshold = float("nan")
    if not np.isfinite(threshold):
        raise DataError(
            f"{column}{operator}{value} compares {column!r} with {value!r}, which is no number",
            f"write a number ({column}{operator}40), or a value: {column}=VALUE",
        )
    if not _has_numbers(lake, table, column):
        raise DataError(
            f"{column}{operator}{value} is a threshold, and {column!r} holds no numbers",
            f"name a value ({column}=VALUE), or cast the column to a number in SQL",
        )
    values = _numbers(lake, table, column)
    codes = np.where(np.isnan(values), -1, (values > threshold).astype(np.int64))
    return Facet(column, codes, (f"up to {threshold:g}", f"over {threshold:g}"), int(operator == ">"))


def _has_numbers(lake: Lake, table: TableVersion, column: str) -> bool:
    import pyarrow as pa

    kind = lake.scan(table, [column]).schema.field(0).type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _numbers(lake: Lake, table: TableVersion, column: str) -> npt.NDArray[np.float64]:
    return np.concatenate([np.empty(0), *(floats(batch.column(0)) for batch in lake.scan(table, [column]))])
