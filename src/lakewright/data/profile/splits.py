"""The splits of the rows: rows and labels by split, texts that two splits share, and the drift of labels."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lakewright.data.profile.bias import jensen_shannon
from lakewright.data.profile.labels import MOST_SHOWN, Labels, binned, categories
from lakewright.data.profile.texts import TextRows
from lakewright.data.rows.duplicates import drop_duplicates
from lakewright.data.rows.keys import digests
from lakewright.data.rows.splits import SPELLINGS, SPLITS, TRAIN, Method, assign
from lakewright.records import Record, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.settings.project import Project


class Leak(Record):
    """Normalised texts that both splits share; `rows` are those of the second one."""

    splits: tuple[str, str]
    texts: int
    rows: int


class SplitProfile(Record):
    source: Literal["column", "project"]
    by: str  # the column's name, or the project's prepare.split.method
    rows: dict[str, int]
    without: int  # rows in no split: no value, unusable, or (by the project) a duplicate
    label_shares: dict[str, dict[str, float]]  # split → label → share of its rows with a known label
    drift: dict[str, float]  # split → Jensen-Shannon divergence of its labels from train's, in nats
    leaks: list[Leak] | None  # None if no column is a text


def split_of_column(lake: Lake, table: TableVersion, column: str) -> npt.NDArray[np.object_]:
    """(rows,): train, validation and test from any spelling, other names unchanged, None without one."""
    codes, names = categories(lake, table, column)
    named = [SPELLINGS.get(name.strip().lower(), name) for name in names]
    return np.array([*named, None], dtype=object)[codes]


def planned_split(
    lake: Lake, table: TableVersion, project: Project, method: Method, text_rows: TextRows, labels: Labels | None
) -> npt.NDArray[np.object_]:
    """(rows,): each row's split in `prepare`, None for rows that it leaves out; raises what `assign` raises."""
    settings, columns = project.prepare, project.data.columns
    truths = np.zeros(table.rows, dtype=np.int64) if labels is None else labels.truth_codes()
    usable = text_rows.complete & (truths[text_rows.rows] >= 0)
    rows, groups = text_rows.rows[usable], text_rows.duplicates.group_of_row[usable]
    if settings.duplicates != "keep":  # these rows have texts: auto drops
        stays = np.flatnonzero(drop_duplicates(groups, np.full(len(rows), TRAIN)))
        rows = rows[stays]
    split = np.full(len(truths), None, dtype=object)
    of_rows = labels is not None and labels.kind != "number" and not {"spans", "tags"} & columns.roles.keys()
    grouped, timed = method == "grouped" and columns.group, method == "time" and columns.event_time
    split[rows] = assign(
        method,
        len(rows),
        columns=columns,
        truth=[str(code) for code in truths[rows].tolist()] if of_rows else None,
        groups=lake.read(table, [grouped]).column(0).take(rows).to_pylist() if grouped else None,
        times=lake.read(table, [timed]).column(0).take(rows).to_numpy() if timed else None,
        gap=settings.split.gap,
        test=settings.split.test,
        validation=settings.split.validation,
        seed=settings.split.seed,
        rows=rows,
        ids=digests(lake.read(table, [columns.id]).column(0).take(rows).to_pylist()) if columns.id else None,
    )
    return split


def names_of(split: npt.NDArray[np.object_]) -> list[str]:
    """The splits that have rows, those of SPLITS first."""
    present = {name for name in split.tolist() if name is not None}
    return [name for name in SPLITS if name in present] + sorted(present - set(SPLITS))


def profile_splits(
    split: npt.NDArray[np.object_],
    labels: Labels | None,
    text_rows: TextRows | None,
    *,
    source: Literal["column", "project"],
    by: str,
) -> SplitProfile:
    names = names_of(split)
    shares: dict[str, dict[str, float]] = {}
    drift: dict[str, float] = {}
    if labels is not None:
        if labels.kind == "number":
            labels, _ = binned(labels)
        most_frequent = np.argsort(-labels.counts(labels.known), kind="stable")[:MOST_SHOWN].tolist()
        counts = {name: labels.counts((split == name) & labels.known) for name in names}
        for name in names:
            rows = int(((split == name) & labels.known).sum())
            shares[name] = {labels.names[i]: float(counts[name][i] / rows) if rows else 0.0 for i in most_frequent}
        shares_of_labels = {name: counts[name] / counts[name].sum() for name in names if counts[name].sum()}
        if TRAIN in shares_of_labels:
            drift = {
                name: jensen_shannon(shares_of_labels[TRAIN], each)
                for name, each in shares_of_labels.items()
                if name != TRAIN
            }
    return SplitProfile(
        source=source,
        by=by,
        rows={name: int((split == name).sum()) for name in names},
        without=int(sum(name is None for name in split.tolist())),
        label_shares=shares,
        drift=drift,
        leaks=None if text_rows is None else _leaks(split[text_rows.rows], text_rows.duplicates.group_of_row, names),
    )


def _leaks(split: npt.NDArray[np.object_], group_of_row: npt.NDArray[np.int64], names: list[str]) -> list[Leak]:
    groups = int(group_of_row.max(initial=-1)) + 1
    in_split = {name: np.zeros(groups, dtype=np.bool_) for name in names}
    for name in names:
        in_split[name][group_of_row[split == name]] = True
    leaks = []
    for first, second in combinations(names, 2):
        both = in_split[first] & in_split[second]
        if both.any():
            rows = int(both[group_of_row[split == second]].sum())
            leaks.append(Leak(splits=(first, second), texts=int(both.sum()), rows=rows))
    return leaks
