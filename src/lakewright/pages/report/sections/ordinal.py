"""One label a row, in an order: as classes, and how far off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.pages.parts import Section, classes_section, drawing, mistakes_section, percent
from lakewright.pages.pictures import of_classes
from lakewright.pages.report.mistakes import furthest_mistakes
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage, classification, two_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


def sections(scorer: OrdinalScorer, report: Report, context: ReportContext) -> list[Section]:
    page = classes_section(report)
    if not scorer.rows:
        return page
    drawn = figures(scorer)
    distance = drawing(drawn["error_distance"], "rows by distance from the true label")
    caption = "For each true label, the mean expected place (dot) and the middle 80 % of its rows (line)."
    expected = drawing(drawn["expected"], "expected by true label", caption)
    page += two_classes.sections(scorer, report, context, drawn)
    page.append(classification.confusions(scorer, context, drawn))
    page.append(Section("distance", "Distance", "How far off", _distances(scorer), [distance, expected]))
    mistakes = furthest_mistakes(scorer)
    words = f"The {len(mistakes)} wrong rows furthest from their label, the surest of each distance first."
    cards = [classification.card(mistake, context) for mistake in mistakes]
    page += mistakes_section(cards, "The mistakes furthest off", words)
    return [*page, classification.calibration(scorer, drawn)]


def figures(scorer: OrdinalScorer) -> dict[str, Figure]:
    places = scorer.probabilities @ np.arange(len(scorer.labels))
    return classification.figures(scorer) | {
        "error_distance": of_classes.error_distance(scorer.predicted - scorer.truth),
        "expected": of_classes.expected_by_truth(scorer.truth, places, scorer.labels),
    }


def verdict(phrases: Phrases) -> str:
    text = classification.verdict(phrases)
    if text and phrases.has("within_one"):
        return f"{text.removesuffix('.')}, at most one place off on {percent(phrases.value('within_one'))}."
    return text


def _distances(scorer: OrdinalScorer) -> str:
    steps = scorer.predicted - scorer.truth
    off, far = np.abs(steps) > 0, np.abs(steps) > 1
    near = (off & ~far).mean()
    text = f"{percent(1 - off.mean())} are right, {percent(near)} one place off, {percent(far.mean())} more."
    if off.any():
        text += f" Of the wrong ones {percent((steps[off] > 0).mean())} are too high."
    return text


PAGE = TruthPage(sections, figures, verdict, classification.baseline)
