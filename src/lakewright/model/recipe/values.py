"""The values of an input in many rows as one array, however they came: a list with None, an array already, or
Coded texts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(values: Any) -> NDArray[np.float64]:
    """[rows], NaN without a number."""
    return np.asarray(values, dtype=np.float64)


def categories(values: Any) -> NDArray[np.object_]:
    """[rows], texts; None without one."""
    return np.asarray(values, dtype=object)


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
