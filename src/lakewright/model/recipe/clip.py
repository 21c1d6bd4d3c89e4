"""The step `clip`: numbers below a bound become the bound, and numbers above another one too, so that a few absurd
numbers do not decide what is learned.

The bounds are given, or they are quantiles of train. A missing number stays missing; an infinite one becomes its bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values, Wanted, checked, sql, statistics
from lakewright.model.recipe.values import numbers
from lakewright.settings.sections import StepSettings

QUANTILES = (0.01, 0.99)


class ClipSettings(StepSettings):
    step: Literal["clip"] = "clip"
    minimum: float | None = Field(default=None, description="the lower bound; null: none, or the lower quantile")
    maximum: float | None = Field(default=None, description="the upper bound; null: none, or the upper quantile")
    quantiles: tuple[float, float] = Field(
        default=QUANTILES,
        description="the shares of train's numbers below the lower and the upper bound, 0 to 1; used where neither "
        "minimum nor maximum is set",
    )

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        low, high = self.quantiles
        if not 0 <= low < high <= 1:
            raise ValueError("quantiles are two shares from 0 to 1, the lower one first")
        if self.bounded and self.quantiles != QUANTILES:
            raise ValueError("set minimum and maximum, or quantiles, not both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is greater than maximum")
        return self

    @property
    def bounded(self) -> bool:
        return self.minimum is not None or self.maximum is not None


@dataclass(frozen=True)
class Bounds:
    name: str
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Clip:
    numbers: tuple[Bounds, ...]

    name: ClassVar[str] = "clip"
    settings: ClassVar[type[StepSettings]] = ClipSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: ClipSettings) -> dict[str, Kind]:
        return dict(inputs)

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: ClipSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """For quantiles, holds the numbers of train, 8 bytes each; given bounds read no row. Raises ProjectError for an
        input without any number in train."""
        if settings.bounded:
            return cls(tuple(Bounds(name, settings.minimum, settings.maximum) for name in inputs)), None
        columns, _ = statistics.gathered(train, inputs)
        bounds = []
        for name, column in columns.items():
            known = statistics.finite(column, name, cls.name)
            bounds.append(Bounds(name, *(statistics.quantile(known, share) for share in settings.quantiles)))
        return cls(tuple(bounds)), None

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
        made = {}
        for each in self.numbers:
            column = numbers(values[each.name])
            if each.minimum is not None:
                column = np.where(column < each.minimum, each.minimum, column)
            if each.maximum is not None:
                column = np.where(column > each.maximum, each.maximum, column)
            made[each.name] = column
        return made

    def sql(self) -> dict[str, str]:
        return {each.name: _expression(each) for each in self.numbers}

    def neutral(self) -> dict[str, Any]:
        """A bound, or 0."""
        bounds = ((each.name, (each.minimum, each.maximum)) for each in self.numbers)
        return {name: next((bound for bound in both if bound is not None), 0.0) for name, both in bounds}


def _expression(each: Bounds) -> str:
    column = sql.double(each.name)  # NULL, of which no comparison is true, for not a number
    cases = ""
    if each.minimum is not None:
        cases += f" WHEN {column} < {sql.number(each.minimum)} THEN {sql.number(each.minimum)}"
    if each.maximum is not None:
        cases += f" WHEN {column} > {sql.number(each.maximum)} THEN {sql.number(each.maximum)}"
    return f"CASE{cases} ELSE {column} END"


def _open(described: Mapping[str, Any]) -> Bounds:
    both = (
        None if checked.value(described, key) is None else checked.number(described, key)
        for key in ("minimum", "maximum")
    )
    bounds = Bounds(checked.text(described, "name"), *both)
    if bounds.minimum is None and bounds.maximum is None:
        raise ValueError("neither minimum nor maximum is a number")
    if bounds.minimum is not None and bounds.maximum is not None and bounds.minimum > bounds.maximum:
        raise ValueError("minimum is greater than maximum")
    return bounds
