"""The numbers are scikit-learn's under any whole weights, also where squares would overflow or vanish."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lakewright.errors import DataError, ModelError, UsageError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.metrics import METRICS, check_bound, quantity, signed, written
from lakewright.evaluation.scorers.regression import GREATEST, RegressionScorer
from lakewright.evaluation.significance import compare
from lakewright.evaluation.slices import by_slice

POINT = ("rmse", "mae", "r2", "median_absolute_error", "quantile_coverage")
INTERVAL = ("coverage", "interval_width")


def rows_of(number: st.SearchStrategy[float], *, most: int = 25) -> st.SearchStrategy[tuple[np.ndarray, ...]]:
    """truth, predicted, two ends of intervals, and how often each row is drawn: all [n]."""

    @st.composite
    def case(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
        rows = draw(st.integers(1, most))
        sides = [np.array(draw(st.lists(number, min_size=rows, max_size=rows))) for _ in range(4)]
        times = np.array(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any)))
        return *sides, times

    return case()


USUAL = st.one_of(st.sampled_from([0.0, 2.5, -5.0]), st.floats(-1000, 1000).map(lambda value: round(value, 2)))
EXTREME = st.one_of(
    st.floats(-1e300, 1e300),
    st.floats(-1e-300, 1e-300),
    st.sampled_from([0.0, 5e-324, -5e-324, 1e300, -1e300, 1e154, 1e-160, GREATEST, -GREATEST]),
)


@given(rows_of(USUAL))
@settings(max_examples=300, deadline=None)
def test_weights_are_repeated_rows_and_the_numbers_scikit_learns(case: tuple[np.ndarray, ...]) -> None:
    truth, predicted, one, other, times = case
    low, high = np.minimum(one, other), np.maximum(one, other)
    scorer = RegressionScorer(truth, predicted, low, high)
    values = scorer.metrics(times)
    assert tuple(values) == POINT + INTERVAL
    by_weight = {"y_true": truth, "y_pred": predicted, "sample_weight": times}
    assert values["rmse"] == pytest.approx(sk.root_mean_squared_error(**by_weight))
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(**by_weight))
    assert values["median_absolute_error"] == pytest.approx(sk.median_absolute_error(**by_weight))
    repeated, answers = np.repeat(truth, times), np.repeat(predicted, times)
    assert values["median_absolute_error"] == pytest.approx(sk.median_absolute_error(repeated, answers))
    if len(set(repeated)) > 1:
        assert values["r2"] == pytest.approx(sk.r2_score(**by_weight))
    else:
        assert math.isnan(values["r2"])
    assert values["quantile_coverage"] == pytest.approx((repeated <= answers).mean())
    held = (np.repeat(low, times) <= repeated) & (repeated <= np.repeat(high, times))
    assert values["coverage"] == pytest.approx(held.mean())
    assert values["interval_width"] == pytest.approx(np.repeat(high - low, times).mean())
    part = scorer.where(times > 0)
    assert part.metrics(times[times > 0]) == pytest.approx(values, nan_ok=True)
    without = RegressionScorer(truth, predicted).metrics(times)
    assert {name: without[name] for name in POINT} == {name: pytest.approx(values[name], nan_ok=True) for name in POINT}
    assert math.isnan(without["coverage"]) and math.isnan(without["interval_width"])


def exact(truth: np.ndarray, predicted: np.ndarray) -> tuple[Fraction, Fraction, Fraction | None]:
    """Mean squared error, mean absolute error and r2, without rounding."""
    true, answers = ([Fraction(float(value)) for value in side] for side in (truth, predicted))
    errors = [answer - one for one, answer in zip(true, answers, strict=True)]
    mean = sum(true) / len(true)
    spread = sum((one - mean) ** 2 for one in true)
    squares = sum(error**2 for error in errors)
    return squares / len(true), sum(map(abs, errors)) / len(true), 1 - squares / spread if spread else None


def root(square: Fraction) -> Fraction:
    """To far more digits than a float64 has, however small it is."""
    return Fraction(math.isqrt(square.numerator * square.denominator << 2400), square.denominator << 1200)


@given(rows_of(EXTREME, most=8))
@settings(max_examples=300, deadline=None)
def test_numbers_of_any_size_are_measured_without_overflow(case: tuple[np.ndarray, ...]) -> None:
    truth, predicted, one, other, times = case
    scorer = RegressionScorer(truth, predicted, np.minimum(one, other), np.maximum(one, other))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = scorer.metrics(times)
    repeated, answers = np.repeat(truth, times), np.repeat(predicted, times)
    squared, absolute, explained = exact(repeated, answers)
    near = {"rel": 1e-9, "abs": 5e-324 * 2}  # a subnormal number has few digits
    assert values["mae"] == pytest.approx(float(absolute), **near)
    assert values["rmse"] == pytest.approx(float(root(squared)), **near)
    if explained is None:
        assert math.isnan(values["r2"])
    else:
        least = Fraction(float(np.finfo(np.float64).min))
        assert values["r2"] == pytest.approx(float(max(explained, least)), rel=1e-6, abs=1e-6)
    assert all(math.isfinite(value) for name, value in values.items() if name != "r2")
    part = scorer.where(times > 0).metrics(times[times > 0])
    assert part == pytest.approx(values, nan_ok=True, rel=1e-9, abs=1e-323)


def test_metrics_by_hand() -> None:
    truth, predicted = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 3, 8])
    scorer = RegressionScorer(truth, predicted, predicted - 1, predicted + 1, level=0.8)
    assert scorer.metrics(np.ones(4)) == pytest.approx(
        {
            "rmse": math.sqrt(17 / 4),
            "mae": 5 / 4,
            "r2": 1 - 17 / 5,
            "median_absolute_error": 0.5,
            "quantile_coverage": 1,
            "coverage": 3 / 4,
            "interval_width": 2,
        }
    )
    low = RegressionScorer(truth, np.array([0.5, 2, 2, 9]))  # the second truth is at its prediction, the fourth below
    assert low.metrics(np.ones(4))["quantile_coverage"] == 2 / 4
    assert low.metrics(np.array([1.0, 2, 1, 1]))["quantile_coverage"] == 3 / 5
    assert scorer.inside is not None and scorer.inside.tolist() == [True, True, True, False]  # bounds are inside
    assert scorer.distances().tolist() == [0, 1, 0, 4] and scorer.errors.tolist() == [0, 1, 0, 4]
    assert scorer.correct() is None and scorer.classes(np.ones(4)) == {}
    assert scorer.primary == "rmse" and scorer.where(truth > 2).level == 0.8
    assert RegressionScorer(truth, np.full(4, 2.5)).metrics(np.ones(4))["r2"] == 0


def test_equal_truths_leave_r2_undefined_whatever_their_rounding() -> None:
    scorer = RegressionScorer(np.full(7, 0.1), np.linspace(0, 1, 7))
    assert math.isnan(scorer.metrics(np.ones(7))["r2"]) and "same truth" in scorer.undefined("r2")
    only = RegressionScorer(np.array([0.1, 0.1, 5.0]), np.zeros(3))
    assert math.isnan(only.metrics(np.array([3.0, 1.0, 0.0]))["r2"])
    assert not math.isnan(only.metrics(np.array([3.0, 0.0, 1.0]))["r2"])
    assert "r2" not in intervals(scorer, resamples=20, seed=0)


def test_names_intervals_slices_and_comparisons() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(100, 20, 150)
    better, worse = (
        RegressionScorer(truth, answers, answers - 5, answers + 5)
        for answers in (truth + random.normal(0, noise, 150) for noise in (3, 12))
    )
    values = better.metrics(np.ones(150))
    assert better.primary in values and values.keys() <= METRICS.keys()
    nothing = better.metrics(np.zeros(150))
    assert nothing.keys() == values.keys() and all(map(math.isnan, nothing.values()))
    drawn = intervals(worse, resamples=50, seed=0)
    assert drawn.keys() == values.keys()
    assert all(metric.low < metric.value < metric.high for name, metric in drawn.items() if name != "interval_width")
    parts = by_slice(worse, {"kind": ["a", "b", "b"] * 50}, resamples=20, seed=0)["kind"]
    assert parts["a"]["rows"].value == 50
    for metric in ("rmse", "mae", "r2", "median_absolute_error", "coverage"):
        told = compare(worse, better, metric, resamples=100, seed=0)
        assert told.significantly_worse and told.method == "paired bootstrap", metric
        assert not compare(better, worse, metric, resamples=100, seed=0).significantly_worse, metric
    empty = better.where(np.zeros(150, dtype=bool))
    assert empty.rows == 0 and empty.undefined("rmse") == "there are no rows"
    assert all(map(math.isnan, empty.metrics(np.ones(0)).values()))


def test_what_does_not_fit_is_refused_and_named() -> None:
    two, three = np.ones(2), np.ones(3)
    with pytest.raises(DataError, match=r"predicted numbers of the shape \(2,\) for 3 rows"):
        RegressionScorer(three, two)
    with pytest.raises(DataError, match="low bounds"):
        RegressionScorer(three, three, two, three)
    with pytest.raises(DataError, match="only one bound"):
        RegressionScorer(two, two, low=two)
    with pytest.raises(DataError, match="the level of the intervals is 90"):
        RegressionScorer(two, two, two, two, level=90)
    with pytest.raises(DataError, match=r"shape \(2, 1\)"):
        RegressionScorer(two[:, None], two[:, None])
    for bad in (math.nan, math.inf, 2 * GREATEST):
        with pytest.raises(DataError, match=r"true numbers of rows \[1\]"):
            RegressionScorer(np.array([1, bad]), two)
        with pytest.raises(ModelError, match=r"predicted numbers of rows \[1\]"):
            RegressionScorer(two, np.array([1, bad]))
        with pytest.raises(ModelError, match=r"high bounds of rows \[0\]"):
            RegressionScorer(two, two, two, np.array([bad, 1]))
    with pytest.raises(ModelError, match=r"low bounds of rows \[1\] are above"):
        RegressionScorer(two, two, np.array([0, 2]), two)


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0.000"), (0.00012, "0.000120"), (0.0123456, "0.0123"), (0.5, "0.500"), (1.0, "1.000"), (12.345, "12.35"),
        (-123.456, "-123.5"), (1234.5678, "1,235"), (987_654_321.4, "987,654,321"), (1.23e12, "1.230e+12"),
        (1e300, "1.000e+300"), (0.0000123, "1.230e-05"), (5e-324, "4.941e-324"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_a_number_of_any_size_is_written_in_few_characters(value: float, text: str) -> None:
    assert quantity(value) == text
    assert written("rmse", value) == text


def test_a_share_keeps_its_decimals_and_a_number_in_a_unit_its_digits() -> None:
    assert written("accuracy", 0.00012) == "0.000" and written("accuracy", 0.83333, 4) == "0.8333"
    assert written("rmse", 1234.5678, 4) == "1,234.6" and written("rmse", 0.00012, 4) == "0.0001200"
    assert written("r2", -0.5) == "-0.500" and written("r2", -3e100) == "-3.000e+100"
    assert signed("rmse", 1234.5678) == "+1,235" and signed("mae", -0.02) == "-0.0200"
    assert signed("accuracy", 0.0) == "+0.000"
    with pytest.raises(UsageError, match="no metric named 'rmsee'"):
        written("rmsee", 1.0)


def test_a_bound_of_the_gate_may_be_any_number_in_the_unit() -> None:
    check_bound("rmse", "maximum", 1e300)
    check_bound("interval_width", "maximum", 0.00012)
    check_bound("r2", "minimum", -5.0)
    for metric, kind, bound in (("mae", "maximum", -1.0), ("r2", "minimum", 90.0), ("coverage", "minimum", 90.0)):
        with pytest.raises(UsageError, match=rf"gate\.{kind}\.{metric}"):
            check_bound(metric, kind, bound)
