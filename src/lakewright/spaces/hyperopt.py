"""Reads a space of Hyperopt's own objects from their expression tree. Hyperopt need not be installed.

Hyperopt's conventions differ from ours: its loguniform takes the logarithms of the bounds, and its randint leaves out
the upper end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lakewright.errors import UsageError, shown
from lakewright.spaces.distributions import (
    Choice,
    Distribution,
    LogNormal,
    LogUniform,
    Normal,
    PChoice,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
    Uniform,
)
from lakewright.spaces.drawing import Parameter, Space, Whole


def is_hyperopt(space: object) -> bool:
    """Whether an object of Hyperopt stands anywhere in it."""
    if isinstance(space, Mapping):
        return any(map(is_hyperopt, space.values()))
    if isinstance(space, list | tuple):
        return any(map(is_hyperopt, space))
    return _is_node(space)


def from_hyperopt(space: object) -> Space:
    """The same space in our objects, for a structure that holds Hyperopt's (hp.choice, hp.loguniform, …).

    Raises UsageError for an expression that is no space: what computes with drawn values belongs into the objective.
    """
    return _read(space, {})


def _is_node(value: object) -> bool:
    return all(hasattr(value, name) for name in ("name", "pos_args", "named_args"))


def _read(node: Any, seen: dict[int, Parameter]) -> Any:
    if isinstance(node, Mapping):
        return {key: _read(inner, seen) for key, inner in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_read(inner, seen) for inner in node)
    if not _is_node(node):
        return node
    if node.name == "literal":
        return _literal(node)
    if node.name == "dict":
        return {key: _read(inner, seen) for key, inner in node.named_args}
    if node.name == "pos_args":
        return tuple(_read(inner, seen) for inner in node.pos_args)
    if node.name == "float":
        return _read(node.pos_args[0], seen)
    if node.name == "int":
        return Whole(_read(node.pos_args[0], seen))
    if node.name == "hyperopt_param":
        return _parameter(node, _numbers, seen)
    if node.name == "switch":
        return _parameter(node.pos_args[0], lambda inner: _choice(inner, node.pos_args[1:], seen), seen)
    raise UsageError(
        f"the space computes {shown(node.name)} from what is drawn",
        "keep distributions, lists and mappings in the space, and compute in the objective",
    )


def _parameter(node: Any, distribution: Any, seen: dict[int, Parameter]) -> Parameter:
    """One node that stands in two places is one parameter."""
    if id(node) not in seen:
        label, inner = node.pos_args
        seen[id(node)] = Parameter(str(_literal(label)), distribution(inner))
    return seen[id(node)]


def _choice(node: Any, options: Any, seen: dict[int, Parameter]) -> Distribution:
    read = [_read(option, seen) for option in options]
    if node.name == "categorical":
        probabilities = node.pos_args[0]
        listed = probabilities.pos_args if _is_node(probabilities) and probabilities.name == "pos_args" else None
        return PChoice(read, [_literal(each) for each in listed] if listed is not None else _literal(probabilities))
    return Choice(read)


def _numbers(node: Any) -> Distribution:
    arguments = [_literal(each) for each in node.pos_args] + [_literal(each) for _, each in node.named_args]
    return distribution_of(node.name, arguments)


def distribution_of(name: str, arguments: list[Any]) -> Distribution:
    """The distribution that Hyperopt's arguments mean."""
    if name == "randint":
        low, high = arguments if len(arguments) == 2 else (0, arguments[0])
        return RandInt(low, high - 1)
    if name == "uniform":
        return Uniform(*arguments)
    if name == "loguniform":
        low, high = arguments
        return LogUniform(math.exp(low), math.exp(high))
    if name == "quniform":
        low, high, q = arguments
        return QUniform(low, high, float(q))
    if name == "qloguniform":
        low, high, q = arguments
        return QLogUniform(math.exp(low), math.exp(high), float(q))
    if name == "normal":
        return Normal(*arguments)
    if name == "lognormal":
        return LogNormal(*arguments)
    if name == "qnormal":
        mu, sigma, q = arguments
        return QNormal(mu, sigma, float(q))
    if name == "qlognormal":
        mu, sigma, q = arguments
        return QLogNormal(mu, sigma, float(q))
    raise UsageError(f"Hyperopt's distribution {shown(name)} is not known here", "use one of docs/tuning.md")


def _literal(node: Any) -> Any:
    return node.obj if _is_node(node) and node.name == "literal" else node
