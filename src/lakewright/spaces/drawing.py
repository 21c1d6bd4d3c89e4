"""A space: a structure of mappings, lists and plain values that holds parameters, and what is drawn from it.

A point is what was drawn, label → number: the value of a parameter, or the index of a choice's option. `draw` asks for
each parameter in turn, and for those inside an option only where it was chosen; `fill` puts a point into the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, Protocol

from lakewright.errors import UsageError
from lakewright.spaces.distributions import Choice, Distribution, Normal, PChoice, QUniform, RandInt

Space = Any  # mappings, lists, tuples and values, in which Parameters stand
Point = dict[str, Any]
Ask = Callable[[str, Distribution], Any]
MOST_INTEGERS, MOST_POINTS = 1000, 100_000  # of a grid


class Random(Protocol):
    """`numpy.random.Generator` and `random.Random` are such."""

    def random(self) -> float: ...


@dataclass(frozen=True)
class Parameter:
    """A place in a space that is drawn. Labels are unique in a space."""

    label: str
    distribution: Distribution


@dataclass(frozen=True)
class Option:
    """An option of a choice that stands in a mapping: its value, and what is drawn with it, which stands beside it."""

    value: Any
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    """A number as an int."""

    of: Any


def draw(space: Space, ask: Ask) -> Point:
    """A point, each of its numbers from `ask(label, distribution)`."""
    point: Point = {}
    _draw(space, ask, point)
    return point


def sample(space: Space, random: Random) -> Point:
    """A point at random."""
    return draw(space, lambda _, distribution: distribution.at(random.random()))


def parameters(space: Space) -> dict[str, Distribution]:
    """Every parameter of the space, those inside options among them, by label, in order.

    Raises UsageError if two have one label, and if there are none.
    """
    places: dict[str, Parameter] = {}
    for parameter in _all(space):
        if places.setdefault(parameter.label, parameter) is not parameter:
            raise UsageError(f"two parameters have the label {parameter.label!r}", "give each a label of its own")
    if not places:
        raise UsageError("the space has no parameter", "name at least one, for example C: {loguniform: [0.01, 100]}")
    return {label: parameter.distribution for label, parameter in places.items()}


def fill(space: Space, point: Mapping[str, Any]) -> Any:
    """The structure with the point's values in place of its parameters.

    Raises UsageError if the point lacks a parameter, or has a value that its distribution does not hold.
    """
    if isinstance(space, Parameter):
        value = _valid(space, point)
        if not isinstance(space.distribution, Choice | PChoice):
            return value
        option = space.distribution.options[int(value)]
        return fill(option.value if isinstance(option, Option) else option, point)
    if isinstance(space, Whole):
        return int(fill(space.of, point))
    if isinstance(space, Mapping):
        filled = {}
        for key, inner in space.items():
            filled[key] = fill(inner, point)
            if isinstance(inner, Parameter) and isinstance(inner.distribution, Choice | PChoice):
                option = inner.distribution.options[int(_valid(inner, point))]
                if isinstance(option, Option):
                    filled.update(fill(option.beside, point))
        return filled
    if isinstance(space, list | tuple):
        return type(space)(fill(inner, point) for inner in space)
    return space


def ends(distribution: Distribution) -> list[Any]:
    """The least and the greatest value and one between them, or every option; without end, one near the middle."""
    if isinstance(distribution, Choice | PChoice):
        return list(range(len(distribution.options)))
    shares = (0.371,) if isinstance(distribution, Normal) else (0.0, 0.371, 1.0)
    return list(dict.fromkeys(distribution.at(share) for share in shares))


def middle(distribution: Distribution) -> Any:
    """The median; of a choice, the first option."""
    return 0 if isinstance(distribution, Choice | PChoice) else distribution.at(0.5)


def point_in(space: Space, point: Mapping[str, Any]) -> Point:
    """The part of the point that the space draws, checked as `fill` does."""
    inside: Point = {}

    def ask(label: str, distribution: Distribution) -> Any:
        return _valid(Parameter(label, distribution), point)

    _draw(space, ask, inside)
    return inside


def grid(space: Space) -> list[Point]:
    """Every combination of options, whole numbers and steps, the last parameter changing fastest.

    Raises UsageError for a parameter that has too many values, or any number of them.
    """
    parameters(space)
    points = list(islice(_grid(space), MOST_POINTS + 1))
    if len(points) > MOST_POINTS:
        raise UsageError(f"the grid has more than {MOST_POINTS:,} points", "name fewer values, or use random or tpe")
    return points


def _draw(space: Space, ask: Ask, point: Point) -> None:
    for parameter in _outer(space):
        if parameter.label in point:
            continue
        value = ask(parameter.label, parameter.distribution)
        point[parameter.label] = value
        if isinstance(parameter.distribution, Choice | PChoice):
            _draw(parameter.distribution.options[int(value)], ask, point)


def _outer(space: Space) -> Iterator[Parameter]:
    """The parameters that are drawn in any case."""
    if isinstance(space, Parameter):
        yield space
    elif isinstance(space, Whole):
        yield from _outer(space.of)
    elif isinstance(space, Option):
        yield from _outer(space.value)
        yield from _outer(space.beside)
    elif isinstance(space, Mapping):
        for inner in space.values():
            yield from _outer(inner)
    elif isinstance(space, list | tuple):
        for inner in space:
            yield from _outer(inner)


def _all(space: Space) -> Iterator[Parameter]:
    for parameter in _outer(space):
        yield parameter
        if isinstance(parameter.distribution, Choice | PChoice):
            for option in parameter.distribution.options:
                yield from _all(option)


def _grid(space: Space) -> Iterator[Point]:
    columns = [list(islice(_values(parameter), MOST_POINTS + 1)) for parameter in _outer(space)]
    for row in product(*columns):
        yield {label: value for part in row for label, value in part.items()}


def _values(parameter: Parameter) -> Iterator[Point]:
    label, distribution = parameter.label, parameter.distribution
    if isinstance(distribution, Choice | PChoice):
        for index, option in enumerate(distribution.options):
            for inner in _grid(option):
                yield {label: index, **inner}
    elif isinstance(distribution, RandInt) and distribution.high - distribution.low < MOST_INTEGERS:
        yield from ({label: value} for value in range(distribution.low, distribution.high + 1))
    elif isinstance(distribution, QUniform):
        yield from ({label: distribution.step(at)} for at in range(distribution.first, distribution.last + 1))
    elif isinstance(distribution, RandInt):
        raise UsageError(
            f"{label}: a grid of all whole numbers from {distribution.low} to {distribution.high} has no end",
            f"write steps, {label}: {{quniform: [{distribution.low}, {distribution.high}, 100]}}, or choice: [1, 10]",
        )
    else:
        raise UsageError(
            f"{label}: {distribution.name} has any number of values, and a grid needs each of them",
            f"name values, {label}: {{choice: [0.1, 1, 10]}}, or steps, {{quniform: [low, high, q]}}; or use the "
            "sampler random or tpe",
        )


def _valid(parameter: Parameter, point: Mapping[str, Any]) -> Any:
    if parameter.label not in point:
        raise UsageError(f"the point has no value of {parameter.label!r}", "give each parameter of the space a value")
    value = point[parameter.label]
    value = value.item() if hasattr(value, "item") else value  # numpy's numbers
    if not parameter.distribution.holds(value):
        raise UsageError(
            f"{parameter.label}: {value!r} is not in the space ({parameter.distribution.name})",
            "give a value within its bounds; of a choice, the index of the option",
        )
    return value
