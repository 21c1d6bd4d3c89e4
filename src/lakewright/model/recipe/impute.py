"""The step `impute`: a value in place of each missing one, and a number that marks where it was missing.

The value is the mean, the median or the most frequent value of train, or a constant. A number may also come from the
rows of train that are nearest by the row's other numbers (knn), or from the nearest of train's clusters (cluster); both
are numpy only, and knn keeps up to 2,000 rows of train in the model folder. That a value is missing often predicts as
much as the value: `indicator` keeps it as NAME_missing (1 where the value was missing, else 0).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError
from lakewright.model.recipe import Values, Wanted, checked, naming, nearest, sql, statistics
from lakewright.model.recipe.nearest import Nearest
from lakewright.model.recipe.values import absent, categories, numbers
from lakewright.settings.sections import StepSettings

Strategy = Literal["auto", "mean", "median", "mode", "constant", "knn", "cluster"]


class ImputeSettings(StepSettings):
    step: Literal["impute"] = "impute"
    strategy: Strategy = Field(
        default="auto",
        description="mean, median (of numbers) or mode (the most frequent value), each of train; constant: `fill`; "
        "knn, cluster (of numbers): from the nearest rows or clusters of train; auto: the median of a number, the mode "
        "of a category",
    )
    fill: float | str | None = Field(
        default=None, description="the constant: a number for numbers, a text for categories"
    )
    n_neighbors: int = Field(default=5, ge=1, le=nearest.MOST_NEIGHBORS, description="knn: rows whose mean is taken")
    n_clusters: int = Field(default=8, ge=1, le=256, description="cluster: the clusters of train, at most")
    indicator: bool = Field(default=True, description="make NAME_missing: 1 where the value was missing, else 0")


@dataclass(frozen=True)
class Impute:
    numbers: Mapping[str, float]  # by input
    categories: Mapping[str, str]
    indicator: bool
    nearest: Nearest | None = None  # of knn and cluster: gives the numbers; those in `numbers` where it has none

    name: ClassVar[str] = "impute"
    settings: ClassVar[type[StepSettings]] = ImputeSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: ImputeSettings) -> dict[str, Kind]:
        marked = inputs if settings.indicator else ()
        return naming.beside(cls.name, inputs, [(_mark(each), "number") for each in marked])

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: ImputeSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the numbers of train, 8 bytes each, and the counts of categories' values; for a constant, nothing.

        Raises ProjectError for a strategy that does not fit an input, and for an input without any value in train.
        """
        for name, kind in inputs.items():
            _check(name, kind, settings)
        if settings.strategy == "constant":
            fill: Any = settings.fill
            columns = {name: fill for name, kind in inputs.items() if kind == "number"}
            return cls(columns, {name: fill for name in inputs if name not in columns}, settings.indicator), None
        values, counts = statistics.gathered(train, inputs)
        fitted = cls(
            {
                name: _number(statistics.finite(each, name, cls.name), settings.strategy)
                for name, each in values.items()
            },
            {name: _mode(counter, name) for name, counter in counts.items()},
            settings.indicator,
        )
        return replace(fitted, nearest=_nearest([*values.values()], [*fitted.numbers.values()], settings)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        numbers, categories = (
            checked.mapping_of_numbers(described, "numbers"),
            checked.mapping_of_texts(described, "categories"),
        )
        points = described.get("nearest")
        near = None if points is None else Nearest.open(checked.mapping(described, "nearest"), len(numbers))
        return cls(numbers, categories, checked.truth(described, "indicator"), near)

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.numbers, *self.categories)

    @property
    def made(self) -> tuple[str, ...]:
        return (*self.inputs, *map(_mark, self.inputs)) if self.indicator else self.inputs

    def apply(self, values: Values) -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {}
        lacking: dict[str, NDArray[np.float64]] = {}
        columns = [numbers(values[name]) for name in self.numbers]
        filled = columns if self.nearest is None else [*self.nearest.fill(np.column_stack(columns)).T]
        for (name, number), column, near in zip(self.numbers.items(), columns, filled, strict=True):
            missing = np.isnan(column)
            made[name], lacking[_mark(name)] = np.where(np.isnan(near), number, near), missing.astype(np.float64)
        for name, category in self.categories.items():
            texts = categories(values[name])
            missing, complete = absent(texts), texts.copy()
            complete[missing] = category  # np.where would cut a zero character from its end
            made[name], lacking[_mark(name)] = complete, missing.astype(np.float64)
        return made | lacking if self.indicator else made

    def sql(self) -> dict[str, str] | None:
        if self.nearest is not None:
            return None
        made = {name: f"coalesce({sql.double(name)}, {sql.number(number)})" for name, number in self.numbers.items()}
        made |= {name: f"coalesce({sql.name(name)}, {sql.text(text)})" for name, text in self.categories.items()}
        lacking = {name: sql.lacks(name) for name in self.numbers}
        lacking |= {name: f"({sql.name(name)} IS NULL)" for name in self.categories}
        marks = {_mark(name): f"{lacks}::DOUBLE" for name, lacks in lacking.items()}
        return made | marks if self.indicator else made

    def neutral(self) -> dict[str, Any]:
        return {**self.numbers, **self.categories}


def _mark(name: str) -> str:
    return f"{name}_missing"


def _check(name: str, kind: Kind, settings: ImputeSettings) -> None:
    """Raises ProjectError if the strategy does not fit the input."""
    strategy, fill = settings.strategy, settings.fill
    if (strategy == "constant") != (fill is not None):
        raise ProjectError(
            "prepare.recipe: impute takes `fill` with strategy: constant, and with no other strategy",
            "set both, or neither",
        )
    if strategy == "constant" and isinstance(fill, str) != (kind == "category"):
        expected = "a number" if kind == "number" else "a text"
        raise ProjectError(
            f"prepare.recipe: impute fills {name!r}, a {kind}, with {fill!r}",
            f"set fill to {expected}, or name other inputs of the step: inputs: [NAME, …]",
        )
    if strategy in ("mean", "median", "knn", "cluster") and kind == "category":
        raise ProjectError(
            f"prepare.recipe: impute reads {name!r}, a category, and the strategy {strategy} is for numbers",
            "name the numbers: inputs: [NAME, …]; a second impute reads the categories",
        )


def _number(known: NDArray[np.float64], strategy: Strategy) -> float:
    if strategy == "mean":
        return statistics.mean(known)
    if strategy == "mode":
        values, counts = np.unique(known, return_counts=True)
        return float(values[counts.argmax()])  # of several the least
    return statistics.median(known)


def _nearest(columns: list[NDArray[np.float64]], medians: list[float], settings: ImputeSettings) -> Nearest | None:
    """Raises ProjectError for too few numbers, or too many."""
    if settings.strategy not in ("knn", "cluster"):
        return None
    if not 2 <= len(columns) <= nearest.MOST_NUMBERS:
        raise ProjectError(
            f"prepare.recipe: impute with strategy: {settings.strategy} reads {len(columns):,} numbers",
            f"let it read 2 to {nearest.MOST_NUMBERS:,}: a number is filled by the row's others",
        )
    if settings.strategy == "knn":
        return Nearest.of_rows(columns, settings.n_neighbors)
    return Nearest.of_clusters(columns, medians, settings.n_clusters)


def _mode(counts: Counter[str | None], name: str) -> str:
    value = statistics.most_frequent(counts)
    if value is None:
        raise statistics.no_value(name, Impute.name)
    return value
