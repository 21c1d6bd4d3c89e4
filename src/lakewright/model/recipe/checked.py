"""The values of a step's description in recipe.json, checked: the folder may come from anybody.

Each function raises ValueError, which names the key, for a value of another type, size or range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lakewright.data.rows.kinds import Kind
from lakewright.errors import shown


def value(described: Mapping[str, Any], key: str) -> Any:
    if key not in described:
        raise ValueError(f"{key} is missing")
    return described[key]


def text(described: Mapping[str, Any], key: str) -> str:
    return _text(value(described, key), key)


def texts(described: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_text(each, key) for each in items(described, key))


def names(described: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Texts, none of them twice."""
    return distinct(texts(described, key), key)


def distinct(values: tuple[str, ...], key: str) -> tuple[str, ...]:
    if len({*values}) < len(values):
        raise ValueError(f"{key} names a value twice")
    return values


def number(described: Mapping[str, Any], key: str) -> float:
    """A finite number."""
    return _number(value(described, key), key)


def numbers(described: Mapping[str, Any], key: str) -> tuple[float, ...]:
    return tuple(_number(each, key) for each in items(described, key))


def maybe_numbers(described: Mapping[str, Any], key: str) -> tuple[float | None, ...]:
    """A list of finite numbers and nulls."""
    return tuple(None if each is None else _number(each, key) for each in items(described, key))


def whole(described: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    each = value(described, key)
    if type(each) is not int or not least <= each <= most:
        raise ValueError(f"{key} is {shown(each)}, not a whole number from {least:,} to {most:,}")
    return each


def truth(described: Mapping[str, Any], key: str) -> bool:
    each = value(described, key)
    if not isinstance(each, bool):
        raise ValueError(f"{key} is {shown(each)}, neither true nor false")
    return each


def items(described: Mapping[str, Any], key: str) -> list[Any]:
    each = value(described, key)
    if not isinstance(each, list | tuple):
        raise ValueError(f"{key} is {shown(each)}, not a list")
    return [*each]


def mapping(described: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Text → value, in the order of the file."""
    each = value(described, key)
    if not isinstance(each, Mapping):
        raise ValueError(f"{key} is {shown(each)}, not an object")
    return {_text(name, key): inner for name, inner in each.items()}


def mappings(described: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects."""
    return [mapping({key: each}, key) for each in items(described, key)]


def mapping_of_numbers(described: Mapping[str, Any], key: str) -> dict[str, float]:
    return {name: _number(inner, f"{key}.{name}") for name, inner in mapping(described, key).items()}


def mapping_of_texts(described: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: _text(inner, f"{key}.{name}") for name, inner in mapping(described, key).items()}


def _text(each: Any, key: str) -> str:
    if not isinstance(each, str):
        raise ValueError(f"{key} holds {shown(each)}, which is not a text")
    return each


def _number(each: Any, key: str) -> float:
    if isinstance(each, bool) or not isinstance(each, int | float):
        raise ValueError(f"{key} holds {shown(each)}, which is not a number")
    try:
        read = float(each)
    except OverflowError:
        read = math.inf
    if not math.isfinite(read):
        raise ValueError(f"{key} holds {shown(each)}, which is not a finite number")
    return read


def usual(described: Mapping[str, Any], key: str, inputs: Mapping[str, Kind]) -> dict[str, Any]:
    """A value of each input: a finite number for a number, else a text."""
    each = mapping(described, key)
    return {name: number(each, name) if kind == "number" else text(each, name) for name, kind in inputs.items()}


def kinds(described: Mapping[str, Any], key: str, known: tuple[Kind, ...]) -> dict[str, Kind]:
    """Input → kind, one or more, each of the `known` kinds."""
    each = mapping(described, key)
    if not each or not {*map(str, each.values())} <= {*known}:
        raise ValueError(f"{key} is not inputs with one of the kinds {', '.join(known)}")
    return each
