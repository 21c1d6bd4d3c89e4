"""Examples: a row's inputs, and the value that is wanted of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import read_row
from lakewright.errors import DataError, UsageError, nearest, shown

Wanted = Literal["text", "number", "truth"]
MOST = 50  # examples
LONGEST = 500  # characters of a text in an example
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
TRUTHS = {"true": 1.0, "false": 0.0}
NEAR = 1e-9  # of a wanted number, relative to it: people write 0.1, doubles add up to 0.30000000000000004


@dataclass(frozen=True)
class Examples:
    kinds: Mapping[str, Kind]  # of the inputs
    rows: tuple[Mapping[str, Any], ...]  # as `read_row` gives them
    wanted: tuple[str | float, ...]  # a truth is 1.0 or 0.0
    type: Wanted

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, place: int) -> Self:
        rest = [each for each in range(len(self)) if each != place]
        return replace(
            self, rows=tuple(self.rows[each] for each in rest), wanted=tuple(self.wanted[each] for each in rest)
        )

    def met(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """[examples], where these values are the wanted ones."""
        if self.type == "text":
            return np.array([value == wanted for value, wanted in zip(values, self.wanted, strict=True)], np.bool_)
        return near(np.asarray(values, np.float64), np.array(self.wanted, np.float64))

    def shown(self, place: int) -> str:
        """The example as a message quotes it."""
        inputs = ", ".join(f"{name} = {shown(value)}" for name, value in self.rows[place].items())
        wanted = self.wanted[place]
        if self.type == "truth":
            return f"{inputs} → {'true' if wanted else 'false'}"
        return f"{inputs} → {f'{wanted:.15g}' if isinstance(wanted, float) else shown(wanted)}"


def near(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[rows], where two numbers differ by rounding at most, or both are missing."""
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(values - others) <= NEAR * np.maximum(np.abs(values), np.abs(others))
    same: NDArray[np.bool_] = close | (values == others) | (np.isnan(values) & np.isnan(others))
    return same


def read(
    pairs: Sequence[tuple[Mapping[str, Any], str | float | bool]], kinds: Mapping[str, Kind], type: str | None = None
) -> Examples:
    """The examples, each a row and the value wanted of it. `type` is that of the wanted values; None: numbers or truths
    if all of them are written as such, else texts.

    Raises UsageError for examples that are wrong or contradict each other.
    """
    if not pairs:
        raise UsageError("no example shows what is wanted", "add one: --example 'Ann Lee -> Lee'")
    if len(pairs) > MOST:
        raise UsageError(f"there are {len(pairs)} examples", f"give at most {MOST}: a few that differ are enough")
    rows = []
    for place, (row, _) in enumerate(pairs, 1):
        for name in (*row, *kinds):
            if name not in kinds:
                raise UsageError(f"example {place} names {name!r}, which is no input", nearest(name, kinds))
            if name not in row:
                raise UsageError(
                    f"example {place} has no value of {name!r}", "give each input, or null where it is missing"
                )
            if isinstance(row[name], str) and len(row[name]) > LONGEST:
                raise UsageError(f"example {place}: {name!r} is longer than {LONGEST:,} characters", "shorten the text")
        try:
            rows.append(read_row(kinds, {name: _unwritten(row[name], kind) for name, kind in kinds.items()}, place))
        except DataError as error:
            raise UsageError(f"example {place}: {error.cause}", error.remedy) from None
    wanted = [value for _, value in pairs]
    for place, value in enumerate(wanted, 1):
        if not isinstance(value, str | int | float) or value != value or value in (np.inf, -np.inf):
            raise UsageError(f"example {place} wants {shown(value)}", "want a text, a number, true or false")
        if isinstance(value, str) and len(value) > LONGEST:
            raise UsageError(f"example {place} wants a text of over {LONGEST:,} characters", "shorten the text")
    kind = _type(wanted, type)
    read_as = tuple(_wanted(value, kind, place) for place, value in enumerate(wanted, 1))
    examples = Examples(dict(kinds), tuple(rows), read_as, kind)
    _refuse_contradictions(examples)
    if kind == "truth" and len({*read_as}) < 2:
        raise UsageError(f"every example wants {'true' if read_as[0] else 'false'}", "give one of each")
    return examples


def _unwritten(value: Any, kind: Kind) -> Any:
    """A number that was written as text, and a value that was left out: the command line and csv files hold texts."""
    if kind == "category" or not isinstance(value, str):
        return value
    if not value.strip():
        return None
    return float(value) if kind == "number" and NUMBER.fullmatch(value.strip()) else value


def _type(wanted: Sequence[str | float | bool], type: str | None) -> Wanted:
    known: tuple[Wanted, ...] = get_args(Wanted)
    if type is not None:
        for each in known:
            if each == type:
                return each
        raise UsageError(f"there is no type {type!r}", nearest(type, known))
    if all(isinstance(each, bool) or each in TRUTHS for each in wanted):
        return "truth"
    if all(not isinstance(each, bool) and (not isinstance(each, str) or NUMBER.fullmatch(each)) for each in wanted):
        return "number"
    return "text"


def _wanted(value: str | float | bool, type: Wanted, place: int) -> str | float:
    if type == "text" and isinstance(value, str):
        return value
    if type == "truth":
        if isinstance(value, bool) or value in TRUTHS:
            return TRUTHS[str(value).lower()]
    elif type == "number" and not isinstance(value, bool) and (not isinstance(value, str) or NUMBER.fullmatch(value)):
        return float(value)
    raise UsageError(
        f"example {place} wants {shown(value)}, which is no {type}", "want values of one type, or name it (--type text)"
    )


def _refuse_contradictions(examples: Examples) -> None:
    for place, row in enumerate(examples.rows):
        first = next(i for i, other in enumerate(examples.rows) if other == row)
        if examples.wanted[first] != examples.wanted[place]:
            raise UsageError(
                f"examples {first + 1} and {place + 1} have the same inputs and want different values: "
                f"{examples.shown(first)}, and {examples.shown(place)}",
                "correct one of them, or name another input (--input)",
            )
