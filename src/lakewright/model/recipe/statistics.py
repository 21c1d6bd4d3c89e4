"""Numbers and categories of train, gathered in one pass, and what steps compute of them.

Only finite numbers count: recipe.json holds no others, and one infinite value would hide all the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError
from lakewright.model.recipe import Values, summaries
from lakewright.model.recipe.values import category_counts, numbers

Numbers = NDArray[np.float64]


def gathered(
    train: Iterable[Values], inputs: Mapping[str, Kind]
) -> tuple[dict[str, Numbers], dict[str, Counter[str | None]]]:
    """Of each number its values in train, 8 bytes each, NaN where it is missing; of each category how often it has each
    of its values, None for rows without one."""
    columns: dict[str, list[Numbers]] = {name: [np.empty(0)] for name, kind in inputs.items() if kind == "number"}
    counts: dict[str, Counter[str | None]] = {n: Counter() for n, kind in inputs.items() if kind == "category"}
    for of_numbers, of_categories in summaries(train, partial(_gathered, tuple(columns), tuple(counts))):
        for name, each in of_numbers.items():
            columns[name].append(each)
        for name, count in of_categories.items():
            counts[name].update(count)
    return {name: np.concatenate(each) for name, each in columns.items()}, counts


def _gathered(
    of_numbers: tuple[str, ...], of_categories: tuple[str, ...], train: Iterable[Values]
) -> tuple[dict[str, Numbers], dict[str, Counter[str | None]]]:
    columns: dict[str, list[Numbers]] = {name: [np.empty(0)] for name in of_numbers}
    counts: dict[str, Counter[str | None]] = {name: Counter() for name in of_categories}
    for values in train:
        for name in columns:
            columns[name].append(numbers(values[name]))
        for name in counts:
            counts[name].update(category_counts(values[name]))
    return {name: np.concatenate(each) for name, each in columns.items()}, counts


def finite(values: Numbers, name: str, step: str) -> Numbers:
    """The finite ones, at least one. Raises ProjectError if there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        raise no_value(name, step)
    return known


def no_value(name: str, step: str) -> ProjectError:
    return ProjectError(
        f"prepare.recipe: the step {step} learns from the input {name!r}, and no row of train has a value of it",
        f"leave {name!r} out of data.columns, or name other inputs of the step: inputs: [NAME, …]",
    )


def mean(known: Numbers) -> float:
    """Finite, also where the sum is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        plain = float(known.mean())
    return plain if np.isfinite(plain) else float((known / len(known)).sum())


def deviation(known: Numbers) -> float:
    """The population's standard deviation; finite, also where the squares are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        plain = float(known.std())
    if np.isfinite(plain):
        return plain
    largest = float(np.abs(known).max())
    return largest * float((known / largest).std())


def median(known: Numbers) -> float:
    """The mean of the two middle values where their number is even."""
    ordered = np.sort(known)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return low / 2 + high / 2 if low != high else low


def quantile(known: Numbers, share: float) -> float:
    """A value of train: the least that at least this share of train does not exceed."""
    return float(np.quantile(known, share, method="inverted_cdf"))


def most_frequent(counts: Mapping[str | None, int]) -> str | None:
    """The category's most frequent value, of several the first in the alphabet; None if there is none."""
    known = [(-count, value) for value, count in counts.items() if value is not None]
    return min(known)[1] if known else None


def usual(train: Iterable[Values], inputs: Mapping[str, Kind]) -> dict[str, Any]:
    """A common value of each input, of train's first batch: the median, the most frequent value, a time."""
    values: dict[str, Any] = {}
    columns, counts = gathered(islice(train, 1), inputs)
    for name, kind in inputs.items():
        if kind == "number":
            known = columns[name][np.isfinite(columns[name])]
            values[name] = median(known) if len(known) else 0.0
        else:
            values[name] = (most_frequent(counts[name]) or "") if kind == "category" else "2026-01-31T14:00:00"
    return values
