"""One label a row: confusions, mistakes, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.scorers.classification import ClassificationScorer
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
from lakewright.pages.pictures import of_classes
from lakewright.pages.report.mistakes import Mistake, confident_mistakes, confused_pairs
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage, two_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


def sections(scorer: ClassificationScorer, report: Report, context: ReportContext) -> list[Section]:
    page = classes_section(report)
    if not scorer.rows:
        return page
    drawn = figures(scorer)
    mistakes = confident_mistakes(scorer)
    words = (
        f"The {len(mistakes)} wrong rows that the model was surest of. If a prediction looks right to you too, the "
        "label may be wrong."
    )
    page += two_classes.sections(scorer, report, context, drawn)
    page.append(confusions(scorer, context, drawn))
    page += mistakes_section([card(m, context) for m in mistakes], "Confident mistakes", words)
    return [*page, calibration(scorer, drawn)]


def figures(scorer: ClassificationScorer) -> dict[str, Figure]:
    return {
        "confusion_matrix": of_classes.confusion_matrix(scorer.confusion(), scorer.labels),
        "reliability": of_classes.reliability_diagram(reliability(scorer.confidence, scorer.correct())),
        **two_classes.figures(scorer),
    }


def verdict(phrases: Phrases) -> str:
    return f"Right on {phrases.share('accuracy')}." if phrases.has("accuracy") else ""


def baseline(scorer: ClassificationScorer) -> str:
    if not scorer.rows:
        return ""
    counts = np.bincount(scorer.truth, minlength=len(scorer.labels))
    frequent = int(counts.argmax())
    return (
        f"Always answering “{scorer.labels[frequent]}”, the most frequent label, would be right on "
        f"{percent(counts[frequent] / scorer.rows)}."
    )


def confusions(scorer: ClassificationScorer, context: ReportContext, drawn: Mapping[str, Figure]) -> Section:
    matrix = drawing(
        drawn["confusion_matrix"],
        "confusion matrix",
        "Rows are the truth. Blue is right, orange is wrong; a darker cell is a larger share of the true class.",
        wide=True,
    )
    pairs = _pairs(scorer, context)
    words = (
        "The pairs most often mixed up. Two classes that swap many rows may be one class, or need a clearer rule for "
        "the people who label them."
        if pairs
        else "None: every test row is right."
    )
    return Section("confusions", "Confusions", "Confusions", words, [*([pairs] if pairs else []), matrix])


def calibration(scorer: ClassificationScorer, drawn: Mapping[str, Figure]) -> Section:
    sure, right = float(scorer.confidence.mean()), float(scorer.correct().mean())
    words = (
        "When the model's confidence is 80 %, is it right four times in five? Bars under the dashed line mean that it "
        "is overconfident, bars above it that it is underconfident. On average its confidence is "
        f"{percent(sure)} and it is right on {percent(right)}."
    )
    picture = drawing(drawn["reliability"], "accuracy by confidence")
    return Section("calibration", "Calibration", "Calibration", words, [picture])


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


def card(mistake: Mistake, context: ReportContext) -> Card:
    facts = [
        Fact("predicted", mistake.predicted, "bad", percent(mistake.confidence)),
        Fact("true", mistake.truth, "good", percent(mistake.truth_probability)),
    ]
    return Card(
        row_id(context, mistake.row), [*facts, *other_columns(context, mistake.row)], lines_of(context, mistake.row)
    )


PAGE = TruthPage(sections, figures, verdict, baseline)
