"""Rows without a label beside few that have one: of whose class a head is sure, it learns from as if that were the
label (pseudo-labels, Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method").

How sure it has to be follows from predictions of labelled rows by heads that did not learn from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from lakewright.learning.blending import temperature
from lakewright.learning.learners import Training
from lakewright.learning.learners.encoder.probe import Probe
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.model.tasks.classification import softmax

RIGHT = 0.9  # of the labelled rows of at least a confidence, so that it is sure
LEAST = 10  # labelled rows of at least this confidence: of fewer, nine in ten is chance


@dataclass(frozen=True)
class Sure:
    """When a head is sure of a row's class."""

    slope: float  # the logits are multiplied by it, so that a confidence is the share of rows that are right
    threshold: float | None  # the least confidence that is sure; None: none is

    @classmethod
    def by(cls, logits: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float32]) -> Self:
        """From the logits [rows, classes] of rows of known classes [rows], each by a head that did not learn from the
        row: the slope of the least log loss, and the lowest confidence from which on RIGHT of the rows are right."""
        slope = temperature(softmax(logits), classes, weights.astype(np.float64))
        probabilities = softmax(slope * logits)
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
        order = np.argsort(-confidence, kind="stable")
        confidence, count = confidence[order], np.arange(1, len(order) + 1)
        enough = (np.cumsum(right[order]) >= RIGHT * count) & (count >= LEAST)
        enough[:-1] &= confidence[1:] < confidence[:-1]  # all rows of one confidence, or none
        ends = np.flatnonzero(enough)
        return cls(slope, float(confidence[ends[-1]]) if len(ends) else None)

    def of(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of whose class a head of these logits [rows, classes] is sure, and the classes."""
        probabilities = softmax(self.slope * logits)
        least = np.inf if self.threshold is None else self.threshold
        rows = np.flatnonzero(probabilities.max(axis=1) >= least)
        return rows, probabilities[rows].argmax(axis=1)


def probe_beside(
    training: Training[EncoderSettings],
    ridge: bool,
    labelled: tuple[NDArray[np.float32], torch.Tensor, NDArray[np.float32]],
    sure: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> tuple[Probe, float]:
    """Heads that learn from both, and by what a penalty is multiplied that means the same as for the labelled rows
    alone: it stands beside a mean of losses, and of more rows each counts less.

    `labelled`: features [rows, width], targets [rows, 1], weights [rows]; `sure`: features [rows, width] and classes
    [rows] of rows without a label, which weigh as much as the labelled ones, one by one and together at most.
    """
    features, targets, weights = labelled
    more, classes = sure
    each = weights.mean() * min(1.0, len(features) / max(1, len(more)))
    total = weights.sum()
    probe = Probe(
        torch.from_numpy(np.concatenate([features, more])),
        torch.cat([targets, torch.from_numpy(classes)[:, None].to(targets.dtype)]),
        torch.from_numpy(np.concatenate([weights, np.full(len(more), each, weights.dtype)])),
        training,
        training.settings.loss_of(training.task),
        training.task.outputs,
        ridge,
    )
    return probe, float(total / (total + each * len(more)))
