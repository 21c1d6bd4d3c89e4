"""How alike two texts are: against people's scores, or as a search for the partner among all right texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lakewright.evaluation.scorers.similarity import SimilarityScorer
from lakewright.pages.parts import (
    Card,
    Cell,
    Column,
    Fact,
    Line,
    Piece,
    Section,
    Table,
    drawing,
    lines_of,
    mistakes_section,
    number,
    percent,
    row_id,
    shortened,
)
from lakewright.pages.pictures import of_answers, of_numbers
from lakewright.pages.report.mistakes import RankedQuery, worst_pairs, worst_ranked
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report

BANDS = 5


def sections(scorer: SimilarityScorer, report: Report, context: ReportContext) -> list[Section]:
    if not scorer.rows:
        return []
    return _agreement(scorer, context) if scorer.truth is not None else _retrieval(scorer, context)


def _agreement(scorer: SimilarityScorer, context: ReportContext) -> list[Section]:
    assert scorer.truth is not None
    drawn, errors = figures(scorer), scorer.scores - scorer.truth
    parts = [drawing(drawn["scores"], "predicted by true scores"), drawing(drawn["errors"], "errors of the scores")]
    words = "Each point is a pair of texts; on the dashed line the prediction is the truth."
    page = [Section("scores", "Scores", "Predicted and true scores", words, parts)]
    words = (
        "A bias above 0: the model's scores are too high here. An unsure model predicts scores near the middle: too "
        "high at the low end and too low at the high end."
    )
    page.append(Section("bands", "Bands", "By true score", words, [_bands(scorer.truth, errors)]))
    cards = []
    for row in worst_pairs(scorer):
        facts = [
            Fact("predicted", number(scorer.scores[row]), "bad"),
            Fact("true", number(scorer.truth[row]), "good"),
            Fact("off by", f"{errors[row]:+.2f}"),
        ]
        cards.append(Card(row_id(context, row), facts, lines_of(context, row)))
    words = "The pairs furthest from their true score. If the model looks right to you, the true score may be wrong."
    return page + mistakes_section(cards, "Worst pairs", words)


def _bands(truth: np.ndarray, errors: np.ndarray) -> Table:
    edges = np.linspace(truth.min(), truth.max(), BANDS + 1)
    band = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, BANDS - 1)
    columns = [Column("true score", "name"), Column("rows", "count"), Column("mean absolute error", "number")]
    columns += [Column("bias", "number")]
    rows: list[list[Cell]] = []
    for i in range(BANDS):
        band_errors = errors[band == i]
        if len(band_errors):
            name = f"{edges[i]:.3g} to {edges[i + 1]:.3g}"
            rows.append([name, len(band_errors), float(np.abs(band_errors).mean()), float(band_errors.mean())])
    return Table(columns, rows)


def _retrieval(scorer: SimilarityScorer, context: ReportContext) -> list[Section]:
    assert scorer.ranks is not None
    drawn = figures(scorer)
    first = float((scorer.ranks == 1).mean())
    words = (
        f"Each text searches for its partner among all {scorer.rows:,} right texts of the test split. The partner "
        f"comes first for {percent(first)}; its median rank is {np.median(scorer.ranks):g}. In a larger collection the "
        "ranks are worse."
    )
    parts = [drawing(drawn["ranks"], "rows by rank"), drawing(drawn["recall"], "recall at k")]
    page = [Section("ranks", "Ranks", "Ranks of the partners", words, parts)]
    if not context.rows or not all("embeddings" in prediction for prediction in context.predictions):
        return page
    left, right = (
        np.array([prediction["embeddings"][side] for prediction in context.predictions], dtype=np.float32)
        for side in (0, 1)
    )
    groups = [row["text_pair"] for row in context.rows]
    cards = [_query_card(query, context) for query in worst_ranked(scorer.ranks, left, right, groups)]
    words = "The texts whose partner was ranked furthest down, and the text that came first in its place."
    return page + mistakes_section(cards, "Worst ranks", words)


def _query_card(query: RankedQuery, context: ReportContext) -> Card:
    facts = [
        Fact("rank of its partner", f"{query.rank:,}", "bad", f"cosine {query.own_cosine:.2f}"),
        Fact("cosine of the first", f"{query.cosine:.2f}"),
    ]
    texts = {
        "text": context.rows[query.row]["text"],
        "partner": context.rows[query.row]["text_pair"],
        "first": context.rows[query.first]["text_pair"],
    }
    lines = [Line([Piece(shortened(text, 400))], name) for name, text in texts.items()]
    return Card(row_id(context, query.row), facts, lines)


def figures(scorer: SimilarityScorer) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    if scorer.truth is not None:
        drawn["scores"] = of_numbers.score_scatter(scorer.truth, scorer.scores)
        drawn["errors"] = of_numbers.score_errors(scorer.scores - scorer.truth)
    if scorer.ranks is not None:
        drawn["ranks"] = of_answers.rank_histogram(scorer.ranks)
        drawn["recall"] = of_answers.recall_curve(scorer.ranks)
    return drawn


def verdict(phrases: Phrases) -> str:
    """Of a search; of scores, the primary metric says it."""
    if not phrases.has("recall_at_1", "recall_at_10"):
        return ""
    text = f"The right text comes first for {phrases.share('recall_at_1')}, among the first ten for "
    return text + f"{percent(phrases.value('recall_at_10'))}."


PAGE = TruthPage(sections, figures, verdict)
