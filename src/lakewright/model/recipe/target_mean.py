"""The step `target_mean`: a category as numbers, one for each number of the truth: how far the truth's mean among
train's rows with the value lies from the mean of train. It learns from the truth, so train is encoded out of fold.

Of a class the truth is 1 for the rows of the class, else 0; a number is counted in its deviations over train. The mean
of a value is drawn towards that of train as if `smoothing` more rows had it: (sum + m · mean) / (n + m), the estimate
by a weight λ(n) = n / (n + m) of Micci-Barreca 2001 (A preprocessing scheme for high-cardinality categorical
attributes). A missing value is a value of its own. A value that train does not have is 0, the mean of train: the same
in every fold, so that no number shows which fold a row was in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Truth, Values, Wanted, checked, sql, truth_of
from lakewright.model.recipe.categories import Category
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import absent, categories
from lakewright.settings.sections import StepSettings


class TargetMeanSettings(StepSettings):
    step: Literal["target_mean"] = "target_mean"
    smoothing: float = Field(
        default=20.0, ge=0, description="rows with train's mean that are counted beside those of each value"
    )
    max_categories: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="values of each category whose mean is kept, the most frequent in train; others count as train's",
    )


@dataclass(frozen=True, eq=False)
class Means:
    category: Category
    means: NDArray[np.float64]  # [values, numbers of the truth]
    missing: NDArray[np.float64]  # [numbers of the truth], of the rows without a value


@dataclass(frozen=True, eq=False)
class TargetMean:
    names: tuple[str, ...]  # of the truth's numbers
    every: tuple[Means, ...]  # one for each input

    name: ClassVar[str] = "target_mean"
    settings: ClassVar[type[StepSettings]] = TargetMeanSettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"
    learns_truth: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: TargetMeanSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the truth's numbers, and 8 bytes a row for each category. Sums do not depend on the rows' order."""
        truth = truth_of(wanted, cls.name)
        numbers = [np.empty((0, len(truth.names)))]
        places: dict[str, dict[str | None, int]] = {name: {} for name in inputs}
        parts: dict[str, list[NDArray[np.int64]]] = {name: [np.empty(0, dtype=np.int64)] for name in inputs}
        for values, batch in zip(train, truth.batches(), strict=True):
            numbers.append(batch)
            for name, of in places.items():
                texts = categories(values[name])
                parts[name].append(np.fromiter((of.setdefault(text, len(of)) for text in texts), np.int64, len(texts)))
        scaled = _scaled(np.concatenate(numbers), truth)
        fitted = [_means(name, places[name], np.concatenate(part), scaled, settings) for name, part in parts.items()]
        return cls(truth.names, tuple(fitted)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        names = checked.names(described, "names")
        if not names:
            raise ValueError("names is empty")
        return cls(names, tuple(_open(each, len(names)) for each in checked.mappings(described, "categories")))

    def save(self, folder: Path) -> dict[str, Any]:
        described = [
            {
                "name": each.category.name,
                "rarer": each.category.rarer,
                "missing": each.missing.tolist(),
                "means": dict(zip(each.category.values, each.means.tolist(), strict=True)),
            }
            for each in self.every
        ]
        return {"names": list(self.names), "categories": described}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.category.name for each in self.every)

    @property
    def columns(self) -> tuple[Column, ...]:
        inputs = ((each.category.name, name) for each in self.every for name in self.names)
        return tuple(Column(f"{input}: mean of {name or 'the truth'}", input) for input, name in inputs)

    def sql(self) -> dict[str, str]:
        expressions = []
        for each in self.every:
            column = each.category.name
            for at in range(len(self.names)):
                known = dict(zip(each.category.values, each.means[:, at].tolist(), strict=True))
                looked_up = f"coalesce({sql.looked_up(column, known)}, {sql.number(0.0)})"
                lacking = f"CASE WHEN {sql.name(column)} IS NULL THEN {sql.number(each.missing[at])}"
                expressions.append(f"({lacking} ELSE {looked_up} END)::FLOAT")
        return {column.name: each for column, each in zip(self.columns, expressions, strict=True)}

    def neutral(self) -> dict[str, Any]:
        return {each.category.name: next(iter(each.category.values), "") for each in self.every}

    def encode(self, values: Values) -> Encoded:
        parts = []
        for each, table in zip(self.every, self._tables, strict=True):
            texts = values[each.category.name]
            places = each.category.places(texts)
            known = len(each.category.values)  # after the known values: any other one, then none
            places = np.where(places >= 0, places, np.where(absent(categories(texts)), known + 1, known))
            parts.append(table[places])
        return Encoded.of_columns(np.hstack(parts))

    @cached_property
    def _tables(self) -> tuple[NDArray[np.float32], ...]:
        """[values + 2, numbers of the truth] for each input."""
        zero = np.zeros((1, len(self.names)))
        return tuple(np.vstack([each.means, zero, each.missing[None]]).astype(np.float32) for each in self.every)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [each.category.shortfall(values[each.category.name], self.name) for each in self.every]


def _scaled(numbers: NDArray[np.float64], truth: Truth) -> NDArray[np.float64]:
    """[rows, numbers], each less its mean; a number also in its deviations. The sums are exact before they are
    rounded once (Shewchuk 1997, by math.fsum), so they do not depend on the rows' order."""
    rows = max(len(numbers), 1)
    centered = numbers - [math.fsum(column) / rows for column in numbers.T]
    if truth.kind != "number":
        return centered
    return centered / (math.sqrt(math.fsum(centered[:, 0] ** 2) / rows) or 1.0)


def _means(
    name: str,
    places: Mapping[str | None, int],
    place: NDArray[np.int64],
    scaled: NDArray[np.float64],
    settings: TargetMeanSettings,
) -> Means:
    """Of each value (`places`), whose rows are those with its `place` [rows]; `scaled` [rows, numbers] has the mean 0,
    so that the rows of the smoothing add nothing to a sum."""
    order, rows = np.argsort(place, kind="stable"), np.bincount(place, minlength=len(places))
    ends = np.concatenate([[0], np.cumsum(rows)])
    of = {value: order[start:end] for (value, _), (start, end) in zip(places.items(), pairwise(ends), strict=True)}

    def mean(value: str | None) -> list[float]:
        own = scaled[of[value]]
        return [math.fsum(column) / (len(own) + settings.smoothing) for column in own.T]

    counts = Counter({value: len(own) for value, own in sorted(of.items(), key=lambda each: each[0] or "")})
    category = Category.of_counts(name, counts, settings.max_categories)
    means = np.array([mean(value) for value in category.values]).reshape(len(category.values), scaled.shape[1])
    return Means(category, means, np.array(mean(None)) if None in of else np.zeros(scaled.shape[1]))


def _open(described: Mapping[str, Any], width: int) -> Means:
    means = checked.mapping(described, "means")
    values = tuple(means)
    if list(values) != sorted(values):
        raise ValueError("means does not have its values in order")
    numbers = [checked.numbers(means, value) for value in values]
    missing = checked.numbers(described, "missing")
    if any(len(each) != width for each in (*numbers, missing)):
        raise ValueError(f"means or missing does not have {width} numbers for a value")
    category = Category(checked.text(described, "name"), values, checked.whole(described, "rarer", 0, 2**53))
    return Means(category, np.array(numbers).reshape(len(values), width), np.array(missing))
