"""The step `frequency`: beside a category, how common its value is, as NAME_frequency: the share of train's rows that
have it.

Of train's values, the most frequent keep their share; any other value counts as one that train does not have, with the
share 0. Without a value, the share is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values, Wanted, checked, naming, sql, statistics
from lakewright.model.recipe.values import absent, categories
from lakewright.settings.sections import StepSettings


class FrequencySettings(StepSettings):
    step: Literal["frequency"] = "frequency"
    max_categories: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="values of each category whose share is kept, the most frequent in train; the share of others is 0",
    )


@dataclass(frozen=True)
class Frequency:
    shares: Mapping[str, Mapping[str, float]]  # by input and value

    name: ClassVar[str] = "frequency"
    settings: ClassVar[type[StepSettings]] = FrequencySettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: FrequencySettings) -> dict[str, Kind]:
        return naming.beside(cls.name, inputs, [(_share(each), "number") for each in inputs])

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: FrequencySettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the counts of the categories' values."""
        _, counts = statistics.gathered(train, inputs)
        return cls({name: _shares(counter, settings.max_categories) for name, counter in counts.items()}), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        shares = checked.mapping(described, "shares")
        return cls({name: checked.mapping_of_numbers(shares, name) for name in shares})

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.shares)

    @property
    def made(self) -> tuple[str, ...]:
        return (*self.shares, *map(_share, self.shares))

    def apply(self, values: Values) -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {name: categories(values[name]) for name in self.shares}
        for name, shares in self.shares.items():
            texts = made[name]
            common = np.fromiter(map(shares.get, texts, repeat(0.0)), np.float64, len(texts))
            made[_share(name)] = np.where(absent(texts), np.nan, common)
        return made

    def sql(self) -> dict[str, str]:
        kept = {name: sql.name(name) for name in self.shares}
        shares = {
            _share(name): f"CASE WHEN {sql.name(name)} IS NULL THEN NULL "
            f"ELSE coalesce({sql.looked_up(name, shares)}, {sql.number(0.0)}) END"
            for name, shares in self.shares.items()
        }
        return kept | shares

    def neutral(self) -> dict[str, Any]:
        """The most frequent value."""
        return {name: next(iter(shares), "") for name, shares in self.shares.items()}


def _share(name: str) -> str:
    return f"{name}_frequency"


def _shares(counts: Counter[str | None], most: int) -> dict[str, float]:
    """The most frequent values first, equally frequent ones in the order of the alphabet."""
    rows = counts.total()
    known = sorted((-count, value) for value, count in counts.items() if value is not None)
    return {value: -count / rows for count, value in known[:most]}
