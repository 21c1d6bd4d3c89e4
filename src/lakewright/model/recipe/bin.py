"""The step `bin`: a number as the bin that it falls into: a number that grows in steps, or a category.

Bins of quantiles hold about the same count of train's rows each; bins of width are equally wide from train's least
number to its greatest; or the edges are given. A number that is an edge belongs to the bin below it; numbers beyond
train's belong to the first and the last bin. Equal edges count once, so there may be fewer bins than asked for. A
missing number makes a missing bin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Values, Wanted, checked, sql, statistics
from lakewright.model.recipe.values import numbers
from lakewright.settings.sections import StepSettings

MOST = 1000
Result = Literal["number", "category"]


class BinSettings(StepSettings):
    step: Literal["bin"] = "bin"
    strategy: Literal["quantile", "width", "edges"] = Field(
        default="quantile",
        description="bins of about equally many rows of train, or of equal width, or between the given `edges`",
    )
    n_bins: int = Field(default=10, ge=2, le=MOST, description="bins of each number; not with strategy: edges")
    edges: list[float] = Field(
        default=[],
        max_length=MOST,
        description="the numbers between the bins, ascending; with strategy: edges, the same for all inputs",
    )
    result: Result = Field(
        default="number", description="number: the bin's place, from 0; category: its range, such as (3.0, 7.5]"
    )

    @model_validator(mode="after")
    def _edges_agree(self) -> Self:
        if (self.strategy == "edges") != bool(self.edges):
            raise ValueError("strategy: edges needs edges, and no other strategy takes any")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges do not ascend")
        return self


@dataclass(frozen=True)
class Bin:
    edges: Mapping[str, tuple[float, ...]]  # by input, ascending
    result: Result

    name: ClassVar[str] = "bin"
    settings: ClassVar[type[StepSettings]] = BinSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: BinSettings) -> dict[str, Kind]:
        return dict.fromkeys(inputs, settings.result)

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: BinSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the numbers of train, 8 bytes each; given edges read no row. Raises ProjectError for an input without
        any number in train."""
        if settings.strategy == "edges":
            return cls(dict.fromkeys(inputs, tuple(settings.edges)), settings.result), None
        columns, _ = statistics.gathered(train, inputs)
        between = np.arange(1, settings.n_bins) / settings.n_bins
        edges = {}
        for name, column in columns.items():
            known = statistics.finite(column, name, cls.name)
            if settings.strategy == "quantile":
                every = np.quantile(known, between, method="inverted_cdf")
            else:  # not least + width · share: the width of all numbers is no number
                every = known.min() * (1 - between) + known.max() * between
            edges[name] = tuple(np.unique(every).tolist())
        return cls(edges, settings.result), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        described_edges, result = checked.mapping(described, "edges"), checked.text(described, "result")
        edges = {name: checked.numbers(described_edges, name) for name in described_edges}
        for name, each in edges.items():
            if not 1 <= len(each) <= MOST or any(low >= high for low, high in pairwise(each)):
                raise ValueError(f"edges.{name} is not 1 to {MOST:,} ascending numbers")
        if result == "number":
            return cls(edges, "number")
        if result == "category":
            return cls(edges, "category")
        raise ValueError(f"result is {result[:80]!r}, neither number nor category")

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.edges)

    @property
    def made(self) -> tuple[str, ...]:
        return tuple(self.edges)

    def apply(self, values: Values) -> dict[str, NDArray[Any]]:
        made: dict[str, NDArray[Any]] = {}
        for name, edges in self.edges.items():
            column = numbers(values[name])
            places = np.searchsorted(edges, column, side="left")
            missing = np.isnan(column)
            if self.result == "number":
                made[name] = np.where(missing, np.nan, places)
            else:
                ranges = np.array([*_ranges(edges), None], dtype=object)
                made[name] = ranges[np.where(missing, -1, places)]
        return made

    def sql(self) -> dict[str, str]:
        return {name: self._expression(name, edges) for name, edges in self.edges.items()}

    def _expression(self, name: str, edges: tuple[float, ...]) -> str:
        column = sql.double(name)
        results = [
            sql.number(at) if self.result == "number" else sql.text(interval)
            for at, interval in enumerate(_ranges(edges))
        ]
        cases = [f"WHEN {column} <= {sql.number(edge)} THEN {each}" for edge, each in zip(edges, results, strict=False)]
        return f"CASE WHEN {column} IS NULL THEN NULL {' '.join(cases)} ELSE {results[-1]} END"

    def neutral(self) -> dict[str, Any]:
        """The edge in the middle."""
        return {name: edges[len(edges) // 2] for name, edges in self.edges.items()}


def _ranges(edges: tuple[float, ...]) -> list[str]:
    bounds = [-np.inf, *edges, np.inf]
    return [f"({float(low)!r}, {float(high)!r}]" for low, high in pairwise(bounds)]
