"""The step `squares`: each number, and its square; a missing one is 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Values, Wanted
from lakewright.model.recipe.encoded import Encoded
from lakewright.settings.sections import StepSettings


class SquaresSettings(StepSettings):
    step: Literal["squares"] = "squares"
    scale: float = Field(default=1.0, gt=0, description="each number is divided by it")


@dataclass(frozen=True)
class Squares:
    inputs: tuple[str, ...]
    scale: float

    name: ClassVar[str] = "squares"
    settings: ClassVar[type[StepSettings]] = SquaresSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: SquaresSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        return cls(tuple(inputs), settings.scale), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(tuple(described["inputs"]), described["scale"])

    def save(self, folder: Path) -> dict[str, Any]:
        return {"inputs": list(self.inputs), "scale": self.scale}

    def encode(self, values: Values) -> Encoded:
        numbers = [np.nan_to_num(np.array(values[name], dtype=np.float64)) / self.scale for name in self.inputs]
        return Encoded.of_columns(np.stack([*numbers, *(each**2 for each in numbers)], axis=1).astype(np.float32))

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return []

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*(Column(each, each) for each in self.inputs), *(Column(f"{each}²", each) for each in self.inputs))

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return dict.fromkeys(self.inputs, 1.0)
