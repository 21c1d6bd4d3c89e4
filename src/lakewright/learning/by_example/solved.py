"""Wanted numbers by one or two constants that the examples determine: x + c, x * c, x * a + b.

A constant that one example determines fits whatever is wanted, so it counts more than one that several agree on.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lakewright.learning.by_example.constants import digits_of, short, written
from lakewright.learning.by_example.examples import Examples, near
from lakewright.learning.by_example.terms import CALL, PRODUCT, SUM, Bank, Operation, Term

FREE_DIGITS = 3  # of a constant; each further one counts
UNSUPPORTED = 2  # what a constant counts more if one example alone determines it
LARGEST = 100  # numerator and denominator of a slope, such as 5 / 9


def solved(bank: Bank, examples: Examples, largest: int) -> Iterator[Term]:
    wanted = np.array(examples.wanted, np.float64)
    for term in bank.of("number", largest):
        values = term.values[: len(wanted)]
        if np.isfinite(values).all():
            for pattern, firm, holds, constants in _patterns(values, wanted):
                supported = len({*values.tolist()}) > len(constants)
                cost = sum(2 + max(0, digits_of(each) - FREE_DIGITS) for each in constants)
                cost += 0 if supported else UNSUPPORTED * len(constants)
                if len(constants) > 1 and (term.size > 3 or term.constants):
                    continue
                yield Operation(pattern, ("number",), "number", cost, len(constants), firm, holds=(holds,)).apply(term)


Pattern = tuple[str, int, int, tuple[float, ...]]
"""SQL, how firmly it holds together, how firm its operand must be, and its constants."""


def _patterns(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> Iterator[Pattern]:
    with np.errstate(all="ignore"):
        for added in _same(wanted - values):
            sign = "+" if added > 0 else "-"
            yield f"{{x}} {sign} {written(abs(added))}", SUM, SUM, (added,)
        for total in _same(wanted + values):
            yield f"{written(total)} - {{x}}", SUM, PRODUCT, (total,)
        divisors = [each for each in _same(values / wanted) if each.is_integer()]
        for divisor in divisors:
            if divisor != 1:
                yield f"{{x}} / {written(divisor)}", PRODUCT, PRODUCT, (divisor,)
        for factor in () if divisors else _same(wanted / values):
            yield f"{{x}} * {written(factor)}", PRODUCT, PRODUCT, (factor,)
        for part in _same(wanted * values):
            yield f"{written(part)} / {{x}}", PRODUCT, CALL, (part,)
        yield from _lines(values, wanted)


def _same(numbers: NDArray[np.float64]) -> Iterator[float]:
    """The one short number that all of these are, if they are."""
    if np.isfinite(numbers).all() and near(numbers, np.full_like(numbers, numbers[0])).all():
        constant = short(float(numbers[0]))
        if constant is not None:
            yield constant


def _lines(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> Iterator[Pattern]:
    """wanted = values * slope + height, of two different values at least."""
    other = np.flatnonzero(values != values[0])
    if not len(other):
        return
    slope = float((wanted[other[0]] - wanted[0]) / (values[other[0]] - values[0]))
    if slope == 0 or not np.isfinite(slope):
        return
    height, at_zero = wanted[0] - slope * values[0], values[0] - wanted[0] / slope
    if (np.abs(values * slope + height - wanted) > 1e-9 * np.abs(wanted).max()).any():
        return
    times = _by(slope)
    if times is None:
        return
    if (added := short(height)) is not None:
        yield f"{{x}} {times[0]} {'+' if added > 0 else '-'} {written(abs(added))}", SUM, PRODUCT, (*times[1], added)
    if (left := short(at_zero)) is not None:
        first = f"({{x}} {'-' if left > 0 else '+'} {written(abs(left))})"
        yield f"{first} {times[0]}", PRODUCT, SUM, (left, *times[1])


def _by(slope: float) -> tuple[str, tuple[float, ...]] | None:
    """`* 1.8`, or `* 5 / 9` where the slope has no end; a slope of 1 is no line of two constants."""
    if (factor := short(slope)) is not None:
        return (f"* {written(factor)}", (factor,)) if factor not in (1, -1) else None
    ratio = Fraction(slope).limit_denominator(LARGEST)
    if abs(ratio.numerator) > LARGEST or abs(float(ratio) - slope) > 1e-9 * abs(slope):
        return None
    if ratio.numerator == 1:
        return f"/ {ratio.denominator}", (float(ratio.denominator),)
    return f"* {ratio.numerator} / {ratio.denominator}", (float(ratio.numerator), float(ratio.denominator))
