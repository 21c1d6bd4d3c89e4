"""Any number of labels a row: how many, which go together, which stand in for one another, and at what thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ranking import divide
from lakewright.pages.parts import (
    Card,
    Column,
    Key,
    Line,
    Piece,
    Section,
    Table,
    classes_section,
    drawing,
    lines_of,
    mistakes_section,
    number,
    other_columns,
    percent,
    row_id,
)
from lakewright.pages.pictures import of_classes
from lakewright.pages.report.mistakes import LabelMistake, confident_label_mistakes, swapped_labels
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


def sections(scorer: MultilabelScorer, report: Report, context: ReportContext) -> list[Section]:
    more = [(Column("ROC-AUC", "number"), lambda name: report.classes[name].get("roc_auc"))]
    thresholds = dict(zip(scorer.labels, context.fitted.get("thresholds", ()), strict=False))
    if thresholds:
        more.append((Column("threshold", "number"), lambda name: thresholds.get(name)))
    page = classes_section(report, more, kind="label")
    if not scorer.rows:
        return page
    drawn = figures(scorer)
    parts = [
        drawing(drawn["labels_a_row"], "labels a row, true and predicted"),
        drawing(
            drawn["co_occurrence"],
            "labels that occur together",
            "Of the rows that truly have the label on the left, the percentage that also has the label below.",
            wide=True,
        ),
    ]
    page.append(Section("labels", "Together", "How many labels, and which together", _counts(scorer), parts))
    swaps = swapped_labels(scorer)
    if swaps:
        columns = [Column("missed", "name"), Column("predicted instead"), Column("rows", "count")]
        columns.append(Column("of the rows where it was missed", "share"))
        table = Table(columns, [[swap.missed, swap.predicted, swap.rows, swap.share] for swap in swaps])
        words = "The pairs where one label was missed and the other wrongly predicted, on the same row."
        page.append(Section("confusions", "Confusions", "One label for another", words, [table]))
    mistakes = confident_label_mistakes(scorer)
    key = Key({"correct": "right", "missed": "missed", "spurious": "wrongly predicted"})
    words = "The surest missed and the surest wrongly predicted labels, in turn, with their probabilities."
    page += mistakes_section([_card(mistake, context) for mistake in mistakes], "Confident mistakes", words, key)
    words = (
        "Of the labels with a probability of 80 %, are four in five true? Over all decisions, one for each row and "
        f"label, without thresholds. On average the probability is {percent(scorer.probabilities.mean())}, and "
        f"{percent(scorer.truth.mean())} of the labels are true."
    )
    picture = drawing(drawn["reliability"], "share of true labels by probability")
    page.append(Section("calibration", "Calibration", "Calibration", words, [picture]))
    return page


def _counts(scorer: MultilabelScorer) -> str:
    true, predicted = scorer.truth.sum(axis=1), scorer.predicted.sum(axis=1)
    none = true == 0
    text = f"A row has {true.mean():.2f} true and {predicted.mean():.2f} predicted labels, on average."
    if none.any():
        text += f" Rows without a label: {none.sum():,}, of which {(predicted[none] == 0).sum():,} have none predicted."
    else:
        text += " Every row has at least one."
    return text + f" Rows with labels and none predicted: {(predicted[~none] == 0).sum():,}."


def _card(mistake: LabelMistake, context: ReportContext) -> Card:
    labels: list[Piece] = []
    for decision in mistake.decisions:
        labels += [Piece(decision.label, percent(decision.probability), decision.outcome), Piece(" ")]
    lines = [Line(labels), *lines_of(context, mistake.row)]
    return Card(row_id(context, mistake.row), other_columns(context, mistake.row), lines)


def figures(scorer: MultilabelScorer) -> dict[str, Figure]:
    bins = reliability(scorer.probabilities.ravel(), scorer.truth.ravel())
    return {
        "labels_a_row": of_classes.labels_a_row(scorer.truth.sum(axis=1), scorer.predicted.sum(axis=1)),
        "co_occurrence": of_classes.co_occurrence(scorer.truth, scorer.labels),
        "reliability": of_classes.reliability_diagram(
            bins, right="share true", sure="probability of the label", counted="decisions"
        ),
    }


def verdict(phrases: Phrases) -> str:
    if not phrases.has("micro_precision", "micro_recall", "exact_match"):
        return ""
    recall, precision = phrases.value("micro_recall"), phrases.value("micro_precision")
    text = f"Found {percent(recall)} of the labels of {phrases.rows}; "
    text += f"{percent(precision)} of the predicted ones are right."
    return text + f" All labels are right on {percent(phrases.value('exact_match'))} of the rows."


def baseline(scorer: MultilabelScorer) -> str:
    """The best that one answer for all rows could do."""
    if not scorer.truth.any():
        return ""
    counts = scorer.truth.sum(axis=0).astype(np.float64)
    frequent = np.argsort(-counts, kind="stable")
    answered = np.arange(1.0, len(counts) + 1) * scorer.rows
    f1 = divide(2 * np.cumsum(counts[frequent]), answered + float(counts.sum()))
    best = int(f1.argmax())
    labels = "”, “".join(scorer.labels[i] for i in frequent[: best + 1])
    return f"Always answering “{labels}” would have a micro F1 of {number(f1[best])}."


PAGE = TruthPage(sections, figures, verdict, baseline, classes="labels")
