"""The Wisconsin diagnostic breast cancer set (Street, Wolberg & Mangasarian 1993) as scikit-learn ships it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def rows() -> Iterator[dict[str, Any]]:
    """One dict a tumour: its diagnosis, and mean, error and worst value of ten measurements."""
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    names = [name.replace(" ", "_") for name in loaded.feature_names]
    for measurements, target in zip(loaded.data.tolist(), loaded.target.tolist(), strict=True):
        diagnosis = str(loaded.target_names[target])
        yield {"diagnosis": diagnosis, **dict(zip(names, measurements, strict=True))}
