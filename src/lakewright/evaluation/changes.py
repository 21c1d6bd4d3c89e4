"""Predictions of the same rows over and over, each time with other values of one input: what importance and dependence
are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Prediction, Row

Predict = Callable[[Sequence[Row]], Sequence[Prediction]]
OfPlaces = Callable[[NDArray[np.int64]], Sequence[Prediction]]
Changed = Callable[[str, Sequence[Any]], OfPlaces]
"""(input, values) → (places [times · rows]) → predictions [times · rows]: of the rows, one time after another, where
the value of the input is in each row `values[place]`."""


def by_rows(predict: Predict, rows: Sequence[Row]) -> Changed:
    """From a mapping for each row. A predictor's own (`model/changed.py`) gives the same in less time."""

    def changed(name: str, values: Sequence[Any]) -> OfPlaces:
        def predicted(places: NDArray[np.int64]) -> Sequence[Prediction]:
            return predict([{**rows[at % len(rows)], name: values[place]} for at, place in enumerate(places.tolist())])

        return predicted

    return changed
