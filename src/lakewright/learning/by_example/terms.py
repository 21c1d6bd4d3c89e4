"""Expressions from the small to the large, of which one goes on for all that agree on every row at hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import expressions
from lakewright.model.recipe.expressions import Expression, Rows, Type

ALTERNATIVES = 3  # kept of expressions that agree on all rows at hand: other rows may tell them apart
SUM, PRODUCT, CALL = 1, 2, 3  # how firmly an expression holds together; a comparison is 0
KINDS: Mapping[str, Kind] = {"number": "number", "text": "category", "time": "time"}


@dataclass(frozen=True, eq=False)
class Term:
    """`size` counts inputs, operations and constants; `values` are those of the examples, then of the sample's rows."""

    text: str
    type: Type
    size: int
    constants: int
    values: NDArray[Any]
    firm: int = CALL
    order: int = 0  # among terms of one size and number of constants
    alternatives: list[Term] = field(default_factory=list)

    @property
    def rank(self) -> tuple[int, int, int, int, str]:
        return self.size, self.constants, self.order, len(self.text), self.text


@dataclass(frozen=True)
class Operation:
    """`pattern` is SQL over {x} and {y}."""

    pattern: str
    takes: tuple[Type, ...]
    gives: Type
    cost: int = 1
    constants: int = 0
    firm: int = CALL
    alike: bool = False  # x and y may change places
    leaf: bool = False  # of an input alone
    order: int = 0
    holds: tuple[int, ...] = ()  # how firm x and y must be to stand without brackets; default: by `firm`

    def apply(self, *operands: Term) -> Term:
        parsed = _parsed(self.pattern, self.takes)
        columns = {name: operand.values for name, operand in zip("xy", operands, strict=False)}
        values = parsed.compute(Rows(columns, len(operands[0].values)))
        written = {name: self._written(each, name) for name, each in zip("xy", operands, strict=False)}
        return Term(
            filled(self.pattern, **written), self.gives, self.cost + sum(each.size for each in operands),
            self.constants + sum(each.constants for each in operands), values, self.firm,
            self.order + sum(each.order for each in operands),
        )  # fmt: skip

    def _written(self, operand: Term, name: str) -> str:
        usual = (self.firm, self.firm + 1) if self.firm < CALL else (0, 0)
        least = (self.holds or usual)["xy".index(name)]
        return operand.text if operand.firm >= least else f"({operand.text})"


def filled(pattern: str, **parts: str) -> str:
    """Not str.format: constants hold braces, too."""
    pieces = pattern.split("{x}")
    return parts["x"].join(piece.replace("{y}", parts.get("y", "{y}")) for piece in pieces)


@cache
def _parsed(pattern: str, takes: tuple[Type, ...]) -> Expression:
    names = dict(zip("xy", takes, strict=False))
    return expressions.parse(filled(pattern, x="x", y="y"), {name: KINDS[type] for name, type in names.items()})


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def signature(type: Type, values: NDArray[Any]) -> tuple[Any, ...]:
    """Equal for terms that agree on all rows; numbers to 12 digits, so that the order of a sum does not count."""
    if type == "text":
        return (type, *values)
    if type == "time":
        return (type, values.tobytes())
    with np.errstate(all="ignore"):
        return (type, *(f"{value + 0.0:.12g}" for value in values.tolist()))


@dataclass
class Bank:
    """The terms that are there, by type and size. `useful` refuses those that lead nowhere."""

    operations: tuple[Operation, ...]
    useful: Callable[[Term], bool]
    most: int  # computed terms
    computed: int = 0
    paths_ran_out: bool = False  # `joined` gave up before it had a result
    terms: dict[tuple[Type, int], list[Term]] = field(default_factory=dict)
    _seen: dict[tuple[Any, ...], Term] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return self.computed >= self.most

    def of(self, type: Type, most: int, least: int = 1) -> Iterator[Term]:
        """Of sizes from `least` to `most`, the smallest first."""
        for size in range(least, most + 1):
            yield from self.terms.get((type, size), ())

    def add(self, term: Term) -> None:
        mark = signature(term.type, term.values)
        first = self._seen.get(mark)
        if first is None:
            if self.useful(term):
                self._seen[mark] = term
                self.terms.setdefault((term.type, term.size), []).append(term)
        elif term.size <= first.size + 1 and len(first.alternatives) < ALTERNATIVES and term.text != first.text:
            first.alternatives.append(term)

    def grow(self, size: int, until: float = math.inf) -> None:
        """Adds the terms of this size, if `until` leaves the time; those of all smaller ones are there."""
        for operation in self.operations:
            for operands in self._operands(operation, size - operation.cost):
                if self.full or (self.computed % 256 == 0 and time.monotonic() > until):
                    return
                self.computed += 1
                self.add(operation.apply(*operands))

    def _operands(self, operation: Operation, size: int) -> Iterable[tuple[Term, ...]]:
        if len(operation.takes) == 1:
            if not operation.leaf or size == 1:
                for term in tuple(self.terms.get((operation.takes[0], size), ())):
                    yield (term,)
            return
        first, second = operation.takes
        for left in range(1, size):
            for one in tuple(self.terms.get((first, left), ())):
                for other in tuple(self.terms.get((second, size - left), ())):
                    if operation.alike and (one.size, one.text) >= (other.size, other.text):
                        continue
                    yield one, other
