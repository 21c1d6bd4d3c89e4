"""When a training is ended early."""

from __future__ import annotations

import pytest

from lakewright.tuning.pruning import MedianRule, Pruned, curves, reached_at
from lakewright.tuning.trials import Trial

CURVES = [[(1, value - 1), (2, value), (3, value - 0.5)] for value in (1.0, 2.0, 3.0, 4.0, 5.0)]


def test_the_best_so_far_counts_and_a_training_that_ended_before_does_not() -> None:
    assert reached_at(CURVES[0], 1) == 0.0
    assert reached_at(CURVES[0], 3) == 1.0  # it was better at 2
    assert reached_at(CURVES[0], 4) is None
    assert reached_at([], 1) is None


@pytest.mark.parametrize(("value", "ends"), [(2.9, True), (3.0, False), (3.1, False)])
def test_below_the_median_it_ends(value: float, ends: bool) -> None:
    rule = MedianRule(CURVES)
    rule(1, 2.0)  # the median at 1
    if not ends:
        rule(2, value)
        return
    with pytest.raises(Pruned, match=r"ended at 2: 2\.9, and half of 5 earlier trainings had reached 3"):
        rule(2, value)
    assert rule.recorded == [[1.0, 2.0], [2.0, 2.9]]


def test_with_few_earlier_ones_or_none_to_prune_it_goes_on() -> None:
    for rule in (MedianRule(CURVES[:3]), MedianRule(CURVES, prunes=False), MedianRule([])):
        rule(1, -100.0)
        rule(2, -100.0)
    late = MedianRule(CURVES)
    late(7, -100.0)  # none came so far


def test_a_long_curve_is_recorded_in_few_points() -> None:
    rule = MedianRule([])
    for at in range(3000):
        rule(at, 1.0)
    assert len(rule.recorded) <= 200 and rule.recorded[0] == [0.0, 1.0]


def test_curves_are_those_of_each_learner() -> None:
    made = [
        Trial(0, {}, {}, "ok", loss=1.0, results={"learner": "trees", "curve": [[1, 2]]}),
        Trial(1, {}, {}, "pruned", results={"learner": "encoder", "curve": [[1, 3]]}),
        Trial(2, {}, {}, "ok", loss=1.0, results={"learner": "linear"}),
    ]
    assert curves(made) == {"trees": [[[1, 2]]], "encoder": [[[1, 3]]]}
