"""How an expression is read: node by node of the parsed SQL, each by the operation of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe.expressions.expression import Expression, ExpressionError, Type, typed

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

DEEPEST = 40  # operations within operations; a + b + c is two
LONGEST_SQL = 50_000  # characters; some operations write an operand several times
IMPLIED = frozenset(  # sqlglot's own notes
    {"safe", "typed", "coalesce", "ignore_nulls", "date_part_boundary", "null_if_pos_overflow", "single_replace"}
)


OPERATORS = "+ - * / % = <> < <= > >= AND OR NOT IN BETWEEN IS CASE ||"
HINT = "write it over the names of inputs, such as price / area > 3; texts stand in single quotes, names in double ones"
TWO = frozenset({"this", "expression"})
ONE = frozenset({"this"})


@dataclass(frozen=True)
class Reader:
    """`operations` are the language: the name of sqlglot's node → the arguments that it may have, and what reads it."""

    text: str
    inputs: Mapping[str, Kind]
    operations: Mapping[str, tuple[frozenset[str], Operation]]
    functions: str  # their names, for messages

    def read(self, node: Node, depth: int) -> Expression:
        if depth > DEEPEST:
            raise self.error(f"is nested deeper than {DEEPEST} operations", "split it: one step derives from another")
        read = self._read(node, depth + 1)
        if len(read.sql) > LONGEST_SQL:
            raise self.error(f"makes more than {LONGEST_SQL:,} characters of SQL", "split it into several")
        return read

    def _read(self, node: Node, depth: int) -> Expression:
        from sqlglot import exp

        name = type(node).__name__
        if name not in self.operations:
            if isinstance(node, exp.Func):
                called = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
                raise self.error(f"calls {called.lower()[:80]}", f"functions: {self.functions}")
            raise self.error(
                f"holds {node.sql('duckdb')[:80]!r}", f"operators: {OPERATORS}; functions: {self.functions}"
            )
        keys, operation = self.operations[name]
        more = {key for key, value in node.args.items() if value not in (None, False, [])} - keys - IMPLIED
        if more:
            raise self.error(f"holds {node.sql('duckdb')[:80]!r}, written in a way that is not known", HINT)
        return operation(self, node, depth)

    def several(self, nodes: list[Node], depth: int) -> list[Expression]:
        return [self.read(node, depth) for node in nodes]

    def of(self, type: Type, node: Node, depth: int) -> Expression:
        """The operand, which must be of this type."""
        read = self.read(node, depth)
        if read.type not in (type, "null"):
            raise self.error(
                f"takes {node.sql('duckdb')[:80]!r}, a {read.type}, as a {type}",
                f"write a {type} there; types are those of the inputs, and nothing is converted",
            )
        return typed(type, read)

    def alike(self, operands: list[Expression]) -> list[Expression]:
        """The operands as values of one type."""
        every = {each.type for each in operands} - {"null"}
        if len(every) > 1:
            raise self.error(f"combines a {' with a '.join(sorted(every))}", "combine values of one type")
        return [typed(next(iter(every), "null"), each) for each in operands]

    def whole(self, node: Node | None, least: int, most: int) -> int:
        text = "" if node is None else node.name
        if node is None or type(node).__name__ != "Literal" or node.is_string or not text.isdecimal():
            raise self.error("has no whole number where it needs one", f"write a number from {least} to {most}")
        if len(text) > 9 or not least <= int(text) <= most:
            raise self.error(f"holds the whole number {text[:20]}", f"write one from {least} to {most}")
        return int(text)

    def letters(self, node: Node | None, *, empty: bool = False) -> str:
        """A text that is written out, and not empty unless it may be."""
        if node is None or type(node).__name__ != "Literal" or not node.is_string or not (node.name or empty):
            raise self.error("has no text where it needs one", "write a text in single quotes")
        return node.name

    def error(self, cause: str, remedy: str) -> ExpressionError:
        return ExpressionError(f"the expression {self.text[:200]!r} {cause}", remedy)


Operation = Callable[[Reader, Any, int], Expression]
