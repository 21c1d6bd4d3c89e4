"""Wanted truths: comparisons of smaller terms with constants and with each other, and two of them by AND or OR.

A threshold is not in the examples: any number between the least that is true and the greatest that is false would do.
The roundest is tried, and both ends, so that rows between them show that the examples leave it open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lakewright.learning.by_example.constants import constants_of, roundest, written
from lakewright.learning.by_example.examples import Examples
from lakewright.learning.by_example.terms import Bank, Operation, Term, quoted
from lakewright.model.recipe.expressions import unknown

POOL = 40  # conditions on each side of AND and OR
HOLDS = {"contains": str.__contains__, "starts_with": str.startswith, "ends_with": str.endswith}
Truths = NDArray[np.bool_]


def conditions(bank: Bank, examples: Examples, largest: int) -> Iterator[Term]:
    """Those that agree with every example, without an order."""
    wanted = np.array(examples.wanted, np.float64) == 1
    both, either, matching = list[Term](), list[Term](), set[str]()
    for term in _atoms(bank, examples, wanted, largest):
        values = term.values[: len(wanted)]
        if np.array_equal(values, wanted.astype(np.float64)):
            if term.text not in matching:
                matching.add(term.text)
                yield term
        elif (values[wanted] == 1).all():
            both.append(term)
        elif (values[~wanted] == 0).all():
            either.append(term)
    for word, pool in (("AND", both), ("OR", either)):
        smallest = sorted(pool, key=lambda term: term.rank)[:POOL]
        for left, right in combinations(smallest, 2):
            joint = _joined(word, left, right)
            if np.array_equal(joint.values[: len(wanted)], wanted.astype(np.float64)):
                yield joint


def _joined(word: str, left: Term, right: Term) -> Term:
    one, other = left.values, right.values
    either = np.isnan(one) | np.isnan(other)
    if word == "AND":
        values = np.where((one == 0) | (other == 0), 0.0, np.where(either, np.nan, 1.0))
    else:
        values = np.where((one == 1) | (other == 1), 1.0, np.where(either, np.nan, 0.0))
    size, constants = left.size + right.size + 1, left.constants + right.constants
    return Term(f"{left.text} {word} {right.text}", "truth", size, constants, values, 0)


def _atoms(bank: Bank, examples: Examples, wanted: Truths, largest: int) -> Iterator[Term]:
    count = len(wanted)
    for name_term in (*bank.of("number", 1), *bank.of("text", 1), *bank.of("time", 1)):
        for pattern in ("{x} IS NULL", "{x} IS NOT NULL"):
            if unknown(name_term.values[:count]).any():
                yield Operation(pattern, (name_term.type,), "truth", 1, firm=0).apply(name_term)
    for term in bank.of("number", largest - 2):
        values = term.values[:count]
        if not unknown(values).any():
            for pattern, order in _thresholds(values, wanted).items():
                yield Operation(pattern, ("number",), "truth", 2, 1, firm=0, order=order).apply(term)
    numbers = list(bank.of("number", 3))[:30]
    for one, other in combinations(numbers, 2):
        for symbol in (">", "<", ">=", "<=", "="):
            yield Operation(f"{{x}} {symbol} {{y}}", ("number", "number"), "truth", 1, firm=0).apply(one, other)
    times = list(bank.of("time", 2))
    for one, other in combinations(times, 2):
        for symbol in (">", "<", "="):
            yield Operation(f"{{x}} {symbol} {{y}}", ("time", "time"), "truth", 1, firm=0).apply(one, other)
    yield from _of_texts(bank, examples, wanted, largest)


def _of_texts(bank: Bank, examples: Examples, wanted: Truths, largest: int) -> Iterator[Term]:
    constants = constants_of(examples)
    parts = [*constants.words, *constants.separators]
    for term in bank.of("text", largest - 2):
        values = term.values[: len(wanted)]
        if unknown(values).any():
            continue
        for value in _several(values, wanted):
            yield Operation(f"{{x}} = {quoted(value)}", ("text",), "truth", 2, 1, firm=0).apply(term)
        if term.size > 2:
            continue
        for call, holds in HOLDS.items():
            for part in parts:
                shown = np.array([holds(value, part) for value in values])
                if shown[wanted].all() or not shown[~wanted].any():
                    pattern = f"{call}({{x}}, {quoted(part)})"
                    if shown[wanted].any():
                        yield Operation(pattern, ("text",), "truth", 2, 1).apply(term)
    for one, other in combinations(list(bank.of("text", 2))[:12], 2):
        yield Operation("{x} = {y}", ("text", "text"), "truth", 1, firm=0).apply(one, other)


def _several(values: Iterable[str], wanted: Truths) -> list[str]:
    return sorted({value for value, true in zip(values, wanted, strict=True) if true and value})


def _thresholds(values: NDArray[np.float64], wanted: Truths) -> dict[str, int]:
    """Comparisons → their order: between values of rows that are true and the nearest of rows that are false."""
    true, false = sorted({*values[wanted].tolist()}), sorted({*values[~wanted].tolist()})
    patterns = dict[str, int]()
    if below := [each for each in false if each < true[0]]:
        patterns |= _over(below[-1], true[0])
    if above := [each for each in false if each > true[-1]]:
        patterns |= _under(true[-1], above[0])
    if higher := [each for each in true if each > false[-1]]:
        patterns |= _over(false[-1], higher[0])
    if lower := [each for each in true if each < false[0]]:
        patterns |= _under(lower[-1], false[0])
    if len(true) == 1 and true[0] not in false:
        patterns.setdefault(f"{{x}} = {written(true[0])}", 2)
    return patterns


def _over(false: float, true: float) -> dict[str, int]:
    return {
        f"{{x}} >= {written(true)}": 1,
        f"{{x}} > {written(false)}": 1,
        f"{{x}} > {written(roundest(false, true))}": 0,
    }


def _under(true: float, false: float) -> dict[str, int]:
    round_one = -roundest(-false, -true)
    return {f"{{x}} <= {written(true)}": 1, f"{{x}} < {written(false)}": 1, f"{{x}} < {written(round_one)}": 0}
