"""The values of an input in many rows as one array, however they came: a list with None, an array already, or
Coded texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.coded import Coded


def numbers(values: Any) -> NDArray[np.float64]:
    """[rows], NaN without a number."""
    return np.asarray(values, dtype=np.float64)


def categories(values: Any) -> NDArray[np.object_]:
    """[rows], texts; None without one."""
    return np.asarray(values, dtype=object)


def category_counts(values: Any) -> Mapping[str | None, int]:
    """How many rows have each text, and None those without one; in the order of the first rows."""
    return values.counts if isinstance(values, Coded) else Counter(categories(values).tolist())


def without_category(values: Any) -> NDArray[np.bool_]:
    """[rows], where a row has no text."""
    return values.is_missing if isinstance(values, Coded) else absent(categories(values))


def times(values: Any) -> NDArray[np.datetime64]:
    """[rows], in UTC, to the microsecond; NaT without a time."""
    if isinstance(values, np.ndarray):
        return values.astype("datetime64[us]")
    # numpy has no zones
    in_utc = [time.replace(tzinfo=None) if isinstance(time, datetime) else time for time in values]
    return np.array(in_utc, dtype="datetime64[us]")


def absent(texts: NDArray[np.object_]) -> NDArray[np.bool_]:
    """[rows], where a row has none."""
    return np.fromiter((text is None for text in texts), np.bool_, len(texts))
