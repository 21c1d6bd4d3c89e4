"""Numbers to predict that are lost on a learner: float32 makes them equal, or a few of them hide all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.quality import Noticed, Rows, noticed_rows, truth_name, with_truth
from lakewright.errors import DataError
from lakewright.settings.sections import Columns

FAR = 1e3  # ranges of the middle half of the values, from the median: of 23 real tables, no column lies there at 1e2
COARSE = 1e-3  # of that range: a step of float32 beside which differences are lost

Numbers = npt.NDArray[np.float64]


def check_numbers(numbers: Numbers, *, columns: Columns, rows: Rows) -> list[Noticed]:
    """The findings `target_outliers` and `rounded_target` on the truths of the rows. Raises DataError if float32 has
    one number for all of them."""
    if not len(numbers) or numbers.min() == numbers.max():
        return []
    name, single = truth_name(columns), numbers.astype(np.float32)
    different, kept = len(np.unique(numbers)), len(np.unique(single))
    remedy = "take their least value away, or scale them: data.derive, or in SQL"
    if kept == 1:
        raise DataError(
            f"column {name} holds {different:,} different numbers from {float(numbers.min())!r} to "
            f"{float(numbers.max())!r}, and float32, in which learners compute, has one for all of them: there is "
            "nothing to learn",
            remedy,
        )
    middle = float(np.median(numbers))
    width = usual_width(numbers, middle)
    noticed = noticed_rows(
        "target_outliers",
        rows[np.abs(numbers - middle) > FAR * width],
        f"whose number in column {name} is more than {FAR:,.0f} times as far from the median, {middle:g}, as usual "
        f"(the middle half of the numbers spans {width:g}): a squared error sees little else, and so do rmse and r2. "
        "Correct the numbers or leave these rows out at the source; or set train.loss: l1 or huber, where the learner "
        "has it.",
        with_truth,
    )
    changed = single.astype(np.float64) != numbers
    if kept < different / 2 and float(np.spacing(np.float32(abs(middle)))) > COARSE * width:
        noticed += noticed_rows(
            "rounded_target",
            rows[changed],
            f"whose number in column {name} changes in float32, in which learners compute: of {different:,} different "
            f"numbers, {kept:,} are left. {remedy[0].upper()}{remedy[1:]}.",
            with_truth,
        )
    return noticed


def usual_width(numbers: Numbers, middle: float) -> float:
    """The range of the middle half of the numbers; where that is 0, since most are equal, the median distance of the
    others from them."""
    low, high = np.quantile(numbers, [0.25, 0.75])
    if high > low:
        return float(high - low)
    return float(np.median(np.abs(numbers[numbers != middle] - middle)))
