"""The step `native`: numbers and categories as an ensemble of trees reads them.

A number is itself as float32, NaN where it is missing: a tree splits by order, and learns where missing ones go. A
category is the place of its value among those of train, NaN where it is missing or where train has no such value.
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
from lakewright.model.recipe.values import numbers
from lakewright.settings.sections import StepSettings


class NativeSettings(StepSettings):
    step: Literal["native"] = "native"
    max_categories: int = Field(
        default=10_000,
        ge=1,
        description="values of each category that count, the most frequent in train; others are unknown",
    )


@dataclass(frozen=True)
class Native:
    numbers: tuple[str, ...]
    categories: tuple[Category, ...]

    name: ClassVar[str] = "native"
    settings: ClassVar[type[StepSettings]] = NativeSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: NativeSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the counts of the categories' values."""
        counts: dict[str, Counter[str | None]] = {n: Counter() for n, kind in inputs.items() if kind == "category"}
        if counts:
            for values in train:
                for name, counter in counts.items():
                    counter.update(values[name])
        fitted = cls(
            tuple(name for name, kind in inputs.items() if kind == "number"),
            tuple(Category.of_counts(name, counter, settings.max_categories) for name, counter in counts.items()),
        )
        return fitted, None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(tuple(described["numbers"]), tuple(map(Category.open, described["categories"])))

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.numbers, *(category.name for category in self.categories))

    @property
    def columns(self) -> tuple[Column, ...]:
        numbers = tuple(Column(name, name) for name in self.numbers)
        return (*numbers, *(Column(each.name, each.name, each.values) for each in self.categories))

    def sql(self) -> dict[str, str]:
        nan = f"{sql.number(np.nan)}::FLOAT"
        expressions = {name: f"coalesce({_float(name)}, {nan})" for name in self.numbers}
        for category in self.categories:
            values = f"[{', '.join(map(sql.text, category.values))}]::VARCHAR[]"
            place = f"list_position({values}, {sql.name(category.name)}) - 1"
            expressions[category.name] = f"coalesce(({place})::FLOAT, {nan})"
        return expressions

    def neutral(self) -> dict[str, Any]:
        """No number, and the first value of a category."""
        values = {category.name: next(iter(category.values), "") for category in self.categories}
        return dict.fromkeys(self.numbers, 0.0) | values

    def encode(self, values: Values) -> Encoded:
        rows = len(values[self.inputs[0]])
        encoded = np.empty((rows, len(self.numbers) + len(self.categories)), dtype=np.float32)
        with np.errstate(over="ignore"):  # beyond float32's range a number is infinite, and beyond every threshold
            for at, name in enumerate(self.numbers):
                encoded[:, at] = numbers(values[name])
        for at, category in enumerate(self.categories, start=len(self.numbers)):
            places = category.places(values[category.name])
            encoded[:, at] = np.where(places < 0, np.nan, places)
        return Encoded.of_columns(encoded)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [category.shortfall(values[category.name], self.name) for category in self.categories]


OVERFLOW = (2 - 2.0**-24) * 2.0**127  # from here on, a double rounds to infinity as float32


def _float(column: str) -> str:
    """As float32, infinite beyond its range, where DuckDB's own cast fails."""
    read, inf = sql.name(column), sql.number(np.inf)
    beyond = f"WHEN abs({read}) >= {sql.number(OVERFLOW)} AND NOT isnan({read}) THEN (sign({read}) * {inf})::FLOAT"
    return f"CASE {beyond} ELSE {read}::FLOAT END"
