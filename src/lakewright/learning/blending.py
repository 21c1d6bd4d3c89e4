"""Predictions of several models as one: which share each gets, and how sure the mean may be.

Of classes, the mean of the members' probabilities; of a number, of their values. The shares are chosen greedily: in
each round the member joins (again) whose addition makes the loss smallest, and the best of all rounds stays (Caruana,
Niculescu-Mizil, Crew & Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004). The loss is the log loss or
the squared error, whatever metric a user reads: choosing by a metric of ranks finds chance on a few thousand rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 40
LEAST = 1e-15  # a probability of 0 has no logarithm
CLOSE = 1e-7  # a gain below this is none
LEAST_SHARE = 0.05  # a smaller one costs more, in size and time, than it brings
STEPS, SURE = 50, 1e-10  # of Newton's method: at most, and when it ends

Losses = NDArray[np.float64]  # [rows]


@dataclass(frozen=True)
class Calibration:
    """ln p → slope · ln p + shift, the logits of the classes."""

    slope: float
    shift: NDArray[np.float64]  # [classes]

    def logits(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """[rows, classes] of the same."""
        return self.slope * np.log(np.maximum(probabilities, LEAST)) + self.shift


def log_losses(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> Losses:
    """Of probabilities [rows, classes] and the true classes' places [rows]."""
    right = probabilities[np.arange(len(truth)), truth]
    losses: Losses = -np.log(np.maximum(right, LEAST))
    return losses


def squared_errors(values: NDArray[np.float64], truth: NDArray[np.float64]) -> Losses:
    """Of values [rows, 1] and the true ones [rows]."""
    errors: Losses = (values[:, 0] - truth) ** 2
    return errors


def shares(members: Sequence[NDArray[np.float64]], truth: NDArray[np.generic], weights: Losses) -> Losses:
    """[members] The share of each in the mean, 0 for those that do not help; the sum is 1.

    `members` are predictions of rows that none of them learned from: [rows, classes] probabilities with `truth` the
    places of the classes, or [rows, 1] values with `truth` the numbers. `weights` [rows] are the rows' in the loss.
    """
    stay = np.arange(len(members))
    while True:
        chosen = _greedy([members[place] for place in stay.tolist()], truth, weights)
        enough = chosen >= LEAST_SHARE
        if enough.all() or not enough.any():
            break
        stay = stay[enough]
    result = np.zeros(len(members))
    result[stay] = chosen
    return result


def _greedy(members: Sequence[NDArray[np.float64]], truth: NDArray[np.generic], weights: Losses) -> Losses:
    losses_of = log_losses if np.issubdtype(truth.dtype, np.integer) else squared_errors
    total, times = np.zeros_like(members[0]), np.zeros(len(members))
    best, chosen = np.inf, times
    for count in range(1, ROUNDS + 1):
        losses = [np.average(losses_of((total + each) / count, truth), weights=weights) for each in members]  # type: ignore[arg-type]
        joined = int(np.argmin(losses))  # of equal ones the first
        total = total + members[joined]
        times = times + (np.arange(len(members)) == joined)
        if losses[joined] < best - CLOSE * abs(best if np.isfinite(best) else 1.0):
            best, chosen = float(losses[joined]), times
    result: Losses = chosen / chosen.sum()
    return result


def calibrated(probabilities: NDArray[np.float64], truth: NDArray[np.int64], weights: Losses) -> Calibration:
    """The slope that makes the log loss smallest, and of two classes also a shift: the scaling of Platt (1999,
    "Probabilistic Outputs for Support Vector Machines") of two, temperature scaling of more (Guo et al. 2017).

    `probabilities` [rows, classes] are of rows that no model learned from. As Platt does, the truth is taken for a
    little less than sure, so that rows that are all right do not make the slope endless.
    """
    classes = probabilities.shape[1]
    if classes == 2:
        logs = np.log(np.maximum(probabilities, LEAST))
        counts = np.bincount(truth, weights, minlength=2)
        target = np.where(truth == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
        slope, shift = _platt(logs[:, 1] - logs[:, 0], target, weights)
        return Calibration(slope, np.array([0.0, shift]))
    return Calibration(temperature(probabilities, truth, weights), np.zeros(classes))


def _platt(margin: NDArray[np.float64], target: NDArray[np.float64], weights: Losses) -> tuple[float, float]:
    """Logistic regression of `target` [rows] by one number, by Newton's method; a step that does not help is halved."""
    design = np.stack([margin, np.ones_like(margin)], axis=1)

    def loss(fitted: NDArray[np.float64]) -> float:
        logits = design @ fitted
        return float(weights @ (np.logaddexp(0, logits) - target * logits))

    fitted = np.array([1.0, 0.0])
    lowest = loss(fitted)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ fitted, -500, 500)))
        gradient = design.T @ (weights * (p - target))
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-9 * weights.sum() * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (lower := loss(fitted - step)) > lowest and np.abs(step).max() > SURE:
            step = step / 2
        if not lower <= lowest:
            break
        fitted, lowest = fitted - step, lower
        if np.abs(step).max() < SURE:
            break
    return (float(fitted[0]), float(fitted[1])) if fitted[0] > 0 else (1.0, 0.0)


def temperature(probabilities: NDArray[np.float64], truth: NDArray[np.int64], weights: Losses) -> float:
    """The slope, by golden-section search of its logarithm: the loss is convex in the slope."""
    logs = np.log(np.maximum(probabilities, LEAST))
    doubt = 1 / (len(truth) + 2)  # Platt's: the share of the truth that the other classes get

    def loss(power: float) -> float:
        logits = logs * np.exp(power)
        largest = logits.max(axis=1, keepdims=True)
        sums = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
        right = logits[np.arange(len(truth)), truth]
        others = (logits.sum(axis=1) - right) / max(1, logits.shape[1] - 1)
        return float(np.average(sums - (1 - doubt) * right - doubt * others, weights=weights))

    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return float(np.exp((low + high) / 2))
