"""Two classes: what their errors cost by the threshold between them, and how far the most probable rows reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from lakewright.evaluation.costs import cost_by_threshold
from lakewright.evaluation.gain import by_tenth, gains
from lakewright.evaluation.metrics import quantity
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.pages.parts import Cell, Code, Column, Part, Section, Table, Words, drawing, percent
from lakewright.pages.pictures import of_classes
from lakewright.settings.sections import Cost

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Costs, Report

WAYS = {
    "least": "the least cost on validation",
    "present": "as the model decides now",
    "always": "always answer it",
    "never": "never answer it",
}


def sections(
    scorer: ClassificationScorer, report: Report, context: ReportContext, drawn: Mapping[str, Figure]
) -> list[Section]:
    if len(scorer.labels) != 2 or not scorer.rows:
        return []
    page = [] if report.costs is None else [_threshold(scorer, report, report.costs, context)]
    return page + ([_gain(scorer, drawn["gain"])] if "gain" in drawn else [])


def figures(scorer: ClassificationScorer) -> dict[str, Figure]:
    """None without a row of the second class."""
    truth = scorer.truth == 1
    if len(scorer.labels) != 2 or not truth.any():
        return {}
    rows, positives = gains(scorer.probabilities[:, 1], truth)
    return {"gain": of_classes.gain(rows / scorer.rows, positives / truth.sum(), float(truth.mean()))}


def _threshold(scorer: ClassificationScorer, report: Report, costs: Costs, context: ReportContext) -> Section:
    first, second = scorer.labels
    saved, level = costs.saved, f"{100 * report.confidence:g}\N{NO-BREAK SPACE}%"
    words = (
        f"“{second}” costs {costs.false_positive:g} where “{first}” is true, and “{first}” "
        f"{costs.false_negative:g} where “{second}” is true. On the {costs.validation_rows:,} validation rows "
        f"the cost is least, {quantity(costs.validation_cost)} for 1,000 rows, if “{second}” is predicted wherever its "
        f"probability is at least {costs.threshold:g}. The test rows did not choose this threshold; they measure it: "
        f"instead of the model's present decisions it saves {quantity(saved.value)} for 1,000 rows ({level} interval "
        f"{quantity(saved.low)} to {quantity(saved.high)})."
    )
    columns = [Column("decision", "name"), Column("threshold", "quantity"), Column("cost of 1,000 rows", "quantity")]
    columns += [
        Column("least", "quantity"),
        Column("most", "quantity"),
        Column("precision", "bar"),
        Column("recall", "bar"),
    ]
    rows: list[list[Cell]] = []
    for name, choice in costs.choices.items():
        shares = [None if share != share else share for share in (choice.precision, choice.recall)]
        measured = choice.cost
        rows.append([WAYS[name], choice.threshold, measured.value, measured.low, measured.high, *shares])
    cost = Cost(false_positive=costs.false_positive, false_negative=costs.false_negative)
    curve = cost_by_threshold(scorer.probabilities[:, 1], scorer.truth == 1, cost)
    marks = {
        f"{WAYS[name]}: {choice.threshold:g}": (choice.threshold, choice.cost.value)
        for name, choice in costs.choices.items()
        if choice.threshold is not None
    }
    caption = f"On the test rows. Precision and recall are those of “{second}”."
    picture = drawing(of_classes.cost_by_threshold(*curve, marks), "cost by threshold", caption)
    return Section(
        "threshold", "Threshold", "Threshold and cost", words, [Table(columns, rows), picture, *_line(scorer, costs)]
    )


def _line(scorer: ClassificationScorer, costs: Costs) -> list[Part]:
    if scorer.threshold == costs.threshold:
        return [Words("The model decides by this threshold already.")]
    again = "The model is trained again, since it stores the threshold."
    return [
        Words(f"To decide so, write this under task in project.yml, and run it. {again}"),
        Code(f"threshold: {costs.threshold!r}"),
    ]


def _gain(scorer: ClassificationScorer, figure: Figure) -> Section:
    truth = scorer.truth == 1
    parts = by_tenth(scorer.probabilities[:, 1], truth)
    kind: Literal["count", "number"] = (
        "count" if all(part.positives == round(part.positives) for part in parts) else "number"
    )
    columns = [Column("rows, the most probable first", "name"), Column("rows", "count")]
    columns += [Column(f"of “{scorer.labels[1]}”", kind), Column("share", "share"), Column("lift", "number")]
    columns += [Column("of the class so far", "share")]
    rows: list[list[Cell]] = []
    begin = 0
    for part in parts:
        name = f"{begin + 1:,} to {begin + part.rows:,}" if part.rows > 1 else f"{begin + 1:,}"
        rows.append([name, part.rows, part.positives, part.share, part.lift, part.cumulative])
        begin += part.rows
    words = (
        f"The test rows in the order of their probability of “{scorer.labels[1]}”, in tenths. The lift is the share of "
        f"a tenth that is of the class, beside {percent(truth.mean())} of all rows: 1 is what any order gives. Rows "
        "with the same probability have no order among them: where a tenth ends within such rows, it holds their mean."
    )
    picture = drawing(figure, "share of the class by share of the rows")
    return Section("gain", "Gain", "Gain and lift", words, [picture, Table(columns, rows)])
