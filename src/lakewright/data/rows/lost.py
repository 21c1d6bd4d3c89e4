"""Losses: inputs that the network cannot read, truths that it cannot predict.

Tasks and steps report them for a batch (`Shortfall`); here they are counted by split and become findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.quality import EXAMPLES, Rows
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.data.rows.splits import SPLITS
from lakewright.errors import DataError
from lakewright.records import Finding

COVERAGE = 0.995  # the share of train's that the size in a remedy covers


NEARLY_ALL = 0.95  # of train's: a greater loss leaves nothing to learn


@dataclass
class _Total:
    shortfall: Shortfall  # one batch's, for its wording
    splits: Sequence[str]
    lost: npt.NDArray[np.int64] = field(init=False)  # by split
    of: npt.NDArray[np.int64] = field(init=False)
    needed: Counter[int] = field(default_factory=Counter)  # in the first split
    first: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lost, self.of = np.zeros((2, len(self.splits)), np.int64)

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        shares: npt.NDArray[np.float64] = self.lost / np.maximum(self.of, 1)
        return shares

    @property
    def cause(self) -> str:
        shares = [f"{_percent(share)} in {name}" for name, share in zip(self.splits, self.shares, strict=True)]
        lost, of = int(self.lost.sum()), int(self.of.sum())
        return f"{lost:,} of {of:,} {self.shortfall.noun}s {self.shortfall.cause} ({', '.join(shares)})"

    @property
    def remedy(self) -> str:
        return self.shortfall.remedy.format(needed=self._size())

    def _size(self) -> int:
        """The least size that covers COVERAGE of train's, or all of them if COVERAGE is reached already."""
        covered = int(self.of[0]) - self.needed.total()
        required = COVERAGE * self.of[0] if covered < COVERAGE * self.of[0] else self.of[0]
        for size, count in sorted(self.needed.items()):
            covered += count
            if covered >= required:
                return size
        return 0


@dataclass
class Shortfalls:
    """The losses of rows that are added a batch at a time."""

    splits: Sequence[str] = SPLITS  # train first
    totals: dict[tuple[str, str], _Total] = field(default_factory=dict)

    def add(
        self,
        rows: Rows,
        split: npt.NDArray[np.integer],
        shortfalls: Iterable[Shortfall],
        show: Callable[[int], str],
    ) -> None:
        """`rows` are their numbers in the table, `split` indexes `splits`; `show` describes the i-th of them."""
        for shortfall in shortfalls:
            total = self.totals.setdefault((shortfall.name, shortfall.cause), _Total(shortfall, self.splits))
            np.add.at(total.lost, split, shortfall.lost)
            np.add.at(total.of, split, shortfall.of)
            places = np.flatnonzero(shortfall.lost)
            total.first += [f"row {rows[i]}: {show(i)}" for i in places[: EXAMPLES - len(total.first)].tolist()]
            if shortfall.needed is not None:
                total.needed.update(shortfall.needed[places[split[places] == 0]].tolist())

    def merge(self, later: Shortfalls) -> None:
        """Adds those of rows that come after these."""
        for key, other in later.totals.items():
            total = self.totals.setdefault(key, _Total(other.shortfall, self.splits))
            total.lost += other.lost
            total.of += other.of
            total.needed.update(other.needed)
            total.first += other.first[: EXAMPLES - len(total.first)]

    def check(self) -> None:
        """Raises DataError if nearly nothing of train can be learned; call it after all rows."""
        for total in self.totals.values():
            if total.shortfall.vital and total.shares[0] >= NEARLY_ALL:
                examples = "\n  ".join(total.first)
                raise DataError(f"there is nothing to learn: {total.cause}:\n  {examples}", total.remedy)

    def findings(self) -> list[Finding]:
        return [
            Finding(
                name=total.shortfall.name,
                count=int(total.lost.sum()),
                detail=f"{total.cause}: {total.remedy}.",
                rows=total.first,
            )
            for total in self.totals.values()
            if total.lost.any() and total.shares.max() >= total.shortfall.least
        ]


def _percent(share: float) -> str:
    """Only a share of 0 shows as 0 %, and only a share of 1 as 100 %."""
    text = f"{share:.1%}"
    return "< 0.1%" if share and text == "0.0%" else "> 99.9%" if share < 1 and text == "100.0%" else text
