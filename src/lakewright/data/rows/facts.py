"""The facts that prepare keeps of each row while it streams the table: hashes and numbers, never the text.

A usable row takes 36 bytes: its number (8), its text's identity (24) and its labels (4). 8 more if a row's truth is not
one label, 8 if it is a number, and 8 for each named column of id, group, event_time and weight (of id and group, a
digest); 4 for a published split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakewright.data.lake.parts import ROWS
from lakewright.data.lake.portions import Portion, Portions
from lakewright.data.rows.arrays import distinct, missing_rows, plain_array
from lakewright.data.rows.columns import as_times
from lakewright.data.rows.contents import contents
from lakewright.data.rows.duplicates import IDENTITY, normalise
from lakewright.data.rows.keys import digests
from lakewright.data.rows.kinds import TEXTS, Row, requires_text
from lakewright.data.rows.reading import NoLake
from lakewright.data.rows.splits import Method, group_numbers
from lakewright.data.rows.usable import Usable
from lakewright.records import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.reading import Batch, Reading
    from lakewright.model.tasks import Reader
    from lakewright.settings.sections import Columns
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers


WORTH = 10 * ROWS  # rows of a part, of which another process takes some: to read one is a tenth of encoding it
ARRAYS = ("truth", "rows", "text", "labels", "number", "is_label", "group", "time", "weight")
NUMERIC = ("number", "likeness")  # kinds of truth


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts of the usable rows, in the table's order, [rows] each."""

    rows: npt.NDArray[np.int64]  # their numbers in the table
    text: npt.NDArray[np.void]  # see `identities`
    labels: npt.NDArray[np.int32]  # the index into `names` of the labels in the row's truth
    truth: npt.NDArray[np.integer]  # equal for equal truths
    names: list[tuple[str, ...]]
    number: npt.NDArray[np.float64] | None = None  # the truth, if it is a number
    is_label: npt.NDArray[np.bool_] | None = None  # whether an input is the row's label, if rows have several inputs
    ids: npt.NDArray[np.int64] | None = None  # digests of the record ids, if a column holds them
    group: npt.NDArray[np.int64] | None = None  # equal for equal groups; NO_GROUP without one
    time: npt.NDArray[Any] | None = None
    published: list[str | None] | None = None  # the split, from a column
    weight: npt.NDArray[np.float64] | None = None  # above 0


@dataclass(frozen=True, eq=False)
class _Gathered:
    facts: Facts  # labels are numbered within these rows
    check: Usable
    reader: Reader


@dataclass(frozen=True, eq=False)
class _Gather:
    """The facts of a part's rows."""

    reading: Reading  # without a lake
    columns: Columns
    method: Method
    required: Sequence[str]

    def __call__(self, portion: Portion[None], advance: Advance | None) -> _Gathered:
        reading = self.reading.of_part(portion, advance)
        return _gathered(reading, self.columns, self.method, self.required)


def gather(
    reading: Reading, columns: Columns, method: Method, lake: Lake, workers: Workers, required: Sequence[str] = ()
) -> tuple[Facts, list[Finding]]:
    """Reads the table once, by parts; rows without one of the `required` inputs are left out. Raises DataError as the
    task's reader and `Usable.findings` do."""
    table = reading.table
    if table.rows:
        work = _Gather(replace(reading, lake=NoLake()), columns, method, required)
        shape = lake.shape(table, reading.columns)
        portions = Portions(lake, table, shape, workers, lambda part: None, worth=WORTH)
        facts, check, reader = _together(portions.computed(work, f"reading {table}"), table.rows)
    else:
        facts, check, reader = _together(iter([_gathered(reading, columns, method, required)]), 0)
    reader.check()
    findings = check.findings(lambda suspects: reading.values(columns.id or "", suspects))
    return facts, findings


def _together(parts: Iterator[_Gathered], size: int) -> tuple[Facts, Usable, Reader]:
    """One of all, where parts come in the order of their rows, which are `size` at most."""
    first = next(parts)
    check, reader, numbers = first.check, first.reader, dict[tuple[str, ...], int]()
    arrays: dict[str, npt.NDArray[Any]] = {}
    alike = first.facts.truth is first.facts.labels  # one array is enough
    published: list[str | None] = []
    used = 0
    for number, part in enumerate(chain([first], parts)):
        if number:
            check.merge(part.check)
            reader.merge(part.reader)
        facts = part.facts
        window = slice(used, used + len(facts.rows))
        used = window.stop
        renumbered = np.array([numbers.setdefault(name, len(numbers)) for name in facts.names], np.int32)
        labels = renumbered[facts.labels] if len(renumbered) else facts.labels
        for name in ARRAYS[alike:]:
            values = labels if name == "labels" else getattr(facts, name)
            if values is not None:
                arrays.setdefault(name, np.empty(size, values.dtype))[window] = values
        published += facts.published or []
    arrays = {name: values[:used] for name, values in arrays.items()}
    arrays.setdefault("truth", arrays["labels"])
    ids = np.concatenate(check.ids)[arrays["rows"]] if check.ids else None
    has_published = first.facts.published is not None
    facts = Facts(names=list(numbers), ids=ids, published=published if has_published else None, **arrays)
    return facts, check, reader


def _gathered(reading: Reading, columns: Columns, method: Method, required: Sequence[str]) -> _Gathered:
    size = reading.table.rows if reading.part is None else reading.part.rows
    one_label, reader = reading.task.one_label, reading.reader()
    rows, text, labels = np.empty(size, np.int64), np.empty(size, IDENTITY), np.empty(size, np.int32)
    truth = labels if one_label else np.empty(size, np.int64)
    number = np.empty(size, np.float64) if reading.task.truth in NUMERIC else None
    group = np.empty(size, np.int64) if columns.group else None
    weight = np.empty(size, np.float64) if columns.weight else None
    split = np.empty(size, np.int32) if method == "predefined" else None
    times: list[npt.NDArray[Any]] = []
    numbers: dict[tuple[str, ...], int] = {}
    published: dict[str | None, int] = {}
    is_label = np.empty(size, np.bool_) if one_label and len(reading.inputs) > 1 else None
    has_texts = bool({*TEXTS} & {*reading.inputs.values()})  # a category often has the label's words: yes and no
    check = Usable(columns)
    checked = _columns_to_check(columns, requires_text(reading.inputs))
    if method == "time" and columns.event_time:
        checked.append(("event_time", columns.event_time))
    used = 0
    for batch in reading.batches(reader):
        held, truths = contents(batch, reading.inputs), batch.truths
        ids = batch.table[columns.id].to_pylist() if columns.id else None
        has_truth = ~missing_rows(batch.task_columns["truth"])
        lacking = lacking_inputs(batch, required)
        usable = np.flatnonzero(check.usable_rows(batch.rows, held, truths, has_truth, ids, lacking))
        window = slice(used, used + len(usable))
        used += len(usable)
        check.blanks.update({(role, name): _blank(batch.table[name]) for role, name in checked})
        for each in columns.names:
            infinite = _infinite(batch.table[each[1]])
            if infinite.any():
                check.infinite[each].add(batch.rows, infinite, batch.table[each[1]].to_pylist())
        places, truths_once = distinct(plain_array(batch.task_columns["truth"].take(usable)))
        usable_truths = truths_once.to_pylist()
        rows[window] = batch.rows[usable]
        text[window] = held.identities[usable]
        label_numbers = [numbers.setdefault(tuple(reading.task.label_of(each)), len(numbers)) for each in usable_truths]
        labels[window] = np.array(label_numbers, np.int32)[places]
        if is_label is not None:
            truths_of = [usable_truths[place] for place in places] if has_texts else []
            is_label[window] = has_texts and _is_label([batch.inputs[i] for i in usable.tolist()], truths_of)
        if not one_label:
            # 64 bits: two different truths of one text collide with a chance of 5e-20.
            truth[window] = digests(map(as_text, usable_truths))[places]
        if number is not None:
            number[window] = np.array(usable_truths, np.float64)[places]
        if group is not None:
            group[window] = group_numbers(batch.table[columns.group].take(usable).to_pylist())
        if weight is not None:
            weight[window] = check.weights(batch.rows[usable], batch.table[columns.weight].take(usable))
        if method == "time" and columns.event_time:
            times.append(as_times(batch.table[columns.event_time]).take(usable).to_numpy())
        if split is not None:
            splits = batch.table[columns.split or "split"].take(usable).to_pylist()
            split[window] = [published.setdefault(value, len(published)) for value in splits]
    split_names, usable_labels = list(published), labels[:used]
    facts = Facts(
        rows=rows[:used],
        text=text[:used],
        labels=usable_labels,
        truth=usable_labels if one_label else truth[:used],
        names=list(numbers),
        number=None if number is None else number[:used],
        is_label=None if is_label is None else is_label[:used],
        group=None if group is None else group[:used],
        time=np.concatenate(times) if times else None,
        published=None if split is None else [split_names[code] for code in split[:used].tolist()],
        weight=None if weight is None else weight[:used],
    )
    return _Gathered(facts, check, reader)


def _columns_to_check(columns: Columns, has_text: bool) -> list[tuple[str, str]]:
    """(role, column) of those that need a value in some row, in addition to the truth, which every row needs, and to
    the first text where every row has one."""
    several = {role for role, column in columns.roles.items() if isinstance(column, list)}
    inputs = [each for place, each in enumerate(columns.inputs) if place or each[0] in several or not has_text]
    return inputs + [each for each in columns.truth if each[0] in several]


def lacking_inputs(batch: Batch, required: Sequence[str]) -> list[str]:
    """The required inputs that each row lacks, joined; empty if it has all. [rows]"""
    if not required:
        return []
    nothing = [missing_rows(batch.task_columns[name]).tolist() for name in required]
    return [
        ", ".join(name for name, is_missing in zip(required, row, strict=True) if is_missing)
        for row in zip(*nothing, strict=True)
    ]


def _is_label(rows: Sequence[Row], labels: Sequence[str]) -> list[bool]:
    normalised = {label: normalise(label) for label in set(labels)}
    return [
        any(isinstance(value, str) and normalise(value) == normalised[label] for value in row.values())
        for row, label in zip(rows, labels, strict=True)
    ]


def as_text(truth: Any) -> str:
    """A truth in the form that findings show and that is compared: a label unchanged, all else as JSON."""
    return truth if isinstance(truth, str) else json.dumps(truth)


def _blank(column: pa.ChunkedArray) -> int:
    """The number of rows without a value in the column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    elif pa.types.is_string(column.type):
        return int(missing_rows(column).sum())
    return int(column.null_count)


def _infinite(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return np.zeros(len(column), np.bool_)
    infinite: npt.NDArray[np.bool_] = pc.fill_null(pc.is_inf(column), False).to_numpy()
    return infinite
