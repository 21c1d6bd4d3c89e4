"""The sections of project.yml, one class each, with their defaults. The parts that `task`, `train`, `data.columns` and
the steps of `prepare.recipe` name define the keys of these sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from lakewright import plugins, spaces
from lakewright.errors import UsageError
from lakewright.settings.expectations import Expected, expectations
from lakewright.settings.strict import Settings as Settings
from lakewright.settings.yamlfile import Refused

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"


class StepSettings(Settings):
    """The settings that every step has; `step` picks the rest."""

    step: str
    inputs: list[str] = Field(
        default=[], description="the inputs that the step reads; none: all of its kinds that no other step names"
    )

    def check(self, level: Literal["row", "token", "vector"]) -> None:
        """Raises ProjectError if these settings mean nothing to a task of this level."""


SettingsOf = Callable[[dict[str, Any]], tuple[type[Settings], dict[str, Any]]]


def validated(settings_of: SettingsOf, section: Any) -> Any:
    """The settings of the part that one of these keys picks. Raises ValueError if there is no such part."""
    if not isinstance(section, dict):
        return section
    try:
        settings, values = settings_of(section)
    except UsageError as error:  # pydantic reports ValueErrors
        raise ValueError(f"{error.cause}; {error.remedy}") from None
    return settings.model_validate(values)


def step_of(name: str) -> SettingsOf:
    """The settings of the step that `prepare.recipe.NAME` means."""

    def settings_of(values: dict[str, Any]) -> tuple[type[Settings], dict[str, Any]]:
        step = str(values.get("step") or name)
        return plugins.STEPS.find(step).settings, {**values, "step": step}

    return settings_of


class Columns(Settings):
    """The columns by role. Each task adds its own roles to these."""

    id: str | None = Field(default=None, description="a unique id; null: the row number")
    group: str | None = Field(default=None, description="rows of one group stay in one split")
    event_time: str | None = None
    split: str | None = Field(default=None, description="a published split: train, validation (or dev), test")
    weight: str | None = Field(
        default=None,
        description="how much a row counts in what is learned and chosen: numbers above 0, of which only the ratios "
        "matter; metrics count every row once",
    )

    truths: ClassVar[tuple[str, ...]] = ()  # the roles that hold the truth; all others of a task are inputs
    written: ClassVar[tuple[str, ...]] = ("label", "id", "group", "categories")  # roles whose values are codes …
    numeric: ClassVar[tuple[str, ...]] = (
        "numbers",
        "score",
        "weight",
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
            for role, columns in self.roles.items()
            for name in (columns if isinstance(columns, list) else [columns])
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
        description="a file, folder, glob or URI (csv, json, parquet, delta, s3://, abfss://), hf://OWNER/NAME, "
        "postgresql://HOST/DATABASE/SCHEMA.TABLE (redshift://, mysql://), python:module:function, or a table or view "
        "of the lake; null: the table exists already",
    )
    table: str | None = Field(
        default=None,
        description="catalog.schema.table[@vN], or without a source a view; default {schema}.{name}",
    )
    unlabeled: str | None = Field(
        default=None,
        description="catalog.schema.table[@vN], or a source as above, of rows without a label, which encoder learns "
        "from beside few labelled ones; may be the project's own table",
    )
    format: str | None = Field(
        default=None, description="csv, json, parquet or delta, if the source's name does not show it"
    )
    mode: Literal["replace", "append"] = Field(
        default="replace",
        description="append: the files of the source that were not read before are added to the table, each once; "
        "replace: the table is all rows of the source",
    )
    options: dict[str, Any] = Field(default={}, description="options of the source (csv: delimiter, encoding, types …)")
    exclude: list[str] = Field(default=[], description="columns of the source that are left out of the table")
    derive: dict[str, str] = Field(
        default={},
        description="column → SQL expression over the source's columns, computed when the table is written; the "
        "columns that the truth is derived from are no inputs",
    )
    expect: list[Expected] = Field(
        default=[], description="what the source's rows should be, checked while they are written to the table"
    )
    columns: SerializeAsAny[Columns]

    @field_validator("expect")
    @classmethod
    def _named_apart(cls, expect: list[Expected]) -> list[Expected]:
        expectations(expect)
        return expect

    @model_validator(mode="after")
    def _columns_stay(self) -> Self:
        for role, name in self.columns.names:
            if name in self.exclude:
                raise Refused(
                    f"exclude leaves out the column {name!r}, which columns.{role} names",
                    f"remove {name!r} from data.exclude, or from data.columns.{role}",
                )
        if self.derive and self.source is None:
            raise Refused(
                "derive computes columns when a source is written to a table, and there is no source",
                "add the column in SQL: lakewright sql 'create or replace table … as select *, … from …'",
            )
        if self.mode == "append" and self.source is None:
            raise Refused("mode append reads the new files of a source, and there is no source", "remove data.mode")
        if self.exclude and self.source is None:
            raise ValueError("exclude names columns of a source, and there is no source")
        if self.expect and self.source is None:
            raise Refused(
                "expect is checked when a source is written to a table, and there is no source",
                "name the source, or remove data.expect",
            )
        return self


class FeatureLookup(Settings):
    """Values of a feature table, joined to the project's rows as they were known at each row's time."""

    table: str = Field(description="a feature table: catalog.schema.table[@vN]")
    keys: dict[str, str] = Field(
        default={}, description="the table's key → the column of the rows that holds it, where that has another name"
    )
    values: dict[str, str] = Field(
        default={},
        description="value → its name beside the rows' columns, or a list of values; none: all, by their names",
    )

    @field_validator("values", mode="before")
    @classmethod
    def _by_their_names(cls, values: object) -> object:
        return {str(each): str(each) for each in values} if isinstance(values, list) else values


class Split(Settings):
    method: Literal["auto", "random", "grouped", "time", "predefined"] = Field(
        default="auto",
        description="auto: predefined if columns.split is set or the table has a column `split`, grouped if "
        "columns.group is set, else random (stratified by label)",
    )
    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    names: dict[str, Literal["train", "validation", "test"]] = Field(
        default={},
        description="published split → train, validation or test here: {validation: test} if the test split is secret",
    )
    gap: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)?[wdhms]?$",
        description="method time: rows so shortly before validation, or before test, are in no split: 7d, 12h (weeks, "
        "days, hours, minutes, seconds); without a unit where times are numbers",
    )
    seed: int = 13
    fold: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]*/[1-9][0-9]*$",
        description="2/5: the second of five equal parts of train and validation is validation; a search over folds "
        "sets it",
    )

    @model_validator(mode="after")
    def _of_all_parts(self) -> Self:
        part, _, parts = (self.fold or "1/2").partition("/")
        if not 1 <= int(part) <= int(parts) or int(parts) < 2:
            raise ValueError(f"fold is {self.fold}: write the part and the number of parts, such as 2/5")
        if self.fold is not None and self.method == "time":
            raise Refused(
                "folds would let a model learn from rows that are later than those it is measured on",
                "remove prepare.split.fold, or the folds of tune.metric",
            )
        return self


class Prepare(Settings):
    split: Split = Split()
    duplicates: Literal["auto", "drop", "keep"] = Field(
        default="auto",
        description="drop: of equal normalised rows, one is kept; with a published split, test keeps all its rows, and "
        "train loses those that are also in test or validation; auto: drop, but keep in a table without texts where "
        "many equal rows differ in their truth, because these are different things",
    )
    drop_missing: list[str] = Field(
        default=[], description="inputs: rows without a value in one of them are left out of all splits, and counted"
    )
    balance: Literal["none", "weights", "oversample", "undersample", "weighted_undersample", "smote"] = "none"
    correct_prior: bool = Field(
        default=False,
        description="true: the probabilities of a model that learned from balanced labels are corrected to the labels' "
        "frequencies in train",
    )
    recipe: dict[str, SerializeAsAny[StepSettings]] = Field(
        default={},
        description="NAME → settings of a step: of one that the learner takes by itself, or of one more; the key "
        "`step` names the step, and NAME does so without this key",
    )

    @field_validator("recipe", mode="before")
    @classmethod
    def _of_their_steps(cls, recipe: object) -> object:
        if not isinstance(recipe, dict):
            return recipe
        return {name: validated(step_of(str(name)), {} if own is None else own) for name, own in recipe.items()}


class Cost(Settings):
    """What a wrong decision between two classes costs, in any unit; a right one costs nothing."""

    false_positive: float = Field(ge=0, description="the second class is predicted, and the first is true")
    false_negative: float = Field(ge=0, description="the first class is predicted, and the second is true")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.false_positive == self.false_negative == 0:
            raise ValueError("both costs are 0, so that every decision costs the same: set one of them above 0")
        return self


class Bias(Settings):
    """Whom the model's predictions are compared for: the measures of SageMaker Clarify."""

    facets: list[str] = Field(
        min_length=1,
        description="of the table: a column, COLUMN=VALUE, COLUMN>NUMBER or COLUMN<=NUMBER; the rows of each value are "
        "compared with the other rows",
    )
    positive: str | list[str] | None = Field(
        default=None,
        description="the label, or labels, of the better outcome; of a number, the threshold that it is above; null: "
        "the second of two classes",
    )
    group: str | None = Field(
        default=None, description="a column of the table: rows are also compared among those of each of its values"
    )

    @property
    def positives(self) -> list[str]:
        return [self.positive] if isinstance(self.positive, str) else self.positive or []


class Evaluate(Settings):
    slices: list[str] = Field(default=[], description="columns of the table to report by")
    cost: Cost | None = Field(
        default=None,
        description="of two classes, what each kind of error costs: {false_positive: 1, false_negative: 5}; the report "
        "then has the threshold that costs least on validation",
    )
    bias: Bias | None = Field(
        default=None, description="{facets: [sex=female, age>40], positive: yes}: how predictions differ between people"
    )
    resamples: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = 13


class Gate(Settings):
    minimum: dict[str, float] = Field(default={}, description="metric → least value")
    maximum: dict[str, float] = Field(default={}, description="metric → greatest value (log_loss, ece, …)")
    bias: dict[str, float] = Field(
        default={},
        description="measure of evaluate.bias → how far from 0 it may be for any facet; of DI, the least ratio, either "
        "way",
    )
    champion: bool = Field(
        default=True, description="true: the model must not be significantly worse than the champion on the same rows"
    )
    compare_by: str = Field(
        default="auto",
        description="the metric of this comparison; auto: the task's primary metric, by the paired bootstrap; "
        "accuracy: by McNemar's test",
    )

    @field_validator("minimum", "maximum", "bias", mode="before")
    @classmethod
    def _numbers(cls, bounds: object) -> object:
        for metric, bound in bounds.items() if isinstance(bounds, dict) else ():
            percent = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", bound) if isinstance(bound, str) else None
            if percent:
                raise ValueError(f"{metric} is a share, not a percentage: write {float(percent[1]) / 100:g}")
            if isinstance(bound, bool):
                raise ValueError(f"{metric} is {str(bound).lower()}, not a number")
        return bounds


class Register(Settings):
    model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]+\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+$",
        description="catalog.schema.name; default {schema}.{name}",
    )
    approval: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="automatic: a model that passes the gate becomes champion; manual: it waits as challenger",
    )
    description: str = ""
    tags: dict[str, str] = Field(default={})


class Until(Settings):
    """What ends a search before its trials or minutes do."""

    plateau: int = Field(ge=1, description="trials in a row without a better one")


class AutoML(Settings):
    """What `lakewright automl` searches, and how long; `run` does not read it."""

    minutes: float = Field(default=10, gt=0, description="from the prepared rows to the sealed model")
    metric: str = Field(
        default="auto",
        description="what the leaderboard shows first; auto: the task's primary one. Models are chosen by log loss or "
        "squared error",
    )
    trials: int | None = Field(default=None, ge=1, description="candidates at most; null: as many as there is time for")
    learners: list[str] | None = Field(default=None, min_length=1, description="these alone; null: all that can")
    without: list[str] = Field(default=[], description="learners that are left out")
    base_model: str | None = Field(
        default=None,
        description="the pretrained encoder of candidates that read texts by one; null: train.base_model",
    )
    folds: Literal[3, 4, 5, 6, 7, 8] | None = Field(
        default=None,
        description="parts of train and validation, each predicted by models that did not learn from it; "
        "null: 8, 5 or 3, as many as there is time for",
    )
    seed: int = Field(default=13, ge=0)


LEAST_FOLDS = 5  # for tune.prune: wilcoxon. Four that are all worse are the first with a p below 0.1; then one is saved


class Folds(Settings):
    """A metric as the mean over folds: each trial is trained once for each."""

    name: str = Field(default="auto", description="the metric; auto: the task's primary one")
    folds: int = Field(ge=2, le=20, description="equal parts of train and validation, each validation once")


class Tune(Settings):
    """What `lakewright tune` searches; `run` does not read it."""

    metric: str | Folds = Field(
        default="auto",
        description="the metric on validation that is searched for; auto: the task's primary one; {name: macro_f1, "
        "folds: 5}: its mean over folds of train and validation",
    )
    trials: int | None = Field(
        default=None,
        ge=2,
        description="trials, the project's own settings among them; default 40 if neither minutes nor until is set",
    )
    minutes: float | None = Field(
        default=None, gt=0, description="no trial starts that, by the slowest so far, would end later"
    )
    until: Until | None = Field(default=None, description="{plateau: 15}: until so many trials brought nothing better")
    sampler: Literal["tpe", "random", "grid"] = Field(
        default="tpe",
        description="tpe: learns from the trials so far; random; grid: every combination of options, whole numbers "
        "and steps",
    )
    prune: Literal["none", "median", "hyperband", "wilcoxon"] = Field(
        default="none",
        description="median: a training ends early that is worse on validation than half of the earlier ones of its "
        "learner were at the same epoch, or number of trees; hyperband: at 1/27, 1/9 and 1/3 of the way the best third "
        "goes on; wilcoxon: a trial ends after a fold where its folds are worse than the best trial's, by a "
        "signed-rank test",
    )
    queue: int = Field(
        default=1,
        ge=1,
        description="trials that are proposed before the first of them has ended; as many can run at once. With more, "
        "tpe knows less when it proposes",
    )
    keep: int = Field(default=3, ge=1, description="model folders that stay: those of the best trials")
    seed: int = Field(default=13, ge=0)
    space: dict[str, Any] = Field(description="setting → what is drawn for it: docs/tuning.md")

    @field_validator("space")
    @classmethod
    def _readable(cls, space: dict[str, Any]) -> dict[str, Any]:
        try:
            drawn = spaces.read(space)
        except UsageError as error:
            raise Refused(error.cause, error.remedy) from None
        return dict(spaces.written(drawn))

    @model_validator(mode="after")
    def _with_grid(self) -> Self:
        try:
            if self.sampler == "grid":
                spaces.grid(spaces.read(self.space))
        except UsageError as error:
            raise Refused(error.cause, error.remedy) from None
        return self

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.folds and self.prune in ("median", "hyperband"):
            raise Refused(
                f"a trial over folds is not ended early by prune: {self.prune}",
                "set tune.prune: wilcoxon, which compares folds, or remove the folds of tune.metric",
            )
        if self.prune == "wilcoxon" and self.folds < LEAST_FOLDS:
            raise Refused(
                f"prune: wilcoxon needs {LEAST_FOLDS} folds or more: no test of fewer than {LEAST_FOLDS - 1} folds "
                "says that a trial is worse",
                f"set tune.metric: {{name: auto, folds: {LEAST_FOLDS}}}, or remove tune.prune",
            )
        return self

    @property
    def metric_name(self) -> str:
        return self.metric if isinstance(self.metric, str) else self.metric.name

    @property
    def folds(self) -> int:
        """0: the project's own validation split."""
        return 0 if isinstance(self.metric, str) else self.metric.folds

    @property
    def most_trials(self) -> int | None:
        """None: as many as there is time for, or as the grid has points."""
        open_end = self.minutes is not None or self.until is not None or self.sampler == "grid"
        return self.trials if self.trials is not None or open_end else 40


class TaskSettings(Settings):
    """The settings that every task has; `name` picks the rest."""

    name: str


class LearnerSettings(Settings):
    """The settings that every learner has; `learner` picks the rest."""

    learner: str
