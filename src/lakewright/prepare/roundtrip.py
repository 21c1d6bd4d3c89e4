"""Whether each row comes back: its text means something to the encoding, and its truth can be predicted.

Tasks and encodings say what is lost (`Shortfall`); here it is counted by split while the rows are encoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakewright.encodings import Shortfall
from lakewright.errors import DataError
from lakewright.prepare.facts import as_text
from lakewright.prepare.quality import EXAMPLES, Rows, cut
from lakewright.prepare.splits import SPLITS, TRAIN
from lakewright.records import Finding
from lakewright.tasks import whole_text

if TYPE_CHECKING:
    from lakewright.tasks import Row

HELD = 0.995  # of train's, by the size that a remedy names
NEARLY_ALL = 0.95  # of train's: more leaves nothing to learn


@dataclass
class _Total:
    shortfall: Shortfall  # a batch's, for its words
    lost: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SPLITS), np.int64))
    of: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SPLITS), np.int64))
    needed: Counter[int] = field(default_factory=Counter)  # in train
    first: list[str] = field(default_factory=list)

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        shares: npt.NDArray[np.float64] = self.lost / np.maximum(self.of, 1)
        return shares

    @property
    def cause(self) -> str:
        shares = [f"{_percent(share)} in {name}" for name, share in zip(SPLITS, self.shares, strict=True)]
        lost, of = int(self.lost.sum()), int(self.of.sum())
        return f"{lost:,} of {of:,} {self.shortfall.noun}s {self.shortfall.cause} ({', '.join(shares)})"

    @property
    def remedy(self) -> str:
        return self.shortfall.remedy.format(needed=self._size())

    def _size(self) -> int:
        """The least that holds HELD of train's; all of them, where no more than the rest are lost."""
        kept = int(self.of[SPLITS.index(TRAIN)]) - self.needed.total()
        sizes = sorted(self.needed)
        held = accumulate((self.needed[size] for size in sizes), initial=kept)
        wanted = HELD * self.of[SPLITS.index(TRAIN)]
        if not sizes or kept >= wanted:
            return max(sizes, default=0)
        return next(size for size, count in zip([0, *sizes], held, strict=True) if count >= wanted)


@dataclass
class RoundTrip:
    """Shown all rows that stay, a batch at a time and once each, it says in the end what does not come back."""

    totals: dict[tuple[str, str], _Total] = field(default_factory=dict)

    def see(
        self,
        numbers: Rows,
        split: npt.NDArray[np.int8],
        rows: Sequence[Row],
        truths: Sequence[Any],
        shortfalls: Iterable[Shortfall],
    ) -> None:
        """`numbers` are the rows' in the table, `split` their places in SPLITS."""
        for shortfall in shortfalls:
            total = self.totals.setdefault((shortfall.name, shortfall.cause), _Total(shortfall))
            for counted, more in ((total.lost, shortfall.lost), (total.of, shortfall.of)):
                np.add.at(counted, split, more)
            places = np.flatnonzero(shortfall.lost)
            for place in places[: EXAMPLES - len(total.first)]:
                shown = f"{cut(as_text(truths[place]))!r}: {cut(whole_text(rows[place]))}"
                total.first.append(f"row {numbers[place]}: {shown}")
            if shortfall.needed is not None:
                train = places[split[places] == SPLITS.index(TRAIN)]
                total.needed.update(shortfall.needed[train].tolist())

    def check(self) -> None:
        """Raises DataError where nearly nothing of train can be learned; to be called when all rows were seen."""
        for total in self.totals.values():
            if total.shortfall.vital and total.shares[SPLITS.index(TRAIN)] >= NEARLY_ALL:
                shown = "\n  ".join(total.first)
                raise DataError(f"there is nothing to learn: {total.cause}:\n  {shown}", total.remedy)

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
    """No share is shown as none or as all that is not."""
    shown = f"{share:.1%}"
    return "< 0.1%" if share and shown == "0.0%" else "> 99.9%" if share < 1 and shown == "100.0%" else shown
