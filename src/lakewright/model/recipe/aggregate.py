"""The step `aggregate`: what is usual in a row's group, such as the mean price of its city in train, as
NAME_by_GROUP_mean beside the inputs, which stay.

Only finite numbers of train count. A row whose group train does not have (or has too rarely, `max_categories`) has no
such number, and neither has a row without a group; only the count of a group without any number is 0. Train's rows are
in their own group's statistics: in groups of one or two rows the model learns numbers that new rows will not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError, nearest
from lakewright.model.recipe import Values, Wanted, checked, naming, sql, statistics
from lakewright.model.recipe.values import categories, numbers
from lakewright.settings.sections import StepSettings

Statistic = Literal["mean", "median", "std", "min", "max", "count"]


class AggregateSettings(StepSettings):
    step: Literal["aggregate"] = "aggregate"
    by: str = Field(description="the category that groups the rows")
    of: list[str] = Field(min_length=1, description="the numbers")
    statistics: list[Statistic] = Field(
        default=["mean"],
        min_length=1,
        description="of a group in train: mean, median, std (of the population), min, max, count (rows with a number)",
    )
    max_categories: int = Field(
        default=10_000, ge=1, le=100_000, description="groups that count, the most frequent in train"
    )


@dataclass(frozen=True)
class Aggregate:
    kinds: Mapping[str, Kind]  # of the inputs, which stay
    by: str
    tables: Mapping[str, Mapping[str, float]]  # what it makes → by group
    usual: Mapping[str, Any]  # a value of each input

    name: ClassVar[str] = "aggregate"
    settings: ClassVar[type[StepSettings]] = AggregateSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: AggregateSettings) -> dict[str, Kind]:
        """Raises ProjectError if `by` is no category of the inputs, or one of `of` no number."""
        _check(settings.by, "category", inputs)
        for each in settings.of:
            _check(each, "number", inputs)
        made = (_name(each, settings.by, how) for each in settings.of for how in settings.statistics)
        return naming.beside(cls.name, inputs, [(name, "number") for name in made])

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: AggregateSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds 8 bytes a row for the groups and for each number."""
        cls.makes(inputs, settings)
        groups, columns = _gathered(train, settings)
        tables: dict[str, dict[str, float]] = {}
        for name, column in columns.items():
            members = dict(_members(groups, column))
            for how in settings.statistics:
                counts = {group: known for group, known in members.items() if len(known) or how == "count"}
                table = {group: STATISTICS[how](known) for group, known in counts.items()}
                tables[_name(name, settings.by, how)] = table
        return cls(dict(inputs), settings.by, tables, statistics.usual(train, inputs)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        kinds, by = checked.kinds(described, "kinds", cls.reads), checked.text(described, "by")
        tables = checked.mapping(described, "tables")
        if kinds.get(by) != "category" or kinds.keys() & tables.keys():
            raise ValueError("by is no category of kinds, or tables makes an input")
        numbers_by = {name: checked.mapping_of_numbers(tables, name) for name in tables}
        return cls(kinds, by, numbers_by, checked.usual(described, "usual", kinds))

    def save(self, folder: Path) -> dict[str, Any]:
        tables = {name: {**table} for name, table in self.tables.items()}
        return {"kinds": {**self.kinds}, "by": self.by, "tables": tables, "usual": {**self.usual}}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @property
    def made(self) -> tuple[str, ...]:
        return (*self.kinds, *self.tables)

    def apply(self, values: Values) -> dict[str, Any]:
        groups = categories(values[self.by])
        made: dict[str, Any] = {name: values[name] for name in self.kinds}
        for name, table in self.tables.items():
            made[name] = np.fromiter(map(table.get, groups, repeat(np.nan)), np.float64, len(groups))
        return made

    def sql(self) -> dict[str, str]:
        kept = {name: sql.name(name) for name in self.kinds}
        return kept | {name: sql.looked_up(self.by, table) for name, table in self.tables.items()}

    def neutral(self) -> dict[str, Any]:
        return {**self.usual}


STATISTICS: Mapping[Statistic, Callable[[NDArray[np.float64]], float]] = {
    "mean": statistics.mean,
    "median": statistics.median,
    "std": statistics.deviation,
    "min": lambda known: float(known.min()),
    "max": lambda known: float(known.max()),
    "count": lambda known: float(len(known)),
}


def _name(number: str, group: str, how: Statistic) -> str:
    return f"{number}_by_{group}_{how}"


def _check(name: str, kind: Kind, inputs: Mapping[str, Kind]) -> None:
    if inputs.get(name) != kind:
        those = [each for each, other in inputs.items() if other == kind]
        raise ProjectError(
            f"prepare.recipe: aggregate names {name!r}, which is no {kind} among the step's inputs",
            f"{nearest(name, those)}; a step reads the inputs that are there when its turn comes",
        )


def _gathered(
    train: Iterable[Values], settings: AggregateSettings
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.float64]]]:
    """The rows of each group that counts, and the numbers of all rows."""
    codes: dict[str | None, int] = {}
    grouped: list[NDArray[np.int64]] = []
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in settings.of}
    for values in train:
        groups = categories(values[settings.by])
        grouped.append(np.fromiter((codes.setdefault(group, len(codes)) for group in groups), np.int64, len(groups)))
        for name, part in parts.items():
            part.append(numbers(values[name]))
    code = np.concatenate([np.empty(0, dtype=np.int64), *grouped])
    order, rows = np.argsort(code, kind="stable"), np.bincount(code, minlength=len(codes))
    ends = np.concatenate([[0], np.cumsum(rows)])
    every = {group: order[start:end] for (group, _), (start, end) in zip(codes.items(), pairwise(ends), strict=True)}
    known = sorted((-len(at), group) for group, at in every.items() if group is not None)
    kept = {group: every[group] for _, group in known[: settings.max_categories]}
    return kept, {name: np.concatenate([np.empty(0), *part]) for name, part in parts.items()}


def _members(
    groups: Mapping[str, NDArray[np.int64]], column: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The finite numbers of each group."""
    for group, rows in groups.items():
        values = column[rows]
        yield group, values[np.isfinite(values)]
