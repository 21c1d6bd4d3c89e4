"""The rows of a table: a few that differ in form, for the search, and all of them, to tell candidates apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.arrays import read_columns
from lakewright.data.rows.kinds import Kind
from lakewright.errors import DataError, UsageError, nearest
from lakewright.learning.by_example.examples import near
from lakewright.model.recipe import expressions
from lakewright.model.recipe.expressions import unknown
from lakewright.model.recipe.expressions.expression import Rows

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 32  # rows on which the search tells expressions apart
LOOKED_AT = 20_000  # rows of which the sample is taken: the table's first
LONGEST = 1_000  # characters of a text in the sample
SHOWN = 5  # rows in which candidates differ
KEPT = 500  # different ones of which those are taken
Values = Mapping[str, Any]


def kinds_of(schema: pa.Schema, inputs: Sequence[str], table: str) -> dict[str, Kind]:
    """The inputs' kinds by the types that the table stores; strings and truths are categories, whatever they hold.

    Raises UsageError for a column that is not there, DataError for one that no expression reads.
    """
    import pyarrow.types as types

    kinds: dict[str, Kind] = {}
    for name in inputs:
        if name not in schema.names:
            raise UsageError(f"{table} has no column {name!r}", nearest(name, schema.names))
        type = schema.field(name).type
        if types.is_string(type) or types.is_large_string(type) or types.is_boolean(type):
            kinds[name] = "category"
        elif types.is_integer(type) or types.is_floating(type) or types.is_decimal(type):
            kinds[name] = "number"
        elif types.is_timestamp(type) or types.is_date(type):
            kinds[name] = "time"
        else:
            raise DataError(
                f"column {name!r} of {table} is {type}, which no expression reads",
                "name columns of numbers, strings, truths or times",
            )
    return kinds


def sample(batches: Iterable[pa.RecordBatch], kinds: Mapping[str, Kind]) -> dict[str, list[Any]]:
    """Input → values of rows that differ, those first that have another form than those before: other lengths of words,
    other signs between them, missing values."""
    forms, others, looked = dict[Any, tuple[Any, ...]](), dict[tuple[Any, ...], None](), 0
    for batch in batches:
        part = batch.slice(0, LOOKED_AT - looked)
        values = read_columns(kinds, part, looked)
        for row in zip(*(_listed(values[name]) for name in kinds), strict=True):
            if any(isinstance(each, str) and len(each) > LONGEST for each in row):
                continue
            form = tuple(map(_form, row))
            if form not in forms and len(forms) < SAMPLE * 3 // 4:
                forms[form] = row
            elif len(others) < SAMPLE:
                others[row] = None
        looked += len(part)
        if looked >= LOOKED_AT:
            break
    rows = [*forms.values(), *(row for row in others if row not in {*forms.values()})][:SAMPLE]
    return {name: [row[place] for row in rows] for place, name in enumerate(kinds)}


def _listed(values: Any) -> list[Any]:
    """None where there is no value."""
    if isinstance(values, np.ndarray):
        missing = unknown(values)
        return [None if none else value for value, none in zip(values.tolist(), missing, strict=True)]
    return list(np.asarray(values, dtype=object))


def _form(value: Any) -> Any:
    if isinstance(value, str):
        short = re.sub(r"[^\W\d_]+", lambda word: "A" if word[0].isupper() else "a", value[:100])
        return re.sub(r"[0-9]+", "0", short)
    if isinstance(value, float):
        return (value > 0) - (value < 0), value.is_integer()
    return value is None


@dataclass(frozen=True)
class Compared:
    """`groups` are candidates that agree on every row of the table, by their places, the best first. `rows` are some in
    which groups differ, as inputs, and `values` [rows][groups] what each group gives there."""

    groups: tuple[tuple[int, ...], ...]
    table_rows: int
    differing: int  # rows in which not all candidates agree
    rows: tuple[dict[str, Any], ...]
    values: tuple[tuple[Any, ...], ...]


def compare(candidates: Sequence[str], kinds: Mapping[str, Kind], batches: Iterable[pa.RecordBatch]) -> Compared:
    """Reads the whole table, once. Numbers that differ by rounding alone agree."""
    parsed = [expressions.parse(each, kinds) for each in candidates]
    groups = [[*range(len(candidates))]]
    total = differing = 0
    kept: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for batch in batches:
        values = read_columns(kinds, batch, total)
        count = batch.num_rows
        total += count
        if not count:
            continue
        rows = Rows(values, count)
        made = [each.compute(rows) for each in parsed]
        groups = [part for group in groups for part in _parts(group, made)]
        differs = np.zeros(count, np.bool_)
        for each in made[1:]:
            differs |= ~_same(made[0], each)
        differing += int(differs.sum())
        for place in np.flatnonzero(differs)[:KEPT].tolist() if len(kept) < KEPT else ():
            row = tuple(_plain(np.asarray(values[name][place : place + 1])[0]) for name in kinds)
            kept.setdefault(row, tuple(_plain(each[place], parsed[0].type == "truth") for each in made))
    ordered = tuple(tuple(group) for group in sorted(groups))
    firsts = [group[0] for group in ordered]
    differing_rows = [(row, tuple(own[first] for first in firsts)) for row, own in kept.items()]
    differing_rows.sort(key=lambda each: -len({*each[1]}))  # stable
    shown = [each for each in differing_rows if len({*each[1]}) > 1][:SHOWN]
    named = tuple(dict(zip(kinds, row, strict=True)) for row, _ in shown)
    return Compared(ordered, total, differing, named, tuple(own for _, own in shown))


def _parts(group: list[int], made: Sequence[NDArray[Any]]) -> list[list[int]]:
    """The group as those parts that agree with their first member."""
    parts: list[list[int]] = []
    for each in group:
        for part in parts:
            if _same(made[part[0]], made[each]).all():
                part.append(each)
                break
        else:
            parts.append([each])
    return parts


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    if one.dtype != object:
        return near(one, other)
    same: NDArray[np.bool_] = np.asarray(one == other, np.bool_)
    return same


def _plain(value: Any, truth: bool = False) -> Any:
    """As JSON holds it."""
    if value is None or value != value:
        return None
    if isinstance(value, np.datetime64):
        value = value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if truth:
        return bool(value)
    if value in (np.inf, -np.inf):  # JSON has no such number
        return str(float(value))
    return value.item() if isinstance(value, np.generic) else value
