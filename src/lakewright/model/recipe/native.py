"""The step `native`: numbers and categories as an ensemble of trees reads them.

A number is itself as float32 (beyond its range, the greatest or least), NaN where it is missing: a tree splits by
order, and learns where missing ones go. It cannot learn that where train lacks none: there a missing number is the
median of train. A category is the place of its value among those of train, NaN where it is missing or where train has
no such value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
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

GREATEST = float(np.finfo(np.float32).max)


class NativeSettings(StepSettings):
    step: Literal["native"] = "native"
    max_categories: int = Field(
        default=10_000,
        ge=1,
        description="values of each category that count, the most frequent in train; others are unknown",
    )


@dataclass(frozen=True)
class Number:
    name: str
    fill: float | None  # in place of a missing one; None: it stays missing, as some are in train


@dataclass(frozen=True)
class Native:
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    name: ClassVar[str] = "native"
    settings: ClassVar[type[StepSettings]] = NativeSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: NativeSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the counts of the categories' values, and numbers until one of a column is missing."""
        counts: dict[str, Counter[str | None]] = {n: Counter() for n, kind in inputs.items() if kind == "category"}
        medians = {name: Median() for name, kind in inputs.items() if kind == "number"}
        for values in train:
            for name, counter in counts.items():
                counter.update(category_counts(values[name]))
            for name, median in medians.items():
                median.add(numbers(values[name]))
        fitted = cls(
            tuple(Number(name, median.of_all) for name, median in medians.items()),
            tuple(Category.of_counts(name, counter, settings.max_categories) for name, counter in counts.items()),
        )
        return fitted, None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        read = tuple(Number(each["name"], each["fill"]) for each in described["numbers"])
        return cls(read, tuple(map(Category.open, described["categories"])))

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*(number.name for number in self.numbers), *(category.name for category in self.categories))

    @property
    def columns(self) -> tuple[Column, ...]:
        numbers = tuple(Column(number.name, number.name) for number in self.numbers)
        return (*numbers, *(Column(each.name, each.name, each.values) for each in self.categories))

    def sql(self) -> dict[str, str]:
        nan = f"{sql.number(np.nan)}::FLOAT"
        expressions = {number.name: _float(number) for number in self.numbers}
        for category in self.categories:
            values = f"[{', '.join(map(sql.text, category.values))}]::VARCHAR[]"
            place = f"list_position({values}, {sql.name(category.name)}) - 1"
            expressions[category.name] = f"coalesce(({place})::FLOAT, {nan})"
        return expressions

    def neutral(self) -> dict[str, Any]:
        """The median where train lacks none, else 0; the first value of a category."""
        values = {category.name: next(iter(category.values), "") for category in self.categories}
        return {number.name: round(number.fill or 0.0, 3) for number in self.numbers} | values

    def encode(self, values: Values) -> Encoded:
        rows, width = len(values[self.inputs[0]]), len(self.numbers)
        encoded = np.empty((rows, width + len(self.categories)), dtype=np.float32)
        if width:
            read = np.stack([numbers(values[number.name]) for number in self.numbers], axis=1)
            np.clip(read, -GREATEST, GREATEST, out=read)
            encoded[:, :width] = np.where(np.isnan(read), self._fills, read)
        for at, category in enumerate(self.categories, start=width):
            places = category.places(values[category.name])
            encoded[:, at] = np.where(places < 0, np.nan, places)
        return Encoded.of_columns(encoded)

    @cached_property
    def _fills(self) -> NDArray[np.float64]:
        """[numbers], NaN where a missing one stays missing."""
        return np.array([np.nan if number.fill is None else number.fill for number in self.numbers])

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [category.shortfall(values[category.name], self.name) for category in self.categories]


class Median:
    """Of numbers that come in parts, while none is missing. Holds them, 4 bytes each."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.float32]] | None = []

    def add(self, values: NDArray[np.float64]) -> None:
        if self.parts is None:
            return
        if np.isnan(values).any():
            self.parts = None
        else:
            self.parts.append(_clipped(values).astype(np.float32))

    @property
    def of_all(self) -> float | None:
        """None if some are missing."""
        return float(np.median(np.concatenate(self.parts))) if self.parts else None


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(values, -GREATEST, GREATEST)


def _float(number: Number) -> str:
    """As float32."""
    read, greatest = sql.name(number.name), sql.number(GREATEST)
    clipped = f"least(greatest({read}, -{greatest}), {greatest})"
    fill = sql.number(np.nan if number.fill is None else number.fill)
    return f"(CASE WHEN {sql.lacks(number.name)} THEN {fill} ELSE {clipped} END)::FLOAT"
