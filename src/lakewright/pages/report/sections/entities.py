"""Entities in texts: what became of them by type and length, mistakes in their text, how far to trust the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.scorers.entities import OUTCOMES, EntityScorer, Outcome
from lakewright.pages.parts import (
    Card,
    Cell,
    Column,
    Key,
    Line,
    Outcomes,
    Section,
    Table,
    drawing,
    mistakes_section,
    percent,
    row_id,
)
from lakewright.pages.pictures.of_classes import reliability_diagram
from lakewright.pages.report.mistakes import MarkedRow, marked_mistakes
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage

if TYPE_CHECKING:
    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report

_COLUMN = {
    "correct": "correct",
    "type": "type_errors",
    "boundary": "boundary_errors",
    "missed": "missed",
    "spurious": "spurious",
}
_NAMES: dict[Outcome, str] = {
    "correct": "correct",
    "type": "right bounds, wrong type",
    "boundary": "right type, wrong bounds",
    "missed": "missed",
    "spurious": "spurious",
}
_LENGTHS = ((1, 1, "1 word"), (2, 2, "2 words"), (3, 3, "3 words"), (4, None, "4 words or more"))


def sections(scorer: EntityScorer, report: Report, context: ReportContext) -> list[Section]:
    page = [_types(report)] if report.classes else []
    if not scorer.rows or not context.texts:
        return page
    lengths = _lengths(scorer, context)
    if lengths.rows:
        words = "Longer names have more bounds to get wrong. Counted in words of the text."
        page.append(Section("lengths", "Lengths", "By length", words, [lengths]))
    cards = [_card(row, context) for row in marked_mistakes(scorer, context.texts)]
    key = Key({name: _NAMES[name].rpartition(", ")[2] for name in OUTCOMES})
    page += mistakes_section(cards, "Mistakes in their text", "Rows with an error, every kind in turn.", key)
    return page + _calibration(scorer, context)


def _types(report: Report) -> Section:
    columns = [Column("type", "name"), Column("F1", "bar"), Column("precision", "bar"), Column("recall", "bar")]
    counts = ("support", "predicted", "type_errors", "boundary_errors", "missed", "spurious")
    columns += [
        Column(name, "count") for name in ("true", "predicted", "wrong type", "wrong bounds", "missed", "spurious")
    ]
    rows: list[list[Cell]] = [
        [name, row["f1"], row["precision"], row["recall"], *(row.get(count, 0.0) for count in counts)]
        for name, row in sorted(report.classes.items(), key=lambda item: item[1]["f1"])
    ]
    totals = {name: sum(row.get(_COLUMN[name], 0.0) for row in report.classes.values()) for name in OUTCOMES}
    words = "The worst first. An entity counts only with both its bounds and its type right. All entities by outcome:"
    return Section("classes", "Types", "By entity type", words, [Outcomes(totals, _NAMES), Table(columns, rows)])


def _lengths(scorer: EntityScorer, context: ReportContext) -> Table:
    def words(row: int, start: int, end: int) -> int:
        return len(context.texts[row][start:end].split())

    true = [(row, span) for row, spans in enumerate(scorer.truth) for span in set(spans)]
    predicted = [(row, span) for row, spans in enumerate(scorer.predicted) for span in set(spans)]
    right = set(true) & set(predicted)
    columns = [Column("length", "name"), Column("recall", "share"), Column("precision", "share")]
    columns += [Column("true", "count"), Column("predicted", "count")]
    rows: list[list[Cell]] = []
    for least, greatest, name in _LENGTHS:
        sides = [
            [entity for entity in side if least <= words(entity[0], *entity[1][:2]) <= (greatest or np.inf)]
            for side in (true, predicted)
        ]
        hits = [sum(entity in right for entity in side) for side in sides]
        if any(sides):
            shares = [hit / len(side) if side else None for hit, side in zip(hits, sides, strict=True)]
            rows.append([name, *shares, *map(len, sides)])
    return Table(columns, rows)


def _card(row: MarkedRow, context: ReportContext) -> Card:
    return Card(row_id(context, row.row), [], [Line(row.truth, "truth"), Line(row.predicted, "predicted")])


def _calibration(scorer: EntityScorer, context: ReportContext) -> list[Section]:
    """Of the entities marked, by their score: the scorer knows none, the frozen predictions do."""
    predicted = [
        (float(span["score"]), (span["start"], span["end"], span["label"]) in scorer.truth[row])
        for row, prediction in enumerate(context.predictions)
        for span in prediction.get("entities", ())
        if "score" in span
    ]
    if not predicted:
        return []
    scores, right = np.array([score for score, _ in predicted]), np.array([hit for _, hit in predicted])
    words = (
        "Of the entities predicted with a score of 80 %, are four in five right? On average the score is "
        f"{percent(scores.mean())} and {percent(right.mean())} are right. Missed entities have no score."
    )
    figure = reliability_diagram(reliability(scores, right), sure="score", counted="entities")
    return [
        Section("calibration", "Calibration", "Calibration", words, [drawing(figure, "share right by entity score")])
    ]


def verdict(phrases: Phrases) -> str:
    if not phrases.has("entity_f1", "entity_precision", "entity_recall"):
        return ""
    recall, precision = phrases.value("entity_recall"), phrases.value("entity_precision")
    text = f"Found {percent(recall)} of the entities in {phrases.rows}; "
    text += f"{percent(precision)} of the predicted ones are right."
    return text + f" Entity F1 is {phrases.score('entity_f1')}."


PAGE = TruthPage(sections, verdict=verdict, classes="entity types")
