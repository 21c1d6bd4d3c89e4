"""Wanted texts as pieces that are joined: smaller terms, and constants that all of them share.

As in FlashFill (Gulwani 2011), a piece goes on from where the pieces before it end, in every example at once. Paths are
taken up by their size, the smallest first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

import numpy as np

from lakewright.learning.by_example.examples import Examples
from lakewright.learning.by_example.terms import SUM, Bank, Term, quoted
from lakewright.model.recipe.expressions.expression import objects

PATHS = 6_000  # taken up
ALIKE = 4  # terms that are the same piece of every example
LITERAL = 4  # characters of a separating constant
Piece = Term | str


def joined(bank: Bank, examples: Examples, largest: int, most: int) -> Iterator[Term]:
    """Terms that join at least two pieces, at most `largest`, the smallest first, at most `most` of them."""
    bank.paths_ran_out = False
    pieces = _pieces(bank, examples, largest - 2)
    wanted = [str(each) for each in examples.wanted]
    order, results = count(), 0
    begin = tuple(0 for _ in wanted)
    paths: list[tuple[int, int, int, tuple[int, ...], tuple[Piece, ...]]] = [(0, 0, next(order), begin, ())]
    for _ in range(PATHS):
        if not paths or results >= most:
            return
        size, constants, _, ends, path = heapq.heappop(paths)
        if all(end == len(text) for end, text in zip(ends, wanted, strict=True)):
            if len(path) > 1 and any(isinstance(piece, Term) for piece in path):
                results += 1
                yield _term(path, size, constants)
            continue
        rests = [text[end:] for end, text in zip(ends, wanted, strict=True)]
        joint = 1 if path else 0
        for literal, cost in _literals(rests) if not path or isinstance(path[-1], Term) else ():
            if size + joint + cost <= largest:
                further = tuple(end + len(literal) for end in ends)
                heapq.heappush(paths, (size + joint + cost, constants + 1, next(order), further, (*path, literal)))
        for values, terms in _next(pieces, rests):
            further = tuple(end + len(value) for end, value in zip(ends, values, strict=True))
            for term in terms:
                if size + joint + term.size <= largest:
                    more = (size + joint + term.size, constants + term.constants, next(order), further, (*path, term))
                    heapq.heappush(paths, more)
    bank.paths_ran_out = not results


Pieces = dict[str, dict[tuple[str, ...], list[Term]]]  # by the first example's value, by all of them


def _pieces(bank: Bank, examples: Examples, largest: int) -> Pieces:
    """The terms whose values are parts of every wanted text."""
    wanted, pieces = [str(each) for each in examples.wanted], Pieces()
    for term in bank.of("text", largest):
        values = tuple(term.values[: len(wanted)])
        if all(value is not None and value in text for value, text in zip(values, wanted, strict=True)):
            alike = pieces.setdefault(values[0], {}).setdefault(values, [])
            if len(alike) < ALIKE:
                alike.append(term)
    return pieces


def _next(pieces: Pieces, rests: list[str]) -> Iterator[tuple[tuple[str, ...], list[Term]]]:
    for end in range(len(rests[0]) + 1):
        for values, terms in pieces.get(rests[0][:end], {}).items():
            if any(values) and all(rest.startswith(value) for rest, value in zip(rests, values, strict=True)):
                yield values, terms


def _literals(rests: list[str]) -> Iterator[tuple[str, int]]:
    """The constants that all rests begin with, each with its size. Letters and digits are larger, and the more so where
    only one example shows them: it would be met by writing it out."""
    first, last = min(rests), max(rests)
    shared = first[: next((i for i, letter in enumerate(first) if letter != last[i]), len(first))]
    ends = {*range(1, min(len(shared), LITERAL) + 1), len(shared)} - {0}
    for end in sorted(ends):
        literal = shared[:end]
        letters = sum(letter.isalnum() for letter in literal)
        yield literal, 1 if not letters else 2 + (2 * letters if len({*rests}) == 1 else 0)


def _term(path: tuple[Piece, ...], size: int, constants: int) -> Term:
    rows = len(next(piece for piece in path if isinstance(piece, Term)).values)
    columns = [piece.values if isinstance(piece, Term) else np.full(rows, piece, dtype=object) for piece in path]
    values = objects(["".join(row) if None not in row else None for row in zip(*columns, strict=True)])
    joint = Term(_written(path), "text", size, constants, values, SUM, _order(path))
    for place, piece in enumerate(path):
        if isinstance(piece, Term):
            for other in piece.alternatives[:1]:
                changed = (*path[:place], other, *path[place + 1 :])
                more = size - piece.size + other.size
                joint.alternatives.append(
                    Term(_written(changed), "text", more, constants, values, SUM, _order(changed))
                )
    return joint


def _order(path: tuple[Piece, ...]) -> int:
    return sum(piece.order for piece in path if isinstance(piece, Term))


def _written(path: tuple[Piece, ...]) -> str:
    return " || ".join(piece.text if isinstance(piece, Term) else quoted(piece) for piece in path)
