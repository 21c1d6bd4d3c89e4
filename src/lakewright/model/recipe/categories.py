"""The values of a category that count: the most frequent of train. Any other value is unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.coded import Coded
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe.values import categories, without_category

UNKNOWN = -1


@dataclass(frozen=True)
class Category:
    name: str
    values: tuple[str, ...]  # sorted
    rarer: int = 0  # values of train that are left out

    @classmethod
    def of_counts(cls, name: str, counts: Mapping[str | None, int], most: int) -> Self:
        """The `most` most frequent values; None is no value."""
        known = Counter({value: count for value, count in counts.items() if value is not None})
        kept = sorted(value for value, _ in known.most_common(most))
        return cls(name, tuple(kept), len(known) - len(kept))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(described["name"], tuple(described["values"]), described.get("rarer", 0))

    def places(self, values: Any) -> NDArray[np.int64]:
        """Each row's place in `values`, UNKNOWN for other values and for none. [rows]"""
        if isinstance(values, Coded):  # each distinct text is looked up once
            return self.places(values.texts)[values.codes]
        place = {value: at for at, value in enumerate(self.values)}
        return np.fromiter((place.get(value, UNKNOWN) for value in categories(values)), np.int64, len(values))

    def shortfall(self, values: Any, step: str) -> Shortfall:
        """The rows whose value is unknown; `step` is the one whose max_categories cut them."""
        lost, of = self.places(values) == UNKNOWN, ~without_category(values)
        every = len(self.values) + self.rarer
        rarer = f"{self.rarer:,} of train's {every:,} values are rarer than the {len(self.values):,} that count"
        return Shortfall(
            "unknown_categories",
            "row",
            f"hold a value of column {self.name!r} that counts as unknown",
            f"{rarer}; set prepare.recipe.{step}.max_categories: {every}, or merge values"
            if self.rarer
            else "train has no such value; add rows that hold it, or merge values",
            lost=(lost & of).astype(np.int64),
            of=of.astype(np.int64),
        )
