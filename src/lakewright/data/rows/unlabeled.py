"""Rows without a truth, for learners that use them: those that are new to a project, and of these at most MOST.

A row is left out that holds nothing, that repeats another, or that is equal to a row with a truth, whichever split that
is in: the model would learn from the texts that it is measured by. Equal is as for duplicates (duplicates.py). Which
rows are kept, and their order, follows from what they hold and the seed: not from their order in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.arrays import missing_rows
from lakewright.data.rows.contents import contents
from lakewright.data.rows.duplicates import IDENTITY, duplicates_of
from lakewright.data.rows.facts import lacking_inputs
from lakewright.data.rows.keys import draw_keys
from lakewright.data.rows.quality import EXAMPLES, counted, cut, input_names
from lakewright.errors import DataError, nearest
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.data.rows.reading import Reading
    from lakewright.settings.sections import Columns

MOST = 2000  # rows that are kept
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unlabeled:
    """The rows that are kept: `rows` are their numbers in the reading's table, in the order in which they are drawn."""

    reading: Reading
    rows: Rows

    @property
    def places(self) -> Rows:
        """[rows of the table] Each row's place in `rows`; -1 for the others."""
        places = np.full(self.reading.table.rows, -1, np.int64)
        places[self.rows] = np.arange(len(self.rows))
        return places


def check_columns(reading: Reading, columns: Columns) -> None:
    """Raises DataError if the table of `reading` lacks a column that the project's inputs need."""
    names = reading.lake.scan(reading.table).schema.names
    for role, name in columns.inputs:
        if name not in names:
            raise DataError(
                f"data.unlabeled: {reading.table} has no column {name!r} (data.columns.{role})",
                f"{nearest(name, names)}; write the table with all columns of the inputs (lakewright sql 'create or "
                "replace table … as select …')",
            )


def known(reading: Reading) -> npt.NDArray[np.void]:
    """The identities (duplicates.py) of the rows that have a truth, in whichever split or in none."""
    identities = [np.empty(0, IDENTITY)]
    for batch in reading:
        held = contents(batch, reading.inputs)
        identities.append(held.identities[held.is_usable & ~missing_rows(batch.task_columns["truth"])])
    return np.concatenate(identities)


def draw(
    reading: Reading, taken: npt.NDArray[np.void], columns: Columns, required: Sequence[str], seed: int
) -> tuple[Unlabeled, list[Finding]]:
    """The rows of the reading without a truth that are kept, and a finding for each kind that is left out. `taken` are
    the identities of rows with a truth; rows without one of the `required` inputs are left out, too."""
    size = reading.table.rows
    rows, texts = np.empty(size, np.int64), np.empty(size, IDENTITY)
    blank, incomplete, used = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for batch in reading:
        held, open_rows = contents(batch, reading.inputs), missing_rows(batch.task_columns["truth"])
        lacks = np.array([bool(each) for each in lacking_inputs(batch, required)] or [False] * len(batch.rows))
        blank.append(batch.rows[open_rows & ~held.is_usable])
        incomplete.append(batch.rows[open_rows & held.is_usable & lacks])
        usable = open_rows & held.is_usable & ~lacks
        window = slice(used, used + int(usable.sum()))
        used = window.stop
        rows[window], texts[window] = batch.rows[usable], held.identities[usable]
    rows, texts = rows[:used], texts[:used]

    groups = duplicates_of(np.concatenate([taken, texts]), None).group_of_row
    is_taken = np.zeros(int(groups.max(initial=-1)) + 1, np.bool_)
    is_taken[groups[: len(taken)]] = True
    groups = groups[len(taken) :]
    equal = is_taken[groups]
    # Of equal rows the one with the least digest as written, so that their order in the table does not matter
    order = np.lexsort((texts["exact"], groups))
    first = np.ones(len(order), np.bool_)
    first[1:] = groups[order][1:] != groups[order][:-1]
    once = np.zeros(len(order), np.bool_)
    once[order[first]] = True
    new = np.flatnonzero(once & ~equal)
    keys = draw_keys(texts["high"][new].astype(np.int64), seed, "unlabeled")
    drawn = new[np.lexsort((texts["low"][new], keys))]

    table, text = f"{reading.table} (data.unlabeled)", input_names(columns, "or")
    kinds = (
        ("unlabeled_blank", np.concatenate(blank), f"without a value in column {text} left out."),
        (
            "unlabeled_incomplete",
            np.concatenate(incomplete),
            "without an input of prepare.drop_missing left out.",
        ),
        (
            "unlabeled_known",
            rows[equal],
            "left out that are equal to a row with a label: those of test and validation must stay unseen, and those "
            "of train are learned from already.",
        ),
        ("unlabeled_repeated", rows[~once & ~equal], "left out that repeat another one."),
        (
            "unlabeled_not_drawn",
            rows[drawn[MOST:]],
            f"left out: {MOST:,} are drawn by prepare.split.seed.",
        ),
    )
    shown = reading.texts({row for _, left_out, _ in kinds for row in left_out[:EXAMPLES].tolist()})
    findings = [
        Finding(
            name=name,
            count=len(left_out),
            detail=f"{counted(len(left_out), 'row')} of {table} {detail}",
            rows=[f"row {row}: {cut(shown[row][0] or '')}" for row in left_out[:EXAMPLES].tolist()],
        )
        for name, left_out, detail in kinds
        if len(left_out)
    ]
    if not len(drawn):
        detail = f"no row of {table} is left to learn from."
        findings.append(Finding(name="unlabeled_none", count=len(rows), detail=detail))
    return Unlabeled(reading, rows[drawn[:MOST]]), findings
