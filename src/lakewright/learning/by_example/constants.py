"""The constants that an expression may hold: those that the examples show, and a few round ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import floor, log10

from lakewright.learning.by_example.examples import Examples

SEPARATORS = 10
PLACES = (1, 2, 3, -1, -2)  # of a part between separators
ENDS = 10  # characters of a text's begin or end, at most
DIGITS = 6  # of a constant number; more are noise
PAUSE = re.compile(r"[^\W_]+|\s*[\W_]\s*|\s+")  # words, and what stands between them


@dataclass(frozen=True)
class Constants:
    separators: tuple[str, ...]  # what stands between the words of inputs, the most frequent first
    ends: tuple[int, ...]
    slices: tuple[tuple[int, int], ...]  # (from, count) at which inputs hold a part of what is wanted
    words: tuple[str, ...]  # of inputs, for conditions
    decimals: int  # of the wanted number with the most of them


def constants_of(examples: Examples) -> Constants:
    texts = [value for row in examples.rows for value in row.values() if isinstance(value, str)]
    counts: dict[str, int] = {}
    for text in texts:
        for pause in {part for part in PAUSE.findall(text) if not part[0].isalnum()}:
            for each in {pause, pause.strip()} - {""}:
                counts[each] = counts.get(each, 0) + 1
    separators = sorted(counts, key=lambda each: (-counts[each], len(each), each))[:SEPARATORS]
    words = dict.fromkeys(part for text in texts for part in PAUSE.findall(text) if part[0].isalnum())
    longest = max(map(len, texts), default=0)
    return Constants(
        tuple(separators), tuple(range(1, min(longest, ENDS) + 1)), tuple(_slices(examples)), tuple(words),
        max((_decimals(each) for each in examples.wanted if isinstance(each, float)), default=0),
    )  # fmt: skip


def _slices(examples: Examples) -> Iterable[tuple[int, int]]:
    """Where every example's wanted value stands in one of its inputs, and the runs of digits that all of them have."""
    slices: dict[tuple[int, int], None] = {}
    for row, wanted in zip(examples.rows, examples.wanted, strict=True):
        for text in (value for value in row.values() if isinstance(value, str)):
            if isinstance(wanted, str):
                for count in range(1, min(len(wanted), ENDS) + 1):
                    for start in range(len(wanted) - count + 1):
                        place = text.find(wanted[start : start + count])
                        if 0 <= place < 40:
                            slices[(place + 1, count)] = None
            for run in re.finditer(r"[0-9]{1,10}", text[:40]):
                slices[(run.start() + 1, len(run[0]))] = None
    return list(slices)[:60]


def _decimals(number: float) -> int:
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def written(number: float) -> str:
    """As the language reads it back, to the last bit: 5, 0.25."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def short(number: float) -> float | None:
    """The number of few digits that this is but for rounding; None if it has more of them."""
    if not 1e-9 < abs(number) < 1e12:
        return None
    rounded = float(f"{number:.{DIGITS}g}")
    return rounded if abs(rounded - number) <= 1e-9 * abs(number) else None


def digits_of(number: float) -> int:
    return len(Decimal(repr(number)).normalize().as_tuple().digits)


def roundest(low: float, high: float) -> float:
    """The number of the fewest digits in low ≤ x < high."""
    if low <= 0 < high:
        return 0.0
    power = floor(log10(high - low)) + 1
    for exponent in range(power, power - 18, -1):
        for step in (Decimal(1), Decimal(5) / 10):
            unit = step.scaleb(exponent)
            candidate = (Decimal(low) / unit).to_integral_value(rounding="ROUND_CEILING") * unit
            if low <= (number := float(candidate)) < high:
                return number
    return low
