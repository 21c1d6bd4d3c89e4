"""Whether JSON is what databricks-sdk's own types allow: no unknown field, no unknown word of an enum, no other type.

The SDK itself is lenient: it drops what it does not know. Here its type hints are the schema.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """What Databricks would answer with 400."""


def conforms(value: Any, kind: Any, where: str = "body") -> None:
    """Raises Refused, which says where."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        wanted = [each for each in arguments if each is not type(None)]
        if value is None:
            raise Refused(f"{where} is null")
        if len(wanted) == 1:
            return conforms(value, wanted[0], where)
        raise Refused(f"{where}: {kind} is not understood")
    if origin in (list, typing.List):  # noqa: UP006
        if not isinstance(value, list):
            raise Refused(f"{where} is {value!r}, not a list")
        for at, each in enumerate(value):
            conforms(each, arguments[0], f"{where}[{at}]")
        return None
    if origin in (dict, typing.Dict):  # noqa: UP006
        if not isinstance(value, dict):
            raise Refused(f"{where} is {value!r}, not an object")
        for name, each in value.items():
            conforms(each, arguments[1], f"{where}.{name}")
        return None
    if dataclasses.is_dataclass(kind):
        # Not get_type_hints, which takes the field `compute` for the module of that name
        names = vars(sys.modules[kind.__module__])  # type: ignore[attr-defined]
        hints = {each.name: eval(str(each.type), names) for each in dataclasses.fields(kind)}
        required = {
            each.name
            for each in dataclasses.fields(kind)
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        }
        return _object(value, hints, required, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in [each.value for each in kind]:
            raise Refused(f"{where} is {value!r}, not one of {[each.value for each in kind]}")
        return None
    if kind is Any:
        return None
    plain = {str: str, bool: bool, int: int, float: (int, float)}
    if kind not in plain:
        raise Refused(f"{where}: {kind} is not understood")
    if not isinstance(value, plain[kind]) or (isinstance(value, bool) and kind is not bool):
        raise Refused(f"{where} is {value!r}, not {kind.__name__}")
    return None


def conforms_to_call(body: Mapping[str, Any], method: Callable[..., Any], beside: tuple[str, ...] = ()) -> None:
    """The body (or the query) of the call that an SDK's method makes; `beside`: what of it is in the path instead."""
    hints = typing.get_type_hints(method, vars(sys.modules[method.__module__]))
    known = {name: each for name, each in inspect.signature(method).parameters.items() if name != "self"}
    required = {name for name, each in known.items() if each.default is inspect.Parameter.empty} - {*beside}
    _object(dict(body), {name: hints[name] for name in known if name not in beside}, required, "body")


def _object(value: Any, hints: Mapping[str, Any], required: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise Refused(f"{where} is {value!r}, not an object")
    for name in value:
        if name not in hints:
            raise Refused(f"{where} has the unknown field {name!r}")
    for name in sorted(required - {*value}):
        raise Refused(f"{where} lacks {name}")
    for name, each in value.items():
        conforms(each, hints[name], f"{where}.{name}")
