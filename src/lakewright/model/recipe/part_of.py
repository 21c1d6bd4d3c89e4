"""The step `part_of`: numbers in place of a time, such as its month, its weekday, and the days since 1970.

A model learns the season from the month, the rhythm of weeks from the weekday, and a trend from the days. Times are in
UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values, Wanted, sql
from lakewright.model.recipe.values import times
from lakewright.settings.sections import StepSettings

Part = Literal["year", "month", "day", "yearday", "weekday", "hour", "minute", "days"]
Times = NDArray[np.datetime64]
DAY = 86_400_000_000  # microseconds


class PartOfSettings(StepSettings):
    step: Literal["part_of"] = "part_of"
    parts: list[Part] = Field(
        default=["year", "month", "day", "weekday", "hour", "days"],
        min_length=1,
        description="weekday: 1 is Monday; yearday: 1 to 366; days: since 1970, with the time of day as a fraction",
    )


@dataclass(frozen=True)
class PartOf:
    inputs: tuple[str, ...]
    parts: tuple[Part, ...]

    name: ClassVar[str] = "part_of"
    settings: ClassVar[type[StepSettings]] = PartOfSettings
    reads: ClassVar[tuple[Kind, ...]] = ("time",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: PartOfSettings) -> dict[str, Kind]:
        return {_name(each, part): "number" for each in inputs for part in settings.parts}

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: PartOfSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        return cls(tuple(inputs), tuple(settings.parts)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        parts = tuple(described["parts"])
        if not {*parts} <= PARTS.keys():
            raise ValueError(f"the step part_of names parts that do not exist: {', '.join(map(str, parts))}")
        return cls(tuple(described["inputs"]), parts)

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def made(self) -> tuple[str, ...]:
        return tuple(_name(each, part) for each in self.inputs for part in self.parts)

    def apply(self, values: Values) -> dict[str, NDArray[np.float64]]:
        made = {}
        for each in self.inputs:
            read = times(values[each])
            for part in self.parts:
                counted = PARTS[part](read)
                made[_name(each, part)] = np.where(np.isnat(read), np.nan, counted)
        return made

    def sql(self) -> dict[str, str]:
        return {
            _name(each, part): f"({SQL[part].format(sql.name(each))})::DOUBLE"
            for each in self.inputs
            for part in self.parts
        }

    def neutral(self) -> dict[str, Any]:
        return dict.fromkeys(self.inputs, "2026-01-31T14:00:00")


def _name(column: str, part: Part) -> str:
    return f"{column}_{part}"


def _months(read: Times) -> NDArray[np.int64]:
    return read.astype("datetime64[M]").astype(np.int64)


def _days(read: Times) -> NDArray[np.int64]:
    return read.astype("datetime64[D]").astype(np.int64)


def _since(read: Times, unit: Literal["Y", "M"]) -> NDArray[np.int64]:
    """Whole days since the year or the month began, from 1."""
    return _days(read) - _days(read.astype(f"datetime64[{unit}]")) + 1


PARTS: Mapping[Part, Callable[[Times], NDArray[Any]]] = {
    "year": lambda read: _months(read) // 12 + 1970,
    "month": lambda read: _months(read) % 12 + 1,
    "day": lambda read: _since(read, "M"),
    "yearday": lambda read: _since(read, "Y"),
    "weekday": lambda read: (_days(read) + 3) % 7 + 1,  # the first day of 1970 was a Thursday
    "hour": lambda read: read.astype(np.int64) % DAY // (DAY // 24),
    "minute": lambda read: read.astype(np.int64) % (DAY // 24) // (DAY // 24 // 60),
    "days": lambda read: read.astype(np.int64) / DAY,
}
SQL: Mapping[Part, str] = {
    "year": "year({})",
    "month": "month({})",
    "day": "day({})",
    "yearday": "dayofyear({})",
    # Not isodow, which other dialects count in another way
    "weekday": "(date_diff('day', DATE '1970-01-01', {}::DATE) % 7 + 10) % 7 + 1",
    "hour": "hour({})",
    "minute": "minute({})",
    "days": f"epoch_us({{}})::DOUBLE / {DAY}::DOUBLE",
}
