"""Why the model said it: the inputs that weighed most in a few rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lakewright.evaluation.metrics import quantity
from lakewright.pages.parts import Card, Cards, Fact, Line, Piece, Section, row_id, shortened

if TYPE_CHECKING:
    from lakewright.evaluation.scorers import Scorer
    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Explained, Report

METHODS = {
    "tree_shap": (
        "The number after an input is its share of the prediction (its Shapley value in the trees): all shares and the "
        "expected value sum to the prediction."
    ),
    "leave_one_out": (
        "The number after an input is what the prediction loses without it: the input was made missing, a text empty, "
        "and the row was predicted again. Of two inputs that say the same each weighs little, since the other still "
        "says it."
    ),
}


def sections(scorer: Scorer, report: Report, context: ReportContext) -> list[Section]:
    explained = [each for each in report.explained if each.reasons]
    if not explained or not context.predictions:
        return []
    right = scorer.correct()
    cards = [_card(each, context, None if right is None else bool(right[each.row])) for each in explained]
    words = (
        f"{'The predictions furthest off' if right is None else 'A few sure mistakes'}, then a few rows that are "
        f"right. {METHODS.get(explained[0].method, '')} Blue speaks for the prediction, or raises the number; orange "
        "speaks against it, or lowers it; within a row, a deeper shade weighs more. The weights tell what the model "
        "does, not what causes the truth."
    )
    return [Section("reasons", "Reasons", "Why the model predicted it", words, [Cards(cards)])]


def _card(explained: Explained, context: ReportContext, right: bool | None) -> Card:
    tone: Literal["", "good", "bad"] = "" if right is None else "good" if right else "bad"
    facts = [Fact("predicted", _predicted(context.predictions[explained.row]), tone)]
    if context.truths and not right:
        facts.append(Fact("true", _written(context.truths[explained.row]), "good"))
    strongest = max(abs(reason.weight) for reason in explained.reasons)
    lines = [
        Line(
            [
                Piece(_written(reason.value), f"{reason.weight:+.3g}", None, reason.weight / strongest),
                Piece(f" {reason.weight:+.3g}"),
            ],
            reason.input if reason.label is None else f"{reason.label}: {reason.input}",
        )
        for reason in explained.reasons
    ]
    return Card(row_id(context, explained.row), facts, lines)


def _predicted(prediction: dict[str, Any]) -> str:
    """The label, labels or number."""
    return _written(next((prediction[key] for key in ("label", "labels", "value") if key in prediction), None))


def _written(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, float):
        return quantity(value)
    return shortened(", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value), 120)
