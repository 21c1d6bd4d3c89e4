"""The labels of a table, read row by row, then counted: the rows of each label, and the labels that occur together.

class    one label a row: a column of strings, booleans or numbers with few values
multi    any number of labels a row: a column of lists, or several columns of 0 and 1
number   a numeric target: its quantiles and its histogram
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lakewright import plugins
from lakewright.data.rows.columns import in_order
from lakewright.data.rows.kinds import missing
from lakewright.data.rows.reading import Reading
from lakewright.data.rows.truths import from_json
from lakewright.data.rows.truths.label_lists import LabelLists
from lakewright.data.rows.truths.spans import spans_of
from lakewright.errors import DataError
from lakewright.records import Record, TableVersion

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.settings.project import Project

MOST_CLASSES = 100  # a column of numbers with more different values is a numeric target
RARE = 10  # fewer rows of a label are too few to learn and to test it
MOST_SHOWN = 100  # labels listed, the most frequent first
MOST_TOGETHER = 30  # labels in the co-occurrence matrix, the most frequent
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of each row. A mark is one label of one row; for classes a known row has one mark. Marks are in row
    order."""

    kind: Literal["class", "multi", "number"]
    columns: tuple[str, ...]
    names: tuple[str, ...]  # empty for numbers
    known: Mask  # (rows,): the label is known; so is an empty list of labels
    row_of_mark: npt.NDArray[np.int64]
    label_of_mark: npt.NDArray[np.int64]  # indices into `names`
    values: npt.NDArray[np.float64]  # (rows,) for numbers, else empty
    unnamed_places: bool = False  # multi: the source has multi-hot vectors, and `names` are only their places

    def counts(self, rows: Mask) -> npt.NDArray[np.int64]:
        """(labels,): the number of these rows that have each label."""
        return np.bincount(self.label_of_mark[rows[self.row_of_mark]], minlength=len(self.names))

    def truth_codes(self) -> npt.NDArray[np.int64]:
        """(rows,): the same number for the same label, labels or value; -1 if unknown."""
        if self.kind == "number":
            codes = np.unique(self.values, return_inverse=True)[1].astype(np.int64)
        elif self.kind == "class":
            codes = np.full(len(self.known), -1, dtype=np.int64)
            codes[self.row_of_mark] = self.label_of_mark
        else:
            codes = np.zeros(len(self.known), dtype=np.int64)
            numbers: dict[bytes, int] = {}
            ends = np.searchsorted(self.row_of_mark, np.arange(len(self.known) + 1))
            for row, (start, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
                codes[row] = numbers.setdefault(self.label_of_mark[start:end].tobytes(), len(numbers))
        codes[~self.known] = -1
        return codes


class LabelCount(Record):
    label: str
    rows: int
    share: float  # of the rows with a known label


class Together(Record):
    """The labels that occur together: the square matrices are in the order of `labels`, row = the given label."""

    labels: list[str]
    counts: list[list[int]]  # rows that have both
    given: list[list[float]]  # share of the rows with the row's label that have the column's label too
    jaccard: list[list[float]]  # rows with both / rows with either


class LabelProfile(Record):
    columns: list[str]
    kind: Literal["class", "multi", "number"]
    rows: int  # known
    unknown: int
    classes: int  # different labels
    balance: list[LabelCount]  # the most frequent first, at most MOST_SHOWN
    rare: int  # labels of fewer than RARE rows
    rarest: list[LabelCount]  # of these, the rarest first, at most five
    imbalance_ratio: float | None  # rows of the most frequent label / rows of the rarest
    entropy: float | None  # of the labels' shares / its maximum: 1 is balanced, 0 one label only
    labels_a_row: dict[int, int]  # multi: how many labels → rows
    without_label: int  # multi: known to have none
    unnamed_places: bool = False  # multi: the source has multi-hot vectors, and nobody named the places
    together: Together | None  # multi
    quantiles: dict[str, float]  # number
    mean: float | None  # number
    histogram: list[tuple[float, float, int]]  # number: from, to, rows


def profile_labels(labels: Labels) -> LabelProfile:
    counts = labels.counts(labels.known)
    order = np.argsort(-counts, kind="stable")
    rows = int(labels.known.sum())
    held = np.bincount(labels.row_of_mark, minlength=len(labels.known))[labels.known]
    multi, number = labels.kind == "multi", labels.kind == "number"
    values = labels.values[labels.known] if number else np.empty(0)

    def counted(label: int) -> LabelCount:
        return LabelCount(label=labels.names[label], rows=int(counts[label]), share=int(counts[label]) / max(rows, 1))

    return LabelProfile(
        columns=list(labels.columns),
        kind=labels.kind,
        rows=rows,
        unknown=len(labels.known) - rows,
        classes=len(labels.names),
        balance=[counted(i) for i in order[:MOST_SHOWN].tolist()],
        rare=int((counts < RARE).sum()),
        rarest=[counted(i) for i in order[::-1][:5].tolist() if counts[i] < RARE],
        imbalance_ratio=float(counts.max() / counts.min()) if len(counts) and counts.min() else None,
        entropy=None if number else normalised_entropy(counts),
        labels_a_row={n: int(c) for n, c in enumerate(np.bincount(held)) if c} if multi and rows else {},
        without_label=int((held == 0).sum()) if multi else 0,
        unnamed_places=labels.unnamed_places,
        together=together(labels) if multi and rows else None,
        quantiles=_quantiles(values),
        mean=float(values.mean()) if len(values) else None,
        histogram=_histogram(values),
    )


def normalised_entropy(counts: npt.NDArray[np.int64]) -> float | None:
    """-Σ p ln p / ln k over the k labels (Shannon 1948; Pielou's evenness, 1966); None for fewer than two labels."""
    if len(counts) < 2 or not counts.sum():
        return None
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-np.sum(shares * np.log(shares)) / np.log(len(counts))))


def together(labels: Labels) -> Together:
    """How often two labels occur in one row, for the most frequent labels."""
    counts = labels.counts(labels.known)
    shown = np.argsort(-counts, kind="stable")[:MOST_TOGETHER]
    place = np.full(len(labels.names), -1)
    place[shown] = np.arange(len(shown))
    hot = np.zeros((len(labels.known), len(shown)), dtype=np.float32)
    among = place[labels.label_of_mark] >= 0
    hot[labels.row_of_mark[among], place[labels.label_of_mark[among]]] = 1
    both = np.zeros((len(shown), len(shown)))
    for start in range(0, len(hot), 100_000):  # sums of ones beyond 2**24 are not exact in float32
        both += hot[start : start + 100_000].T @ hot[start : start + 100_000]
    alone = np.diag(both)
    either = alone[:, None] + alone[None, :] - both
    return Together(
        labels=[labels.names[i] for i in shown.tolist()],
        counts=both.astype(np.int64).tolist(),
        given=(both / np.maximum(alone[:, None], 1)).tolist(),
        jaccard=(both / np.maximum(either, 1)).tolist(),
    )


def binned(labels: Labels) -> tuple[Labels, float]:
    """A numeric target as two classes, up to its median and above it; and the median."""
    middle = float(np.median(labels.values[labels.known])) if labels.known.any() else 0.0
    rows = np.flatnonzero(labels.known)
    above = (labels.values[rows] > middle).astype(np.int64)
    names = ("up to the median", "above the median")
    return Labels("class", labels.columns, names, labels.known, rows, above, np.empty(0)), middle


def read_truths(lake: Lake, table: TableVersion, project: Project) -> Labels:
    """The labels of every row as the project's task reads and counts them, streamed. Raises what its reader does."""
    import pyarrow as pa

    columns = project.data.columns
    task, roles = plugins.TASKS.find(project.task.name), columns.roles
    read = [name for _, name in (*columns.inputs, *columns.truth)]
    codes: dict[str, int] = {}
    known: list[bool] = []
    rows: list[int] = []
    marks: list[int] = []
    numbers: list[npt.NDArray[np.float64]] = []
    for batch in Reading(lake, table, task, project.task, roles, task.inputs_of(roles), list(dict.fromkeys(read))):
        truths = batch.task_columns["truth"]
        if pa.types.is_floating(truths.type):
            numbers.append(floats(truths))
            continue
        for truth in truths.to_pylist():
            for label in () if truth is None else task.label_of(truth):
                rows.append(len(known))
                marks.append(codes.setdefault(label, len(codes)))
            known.append(truth is not None)
    names = tuple(name for _, name in columns.truth)
    if numbers:
        return _numeric(names, np.concatenate(numbers))
    return _marked("class" if task.one_label else "multi", names, known, rows, marks, codes)


def read_labels(
    lake: Lake,
    table: TableVersion,
    columns: Sequence[str],
    role: Literal["label", "labels", "tags", "spans", "score"],
    names: Sequence[str] = (),
) -> Labels:
    """The labels of every row, streamed, where no project names a task. `role` is the columns' role in a project's
    data.columns; `names` are the labels of a multi-hot vector's places (task.labels): without them the labels are place
    1, place 2 …

    `labels`: one column of lists (or of JSON lists), or several of 0 and 1; `tags`: BIO tags, whose labels are the
    types of the entities that begin (lists of tags alone are also read so as `label`); `spans`: lists of {start, end,
    label}. Raises DataError for columns of other types.
    """
    import pyarrow as pa

    schema = lake.scan(table).schema
    if len(columns) > 1:
        return _of_columns(lake, table, columns)
    (column,) = columns
    kind = schema.field(column).type
    if role == "score":
        return _numbers(lake, table, column)
    if pa.types.is_list(kind) or role == "labels":
        labels = _of_lists(lake, table, column, role, names)
        bio = role == "label" and "O" in labels.names and all(re.fullmatch("O|[BI]-.+", name) for name in labels.names)
        return _of_lists(lake, table, column, "tags") if bio else labels
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise DataError(
            f"the label column {column!r} holds {kind}, not labels",
            "name a column of strings, numbers, booleans or lists of labels",
        )
    codes, names = categories(lake, table, column)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if numeric and (len(names) > MOST_CLASSES or any("." in name or "e" in name for name in names)):
        return _numbers(lake, table, column)
    known = codes >= 0
    return Labels("class", (column,), names, known, np.flatnonzero(known), codes[known], np.empty(0))


def categories(lake: Lake, table: TableVersion, column: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The index of each row's value in the column's values, (rows,), -1 for null, NaN and blank; and the values,
    sorted. Whole numbers stored as floats are written without their .0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes: dict[str, int] = {}
    parts = [np.empty(0, dtype=np.int64)]
    for batch in lake.scan(table, [column]):
        values = batch.column(0)
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
            written: Any = pa.array([None if v is None else f"{v:.15g}" for v in values.to_pylist()], pa.string())
        elif pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
            written = pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())
        else:
            written = values.cast(pa.string())
        encoded = written.dictionary_encode()
        own = [
            codes.setdefault(value, len(codes)) if value is not None and value.strip() else -1
            for value in encoded.dictionary.to_pylist()
        ]
        places = np.asarray([*own, -1], dtype=np.int64)
        parts.append(places[np.asarray(pc.fill_null(encoded.indices, len(own)))])
    names = in_order(set(codes))
    place = np.empty(len(codes) + 1, dtype=np.int64)
    place[[codes[name] for name in names]] = np.arange(len(names))
    place[-1] = -1
    return place[np.concatenate(parts)], names


def _of_columns(lake: Lake, table: TableVersion, columns: Sequence[str]) -> Labels:
    """Columns of 0 and 1 (or booleans); if one of them is null, the row's labels are unknown."""
    import pyarrow as pa

    for column in columns:
        kind = lake.scan(table, [column]).schema.field(0).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise DataError(
                f"the label column {column!r} holds {kind}, not 0 and 1",
                "several label columns are columns of 0 and 1; else name one column",
            )
    parts = [np.empty((0, len(columns)))]
    for batch in lake.scan(table, list(columns)):
        parts.append(np.stack([floats(batch.column(name)) for name in columns], axis=1))
    hot = np.concatenate(parts)
    strange = np.argwhere(~(np.isnan(hot) | np.isin(hot, [0, 1])))
    if len(strange):
        row, place = strange[0]
        raise DataError(
            f"the label column {columns[place]!r} holds {hot[row, place]:g} in row {row}, not 0 or 1",
            "several label columns are columns of 0 and 1; else name one column",
        )
    known = np.asarray(~np.isnan(hot).any(axis=1))
    rows, marked = np.nonzero((hot == 1) & known[:, None])
    return Labels("multi", tuple(columns), tuple(columns), known, rows, marked, np.empty(0))


def _of_lists(lake: Lake, table: TableVersion, column: str, role: str, names: Sequence[str] = ()) -> Labels:
    lists = LabelLists(names or None)
    codes: dict[str, int] = {}
    known: list[bool] = []
    rows: list[int] = []
    marks: list[int] = []
    for batch in lake.scan(table, [column]):
        for value in batch.column(0).to_pylist():
            labels = _list(value, role, column, len(known), lists)
            for label in dict.fromkeys(labels or ()):
                rows.append(len(known))
                marks.append(codes.setdefault(label, len(codes)))
            known.append(labels is not None)
    if lists.unnamed_vectors:
        places = [f"place {place}" for place in range(1, max(lists.lengths) + 1)]
        return replace(_of_lists(lake, table, column, role, places), unnamed_places=True)
    return _marked("multi", (column,), known, rows, marks, codes)


def _marked(
    kind: Literal["class", "multi"],
    columns: tuple[str, ...],
    known: Sequence[bool],  # [rows]
    rows: Sequence[int],  # [marks]
    marks: Sequence[int],  # [marks], the label's code
    codes: Mapping[str, int],
) -> Labels:
    names = in_order(set(codes))
    place = np.zeros(len(codes), dtype=np.int64)
    place[[codes[name] for name in names]] = np.arange(len(names))
    row_of_mark, label_of_mark = np.array(rows, dtype=np.int64), place[np.array(marks, dtype=np.int64)]
    order = np.lexsort((label_of_mark, row_of_mark))  # a set of labels is the same in any order
    mask = np.array(known, dtype=np.bool_)
    return Labels(kind, columns, names, mask, row_of_mark[order], label_of_mark[order], np.empty(0))


def _list(value: Any, role: str, column: str, row: int, lists: LabelLists) -> list[str] | None:
    if missing(value):
        return None
    try:
        if role == "tags":
            return [str(tag)[2:] for tag in from_json(value) if str(tag).startswith("B-")]
        if role == "spans" or (isinstance(value, list) and any(isinstance(each, dict) for each in value)):
            return [span["label"] for span in spans_of(value)]
        return lists.read(value)
    except (ValueError, TypeError) as failure:
        raise DataError(
            f"the label column {column!r} holds no list of labels in row {row}: {failure}",
            "a list of labels, a JSON list in a string, or several columns of 0 and 1",
        ) from None


def _numbers(lake: Lake, table: TableVersion, column: str) -> Labels:
    import pyarrow as pa

    kind = lake.scan(table, [column]).schema.field(0).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"the column {column!r} holds {kind}, not numbers", "name a column of numbers, or cast it in SQL"
        )
    parts = [np.empty(0), *(floats(batch.column(0)) for batch in lake.scan(table, [column]))]
    return _numeric((column,), np.concatenate(parts))


def _numeric(columns: tuple[str, ...], values: npt.NDArray[np.float64]) -> Labels:
    none = np.empty(0, dtype=np.int64)
    return Labels("number", columns, (), np.isfinite(values), none, none, values)


def floats(values: pa.Array) -> npt.NDArray[np.float64]:
    """As float64, NaN for null."""
    import pyarrow as pa

    cast: npt.NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return cast


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    quantiles = np.quantile(values, QUANTILES, method="inverted_cdf").tolist()
    return {quantile_name(q): value for q, value in zip(QUANTILES, quantiles, strict=True)}


def quantile_name(q: float) -> str:
    return {0.0: "min", 1.0: "max"}.get(q, f"p{100 * q:g}")


def _histogram(values: npt.NDArray[np.float64], bins: int = 30) -> list[tuple[float, float, int]]:
    if not len(values):
        return []
    try:
        counts, edges = np.histogram(values, bins=bins)
    except ValueError:  # too few floats between the least and the greatest
        return [(float(values.min()), float(values.max()), len(values))]
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))
