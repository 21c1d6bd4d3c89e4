"""The step `ordinal`: an ordered category (low, middle, high) as a number, its place in the order, from 0.

A value that is not in the order, and a missing one, make a missing number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError
from lakewright.model.recipe import Values, Wanted, checked, sql
from lakewright.model.recipe.values import categories
from lakewright.settings.sections import StepSettings


class OrdinalSettings(StepSettings):
    step: Literal["ordinal"] = "ordinal"
    order: dict[str, list[str]] = Field(
        min_length=1,
        description="input → its values from the lowest to the highest; these inputs are the step's",
    )

    @model_validator(mode="before")
    @classmethod
    def _reads_what_it_orders(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("order"), dict) and not given.get("inputs"):
            return {**given, "inputs": [*given["order"]]}
        return given

    @model_validator(mode="after")
    def _orders_differ(self) -> Self:
        for name, values in self.order.items():
            if len(values) < 2 or len({*values}) < len(values):
                raise ValueError(f"order.{name} needs two values or more, each of them once")
        return self


@dataclass(frozen=True)
class Ordinal:
    order: Mapping[str, tuple[str, ...]]  # by input

    name: ClassVar[str] = "ordinal"
    settings: ClassVar[type[StepSettings]] = OrdinalSettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: OrdinalSettings) -> dict[str, Kind]:
        """Raises ProjectError for an input without an order, and an order without an input."""
        if differ := inputs.keys() ^ settings.order.keys():
            raise ProjectError(
                f"prepare.recipe: the step ordinal needs an order for each of its inputs, and for no other: "
                f"{', '.join(sorted(differ))}",
                "name the same inputs in order and in inputs, or leave inputs out",
            )
        return dict.fromkeys(inputs, "number")

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: OrdinalSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        return cls({name: tuple(settings.order[name]) for name in inputs}), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        order = checked.mapping(described, "order")
        return cls({name: checked.names(order, name) for name in order})

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.order)

    @property
    def made(self) -> tuple[str, ...]:
        return tuple(self.order)

    @cached_property
    def _places(self) -> dict[str, dict[str, float]]:
        return {name: {value: float(at) for at, value in enumerate(values)} for name, values in self.order.items()}

    def apply(self, values: Values) -> dict[str, NDArray[np.float64]]:
        return {
            name: np.fromiter(map(places.get, categories(values[name]), repeat(np.nan)), np.float64, len(values[name]))
            for name, places in self._places.items()
        }

    def sql(self) -> dict[str, str]:
        return {name: sql.looked_up(name, places) for name, places in self._places.items()}

    def neutral(self) -> dict[str, Any]:
        """The value in the middle."""
        return {name: values[len(values) // 2] if values else "" for name, values in self.order.items()}
