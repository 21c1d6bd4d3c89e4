"""Numbers to predict that are lost on a learner: float32 makes them equal, or a few of them hide all others."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.quality import Noticed, Rows, noticed_rows, truth_name, with_truth
from lakewright.errors import DataError
from lakewright.settings.sections import Columns

FAR = 1e3  # ranges of the middle half of the values, from the median: far beyond what measured quantities do
SAMPLE = 16_384  # numbers of a column
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


@dataclass
class Spread:
    """A column's least and greatest number, and a sample of all: each row whose number is a multiple of `stride`."""

    least: float = math.inf
    greatest: float = -math.inf
    rows: int = 0
    stride: int = 1
    sample: Numbers = field(default_factory=lambda: np.empty(0))

    def add(self, values: Numbers) -> None:
        """The next rows; NaN without a number."""
        finite = values[np.isfinite(values)]
        if len(finite):
            self.least, self.greatest = min(self.least, float(finite.min())), max(self.greatest, float(finite.max()))
        self.sample = np.concatenate([self.sample, values[-self.rows % self.stride :: self.stride]])
        self.rows += len(values)
        while len(self.sample) > SAMPLE:
            self.sample, self.stride = self.sample[::2], 2 * self.stride

    @property
    def outlier(self) -> tuple[float, float] | None:
        """The number that is furthest from the median, if it is FAR away, and the median."""
        known = self.sample[np.isfinite(self.sample)]
        if not len(known):
            return None
        with np.errstate(over="ignore"):  # of numbers at both ends of the range
            middle = float(np.median(known))
            width = usual_width(known, middle)
        furthest = max(self.least, self.greatest, key=lambda each: abs(each - middle))
        return (furthest, middle) if width and abs(furthest - middle) > FAR * width else None


def usual_width(numbers: Numbers, middle: float) -> float:
    """The range of the middle half of the numbers; where that is 0, since most are equal, the median distance of the
    others from them; 0 if all are equal."""
    low, high = np.quantile(numbers, [0.25, 0.75])
    if high > low:
        return float(high - low)
    others = numbers[numbers != middle]
    return float(np.median(np.abs(others - middle))) if len(others) else 0.0
