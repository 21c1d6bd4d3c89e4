"""The step `flag`: a condition as a number: 1 where it is true, 0 where it is false or where a missing value
leaves it unknown.

A condition is an expression as the step `derive` takes it (recipe/expressions); its inputs stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError
from lakewright.model.recipe import Values, Wanted, checked, expressions, naming, sql, statistics
from lakewright.model.recipe.derive import MOST, parsed_of, rows_of
from lakewright.model.recipe.expressions import Expression
from lakewright.settings.sections import StepSettings


class FlagSettings(StepSettings):
    step: Literal["flag"] = "flag"
    when: dict[str, str] = Field(
        min_length=1, max_length=MOST, description="new input → condition over the step's inputs, such as age >= 65"
    )


@dataclass(frozen=True)
class Flag:
    kinds: Mapping[str, Kind]  # of the inputs, which stay
    when: Mapping[str, str]
    usual: Mapping[str, Any]  # a value of each input

    name: ClassVar[str] = "flag"
    settings: ClassVar[type[StepSettings]] = FlagSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category", "time")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"
    packages: ClassVar[tuple[str, ...]] = ("sqlglot",)
    of_several: ClassVar[bool] = True

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: FlagSettings) -> dict[str, Kind]:
        """Raises ProjectError for an expression that is no condition, or cannot be computed."""
        for name, each in parsed_of(cls.name, settings.when, inputs).items():
            if each.type != "truth":
                raise ProjectError(
                    f"prepare.recipe: flag: the expression of {name!r} is a {each.type}, not a condition",
                    "compare it (NAME > 3), or let the step derive make it",
                )
        return naming.beside(cls.name, inputs, [(name, "number") for name in settings.when])

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: FlagSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Reads the first batch of train alone, for the sample row."""
        cls.makes(inputs, settings)
        return cls(dict(inputs), dict(settings.when), statistics.usual(train, inputs)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        when = checked.mapping_of_texts(described, "when")
        if len(when) > MOST:
            raise ValueError(f"when holds more than {MOST} expressions")
        kinds = checked.kinds(described, "kinds", cls.reads)
        opened = cls(kinds, when, checked.usual(described, "usual", kinds))
        for name, each in opened._parsed.items():
            if name in opened.kinds or each.type != "truth":
                raise ValueError(f"when makes {name[:80]!r}, which is an input, or of no condition")
        return opened

    def save(self, folder: Path) -> dict[str, Any]:
        return {"kinds": {**self.kinds}, "when": {**self.when}, "usual": {**self.usual}}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @property
    def made(self) -> tuple[str, ...]:
        return (*self.kinds, *self.when)

    @cached_property
    def _parsed(self) -> dict[str, Expression]:
        return {name: expressions.parse(text, self.kinds) for name, text in self.when.items()}

    def apply(self, values: Values) -> dict[str, Any]:
        rows = rows_of(values, self.kinds)
        kept = {name: values[name] for name in self.kinds}
        return kept | {name: (each.compute(rows) == 1).astype(np.float64) for name, each in self._parsed.items()}

    def sql(self) -> dict[str, str]:
        kept = {name: sql.name(name) for name in self.kinds}
        return kept | {name: f"coalesce({each.sql}, false)::DOUBLE" for name, each in self._parsed.items()}

    def neutral(self) -> dict[str, Any]:
        return {**self.usual}
