"""Any number of labels a row: how many, which go together, which stand in for one another, and at what thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ranking import divide
from lakewright.pages import pictures
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
    found = classes_section(report, more, kind="label")
    if not scorer.rows:
        return found
    drawn = figures(scorer)
    parts = [
        drawing(drawn["labels_a_row"], "labels a row, true and said"),
        drawing(
            drawn["co_occurrence"],
            "labels that occur together",
            "Of the rows that truly have the label on the left, the percentage that also has the label below.",
            wide=True,
        ),
    ]
    found.append(Section("labels", "Together", "How many labels, and which together", _counts(scorer), parts))
    swaps = swapped_labels(scorer)
    if swaps:
        columns = [Column("missed", "name"), Column("said instead"), Column("rows", "count")]
        columns.append(Column("of the rows where it was missed", "share"))
        table = Table(columns, [[swap.missed, swap.said, swap.rows, swap.share] for swap in swaps])
        words = "The pairs where one label was missed and the other wrongly said, on the same row."
        found.append(Section("confusions", "Confusions", "One label for another", words, [table]))
    mistakes = confident_label_mistakes(scorer)
    key = Key({"correct": "right", "missed": "missed", "spurious": "said wrongly"})
    words = "The labels most surely missed and most surely said wrongly, in turn, with what the model gave them."
    found += mistakes_section([_card(one, context) for one in mistakes], "Confident mistakes", words, key)
    words = (
        "Of the labels given 80 %, are four in five true? Over all decisions, one for each row and label, whatever the "
        f"thresholds. On average a label is given {percent(scorer.probabilities.mean())}, and "
        f"{percent(scorer.truth.mean())} are true."
    )
    picture = drawing(drawn["reliability"], "share of true labels by probability")
    found.append(Section("calibration", "Calibration", "Calibration", words, [picture]))
    return found


def _counts(scorer: MultilabelScorer) -> str:
    true, said = scorer.truth.sum(axis=1), scorer.predicted.sum(axis=1)
    none = true == 0
    text = f"A row has {true.mean():.2f} labels and is given {said.mean():.2f}, on average."
    if none.any():
        text += f" Rows that have none: {none.sum():,}, of which {(said[none] == 0).sum():,} are given none."
    else:
        text += " Every row has one at least."
    return text + f" Rows with labels that are given none: {(said[~none] == 0).sum():,}."


def _card(mistake: LabelMistake, context: ReportContext) -> Card:
    labels: list[Piece] = []
    for decision in mistake.decisions:
        labels += [Piece(decision.label, percent(decision.probability), decision.outcome), Piece(" ")]
    lines = [Line(labels), *lines_of(context, mistake.row)]
    return Card(row_id(context, mistake.row), other_columns(context, mistake.row), lines)


def figures(scorer: MultilabelScorer) -> dict[str, Figure]:
    bins = reliability(scorer.probabilities.ravel(), scorer.truth.ravel())
    return {
        "labels_a_row": pictures.labels_a_row(scorer.truth.sum(axis=1), scorer.predicted.sum(axis=1)),
        "co_occurrence": pictures.co_occurrence(scorer.truth, scorer.labels),
        "reliability": pictures.reliability_diagram(
            bins, right="share true", sure="probability of the label", counted="decisions"
        ),
    }


def verdict(phrases: Phrases) -> str:
    if not phrases.has("micro_precision", "micro_recall", "exact_match"):
        return ""
    found, right = phrases.value("micro_recall"), phrases.value("micro_precision")
    text = f"Found {percent(found)} of the labels of {phrases.rows}; {percent(right)} of those it said are right."
    return text + f" Nothing is missed or too much on {percent(phrases.value('exact_match'))} of the rows."


def baseline(scorer: MultilabelScorer) -> str:
    """The best that one answer for all rows could do."""
    if not scorer.truth.any():
        return ""
    counts = scorer.truth.sum(axis=0).astype(np.float64)
    frequent = np.argsort(-counts, kind="stable")
    answered = np.arange(1.0, len(counts) + 1) * scorer.rows
    f1 = divide(2 * np.cumsum(counts[frequent]), answered + float(counts.sum()))
    best = int(f1.argmax())
    named = "”, “".join(scorer.labels[i] for i in frequent[: best + 1])
    return f"Always answering “{named}” would have a micro F1 of {number(f1[best])}."


PAGE = TruthPage(sections, figures, verdict, baseline, classes="labels")
