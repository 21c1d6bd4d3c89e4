"""The operations that the search tries, and the terms that it begins with. CASE, coalesce and lists are not among them:
a few examples do not tell where one case ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lakewright.learning.by_example.constants import PLACES, Constants, constants_of
from lakewright.learning.by_example.examples import Examples
from lakewright.learning.by_example.terms import PRODUCT, SUM, Bank, Operation, Term, quoted
from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions import TYPES, Type, parse, unknown
from lakewright.model.recipe.expressions.expression import Rows

RUNS = ("[0-9]+", "[A-Za-z]+", "[A-Z]+", "[a-z]+", "[0-9]+$", "[A-Za-z]+$", "^[0-9]+", "^[A-Za-z]+")
PARTS = ("year", "quarter", "month", "day", "dayofyear", "isodow", "hour", "minute", "second")
UNITS = ("day", "hour", "minute")
NUMBERS: tuple[Type, Type] = ("number", "number")


def begun(examples: Examples, sample: Mapping[str, Any], most: int) -> Bank:
    """The inputs, as terms of size 1, over the examples and the sample's rows."""
    every = [*zip(*(_all(examples, sample, name) for name in examples.kinds), strict=True)]
    varied = any(row != every[0] for row in every)
    bank = Bank(tuple(_operations(examples, constants_of(examples))), _useful(examples, varied), most)
    for own, kind in examples.kinds.items():
        read = parse(sql.name(own), examples.kinds)
        parts = [
            read.compute(Rows({own: values}, len(values)))
            for values in ([row[own] for row in examples.rows], sample[own])
        ]
        values = np.concatenate(parts)
        text = own if _plain(own, examples.kinds) else sql.name(own)
        bank.add(Term(text, TYPES[kind], 1, 0, values))
    return bank


def _plain(name: str, kinds: Mapping[str, Any]) -> bool:
    """Whether SQL reads the bare name as this input; `select` or `day` it would not."""
    from lakewright.model.recipe.expressions import ExpressionError

    try:
        return name.isascii() and parse(name, kinds).sql == parse(sql.name(name), kinds).sql
    except ExpressionError:
        return False


def _all(examples: Examples, sample: Mapping[str, Any], name: str) -> list[Any]:
    return [*(row[name] for row in examples.rows), *sample[name]]


def _useful(examples: Examples, varied: bool) -> Callable[[Term], bool]:
    """A term must have a value in every example whose inputs have one, and tell at least two rows apart if they are
    `varied`."""
    whole = [place for place, row in enumerate(examples.rows) if all(value is not None for value in row.values())]

    def useful(term: Term) -> bool:
        values, shown = term.values, term.values[whole]
        if unknown(shown).any():
            return False
        if term.type == "text" and len(shown) and not any(shown):
            return False
        first = values[0]
        return not varied or term.size == 1 or any(value != first for value in values[1:])

    return useful


def _operations(examples: Examples, constants: Constants) -> Iterator[Operation]:
    kinds, wanted = {*examples.kinds.values()}, examples.type
    if "category" in kinds:
        yield from _of_texts(constants, wanted)
    if "time" in kinds or "category" in kinds:
        yield from _of_times(wanted)
    if wanted == "text":
        yield Operation("CAST({x} AS VARCHAR)", ("number",), "text")
    if wanted == "text" and "category" not in kinds:  # the begin of a weekday's name
        for count in range(1, 5):
            yield Operation(f"left({{x}}, {count})", ("text",), "text", 2, 1)
        for call in ("lower", "upper"):
            yield Operation(f"{call}({{x}})", ("text",), "text")
    if wanted == "number" or "number" in kinds or wanted == "truth":
        yield from _of_numbers(constants, wanted)


def _of_texts(constants: Constants, wanted: str) -> Iterator[Operation]:
    def text(pattern: str, cost: int, count: int, leaf: bool = False, order: int = 0) -> Operation:
        return Operation(pattern, ("text",), "text", cost, count, leaf=leaf, order=order)

    for call in ("lower", "upper", "trim"):
        yield text(f"{call}({{x}})", 1, 0)
    for separator in constants.separators:
        for place in PLACES:
            yield text(f"split_part({{x}}, {quoted(separator)}, {place})", 2, 1)
        yield text(f"replace({{x}}, {quoted(separator)}, '')", 2, 1)
    for run in RUNS:
        yield text(f"regexp_extract({{x}}, '{run}')", 2, 1, order=1)
    for count in constants.ends:
        cost = 2 if count == 1 else 3  # a text whose parts have fixed places is rarer than one with separators
        yield text(f"left({{x}}, {count})", cost, 1)
        yield text(f"right({{x}}, {count})", cost, 1)
        yield text(f"substring({{x}}, {count + 1})", cost, 1)
    for kept in ("[^0-9]+", "[^A-Za-z]+", "[^0-9.]+"):
        yield text(f"regexp_replace({{x}}, '{kept}', '', 'g')", 3, 1)
    for former in constants.separators[:5]:
        for new in (" ", "-", "_", ".", ""):
            if former != new and new:
                yield text(f"replace({{x}}, {quoted(former)}, {quoted(new)})", 3, 2)
    for start, count in constants.slices:
        yield text(f"substring({{x}}, {start}, {count})", 4, 2, leaf=True)
    if wanted != "text":
        yield Operation("TRY_CAST({x} AS DOUBLE)", ("text",), "number")
        yield Operation("length({x})", ("text",), "number")


def _of_times(wanted: str) -> Iterator[Operation]:
    yield Operation("TRY_CAST({x} AS DATE)", ("text",), "time")
    for part in PARTS:
        yield Operation(f"{part}({{x}})", ("time",), "number")
    if wanted != "number":
        yield Operation("dayname({x})", ("time",), "text")
        yield Operation("monthname({x})", ("time",), "text")
    if wanted != "text":
        for unit in UNITS:
            yield Operation(f"date_diff('{unit}', {{x}}, {{y}})", ("time", "time"), "number", 2)


def _of_numbers(constants: Constants, wanted: str) -> Iterator[Operation]:
    yield Operation("{x} + {y}", NUMBERS, "number", firm=SUM, alike=True)
    yield Operation("{x} - {y}", NUMBERS, "number", firm=SUM)
    yield Operation("{x} * {y}", NUMBERS, "number", firm=PRODUCT, alike=True)
    yield Operation("{x} / {y}", NUMBERS, "number", firm=PRODUCT)
    yield Operation("1 - {x}", ("number",), "number", 2, 1, firm=SUM, holds=(PRODUCT,))
    yield Operation("1 + {x}", ("number",), "number", 2, 1, firm=SUM)
    if wanted == "number":
        for call in ("round", "floor", "ceil", "abs"):
            yield Operation(f"{call}({{x}})", ("number",), "number")
        if constants.decimals:
            yield Operation(f"round({{x}}, {constants.decimals})", ("number",), "number", 2, 1)
        yield Operation("sqrt({x})", ("number",), "number", 2)
        yield Operation("least({x}, {y})", NUMBERS, "number", 2, alike=True)
        yield Operation("greatest({x}, {y})", NUMBERS, "number", 2, alike=True)
