"""Columns beside the text, as numbers: what a network can read after the text has become one vector.

A number is scaled to mean 0 and deviation 1 over train (over its middle 98 %, so that one absurd value does not shrink
all others to nothing), further than FURTHEST deviations counts as that; a missing one is the mean, and where train has
missing ones a column says so. A category is one column for each of its most frequent values in train, all of them 0 for
any other value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.shortfalls import Shortfall

if TYPE_CHECKING:
    import pyarrow as pa

FURTHEST = 10.0  # deviations from the mean


@dataclass(frozen=True)
class Number:
    name: str
    mean: float
    deviation: float
    says_missing: bool


@dataclass(frozen=True)
class Category:
    name: str
    values: tuple[str, ...]
    rarer: int = 0  # values of train that are left out


@dataclass(frozen=True)
class OtherColumns:
    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    @classmethod
    def fit(
        cls, train: Iterable[pa.Table], numbers: Sequence[str], categories: Sequence[str], most: int
    ) -> OtherColumns:
        """From train's columns: float64 numbers and string categories, null where missing. Numbers are kept until the
        last table (quantiles need all of them), 8 bytes each; of categories how often each stands, and in the end the
        `most` frequent values of each."""
        values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in numbers}
        counts: dict[str, Counter[str | None]] = {name: Counter() for name in categories}
        for table in train:
            for name in numbers:
                values[name].append(table[name].to_numpy())
            for name in categories:
                counts[name].update(table[name].to_pylist())
        return cls(
            tuple(_number(name, np.concatenate(values[name])) for name in numbers),
            tuple(_category(name, counts[name], most) for name in categories),
        )

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> OtherColumns:
        return cls(
            tuple(Number(**number) for number in described["numbers"]),
            tuple(Category(**category | {"values": tuple(category["values"])}) for category in described["categories"]),
        )

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def width(self) -> int:
        return sum(1 + number.says_missing for number in self.numbers) + sum(len(c.values) for c in self.categories)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """float32 [rows, width]"""
        encoded = np.zeros((len(rows), self.width), dtype=np.float32)
        at = 0
        for number in self.numbers:
            values = np.array([row[number.name] for row in rows], dtype=np.float64)  # None becomes NaN
            missing = np.isnan(values)
            with np.errstate(over="ignore"):  # what overflows is far
                scaled = (values - number.mean) / number.deviation
            encoded[:, at] = np.where(missing, 0.0, np.clip(scaled, -FURTHEST, FURTHEST))
            at += 1
            if number.says_missing:
                encoded[:, at] = missing
                at += 1
        for category in self.categories:
            place = {value: at + i for i, value in enumerate(category.values)}
            for i, row in enumerate(rows):
                if row[category.name] in place:
                    encoded[i, place[row[category.name]]] = 1.0
            at += len(category.values)
        return encoded

    def shortfalls(self, rows: Sequence[Mapping[str, Any]]) -> list[Shortfall]:
        shortfalls = []
        for category in self.categories:
            values, kept = [row[category.name] for row in rows], set(category.values)
            every = len(kept) + category.rarer
            rarer = f"{category.rarer:,} of train's {every:,} values are rarer than the {len(kept):,} that count"
            shortfalls.append(
                Shortfall(
                    "unknown_categories",
                    "row",
                    f"hold a value of column {category.name!r} that counts as unknown",
                    f"{rarer}; set task.max_categories: {every}, or merge values"
                    if category.rarer
                    else "train has no such value; add rows that hold it, or merge values",
                    lost=np.array([value is not None and value not in kept for value in values], dtype=np.int64),
                    of=np.array([value is not None for value in values], dtype=np.int64),
                )
            )
        return shortfalls


def _number(name: str, values: NDArray[np.float64]) -> Number:
    known = values[~np.isnan(values)]
    mean, deviation = 0.0, 0.0
    if len(known):
        usual = np.clip(known, *np.quantile(known, [0.01, 0.99], method="nearest"))
        for counted in (usual, known):  # a number that is nearly always the same differs in its rarest values alone
            with np.errstate(over="ignore", invalid="ignore"):
                mean, deviation = float(counted.mean()), float(counted.std())
            if deviation > 0:
                break
    if not 0 < deviation < np.inf:
        mean, deviation = (mean if np.isfinite(mean) else 0.0), 1.0
    return Number(name, mean, deviation, len(known) < len(values))


def _category(name: str, counts: Counter[str | None], most: int) -> Category:
    known = Counter({value: count for value, count in counts.items() if value is not None})
    kept = sorted(value for value, _ in known.most_common(most))
    return Category(name, tuple(kept), len(known) - len(kept))
