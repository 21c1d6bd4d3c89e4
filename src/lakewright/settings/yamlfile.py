"""Reads a YAML file strictly and keeps the line of every key, so that an error can name it.

Used for project.yml and profiles.yml. YAML's traps are closed: a key written twice is an error, and so is a
document that is not a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lakewright.errors import UsageError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Key = tuple[str | int, ...]
KIND = re.compile(
    r"(literal|constrained|function|model)[-\[].*|float|int|bool|str"
)  # pydantic's names for the kinds in a union
SET = 0  # in place of a line: the key comes from --set


class Refused(ValueError):
    """A validator's complaint about a setting, and the user's remedy."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


@dataclass(frozen=True)
class YamlFile:
    path: Path
    values: dict[str, Any]
    lines: Mapping[Key, int]  # key path → line, from 1
    texts: Mapping[Key, str] = field(default_factory=dict)  # for keys of --set: the value as written

    def where(self, key: Key) -> str:
        """`project.yml:12`: the key's line or that of the nearest key above it; `--set` for a key from there."""
        for end in range(len(key), 0, -1):
            line = self.lines.get(key[:end])
            if line is not None:
                return "--set" if line == SET else f"{self.path.name}:{line}"
        return self.path.name


def read_yaml(path: Path, error: type[UsageError]) -> YamlFile:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"there is no file {path}", "write the path of an existing file") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise error(
            f"{path} cannot be read: {failure}", "save it as UTF-8 text, and allow this user to read it"
        ) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise error(f"{path.name} does not hold a mapping", "write `key: value` lines")
        lines: dict[Key, int] = {}
        _note_lines(root, (), lines, path, error)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as failure:
        mark = getattr(failure, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}" if mark else path.name
        problem = getattr(failure, "problem", None) or failure
        raise error(f"{where}: this is not valid YAML: {problem}", "check the indentation and the quotes") from None
    return YamlFile(path, values, lines)


def _note_lines(node: yaml.Node, at: Key, lines: dict[Key, int], path: Path, error: type[UsageError]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*at, str(key_node.value))
            line = key_node.start_mark.line + 1
            if key in lines:
                raise error(
                    f"{path.name}:{line}: {'.'.join(map(str, key))!r} is set twice, first on line {lines[key]}",
                    "keep one of them",
                )
            lines[key] = line
            _note_lines(value_node, key, lines, path, error)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*at, i)] = item.start_mark.line + 1
            _note_lines(item, (*at, i), lines, path, error)


def override(file: YamlFile, settings: Sequence[str], error: type[UsageError]) -> YamlFile:
    """The file overridden by `a.b=c` settings; `value_of` reads each value."""
    import copy

    values, lines, texts = copy.deepcopy(file.values), dict(file.lines), dict(file.texts)
    for setting in settings:
        name, equals, text = setting.partition("=")
        key = tuple(name.strip().split("."))
        if not equals or not all(key):
            raise error(f"--set {setting!r} is not of the form a.b=value", "for example --set train.learning_rate=3e-5")
        lay(values, key, value_of(text))
        lines = {each: line for each, line in lines.items() if each[: len(key)] != key} | {key: SET}
        texts = {each: text for each, text in texts.items() if each[: len(key)] != key} | {key: text}
    return YamlFile(file.path, values, lines, texts)


def value_of(text: str) -> Any:
    """A value of --set: as YAML reads it (a number, a list, null, a string in quotes …), else the text unchanged.

    So `1e-4`, `[a, b]` and `null` work, and `rows #2.csv` holds no comment, `*.csv` no alias.
    """
    try:
        node, value = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if node is None:
        return text if text.strip(" \t\r\n") else None
    whole = text[node.start_mark.index : node.end_mark.index].strip() == text.strip()
    in_quotes = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
    return value if whole and (in_quotes or not isinstance(value, str)) else text


def as_written(file: YamlFile, failure: ValidationError, at: Key = ()) -> YamlFile | None:
    """The file with the original text of --set in place of YAML's value, where a string is needed: 2024, yes, a: b.

    None if the failure has other causes. `failure` is about the part at the key `at`.
    """
    import copy

    keys = {
        _key(problem["loc"], at) for problem in failure.errors() if problem["type"] in ("string_type", "literal_error")
    }
    values, texts = copy.deepcopy(file.values), {key: file.texts[key] for key in keys & file.texts.keys()}
    for key, text in texts.items():
        lay(values, key, text)
    changed = replace(file, values=values, texts={key: text for key, text in file.texts.items() if key not in texts})
    return changed if texts else None


def lay(values: dict[str, Any], key: Key, value: Any) -> None:
    """Sets the value at the key and makes the missing mappings above it."""
    for part in key[:-1]:
        if not isinstance(values.get(str(part)), dict):
            values[str(part)] = {}
        values = values[str(part)]
    values[str(key[-1])] = value


def _key(loc: Key, at: Key) -> Key:
    """The key in the file for pydantic's location: without the kinds of a union."""
    return (*at, *(part for part in loc if not (isinstance(part, str) and KIND.fullmatch(part))))


def explain(
    failure: ValidationError, model: type[BaseModel], file: YamlFile, error: type[UsageError], at: Key = ()
) -> UsageError:
    """pydantic's complaints as one error: file, line, key, cause, and for an unknown key the nearest one.

    `model` is the validated class; its part of the file is at the key `at`.
    """
    causes: list[str] = []
    argument = " profiles" if error.__name__ == "ProfileError" else ""
    remedies: list[str] = []
    wrong: dict[Key, list[str]] = {}  # for a setting of several possible kinds, every kind complains
    for problem in failure.errors():
        key = _key(problem["loc"], at)
        name = ".".join(str(part) for part in key)
        if problem["type"] == "extra_forbidden":
            causes.append(f"{file.where(key)}: {name!r} is not a known key")
            remedies.append(nearest(str(key[-1]), _keys_beside(model, key[len(at) :])))
        elif problem["type"] == "missing":
            causes.append(f"{file.where(key)}: {name!r} is missing")
            remedies.append(f"add {name}")
        else:
            value = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
            refusal = problem.get("ctx", {}).get("error")
            if isinstance(refusal, Refused):
                remedies.append(refusal.remedy)
            elif problem["type"] == "string_type" and isinstance(problem["input"], int | float | date):
                remedies.append(
                    f"write {name} in quotes: without them YAML reads it as {type(problem['input']).__name__}"
                )
            elif problem["type"] == "finite_number":
                remedies.append(f"set {name} to a number that is neither infinite nor nan; the greatest is 1.7e308")
            wrong.setdefault(key, []).append(problem["msg"].removeprefix("Value error, ") + value)
    for key, messages in wrong.items():
        causes.append(f"{file.where(key)}: {'.'.join(map(str, key))}: {'; or '.join(messages)}")
    return error(
        "\n".join(causes),
        "\n".join(dict.fromkeys(remedies)) or f"`lakewright schema{argument}` prints the allowed keys and values",
    )


def _keys_beside(model: type[BaseModel], key: Key) -> list[str]:
    """The keys allowed at the place of `key`'s last part."""
    here: type[BaseModel] = model
    for part in key[:-1]:
        field = next((f for n, f in here.model_fields.items() if (f.alias or n) == part), None)
        inner = None if field is None else _model_in(field.annotation)
        here = inner or here  # a place in a list, or a key that users choose, stays where it is
    return [field.alias or name for name, field in here.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model that a type is, or has in it: of list[Model], dict[str, Model], Model | None."""
    from typing import get_args

    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)
