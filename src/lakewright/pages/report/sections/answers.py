"""Answers in a context: by question and length, what the n best hold, mistakes with both answers marked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.scorers import Mask
from lakewright.evaluation.scorers.answers import AnswersScorer, exact_match, f1
from lakewright.evaluation.slices import OTHER, slices
from lakewright.pages.parts import (
    Card,
    Cell,
    Column,
    Fact,
    Key,
    Line,
    Piece,
    Section,
    Table,
    drawing,
    mistakes_section,
    percent,
    row_id,
    shortened,
)
from lakewright.pages.pictures import of_classes
from lakewright.pages.pictures.of_answers import coverage
from lakewright.pages.report.mistakes import confident_wrong_answers, marked_answer
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report

QUESTION_WORDS = frozenset({"what", "who", "whom", "whose", "when", "where", "which", "why", "how"})
_ANSWER_WORDS = ((0, 0, "no answer"), (1, 1, "1"), (2, 2, "2"), (3, 3, "3"), (4, 5, "4–5"), (6, 10, "6–10"),
                 (11, 10**9, "11 or more"))  # fmt: skip


def sections(scorer: AnswersScorer, report: Report, context: ReportContext) -> list[Section]:
    if not scorer.rows:
        return []
    page: list[Section] = []
    if context.rows:
        by_question = _by(scorer, question_kinds([row["question"] for row in context.rows]), "question word")
        by_context = _by(scorer, slices([len(row["context"].split()) for row in context.rows]), "words of the context")
        by_answer = _by(scorer, _answer_lengths(scorer), "words of the answer")
        words = (
            "The question word, or the first word if there is none. The length of a true answer is the shortest one's."
        )
        page.append(
            Section("kinds", "Questions", "By question and length", words, [by_question, by_answer, by_context])
        )
    answerable = np.flatnonzero(scorer.answerable).tolist()
    if len(answerable) < scorer.rows:
        page.append(_none(scorer))
    if context.predictions and any(context.predictions[row].get("answers") for row in answerable):
        page.append(_n_best(scorer, context))
    cards = [_card(scorer, row, context) for row in confident_wrong_answers(scorer)]
    key = Key({"correct": "both", "missed": "true answer", "spurious": "predicted"}) if context.rows else None
    words = "Those that share no word with a true answer first, the surest first. The context is cut around them."
    page += mistakes_section(cards, "Confident mistakes", words, key)
    words = (
        "When the score is 80 %, is the answer exactly right four times in five? On average the score is "
        f"{percent(scorer.confidence.mean())} and {percent(scorer.em.mean())} are exactly right."
    )
    picture = drawing(figures(scorer)["reliability"], "share exactly right by score")
    page.append(Section("calibration", "Calibration", "Calibration", words, [picture]))
    return page


def question_kinds(questions: list[str], limit: int = 10) -> dict[str, Mask]:
    """Rows by question word, the most frequent first: the first of `QUESTION_WORDS`, or the question's first word,
    which is where many languages have theirs. The rarer ones together are "(other)"."""
    kinds = []
    for question in questions:
        words = re.findall(r"\w+", question.lower()) or [""]
        kinds.append(next((word for word in words if word in QUESTION_WORDS), words[0]))
    frequent = [kind for kind, _ in Counter(kinds).most_common(limit)]
    masks = {kind: np.array([other == kind for other in kinds]) for kind in frequent}
    rare = np.array([other not in frequent for other in kinds])
    return masks | ({OTHER: rare} if rare.any() else {})


def _answer_lengths(scorer: AnswersScorer) -> dict[str, Mask]:
    words = np.array([min((len(text.split()) for text in truth), default=0) for truth in scorer.truths])
    masks = {name: (words >= least) & (words <= greatest) for least, greatest, name in _ANSWER_WORDS}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _by(scorer: AnswersScorer, masks: Mapping[str, Mask], name: str) -> Table:
    columns = [Column(name, "name"), Column("rows", "count"), Column("exact match", "share"), Column("F1", "bar")]
    rows: list[list[Cell]] = [
        [part, int(mask.sum()), float(scorer.em[mask].mean()), float(scorer.f1[mask].mean())]
        for part, mask in masks.items()
    ]
    return Table(columns, rows)


def _none(scorer: AnswersScorer) -> Section:
    answered = np.array([bool(text) for text in scorer.predictions])
    columns = [Column("the context", "name"), Column("an answer predicted", "count"), Column("none predicted", "count")]
    rows: list[list[Cell]] = [
        [name, int((mask & answered).sum()), int((mask & ~answered).sum())]
        for name, mask in (("has an answer", scorer.answerable), ("has none", ~scorer.answerable))
    ]
    words = "Whether there is an answer at all; a predicted answer may still be a wrong one."
    return Section("none", "No answer", "Questions without an answer", words, [Table(columns, rows)])


def _n_best(scorer: AnswersScorer, context: ReportContext) -> Section:
    """Over the rows with a true answer: is it among the first k of the n best?"""
    rows = np.flatnonzero(scorer.answerable).tolist()
    answers = [[answer["answer"] for answer in context.predictions[row].get("answers", ())] for row in rows]
    longest = max(map(len, answers), default=0)
    best = []
    for score in (exact_match, f1):
        scores = np.zeros((len(rows), longest))
        for place, (row, texts) in enumerate(zip(rows, answers, strict=True)):
            scores[place, : len(texts)] = [score(scorer.truths[row], text) for text in texts]
        best.append(np.maximum.accumulate(scores, axis=1).mean(axis=0).tolist())
    exact, overlap = best
    words = (
        f"The best of the first k answers, over the {len(rows):,} rows with a true answer. The first is exactly right "
        f"on {percent(exact[0])}, one of the first {longest} on {percent(exact[-1])}."
    )
    picture = drawing(coverage(exact, overlap), "exact match and F1 of the best of the first k answers")
    return Section("n-best", "n best", "Is it among the n best?", words, [picture])


def _card(scorer: AnswersScorer, row: int, context: ReportContext) -> Card:
    answer, truth = scorer.predictions[row], list(dict.fromkeys(scorer.truths[row]))
    facts = [
        Fact("predicted", shortened(answer, 120) or "no answer", "bad", percent(float(scorer.confidence[row]))),
        Fact("true", shortened(" / ".join(truth), 240) or "no answer", "good"),
        Fact("F1", f"{scorer.f1[row]:.2f}"),
    ]
    return Card(row_id(context, row), facts, _lines(row, context))


def _lines(row: int, context: ReportContext) -> list[Line]:
    if not context.rows:
        return []
    inputs = context.rows[row]
    truths = [(span["start"], span["end"]) for span in (context.truths[row] if context.truths else ())]
    prediction: Mapping[str, Any] = context.predictions[row] if context.predictions else {"start": -1}
    predicted = (prediction["start"], prediction["end"]) if prediction["start"] >= 0 else None
    return [
        Line([Piece(shortened(inputs["question"], 500))], "question"),
        Line(marked_answer(inputs["context"], truths, predicted), "context"),
    ]


def figures(scorer: AnswersScorer) -> dict[str, Figure]:
    bins = reliability(scorer.confidence, scorer.correct())
    return {"reliability": of_classes.reliability_diagram(bins, right="share exactly right", sure="score")}


def verdict(phrases: Phrases) -> str:
    if not phrases.has("exact_match"):
        return ""
    text = f"Exactly right on {phrases.share('exact_match')}."
    if phrases.has("no_answer_accuracy"):
        text += f" Of the questions without an answer it recognised {percent(phrases.value('no_answer_accuracy'))}."
    return text


PAGE = TruthPage(sections, figures, verdict)
