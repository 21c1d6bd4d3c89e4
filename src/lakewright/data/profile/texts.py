"""The texts of a table: their lengths, their languages, and repeated texts.

Texts are streamed, never held; only a number or a hash a row stays in memory. Duplicates are searched in all rows;
lengths in tokens and languages are measured on every k-th row if there are more than MEASURED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from lakewright.data.profile.columns import cut
from lakewright.data.profile.languages import guess
from lakewright.data.rows.duplicates import Duplicates, find_duplicates
from lakewright.data.rows.kinds import is_blank
from lakewright.data.rows.lengths import histogram
from lakewright.data.rows.lost import Shortfalls
from lakewright.records import Finding, Record, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.model.recipe.tokens import Tokens

MEASURED = 100_000  # texts
PERCENTS = (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99)
LIMITS = (64, 128, 256, 512)  # common limits of models
EXAMPLES = 10


class Lengths(Record):
    """pN is the least length that N percent of the texts do not exceed; white space separates words."""

    unit: str  # words or tokens (special tokens included)
    texts: int  # measured
    mean: float
    quantiles: dict[str, int]  # min, p10 … p99, max; the quartiles are p25, p50 and p75
    over: dict[str, float]  # 64, 128, 256, 512 → the share of longer texts
    histogram: list[tuple[int, int, int]]  # from, to, texts; the last bin holds the longest one percent


class TextProfile(Record):
    column: str
    texts: int  # rows with a text
    without: int  # rows without one: null or blank
    words: Lengths | None  # None if there is no text
    tokens: Lengths | None  # None without a tokenizer
    every: int  # tokens and languages were measured on every `every`-th text
    scripts: dict[str, float]  # share of the measured texts, by the script of most letters; none: no letters
    languages: dict[str, float]  # a rough guess: see `languages`
    unread: list[Finding]  # what the base model cannot read in the measured texts


class Repeated(Record):
    text: str
    rows: int
    labels: dict[str, int]  # label → rows, if labels are known


class DuplicateProfile(Record):
    """Repeats among the rows' texts, all text columns together; counted are rows that repeat an earlier one."""

    columns: list[str]
    texts: int
    exact: int
    normalised: int  # equal except for case, white space and Unicode form; includes exact
    conflicting: int | None  # rows whose text has another label elsewhere; None without labels
    repeated: list[Repeated]  # the most frequent texts
    conflicts: list[Repeated]  # the most frequent of the conflicting ones


def profile_text(
    lake: Lake,
    table: TableVersion,
    column: str,
    tokens: Tokens | None,
    splits: Sequence[str] = ("all rows",),
    split: npt.NDArray[np.intp] | None = None,
) -> TextProfile:
    """`tokens` cut nothing; `split` [rows] is each row's index into `splits`, 0 for all rows if it is None."""
    every = -(-max(table.rows, 1) // MEASURED)
    words: list[int] = []
    lengths: list[int] = []
    without = count = first = 0
    scripts: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    split = np.zeros(table.rows, np.intp) if split is None else split
    shortfalls = Shortfalls(splits)
    for batch in _batches(lake, table, [column]):
        sample: list[str] = []
        rows: list[int] = []
        for row, text in enumerate(batch, start=first):
            if text is None:
                without += 1
                continue
            words.append(len(text.split()))
            if count % every == 0:
                sample.append(text)
                rows.append(row)
            count += 1
        first += len(batch)
        for text in sample:
            script, language = guess(text)
            scripts[script or "none"] += 1
            languages[language] += 1
        for start in range(0, len(sample) if tokens is not None else 0, 1000):
            part, numbers = sample[start : start + 1000], np.array(rows[start : start + 1000])
            assert tokens is not None
            values = dict.fromkeys(tokens.inputs, part)
            encoded = tokens.encode(values)
            lengths += encoded.ids.lengths.tolist()
            lost = tokens.shortfalls(encoded, values)
            shortfalls.add(numbers, split[numbers], lost, list(map(cut, part)).__getitem__)
    return TextProfile(
        column=column,
        texts=count,
        without=without,
        words=_lengths("words", words) if words else None,
        tokens=_lengths("tokens", lengths) if lengths else None,
        every=every,
        scripts=_shares(scripts),
        languages=_shares(languages),
        unread=shortfalls.findings(),
    )


@dataclass(frozen=True, eq=False)
class TextRows:
    """The rows that have a text, and the repeats among those texts."""

    rows: npt.NDArray[np.int64]  # the table's row numbers
    duplicates: Duplicates  # over these rows
    complete: npt.NDArray[np.bool_]  # whether none of the row's texts is missing


def find_text_rows(
    lake: Lake, table: TableVersion, columns: Sequence[str], truth_of_row: npt.NDArray[np.int64] | None
) -> TextRows:
    """`truth_of_row`: the label's number of each row of the table, -1 if unknown; such rows conflict with no other."""
    present, complete = _present(lake, table, columns)
    rows = np.flatnonzero(present)

    class Streamed:
        def __iter__(self) -> Iterator[str]:
            return (text for batch in _batches(lake, table, columns) for text in batch if text is not None)

        def __len__(self) -> int:
            return len(rows)

    texts = cast("Sequence[str]", Streamed())  # read from first to last, twice, and never held
    duplicates = find_duplicates(texts, None)
    if truth_of_row is not None:
        truths = truth_of_row[rows]
        labelled = truths >= 0
        width = int(truths.max(initial=0)) + 1
        pairs = np.unique(duplicates.group_of_row[labelled] * width + truths[labelled]) // width
        several = np.bincount(pairs, minlength=int(duplicates.group_of_row.max(initial=-1)) + 1) > 1
        conflicting = np.flatnonzero(several[duplicates.group_of_row] & labelled) if len(rows) else rows
        duplicates = Duplicates(duplicates.exact, duplicates.normalised, conflicting, duplicates.group_of_row)
    return TextRows(rows, duplicates, complete[rows])


def profile_duplicates(
    lake: Lake,
    table: TableVersion,
    columns: Sequence[str],
    text_rows: TextRows,
    truth_of_row: npt.NDArray[np.int64] | None,
    names: Sequence[str],
) -> DuplicateProfile:
    """`names[i]` is the label with the number i; without names the examples show no labels."""
    group_of_row, conflicting = text_rows.duplicates.group_of_row, text_rows.duplicates.conflicting
    sizes = np.bincount(group_of_row)
    by_size = np.argsort(-sizes, kind="stable")
    repeated = [group for group in by_size[:EXAMPLES].tolist() if sizes[group] > 1]
    in_conflict = np.zeros(len(sizes), dtype=np.bool_)
    in_conflict[group_of_row[conflicting]] = True
    conflicts = by_size[in_conflict[by_size]][:EXAMPLES].tolist()
    places_of_group = {group: np.flatnonzero(group_of_row == group) for group in {*repeated, *conflicts}}
    texts = _texts_at(lake, table, columns, {int(text_rows.rows[places[0]]) for places in places_of_group.values()})

    def example(group: int) -> Repeated:
        places = places_of_group[group]
        labels: Counter[str] = Counter()
        if truth_of_row is not None and names:
            truths = truth_of_row[text_rows.rows[places]]
            labels.update(names[truth] for truth in truths.tolist() if truth >= 0)
        return Repeated(
            text=cut(texts[int(text_rows.rows[places[0]])]), rows=len(places), labels=dict(labels.most_common(8))
        )

    return DuplicateProfile(
        columns=list(columns),
        texts=len(text_rows.rows),
        exact=len(text_rows.duplicates.exact),
        normalised=len(text_rows.duplicates.normalised),
        conflicting=None if truth_of_row is None else len(conflicting),
        repeated=[example(group) for group in repeated],
        conflicts=[example(group) for group in conflicts],
    )


def _batches(lake: Lake, table: TableVersion, columns: Sequence[str]) -> Iterator[list[str | None]]:
    """The texts of each row as one, joined by `whole_text`; None without a text."""
    for batch in lake.scan(table, list(columns)):
        values = [[_text(value) for value in batch.column(name).to_pylist()] for name in columns]
        yield [
            "\n".join(text for text in texts if text is not None) if any(text is not None for text in texts) else None
            for texts in zip(*values, strict=True)
        ]


def _text(value: object) -> str | None:
    """A string, or a list of words, as text; None if it is null or blank."""
    if isinstance(value, list):
        value = " ".join(str(word) for word in value if word is not None)
    return value if isinstance(value, str) and not is_blank(value) else None


def _present(
    lake: Lake, table: TableVersion, columns: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(rows,) each: whether the row has any of its texts, and whether it has all."""
    some, every = [np.empty(0, np.bool_)], [np.empty(0, np.bool_)]
    for batch in lake.scan(table, list(columns)):
        present = np.array(
            [[_text(value) is not None for value in batch.column(name).to_pylist()] for name in columns], dtype=np.bool_
        )
        some.append(np.asarray(present.any(axis=0)))
        every.append(np.asarray(present.all(axis=0)))
    return np.concatenate(some), np.concatenate(every)


def _texts_at(lake: Lake, table: TableVersion, columns: Sequence[str], rows: set[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    start = 0
    for batch in _batches(lake, table, columns) if rows else ():
        texts |= {row: batch[row - start] or "" for row in rows if start <= row < start + len(batch)}
        start += len(batch)
        if len(texts) == len(rows):
            break
    return texts


def _lengths(unit: str, values: list[int]) -> Lengths:
    lengths = np.array(values, dtype=np.int64)
    percentiles = np.percentile(lengths, PERCENTS, method="inverted_cdf").tolist()
    longest = int(lengths.max())
    bins = histogram(np.minimum(lengths, int(percentiles[-1])))
    bins[-1] = (bins[-1][0], max(longest, bins[-1][0]), bins[-1][2])
    return Lengths(
        unit=unit,
        texts=len(lengths),
        mean=float(lengths.mean()),
        quantiles={
            "min": int(lengths.min()),
            **{f"p{p}": int(value) for p, value in zip(PERCENTS, percentiles, strict=True)},
            "max": longest,
        },
        over={str(limit): float((lengths > limit).mean()) for limit in LIMITS},
        histogram=bins,
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: count / total for name, count in counts.most_common()}
