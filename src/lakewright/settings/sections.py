"""The sections of project.yml, one class each, with their defaults. The parts that `task`, `train`, `data.columns` and
the steps of `prepare.recipe` name define the keys of these sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from lakewright import plugins
from lakewright.errors import UsageError
from lakewright.settings.yamlfile import Refused

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Settings(BaseModel):
    """A strict, frozen part of the project; learners derive theirs from it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )


class StepSettings(Settings):
    """The settings that every step has; `step` picks the rest."""

    step: str
    inputs: list[str] = Field(
        default=[], description="the inputs that it reads; none: all of its kinds that no other step names"
    )

    def check(self, level: Literal["row", "token", "vector"]) -> None:
        """Raises ProjectError if these settings mean nothing to a task of this level."""


SettingsOf = Callable[[dict[str, Any]], tuple[type[Settings], dict[str, Any]]]


def validated(settings_of: SettingsOf, given: Any) -> Any:
    """The settings of the part that one of these keys picks. Raises ValueError if there is no such part."""
    if not isinstance(given, dict):
        return given
    try:
        settings, values = settings_of(given)
    except UsageError as error:  # pydantic reports ValueErrors
        raise ValueError(f"{error.cause}; {error.remedy}") from None
    return settings.model_validate(values)


def step_of(name: str) -> SettingsOf:
    """The settings of the step that `prepare.recipe.NAME` means."""

    def settings_of(given: dict[str, Any]) -> tuple[type[Settings], dict[str, Any]]:
        step = str(given.get("step") or name)
        return plugins.STEPS.find(step).settings, {**given, "step": step}

    return settings_of


class Columns(Settings):
    """The columns by role. Each task adds its own roles to these."""

    id: str | None = Field(default=None, description="unique; the row number where none is named")
    group: str | None = Field(default=None, description="rows of one group stay in one split")
    event_time: str | None = None
    split: str | None = Field(default=None, description="a published split: train, validation (or dev), test")

    truths: ClassVar[tuple[str, ...]] = ()  # the roles that hold the truth; all others of a task are inputs
    written: ClassVar[tuple[str, ...]] = ("label", "id", "group", "categories")  # roles whose values are codes …
    numeric: ClassVar[tuple[str, ...]] = (
        "numbers",
        "score",
    )  # … and whose values are numbers, if a source has no types

    @property
    def is_open(self) -> bool:
        """Whether the table's other columns are inputs as well: `data/rows/inputs.py` finds them."""
        return False

    @property
    def roles(self) -> dict[str, str | list[str]]:
        """The roles in use, each with its column or columns."""
        return {role: names for role, names in self.model_dump().items() if names and isinstance(names, str | list)}

    @property
    def names(self) -> list[tuple[str, str]]:
        """Every (role, column)."""
        return [
            (role, name)
            for role, given in self.roles.items()
            for name in (given if isinstance(given, list) else [given])
        ]

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """Every (role, column) that the model learns from."""
        return [(role, name) for role, name in self.names if role not in (*COMMON, *self.truths)]

    @property
    def truth(self) -> list[tuple[str, str]]:
        """Every (role, column) that the model predicts."""
        return [(role, name) for role, name in self.names if role in self.truths]

    @property
    def as_written(self) -> list[str]:
        """The columns whose values keep their written form if a source has no types."""
        return sorted({name for role, name in self.names if role in self.written})

    @model_validator(mode="after")
    def _one_part_each(self) -> Self:
        """Each column has one role: an input that is also the truth would show the model its own answer."""
        role_of: dict[str, str] = {}
        for role, name in self.names:
            if role in COMMON:
                continue
            if role_of.setdefault(name, role) != role:
                raise ValueError(f"{role_of[name]} and {role} both name the column {name!r}")
        return self


COMMON = tuple(Columns.model_fields)


class Data(Settings):
    source: str | None = Field(
        default=None,
        description="a file, folder, glob or URI (csv, json, parquet, delta, s3://, abfss://), hf://OWNER/NAME, or "
        "python:module:function; none: the table is there already",
    )
    table: str | None = Field(default=None, description="catalog.schema.table[@vN]; default {schema}.{name}")
    format: str | None = Field(default=None, description="csv, json, parquet or delta, where the name does not tell")
    options: dict[str, Any] = Field(default={}, description="passed to the source (csv: delimiter, encoding, types …)")
    exclude: list[str] = Field(default=[], description="columns of the source that are left out of the table")
    columns: SerializeAsAny[Columns]

    @model_validator(mode="after")
    def _columns_stay(self) -> Self:
        for role, name in self.columns.names:
            if name in self.exclude:
                raise Refused(
                    f"exclude leaves out the column {name!r}, which columns.{role} names",
                    f"take {name!r} out of data.exclude, or out of data.columns.{role}",
                )
        if self.exclude and self.source is None:
            raise ValueError("exclude leaves columns of a source out, and there is no source")
        return self


class Split(Settings):
    method: Literal["auto", "random", "grouped", "time", "predefined"] = Field(
        default="auto",
        description="auto: predefined where columns.split is named or the table has a column `split`, grouped where "
        "columns.group is named, else random (stratified by label)",
    )
    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    names: dict[str, Literal["train", "validation", "test"]] = Field(
        default={},
        description="published split → what it is here: {validation: test} tests on a set whose test split is secret",
    )
    seed: int = 13


class Prepare(Settings):
    split: Split = Split()
    duplicates: Literal["drop", "keep"] = Field(
        default="drop",
        description="drop: a normalised row stays once; of a published split, test keeps all its rows and train loses "
        "those that stand in test or validation",
    )
    balance: Literal["none", "weights", "oversample", "undersample"] = "none"
    recipe: dict[str, SerializeAsAny[StepSettings]] = Field(
        default={},
        description="NAME → settings of a step, beside or in place of those that the learner takes by itself; the step "
        "is the one called NAME, or the one that the key `step` names",
    )

    @field_validator("recipe", mode="before")
    @classmethod
    def _of_their_steps(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {name: validated(step_of(str(name)), {} if own is None else own) for name, own in given.items()}


class Evaluate(Settings):
    slices: list[str] = Field(default=[], description="columns of the table to report by")
    resamples: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = 13


class Gate(Settings):
    minimum: dict[str, float] = Field(default={}, description="metric → least value")
    maximum: dict[str, float] = Field(default={}, description="metric → greatest value (log_loss, ece, …)")
    champion: bool = Field(default=True, description="not significantly worse than the champion, on the same rows")
    compare_by: str = Field(
        default="auto",
        description="auto: the task's primary metric, by the paired bootstrap; accuracy: by McNemar's test",
    )

    @field_validator("minimum", "maximum", mode="before")
    @classmethod
    def _numbers(cls, given: object) -> object:
        for metric, bound in given.items() if isinstance(given, dict) else ():
            percent = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", bound) if isinstance(bound, str) else None
            if percent:
                raise ValueError(f"{metric} is a share, no percentage: write {float(percent[1]) / 100:g}")
            if isinstance(bound, bool):
                raise ValueError(f"{metric} is {str(bound).lower()}, not a number")
        return given


class Register(Settings):
    model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]+\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+$",
        description="catalog.schema.name; default {schema}.{name}",
    )
    approval: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="automatic: what passes the gate becomes champion; manual: it waits as challenger",
    )
    description: str = ""
    tags: dict[str, str] = {}


class TaskSettings(Settings):
    """The settings that every task has; `name` picks the rest."""

    name: str


class LearnerSettings(Settings):
    """The settings that every learner has; `learner` picks the rest."""

    learner: str
