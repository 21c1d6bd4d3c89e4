"""The step `derive`: new inputs by expressions over those that are there, such as price / area, or lower(city).

The expressions are a small part of SQL (recipe/expressions); their inputs stay, but for those of `drop`. A number
and a truth (1 and 0) make a number, a text makes a category. A missing value makes what it makes in SQL: mostly a
missing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError, nearest
from lakewright.model.recipe import Values, Wanted, checked, expressions, naming, sql, statistics
from lakewright.model.recipe.expressions import Expression, ExpressionError, Rows
from lakewright.settings.sections import StepSettings

MOST = 200  # expressions of one step


class DeriveSettings(StepSettings):
    step: Literal["derive"] = "derive"
    columns: dict[str, str] = Field(
        min_length=1, max_length=MOST, description="new input → expression over the step's inputs"
    )
    drop: list[str] = Field(default=[], description="inputs that only the expressions read: the next steps do not")


@dataclass(frozen=True)
class Derive:
    kinds: Mapping[str, Kind]  # of the inputs
    columns: Mapping[str, str]
    usual: Mapping[str, Any]  # a value of each input
    drop: tuple[str, ...] = ()  # inputs that do not stay

    name: ClassVar[str] = "derive"
    settings: ClassVar[type[StepSettings]] = DeriveSettings
    reads: ClassVar[tuple[Kind, ...]] = ("number", "category", "time")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "inputs"
    packages: ClassVar[tuple[str, ...]] = ("sqlglot",)
    of_several: ClassVar[bool] = True

    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: DeriveSettings) -> dict[str, Kind]:
        """Raises ProjectError for an expression that cannot be computed, and for an input to drop that is none."""
        parsed = parsed_of(cls.name, settings.columns, inputs)
        made = naming.beside(cls.name, inputs, [(name, _kind(each, name)) for name, each in parsed.items()])
        for name in settings.drop:
            if name not in inputs:
                raise ProjectError(
                    f"prepare.recipe: {cls.name} drops {name!r}, which it does not read", nearest(name, inputs)
                )
        return {name: kind for name, kind in made.items() if name not in settings.drop}

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: DeriveSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Reads the first batch of train alone, for the sample row."""
        cls.makes(inputs, settings)
        usual = statistics.usual(train, inputs)
        return cls(dict(inputs), dict(settings.columns), usual, tuple(settings.drop)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        columns = checked.mapping_of_texts(described, "columns")
        if len(columns) > MOST:
            raise ValueError(f"columns holds more than {MOST} expressions")
        kinds = checked.kinds(described, "kinds", cls.reads)
        drop = checked.texts(described, "drop") if "drop" in described else ()
        if not {*drop} <= {*kinds}:
            raise ValueError(f"drop names {sorted({*drop} - {*kinds})[:5]}, which are no inputs")
        opened = cls(kinds, columns, checked.usual(described, "usual", kinds), drop)
        for name, each in opened._parsed.items():
            if name in opened.kinds:
                raise ValueError(f"columns makes {name[:80]!r}, which is an input")
            _kind(each, name)
        return opened

    def save(self, folder: Path) -> dict[str, Any]:
        described = {"kinds": {**self.kinds}, "columns": {**self.columns}, "usual": {**self.usual}}
        return described | ({"drop": [*self.drop]} if self.drop else {})

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @property
    def made(self) -> tuple[str, ...]:
        return (*self._kept, *self.columns)

    @property
    def _kept(self) -> tuple[str, ...]:
        return tuple(name for name in self.kinds if name not in self.drop)

    @cached_property
    def _parsed(self) -> dict[str, Expression]:
        return {name: expressions.parse(text, self.kinds) for name, text in self.columns.items()}

    def apply(self, values: Values) -> dict[str, Any]:
        rows = rows_of(values, self.kinds)
        kept = {name: values[name] for name in self._kept}
        return kept | {name: each.compute(rows) for name, each in self._parsed.items()}

    def sql(self) -> dict[str, str]:
        kept = {name: sql.name(name) for name in self._kept}
        made = {n: f"{each.sql}::DOUBLE" if each.type == "truth" else each.sql for n, each in self._parsed.items()}
        return kept | made

    def neutral(self) -> dict[str, Any]:
        return {**self.usual}


def rows_of(values: Values, inputs: Iterable[str]) -> Rows:
    return Rows(values, len(values[next(iter(inputs))]))


def parsed_of(step: str, texts: Mapping[str, str], inputs: Mapping[str, Kind]) -> dict[str, Expression]:
    """The expressions by name. Raises ProjectError for one that cannot be computed."""
    try:
        parsed = {name: expressions.parse(text, inputs) for name, text in texts.items()}
        for name, each in parsed.items():
            _kind(each, name)
        return parsed
    except ExpressionError as error:
        raise ProjectError(f"prepare.recipe: {step}: {error.cause}", error.remedy) from None


def _kind(each: Expression, name: str) -> Kind:
    """Raises ExpressionError for a time, and for nothing but NULL."""
    if each.type in ("time", "null"):
        raise ExpressionError(
            f"the expression of {name[:80]!r} makes neither a number, a text nor a truth",
            "count the time since another one, such as date_diff('day', DATE '2020-01-01', NAME)",
        )
    return "category" if each.type == "text" else "number"
