"""Decides which rows stay, and in which split, from their facts, before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.duplicates import drop_duplicates, duplicates_of
from lakewright.data.rows.facts import gather
from lakewright.data.rows.folds import parts_of
from lakewright.data.rows.kinds import TEXTS
from lakewright.data.rows.quality import (
    Noticed,
    check_duplicates,
    check_labels,
    check_leakage,
    check_spellings,
    check_splits,
    coarse_rows,
    counted,
)
from lakewright.data.rows.splits import NO_GROUP, SPLITS, TRAIN, Method, assign, folded
from lakewright.data.rows.spread import check_numbers
from lakewright.errors import ProjectError, nearest
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.reading import Reading
    from lakewright.settings.sections import Columns, Prepare
    from lakewright.workers import Workers


LEFT_OUT = -1


@dataclass(frozen=True, eq=False)
class Chosen:
    """All rows of the table, [rows] each: 7 bytes a row, 8 more with an id column, and 4 with one of weights."""

    split: npt.NDArray[np.int8]  # the index into SPLITS, or LEFT_OUT
    labels: npt.NDArray[np.int32]  # the index into `names`, if the row stays
    names: list[tuple[str, ...]]
    ids: npt.NDArray[np.int64] | None  # digests of the record ids, if the row stays and a column holds them
    parts: npt.NDArray[np.int16]  # as in `parts_of`, if the row stays; their folds follow from them
    weights: npt.NDArray[np.float32] | None = None  # if the row stays and a column holds them; their mean in train is 1

    def of(self, split: str) -> npt.NDArray[np.bool_]:
        """A split's rows."""
        return np.equal(self.split, SPLITS.index(split))

    @property
    def counts(self) -> dict[str, int]:
        return {name: int(self.of(name).sum()) for name in SPLITS}

    def rows_with(self, label: str) -> list[int]:
        """The numbers of the rows that stay and have the label."""
        places = [place for place, labels in enumerate(self.names) if label in labels]
        rows: list[int] = np.flatnonzero(np.isin(self.labels, places) & (self.split != LEFT_OUT)).tolist()
        return rows

    @property
    def label_counts(self) -> dict[str, dict[str, int]]:
        """Split → label → rows, labels sorted."""
        counts: dict[str, dict[str, int]] = {}
        for name in SPLITS:
            split_counts: dict[str, int] = {}
            times = np.bincount(self.labels[self.of(name)], minlength=len(self.names)).tolist()
            for labels, count in zip(self.names, times, strict=True):
                for label in labels if count else ():
                    split_counts[label] = split_counts.get(label, 0) + count
            counts[name] = dict(sorted(split_counts.items()))
        return counts


def _own_groups(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The groups, in which each row without one is a group of its own."""
    without = np.flatnonzero(groups == NO_GROUP)
    own = groups.copy()
    own[without] = NO_GROUP + 1 + without
    return own


def choose(
    reading: Reading,
    method: Method,
    settings: Prepare,
    columns: Columns,
    lake: Lake,
    workers: Workers,
    findings: list[Finding | Noticed],
) -> Chosen:
    """Adds to the findings. Raises DataError if nothing can be learned from the rows, or a split has no rows."""
    kind = reading.task
    for name in settings.drop_missing:
        if name not in reading.inputs:
            raise ProjectError(f"prepare.drop_missing names {name!r}, which is no input", nearest(name, reading.inputs))
    facts, row_findings = gather(reading, columns, method, lake, workers, settings.drop_missing)
    findings += row_findings
    if kind.one_label:
        single = [name for (name,) in facts.names]
        findings += check_labels(
            facts.text, facts.labels, single, columns=columns, rows=facts.rows, is_label=facts.is_label
        )
    else:
        findings += check_spellings(facts.labels, facts.names, columns=columns, rows=facts.rows)
    if facts.number is not None:
        findings += check_numbers(facts.number, columns=columns, rows=facts.rows)
        facts = replace(facts, number=None)

    # No text twice, if we make the split
    duplicates = duplicates_of(facts.text, facts.truth)
    coarse = settings.duplicates == "auto" and not {*TEXTS} & {*reading.inputs.values()} and duplicates.are_coarse
    drop, published = settings.duplicates != "keep" and not coarse, method == "predefined"
    fate = _fate(coarse, drop, published)
    findings += check_duplicates(duplicates, columns=columns, rows=facts.rows, fate=fate)
    parts = np.zeros(reading.table.rows, np.int16)
    parts[facts.rows] = parts_of(facts.text["high"], facts.group, settings.split.seed)
    facts = replace(facts, text=facts.text[:0].copy())  # the hashes are not needed any more: two thirds of the memory
    groups, first = duplicates.group_of_row, np.ones(len(facts.rows), dtype=np.bool_)
    if coarse:
        findings.append(coarse_rows(duplicates))
    if drop and not published:
        first[duplicates.normalised] = False
    stay = np.flatnonzero(first)

    split = assign(
        method,
        len(stay),
        columns=columns,
        truth=facts.truth[stay] if kind.level == "row" and any(facts.names) else None,
        groups=None if facts.group is None else facts.group[stay],
        times=None if facts.time is None else facts.time[stay],
        predefined=facts.published,
        names=settings.split.names,
        gap=settings.split.gap,
        test=settings.split.test,
        validation=settings.split.validation,
        seed=settings.split.seed,
        rows=facts.rows[stay],
        ids=None if facts.ids is None else facts.ids[stay],
    )

    if settings.split.fold is not None:
        number, count = map(int, settings.split.fold.split("/"))
        split = folded(
            split,
            number,
            count,
            truth=facts.truth[stay] if kind.level == "row" and any(facts.names) else None,
            groups=_own_groups(facts.group[stay]) if facts.group is not None and method != "random" else None,
            row_ids=(facts.rows if facts.ids is None else facts.ids)[stay],
            seed=settings.split.seed,
        )

    between = int(np.sum([each is None for each in split.tolist()]))
    if between:
        detail = f"{counted(between, 'row')} within {settings.split.gap} before validation or test: in no split."
        findings.append(Finding(name="split_gap", count=between, detail=detail))

    # No text in two splits; a published test split keeps all its rows
    if published or not (drop or coarse):  # of coarse rows, equal ones in two splits are no leak
        findings += check_leakage(split, groups[stay], rows=facts.rows[stay])
    if published and drop:
        keep = drop_duplicates(groups[stay], split)
        stay, split = stay[keep], split[keep]
    check_splits(split)
    place, labels = np.full(reading.table.rows, LEFT_OUT, np.int8), np.zeros(reading.table.rows, np.int32)
    for i, name in enumerate(SPLITS):
        place[facts.rows[stay[split == name]]] = i
    labels[facts.rows] = facts.labels
    ids = None
    if facts.ids is not None:
        ids = np.zeros(reading.table.rows, np.int64)
        ids[facts.rows] = facts.ids
    weights = None
    if facts.weight is not None:
        weights = np.ones(reading.table.rows, np.float32)
        weights[facts.rows] = facts.weight / facts.weight[stay[split == TRAIN]].mean()
    return Chosen(place, labels, facts.names, ids, parts, weights)


def _fate(coarse: bool, drop: bool, published: bool) -> str:
    """What becomes of rows that repeat an earlier one, for their findings."""
    if coarse:
        return ": all stay (equal_rows_kept)"
    if not drop:
        return ": all stay, as prepare.duplicates is keep"
    if published:
        return ": dropped, except those of the published test split, which stays whole"
    return ": dropped, and the first of each stays"
