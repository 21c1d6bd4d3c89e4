"""Tests whether one model is better than another on the same test rows: McNemar's test and the paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lakewright.errors import DataError, UsageError, nearest
from lakewright.evaluation.bootstrap import bounds, resampled
from lakewright.evaluation.metrics import meaning
from lakewright.evaluation.scorers import Mask, Scorer


@dataclass(frozen=True)
class Difference:
    """The metric of the first scorer minus that of the second; `p` is two-sided, for no difference."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion. `p` is one-sided: the probability of so bad a difference between equal models."""

    method: str
    difference: float
    low: float
    high: float
    p: float
    significantly_worse: bool


def mcnemar(a_correct: Mask, b_correct: Mask) -> float:
    """Two-sided p that two models are right equally often, from the rows that only one of them gets right.

    Under 25 such rows the exact binomial test (McNemar 1947), else chi² with one degree of freedom and the continuity
    correction of Edwards (1948). 1.0 without such rows. Both are [rows], the same rows in the same order.
    """
    from scipy.stats import binomtest, chi2

    _same_rows(len(a_correct), len(b_correct))
    only_a = int(np.sum(a_correct & ~b_correct))
    only_b = int(np.sum(b_correct & ~a_correct))
    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    if discordant < 25:
        return float(binomtest(only_a, discordant, 0.5).pvalue)
    return float(chi2.sf(max(abs(only_a - only_b) - 1, 0) ** 2 / discordant, df=1))


def paired_bootstrap(
    scorer_a: Scorer,
    scorer_b: Scorer,
    metric: str,
    *,
    resamples: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> Difference:
    """`metric` of a minus b, with both evaluated on the same resampled rows each time.

    The interval is the percentile one (Efron & Tibshirani 1993). p is the share of resamples whose difference is at
    least as far from the observed difference as that is from 0 (Berg-Kirkpatrick, Burkett & Klein 2012, two-sided),
    with 1 added to both counts, so that it is never 0. Raises UsageError if a scorer lacks the metric or it is NaN.
    """
    _same_rows(scorer_a.rows, scorer_b.rows)
    value = _value(scorer_a, metric) - _value(scorer_b, metric)
    drawn = np.array([
        scorer_a.metrics(counts)[metric] - scorer_b.metrics(counts)[metric]
        for counts in resampled(scorer_a.rows, resamples, seed)
    ])  # fmt: skip
    drawn = drawn[~np.isnan(drawn)]
    low, high = bounds(drawn, confidence)
    as_far = np.abs(drawn - value) >= abs(value) * (1 - 1e-12)
    p = (1 + int(as_far.sum())) / (1 + len(drawn))
    return Difference(value=value, low=float(np.fmin(low, value)), high=float(np.fmax(high, value)), p=p)


def compare(
    challenger: Scorer,
    champion: Scorer,
    metric: str,
    *,
    resamples: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> Comparison:
    """Whether the challenger is significantly worse than the champion, in the metric's own direction.

    The gate has one question, so the test is one-sided at 1 − confidence: half of the two-sided p if the challenger is
    worse, else 1 minus that half. McNemar tests a metric that is a share of right rows (accuracy, exact_match), the
    paired bootstrap any other; the two-sided interval is the paired bootstrap's in both cases.
    "Not significantly worse" may only mean that there are few rows: read the interval.
    """
    difference = paired_bootstrap(challenger, champion, metric, resamples=resamples, seed=seed, confidence=confidence)
    method, two_sided = "paired bootstrap", difference.p
    a_correct, b_correct = challenger.correct(), champion.correct()
    if meaning(metric).share_of_rows and a_correct is not None and b_correct is not None:
        method, two_sided = "McNemar", mcnemar(a_correct, b_correct)
    loss = -difference.value if meaning(metric).higher_is_better else difference.value
    p = two_sided / 2 if loss > 0 else 1 - two_sided / 2
    return Comparison(
        method=method,
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        p=p,
        significantly_worse=p < 1 - confidence,
    )


def _value(scorer: Scorer, metric: str) -> float:
    values = scorer.metrics(np.ones(scorer.rows))
    if metric not in values:
        raise UsageError(f"this task has no metric named {metric!r}", nearest(metric, values))
    if np.isnan(values[metric]):
        raise UsageError(
            f"{metric} is not defined on these {scorer.rows} test rows",
            "compare by another metric, or use test rows that contain every class",
        )
    return values[metric]


def _same_rows(a: int, b: int) -> None:
    if a != b:
        raise DataError(
            f"the two models have different numbers of test rows, {a} and {b}",
            "evaluate both on the frozen test rows of the later run",
        )
