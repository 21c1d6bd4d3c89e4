"""The inputs that weigh most, as an answer shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import written


def strongest(
    names: Sequence[str], values: Sequence[Any], weights: NDArray[np.float64], most: int
) -> list[dict[str, Any]]:
    """The `most` inputs with the largest weights on either side of 0, the largest first; none that weighs nothing."""
    order = np.argsort(-np.abs(weights), kind="stable")[:most]
    return [
        {"input": names[at], "value": _shown(values[at]), "weight": float(weights[at])} for at in order if weights[at]
    ]


def _shown(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return None
    return value if isinstance(value, str | int | float | bool) else written(value)
