"""Losses: inputs that the network cannot read, truths that it cannot predict.

Tasks and steps report them for a batch of rows; `lost.py` counts them by split and makes findings of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shortfall:
    """What a model cannot read or predict in some rows, however well it learns; prepare makes a finding of it if
    anything is lost. Every batch of rows has the same shortfalls, in the same words."""

    name: str  # of the finding
    noun: str  # what is counted
    cause: str  # a verb and the rest: "are longer than …"
    remedy: str  # `{needed}` is the least size that holds 99.5 % of train's
    lost: NDArray[np.int64]  # [rows]; the number that the row loses
    of: NDArray[np.int64]  # [rows]; the number that the row has
    needed: NDArray[np.int64] | None = None  # [rows]; the size that would hold the row's, if it is lost
    least: float = 0.0  # the least share of a split that makes a finding
    vital: bool = False  # if nearly all of train's are lost, there is nothing to learn
