"""Which words made the model say it, word by word in the rows' texts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from lakewright.evaluation.attribution import Attribution, Place
from lakewright.evaluation.mistakes import Piece
from lakewright.evaluation.sections.parts import Card, Cards, Fact, Line, Section, row_id, shortened, texts_of

if TYPE_CHECKING:
    from lakewright.evaluation.report import ReportContext
    from lakewright.evaluation.scorer import Scorer

AROUND = 120  # characters of a text shown beyond the words that were tried


def sections(scorer: Scorer, context: ReportContext) -> list[Section]:
    if not context.attributions or not context.rows:
        return []
    right = scorer.correct()
    cards = [_card(one, context, None if right is None else bool(right[one.row])) for one in context.attributions]
    measure = context.attributions[0].measure
    words = (
        "Each word was left out in turn, and the model asked again. Blue: without it the model holds less to what it "
        "said; orange: more; the deeper the shade, the more, within its row. Point at a word for the number (the drop "
        f"in {'log-odds' if measure == 'log-odds' else measure}). A few sure mistakes, then a few rows that are right. "
        "Two words that say the same can each be missed without loss: what is pale alone may weigh together."
    )
    return [Section("words", "Words", "Which words made it say so", words, [Cards(cards)])]


def _card(one: Attribution, context: ReportContext, right: bool | None) -> Card:
    tone: Literal["", "good", "bad"] = "" if right is None else "good" if right else "bad"
    facts = [Fact("said", shortened(one.said, 120), tone)]
    if one.untried:
        facts.append(Fact("words not tried", f"{one.untried:,}"))
    texts = texts_of(context, one.row)
    strongest = max(abs(word.weight) for word in one.words) or 1.0
    lines = []
    for name, text in texts.items():
        pieces = _pieces(one, name, text, strongest)
        if pieces:
            lines.append(Line(pieces, name if len(texts) > 1 else ""))
    return Card(row_id(context, one.row), facts, lines)


def _pieces(one: Attribution, name: str, text: str, strongest: float) -> list[Piece]:
    """The text around the tried words; every change of word or of the place marked is a new piece."""
    words = [word for word in one.words if word.input == name]
    place = one.place if one.place is not None and one.place.input == name else Place(name, 0, 0)
    ends = [at for word in words for at in (word.start, word.end)]
    ends += [place.start, place.end] if place.start < place.end else []
    low, high = max(0, min(ends, default=0) - AROUND), min(len(text), max(ends, default=0) + AROUND)
    cuts = sorted({low, high, *ends})
    pieces = [Piece("…")] if low > 0 else []
    for start, end in pairwise(cuts):
        weight = next((word.weight for word in words if word.start <= start < word.end), 0.0)
        said = place.start <= start < place.end
        label = f"{weight:+.2f}" if weight else ""
        pieces.append(Piece(text[start:end], label, "said" if said else None, weight / strongest))
    return pieces + ([Piece("…")] if high < len(text) else [])
