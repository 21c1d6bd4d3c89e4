"""A number for each row: predicted against true, residuals, where errors are large, and how often intervals hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lakewright.evaluation.metrics import quantity, written
from lakewright.evaluation.scorers.regression import RegressionScorer
from lakewright.pages.parts import (
    Card,
    Cell,
    Column,
    Fact,
    Section,
    Table,
    drawing,
    lines_of,
    mistakes_section,
    other_columns,
    percent,
    row_id,
)
from lakewright.pages.pictures import of_numbers
from lakewright.pages.report.mistakes import largest_errors
from lakewright.pages.report.phrases import Phrases
from lakewright.pages.report.sections import TruthPage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report

GROUPS = 10


def sections(scorer: RegressionScorer, report: Report, context: ReportContext) -> list[Section]:
    if not scorer.rows:
        return []
    drawn = figures(scorer)
    words = "Each row, or hexagon of rows; on the dashed line the prediction is the truth."
    parts = [drawing(drawn["predicted"], "predicted by true numbers")]
    predicted = Section("predicted", "Predicted", "Predicted and true numbers", words, parts)
    parts = [
        drawing(drawn["residuals"], "residuals by predicted number"),
        drawing(drawn["residual_histogram"], "rows by residual"),
    ]
    residuals = Section("residuals", "Residuals", "Residuals: predicted − true", _bias(scorer), parts)
    words = (
        "Rows in ten groups of equal size by their true number; rows with the same number are in one group. A bias "
        "above 0: the predictions are too high here. Too high at the low end and too low at the high end is what an "
        "unsure model does: it keeps to the middle."
    )
    groups = Section("deciles", "By truth", "By true number", words, [_by_truth(scorer)])
    return [predicted, residuals, groups, *_mistakes(scorer, context), *_calibration(scorer, drawn)]


def figures(scorer: RegressionScorer) -> dict[str, Figure]:
    if not scorer.rows:
        return {}
    drawn = {
        "predicted": of_numbers.predicted_by_true(scorer.truth, scorer.predicted),
        "residuals": of_numbers.residuals(scorer.predicted, scorer.errors),
        "residual_histogram": of_numbers.residual_histogram(scorer.errors),
    }
    if scorer.inside is not None:
        groups = groups_of(scorer.predicted)
        shares = [float(scorer.inside[group].mean()) for group in groups]
        rows = [len(group) for group in groups]
        drawn["interval_coverage"] = of_numbers.interval_coverage(shares, rows, scorer.level)
    return drawn


def verdict(phrases: Phrases) -> str:
    if not phrases.has("mae", "median_absolute_error"):
        return ""
    half = written("median_absolute_error", phrases.value("median_absolute_error"))
    text = f"Off by {phrases.score('mae')} on average on {phrases.rows}, by at most {half} on half of them."
    if phrases.has("r2"):
        text += f" R² is {phrases.score('r2')}."
    if phrases.has("coverage"):
        text += f" {percent(phrases.value('coverage'))} of the truths are inside their interval."
    return text


def baseline(scorer: RegressionScorer) -> str:
    """Of the test truths: train's are not known here."""
    if not scorer.rows:
        return ""
    weights = np.ones(scorer.rows)
    means = [float(each) for each in (_mean(scorer.truth), np.median(scorer.truth))]
    mean, median = (RegressionScorer(scorer.truth, np.full(scorer.rows, number)).metrics(weights) for number in means)
    return (
        f"Always answering the mean of the test truths, {quantity(means[0])}, would have an RMSE of "
        f"{quantity(mean['rmse'])}; always answering their median, {quantity(means[1])}, an MAE of "
        f"{quantity(median['mae'])}."
    )


def groups_of(values: NDArray[np.float64], most: int = GROUPS) -> list[NDArray[np.intp]]:
    """[n] → the rows of at most `most` groups of about equal size, the smallest values first, equal values together."""
    if not len(values):
        return []
    cuts = np.unique(np.quantile(values, np.arange(1, most) / most, method="inverted_cdf"))
    group = np.searchsorted(cuts, values, side="left")
    parts = (np.flatnonzero(group == place) for place in range(len(cuts) + 1))
    return [part for part in parts if len(part)]


def _by_truth(scorer: RegressionScorer) -> Table:
    columns = [Column("true number", "name"), Column("rows", "count"), Column("RMSE", "quantity")]
    columns += [Column(name, "quantity") for name in ("mean absolute error", "bias", "median absolute error")]
    rows: list[list[Cell]] = []
    for group in groups_of(scorer.truth):
        part = RegressionScorer(scorer.truth[group], scorer.predicted[group]).metrics(np.ones(len(group)))
        bias = _mean(scorer.errors[group])
        rows.append(
            [_range(scorer.truth[group]), len(group), part["rmse"], part["mae"], bias, part["median_absolute_error"]]
        )
    return Table(columns, rows)


def _bias(scorer: RegressionScorer) -> str:
    bias, above = _mean(scorer.errors), float((scorer.errors > 0).mean())
    below = float((scorer.errors < 0).mean())
    return (
        f"The mean residual is {quantity(bias)}; {percent(above)} of the predictions are too high, {percent(below)} "
        "too low. A good model leaves a cloud without a shape around 0: a slope or a curve is something that it has "
        "not learned, and a cloud that widens has larger errors there."
    )


def _mistakes(scorer: RegressionScorer, context: ReportContext) -> list[Section]:
    cards = []
    for row in largest_errors(scorer):
        facts = [
            Fact("predicted", quantity(scorer.predicted[row]), "bad"),
            Fact("true", quantity(scorer.truth[row]), "good"),
            Fact("off by", f"{'+' if scorer.errors[row] > 0 else ''}{quantity(scorer.errors[row])}"),
        ]
        if scorer.low is not None and scorer.high is not None:
            facts.append(Fact("interval", f"{quantity(scorer.low[row])} to {quantity(scorer.high[row])}"))
        cards.append(Card(row_id(context, row), [*facts, *other_columns(context, row)], lines_of(context, row)))
    words = "The predictions furthest from the truth. Where the model looks right to you, the truth may be wrong."
    return mistakes_section(cards, "The largest errors", words)


def _calibration(scorer: RegressionScorer, drawn: dict[str, Figure]) -> list[Section]:
    """Named as that of classes is, since it answers the same question: does the model know how sure it may be?"""
    inside, low, high = scorer.inside, scorer.low, scorer.high
    if inside is None or low is None or high is None:
        return []
    below, above = scorer.truth < low, scorer.truth > high
    level = f"{100 * scorer.level:g}\N{NO-BREAK SPACE}%"
    words = (
        f"The intervals should hold {level} of the truths, and hold {percent(inside.mean())}; "
        f"{percent(below.mean())} of the truths are below their interval, {percent(above.mean())} above. Fewer than "
        f"{level} inside: the model is too sure of itself; more: it is too modest. By prediction, in ten groups of "
        "equal size, the share should be the same in each."
    )
    columns = [Column("predicted number", "name"), Column("rows", "count"), Column("inside", "share")]
    columns += [Column("below", "percent"), Column("above", "percent"), Column("mean width", "quantity")]
    rows: list[list[Cell]] = []
    for group in groups_of(scorer.predicted):
        shares = [float(part[group].mean()) for part in (inside, below, above)]
        rows.append([_range(scorer.predicted[group]), len(group), *shares, _mean(high[group] - low[group])])
    caption = f"With 95 % intervals for the number of rows in each group; the dashed line is at {level}."
    picture = drawing(drawn["interval_coverage"], "share of truths inside their interval by prediction", caption)
    return [Section("calibration", "Intervals", "How often the intervals hold", words, [picture, Table(columns, rows)])]


def _range(values: NDArray[np.float64]) -> str:
    low, high = (quantity(float(end)) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _mean(values: NDArray[np.float64]) -> float:
    """Without overflow where their sum is no float64."""
    greatest = float(np.abs(values).max())
    return greatest * float((values / greatest).mean()) if greatest > 0 else 0.0


PAGE = TruthPage(sections, figures, verdict, baseline)
