"""Which words made the model say it, word by word in the rows' texts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from lakewright.evaluation.attribution import Attribution, Place
from lakewright.pages.parts import Card, Cards, Fact, Line, Piece, Section, percent, row_id, shortened, texts_of

if TYPE_CHECKING:
    from lakewright.evaluation.scorers import Scorer
    from lakewright.pages.report.context import ReportContext

AROUND = 120  # characters of a text shown beyond the words that were tried


def sections(scorer: Scorer, context: ReportContext) -> list[Section]:
    if not context.attributions or not context.rows:
        return []
    right = scorer.correct()
    cards = [
        _card(attribution, context, None if right is None else bool(right[attribution.row]))
        for attribution in context.attributions
    ]
    words = (
        f"{'The scores furthest off' if right is None else 'A few sure mistakes'}, then a few rows that are right. "
        "Each word was left out in turn, and the row was predicted again. Blue: without the word the support for the "
        "prediction falls; orange: it rises; within a row, a deeper shade is a larger change. Point at a word for the "
        f"number: the drop in {context.attributions[0].measure}. Two words with the same meaning can replace each "
        "other: words that are pale alone may matter together."
    )
    return [Section("words", "Words", "Which words decided", words, [Cards(cards)])]


def _card(attribution: Attribution, context: ReportContext, right: bool | None) -> Card:
    tone: Literal["", "good", "bad"] = "" if right is None else "good" if right else "bad"
    facts = [Fact("predicted", shortened(attribution.said, 120), tone, _share(attribution))]
    truth = _truth(context.truths[attribution.row]) if context.truths and not right else ""
    if truth and (
        attribution.measure != "cosine" or right is None
    ):  # that two texts belong together is not worth saying
        facts.append(Fact("true score" if attribution.measure == "cosine" else "true", shortened(truth, 240), "good"))
    if attribution.untried:
        facts.append(Fact("words not tried", f"{attribution.untried:,}"))
    texts = texts_of(context, attribution.row)
    strongest = max(abs(word.weight) for word in attribution.words) or 1.0
    lines = []
    for name, text in texts.items():
        pieces = _pieces(attribution, name, text, strongest)
        if pieces:
            lines.append(Line(pieces, name if len(texts) > 1 else ""))
    return Card(row_id(context, attribution.row), facts, lines)


def _share(attribution: Attribution) -> str:
    """The model's probability of the label. That of a span is its own score, which stands with the mistakes."""
    return percent(1 / (1 + math.exp(-attribution.value))) if attribution.measure == "log-odds" else ""


def _truth(truth: Any) -> str:
    """A label, labels, answers or a score; nothing of entities, which the text does not fit on a line with."""
    if isinstance(truth, str | int | float):
        return str(truth)
    if not truth:
        return "none"
    if all(isinstance(item, str) for item in truth):
        return ", ".join(truth)
    return " / ".join(dict.fromkeys(item["text"] for item in truth if "text" in item))


def _pieces(attribution: Attribution, name: str, text: str, strongest: float) -> list[Piece]:
    """The text around the tried words; every change of word or of the place marked is a new piece."""
    words = [word for word in attribution.words if word.input == name]
    place = (
        attribution.place if attribution.place is not None and attribution.place.input == name else Place(name, 0, 0)
    )
    ends = [at for word in words for at in (word.start, word.end)]
    ends += [place.start, place.end] if place.start < place.end else []
    low, high = max(0, min(ends, default=0) - AROUND), min(len(text), max(ends, default=0) + AROUND)
    cuts = sorted({low, high, *ends})
    pieces = [Piece("…")] if low > 0 else []
    for start, end in pairwise(cuts):
        weight = next((word.weight for word in words if word.start <= start < word.end), 0.0)
        marked = place.start <= start < place.end
        label = f"{weight:+.2f}" if weight else ""
        pieces.append(Piece(text[start:end], label, "predicted" if marked else None, weight / strongest))
    return pieces + ([Piece("…")] if high < len(text) else [])
