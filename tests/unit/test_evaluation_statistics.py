"""Intervals, paired tests, calibration and slices: against scipy, against what is known, and by hand."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax

from lakewright.errors import DataError, UsageError
from lakewright.evaluation.bootstrap import intervals, resampled, slice_intervals
from lakewright.evaluation.calibration import bin_of, ece, reliability
from lakewright.evaluation.metrics import METRICS, higher_is_better
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.entities import EntityScorer
from lakewright.evaluation.significance import compare, mcnemar, paired_bootstrap
from lakewright.evaluation.slices import by_slice, slices


def scorer(rows: int = 400, strength: float = 2.0, seed: int = 0, classes: int = 3) -> ClassificationScorer:
    """The same truth for the same `rows`; `strength` says how good the model is, `seed` how it errs."""
    truth = np.random.default_rng(7).integers(0, classes, rows)
    logits = np.random.default_rng(seed).normal(size=(rows, classes))
    logits[np.arange(rows), truth] += strength
    return ClassificationScorer(truth, softmax(logits, axis=1), [f"class {i}" for i in range(classes)])


# intervals


def test_the_interval_of_accuracy_is_the_binomial_one() -> None:
    some = scorer(rows=1000)
    found = intervals(some, resamples=2000, seed=1)["accuracy"]
    wilson = stats.binomtest(int(some.correct().sum()), 1000).proportion_ci(0.95, method="wilson")
    assert found.value == some.correct().mean()
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=0.005)


def test_a_resample_draws_as_many_rows_as_there_are_and_the_seed_says_which() -> None:
    first = np.array(list(resampled(50, 20, seed=3)))
    assert (first.sum(axis=1) == 50).all()
    assert (first == np.array(list(resampled(50, 20, seed=3)))).all()
    assert (first != np.array(list(resampled(50, 20, seed=4)))).any()


def test_a_mask_is_the_resamples_product_with_it() -> None:
    some = scorer(rows=120)
    mask = np.arange(120) % 3 == 0
    found = intervals(some, resamples=60, seed=5, mask=mask)["macro_f1"]
    drawn = [some.metrics(counts * mask)["macro_f1"] for counts in resampled(120, 60, 5)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    both = slice_intervals(some, {"a": mask, "b": ~mask}, resamples=60, seed=5)
    assert both["a"]["macro_f1"] == found


def test_what_some_rows_do_not_define_is_left_out_and_the_interval_touches_its_value() -> None:
    some = scorer(rows=60)
    one_class = some.truth == 1
    assert "roc_auc" not in intervals(some, resamples=20, seed=0, mask=one_class)
    assert "accuracy" in intervals(some, resamples=20, seed=0, mask=one_class)
    assert intervals(some, resamples=20, seed=0, mask=np.zeros(60, dtype=bool)) == {}
    for metric in intervals(some, resamples=50, seed=0).values():
        assert metric.low <= metric.value <= metric.high
    lone = np.zeros(60, dtype=bool)
    lone[:2] = True  # many resamples draw neither row
    accuracy = intervals(some, resamples=200, seed=0, mask=lone)["accuracy"]
    assert not math.isnan(accuracy.low)


def test_progress_counts_the_resamples() -> None:
    seen: list[int] = []
    intervals(scorer(rows=10), resamples=4, seed=0, progress=seen.append)
    assert seen == [1, 2, 3, 4]


# paired tests


def test_mcnemar_by_hand() -> None:
    def pair(only_a: int, only_b: int) -> float:
        a = np.array([True] * only_a + [False] * only_b + [True] * 30 + [False] * 9)
        b = np.array([False] * only_a + [True] * only_b + [True] * 30 + [False] * 9)
        assert mcnemar(a, b) == mcnemar(b, a)
        return mcnemar(a, b)

    assert pair(0, 0) == 1.0
    assert pair(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)  # exact
    assert pair(10, 30) == pytest.approx(stats.chi2.sf((20 - 1) ** 2 / 40, 1))  # Edwards
    assert pair(20, 20) == 1.0


def test_the_paired_bootstrap_is_as_sure_as_the_paired_t_test() -> None:
    a, b = scorer(rows=500, strength=2.0, seed=1), scorer(rows=500, strength=1.8, seed=2)
    found = paired_bootstrap(a, b, "accuracy", resamples=2000, seed=0)
    difference = a.correct().astype(float) - b.correct().astype(float)
    assert found.value == pytest.approx(difference.mean())
    assert found.p == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.03)
    assert (found.low, found.high) == pytest.approx(
        stats.norm.interval(0.95, difference.mean(), difference.std() / math.sqrt(500)), abs=0.006
    )


def test_pairing_cancels_what_both_models_share() -> None:
    a = scorer(rows=300, seed=1)
    nudged = a.probabilities.copy()
    nudged[:3] = nudged[:3, ::-1]
    b = ClassificationScorer(a.truth, nudged, a.labels)
    paired = paired_bootstrap(a, b, "macro_f1", resamples=300, seed=0)
    alone = intervals(a, resamples=300, seed=0)["macro_f1"]
    assert paired.high - paired.low < (alone.high - alone.low) / 3


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "roc_auc", "log_loss", "brier"])
def test_a_clearly_worse_challenger_is_caught_in_each_metrics_own_direction(metric: str) -> None:
    good, bad = scorer(rows=400, strength=2.5, seed=1), scorer(rows=400, strength=1.2, seed=2)
    worse = compare(bad, good, metric, resamples=300, seed=0)
    better = compare(good, bad, metric, resamples=300, seed=0)
    assert worse.significantly_worse and worse.p < 0.05
    assert not better.significantly_worse and better.p > 0.95
    assert (worse.difference < 0) == higher_is_better(metric)
    assert worse.method == ("McNemar" if metric == "accuracy" else "paired bootstrap")


def test_the_test_errs_as_often_as_it_says() -> None:
    """Equally good models: the one-sided test at 5 % rejects about 5 % of the time, not never and not 11 %."""
    random = np.random.default_rng(0)
    rejected = 0
    for trial in range(150):
        spans = [[(0, 1, "T")]] * 80
        a, b = ([[(0, 1, "T")] if right else [] for right in random.random(80) < 0.7] for _ in range(2))
        verdict = compare(
            EntityScorer(spans, a, ["T"]), EntityScorer(spans, b, ["T"]), "entity_f1", resamples=150, seed=trial
        )
        rejected += verdict.significantly_worse
    assert 1 <= rejected <= 17  # 7.5 expected


def test_the_same_model_is_not_worse_and_nonsense_is_refused() -> None:
    some = scorer(rows=50)
    assert compare(some, some, "macro_f1", resamples=50, seed=0).p == 0.5
    assert compare(some, some, "accuracy", resamples=50, seed=0).p == 0.5
    with pytest.raises(DataError, match="50 and 60"):
        compare(some, scorer(rows=60), "macro_f1", seed=0)
    with pytest.raises(UsageError, match="did you mean 'macro_f1'"):
        compare(some, some, "macrof1", seed=0)
    one_class = some.where(some.truth == 0)
    with pytest.raises(UsageError, match="roc_auc is not defined"):
        compare(one_class, one_class, "roc_auc", seed=0)


def test_only_losses_and_errors_are_better_when_lower() -> None:
    lower = {name for name in METRICS if not higher_is_better(name)}
    assert lower == {
        "log_loss",
        "brier",
        "ece",
        "rmse",
        "mae",
        "median_absolute_error",
        "interval_width",
        "hamming_loss",
    }
    with pytest.raises(UsageError, match="did you mean 'rmse'"):
        higher_is_better("rsme")


# calibration


def test_bins_are_open_below_and_closed_above() -> None:
    assert bin_of(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0])).tolist() == [0, 0, 1, 14]


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_scorers_ece_is_the_reliability_bins(rows: int, seed: int) -> None:
    some = scorer(rows=rows, seed=seed)
    weights = np.random.default_rng(seed).integers(0, 3, rows).astype(float)
    bins = reliability(some.confidence, some.correct(), weights)
    assert ece(bins) == pytest.approx(some.metrics(weights)["ece"], abs=1e-12, nan_ok=True)
    assert bins.count.sum() == weights.sum()


# slices

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-50, 50), st.floats(allow_nan=True), st.text(max_size=3), st.dates()
)
columns = st.one_of(
    st.lists(scalars, max_size=60),
    st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), max_size=60),
    st.lists(st.floats(allow_nan=True), max_size=60),
    st.lists(st.one_of(st.none(), st.datetimes()), max_size=60),
)


@given(columns)
@settings(max_examples=200, deadline=None)
def test_every_row_is_in_exactly_one_slice(values: list[object]) -> None:
    masks = slices(values)
    assert sum((mask.astype(int) for mask in masks.values()), np.zeros(len(values), dtype=int)).tolist() == [1] * len(
        values
    )
    assert all(mask.any() for mask in masks.values())
    assert len(masks) <= 22


def test_slices_have_readable_names() -> None:
    def sizes(values: object) -> dict[str, int]:
        return {name: int(mask.sum()) for name, mask in slices(values).items()}

    assert sizes(["b", "a", "b", None, ""]) == {"b": 2, "a": 1, "(empty)": 1, "(missing)": 1}
    assert sizes(pa.array([True, None, False, True])) == {"true": 2, "false": 1, "(missing)": 1}
    assert sizes(np.array([1, 2, 2, 3])) == {"2": 2, "1": 1, "3": 1}
    assert sizes(pa.chunked_array([list(range(1, 7)), list(range(7, 13))])) == {
        "1 to 3": 3, "4 to 6": 3, "7 to 9": 3, "10 to 12": 3,
    }  # fmt: skip
    assert sizes(np.arange(12) / 7) == {
        "0 to 0.2857": 3,
        "0.4286 to 0.7143": 3,
        "0.8571 to 1.143": 3,
        "1.286 to 1.571": 3,
    }
    assert sizes([0] * 30 + list(range(12)) + [math.nan]) == {"0": 31, "1": 1, "2 to 11": 10, "(missing)": 1}
    days = [datetime.date(2024, 1, day) for day in range(1, 13)]
    assert next(iter(sizes(days))) == "2024-01-01 to 2024-01-03"
    nearly = [1 + i * 1e-9 for i in range(12)]
    assert len(sizes(nearly)) == 4
    many = [f"c{i:02}" for i in range(30) for _ in range(40 - i)]
    assert list(sizes(many)) == [f"c{i:02}" for i in range(20)] + ["(other)"]
    assert sizes(many)["(other)"] == sum(40 - i for i in range(20, 30))


def test_by_slice_has_the_reports_shape() -> None:
    some = scorer(rows=90)
    found = by_slice(some, {"third": [i % 3 for i in range(90)]}, resamples=30, seed=0)
    assert found.keys() == {"third"}
    assert {name: part["rows"].value for name, part in found["third"].items()} == {"0": 30, "1": 30, "2": 30}
    direct = intervals(some, resamples=30, seed=0, mask=np.arange(90) % 3 == 1)
    assert {name: metric for name, metric in found["third"]["1"].items() if name != "rows"} == direct
