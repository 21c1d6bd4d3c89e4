"""Which share a model gets in a mean, and how sure the mean may be: held to sums that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright.learning.blending import LEAST_SHARE, Calibration, calibrated, log_losses, shares, squared_errors
from lakewright.model.tasks.classification import softmax

DRAW = np.random.default_rng(3)
ROWS = 2000
TRUTH = (DRAW.random(ROWS) < 0.3).astype(np.int64)
EQUAL = np.ones(ROWS)


def told(sharpness: float, seed: int) -> np.ndarray:
    """Probabilities of two classes that tell the truth in part: the larger the sharpness, the better."""
    margin = sharpness * (2 * TRUTH - 1) + np.random.default_rng(seed).normal(size=ROWS)
    return softmax(np.stack([np.zeros(ROWS), margin], axis=1))


def test_two_with_errors_of_their_own_share_and_one_of_chance_has_nothing() -> None:
    members = [told(1.5, 1), told(1.5, 2), np.tile([0.7, 0.3], (ROWS, 1))]
    share = shares(members, TRUTH, EQUAL)
    assert share.sum() == pytest.approx(1) and share[2] == 0 and abs(share[0] - share[1]) < 0.3
    together = np.tensordot(share, np.stack(members), axes=1)
    alone = [np.mean(log_losses(each, TRUTH)) for each in members]
    assert np.mean(log_losses(together, TRUTH)) < min(alone)


def test_equal_members_are_one_and_a_number_is_shared_by_its_squared_error() -> None:
    one = told(1.0, 1)
    assert shares([one, one.copy()], TRUTH, EQUAL).tolist() == [1.0, 0.0]
    truth = DRAW.normal(size=ROWS)
    noise = [DRAW.normal(scale=scale, size=ROWS) for scale in (1.0, 1.0, 30.0)]
    members = [(truth + each)[:, None] for each in noise]
    share = shares(members, truth, EQUAL)
    assert share[2] == 0 and share[:2].min() > 0.35
    assert np.mean(squared_errors(np.tensordot(share, np.stack(members), axes=1), truth)) < 0.6


def test_a_share_that_costs_more_than_it_brings_is_taken_out() -> None:
    good, bad = told(2.0, 1), told(0.3, 2)
    share = shares([good, bad], TRUTH, EQUAL)
    assert share[1] == 0 or share[1] >= LEAST_SHARE


@settings(max_examples=20)
@given(st.floats(0.3, 3.0), st.floats(-1.0, 1.0))
def test_platt_undoes_what_was_done_to_two_classes(slope: float, shift: float) -> None:
    margin = np.random.default_rng(5).normal(scale=2, size=20_000)
    truth = (np.random.default_rng(6).random(20_000) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    twisted = softmax(np.stack([np.zeros_like(margin), (margin - shift) / slope], axis=1))
    fitted = calibrated(twisted, truth, np.ones(20_000))
    assert fitted.slope == pytest.approx(slope, rel=0.06) and fitted.shift[1] == pytest.approx(shift, abs=0.08)
    before, after = log_losses(twisted, truth).mean(), log_losses(softmax(fitted.logits(twisted)), truth).mean()
    assert after <= before + 1e-6


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_temperature_is_found_again_among_four_classes(temperature: float) -> None:
    draw = np.random.default_rng(7)
    logits = draw.normal(scale=1.5, size=(20_000, 4))
    truth = np.array([draw.choice(4, p=row) for row in softmax(logits)])
    fitted = calibrated(softmax(logits * temperature), truth, np.ones(20_000))
    assert fitted.slope == pytest.approx(1 / temperature, rel=0.05) and not fitted.shift.any()


def test_rows_that_are_all_right_do_not_make_the_slope_endless() -> None:
    truth = np.array([0, 1] * 50)
    surely = np.where(truth[:, None] == [0, 1], 0.99, 0.01)
    fitted = calibrated(surely, truth, np.ones(100))
    assert 0 < fitted.slope < 3 and np.isfinite(fitted.logits(surely)).all()
    never = calibrated(np.where(truth[:, None] == [0, 1], 1.0, 0.0), truth, np.ones(100))
    assert np.isfinite(never.logits(np.array([[1.0, 0.0]]))).all()


def test_what_says_the_opposite_is_left_as_it_is() -> None:
    assert calibrated(told(-2.0, 1), TRUTH, EQUAL).slope == Calibration(1.0, np.zeros(2)).slope
