"""How predictions differ between the rows of a facet and the rest: the post-training measures of SageMaker Clarify.

Facet d is the rows of one value, facet a the other rows. One outcome is the positive one, which is true of a row or
not, and predicted of it or not. Above 0 a measure means less of this outcome for the facet (DI: below 1), but for DCAcc
and DCR, which compare what is true with what is predicted, and GE, which is of both sides together.

https://docs.aws.amazon.com/sagemaker/latest/dg/clarify-measure-post-training-bias.html has a page for each. CDDPL is of
Wachter, Mittelstadt & Russell ("Why fairness cannot be automated", 2021), TE of Berk et al. ("Fairness in criminal
justice risk assessments", 2018), GE of Speicher et al. ("A unified approach to quantifying algorithmic unfairness",
2018), RD of Hardt, Price & Srebro ("Equality of opportunity in supervised learning", 2016), DI the ratio of the
four-fifths rule (Feldman et al., "Certifying and removing disparate impact", 2015); FT is in `fliptest.py`.

A number divided by 0 is infinite, as in Clarify's library. 0 / 0 and infinity less infinity are not defined (NaN); that
library takes 0 for them, which would show a model that predicts nothing as fair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakewright.data.profile.bias import conditional_disparity
from lakewright.evaluation.bootstrap import metric_of
from lakewright.evaluation.fliptest import Fliptest
from lakewright.evaluation.scorers import Mask
from lakewright.records import FacetMeasures, Metric

Floats = NDArray[np.float64]
Counts = NDArray[np.integer]
CELLS = 4_000_000  # of counts that are drawn at once


@dataclass(frozen=True)
class Meaning:
    name: str
    text: str
    even: float | None = 0.0  # the value that shows no difference; None: it compares no sides
    divisor: str = ""  # of its ratios, on each side: what a side must have rows of


MEASURES: dict[str, Meaning] = {
    "DPPL": Meaning(
        "difference in positive proportions in predicted labels",
        "share predicted positive: the rest's less the facet's",
    ),
    "DI": Meaning(
        "disparate impact", "share predicted positive: the facet's ÷ the rest's", 1.0, "are predicted positive"
    ),
    "DCAcc": Meaning(
        "difference in conditional acceptance",
        "rows that are positive ÷ rows predicted so: the rest's less the facet's",
        divisor="are predicted positive",
    ),
    "DCR": Meaning(
        "difference in conditional rejection",
        "rows that are negative ÷ rows predicted so: the facet's less the rest's",
        divisor="are predicted negative",
    ),
    "SD": Meaning(
        "specificity difference",
        "share of negative rows predicted so: the facet's less the rest's",
        divisor="are negative",
    ),
    "RD": Meaning(
        "recall difference", "share of positive rows predicted so: the rest's less the facet's", divisor="are positive"
    ),
    "DAR": Meaning(
        "difference in acceptance rates",
        "share of rows predicted positive that are so (precision): the rest's less the facet's",
        divisor="are predicted positive",
    ),
    "DRR": Meaning(
        "difference in rejection rates",
        "share of rows predicted negative that are so: the facet's less the rest's",
        divisor="are predicted negative",
    ),
    "AD": Meaning("accuracy difference", "share of rows that are right: the rest's less the facet's"),
    "TE": Meaning(
        "treatment equality",
        "positive rows missed ÷ negative rows predicted positive: the facet's less the rest's",
        divisor="are negative and predicted positive",
    ),
    "CDDPL": Meaning(
        "conditional demographic disparity in predicted labels",
        "the facet's share of rows predicted negative less its share of those predicted positive, within each group",
    ),
    "GE": Meaning(
        "generalized entropy", "how unequally errors help or harm rows, over facet and rest together; 0: no error", None
    ),
    "FT": Meaning(
        "counterfactual fliptest",
        "rows predicted negative whose nearest others are predicted positive, less the reverse, ÷ rows of the facet",
    ),
}


def count(facet: Mask, truth: Mask, predicted: Mask) -> Counts:
    """[2: rest and facet, 2: true outcome, 2: predicted outcome] of rows [rows]."""
    return np.bincount(facet * 4 + truth * 2 + predicted, minlength=8).reshape(2, 2, 2)


def count_groups(group: NDArray[np.integer], facet: Mask, predicted: Mask) -> Counts:
    """[groups, 2: rest and facet, 2: predicted outcome] of rows [rows], whose groups count from 0."""
    groups = int(group.max(initial=-1)) + 1
    return np.bincount(group * 4 + facet * 2 + predicted, minlength=groups * 4).reshape(groups, 2, 2)


def measures(counts: Counts) -> dict[str, Floats]:
    """The measures that follow from counts [..., 2: rest and facet, 2: true, 2: predicted], each [...]."""
    (tn, fp), (fn, tp) = np.moveaxis(counts, (-2, -1), (0, 1)).astype(np.float64)  # [..., 2: rest and facet] each
    rows, positive, negative = tn + fp + fn + tp, fn + tp, tn + fp
    accepted, rejected = fp + tp, tn + fn
    with np.errstate(divide="ignore", invalid="ignore"):
        share = accepted / rows
        benefit, squares = (tn + tp + 2 * fp).sum(-1), (tn + tp + 4 * fp).sum(-1)  # of y' - y + 1 in each row
        return {
            "DPPL": _rest_less_facet(share),
            "DI": share[..., 1] / share[..., 0],
            "DCAcc": _rest_less_facet(positive / accepted),
            "DCR": -_rest_less_facet(negative / rejected),
            "SD": -_rest_less_facet(tn / negative),
            "RD": _rest_less_facet(tp / positive),
            "DAR": _rest_less_facet(tp / accepted),
            "DRR": -_rest_less_facet(tn / rejected),
            "AD": _rest_less_facet((tp + tn) / rows),
            "TE": -_rest_less_facet(fn / fp),
            "GE": (squares * rows.sum(-1) / benefit**2 - 1) / 2,
        }


def measure_facet(
    column: str,
    value: str,
    *,
    facet: Mask,
    truth: Mask,
    predicted: Mask,
    group: NDArray[np.integer] | None = None,
    fliptest: Fliptest | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> FacetMeasures:
    """All measures of a facet, with intervals; `facet`, `truth`, `predicted` are [rows], both sides have rows.

    `group` [rows] is -1 for a row without one. Each resample draws as many rows as there are, with replacement: the
    number of drawn rows of each kind is multinomial, and nothing else of the rows counts. The rows of groups and those
    of the fliptest are drawn by themselves; the latter keep their neighbours.
    """
    random = np.random.default_rng(seed)
    counts = count(facet, truth, predicted)
    values, drawn = measures(counts), measures(_resampled(counts, resamples, random))
    undefined = {name: _why(name, float(value), counts) for name, value in values.items() if not np.isfinite(value)}
    if group is not None:
        known = group >= 0
        by_group = count_groups(group[known], facet[known], predicted[known])
        values["CDDPL"], _ = conditional_disparity(by_group)
        drawn["CDDPL"] = _disparities(by_group, resamples, random)
        if np.isnan(values["CDDPL"]):
            undefined["CDDPL"] = "not defined: no group has both rows predicted positive and rows predicted negative"
    if fliptest is not None:
        flips = fliptest.flips
        cells = np.array([(flips < 0).sum(), (flips == 0).sum(), (flips > 0).sum()])
        of_draws = _resampled(cells, resamples, random)
        values["FT"], drawn["FT"] = flips.mean(), (of_draws[:, 2] - of_draws[:, 0]) / len(flips)
    metrics: dict[str, Metric] = {
        name: metric_of(float(values[name]), drawn[name], confidence)
        for name in MEASURES
        if name in values and name not in undefined
    }
    return FacetMeasures(
        column=column,
        value=value,
        rows=int(counts[1].sum()),
        rest_rows=int(counts[0].sum()),
        measures=metrics,
        undefined=undefined,
        fliptest_rows=None if fliptest is None else (len(fliptest.flips), fliptest.others),
    )


def one_sided(group: NDArray[np.integer], predicted: Mask) -> tuple[int, int]:
    """The groups that CDDPL leaves out, because all their rows are predicted alike, and their rows. Both [rows]."""
    known = group >= 0
    counts = count_groups(group[known], np.zeros(int(known.sum()), np.bool_), predicted[known]).sum(axis=1)
    rows = counts.sum(axis=1)
    left_out = (counts.min(axis=1) == 0) & (rows > 0) if len(counts) else np.zeros(0, np.bool_)
    return int(left_out.sum()), int(rows[left_out].sum())


def _rest_less_facet(sides: Floats) -> Floats:
    return sides[..., 0] - sides[..., 1]


def _resampled(counts: Counts, resamples: int, random: np.random.Generator) -> Counts:
    """[resamples, *counts.shape]"""
    rows = counts.sum()
    return random.multinomial(rows, counts.ravel() / rows, size=resamples).reshape(resamples, *counts.shape)


def _disparities(by_group: Counts, resamples: int, random: np.random.Generator) -> Floats:
    """[resamples], some at once so that many groups take no more memory."""
    if not by_group.sum():
        return np.full(resamples, np.nan)
    at_once = max(1, CELLS // by_group.size)
    parts = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([conditional_disparity(_resampled(by_group, part, random))[0] for part in parts])


def _why(name: str, value: float, counts: Counts) -> str:
    kind = "not defined" if np.isnan(value) else "infinite"
    if name == "GE":
        return f"{kind}: all rows are positive and predicted negative"
    (_, fp), (fn, tp) = np.moveaxis(counts, (-2, -1), (0, 1))
    accepted, rows = fp + tp, counts.sum(axis=(-2, -1))
    divisors = {
        "are predicted positive": accepted,
        "are predicted negative": rows - accepted,
        "are positive": fn + tp,
        "are negative": rows - fn - tp,
        "are negative and predicted positive": fp,
    }
    divisor = MEASURES[name].divisor
    without = [side for side, rows in zip(("the rest", "the facet"), divisors[divisor], strict=True) if not rows]
    return f"{kind}: no rows of {' and of '.join(without)} {divisor}"
