"""Problems of the data, before anything is learned: errors, which stop the run, and findings, which are recorded.

The checks read the rows' facts: check_labels and check_duplicates; after the split check_leakage; and check_splits and
check_train on the rows that stay once duplicates are dropped. Data that no model can learn from raise DataError, all
else is a finding. The checks have no texts: a finding is first `Noticed`, with the rows to show; `with_texts` adds
their texts. `rows[i]` is the table's row number (counted from 0) of the i-th row checked, so that messages name the
table's rows even if earlier steps left some out; by default 0, 1, 2, …
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.duplicates import Duplicates, identities, normalise
from lakewright.data.rows.kinds import missing
from lakewright.data.rows.splits import SPLITS, TEST, TRAIN, VALIDATION
from lakewright.data.sources.words import PLACEHOLDERS
from lakewright.errors import DataError
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.settings.sections import Columns

FEW_TEST_ROWS = 30  # of fewer, resampling tells little of the rows that were not drawn
EXAMPLES = 5
CUT = 80  # characters of an example
WORDS_FOR_NOTHING = {*PLACEHOLDERS} - {"none", "unknown", "missing", "xxx", "todo", "tbd", "_", "."}  # may be classes

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Noticed:
    """A finding whose rows are not read yet."""

    name: str
    count: int
    detail: str
    rows: list[int]  # the table's row numbers to show
    show: Callable[[int, str, str], str]  # takes a row's number, text and truth

    @property
    def without_texts(self) -> Finding:
        return Finding(name=self.name, count=self.count, detail=self.detail, rows=[f"row {row}" for row in self.rows])


def with_texts(noticed: Iterable[Finding | Noticed], examples: Mapping[int, tuple[str, str]]) -> list[Finding]:
    """The findings; `examples` has the text and the truth of every row to show."""
    return [
        each
        if isinstance(each, Finding)
        else Finding(
            name=each.name,
            count=each.count,
            detail=each.detail,
            rows=[each.show(row, *examples[row]) for row in each.rows],
        )
        for each in noticed
    ]


def check_labels(
    texts: npt.NDArray[np.void],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    columns: Columns,
    rows: Rows | None = None,
    is_label: npt.NDArray[np.bool_] | None = None,
) -> list[Noticed]:
    """Findings about labels, for tasks with one a row: rare labels, two spellings of one, inputs that equal the label.

    `texts` are `identities`; row i has the label `names[labels[i]]`, and every name occurs. `is_label` [rows] is
    whether one of several inputs is the label. Raises DataError if all rows have the same label.
    """
    column = truth_name(columns)
    number = _numbers(rows, len(texts))
    count_of = np.bincount(labels, minlength=len(names))
    counts = Counter(dict(zip(names, count_of.tolist(), strict=True)))
    if len(counts) < 2:
        raise DataError(
            f"column {column} holds one label only, {names[0]!r}, in all {counted(len(labels), 'row')}",
            "add rows of other labels (a model learns nothing from one label), or check whether the table was "
            "filtered, or task.merge merges all of them",
        )
    noticed = noticed_rows(
        "rare_labels",
        number[count_of[labels] == 1],
        f"whose label in column {column} occurs only once: it can be learned or tested, not both. Add rows or "
        "merge labels.",
        with_truth,
    )

    nothing = np.array([name.strip().lower() in WORDS_FOR_NOTHING for name in names])
    words = ", ".join(_quoted(name) for name in names if name.strip().lower() in WORDS_FOR_NOTHING)
    noticed += noticed_rows(
        "placeholder_labels",
        number[nothing[labels]],
        f"whose label in column {column} is a word for a missing value ({words}), learned as a class. If it means no "
        "label, have it read as missing (data.options.null_values in csv, nullif in SQL): these rows are then left "
        "out.",
        with_truth,
    )
    noticed += check_spellings(labels, [(name,) for name in names], columns=columns, rows=number)
    if is_label is None:
        named = identities(names)
        is_label = (texts["high"] == named["high"][labels]) & (texts["low"] == named["low"][labels])
    noticed += noticed_rows(
        "text_equals_label",
        number[is_label],
        f"whose text is the label itself, which needs no model and makes the metrics too good: check whether column "
        f"{input_names(columns, 'and')} was filled from column {column}.",
        with_truth,
    )
    return noticed


def check_spellings(
    labels: npt.NDArray[np.integer], names: Sequence[tuple[str, ...]], *, columns: Columns, rows: Rows | None = None
) -> list[Noticed]:
    """The finding `label_spellings`; a row's labels are `names[labels[i]]`."""
    counts: Counter[str] = Counter()
    for row_labels, times in zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True):
        counts.update(dict.fromkeys(row_labels, times))
    usual: dict[str | Decimal, str] = {}  # its most frequent spelling
    for label, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        usual.setdefault(_spelling(label), label)
    doubtful = {label: usual[_spelling(label)] for label in counts if usual[_spelling(label)] != label}
    places = np.flatnonzero(np.array([any(label in doubtful for label in row_labels) for row_labels in names])[labels])
    number = _numbers(rows, len(labels))
    spelling_of_row = {
        int(number[place]): next(label for label in names[labels[place]] if label in doubtful)
        for place in places[:EXAMPLES]
    }

    def show(row: int, text: str, truth: str) -> str:
        label, other = spelling_of_row[row], doubtful[spelling_of_row[row]]
        both = [f"{_quoted(each)} ({counted(counts[each], 'row')})" for each in (label, other)]
        return f"row {row}: {both[0]}, elsewhere {both[1]}"

    return noticed_rows(
        "label_spellings",
        number[places],
        f"whose label in column {truth_name(columns)} differs from a more frequent one only in case, white space, "
        "Unicode form or the digits of a number, and is learned as another label: write them the same way "
        "at the source.",
        show,
    )


def _spelling(label: str) -> str | Decimal:
    """The same value for labels that a reader would call one: 'Billing' and 'billing ', 01 and 1."""
    visible = normalise("".join(each for each in label if unicodedata.category(each) != "Cf"))
    return Decimal(visible) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", visible) else visible


def check_constant(counts: Mapping[str, int], rows: int, *, columns: Columns) -> list[Finding]:
    """The finding `constant_label`, for tasks with several labels a row: labels that every row of train has. `counts`
    are rows by label, out of train's `rows`."""
    constant = sorted(label for label, count in counts.items() if count == rows)
    if not constant:
        return []
    detail = (
        f"{counted(len(constant), 'label')} in column {truth_name(columns)} that every row of train has, so that no "
        "model can learn when it is absent, and the metrics are too good: leave it out."
    )
    return [Finding(name="constant_label", count=len(constant), detail=detail, rows=constant[:EXAMPLES])]


def check_duplicates(
    duplicates: Duplicates, *, columns: Columns, rows: Rows | None = None, fate: str = ""
) -> list[Noticed]:
    """Findings about repeated texts, and about texts with different truths. `fate`: what becomes of repeated ones."""
    number = _numbers(rows, len(duplicates.group_of_row))
    text_column, truth_column = input_names(columns, "and"), truth_name(columns)
    if content(columns) == "text" and any(isinstance(columns.roles[role], list) for role, _ in columns.inputs):
        text_column += " and all other inputs"  # rows are equal by all of them
    noticed = noticed_rows(
        "exact_duplicates",
        number[duplicates.exact],
        f"repeating the {content(columns)} of an earlier row in column {text_column} exactly{fate}.",
        with_truth,
    )
    noticed += noticed_rows(
        "normalised_duplicates",
        number[np.setdiff1d(duplicates.normalised, duplicates.exact)],
        f"repeating the {content(columns)} of an earlier row in column {text_column} except for case, white space or "
        f"Unicode form{fate}.",
        with_truth,
    )
    noticed += noticed_rows(
        "conflicting_labels",
        number[duplicates.conflicting],
        f"with the {content(columns)} of other rows and another value in column {truth_column}, so that no model can "
        "predict both: correct the value at the source.",
        with_truth,
    )
    return noticed


def coarse_rows(duplicates: Duplicates) -> Finding:
    """The finding that equal rows stay, because they are different things (Duplicates.are_coarse)."""
    repeats, conflicts = len(duplicates.normalised), len(duplicates.conflicting)
    return Finding(
        name="equal_rows_kept",
        count=repeats,
        detail=f"{counted(repeats, 'row')} of {len(duplicates.group_of_row):,} equal to an earlier row. As equal rows "
        f"have different truths ({counted(conflicts, 'row')}), they are taken for different things, not copies, and "
        "all stay. If they are copies: prepare.duplicates: drop; if many are of one person or machine, name it under "
        "data.columns.group.",
    )


def check_leakage(
    split: npt.NDArray[np.generic], group_of_row: npt.NDArray[np.int64], *, rows: Rows | None = None
) -> list[Noticed]:
    """The finding `leakage`: the number of normalised texts (Duplicates.group_of_row) in more than one split."""
    number = _numbers(rows, len(split))
    in_split = np.zeros((int(group_of_row.max(initial=-1)) + 1, len(SPLITS)), dtype=np.bool_)
    for place, name in enumerate(SPLITS):
        in_split[group_of_row[split == name], place] = True
    leaking = in_split.sum(axis=1) > 1
    count = int(leaking.sum())
    if not count:
        return []
    shared = [
        f"{first} and {second}: {both}"
        for place, first in enumerate(SPLITS)
        for other, second in enumerate(SPLITS[place + 1 :], start=place + 1)
        if (both := int((in_split[:, place] & in_split[:, other]).sum()))
    ]
    examples: dict[int, list[int]] = {}
    for row in np.flatnonzero(leaking[group_of_row]).tolist():
        group = int(group_of_row[row])
        if group in examples or len(examples) < EXAMPLES:
            examples.setdefault(group, []).append(row)
    splits_of_example = {
        int(number[same[0]]): ", ".join(f"row {number[row]} ({split[row]})" for row in same[:EXAMPLES])
        for same in examples.values()
    }
    return [
        Noticed(
            name="leakage",
            count=count,
            detail=f"{counted(count, 'text')} in more than one split ({', '.join(shared)}), which makes the "
            "metrics too good: prepare.duplicates: drop keeps it in test, else in validation; if rows are related "
            "in other ways, name a group under data.columns.group.",
            rows=list(splits_of_example),
            show=lambda row, text, truth: f"{splits_of_example[row]}: {cut(text)}",
        )
    ]


def check_splits(split: npt.NDArray[np.generic]) -> None:
    """Raises DataError if a split has no rows; call it with the rows that stay."""
    for name in SPLITS:
        if not np.any(split == name):
            raise DataError(
                f"{name} has no rows after duplicates are dropped",
                "set prepare.duplicates: keep, give it a larger share under prepare.split, or add rows",
            )


def check_size_of_test(rows: int) -> list[Finding]:
    """The finding `few_test_rows`."""
    if rows >= FEW_TEST_ROWS:
        return []
    detail = (
        f"{counted(rows, 'row')} of test: too few for a metric to mean much. Its interval is of resampled rows, and as "
        "narrow as they are alike; one error more or less changes what the gate reads. Add rows, or give test a larger "
        "share (prepare.split.test)."
    )
    return [Finding(name="few_test_rows", count=rows, detail=detail)]


def check_test(counts: Mapping[str, Mapping[str, int]], *, columns: Columns) -> list[Finding]:
    """The finding `one_class_in_test`, for tasks with one label a row."""
    if len(counts[TEST]) != 1:
        return []
    ((label, count),) = counts[TEST].items()
    detail = (
        f"{counted(count, 'row')} of test all of class {_quoted(label)} in column {truth_name(columns)}, so that "
        "roc_auc is not defined and no metric shows how well the classes are separated: test on rows of every class."
    )
    return [Finding(name="one_class_in_test", count=count, detail=detail)]


def check_absent(
    counts: Mapping[str, Mapping[str, int]],
    rows_with: Callable[[str], Sequence[int]],
    *,
    columns: Columns,
    one_label: bool,
) -> list[Finding]:
    """The findings `not_in_test` and `not_in_validation`: labels of train without a row there. `counts` are split →
    label → rows, `rows_with` the numbers of the rows with a label."""
    findings = []
    uses = {
        VALIDATION: "thresholds, early stopping and whatever else is chosen there never see them",
        TEST: "no metric shows how well they are predicted",
    }
    for name, what_follows in uses.items():
        absent = [label for label in counts[TRAIN] if label not in counts[name]]
        if not absent or (name == TEST and len(counts[TEST]) < 2):  # of one class, `one_class_in_test` tells more
            continue
        rows = []
        for label in absent[:EXAMPLES]:
            numbers = list(rows_with(label))
            first = ", ".join(map(str, numbers[:EXAMPLES])) + ", …" * (len(numbers) > EXAMPLES)
            rows.append(f"{_quoted(label)}: {counted(len(numbers), 'row')} ({first})")
        detail = (
            f"{counted(len(absent), 'label')} in column {truth_name(columns)} without a row in {name}: {what_follows}. "
            f"Add rows of them, merge them into others{' (task.merge)' * one_label}, or give {name} a larger share "
            "(prepare.split)."
        )
        findings.append(Finding(name=f"not_in_{name}", count=len(absent), detail=detail, rows=rows))
    return findings


def check_train(counts: Mapping[str, Mapping[str, int]], *, columns: Columns, one_label: bool = False) -> None:
    """Raises DataError if a label of validation or test is not in train, or, where a row has `one_label`, if all rows
    of train have the same; `counts` are split → label → rows."""
    others = [name for name in SPLITS if name != TRAIN]
    unseen = sorted({label for name in others for label in counts[name]} - set(counts[TRAIN]))
    if unseen:
        label_counts = [
            f"{label!r} ({', '.join(f'{counts[name][label]} in {name}' for name in others if label in counts[name])})"
            for label in unseen[:EXAMPLES]
        ]
        raise DataError(
            f"column {truth_name(columns)}: {counted(len(unseen), 'label')} not in train: "
            f"{', '.join(label_counts)}{', …' * (len(unseen) > EXAMPLES)}",
            "add train rows of these labels, merge them into others, leave their rows out, or split in another way "
            "(another prepare.split.seed or method)",
        )
    if one_label and len(counts[TRAIN]) == 1:
        ((label, count),) = counts[TRAIN].items()
        raise DataError(
            f"column {truth_name(columns)} holds one label only, {_quoted(label)}, in all {counted(count, 'row')} of "
            "train",
            "add train rows of other labels, split in another way (another prepare.split.seed or method), or, if rows "
            "were dropped as duplicates, set prepare.duplicates: keep",
        )


def noticed_rows(name: str, rows: Rows, detail: str, show: Callable[[int, str, str], str]) -> list[Noticed]:
    """One finding about the rows, of which the first few are shown; none if there are no rows."""
    if len(rows) == 0:
        return []
    return [Noticed(name, len(rows), f"{counted(len(rows), 'row')} {detail}", rows[:EXAMPLES].tolist(), show)]


def with_truth(row: int, text: str, truth: str) -> str:
    return f"row {row}: {cut(truth)!r}: {cut(text)}"


def input_names(columns: Columns, conjunction: str) -> str:
    """The input columns, for messages; only the texts, if there are any."""
    several = {role for role, column in columns.roles.items() if isinstance(column, list)}
    names = [name for role, name in columns.inputs if role not in several] or [name for _, name in columns.inputs]
    text = f" {conjunction} ".join(map(repr, names[:EXAMPLES])) or "'text'"
    return text + f" {conjunction} {len(names) - EXAMPLES} more" * (len(names) > EXAMPLES)


def content(columns: Columns) -> str:
    """What a row holds, for messages."""
    return "text" if any(isinstance(columns.roles[role], str) for role, _ in columns.inputs) else "values"


def truth_name(columns: Columns) -> str:
    return repr(next((column for role, column in columns.roles.items() if role in columns.truths), "label"))


def _numbers(rows: Rows | None, n: int) -> Rows:
    return np.arange(n) if rows is None else rows


def cut(value: object) -> str:
    """At most CUT characters on one line; the start is enough for a search."""
    text = "(nothing)" if missing(value) else " ".join(str(value)[: 4 * CUT].split())
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def _quoted(label: str) -> str:
    """White space unchanged, since it may be the only difference between two labels."""
    return repr(label[:CUT])


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
