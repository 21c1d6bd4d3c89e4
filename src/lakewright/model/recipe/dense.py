"""The step `dense`: numbers and categories as numbers that a network can read, beside a text or without one.

A number is scaled to mean 0 and deviation 1 over train (over its middle 98 %, so that one absurd value does not shrink
all others to nothing) and clipped at FURTHEST deviations; a missing one is the mean, and if train has missing ones, a
column marks them. A category is one column for each of its most frequent values in train, all of them 0 for any other
value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Values, Wanted, sql
from lakewright.model.recipe.categories import Category
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import category_counts, numbers
from lakewright.settings.sections import StepSettings

FURTHEST = 10.0  # deviations from the mean


@dataclass(frozen=True)
class Number:
    name: str
    mean: float
    deviation: float
    says_missing: bool


class DenseSettings(StepSettings):
    step: Literal["dense"] = "dense"
    max_categories: int = Field(
        default=100,
        ge=1,
        description="values of each category that count, the most frequent in train; others are unknown",
    )


@dataclass(frozen=True)
class Dense:
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    name: ClassVar[str] = "dense"
    settings: ClassVar[type[StepSettings]] = DenseSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: DenseSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Keeps numbers until the last batch (quantiles need all of them), 8 bytes each, and the counts of categories'
        values; in the end, the `max_categories` most frequent of each."""
        parts: dict[str, list[NDArray[np.float64]]] = {n: [] for n, kind in inputs.items() if kind == "number"}
        counts: dict[str, Counter[str | None]] = {n: Counter() for n, kind in inputs.items() if kind == "category"}
        for values in train:
            for name in parts:
                parts[name].append(numbers(values[name]))
            for name in counts:
                counts[name].update(category_counts(values[name]))
        fitted = cls(
            tuple(_number(name, np.concatenate(each)) for name, each in parts.items()),
            tuple(Category.of_counts(name, counts[name], settings.max_categories) for name in counts),
        )
        return fitted, None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(
            tuple(Number(**number) for number in described["numbers"]),
            tuple(map(Category.open, described["categories"])),
        )

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(n.name for n in self.numbers) + tuple(c.name for c in self.categories)

    def neutral(self) -> dict[str, Any]:
        """The mean of a number, the first value of a category."""
        return {number.name: round(number.mean, 3) for number in self.numbers} | {
            category.name: next(iter(category.values), "") for category in self.categories
        }

    @property
    def columns(self) -> tuple[Column, ...]:
        columns = []
        for number in self.numbers:
            columns += [Column(number.name, number.name)]
            columns += [Column(f"{number.name} is missing", number.name)] * number.says_missing
        named = [Column(f"{each.name} = {value}", each.name) for each in self.categories for value in each.values]
        return (*columns, *named)

    def sql(self) -> dict[str, str]:
        expressions = {}
        for number in self.numbers:
            scaled = f"({sql.name(number.name)} - {sql.number(number.mean)}) / {sql.number(number.deviation)}"
            clipped = f"least(greatest({scaled}, {sql.number(-FURTHEST)}), {sql.number(FURTHEST)})"
            expressions[number.name] = f"(CASE WHEN {sql.lacks(number.name)} THEN 0 ELSE {clipped} END)::FLOAT"
            if number.says_missing:
                expressions[f"{number.name} is missing"] = f"{sql.lacks(number.name)}::FLOAT"
        for category in self.categories:
            for value in category.values:
                alike = f"{sql.name(category.name)} IS NOT DISTINCT FROM {sql.text(value)}"
                expressions[f"{category.name} = {value}"] = f"({alike})::FLOAT"
        return expressions

    @property
    def width(self) -> int:
        return sum(1 + number.says_missing for number in self.numbers) + sum(len(c.values) for c in self.categories)

    def encode(self, values: Values) -> Encoded:
        return Encoded.of_columns(self._columns(values))

    def _columns(self, values: Values) -> NDArray[np.float32]:
        """float32 [rows, width]"""
        rows = len(values[self.inputs[0]])
        encoded = np.zeros((rows, self.width), dtype=np.float32)
        at = 0
        for number in self.numbers:
            read = numbers(values[number.name])
            missing = np.isnan(read)
            with np.errstate(over="ignore"):  # values that overflow are clipped
                scaled = (read - number.mean) / number.deviation
            encoded[:, at] = np.where(missing, 0.0, np.clip(scaled, -FURTHEST, FURTHEST))
            at += 1
            if number.says_missing:
                encoded[:, at] = missing
                at += 1
        for category in self.categories:
            places = category.places(values[category.name])
            known = np.flatnonzero(places >= 0)
            encoded[known, at + places[known]] = 1.0
            at += len(category.values)
        return encoded

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [category.shortfall(values[category.name], self.name) for category in self.categories]


def _number(name: str, values: NDArray[np.float64]) -> Number:
    known = values[~np.isnan(values)]
    mean, deviation = 0.0, 0.0
    if len(known):
        usual = np.clip(known, *np.quantile(known, [0.01, 0.99], method="nearest"))
        for counted in (usual, known):  # a nearly constant number differs only in its rarest values
            with np.errstate(over="ignore", invalid="ignore"):
                mean, deviation = float(counted.mean()), float(counted.std())
            if deviation > 0:
                break
    if not 0 < deviation < np.inf:
        mean, deviation = (mean if np.isfinite(mean) else 0.0), 1.0
    return Number(name, mean, deviation, len(known) < len(values))
