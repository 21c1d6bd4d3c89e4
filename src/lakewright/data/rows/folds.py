"""The fold of each row, for whatever learns from the truth and is itself learned from: what a row of train shows a
learner was learned from the other folds.

A row's fold follows from the row and the seed alone, so that rows which are appended later move no other. Rows of one
group share a fold, as they share a split; without a group, rows of equal content do (their texts and all other inputs,
normalised as for duplicates): a copy in another fold would show a row its own truth. So the key is the content and not
the record id, which differs between two copies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.keys import draw_keys
from lakewright.data.rows.splits import NO_GROUP

FOLDS = 5  # of the steps of a recipe
PARTS = 840  # divided by every whole number to 8: the part of a row modulo k is its fold of k


def parts_of(
    contents: npt.NDArray[np.uint64], groups: npt.NDArray[np.int64] | None, seed: int
) -> npt.NDArray[np.int16]:
    """(rows,): 0 to PARTS - 1. `contents` are digests of the rows' inputs, `groups` of their groups, NO_GROUP for a row
    without one."""
    units = contents.astype(np.int64)
    if groups is not None:
        units = np.where(groups == NO_GROUP, units, groups)
    return (draw_keys(units, seed, "fold") % np.uint64(PARTS)).astype(np.int16)
