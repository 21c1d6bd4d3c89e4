"""The results of a table's profile that deserve a look before anything is learned, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lakewright.data.profile.facets import FEW
from lakewright.data.profile.labels import RARE
from lakewright.data.rows.quality import counted
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.data.profile import TableProfile
    from lakewright.data.profile.columns import ColumnProfile

IMBALANCED = 10.0  # rows of the most frequent label / rows of the rarest
DRIFTED = 0.01  # nats of Jensen-Shannon divergence between the labels of two splits
LONG = 0.01  # of the texts longer than 512 tokens
UNEQUAL = 0.1  # difference in proportions of a label between a facet and the rest, of at least FEW rows

_FLAGS = {
    "all missing": "has no values: leave it out.",
    "mostly missing": "is missing in most rows: leave it out, or check how the table was joined.",
    "constant": "has only one value: a model learns nothing from it.",
    "near-constant": "has one value in nearly all rows.",
    "numbers as text": "has numbers that are stored as text: cast it.",
    "mixed types": "has numbers or dates in some rows and text in others: check the values of the rarer kind.",
}


def findings_of(profile: TableProfile, of_facets: Sequence[Finding]) -> list[Finding]:
    if not profile.table.rows:
        return [Finding(name="no_rows", count=0, detail="The table has no rows.")]
    return [*_splits(profile), *_duplicates(profile), *_labels(profile), *_texts(profile), *(profile.lost or ()),
            *_bias(profile), *of_facets,
            *(finding for column in profile.columns for finding in _column(column))]  # fmt: skip


def _splits(profile: TableProfile) -> Iterator[Finding]:
    splits = profile.splits
    if splits is None:
        return
    for leak in splits.leaks or ():
        first, second = leak.splits
        yield Finding(
            name="leakage",
            count=leak.texts,
            detail=f"{counted(leak.texts, 'text')} in both {first} and {second} "
            f"({counted(leak.rows, 'row')} of {second}), which makes "
            "the metrics too good: prepare.duplicates: drop keeps each in one split.",
        )
    for name, drift in splits.drift.items():
        if drift >= DRIFTED:
            yield Finding(
                name="label_drift",
                count=splits.rows[name],
                detail=f"The labels of {name} have another distribution than train's (Jensen–Shannon divergence "
                f"{drift:.3f} nats): its metrics describe other data than the model learned.",
            )
    if splits.without and splits.source == "column":
        yield Finding(
            name="no_split",
            count=splits.without,
            detail=f"{counted(splits.without, 'row')} with no split in column {splits.by!r}.",
        )


def _duplicates(profile: TableProfile) -> Iterator[Finding]:
    duplicates = profile.duplicates
    if duplicates is None:
        return
    if duplicates.conflicting:
        yield Finding(
            name="conflicting_labels",
            count=duplicates.conflicting,
            detail=f"{counted(duplicates.conflicting, 'row')} whose text occurs in other rows with another label, so "
            "that no model can predict both: correct the label at the source.",
            rows=[
                f"{each.text!r}: {', '.join(f'{k} ({n:,})' for k, n in each.labels.items())}"
                for each in duplicates.conflicts[:5]
            ]
            if any(each.labels for each in duplicates.conflicts)
            else [repr(each.text) for each in duplicates.conflicts[:5]],
        )
    if duplicates.normalised:
        yield Finding(
            name="duplicates",
            count=duplicates.normalised,
            detail=f"{counted(duplicates.normalised, 'row')} repeating the text of an earlier row ("
            f"{duplicates.exact:,} exactly, the others except for case, white space or Unicode form): "
            "prepare.duplicates: drop keeps one.",
            rows=[f"{each.text!r} ({each.rows:,} rows)" for each in duplicates.repeated[:5]],
        )


def _labels(profile: TableProfile) -> Iterator[Finding]:
    labels = profile.labels
    if labels is None:
        return
    if labels.unknown:
        yield Finding(
            name="unlabelled", count=labels.unknown, detail=f"{counted(labels.unknown, 'row')} without a label."
        )
    if labels.kind != "number" and labels.classes == 1:
        yield Finding(name="one_label", count=labels.rows, detail="All labelled rows have the same label.")
    if labels.rare:
        yield Finding(
            name="rare_labels",
            count=labels.rare,
            detail=f"{counted(labels.rare, 'label')} of fewer than {RARE} rows, too few to learn and to test: add "
            "rows or merge labels.",
            rows=[f"{each.label} ({counted(each.rows, 'row')})" for each in labels.rarest],
        )
    if labels.imbalance_ratio is not None and labels.imbalance_ratio >= IMBALANCED:
        most = labels.balance[0]
        yield Finding(
            name="imbalance",
            count=most.rows,
            detail=f"The most frequent label, {most.label}, has {labels.imbalance_ratio:,.0f} times the rows of the "
            f"rarest and {most.share:.1%} of all: read macro F1, not accuracy; prepare.balance: weights may help.",
        )
    if labels.unnamed_places:
        yield Finding(
            name="multi_hot",
            count=labels.rows,
            detail=f"Column {labels.columns[0]!r} holds multi-hot vectors of 0 and 1, whose places have no names: name "
            "them with task.labels, in their order.",
        )
    if labels.without_label:
        yield Finding(
            name="no_label_at_all",
            count=labels.without_label,
            detail=f"{counted(labels.without_label, 'row')} without any of the labels: check whether no label "
            "applies, or whether nobody labelled them.",
        )


def _texts(profile: TableProfile) -> Iterator[Finding]:
    for text in profile.texts:
        if text.without:
            yield Finding(
                name="no_text",
                count=text.without,
                detail=f"{counted(text.without, 'row')} without a text in {text.column!r}.",
            )
        for finding in text.unread if profile.lost is None else ():
            yield finding.model_copy(update={"detail": f"{text.column!r}: {finding.detail}"})
        long = text.tokens.over["512"] if text.tokens is not None else 0.0
        if text.tokens is not None and long >= LONG:
            yield Finding(
                name="long_texts",
                count=round(long * text.texts),
                detail=f"{long:.1%} of the texts in {text.column!r} are longer than 512 tokens, the limit of most "
                "encoders: see prepare.recipe.tokens.long_texts.",
            )


def _bias(profile: TableProfile) -> Iterator[Finding]:
    reported = set()  # with two values in a column, both give the same finding
    for facet in profile.bias:
        if not facet.proportions or min(facet.rows, facet.rest_rows) < FEW:
            continue
        label, difference = next(iter(facet.proportions.items()))
        if abs(difference) >= UNEQUAL and (facet.column, label, round(abs(difference), 12)) not in reported:
            reported.add((facet.column, label, round(abs(difference), 12)))
            yield Finding(
                name="unequal_labels",
                count=facet.rows,
                detail=f"Where {facet.column} is {facet.value}, the label {label} is {100 * abs(difference):.0f} "
                f"points {'rarer' if difference > 0 else 'more frequent'} than in the other rows.",
            )


def _column(column: ColumnProfile) -> Iterator[Finding]:
    for flag in column.flags:
        if flag in _FLAGS:
            present = column.rows - column.missing
            yield Finding(
                name=flag.replace(" ", "_").replace("-", "_"),
                count=column.missing if "missing" in flag else present,
                detail=f"{column.name!r} {_FLAGS[flag]}",
                rows=[f"{value.value!r} ({value.rows:,})" for value in column.top[:3]] if "missing" not in flag else [],
            )
    for finding in column.suspicious:
        if finding.name == "padded" and column.kind == "text":
            continue  # white space around a text does not matter to a model; around a label it makes another label
        yield finding.model_copy(update={"detail": f"{column.name!r}: {finding.detail}"})
