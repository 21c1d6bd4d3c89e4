"""When a training is ended early."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from lakewright.tuning.pruning import (
    Pruned,
    Watched,
    below_median,
    below_rung,
    best_folds,
    bracket_of,
    curves,
    reached_at,
    signed_rank_p,
    worse_over_folds,
)
from lakewright.tuning.trials import Trial

CURVES = [[(1, value - 1), (2, value), (3, value - 0.5)] for value in (1.0, 2.0, 3.0, 4.0, 5.0)]


def test_the_best_so_far_counts_and_a_training_that_ended_before_does_not() -> None:
    assert reached_at(CURVES[0], 1) == 0.0
    assert reached_at(CURVES[0], 3) == 1.0  # it was better at 2
    assert reached_at(CURVES[0], 4) is None
    assert reached_at([], 1) is None


@pytest.mark.parametrize(("value", "ends"), [(2.9, True), (3.0, False), (3.1, False)])
def test_below_the_median_it_ends(value: float, ends: bool) -> None:
    rule = Watched(below_median, 0, CURVES)
    rule(1, 2.0)  # the median at 1
    if not ends:
        rule(2, value)
        return
    with pytest.raises(Pruned, match=r"ended at 2: 2\.9, and half of 5 earlier trainings had reached 3"):
        rule(2, value)
    assert rule.recorded == [[1.0, 2.0], [2.0, 2.9]]


def test_with_few_earlier_ones_or_none_to_prune_it_goes_on() -> None:
    for rule in (Watched(below_median, 0, CURVES[:3]), Watched(None, 0, CURVES), Watched(below_median, 0)):
        rule(1, -100.0)
        rule(2, -100.0)
    late = Watched(below_median, 0, CURVES)
    late(7, -100.0)  # none came so far


def test_a_long_curve_is_recorded_in_few_points() -> None:
    rule = Watched(None, 0)
    for at in range(3000):
        rule(at, 1.0)
    assert len(rule.recorded) <= 200 and rule.recorded[0] == [0.0, 1.0]
    assert rule.recorded[-1] == [2999.0, 1.0]  # where it ended


def test_curves_are_those_of_each_learner() -> None:
    made = [
        Trial(0, {}, {}, "ok", loss=1.0, results={"learner": "trees", "curve": [[1, 2]]}),
        Trial(1, {}, {}, "pruned", results={"learner": "encoder", "curve": [[1, 3]]}),
        Trial(2, {}, {}, "ok", loss=1.0, results={"learner": "linear"}),
    ]
    assert curves(made) == {"trees": [[[1, 2]]], "encoder": [[[1, 3]]]}


def number_in(bracket: int) -> int:
    return next(number for number in range(200) if bracket_of(number) == bracket)


def steps(level: float) -> list[tuple[float, float]]:
    """A training of 81 steps that comes nearer to `level`."""
    return [(float(at), level - 1 / at) for at in range(1, 82)]


@pytest.mark.parametrize(("bracket", "rungs"), [(3, [3, 9, 27]), (2, [9, 27]), (1, [27]), (0, [])])
def test_at_each_rung_of_its_bracket_a_third_goes_on(bracket: int, rungs: list[int]) -> None:
    earlier = [steps(level) for level in range(5)]
    for level, ends in ((9.0, False), (3.5, False), (2.5, True), (-1.0, True)):  # 3.5 is the second of six
        watched = Watched(below_rung, number_in(bracket), earlier)
        reached = 0.0
        try:
            for at, value in steps(level):
                reached = at
                watched(at, value)
        except Pruned as pruned:
            assert ends and reached == rungs[0] and "of 6, and 2 go on" in pruned.cause
        else:
            assert not ends or not rungs


def test_a_rung_counts_only_those_that_came_as_far() -> None:
    earlier = [steps(level) for level in range(3)] + [steps(level)[:9] for level in range(5, 15)]
    watched = Watched(below_rung, number_in(1), earlier)
    for at, value in steps(-5.0):
        watched(at, value)  # three came to step 27: too few to compare with


def test_brackets_with_early_rungs_have_more_trials() -> None:
    drawn = np.bincount([bracket_of(number) for number in range(4900)], minlength=4)
    assert drawn / 100 == pytest.approx([4, 6, 12, 27], rel=0.2)


def test_the_signed_rank_test_is_scipys() -> None:
    random = np.random.default_rng(1)
    for count in (4, 5, 8, 12):
        differences = random.normal(-0.3, 1, count).tolist()
        exact = wilcoxon(differences, alternative="less", method="exact").pvalue
        assert signed_rank_p(differences) == pytest.approx(exact, abs=1e-12)
    assert signed_rank_p([-1.0, -1.0, 1.0, 0.0]) == 4 / 8  # equal ones share a rank: all but those with two above 0
    assert signed_rank_p([]) == signed_rank_p([0.0, 0.0]) == 1.0


def test_folds_end_a_trial_that_is_worse_in_all_of_four() -> None:
    best = [0.9, 0.8, 0.85, 0.7, 0.9, 0.9]
    assert worse_over_folds([0.1, 0.1, 0.1], best) == ""
    assert "4 folds are worse" in worse_over_folds([0.1, 0.1, 0.1, 0.1], best)
    assert worse_over_folds([0.95, 0.1, 0.1, 0.1], best) == ""
    made = [
        Trial(0, {}, {}, "ok", loss=0.5, results={"folds": [1, 2]}),
        Trial(1, {}, {}, "ok", loss=0.4, results={"folds": [3, 4]}),
        Trial(2, {}, {}, "pruned", results={"folds": [9]}),
    ]
    assert best_folds(made) == [3, 4] and best_folds(made[:1]) == [1, 2] and best_folds([]) == []
