"""A space as YAML holds it: key → {distribution: arguments}.

    train.learning_rate: {loguniform: [1e-5, 1e-3]}
    train.num_train_epochs: {randint: [1, 6]}
    train.learner: {choice: [linear, {embedding: {train.C: {loguniform: [0.01, 100]}}}]}
    prepare.balance: {pchoice: [[0.8, none], [0.2, weights]]}

An option that is a mapping has one key, its value; below it stand the settings that hold only with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from lakewright.errors import UsageError, nearest, shown
from lakewright.spaces.distributions import NUMBERS, Choice, Distribution, PChoice
from lakewright.spaces.drawing import Option, Parameter, Space, Whole, parameters

DISTRIBUTIONS = ("choice", "pchoice", *NUMBERS)
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads 1e-5, without a point, as text


class Unreadable(UsageError):
    """`keys` lead to the place in the space."""

    def __init__(self, keys: Sequence[str | int], cause: str, remedy: str) -> None:
        super().__init__(f"{'.'.join(map(str, keys))}: {cause}" if keys else cause, remedy)
        self.keys, self.bare, self.advice = tuple(keys), cause, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.keys, self.bare, self.advice), self.__dict__


def read(space: object) -> dict[str, Parameter]:
    """The space that a mapping of keys to distributions means; the keys are the labels, and inside an option the labels
    are `choice=option/key`. Raises UsageError, which names the place and the nearest distribution."""
    if not isinstance(space, Mapping) or not space:
        what = "has no parameter" if space in ({}, None) else f"is {shown(space)}, not a mapping"
        raise Unreadable((), f"the space {what}", "write at least one line, key: {loguniform: [0.01, 100]}")
    found = _parameters(space, (), "")
    parameters(found)
    return found


def written(space: Mapping[str, Parameter]) -> dict[str, Any]:
    """The space in the form that `read` reads."""
    return {key: _written(parameter.distribution) for key, parameter in space.items()}


def placed(space: object) -> Space:
    """The space with a parameter wherever a distribution stands in it, as an object or in YAML's form, at any depth of
    mappings, lists and tuples. Its label is the way to it: `model/C`, `0`; `value` where the space is the distribution.

    A mapping of one name to a list, which is no distribution, is a plain value only in a space of objects alone, and
    if its name is not nearly that of one. Else it raises Unreadable.
    """
    odd: list[tuple[tuple[str | int, ...], Mapping[Any, Any]]] = []
    has_parameter = has_form = False

    def place(inner: Any, at: tuple[str | int, ...]) -> Any:
        nonlocal has_parameter, has_form
        label = "/".join(map(str, at)) or "value"
        if isinstance(inner, Mapping) and len(inner) == 1 and isinstance(name := next(iter(inner)), str):
            if name in DISTRIBUTIONS and not isinstance(inner[name], Mapping | Parameter | Distribution):
                has_parameter = has_form = True
                return Parameter(label, _distribution(inner, at, label))
            if name in DISTRIBUTIONS or isinstance(inner[name], list | tuple):
                odd.append((at, inner))
        if isinstance(inner, Distribution):
            has_parameter = True
            return Parameter(label, inner)
        if isinstance(inner, Mapping):
            found = {key: place(each, (*at, key)) for key, each in inner.items()}
            _check_beside({key: each for key, each in found.items() if isinstance(each, Parameter)}, at)
            return found
        if isinstance(inner, list | tuple):
            return type(inner)(place(each, (*at, i)) for i, each in enumerate(inner))
        has_parameter |= isinstance(inner, Parameter | Whole)
        return inner

    found = place(space, ())
    for at, form in odd:
        if not has_parameter or ({*form}.isdisjoint(DISTRIBUTIONS) and (has_form or _is_nearly_one(form))):
            _distribution(form, at, "")  # raises
    return found


def _is_nearly_one(form: Mapping[Any, Any]) -> bool:
    return bool(get_close_matches(str(next(iter(form))).lower(), DISTRIBUTIONS, n=1, cutoff=0.8))


def _parameters(space: Mapping[Any, Any], at: tuple[str | int, ...], above: str) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for key, form in space.items():
        label = f"{above}{key}"
        found[str(key)] = Parameter(label, _distribution(form, (*at, str(key)), label))
    _check_beside(found, at)
    return found


def _check_beside(found: Mapping[Any, Parameter], at: tuple[str | int, ...]) -> None:
    for key, parameter in found.items():
        for inside in _beside(parameter.distribution):
            if inside in found:
                raise Unreadable(
                    (*at, inside),
                    f"it stands beside {key}, and inside one of its options",
                    "write it in one of the two places",
                )


def _beside(distribution: Distribution) -> set[str]:
    """The keys that the options of a choice bring, at any depth."""
    found: set[str] = set()
    for option in distribution.options if isinstance(distribution, Choice | PChoice) else ():
        if isinstance(option, Option):
            for key, parameter in option.beside.items():
                found |= {key} | _beside(parameter.distribution)
    return found


def _distribution(form: Any, at: tuple[str | int, ...], label: str) -> Distribution:
    if not isinstance(form, Mapping) or len(form) != 1:
        raise Unreadable(
            at, f"{shown(form)} is not a distribution", f"write one of {', '.join(DISTRIBUTIONS)}: {{choice: [a, b]}}"
        )
    ((name, arguments),) = form.items()
    if name not in DISTRIBUTIONS:
        raise Unreadable(at, f"there is no distribution {shown(name)}", nearest(str(name), DISTRIBUTIONS))
    if not isinstance(arguments, Sequence) or isinstance(arguments, str):
        raise Unreadable(
            (*at, name), f"{shown(arguments)} is not a list", f"write {{{name}: [{', '.join(_needed(name))}]}}"
        )
    try:
        if name == "choice":
            return Choice([_option(each, (*at, name, i), label) for i, each in enumerate(arguments)])
        if name == "pchoice":
            pairs = [_pair(each, (*at, name, i)) for i, each in enumerate(arguments)]
            options = [_option(option, (*at, name, i), label) for i, (_, option) in enumerate(pairs)]
            return PChoice(options, [probability for probability, _ in pairs])
        needed = _needed(name)
        if len(arguments) != len(needed):
            raise UsageError(
                f"{name} has {len(arguments)} numbers, and needs {len(needed)}",
                f"write {{{name}: [{', '.join(needed)}]}}",
            )
        distribution: Distribution = NUMBERS[name](*map(_number, arguments))
        return distribution
    except Unreadable:
        raise
    except UsageError as error:
        raise Unreadable(at, error.cause, error.remedy) from None


def _needed(name: str) -> list[str]:
    if name in NUMBERS:
        return [field.name for field in fields(NUMBERS[name])]
    return ["option", "…"] if name == "choice" else ["[probability, option]", "…"]


def _pair(form: Any, at: tuple[str | int, ...]) -> tuple[float, Any]:
    if not isinstance(form, Sequence) or isinstance(form, str) or len(form) != 2:
        raise Unreadable(at, f"{shown(form)} is not a probability and an option", "write [0.2, option]")
    probability = _number(form[0])
    if isinstance(probability, bool) or not isinstance(probability, int | float):
        raise Unreadable(at, f"the probability {shown(form[0])} is no number", "write [0.2, option]")
    return float(probability), form[1]


def _option(form: Any, at: tuple[str | int, ...], label: str) -> Any:
    if not isinstance(form, Mapping):
        return _number(form)
    if len(form) != 1:
        raise Unreadable(
            at,
            f"an option has {len(form)} keys",
            "write option: {key: {distribution: …}}, the settings that hold with the option below it",
        )
    ((value, inner),) = form.items()
    if not isinstance(inner, Mapping) or not inner:
        raise Unreadable(
            (*at, str(value)),
            f"{shown(inner)} is not a space",
            f"write the option {value} alone, or {{{value}: {{key: {{distribution: …}}}}}}",
        )
    return Option(_number(value), _parameters(inner, (*at, str(value)), f"{label}={value}/"))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


def _written(distribution: Distribution) -> dict[str, Any]:
    if isinstance(distribution, Choice):
        return {"choice": [_written_option(option) for option in distribution.options]}
    if isinstance(distribution, PChoice):
        pairs = zip(distribution.probabilities, distribution.options, strict=True)
        return {"pchoice": [[probability, _written_option(option)] for probability, option in pairs]}
    return {distribution.name: [getattr(distribution, name) for name in _needed(distribution.name)]}


def _written_option(option: Any) -> Any:
    return {option.value: written(option.beside)} if isinstance(option, Option) else option
