"""The step `scale`: numbers of different sizes on one scale, (x - center) / width, both from train.

standard: the mean, and the standard deviation (of the population). min_max: the least number, and the distance from it
to the greatest, so that train's numbers lie from 0 to 1. robust: the median, and the distance between the quartiles,
which a few absurd numbers do not move. The width of a number that does not vary is 1. A missing number stays missing;
numbers beyond those of train go beyond the scale (the step `clip` bounds them).
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
from lakewright.model.recipe import Values, Wanted, checked, sql, statistics
from lakewright.model.recipe.values import numbers
from lakewright.settings.sections import StepSettings

Method = Literal["standard", "min_max", "robust"]


class ScaleSettings(StepSettings):
    step: Literal["scale"] = "scale"
    method: Method = Field(
        default="standard",
        description="standard: mean 0 and deviation 1; min_max: from 0 to 1; robust: median 0 and quartiles 1 apart",
    )


@dataclass(frozen=True)
class Scaled:
    name: str
    center: float
    width: float  # greater than 0


@dataclass(frozen=True)
class Scale:
    numbers: tuple[Scaled, ...]

    name: ClassVar[str] = "scale"
    settings: ClassVar[type[StepSettings]] = ScaleSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: ScaleSettings) -> dict[str, Kind]:
        return dict(inputs)

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: ScaleSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the numbers of train, 8 bytes each. Raises ProjectError for an input without any number in train."""
        columns, _ = statistics.gathered(train, inputs)
        known = ((name, statistics.finite(each, name, cls.name)) for name, each in columns.items())
        return cls(tuple(Scaled(name, *_measured(each, settings.method)) for name, each in known)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(tuple(map(_open, checked.mappings(described, "numbers"))))

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.numbers)

    @property
    def made(self) -> tuple[str, ...]:
        return self.inputs

    def apply(self, values: Values) -> dict[str, NDArray[np.float64]]:
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the range of numbers, infinite as in SQL
            return {each.name: (numbers(values[each.name]) - each.center) / each.width for each in self.numbers}

    def sql(self) -> dict[str, str]:
        return {
            each.name: f"({sql.double(each.name)} - {sql.number(each.center)}) / {sql.number(each.width)}"
            for each in self.numbers
        }

    def neutral(self) -> dict[str, Any]:
        return {each.name: each.center for each in self.numbers}


def _open(described: Mapping[str, Any]) -> Scaled:
    width = checked.number(described, "width")
    if width <= 0:
        raise ValueError(f"width is {width}, not greater than 0")
    return Scaled(checked.text(described, "name"), checked.number(described, "center"), width)


def _measured(known: NDArray[np.float64], method: Method) -> tuple[float, float]:
    """Center and width."""
    if method == "standard":
        center, width = statistics.mean(known), statistics.deviation(known)
    elif method == "min_max":
        center = float(known.min())
        width = float(known.max()) - center
    else:
        center = statistics.median(known)
        width = statistics.quantile(known, 0.75) - statistics.quantile(known, 0.25)
    constant = known.min() == known.max()  # a deviation of rounding alone is none
    return center, 1.0 if constant or width == 0 else min(width, float(np.finfo(np.float64).max))
