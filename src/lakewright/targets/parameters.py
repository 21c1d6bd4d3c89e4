"""The settings of a project that each run on a platform can change: the same names on every target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lakewright.errors import ProfileError, nearest
from lakewright.settings.project import Project
from lakewright.settings.yamlfile import value_of

SETTINGS = {
    "InputData": "data.source",
    "MaxSeqLength": "prepare.recipe.tokens.max_length",
    "ValidationSplit": "prepare.split.validation",
    "TestSplit": "prepare.split.test",
    "SplitSeed": "prepare.split.seed",
    "BaseModel": "train.base_model",
    "Epochs": "train.num_train_epochs",
    "LearningRate": "train.learning_rate",
    "TrainBatchSize": "train.per_device_train_batch_size",
    "Seed": "train.seed",
}
PARAMETER = r"[A-Za-z][A-Za-z0-9_]*"
# ${…} and {{…}}, which platforms replace, and characters that are invisible or that YAML must escape
FILLED_IN = re.compile(
    r"\$(?=\{)|\{(?=\{)|[\x00-\x1f\x7f-\xa0\u2000-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\uffff]"
)
UNSAFE = re.compile(f"'|{FILLED_IN.pattern}")  # a platform may put a parameter's value between quotes of a shell


@dataclass(frozen=True)
class Parameter:
    """`name` sets `setting` in every stage: `--set setting=value`."""

    name: str
    setting: str
    default: str | int | float | bool  # a string is in the form of --set

    @property
    def kind(self) -> Literal["String", "Integer", "Float", "Boolean"]:
        """The kind of the default. A default such as auto makes a String: the setting reads numbers from it as well."""
        kinds = {bool: "Boolean", int: "Integer", float: "Float", str: "String"}
        return kinds[type(self.default)]  # type: ignore[return-value]


def parameters(project: Project, more: Mapping[str, str] = {}) -> list[Parameter]:
    """The SETTINGS that this project has, a MinAccuracyValue for each `gate.minimum`, and `more` (name → setting).

    Raises ProfileError if the project does not have a setting.
    """
    for name in more:
        if not re.fullmatch(PARAMETER, name) or name in SETTINGS:
            raise ProfileError(
                f"{name!r} cannot name a parameter: "
                + ("a parameter has this name already" if name in SETTINGS else "only letters, digits and _ can"),
                "use another name",
            )
    bounds = {f"Min{_camel(metric)}Value": f"gate.minimum.{metric}" for metric in project.gate.minimum}
    bounds = {name: setting for name, setting in bounds.items() if re.fullmatch(PARAMETER, name)}
    result = []
    for name, setting in {**SETTINGS, **bounds, **more}.items():
        values: Any = project.resolved
        for part in setting.split("."):
            parent, values = values, values.get(part, ...) if isinstance(values, dict) else ...
            if values is ...:
                break
        if values is ... and name in more:
            raise ProfileError(
                f"the parameter {name} names {setting}, which this project does not have", nearest(part, parent)
            )
        if values is ... or (setting == "data.source" and values is None):
            continue
        result.append(Parameter(name, setting, values if isinstance(values, int | float) else as_text(values)))
    return result


def override_settings(project: Project) -> list[str]:
    """The `a.b=c` settings of the deploy command, for each stage: one argument each, with their quotes."""
    settings = (setting.partition("=") for setting in project.overrides)
    return [f"{name}={_escaped(text) if FILLED_IN.search(text) else text}" for name, _, text in settings]


def stage_settings(project: Project, parameters: Sequence[Parameter]) -> list[str]:
    """All --set settings of a stage, with the parameters at their defaults."""
    defaults = (each.default if isinstance(each.default, str) else json.dumps(each.default) for each in parameters)
    return [
        *override_settings(project),
        *(f"{each.setting}={text}" for each, text in zip(parameters, defaults, strict=True)),
    ]


def as_text(value: Any) -> str:
    """A value in the form of --set: in quotes, with escapes, only if it would be read as another value without them."""
    if isinstance(value, str) and value_of(value) == value == value.strip():
        return unmistakable(value)
    return _in_quotes(value)


def unmistakable(text: str) -> str:
    """A text as a value of --set, in which no platform and no shell replaces anything."""
    return _escaped(text) if UNSAFE.search(text) else text


def _escaped(text: str) -> str:
    return _in_quotes(value_of(text))


def _in_quotes(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)  # YAML reads JSON, and has more escapes
    return UNSAFE.sub(lambda match: f"\\U{ord(match[0]):08x}", text)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
