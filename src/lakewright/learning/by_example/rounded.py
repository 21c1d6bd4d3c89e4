"""Wanted numbers that were rounded: x * c and (x + a) * p / q, of which the examples show so many decimals.

Each example bounds the constants from both sides; within all bounds the roundest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from lakewright.learning.by_example.constants import constants_of, digits_of, roundest, written
from lakewright.learning.by_example.examples import Examples
from lakewright.learning.by_example.solved import LARGEST
from lakewright.learning.by_example.terms import PRODUCT, SUM, Bank, Operation, Term

LINES = 4  # of a term, those of the fewest digits
DENOMINATOR = 20  # of a slope, at most
Numbers = NDArray[np.float64]


def rounded(bank: Bank, examples: Examples, largest: int) -> Iterator[Term]:
    """Needs an example more than there are constants: fewer are met by any."""
    wanted, decimals = np.array(examples.wanted, np.float64), constants_of(examples).decimals
    half = 0.5 * 10.0**-decimals
    digits = f", {decimals}" if decimals else ""
    for term in bank.of("number", min(largest, 5)):
        values = term.values[: len(wanted)]
        different = len({*values.tolist()})
        if term.constants or not np.isfinite(values).all() or different < 2:
            continue
        for inner, cost, constants in (*_factor(values, wanted, half), *_line(values, wanted, half)):
            holds = PRODUCT if constants == 1 else SUM
            if different > min(constants, 2):  # a slope p / q is one number
                pattern = f"round({inner}{digits})"
                yield Operation(pattern, ("number",), "number", cost + 2, constants + 1, holds=(holds,)).apply(term)


def _factor(values: Numbers, wanted: Numbers, half: float) -> Iterator[tuple[str, int, int]]:
    if (values == 0).any():
        return
    ends = np.sort([(wanted - half) / values, (wanted + half) / values], axis=0)
    for factor in _between(float(ends[0].max()), float(ends[1].min())):
        if factor not in (0, 1):
            yield f"{{x}} * {written(factor)}", 1 + digits_of(factor), 1


def _line(values: Numbers, wanted: Numbers, half: float) -> Iterator[tuple[str, int, int]]:
    first, last = int(np.argmin(values)), int(np.argmax(values))
    apart, rise = values[last] - values[first], wanted[last] - wanted[first]
    lines = []
    for slope in _fractions((rise - 2 * half) / apart, (rise + 2 * half) / apart):
        by = float(slope)
        ends = np.sort([(wanted - half) / by - values, (wanted + half) / by - values], axis=0)
        for added in _between(float(ends[0].max()), float(ends[1].min())):
            cost = digits_of(added) + len(str(abs(slope.numerator))) + len(str(slope.denominator))
            if added and slope != 1:
                lines.append((cost, slope.denominator, abs(added), slope, added))
    for cost, _, size, slope, added in sorted(lines)[:LINES]:
        moved = f"({{x}} {'+' if added > 0 else '-'} {written(size)})"
        times = f" * {slope.numerator}" if slope.numerator != 1 else ""
        over = f" / {slope.denominator}" if slope.denominator != 1 else ""
        yield f"{moved}{times}{over}", 2 + cost, 3


def _between(low: float, high: float) -> Iterator[float]:
    """The roundest number, and one with a digit more, near the middle: which one it is, a row of the table may tell."""
    if not low < high:
        return
    first = roundest(low, high) if high > 0 else -roundest(-high, -low)
    yield first
    second = float(f"{(low + high) / 2:.{digits_of(first) + 1}g}")
    if low < second < high and second != first:
        yield second


def _fractions(low: float, high: float) -> list[Fraction]:
    """Those of small denominators between two numbers of one sign."""
    if low <= 0 <= high:
        return []
    fractions = dict[Fraction, None]()
    for denominator in range(1, DENOMINATOR + 1):
        for numerator in range(
            ceil(low * denominator), min(floor(high * denominator), ceil(low * denominator) + 3) + 1
        ):
            if 0 < abs(numerator) <= LARGEST:
                fractions[Fraction(numerator, denominator)] = None
    return list(fractions)[:40]
