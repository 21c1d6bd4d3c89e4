"""What of a project can be given anew each time it is run on a platform: the same names on every target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lakewright.errors import ProfileError, nearest
from lakewright.project import Project

SETTINGS = {
    "InputData": "data.source",
    "MaxSeqLength": "prepare.max_length",
    "ValidationSplit": "prepare.split.validation",
    "TestSplit": "prepare.split.test",
    "SplitSeed": "prepare.split.seed",
    "BaseModel": "train.base_model",
    "Epochs": "train.num_train_epochs",
    "LearningRate": "train.learning_rate",
    "TrainBatchSize": "train.per_device_train_batch_size",
    "Seed": "train.seed",
}


@dataclass(frozen=True)
class Parameter:
    """`name` stands for `setting`, in every stage alike: `--set setting=value`."""

    name: str
    setting: str
    default: str | int | float | bool

    @property
    def kind(self) -> Literal["String", "Integer", "Float", "Boolean"]:
        """By the default. One that may be a word (auto) is a String: the setting reads numbers from it as well."""
        kinds = {bool: "Boolean", int: "Integer", float: "Float", str: "String"}
        return kinds[type(self.default)]  # type: ignore[return-value]


def parameters(project: Project, more: Mapping[str, str] = {}) -> list[Parameter]:
    """Of SETTINGS those that this project has, a MinAccuracyValue for each `gate.minimum`, and `more` (name → setting).

    Raises ProfileError for a setting that the project has not.
    """
    for name in more:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in SETTINGS:
            raise ProfileError(
                f"{name!r} cannot name a parameter: "
                + ("it is one already" if name in SETTINGS else "letters, digits and _ do"),
                "give it another name",
            )
    bounds = {f"Min{_camel(metric)}Value": f"gate.minimum.{metric}" for metric in project.gate.minimum}
    found = []
    for name, setting in {**SETTINGS, **bounds, **more}.items():
        values: Any = project.resolved
        for part in setting.split("."):
            known, values = values, values.get(part, ...) if isinstance(values, dict) else ...
            if values is ...:
                break
        if values is ... and name in more:
            raise ProfileError(
                f"the parameter {name} names {setting}, which this project has not", nearest(part, known)
            )
        if values is ... or (setting == "data.source" and values is None):
            continue
        plain = isinstance(values, str | int | float)
        found.append(Parameter(name, setting, values if plain else json.dumps(values)))
    return found


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
