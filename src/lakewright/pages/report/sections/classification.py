"""One label a row, ordered or not: confusions, mistakes, how far off, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.pages.parts import (
    Card,
    Cell,
    Column,
    Fact,
    Section,
    Table,
    classes_section,
    drawing,
    lines_of,
    mistakes_section,
    other_columns,
    percent,
    row_id,
    shortened,
    texts_of,
)
from lakewright.pages.pictures import figures
from lakewright.pages.report.mistakes import Mistake, confident_mistakes, confused_pairs, furthest_mistakes

if TYPE_CHECKING:
    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


def sections(scorer: ClassificationScorer, report: Report, context: ReportContext) -> list[Section]:
    found = classes_section(report)
    if not scorer.rows:
        return found
    drawn = figures(scorer)
    matrix = drawing(
        drawn["confusion_matrix"],
        "confusion matrix",
        "Rows are the truth. Blue is right, orange is wrong, and the darker, the larger the share of the true class.",
        wide=True,
    )
    pairs = _pairs(scorer, context)
    words = (
        "The pairs most often mixed up. Two classes that swap many rows may be one class, or need a clearer rule for "
        "whoever labels them."
        if pairs
        else "None: every test row is right."
    )
    found.append(Section("confusions", "Confusions", "Confusions", words, [*([pairs] if pairs else []), matrix]))
    if isinstance(scorer, OrdinalScorer):
        distance = drawing(drawn["error_distance"], "rows by distance from the true label")
        caption = "Of each true label the mean of what the model expects (dot) and its middle 80 % of rows (line)."
        expected = drawing(drawn["expected"], "expected by true label", caption)
        found.append(Section("distance", "Distance", "How far off", _distances(scorer), [distance, expected]))
        mistakes = furthest_mistakes(scorer)
        words = f"The {len(mistakes)} wrong rows furthest from their label, the surest of each distance first."
        found += mistakes_section([_card(m, context) for m in mistakes], "The mistakes furthest off", words)
    else:
        mistakes = confident_mistakes(scorer)
        words = (
            f"The {len(mistakes)} wrong rows that the model was surest of. Where it looks right to you too, it may be "
            "the label that is wrong."
        )
        found += mistakes_section([_card(m, context) for m in mistakes], "Confident mistakes", words)
    sure, right = float(scorer.confidence.mean()), float(scorer.correct().mean())
    words = (
        "When the model says 80 %, is it right four times in five? Bars under the dashed line mean that it is too sure "
        f"of itself, bars above it that it is too modest. On average its confidence is {percent(sure)} and it is right "
        f"on {percent(right)}."
    )
    found.append(
        Section(
            "calibration",
            "Calibration",
            "Calibration",
            words,
            [drawing(drawn["reliability"], "accuracy by confidence")],
        )
    )
    return found


def _pairs(scorer: ClassificationScorer, context: ReportContext) -> Table | None:
    columns = [
        Column("true", "name"),
        Column("predicted"),
        Column("rows", "count"),
        Column("of the true class", "share"),
    ]
    if context.texts or context.rows:
        columns.append(Column("for example", "says"))
    rows: list[list[Cell]] = []
    for pair in confused_pairs(scorer):
        example = shortened(" / ".join(texts_of(context, pair.example).values()), 110)
        row: list[Cell] = [pair.truth, pair.predicted, pair.rows, pair.share, example]
        rows.append(row[: len(columns)])
    return Table(columns, rows) if rows else None


def _distances(scorer: OrdinalScorer) -> str:
    steps = scorer.predicted - scorer.truth
    off, far = np.abs(steps) > 0, np.abs(steps) > 1
    near = (off & ~far).mean()
    text = f"{percent(1 - off.mean())} are right, {percent(near)} one place off, {percent(far.mean())} more."
    if off.any():
        text += f" Of the wrong ones {percent((steps[off] > 0).mean())} are too high."
    return text


def _card(mistake: Mistake, context: ReportContext) -> Card:
    facts = [
        Fact("predicted", mistake.predicted, "bad", percent(mistake.confidence)),
        Fact("true", mistake.truth, "good", percent(mistake.truth_probability)),
    ]
    return Card(
        row_id(context, mistake.row), [*facts, *other_columns(context, mistake.row)], lines_of(context, mistake.row)
    )
