"""The step `one_hot`: a category as numbers, one for each of its most frequent values in train: 1 where the row has
the value, else 0.

With `other`, one more number is 1 where the row has any other value. Without a value, all of them are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Values, Wanted, checked, sql, statistics
from lakewright.model.recipe.categories import Category
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import without_category
from lakewright.settings.sections import StepSettings


class OneHotSettings(StepSettings):
    step: Literal["one_hot"] = "one_hot"
    max_categories: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="values of each category that get a number, the most frequent in train",
    )
    other: bool = Field(default=True, description="one more number for each category: the row has any other value")


@dataclass(frozen=True)
class OneHot:
    categories: tuple[Category, ...]
    other: bool

    name: ClassVar[str] = "one_hot"
    settings: ClassVar[type[StepSettings]] = OneHotSettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: OneHotSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the counts of the categories' values."""
        _, counts = statistics.gathered(train, inputs)
        every = (Category.of_counts(name, counter, settings.max_categories) for name, counter in counts.items())
        return cls(tuple(every), settings.other), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        opened = map(_category, checked.mappings(described, "categories"))
        return cls(tuple(opened), checked.truth(described, "other"))

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @property
    def columns(self) -> tuple[Column, ...]:
        columns: list[Column] = []
        for each in self.categories:
            columns += [Column(f"{each.name} = {value}", each.name) for value in each.values]
            columns += [Column(f"{each.name} is another", each.name)] * self.other
        return tuple(columns)

    def sql(self) -> dict[str, str]:
        expressions = {}
        for each in self.categories:
            column = sql.name(each.name)
            for value in each.values:
                expressions[f"{each.name} = {value}"] = f"({column} IS NOT DISTINCT FROM {sql.text(value)})::FLOAT"
            if self.other:
                counts = f"coalesce(list_contains({sql.texts(each.values)}, {column}), true)"
                expressions[f"{each.name} is another"] = f"(NOT {counts})::FLOAT"
        return expressions

    def neutral(self) -> dict[str, Any]:
        return {each.name: next(iter(each.values), "") for each in self.categories}

    def encode(self, values: Values) -> Encoded:
        rows = len(values[self.inputs[0]])
        encoded = np.zeros((rows, sum(len(each.values) + self.other for each in self.categories)), dtype=np.float32)
        at = 0
        for each in self.categories:
            places = each.places(values[each.name])
            known = np.flatnonzero(places >= 0)
            encoded[known, at + places[known]] = 1.0
            at += len(each.values)
            if self.other:
                present = ~without_category(values[each.name])
                encoded[:, at] = present & (places < 0)
                at += 1
        return Encoded.of_columns(encoded)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [each.shortfall(values[each.name], self.name) for each in self.categories]


def _category(described: Mapping[str, Any]) -> Category:
    rarer = checked.whole(described, "rarer", 0, 2**53)
    return Category(checked.text(described, "name"), checked.names(described, "values"), rarer)
