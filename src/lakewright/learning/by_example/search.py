"""The search: terms grow until some of them give every wanted value; those of the smallest sizes are the candidates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lakewright.errors import UsageError
from lakewright.learning.by_example.conditions import conditions
from lakewright.learning.by_example.examples import Examples
from lakewright.learning.by_example.joined import joined
from lakewright.learning.by_example.language import begun
from lakewright.learning.by_example.rounded import rounded
from lakewright.learning.by_example.solved import solved
from lakewright.learning.by_example.terms import Bank, Term, signature
from lakewright.model.recipe import expressions
from lakewright.model.recipe.expressions.expression import Rows

LARGEST = {"text": 6, "number": 7, "truth": 4}  # sizes of terms that are not joined, solved or compared
MOST = 40_000  # computed terms
SECONDS = 20.0
JOINED = 16  # the largest size of a joined text
CANDIDATES = 24
SLACK = 1  # a candidate may be larger than the smallest by so much
ALONE = 10  # examples that are tried to be left out


@dataclass(frozen=True)
class Candidate:
    """`size` counts inputs, operations and constants; the smallest comes first, then the one of fewer constants."""

    expression: str
    size: int
    constants: int


@dataclass(frozen=True)
class Outcome:
    candidates: tuple[Candidate, ...]
    computed: int  # expressions
    cut: bool  # stopped before every expression of the candidates' size was tried


def search(examples: Examples, sample: Mapping[str, Any], *, most: int = MOST, seconds: float = SECONDS) -> Outcome:
    """The smallest expressions over the inputs that give every wanted value, those first that hold fewer constants.

    `sample` holds more rows (input → values), on which expressions that agree on the examples may differ: only of
    those that agree on them, too, one stands for all. The same examples and sample give the same candidates, unless
    `seconds` ran out. Raises UsageError if nothing fits, which names the example that stands alone, if one does.
    """
    until = time.monotonic() + seconds
    bank = begun(examples, sample, most)
    size, cut, matching = 1, False, list[Term]()
    while True:
        matching = _matching(bank, examples, size)
        if matching and min(term.size for term in matching) <= size:
            break
        if bank.full or time.monotonic() > until:
            cut = True
            break
        if size >= LARGEST[examples.type]:
            cut = bank.paths_ran_out
            break
        size += 1
        bank.grow(size, until)
    if not matching:
        raise _nothing(bank, examples, size, cut)
    smallest = min(term.size for term in matching)
    return Outcome(_candidates(matching, examples, smallest + SLACK), bank.computed, cut)


def _matching(bank: Bank, examples: Examples, size: int) -> list[Term]:
    count = len(examples)
    fitting = (term for term in _fitting(bank, examples, size) if len(term.text) <= expressions.LONGEST)
    return [term for term in fitting if examples.met(term.values[:count]).all()]


def _fitting(bank: Bank, examples: Examples, size: int) -> Iterator[Term]:
    if examples.type == "truth":
        yield from conditions(bank, examples, size + 2)
        return
    direct = [t for t in bank.of(examples.type, size) if examples.met(t.values[: len(examples)]).all()]
    yield from direct
    if examples.type == "number":
        yield from solved(bank, examples, size)
        yield from rounded(bank, examples, size)
    else:
        largest = min((term.size + 2 for term in direct), default=JOINED)
        yield from joined(bank, examples, largest, CANDIDATES)


def _candidates(matching: list[Term], examples: Examples, largest: int) -> tuple[Candidate, ...]:
    """One for each way to compute the rows at hand, by rank, then others that agree on them."""
    first, others, seen = list[Term](), list[Term](), set[tuple[Any, ...]]()
    for term in sorted(matching, key=lambda term: term.rank):
        if term.size <= largest:
            mark = signature(term.type, term.values)
            (others if mark in seen else first).append(term)
            seen.add(mark)
            others += term.alternatives
    kept = first[: CANDIDATES * 2 // 3]
    kept += [each for each in sorted(others, key=lambda term: term.rank) if each.size <= largest]
    by_text = {term.text: term for term in reversed(kept[:CANDIDATES])}
    ranked = sorted(by_text.values(), key=lambda term: term.rank)
    for term in ranked:  # the language has the last word
        read = expressions.parse(term.text, examples.kinds)
        columns = {name: [row[name] for row in examples.rows] for name in examples.kinds}
        assert examples.met(read.compute(Rows(columns, len(examples)))).all(), term.text
    return tuple(Candidate(term.text, term.size, term.constants) for term in ranked)


def _nothing(bank: Bank, examples: Examples, size: int, cut: bool) -> UsageError:
    """The error; where all examples but one are met by an expression, it names that one."""
    tried = f"{bank.computed:,} expressions up to size {size} were tried{', the most that are' if cut else ''}"
    if len(examples) > 2:
        alone = []
        for place in range(min(len(examples), ALONE)):
            rest = examples.without(place)
            if examples.type == "truth" and len({*rest.wanted}) < 2:
                continue
            fitting = [each for each in _matching(_less(bank, place), rest, size) if _supported(each, rest)]
            if fitting:
                best = min(fitting, key=lambda term: term.rank)
                alone.append((best.rank, place, best.text))
        if alone:
            _, place, text = min(alone)
            return UsageError(
                f"no expression gives every wanted value ({tried}); without example {place + 1} "
                f"({examples.shown(place)}), {text} gives all others",
                f"look for a slip in example {place + 1}",
            )
    return UsageError(
        f"no expression gives every wanted value ({tried})",
        "look for slips in the examples, name the inputs that matter (--input), or derive it in two steps",
    )


def _supported(term: Term, examples: Examples) -> bool:
    """Whether the examples could have refused it: two numbers are always met by a line of two constants."""
    return examples.type != "number" or len(examples) > term.constants + 1


def _less(bank: Bank, place: int) -> Bank:
    """The bank's terms without the values of one example."""
    terms = {
        key: [replace(term, values=np.delete(term.values, place), alternatives=[]) for term in own]
        for key, own in bank.terms.items()
    }
    return Bank(bank.operations, bank.useful, bank.most, bank.computed, terms=terms)
