"""The step `log`: numbers that span orders of magnitude, such as prices and counts, on the scale of their logarithm:
sign(x) · ln(1 + |x|), which keeps 0, the sign and the order.

With u = 1 + |x|, ln(1 + |x|) is computed as ln(u) · |x| / (u - 1), exact also for the smallest numbers (Goldberg, What
Every Computer Scientist Should Know About Floating-Point Arithmetic, theorem 4), by numpy and by SQL in the same order.
Only ln itself may differ between the two, by one unit in the last place of a double; the result differs by at most two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values, Wanted, checked, sql
from lakewright.model.recipe.values import numbers
from lakewright.settings.sections import StepSettings

LARGE = 2.0**53  # from here on 1 + x differs from x by a rounding alone


class LogSettings(StepSettings):
    step: Literal["log"] = "log"


@dataclass(frozen=True)
class Log:
    inputs: tuple[str, ...]

    name: ClassVar[str] = "log"
    settings: ClassVar[type[StepSettings]] = LogSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: LogSettings) -> dict[str, Kind]:
        return dict(inputs)

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: LogSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        return cls(tuple(inputs)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(checked.names(described, "inputs"))

    def save(self, folder: Path) -> dict[str, Any]:
        return {"inputs": self.inputs}

    @property
    def made(self) -> tuple[str, ...]:
        return self.inputs

    def apply(self, values: Values) -> dict[str, NDArray[np.float64]]:
        return {name: _log(numbers(values[name])) for name in self.inputs}

    def sql(self) -> dict[str, str]:
        return {name: _expression(sql.double(name)) for name in self.inputs}

    def neutral(self) -> dict[str, Any]:
        return dict.fromkeys(self.inputs, 0.0)


def _log(column: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(column)
    with np.errstate(divide="ignore", invalid="ignore"):  # of the branches that are not taken
        more = 1.0 + size
        exact = np.log(more) * (size / (more - 1.0))
        logarithm = np.where(more == 1.0, size, np.where(size >= LARGE, np.log(more), exact))
    return np.where(column < 0, -logarithm, logarithm)


def _expression(column: str) -> str:
    one, size = sql.number(1.0), f"abs({column})"
    more = f"({one} + {size})"
    exact = f"ln({more}) * ({size} / ({more} - {one}))"
    large = f"WHEN {size} >= {sql.number(LARGE)} THEN ln({more})"
    logarithm = f"CASE WHEN {more} = {one} THEN {size} {large} ELSE {exact} END"
    return f"CASE WHEN {column} < {sql.number(0.0)} THEN -({logarithm}) ELSE {logarithm} END"
