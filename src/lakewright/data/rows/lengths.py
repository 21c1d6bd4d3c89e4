"""The lengths of encoded rows, in tokens, and a length for the model's input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakewright.errors import DataError


def summary(lengths: npt.NDArray[np.integer]) -> dict[str, int]:
    """p50, p90, p99 and max, in tokens. pN is the smallest length that at least N percent of the rows do not exceed."""
    _require_rows(lengths)
    quantiles = {f"p{percent}": _percentile(lengths, percent) for percent in (50, 90, 99)}
    return {**quantiles, "max": int(lengths.max())}


def suggest_max_length(lengths: npt.NDArray[np.integer], model_max: int, cap: int = 256) -> int:
    """The smallest multiple of 8 that holds 99.5 % of the rows whole, at most `cap` and the model's limit.

    `lengths` are train's, in tokens, special tokens included. Without the half percent a few outliers would set the
    cost of every long batch; multiples of 8 fill a GPU's matrix units (NVIDIA, Train With Mixed Precision). `cap`
    limits attention's cost, which grows with the square of the length; `prepare.recipe.tokens.max_length` sets more.
    """
    _require_rows(lengths)
    return min(-(-_percentile(lengths, 99.5) // 8) * 8, cap, model_max)


def histogram(lengths: npt.NDArray[np.integer], bins: int = 40) -> list[tuple[int, int, int]]:
    """(shortest, longest, rows) of each bin, ends included, in tokens: at most `bins`, all of one whole width."""
    _require_rows(lengths)
    shortest, longest = int(lengths.min()), int(lengths.max())
    width = -(-(longest - shortest + 1) // bins)
    counts = np.bincount((lengths - shortest) // width).tolist()
    lows = [shortest + width * i for i in range(len(counts))]
    return [(low, low + width - 1, count) for low, count in zip(lows, counts, strict=True)]


def _percentile(lengths: npt.NDArray[np.integer], percent: float) -> int:
    return int(np.percentile(lengths, percent, method="inverted_cdf"))


def _require_rows(lengths: npt.NDArray[np.integer]) -> None:
    if not len(lengths):
        raise DataError("there are no rows to measure", "check that train has rows after cleaning")
