"""Losses: inputs that mean nothing to the network, truths that cannot be predicted.

Tasks and steps report them for a batch (`Shortfall`); here they are counted by split and become findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shortfall:
    """What a model cannot read, or cannot predict, of some rows, however well it learns: prepare makes a finding of it
    where anything is lost. Every batch of rows has the same shortfalls, in the same words."""

    name: str  # of the finding
    noun: str  # what is counted
    cause: str  # a verb and the rest: "are longer than …"
    remedy: str  # `{needed}` is the least size that holds 99.5 % of train's
    lost: NDArray[np.int64]  # [rows]; how many of the row's are lost
    of: NDArray[np.int64]  # [rows]; how many the row has
    needed: NDArray[np.int64] | None = None  # [rows]; what would hold the row's, where it is lost
    least: float = 0.0  # the share of a split that makes a finding
    vital: bool = False  # there is nothing to learn where nearly all of train's are lost
