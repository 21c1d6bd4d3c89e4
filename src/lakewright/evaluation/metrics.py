"""Every metric's name, its meaning in one line, whether more is better, and how its value is written: only here.
Another package adds its own mapping under the entry points `lakewright.metrics`.

A name means the same number in a record, on the command line, in MLflow and on the report's page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from lakewright import plugins
from lakewright.errors import UsageError, nearest


@dataclass(frozen=True)
class Meaning:
    text: str
    higher_is_better: bool = True
    share_of_rows: bool = False
    """the metric is the mean of `Scorer.correct()`, so two models are compared by McNemar's test"""
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def to_one(self) -> bool:
        """whether 1 is its greatest or least value"""
        return self.range[1] < math.inf


ABOVE_0 = (0.0, math.inf)
CORRELATION = (-1.0, 1.0)
SHUT = 0.1  # up to so far beyond the range (1.01) a bound closes the gate on purpose; farther, it is a mistake
METRICS: dict[str, Meaning] = {
    "accuracy": Meaning("share of rows whose label is right", share_of_rows=True),
    "macro_f1": Meaning("F1 of each class, averaged with every class counting the same, however rare"),
    "macro_precision": Meaning("precision of each class, averaged with every class counting the same"),
    "macro_recall": Meaning("recall of each class, averaged with every class counting the same"),
    "micro_f1": Meaning("F1 over all decisions together; with one label a row it equals accuracy"),
    "micro_precision": Meaning("share of all predicted labels that are right"),
    "micro_recall": Meaning("share of all true labels that were predicted"),
    "weighted_f1": Meaning("F1 of each class, averaged by how many rows the class has"),
    "weighted_precision": Meaning("precision of each class, averaged by how many rows the class has"),
    "weighted_recall": Meaning("recall of each class, averaged by how many rows the class has"),
    "roc_auc": Meaning("chance that a row of the class is ranked above a row of another; 0.5 is guessing"),
    "pr_auc": Meaning("average precision over all thresholds; the share of the class is guessing"),
    "log_loss": Meaning("mean of −ln(predicted probability of the truth)", higher_is_better=False, range=ABOVE_0),
    "brier": Meaning(
        "mean squared distance of the probabilities from the truth", higher_is_better=False, range=(0.0, 2.0)
    ),
    "ece": Meaning("expected calibration error: how far confidence is from accuracy", higher_is_better=False),
    "entity_f1": Meaning("F1 over entities; one counts only with both its bounds and its type right"),
    "entity_precision": Meaning("share of the marked entities that are right"),
    "entity_recall": Meaning("share of the true entities that were predicted"),
    "exact_match": Meaning("share of rows with everything right", share_of_rows=True),
    "samples_f1": Meaning("F1 of each row's labels, averaged over the rows"),
    "samples_precision": Meaning("share of a row's predicted labels that are right, averaged over the rows"),
    "samples_recall": Meaning("share of a row's true labels that were predicted, averaged over the rows"),
    "hamming_loss": Meaning("share of wrong decisions, one for each row and label", higher_is_better=False),
    "jaccard": Meaning("per row, labels both true and predicted over labels either true or predicted"),
    "quadratic_weighted_kappa": Meaning(
        "agreement beyond chance; a wrong label counts by the square of its distance", range=CORRELATION
    ),
    "within_one": Meaning("share of rows whose label is right or next to it in the order"),
    "qa_f1": Meaning("word overlap of the answer with the true answer"),
    "answer_f1": Meaning("word overlap with the true answer, over the rows that have one"),
    "no_answer_accuracy": Meaning("share of the rows without an answer for which none was predicted"),
    "spearman": Meaning("correlation of the ranks of prediction and truth", range=CORRELATION),
    "pearson": Meaning("linear correlation of prediction and truth", range=CORRELATION),
    "rmse": Meaning("root of the mean squared error, in the target's own unit", higher_is_better=False, range=ABOVE_0),
    "mae": Meaning("mean absolute error, in the target's own unit", higher_is_better=False, range=ABOVE_0),
    "mrr": Meaning("mean of 1/rank of the right text among all texts; 1 where it always comes first"),
    "recall_at_1": Meaning("share of rows whose right text comes first", share_of_rows=True),
    "recall_at_5": Meaning("share of rows whose right text is among the first 5"),
    "recall_at_10": Meaning("share of rows whose right text is among the first 10"),
    "r2": Meaning("share of the target's variance that is explained; 0: as good as their mean", range=(-math.inf, 1.0)),
    "median_absolute_error": Meaning(
        "half of the rows have no greater absolute error, in the target's own unit",
        higher_is_better=False,
        range=ABOVE_0,
    ),
    "quantile_coverage": Meaning(
        "share of truths at or below the prediction; with the loss quantile, as near its alpha as can be"
    ),
    "coverage": Meaning("share of rows whose truth is inside its interval; as near the intervals' level as can be"),
    "interval_width": Meaning(
        "mean width of the intervals, in the target's own unit", higher_is_better=False, range=ABOVE_0
    ),
}


@cache
def meanings() -> dict[str, Meaning]:
    """Every metric's meaning, by name, including those of other packages."""
    return {name: item for group in plugins.METRICS.names() for name, item in plugins.METRICS.find(group).items()}


def meaning(metric: str) -> Meaning:
    """Raises UsageError, which names the nearest metric, for an unknown name."""
    by_name = meanings()
    if metric not in by_name:
        raise UsageError(f"there is no metric named {metric!r}", nearest(metric, by_name))
    return by_name[metric]


def higher_is_better(metric: str) -> bool:
    return meaning(metric).higher_is_better


def written(metric: str, value: float, decimals: int = 3) -> str:
    """A metric's value, or a difference of two, for people: a share as `0.833`, any other number as `quantity` does.

    Raises UsageError for an unknown name.
    """
    if meaning(metric).to_one and abs(value) < 100:
        return f"{value:.{decimals}f}"
    return quantity(value, decimals)


def signed(metric: str, value: float, decimals: int = 3) -> str:
    """A difference of two values of a metric, as `written`, with its sign."""
    return f"{'+' if value >= 0 else ''}{written(metric, value, decimals)}"


def quantity(value: float, decimals: int = 3) -> str:
    """A number of any size, in any unit: 0.000120, 0.500, 12.35, 1,235, 1.230e+300.

    At least `decimals` significant digits below 1, one more from 1 on, every digit before the point, and an exponent
    below 1e-4 and from 1e9 on.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:.{decimals}f}"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{decimals}e}"
    power = math.floor(math.log10(abs(value)))  # of the first digit
    places = decimals - power if power >= 0 else decimals - power - 1
    return f"{value:,.{max(0, places)}f}"


def check_bound(metric: str, kind: str, bound: float) -> None:
    """Raises UsageError for a least (`minimum`) or greatest (`maximum`) value outside the metric's range: every model
    would pass, or none."""
    low, high = meaning(metric).range
    least, greatest = (low, high + SHUT) if kind == "minimum" else (low - SHUT, high)
    if math.isfinite(bound) and least <= bound <= greatest:
        return
    remedy = f"give a number from {low:g}" + (f" to {high:g}" if high < math.inf else " on")
    if low == 0 and high < math.inf and 1 < bound <= 100:
        remedy = f"it is a share, not a percentage: write {bound / 100:g}"
    raise UsageError(f"gate.{kind}.{metric} is {bound:g}, outside the range of {metric}", remedy)
