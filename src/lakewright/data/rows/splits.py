"""Puts each row into train, validation or test. The same for the same rows, settings and seed.

random      stratified by label: every class is divided like the whole, to within a row; of a class, the rows with the
            smallest keys are test, the next validation
grouped     no group is in two splits; stratified by label as far as groups allow
time        the oldest rows are train, the newest test
predefined  a column holds the split
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.duplicates import codes
from lakewright.data.rows.keys import digests, draw_keys, ranks
from lakewright.data.sources.written import TIMES, misfits
from lakewright.errors import DataError, UsageError, nearest, shown

if TYPE_CHECKING:
    from lakewright.settings.sections import Columns

Method = Literal["random", "grouped", "time", "predefined"]

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
UNLABELED = "unlabeled"  # in the features' column `split`: rows without a truth, in no split
SPELLINGS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
NO_GROUP = int(np.iinfo(np.int64).min)  # in place of a group's number: a row without a group
SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
ROUNDING_ERROR = 1e-9  # a quota this near to a whole number is that number: 0.57 × 100 is 56.99999999999999


def assign(
    method: Method,
    n: int,
    *,
    columns: Columns,
    truth: Sequence[str] | npt.NDArray[np.generic] | None = None,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
    times: npt.NDArray[np.generic] | None = None,
    predefined: Sequence[str | None] | npt.NDArray[np.str_] | None = None,
    names: Mapping[str, str] | None = None,
    gap: str | None = None,
    test: float,
    validation: float,
    seed: int,
    rows: npt.NDArray[np.int64] | None = None,
    ids: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.object_]:
    """The split of each of `n` rows, (n,) of train, validation, test; none of the three is empty. None for rows in the
    `gap` of the method time.

    `test` and `validation` are shares of all rows, above 0 and below 1 together. `truth` is the label of each row; None
    if rows have no single label (tags, spans). `groups` (values, or `group_numbers` of them), `times` (numbers or
    datetime64) and `predefined` have one value a row; `names` renames some of the latter ({"validation": "test"}).
    `rows` are the table's row numbers, for messages; by default 0 … n - 1. `ids` are digests of the record ids: a row
    is drawn by its id, or by its number without ids. `columns` names the columns.

    Raises UsageError for shares that leave nothing to a split and for a missing column that the method needs; DataError
    for values it cannot use (nulls, unknown split names) and for an empty split.
    """
    if not (test > 0 and validation > 0 and test + validation < 1):
        raise UsageError(
            f"prepare.split: test {test:g} and validation {validation:g} leave one of train, validation and test empty",
            "give each a share above 0, and leave a share for train, for example test: 0.15 and validation: 0.15",
        )
    if gap is not None and method != "time":
        raise UsageError(f"the method {method} has no prepare.split.gap", "leave it out, or choose method: time")
    if names and method != "predefined":
        raise UsageError(
            f"the method {method} does not use prepare.split.names", "leave it out, or choose method: predefined"
        )
    if n == 0:
        raise DataError("there are no rows to split", "check that the table has rows with a text and a label")
    shares = {TEST: test, VALIDATION: validation, TRAIN: 1 - test - validation}
    strata = codes(truth) if truth is not None else np.zeros(n, dtype=np.int64)
    rows = np.arange(n) if rows is None else rows
    row_ids = rows if ids is None else ids

    if method == "random":
        split = _stratified(strata, row_ids, shares, seed)
    elif method == "grouped":
        split = _grouped(_groups(groups, columns, rows), strata, shares, seed)
    elif method == "time":
        split = _by_time(times, shares, columns, rows)
        if gap is not None and times is not None:
            split = _with_gap(split, times, gap)
    else:
        split = _predefined(predefined, columns, rows, names or {})
        if not np.any(split == VALIDATION):  # most published data sets have no validation
            train = np.flatnonzero(split == TRAIN)
            carved = {VALIDATION: validation, TRAIN: 1 - validation}
            if groups is None:
                split[train] = _stratified(codes(strata[train]), row_ids[train], carved, seed)
            else:
                of_train = _groups(groups, columns, rows)[train]
                split[train] = _grouped(of_train, codes(strata[train]), carved, seed)
    _require_all(split)
    return split


def folded(
    split: npt.NDArray[np.object_],
    part: int,
    parts: int,
    *,
    truth: Sequence[str] | npt.NDArray[np.generic] | None = None,
    groups: npt.NDArray[np.int64] | None = None,
    row_ids: npt.NDArray[np.int64],
    seed: int,
) -> npt.NDArray[np.object_]:
    """The split with one of `parts` equal parts of train and validation as validation, and the others as train; test
    stays. Part `part`, from 1; each row is validation in one part, except rows that are the only ones of their label,
    which stay in train.

    Parts are stratified by `truth`; with `groups`, whole groups are in one part, the largest first, each to the part
    that has the fewest rows. Raises DataError if a part would be empty.
    """
    learned = np.flatnonzero((split == TRAIN) | (split == VALIDATION))
    strata = codes(truth)[learned] if truth is not None else np.zeros(len(learned), dtype=np.int64)
    if groups is None:
        keys = draw_keys(row_ids[learned], seed, "split")
        at = np.empty(len(learned), np.int64)
        at[np.lexsort((keys, strata))] = np.arange(len(learned)) % parts
    else:
        distinct, group_of_row = np.unique(groups[learned], return_inverse=True)
        sizes, of_group = np.bincount(group_of_row), np.empty(len(distinct), np.int64)
        filled = np.zeros(parts, np.int64)
        for group in np.lexsort((draw_keys(distinct, seed, "split"), -sizes)).tolist():
            of_group[group] = filled.argmin()
            filled[of_group[group]] += sizes[group]
        at = of_group[group_of_row]
    alone = np.bincount(strata)[strata] == 1
    chosen = learned[(at == part - 1) & ~(alone if truth is not None else np.zeros(len(learned), np.bool_))]
    if not len(chosen):
        raise DataError(
            f"part {part} of {parts} of train and validation has no rows", "search over fewer folds, or add rows"
        )
    again = split.copy()
    again[learned], again[chosen] = TRAIN, VALIDATION
    return again


def _stratified(
    strata: npt.NDArray[np.int64], row_ids: npt.NDArray[np.int64], shares: dict[str, float], seed: int
) -> npt.NDArray[np.object_]:
    """Every stratum divided by `shares`: each split gets its quota rounded down or up (see `_apportion`).

    The order of rows or strata does not matter. `_apportion` handles the strata by size. Strata of one size are rounded
    in different ways, assigned by their smallest keys, so that one growing stratum does not change the rounding of all
    others.
    """
    keys = draw_keys(row_ids, seed, "split")
    rank = ranks(strata, keys)
    sizes = np.bincount(strata)
    smallest = np.empty(len(sizes), np.uint64)
    smallest[strata[rank == 0]] = keys[rank == 0]
    order = np.lexsort((smallest, sizes))
    owed = dict.fromkeys(shares, 0.0)
    counts = sorted((size, *_apportion(size, shares, owed).values()) for size in sizes[order].tolist())
    ends = np.empty((len(sizes), len(shares)), np.int64)
    ends[order] = np.cumsum(np.array(counts)[:, 1:], axis=1)
    place = np.zeros(len(strata), np.int8)
    for end in ends.T[:-1]:
        place += rank >= end[strata]
    return np.array(list(shares), dtype=object)[place]


def _apportion(size: int, shares: dict[str, float], owed: dict[str, float]) -> dict[str, int]:
    """The number of `size` rows for each split: the largest-remainder method, remainders carried from class to class.

    Each split gets its quota rounded down; the remaining rows go, one each, to the splits with the most owed. `owed`
    sums what rounding took from a split in earlier classes, so that a thousand classes of three rows, none of which has
    a whole row for test, still give test its share. A class too small for a whole train row gives train its first row:
    train has every label.
    """
    quotas = {name: share * size for name, share in shares.items()}
    counts = {name: math.floor(quota + ROUNDING_ERROR) for name, quota in quotas.items()}
    for name, quota in quotas.items():
        owed[name] += quota - counts[name]
    may_round_up = [name for name, quota in quotas.items() if quota - counts[name] > ROUNDING_ERROR]
    may_round_up.sort(key=lambda name: (name == TRAIN and counts[TRAIN] == 0, owed[name]), reverse=True)
    for name in may_round_up[: size - sum(counts.values())]:
        counts[name] += 1
        owed[name] -= 1
    return counts


def _grouped(
    groups: npt.NDArray[np.int64], strata: npt.NDArray[np.int64], shares: dict[str, float], seed: int
) -> npt.NDArray[np.object_]:
    """Whole groups, largest first and equal ones by their keys, each to the split that it brings nearest to its share.

    Distance is Pearson's chi-squared between a split's rows by label (and in all) and its share of them: the greedy
    method of Sechidis et al. (2011), On the Stratification of Multi-Label Data, and of scikit-learn's
    StratifiedGroupKFold. A split with its full share gets no more groups, so it exceeds it by less than one group. Two
    rules come first: the last group that can bring a label to train goes there, and no split stays empty while there
    are groups to fill it.
    """
    labels = int(strata.max()) + 1
    everything = labels  # one more than the labels: the count of all rows
    distinct_groups, group_of_row = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group_of_row)
    pairs, counts = np.unique(group_of_row * labels + strata, return_counts=True)
    starts = np.searchsorted(pairs // labels, np.arange(len(sizes) + 1)).tolist()
    label_of_pair, rows_of_pair = (pairs % labels).tolist(), counts.tolist()

    totals = [*np.bincount(strata).tolist(), len(strata)]
    plan = {name: [share * total for total in totals] for name, share in shares.items()}
    placed = {name: [0] * len(totals) for name in shares}
    groups_left_with = np.bincount(pairs % labels).tolist()

    def distance_added(name: str, label_rows: list[tuple[int, int]]) -> float:
        of, rows = plan[name], placed[name]
        return math.fsum(count * (2 * (rows[label] - of[label]) + count) / of[label] for label, count in label_rows)

    largest_first = np.lexsort((draw_keys(distinct_groups, seed, "split"), -sizes)).tolist()
    split_of_group = np.empty(len(sizes), dtype=object)
    for position, group in enumerate(largest_first):
        pair = slice(starts[group], starts[group + 1])
        label_rows = list(zip(label_of_pair[pair], rows_of_pair[pair], strict=True))
        last_for_train = any(groups_left_with[label] == 1 and placed[TRAIN][label] == 0 for label, _ in label_rows)
        label_rows.append((everything, int(sizes[group])))
        empty = [name for name in shares if placed[name][everything] == 0]
        if last_for_train:
            open_splits = [TRAIN]
        elif len(empty) >= len(largest_first) - position:
            open_splits = empty
        else:
            open_splits = [name for name in shares if placed[name][everything] < plan[name][everything]]
        distances = [distance_added(name, label_rows) for name in open_splits]
        chosen = open_splits[distances.index(min(distances))]
        split_of_group[group] = chosen
        for label, count in label_rows:
            placed[chosen][label] += count
        for label, _ in label_rows[:-1]:
            groups_left_with[label] -= 1
    return split_of_group[group_of_row]


def group_numbers(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """The number of each row's group, a digest, or NO_GROUP. Two groups with one digest share a split, which is
    harmless."""
    numbers = digests(values)
    numbers[np.fromiter((value is None or value != value for value in values), np.bool_, len(values))] = NO_GROUP
    return numbers


def _groups(
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None, columns: Columns, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if groups is None:
        raise UsageError(
            "prepare.split.method is grouped, but data.columns names no column of groups",
            "name it under data.columns.group, or choose prepare.split.method: random",
        )
    if isinstance(groups, np.ndarray) and groups.dtype == np.int64:
        numbers = np.asarray(groups, np.int64)
    else:
        numbers = group_numbers(groups.tolist() if isinstance(groups, np.ndarray) else groups)
    without = np.flatnonzero(numbers == NO_GROUP)
    if len(without):
        raise DataError(
            f"column {columns.group or 'group'!r} has no value in {len(without)} of {len(groups)} rows "
            f"({_first(rows[without])}), so their group is unknown",
            "fill it in (a unique value for a row that belongs to no group), or choose prepare.split.method: random",
        )
    return numbers


def _by_time(
    times: npt.NDArray[np.generic] | None,
    shares: dict[str, float],
    columns: Columns,
    rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.object_]:
    """Oldest rows to train, newest to test. A boundary between rows of one time moves to that time's nearer end."""
    if times is None:
        raise UsageError(
            "prepare.split.method is time, but data.columns names no column of times",
            "name it under data.columns.event_time, or choose prepare.split.method: random",
        )
    name = columns.event_time or "event_time"
    column = repr(name)
    texts = [(str(value), f"row {row}") for value, row in zip(times, rows, strict=True) if isinstance(value, str)]
    if texts:
        odd = misfits(name, [([text for text, _ in texts], [row for _, row in texts])], TIMES)
        if odd.count:
            cause, remedy = f": {odd}", odd.remedy
        else:
            cause, remedy = "", f"cast it in SQL, or set data.options.types: {{{name}: {odd.kind}}} (csv, json)"
        raise DataError(
            f"column {column} is text, which has no order in time{cause}",
            f"{remedy}, or choose prepare.split.method: random",
        )
    if times.dtype.kind not in "Miuf":
        raise DataError(
            f"column {column} holds values that have no order in time (first: {shown(times[0])})",
            "cast it to a timestamp, a date or a number in SQL, or choose prepare.split.method: random",
        )
    without = np.flatnonzero(np.isnat(times) if times.dtype.kind == "M" else np.isnan(times.astype(np.float64)))
    if len(without):
        raise DataError(
            f"column {column} has no value in {len(without)} of {len(times)} rows ({_first(rows[without])})",
            "fill it in or leave these rows out of the table, or choose prepare.split.method: random",
        )
    order = np.argsort(times, kind="stable")
    in_order = times[order]
    ends = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1  # the places where the time changes
    if len(ends) < 2:
        raise DataError(
            f"column {column} holds {len(ends) + 1} different times; train, validation and test need at least one each",
            "give a finer time, or choose prepare.split.method: random",
        )
    n = len(times)
    oldest = _nearest(ends[:-1], shares[TRAIN] * n)
    newest = _nearest(ends[ends > oldest], (shares[TRAIN] + shares[VALIDATION]) * n)
    split = np.empty(n, dtype=object)
    split[order[:oldest]], split[order[oldest:newest]], split[order[newest:]] = SPLITS
    return split


def _with_gap(split: npt.NDArray[np.object_], times: npt.NDArray[np.generic], gap: str) -> npt.NDArray[np.object_]:
    """None in place of train's rows so shortly before the first of validation, and of validation's before test."""
    number, unit = float(gap.rstrip("wdhms")), gap.lstrip("0123456789.")
    moments = times.dtype.kind == "M"
    if moments != bool(unit):
        kind = "times: write a unit, such as 7d" if moments else "numbers: write a number without a unit"
        raise UsageError(
            f"prepare.split.gap is {gap!r}, and the rows are ordered by {kind}", "correct prepare.split.gap"
        )
    # In microseconds, as tables hold times; numpy adds no fractions of a unit
    width: Any = np.timedelta64(round(number * SECONDS[unit] * 1e6), "us") if moments else number
    ordered = times.astype("datetime64[us]") if moments else times.astype(np.float64)
    left = np.zeros(len(split), np.bool_)
    for before, after in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
        left |= (split == before) & (ordered > ordered[split == after].min() - width)
    with_gap = split.copy()
    with_gap[left] = None
    return with_gap


def _predefined(
    values: Sequence[str | None] | npt.NDArray[np.str_] | None,
    columns: Columns,
    rows: npt.NDArray[np.int64],
    names: Mapping[str, str],
) -> npt.NDArray[np.object_]:
    """The splits that a column names, in any of SPELLINGS and any case; only validation may be missing.

    `names` applies first, to the column's own word or to the split that it spells: {validation: test} also renames rows
    marked dev.
    """
    if values is None:
        raise UsageError(
            "prepare.split.method is predefined, but data.columns names no column of splits",
            "name it under data.columns.split, or choose prepare.split.method: random",
        )
    values = values.tolist() if isinstance(values, np.ndarray) else values
    column = repr(columns.split or "split")
    others = "choose prepare.split.method: random, grouped or time"
    renamed = {name.strip().lower(): split for name, split in names.items()}
    words = {value: value.strip().lower() if isinstance(value, str) else "" for value in set(values)}
    usual = {value: SPELLINGS.get(word) for value, word in words.items()}
    split_of_value = {
        value: renamed.get(word, renamed.get(usual[value] or "", usual[value])) for value, word in words.items()
    }
    column_names = {*words.values(), *filter(None, usual.values())}
    if unused := [name for name in renamed if name not in column_names]:
        raise DataError(
            f"prepare.split.names renames {unused[0]!r}, but column {column} has no such value",
            nearest(unused[0], sorted(column_names)),
        )
    unknown = [row for row, value in enumerate(values) if split_of_value[value] is None]
    if unknown:
        value = values[unknown[0]]
        first = [row for row in unknown if values[row] == value]
        value_text = "no value" if value is None else repr(value)
        raise DataError(
            f"column {column} holds {value_text} ({_first(rows[first])}), which is not a split; "
            f"{len(unknown)} of {len(values)} rows have no valid split",
            f"write one of {', '.join(SPELLINGS)} there, or {others}",
        )
    split = np.array([split_of_value[value] for value in values], dtype=object)
    for name in (TRAIN, TEST):
        if not np.any(split == name):
            of_files = "if files' names (train.csv) made the column, name one file as data.source; else "
            raise DataError(
                f"column {column} names no {name} rows (it holds {', '.join(sorted(map(repr, split_of_value)))})",
                f"{'' if columns.split else of_files}"
                f"mark the {name} rows {name!r} there, name the published split that they are (prepare.split.names: "
                f"{{validation: {name}}}), or {others}",
            )
    return split


def _require_all(split: npt.NDArray[np.object_]) -> None:
    counts = {name: int(np.sum(split == name)) for name in SPLITS}
    for name, count in counts.items():
        if count == 0:
            raise DataError(
                f"{name} has no rows (of {len(split)}: {', '.join(f'{c} {of}' for of, c in counts.items())})",
                f"add rows (every label needs one in train first, every group stays whole), or give {name} a larger "
                "share under prepare.split",
            )


def _nearest(positions: npt.NDArray[np.int64], target: float) -> int:
    return int(positions[np.argmin(np.abs(positions - target))])


def _first(rows: Iterable[int]) -> str:
    numbers = [str(row) for row in rows]
    return f"row{'s' * (len(numbers) > 1)} {', '.join(numbers[:5])}{', …' * (len(numbers) > 5)}"
