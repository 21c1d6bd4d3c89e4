"""Clarify's measures of predictions: by hand, beside a plain count of the same rows, and what their intervals cover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright.data.profile.bias import conditional_disparity
from lakewright.evaluation import bias, fliptest
from lakewright.evaluation.bootstrap import bounds
from lakewright.evaluation.fliptest import Fliptest, Side
from lakewright.records import FacetMeasures

# facet, truth, predicted; of the rest 4 TP, 1 FN, 1 FP, 4 TN, of the facet 1 TP, 2 FN, 1 FP, 4 TN
ROWS = [
    *[(0, 1, 1)] * 4, (0, 1, 0), (0, 0, 1), *[(0, 0, 0)] * 4,
    (1, 1, 1), *[(1, 1, 0)] * 2, (1, 0, 1), *[(1, 0, 0)] * 4,
]  # fmt: skip


def measured(rows: Sequence[tuple[int, int, int]], **more: Any) -> FacetMeasures:
    facet, truth, predicted = np.array(rows, dtype=bool).T
    settings = {"resamples": 200, "seed": 5, **more}
    return bias.measure_facet("sex", "f", facet=facet, truth=truth, predicted=predicted, **settings)


def test_every_measure_by_hand() -> None:
    found = measured(ROWS)
    by_hand = {
        "DPPL": 5 / 10 - 2 / 8,
        "DI": (2 / 8) / (5 / 10),
        "DCAcc": 5 / 5 - 3 / 2,
        "DCR": 5 / 6 - 5 / 5,
        "SD": 4 / 5 - 4 / 5,
        "RD": 4 / 5 - 1 / 3,
        "DAR": 4 / 5 - 1 / 2,
        "DRR": 4 / 6 - 4 / 5,
        "AD": 8 / 10 - 5 / 8,
        "TE": 2 / 1 - 1 / 1,
        # 3 benefits of 0, 13 of 1, 2 of 2: their mean 17 / 18, of their squares 21 / 18
        "GE": (21 / 18 / (17 / 18) ** 2 - 1) / 2,
    }
    assert {name: metric.value for name, metric in found.measures.items()} == pytest.approx(by_hand)
    assert (found.rows, found.rest_rows, found.undefined) == (8, 10, {})
    assert all(metric.low <= metric.value <= metric.high for metric in found.measures.values())


def test_within_groups_by_hand() -> None:
    """In group 0 the facet has 3 of the 4 rows refused and 1 of the 4 accepted; in group 1 half of both; group 2 is
    accepted whole, and one row has no group."""
    rows = [(0, 0), *[(1, 0)] * 3, *[(0, 1)] * 3, (1, 1), (0, 0), (1, 0), (0, 1), (1, 1), (0, 1), (1, 1), (1, 0)]
    group = np.array([0] * 8 + [1] * 4 + [2] * 2 + [-1])
    facet, predicted = np.array(rows, dtype=bool).T
    found = bias.measure_facet(
        "sex", "f", facet=facet, truth=predicted, predicted=predicted, group=group, resamples=200, seed=1
    )
    assert found.measures["CDDPL"].value == pytest.approx((8 * (3 / 4 - 1 / 4) + 4 * 0) / 12)
    assert bias.one_sided(group, predicted) == (1, 2)
    alone = bias.measure_facet(
        "sex", "f", facet=facet, truth=predicted, predicted=predicted, group=np.arange(15), resamples=200, seed=1
    )
    assert "CDDPL" not in alone.measures and "no group has both" in alone.undefined["CDDPL"]
    nobody = bias.measure_facet(
        "sex", "f", facet=facet, truth=predicted, predicted=predicted, group=np.full(15, -1), resamples=200, seed=1
    )
    assert "no group has both" in nobody.undefined["CDDPL"]


def test_a_perfect_model_errs_for_nobody() -> None:
    found = measured([(facet, truth, truth) for facet, truth, _ in ROWS])
    assert {name: found.measures[name].value for name in ("DCAcc", "DCR", "SD", "RD", "DAR", "DRR", "AD", "GE")} == (
        dict.fromkeys(("DCAcc", "DCR", "SD", "RD", "DAR", "DRR", "AD", "GE"), 0)
    )
    assert found.undefined == {
        "TE": "not defined: no rows of the rest and of the facet are negative and predicted positive"
    }


def test_a_model_that_accepts_nobody_is_not_shown_as_fair() -> None:
    found = measured([(facet, truth, 0) for facet, truth, _ in ROWS])
    assert found.measures["DPPL"].value == 0 and found.measures["RD"].value == 0
    nobody = "no rows of the rest and of the facet are predicted positive"
    assert {name: found.undefined[name] for name in ("DI", "DAR", "DCAcc")} == {
        "DI": f"not defined: {nobody}",
        "DAR": f"not defined: {nobody}",
        "DCAcc": f"not defined: {nobody}",  # infinity less infinity
    }
    assert measured([(0, 1, 0), (1, 1, 0)]).undefined["GE"].startswith("not defined: all rows are positive")


def test_a_number_by_0_is_infinite() -> None:
    only_facet = measured([(0, 0, 0), (0, 1, 0), (1, 1, 1), (1, 0, 0)])
    assert only_facet.undefined["DI"] == "infinite: no rows of the rest are predicted positive"
    assert only_facet.undefined["DCAcc"] == "infinite: no rows of the rest are predicted positive"
    assert only_facet.undefined["DAR"] == "not defined: no rows of the rest are predicted positive"
    assert bounds(np.array([1.0, 2.0, math.inf, math.inf]), 0.9) == (1.0, math.inf)


@pytest.mark.parametrize(("value", "name"), [(0, "SD"), (1, "RD")])
def test_one_class_only_leaves_the_other_undefined(value: int, name: str) -> None:
    found = measured([(facet, value, predicted) for facet, _, predicted in ROWS])
    assert name in found.measures and {"SD": "RD", "RD": "SD"}[name] in found.undefined


def plainly(rows: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """The same measures, one row after the other, as Clarify's pages have them."""

    def having(side: int, truth: int | None, predicted: int | None) -> int:
        return sum(f == side and truth in (None, y) and predicted in (None, p) for f, y, p in rows)

    def ratio(top: float, bottom: float) -> float:
        if bottom:
            return top / bottom
        return math.nan if top == 0 else math.inf

    a, d = 0, 1
    benefits = [p - y + 1 for _, y, p in rows]
    mean = sum(benefits) / len(rows)

    def both(value: Any) -> float:
        return float(value(a) - value(d))

    return {
        "DPPL": both(lambda s: ratio(having(s, None, 1), having(s, None, None))),
        "DI": ratio(ratio(having(d, None, 1), having(d, None, None)), ratio(having(a, None, 1), having(a, None, None))),
        "DCAcc": both(lambda s: ratio(having(s, 1, None), having(s, None, 1))),
        "DCR": -both(lambda s: ratio(having(s, 0, None), having(s, None, 0))),
        "SD": -both(lambda s: ratio(having(s, 0, 0), having(s, 0, None))),
        "RD": both(lambda s: ratio(having(s, 1, 1), having(s, 1, None))),
        "DAR": both(lambda s: ratio(having(s, 1, 1), having(s, None, 1))),
        "DRR": -both(lambda s: ratio(having(s, 0, 0), having(s, None, 0))),
        "AD": both(lambda s: ratio(having(s, 1, 1) + having(s, 0, 0), having(s, None, None))),
        "TE": -both(lambda s: ratio(having(s, 1, 0), having(s, 0, 1))),
        "GE": sum((each / mean) ** 2 - 1 for each in benefits) / (2 * len(rows)) if mean else math.nan,
    }


BIT = st.integers(0, 1)


@given(st.lists(st.tuples(BIT, BIT, BIT), min_size=2, max_size=30).filter(lambda rows: len({r[0] for r in rows}) == 2))
def test_measures_are_those_of_a_plain_count(rows: list[tuple[int, int, int]]) -> None:
    facet, truth, predicted = np.array(rows, dtype=bool).T
    found = {name: float(value) for name, value in bias.measures(bias.count(facet, truth, predicted)).items()}
    assert found == pytest.approx(plainly(rows), nan_ok=True, abs=1e-12)
    measured_ones = measured(rows, resamples=100)
    defined = {name for name, value in found.items() if math.isfinite(value)}
    assert set(measured_ones.measures) == defined and set(measured_ones.undefined) == found.keys() - defined


@given(st.lists(st.tuples(st.integers(0, 3), BIT, BIT), min_size=1, max_size=30))
def test_conditional_disparity_is_that_of_a_plain_count(rows: list[tuple[int, int, int]]) -> None:
    group, facet, predicted = np.array(rows).T
    total, weight = 0.0, 0
    for each in set(group.tolist()):
        refused = [f for g, f, p in rows if g == each and not p]
        accepted = [f for g, f, p in rows if g == each and p]
        if refused and accepted:
            size = len(refused) + len(accepted)
            weight += size
            total += size * (sum(refused) / len(refused) - sum(accepted) / len(accepted))
    value, _ = conditional_disparity(bias.count_groups(group, facet.astype(bool), predicted.astype(bool)))
    assert float(value) == pytest.approx(total / weight if weight else math.nan, nan_ok=True, abs=1e-12)


def test_intervals_cover_the_truth() -> None:
    """95 % intervals over samples of a population whose measures are known; so few samples vary by about 3 %."""
    draw = np.random.default_rng(11)
    shares = np.array([[[0.22, 0.08], [0.06, 0.24]], [[0.15, 0.03], [0.09, 0.13]]])  # of facet, truth, predicted
    groups = np.stack([shares * 0.6, shares[:, ::-1] * 0.4])  # [groups, facet, truth, predicted]
    true = {name: float(value) for name, value in bias.measures(groups.sum(axis=0)).items()}
    true["CDDPL"] = float(conditional_disparity(groups.sum(axis=2))[0])
    covered = dict.fromkeys(true, 0)
    for seed in range(200):
        counts = draw.multinomial(600, groups.ravel()).reshape(groups.shape)
        group, facet, truth, predicted = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
        found = bias.measure_facet(
            "sex", "f", facet=facet.astype(bool), truth=truth.astype(bool), predicted=predicted.astype(bool),
            group=group, resamples=300, seed=seed,
        )  # fmt: skip
        for name, value in true.items():
            covered[name] += found.measures[name].low <= value <= found.measures[name].high
    assert all(0.90 * 200 <= times <= 199 for times in covered.values()), covered


# the fliptest

INPUTS: dict[str, Any] = {"size": "number", "place": "category", "made": "time"}


def side(rows: list[dict[str, Any]], predicted: Any) -> Side:
    fields = [("size", pa.float64()), ("place", pa.string()), ("made", pa.timestamp("us", "UTC"))]
    return Side(pa.chunked_array([rows], pa.struct(fields)), np.asarray(predicted, bool))


def row(size: float | None, place: str | None = "x", day: int = 1) -> dict[str, Any]:
    return {"size": size, "place": place, "made": datetime(2024, 1, day, tzinfo=UTC)}


def test_flips_by_hand() -> None:
    """Of the rest, large rows are accepted and small ones refused; four of the facet are treated otherwise."""
    rest = side([row(i / 10) for i in range(20)], np.arange(20) >= 10)
    sizes, predicted = [1.9, 1.8, 1.7, 0.0, 1.6], [False, False, False, True, True]
    found = fliptest.fliptest(side([row(size) for size in sizes], np.array(predicted)), rest, INPUTS)
    assert found.flips.tolist() == [1, 1, 1, -1, 0] and found.others == 20
    measured_ones = measured(ROWS, fliptest=Fliptest(found.flips, 20))
    assert measured_ones.measures["FT"].value == pytest.approx((3 - 1) / 5)
    assert measured_ones.fliptest_rows == (5, 20)


def test_few_others_are_asked_one_by_one_and_an_even_vote_flips_nothing() -> None:
    rest = side([row(0.0), row(1.0), row(1.0)], np.array([False, True, False]))
    facet = side([row(0.1), row(1.0), row(1.0)], np.array([True, True, False]))
    assert fliptest.fliptest(facet, rest, INPUTS).flips.tolist() == [-1, 0, 0]  # the two at 1.0 are equally near


VALUE = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0, 5.0]))
ROW = st.tuples(VALUE, st.sampled_from(["x", "y", None]), st.integers(1, 3), st.booleans())


@settings(max_examples=50)
@given(st.lists(ROW, min_size=1, max_size=6), st.lists(ROW, min_size=1, max_size=14), st.randoms())
def test_flips_are_those_of_every_pair_in_any_order(facet: list[Any], rest: list[Any], order: Any) -> None:
    def of_rows(values: list[Any]) -> Side:
        return side([row(*each[:3]) for each in values], [each[3] for each in values])

    def scaled(values: list[float | None]) -> list[float | None]:
        known = np.array([value for value in values if value is not None])
        spread = known.std() if len(known) else 0.0
        return [None if value is None else (value - known.mean()) / (spread or 1.0) for value in values]

    both = [*facet, *rest]
    sizes, days = scaled([each[0] for each in both]), scaled([float(each[2]) for each in both])
    expected = []
    for at, (_, place, _, own) in enumerate(facet):
        far = []
        for other in range(len(facet), len(both)):
            ours, theirs = sizes[at], sizes[other]
            distance = (days[at] - days[other]) ** 2 + (place != both[other][1])
            distance += (ours or 0.0) ** 2 * (theirs is None) + (theirs or 0.0) ** 2 * (ours is None)
            distance += (ours is None) != (theirs is None)
            distance += 0 if ours is None or theirs is None else (ours - theirs) ** 2
            far.append((distance, 1 if both[other][3] else -1))
        last = sorted(distance for distance, _ in far)[(5 if len(rest) >= 10 else 1) - 1]
        votes = sum(vote for distance, vote in far if distance <= last + 1e-9)
        expected.append(1 if votes > 0 and not own else -1 if votes < 0 and own else 0)
    found = fliptest.fliptest(of_rows(facet), of_rows(rest), INPUTS).flips.tolist()
    assert found == expected
    order.shuffle(rest)
    assert fliptest.fliptest(of_rows(facet), of_rows(rest), INPUTS).flips.tolist() == found


def test_the_sample_depends_on_ids_alone_and_is_bounded() -> None:
    ids = [f"r{i}" for i in range(9000)]
    facet = np.arange(9000) % 3 == 0
    ours, theirs = fliptest.chosen(fliptest.by_digest(ids), facet, ~facet)
    assert (len(ours), len(theirs)) == (fliptest.FACET_ROWS, fliptest.REST_ROWS)
    assert facet[ours].all() and not facet[theirs].any()
    order = np.random.default_rng(0).permutation(9000)
    again, _ = fliptest.chosen(fliptest.by_digest([ids[at] for at in order]), facet[order], ~facet[order])
    assert {ids[at] for at in ours} == {ids[order[at]] for at in again}


def test_inputs_that_can_be_compared() -> None:
    inputs: dict[str, Any] = {"text": "optional text", "sex": "category", "size": "number", "made": "time"}
    assert fliptest.compared_inputs(inputs, "sex") == ["size", "made"]
