"""Texts: their letters, their parts, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Array, Expression, Rows, Type, objects
from lakewright.model.recipe.expressions.reading import ONE, TWO, Operation, Reader

LETTERS = [chr(code) for code in (*range(0x41, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000))]
PAIRS = {
    letter: letter.lower()
    for letter in LETTERS
    if len(letter.lower()) == 1 and letter.lower() != letter and letter.lower().upper() == letter
}
LOWER, UPPER = str.maketrans(PAIRS), str.maketrans({small: large for large, small in PAIRS.items()})


def mapped(texts: Array, compute: Callable[[str], Any]) -> list[Any]:
    """What is computed of each text, once for equal ones; None for none."""
    of = {text: None if text is None else compute(text) for text in {*texts}}
    return [of[text] for text in texts]


def _of_text(compute: Callable[[str], Any], type: Type, written: Callable[[str], str]) -> Operation:
    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        return text_result(reader.of("text", node.this, depth), compute, type, written)

    return operation


def text_result(
    operand: Expression, compute: Callable[[str], Any], type: Type, written: Callable[[str], str]
) -> Expression:
    def computed(rows: Rows) -> Array:
        values = mapped(operand.compute(rows), compute)
        return objects(values) if type == "text" else np.array(values, dtype=np.float64)

    return Expression(type, written(operand.sql), computed)


def _translated(table: Mapping[int, str]) -> Callable[[str], str]:
    letters = "".join(map(chr, table)), "".join(table.values())
    return lambda text: f"translate({text}, {sql.text(letters[0])}, {sql.text(letters[1])})"


def _substring(reader: Reader, node: Any, depth: int) -> Expression:
    start = reader.whole(node.args.get("start"), 1, 10**6) - 1
    count = 10**6 if node.args.get("length") is None else reader.whole(node.args["length"], 0, 10**6)
    operand = reader.of("text", node.this, depth)
    return text_result(
        operand, lambda text: text[start : start + count], "text", lambda s: f"substring({s}, {start + 1}, {count})"
    )


def _end(reader: Reader, node: Any, depth: int) -> Expression:
    """The first or the last characters, by the node's name."""
    count, operand = reader.whole(node.expression, 0, 10**6), reader.of("text", node.this, depth)
    if type(node).__name__ == "Left":
        return text_result(operand, lambda text: text[:count], "text", lambda text: f"left({text}, {count})")
    return text_result(
        operand, lambda text: text[max(len(text) - count, 0) :], "text", lambda text: f"right({text}, {count})"
    )


def _split_part(reader: Reader, node: Any, depth: int) -> Expression:
    """From 1; -1 is the last part. A part that is not there is an empty text."""
    separator, index = reader.letters(node.args["delimiter"]), node.args["part_index"]
    last = type(index).__name__ == "Neg"
    place = reader.whole(index.this if last else index, 1, 10**6)

    def part(text: str) -> str:
        parts = text.split(separator)
        return parts[-place if last else place - 1] if place <= len(parts) else ""

    operand, written = reader.of("text", node.this, depth), f"{sql.text(separator)}, {'-' if last else ''}{place}"
    return text_result(operand, part, "text", lambda text: f"split_part({text}, {written})")


def _replace(reader: Reader, node: Any, depth: int) -> Expression:
    """Every place of a text that is written out, from the left."""
    former, new = reader.letters(node.expression), reader.letters(node.args["replacement"], empty=True)
    return text_result(
        reader.of("text", node.this, depth),
        lambda text: text.replace(former, new),
        "text",
        lambda text: f"replace({text}, {sql.text(former)}, {sql.text(new)})",
    )


def _holds(call: str, holds: Callable[[str, str], bool]) -> Operation:
    """Whether a text holds another one, which is written out."""

    def operation(reader: Reader, node: Any, depth: int) -> Expression:
        part = reader.letters(node.expression)
        operand = reader.of("text", node.this, depth)
        return text_result(
            operand, lambda text: float(holds(text, part)), "truth", lambda text: f"{call}({text}, {sql.text(part)})"
        )

    return operation


def _concat(reader: Reader, node: Any, depth: int) -> Expression:
    """Missing texts are left out."""
    operands = [reader.of("text", each, depth) for each in node.expressions]

    def computed(rows: Rows) -> Array:
        columns = [each.compute(rows) for each in operands]
        return objects(["".join(text for text in row if text is not None) for row in zip(*columns, strict=True)])

    return Expression("text", f"concat({', '.join(each.sql for each in operands)})", computed)


def _joined(reader: Reader, node: Any, depth: int) -> Expression:
    left, right = (reader.of("text", each, depth) for each in (node.this, node.expression))

    def computed(rows: Rows) -> Array:
        pairs = zip(left.compute(rows), right.compute(rows), strict=True)
        return objects([None if one is None or other is None else one + other for one, other in pairs])

    return Expression("text", f"({left.sql} || {right.sql})", computed)


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "Lower": (ONE, _of_text(lambda text: text.translate(LOWER), "text", _translated(LOWER))),
    "Upper": (ONE, _of_text(lambda text: text.translate(UPPER), "text", _translated(UPPER))),
    "Trim": (ONE, _of_text(lambda text: text.strip(" "), "text", lambda text: f"trim({text}, ' ')")),
    "Length": (ONE, _of_text(lambda text: float(len(text)), "number", lambda text: f"length({text})::DOUBLE")),
    "Substring": (frozenset({"this", "start", "length"}), _substring),
    "Left": (TWO, _end),
    "Right": (TWO, _end),
    "Replace": (frozenset({"this", "expression", "replacement"}), _replace),
    "SplitPart": (frozenset({"this", "delimiter", "part_index"}), _split_part),
    "StartsWith": (TWO, _holds("starts_with", str.startswith)),
    "EndsWith": (TWO, _holds("ends_with", str.endswith)),
    "Contains": (TWO, _holds("contains", str.__contains__)),
    "Concat": (frozenset({"expressions"}), _concat),
    "DPipe": (TWO, _joined),
}
