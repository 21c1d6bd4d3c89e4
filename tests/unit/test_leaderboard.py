"""Order, ties, Pareto front and recommendation: by hand, and against scipy's binomial test."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lakewright.errors import UsageError
from lakewright.evaluation.leaderboard import Entry, Leaderboard, holm, pareto_front, rank
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.significance import compare
from lakewright.pages.pictures import canvas, of_models
from lakewright.records import Metric

ROWS = 300


def entry(name: str, wrong: range | list[int], seconds: float = 1.0, size: int = 1_000_000) -> Entry:
    """A model that is wrong on these of the rows, and sure of itself."""
    truth = np.arange(ROWS) % 2
    predicted = truth.copy()
    predicted[list(wrong)] = 1 - predicted[list(wrong)]
    scorer = ClassificationScorer(truth, np.where(np.eye(2)[predicted] == 1, 0.9, 0.1), ["no", "yes"])
    value = 1 - len(list(wrong)) / ROWS
    return Entry(name, scorer, Metric(value=value, low=value - 0.02, high=value + 0.02), seconds, size)


def ranked(*entries: Entry, metric: str = "accuracy") -> Leaderboard:
    return rank(entries, metric, resamples=100, seed=1)


def order(leaderboard: Leaderboard) -> list[tuple[int, str]]:
    return [(place.rank, place.entry.name) for place in leaderboard.places]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_his_step_down_rejects(p: list[float], level: float) -> None:
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - step) >= level:
            break
        rejected.add(i)
    assert {i for i, corrected in enumerate(holm(p)) if corrected < level} == rejected


def test_pareto_front_by_hand() -> None:
    points = [(1.0, 5.0), (2.0, 2.0), (2.0, 2.0), (3.0, 2.0), (5.0, 1.0), (5.0, 5.0)]
    assert pareto_front(points) == [True, True, True, False, True, False]
    assert pareto_front([(1.0, 5.0), (2.0, 4.95)]) == [True, True]
    assert pareto_front([(1.0, 5.0), (2.0, 4.95)], (0.0, 0.1)) == [True, False]


def test_a_tie_a_clearly_worse_run_and_the_cheapest_that_will_do() -> None:
    best, nearly = entry("best", range(10), seconds=4.0), entry("nearly", range(5, 18), seconds=0.5)
    bad = entry("bad", range(60), seconds=0.1)
    found = ranked(bad, nearly, best)
    assert order(found) == [(1, "best"), (1, "nearly"), (3, "bad")]
    assert [place.tied for place in found.places] == [True, True, False]
    only_best, only_nearly = 8, 5  # rows 10 to 17, rows 0 to 4
    p = binomtest(only_nearly, only_best + only_nearly).pvalue / 2
    against = found.places[1].against_best
    assert against is not None and against.method == "McNemar" and against.p == pytest.approx(p)
    assert found.places[1].p == pytest.approx(p)  # the larger of two: Holm leaves it as it is
    assert found.recommended is found.places[1]
    assert found.reason == (
        f"nearly is not significantly worse than the best, best (accuracy 0.957 against 0.967, corrected p {p:.2g}), "
        "and takes 0.5 s per 1,000 rows instead of 4 s."
    )
    assert [place.on_front for place in found.places] == [True, True, True]


def test_size_decides_between_equally_fast_ties_and_the_best_may_be_the_cheapest() -> None:
    large, small = entry("large", range(10), size=90_000_000), entry("small", range(5, 18), size=12_000_000)
    assert ranked(large, small).recommended.entry is small
    assert "is as fast at 12 MB instead of 90 MB" in ranked(large, small).reason
    quick = entry("quick", range(9), seconds=0.1)
    assert ranked(large, small, quick).reason == (
        "quick has the best accuracy (0.970), and none of the 2 that are not significantly worse is clearly cheaper."
    )
    alone = ranked(entry("a", []), entry("b", range(50)), entry("c", range(60)))
    assert alone.ties == 1
    assert alone.reason == "a has the best accuracy (1.000), and each of the 2 others is significantly worse."


def test_seconds_and_bytes_that_are_nearly_the_same_do_not_decide() -> None:
    best, nearly = entry("best", range(10), seconds=1.05, size=50_000_100), entry("nearly", range(5, 18), seconds=1.0)
    nearly = replace(nearly, bytes=50_000_000)
    assert ranked(nearly, best).recommended.entry is best
    slower = replace(best, seconds=1.2)
    assert ranked(nearly, slower).recommended.entry is nearly
    assert "takes 1 s per 1,000 rows instead of 1.2 s" in ranked(nearly, slower).reason


def test_many_comparisons_need_stronger_evidence() -> None:
    best = entry("best", [])
    others = [entry(f"run {i}", range(6 * i, 6 * i + 6)) for i in range(4)]  # each wrong on 6 rows of its own
    assert compare(others[0].scorer, best.scorer, "accuracy", seed=1).significantly_worse  # p = 1/64
    assert ranked(best, others[0]).ties == 1
    found = ranked(best, *others)
    assert found.ties == 5
    assert [place.p for place in found.places[1:]] == pytest.approx([4 / 64] * 4)


def test_a_tie_stands_above_a_better_score_that_is_significantly_worse() -> None:
    """12 rows lost and none won is surer evidence than 60 lost and 47 won."""
    best = entry("best", range(100, 147))
    steady = entry("steady", range(100, 159))
    noisy = entry("noisy", range(60))
    assert steady.metric.value > noisy.metric.value
    assert order(ranked(best, steady, noisy)) == [(1, "best"), (1, "noisy"), (3, "steady")]


def test_less_is_better_where_the_metric_says_so() -> None:
    good, bad = entry("good", range(5)), entry("bad", range(80))
    losses = [Entry(e.name, e.scorer, Metric(value=e.scorer.metrics(np.ones(ROWS))["log_loss"], low=0, high=1), 1, 1)
              for e in (bad, good)]  # fmt: skip
    found = ranked(*losses, metric="log_loss")
    assert order(found) == [(1, "good"), (2, "bad")]
    against = found.places[1].against_best
    assert against is not None and against.method == "paired bootstrap" and against.difference > 0
    assert [place.on_front for place in found.places] == [True, False]


def test_enough_resamples_for_the_first_threshold_of_many() -> None:
    """With 100 resamples no one-sided p of a bootstrap could come under 0.01 / 4, however bad the run."""
    entries = [entry("best", []), *(entry(f"bad {i}", range(i, i + 90)) for i in range(4))]
    found = rank(entries, "macro_f1", resamples=100, seed=1, confidence=0.99)
    assert found.ties == 1 and found.resamples > 1000


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(UsageError, match="two models, not 1"):
        ranked(entry("alone", []))
    with pytest.raises(UsageError, match="no metric named 'acuracy'"):
        ranked(entry("a", []), entry("b", []), metric="acuracy")


def test_the_picture_numbers_every_run_once() -> None:
    found = ranked(*(entry(f"run {i}", range(3 * i), 0.03 * (i + 1), 10**6 * (i + 1)) for i in range(4)))
    drawn = canvas.svg(of_models.trade_off(found), "runs")
    labels = re.findall(r">(\d★?)</text>", drawn)
    assert sorted(labels) == ["1★", "2", "3", "4"]
    assert "seconds for 1,000 rows" in drawn and ">0.1<" in drawn
    assert "fill: currentColor" in re.findall(r'style="([^"]*)"[^>]*>1★</text>', drawn)[0]  # not black in a dark page


def test_labels_in_a_crowd_cover_neither_each_other_nor_a_point() -> None:
    random = np.random.default_rng(0)
    centres = np.vstack([random.uniform(0, 60, (6, 2)), [[300, 100]] * 3])
    radii = np.array([3.0] * 6 + [12.0] * 3)
    labels = centres + of_models._label_offsets(centres, radii)
    half = 8
    for a, b in itertools.combinations(labels, 2):
        assert np.abs(a - b).max() >= 2 * half
    for label in labels:
        assert (np.abs(label - centres).max(axis=1) >= half + radii - 1e-9).all()
