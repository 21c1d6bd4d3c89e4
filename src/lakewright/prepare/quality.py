"""What is wrong with the data, found before anything is learned: errors that stop, and findings that go on record.

Before the split: check_columns, check_labels, check_duplicates. After it: check_leakage, and check_train on the rows
that stay once duplicates are dropped. What no model can be learned from is a DataError, all else a finding.
`rows[i]` is the table's row number (counted from 0) of `texts[i]`, so that messages name the table's rows even where
rows were left out before; by default they are 0, 1, 2, …
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.errors import DataError
from lakewright.prepare.duplicates import Duplicates, normalise
from lakewright.prepare.splits import SPLITS, TRAIN
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.project import Columns

VERY_LONG = 20_000  # characters: about 5,000 tokens, ten times what a BERT-type encoder reads
EXAMPLES = 5
CUT = 80  # characters of an example

Rows = npt.NDArray[np.int64]


def check_columns(
    texts: Sequence[str | None], truths: Sequence[object], ids: Sequence[Hashable] | None, *, columns: Columns
) -> tuple[npt.NDArray[np.bool_], list[Finding]]:
    """Which rows can be used, (rows,), and what was found; `truths` are labels, lists of tags, … one a row.

    Raises DataError for an empty table, for ids that are missing or stand twice, and where no row has both a text and a
    truth. Rows without a text or a truth are left out, with a finding each.
    """
    text_column, truth_column = _text_columns(columns, "or"), _truth_column(columns)
    if len(texts) == 0:
        raise DataError(f"the table holds no rows (column {text_column})", "see whether its source holds any")
    if ids is not None:
        _require_unique(ids, columns)
    has_text = np.fromiter((not _missing(text) for text in texts), np.bool_, len(texts))
    has_truth = np.fromiter((not _missing(truth) for truth in truths), np.bool_, len(texts))
    for column, has in ((text_column, has_text), (truth_column, has_truth)):
        if not has.any():
            raise DataError(
                f"column {column} is empty in all {counted(len(texts), 'row')}",
                "name the right column under data.columns, or see how the source was read (data.options)",
            )
    keep = has_text & has_truth
    if not keep.any():
        raise DataError(
            f"no row has a value in both columns {text_column} and {truth_column}", "see how the table was joined"
        )

    findings = _finding(
        "empty_text",
        np.flatnonzero(~has_text),
        f"with nothing in column {text_column} left out: fill them in at the source if they matter.",
        lambda row: f"row {row}: {_cut(truths[row])}",
    )
    findings += _finding(
        "missing_label",
        np.flatnonzero(~has_truth),
        f"with nothing in column {truth_column} left out: label them to learn from them.",
        lambda row: f"row {row}: {_cut(texts[row])}",
    )
    findings += _finding(
        "very_long_text",
        [row for row, text in enumerate(texts) if text is not None and len(text) > VERY_LONG],
        f"of more than {VERY_LONG:,} characters in column {text_column}, of which a model reads only the first "
        "max_length tokens: split them into parts, or see whether a separator was missed.",
        lambda row: f"row {row}: {_cut(texts[row])}",
    )
    return keep, findings


def check_labels(
    texts: Sequence[str],
    labels: Sequence[str] | npt.NDArray[np.str_],
    *,
    columns: Columns,
    rows: Rows | None = None,
) -> list[Finding]:
    """Findings about labels, for tasks where a row has one: rare ones, two spellings of one, texts that give it away.

    Raises DataError where all rows have the same label.
    """
    column = _truth_column(columns)
    number = _numbers(rows, len(texts))
    labels = [str(label) for label in labels]  # an array's strings are written np.str_('…')
    counts = Counter(labels)
    if len(counts) < 2:
        raise DataError(
            f"column {column} holds one label only, {labels[0]!r}, in all {counted(len(labels), 'row')}",
            "add rows of other labels (there is nothing to learn from one), or see whether the table was filtered, or "
            "task.merge merges all of them",
        )

    def labelled(row: int) -> str:
        return f"row {number[row]}: {_cut(labels[row])!r}: {_cut(texts[row])}"

    findings = _finding(
        "rare_labels",
        [row for row, label in enumerate(labels) if counts[label] == 1],
        f"alone with its label in column {column}, which can be learned or tested, not both: add rows or merge labels.",
        labelled,
    )

    usual: dict[str, str] = {}  # normalised label → its most frequent spelling
    for label, _ in counts.most_common():
        usual.setdefault(normalise(label), label)
    doubtful = {label: usual[normalise(label)] for label in counts if usual[normalise(label)] != label}
    findings += _finding(
        "label_spellings",
        [row for row, label in enumerate(labels) if label in doubtful],
        f"whose label in column {column} differs from a more frequent one only in case, white space or Unicode form, "
        "and is learned as another label: write them alike at the source.",
        lambda row: (
            f"row {number[row]}: {_quoted(labels[row])} ({counted(counts[labels[row]], 'row')}), "
            f"elsewhere {_quoted(doubtful[labels[row]])} ({counted(counts[doubtful[labels[row]]], 'row')})"
        ),
    )

    normalised = {label: normalise(label) for label in counts}
    findings += _finding(
        "text_equals_label",
        [row for row, label in enumerate(labels) if normalise(texts[row]) == normalised[label]],
        f"whose text is the label itself, which needs no model and makes the metrics too good: see whether column "
        f"{_text_columns(columns, 'and')} was filled from column {column}.",
        labelled,
    )
    return findings


def check_constant(labels_of: Sequence[Sequence[str]], *, columns: Columns) -> list[Finding]:
    """The finding `constant_label`, for tasks where a row has several: labels that every row of train has."""
    counts = Counter(label for labels in labels_of for label in set(labels))
    constant = sorted(label for label, count in counts.items() if count == len(labels_of))
    if not constant:
        return []
    detail = (
        f"{counted(len(constant), 'label')} in column {_truth_column(columns)} that every row of train has, so that no "
        "model can tell when it does not hold, and the metrics are too good: leave it out."
    )
    return [Finding(name="constant_label", count=len(constant), detail=detail, rows=constant[:EXAMPLES])]


def check_duplicates(
    texts: Sequence[str],
    truths: Sequence[object] | npt.NDArray[np.str_],
    duplicates: Duplicates,
    *,
    columns: Columns,
    rows: Rows | None = None,
) -> list[Finding]:
    """Findings about texts that stand more than once, and about those that stand with different truths."""
    number = _numbers(rows, len(texts))
    text_column, truth_column = _text_columns(columns, "and"), _truth_column(columns)

    def with_truth(row: int) -> str:
        return f"row {number[row]}: {_cut(truths[row])!r}: {_cut(texts[row])}"

    findings = _finding(
        "exact_duplicates",
        duplicates.exact,
        f"repeating the text of an earlier row in column {text_column} letter for letter: with "
        "prepare.duplicates: drop, train and validation keep the first.",
        with_truth,
    )
    findings += _finding(
        "normalised_duplicates",
        np.setdiff1d(duplicates.normalised, duplicates.exact),
        f"repeating the text of an earlier row in column {text_column} but for case, white space or Unicode form: with "
        "prepare.duplicates: drop, train and validation keep the first.",
        with_truth,
    )
    findings += _finding(
        "conflicting_labels",
        duplicates.conflicting,
        f"whose text stands elsewhere with another value in column {truth_column}, so that no model can have both "
        "right: settle which it is at the source.",
        with_truth,
    )
    return findings


def check_leakage(
    texts: Sequence[str],
    split: npt.NDArray[np.str_],
    group_of_row: npt.NDArray[np.int64],
    *,
    rows: Rows | None = None,
) -> list[Finding]:
    """The finding `leakage`: how many normalised texts (Duplicates.group_of_row) stand in more than one split."""
    number = _numbers(rows, len(texts))
    stands_in = np.zeros((int(group_of_row.max(initial=-1)) + 1, len(SPLITS)), dtype=np.bool_)
    for place, name in enumerate(SPLITS):
        stands_in[group_of_row[split == name], place] = True
    leaking = stands_in.sum(axis=1) > 1
    count = int(leaking.sum())
    if not count:
        return []
    shared = [
        f"{first} and {second}: {both}"
        for place, first in enumerate(SPLITS)
        for other, second in enumerate(SPLITS[place + 1 :], start=place + 1)
        if (both := int((stands_in[:, place] & stands_in[:, other]).sum()))
    ]
    examples: dict[int, list[int]] = {}
    for row in np.flatnonzero(leaking[group_of_row]).tolist():
        group = int(group_of_row[row])
        if group in examples or len(examples) < EXAMPLES:
            examples.setdefault(group, []).append(row)
    return [
        Finding(
            name="leakage",
            count=count,
            detail=f"{counted(count, 'text')} standing in more than one split ({', '.join(shared)}), which makes the "
            "metrics too good: prepare.duplicates: drop keeps it in test, else in validation; where rows are related "
            "beyond that, name a group under data.columns.group.",
            rows=[
                f"{', '.join(f'row {number[row]} ({split[row]})' for row in same[:EXAMPLES])}: {_cut(texts[same[0]])}"
                for same in examples.values()
            ],
        )
    ]


def check_train(
    split: npt.NDArray[np.str_], labels: Sequence[str] | npt.NDArray[np.str_] | None, *, columns: Columns
) -> None:
    """Raises DataError where a split has no rows, or a label of validation or test none in train.

    To be called with the rows that stay and the split that they stay in; without labels where rows have no single one.
    """
    for name in SPLITS:
        if not np.any(split == name):
            raise DataError(
                f"no rows stay in {name} once duplicates are dropped",
                "set prepare.duplicates: keep, give it a larger share under prepare.split, or add rows",
            )
    if labels is None:
        return
    counts = {name: Counter(np.asarray(labels)[split == name].tolist()) for name in SPLITS}
    others = [name for name in SPLITS if name != TRAIN]
    unseen = sorted({label for name in others for label in counts[name]} - set(counts[TRAIN]))
    if unseen:
        shown = [
            f"{label!r} ({', '.join(f'{counts[name][label]} in {name}' for name in others if counts[name][label])})"
            for label in unseen[:EXAMPLES]
        ]
        raise DataError(
            f"column {_truth_column(columns)}: {counted(len(unseen), 'label')} not in train: "
            f"{', '.join(shown)}{', …' * (len(unseen) > EXAMPLES)}",
            "add train rows of these labels, merge them into others, leave their rows out, or split otherwise "
            "(another prepare.split.seed or method)",
        )


def _require_unique(ids: Sequence[Hashable], columns: Columns) -> None:
    column = columns.id or "id"
    remedy = (
        f"make {column!r} unique, name another column under data.columns.id, or none: the row number is the id then"
    )
    first_row: dict[Hashable, int] = {}
    again: list[tuple[Hashable, int]] = []
    missing: list[int] = []
    for row, value in enumerate(ids.tolist() if isinstance(ids, np.ndarray) else ids):
        if _missing(value):
            missing.append(row)
        elif value in first_row:
            again.append((value, row))
        else:
            first_row[value] = row
    if missing:
        shown = ", ".join(f"row {row}" for row in missing[:EXAMPLES])
        raise DataError(f"column {column!r} holds no id in {counted(len(missing), 'row')} ({shown})", remedy)
    if again:
        shown = ", ".join(f"{value!r} (rows {first_row[value]} and {row})" for value, row in again[:EXAMPLES])
        raise DataError(f"column {column!r} repeats an id in {counted(len(again), 'row')}: {shown}", remedy)


def _finding(
    name: str, found: Sequence[int] | npt.NDArray[np.int64], detail: str, show: Callable[[int], str]
) -> list[Finding]:
    """One finding about the rows found, with the first few shown; none where there are none."""
    if len(found) == 0:
        return []
    shown = [show(row) for row in found[:EXAMPLES]]
    return [Finding(name=name, count=len(found), detail=f"{counted(len(found), 'row')} {detail}", rows=shown)]


def _missing(value: object) -> bool:
    """Null, NaN or a blank string. An empty list is a value: a sentence without entities."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())
    )


def _text_columns(columns: Columns, joined: str) -> str:
    texts = (columns.text or columns.tokens, columns.text_pair, columns.negative, columns.question, columns.context)
    return f" {joined} ".join(repr(name) for name in texts if name) or "'text'"


def _truth_column(columns: Columns) -> str:
    found = (columns.label, columns.labels, columns.tags, columns.spans, columns.answers, columns.score)
    return repr(next((name for name in found if name), "label"))


def _numbers(rows: Rows | None, n: int) -> Rows:
    return np.arange(n) if rows is None else rows


def _cut(value: object) -> str:
    """At most CUT characters on one line; the start is enough to look for."""
    text = "(nothing)" if _missing(value) else " ".join(str(value)[: 4 * CUT].split())
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def _quoted(label: str) -> str:
    """White space as it is, since that may be all that two labels differ in."""
    return repr(label[:CUT])


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
