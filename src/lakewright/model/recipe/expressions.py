"""Expressions over a row's inputs: a small, strict subset of SQL, computed by numpy and by DuckDB alike, bit for bit.

Four kinds of values: numbers (all of them doubles), texts (of categories), truths, times. Each may be missing. Not a
number counts as missing, so `0 / 0` is; a division by zero has no value either, whatever the engine makes of it. Truths
are SQL's: true, false or missing. A text is compared by its code points. lower and upper know the Latin, Greek and
Cyrillic letters that have exactly one counterpart, so that no version of Unicode changes a row's result.

An expression may come from a stranger (recipe.json): its length, its depth and its SQL are bounded, and nothing in it
is computed by Python or sent to DuckDB as it was written.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import Kind
from lakewright.errors import nearest
from lakewright.model.recipe import Values, sql
from lakewright.model.recipe.values import absent, categories, numbers, times

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

LONGEST = 2_000  # characters of an expression
DEEPEST = 40  # operations within operations; a + b + c is two
NESTED = 20  # brackets, calls, CASE and NOT within each other: sqlglot takes some 25 frames of Python's stack for each
LONGEST_SQL = 50_000  # characters; some operations write an operand several times
Type = Literal["number", "text", "truth", "time", "null"]
Array = NDArray[Any]
TYPES: Mapping[Kind, Type] = {"number": "number", "category": "text", "time": "time"}
UNITS = {"SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 24 * 3600 * 10**6}  # microseconds


class ExpressionError(ValueError):
    """What is wrong, and what to do: `cause` and `remedy`."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause, self.remedy = cause, remedy


@dataclass(frozen=True)
class Rows:
    values: Values
    count: int


@dataclass(frozen=True)
class Expression:
    """A number or a truth is float64 (0 and 1, NaN where it is missing), a text an object (None), a time datetime64[us]
    (NaT), each [rows]. In SQL a time is microseconds since 1970."""

    type: Type
    sql: str
    compute: Callable[[Rows], Array]


def parse(text: str, inputs: Mapping[str, Kind]) -> Expression:
    """The expression that the text writes over these inputs. Raises ExpressionError."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has {len(text):,} characters", f"write at most {LONGEST:,}")
    try:
        node = sqlglot.parse_one(text, dialect="duckdb")
    except (SqlglotError, RecursionError, ValueError) as failure:
        first = next(iter(str(failure).splitlines()), "")
        raise ExpressionError(f"{text[:200]!r} is no SQL expression: {first[:200]}", HINT) from None
    if _nested(node) > NESTED:
        raise ExpressionError(
            f"the expression {text[:200]!r} is nested deeper than {NESTED} brackets", "split it into several"
        )
    return _Reader(text, inputs).read(node, 0)


def _nested(root: Node) -> int:
    """The most brackets, calls, CASE and NOT around any part."""
    from sqlglot import exp

    deepest, waiting = 0, [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        depth += isinstance(node, exp.Func | exp.Unary) and not isinstance(node, exp.Connector)
        deepest = max(deepest, depth)
        waiting.extend((inner, depth) for inner in node.iter_expressions())
    return deepest


def unknown(rows: Array) -> NDArray[np.bool_]:
    """Where a value is missing, [rows]."""
    if rows.dtype == object:
        return absent(rows)
    missing: NDArray[np.bool_] = np.isnat(rows) if rows.dtype.kind == "M" else np.isnan(rows)
    return missing


HINT = "write it over the names of inputs, such as price / area > 3; texts stand in single quotes, names in double ones"


@dataclass(frozen=True)
class _Reader:
    text: str
    inputs: Mapping[str, Kind]

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
        if name not in OPERATIONS:
            if isinstance(node, exp.Func):
                called = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
                raise self.error(f"calls {called.lower()[:80]}", f"functions: {FUNCTIONS}")
            raise self.error(f"holds {node.sql('duckdb')[:80]!r}", f"operators: {OPERATORS}; functions: {FUNCTIONS}")
        keys, operation = OPERATIONS[name]
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
        return _as(type, read)

    def alike(self, operands: list[Expression]) -> list[Expression]:
        """The operands as values of one type."""
        every = {each.type for each in operands} - {"null"}
        if len(every) > 1:
            raise self.error(f"combines a {' with a '.join(sorted(every))}", "combine values of one type")
        return [_as(next(iter(every), "null"), each) for each in operands]

    def whole(self, node: Node | None, least: int, most: int) -> int:
        text = "" if node is None else node.name
        if node is None or type(node).__name__ != "Literal" or node.is_string or not text.isdecimal():
            raise self.error("has no whole number where it needs one", f"write a number from {least} to {most}")
        if len(text) > 9 or not least <= int(text) <= most:
            raise self.error(f"holds the whole number {text[:20]}", f"write one from {least} to {most}")
        return int(text)

    def letters(self, node: Node) -> str:
        """A text that is written out and not empty."""
        if type(node).__name__ != "Literal" or not node.is_string or not node.name:
            raise self.error("has no text where it needs one", "write a text in single quotes")
        return node.name

    def error(self, cause: str, remedy: str) -> ExpressionError:
        return ExpressionError(f"the expression {self.text[:200]!r} {cause}", remedy)


Operation = Callable[[_Reader, Any, int], Expression]


# Values


def _missing(type: Type, rows: int) -> Array:
    if type == "text":
        return np.full(rows, None, dtype=object)
    return np.full(rows, np.datetime64("NaT"), "datetime64[us]") if type == "time" else np.full(rows, np.nan)


SQL_TYPES = {"number": "DOUBLE", "text": "VARCHAR", "truth": "BOOLEAN", "time": "BIGINT"}


def _as(type: Type, read: Expression) -> Expression:
    """What is always NULL as a missing value of a type; any other expression as it is."""
    if read.type != "null" or type == "null":
        return read
    return Expression(type, f"NULL::{SQL_TYPES[type]}", lambda rows: _missing(type, rows.count))


def _column(reader: _Reader, node: Any, depth: int) -> Expression:
    name = node.name
    if name not in reader.inputs:
        raise reader.error(
            f"reads {name[:80]!r}, which is none of the step's inputs",
            f"{nearest(name[:80], reader.inputs)}; a step reads the inputs that are there when its turn comes",
        )
    kind = reader.inputs[name]
    if kind == "number":
        return Expression("number", sql.double(name), lambda rows: numbers(rows.values[name]))
    if kind == "category":
        return Expression("text", sql.name(name), lambda rows: categories(rows.values[name]))
    return Expression("time", f"epoch_us({sql.name(name)})", lambda rows: times(rows.values[name]))


def _literal(reader: _Reader, node: Any, depth: int) -> Expression:
    if node.is_string:
        text = node.name
        return Expression("text", sql.text(text), lambda rows: _objects([text] * rows.count))
    try:
        number = float(node.name)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise reader.error(f"holds the number {node.name[:40]}", "write a number that a double holds")
    return Expression("number", sql.number(number), lambda rows: np.full(rows.count, number))


def _time(reader: _Reader, node: Any, depth: int) -> Expression:
    if node.args["to"].this.name not in ("DATE", "TIMESTAMP", "TIMESTAMPNTZ") or not node.this.is_string:
        raise reader.error(
            f"converts {node.this.sql('duckdb')[:80]!r}", "only times that are written out: DATE '2024-02-29'"
        )
    try:
        time = np.datetime64(datetime.fromisoformat(node.this.name).replace(tzinfo=None), "us")
    except ValueError:
        raise reader.error(f"holds the time {node.this.name[:40]!r}", "write DATE '2024-02-29'") from None
    return Expression("time", f"{time.astype(np.int64)}::BIGINT", lambda rows: np.full(rows.count, time))


def _boolean(reader: _Reader, node: Any, depth: int) -> Expression:
    value = bool(node.this)
    return Expression("truth", str(value).lower(), lambda rows: np.full(rows.count, float(value)))


# Numbers


def _arithmetic(symbol: str, compute: Callable[[Array, Array], Array], by_zero: bool = True) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        left, right = (reader.of("number", each, depth) for each in (node.this, node.expression))

        def computed(rows: Rows) -> Array:
            other = right.compute(rows)
            if not by_zero:
                other = np.where(other == 0, np.nan, other)
            with np.errstate(all="ignore"):  # beyond the range of numbers: infinite, as in SQL
                return compute(left.compute(rows), other)

        other = right.sql if by_zero else f"nullif({right.sql}, {sql.number(0.0)})"
        return Expression("number", f"nullif({left.sql} {symbol} {other}, 'nan'::DOUBLE)", computed)

    return operation


def _of_number(call: str, compute: Callable[[Array], Array]) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        operand = reader.of("number", node.this, depth)

        def computed(rows: Rows) -> Array:
            with np.errstate(invalid="ignore"):
                return compute(operand.compute(rows))

        return Expression("number", f"nullif({call}({operand.sql}), 'nan'::DOUBLE)", computed)

    return operation


def _nearest_whole(values: Array) -> Array:
    """Halves go away from zero."""
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # infinite numbers are whole
        half = np.abs(values - whole) >= 0.5
    rounded: Array = np.where(half, whole + np.copysign(1.0, values), whole)
    return rounded


def _round(reader: _Reader, node: Any, depth: int) -> Expression:
    operand = reader.of("number", node.this, depth)
    if node.args.get("decimals") is None:
        return Expression("number", f"round({operand.sql})", lambda rows: _nearest_whole(operand.compute(rows)))
    digits = reader.whole(node.args["decimals"], 0, 15)

    def computed(rows: Rows) -> Array:
        values = operand.compute(rows)
        with np.errstate(over="ignore"):
            rounded = _nearest_whole(values * 10.0**digits) / 10.0**digits
        return np.where(np.isfinite(rounded), rounded, values)

    return Expression("number", f"round({operand.sql}, {digits})", computed)


def _extreme(call: str, better: Callable[[Array, Array], Any]) -> Operation:
    """The least or greatest of the values that are not missing; of equal ones the first."""

    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        operands = [reader.of("number", each, depth) for each in (node.this, *node.expressions)]

        def further(best: Array, other: Array) -> Array:
            return np.where(np.isnan(best) | better(other, best), other, best)

        written = ", ".join(each.sql for each in operands)
        return Expression(
            "number", f"{call}({written})", lambda rows: reduce(further, (each.compute(rows) for each in operands))
        )

    return operation


def _days(values: Array, unit: int) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = values.astype(np.int64) // unit
    return whole


def _date_diff(reader: _Reader, node: Any, depth: int) -> Expression:
    """How often a unit begins from the first time to the second."""
    unit = UNITS.get(str(node.args["unit"].name).upper()) if node.args.get("unit") is not None else None
    if unit is None:
        raise reader.error("counts an unknown unit", f"date_diff counts {', '.join(UNITS).lower()}")
    until, since = (reader.of("time", each, depth) for each in (node.this, node.expression))

    def computed(rows: Rows) -> Array:
        last, first = until.compute(rows), since.compute(rows)
        count = (_days(last, unit) - _days(first, unit)).astype(np.float64)
        return np.where(np.isnat(last) | np.isnat(first), np.nan, count)

    def begun(each: Expression) -> str:  # SQL's division rounds to zero
        return f"({each.sql} - ({each.sql} % {unit} + {unit}) % {unit}) // {unit}"

    return Expression("number", f"({begun(until)} - {begun(since)})::DOUBLE", computed)


# Truths


def _compared(compare: Callable[[Any, Any], Any], left: Array, right: Array) -> Array:
    missing = unknown(left) | unknown(right)
    if left.dtype == object:
        left, right = np.where(missing, "", left), np.where(missing, "", right)
    return np.where(missing, np.nan, compare(left, right).astype(np.float64))


def _comparison(symbol: str, compare: Callable[[Any, Any], Any]) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        left, right = reader.alike(reader.several([node.this, node.expression], depth))
        return Expression(
            "truth",
            f"({left.sql} {symbol} {right.sql})",
            lambda rows: _compared(compare, left.compute(rows), right.compute(rows)),
        )

    return operation


def _and(left: Array, right: Array) -> Array:
    either = np.isnan(left) | np.isnan(right)
    return np.where((left == 0) | (right == 0), 0.0, np.where(either, np.nan, 1.0))


def _or(left: Array, right: Array) -> Array:
    return 1.0 - _and(1.0 - left, 1.0 - right)


def _logic(symbol: str, compute: Callable[[Array, Array], Array]) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        left, right = (reader.of("truth", each, depth) for each in (node.this, node.expression))
        return Expression(
            "truth", f"({left.sql} {symbol} {right.sql})", lambda rows: compute(left.compute(rows), right.compute(rows))
        )

    return operation


def _not(reader: _Reader, node: Any, depth: int) -> Expression:
    operand = reader.of("truth", node.this, depth)
    return Expression("truth", f"(NOT {operand.sql})", lambda rows: 1.0 - operand.compute(rows))


def _is(reader: _Reader, node: Any, depth: int) -> Expression:
    kind = type(node.expression).__name__
    if kind == "Null":
        operand = _as("number", reader.read(node.this, depth))
        return Expression(
            "truth", f"({operand.sql} IS NULL)", lambda rows: unknown(operand.compute(rows)).astype(np.float64)
        )
    if kind != "Boolean":
        raise reader.error("holds IS", "write IS NULL, IS NOT NULL, IS TRUE or IS FALSE")
    operand, value = reader.of("truth", node.this, depth), bool(node.expression.this)
    return Expression(
        "truth",
        f"({operand.sql} IS NOT DISTINCT FROM {str(value).lower()})",
        lambda rows: (operand.compute(rows) == float(value)).astype(np.float64),
    )


def _distinct(symbol: str, same: bool) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        left, right = reader.alike(reader.several([node.this, node.expression], depth))

        def computed(rows: Rows) -> Array:
            one, other = left.compute(rows), right.compute(rows)
            both = unknown(one) & unknown(other)
            equal = both | (_compared(operator.eq, one, other) == 1)
            return np.where(equal == same, 1.0, 0.0)

        return Expression("truth", f"({left.sql} {symbol} {right.sql})", computed)

    return operation


def _in(reader: _Reader, node: Any, depth: int) -> Expression:
    if not node.expressions:
        raise reader.error("holds IN without a list", "write IN ('a', 'b')")
    first, *others = reader.alike(reader.several([node.this, *node.expressions], depth))

    def computed(rows: Rows) -> Array:
        value = first.compute(rows)
        return reduce(_or, (_compared(operator.eq, value, each.compute(rows)) for each in others))

    return Expression("truth", f"({first.sql} IN ({', '.join(each.sql for each in others)}))", computed)


def _between(reader: _Reader, node: Any, depth: int) -> Expression:
    value, low, high = reader.alike(reader.several([node.this, node.args["low"], node.args["high"]], depth))

    def computed(rows: Rows) -> Array:
        each = value.compute(rows)
        above, below = (
            _compared(operator.ge, each, low.compute(rows)),
            _compared(operator.le, each, high.compute(rows)),
        )
        return _and(above, below)

    return Expression("truth", f"({value.sql} BETWEEN {low.sql} AND {high.sql})", computed)


# Choices


def _chosen(conditions: list[Expression], results: list[Expression]) -> Expression:
    """The result of the first condition that is true; the last result if none is."""

    def computed(rows: Rows) -> Array:
        chosen = results[-1].compute(rows)
        for condition, result in zip(reversed(conditions), reversed(results[:-1]), strict=True):
            chosen = np.where(condition.compute(rows) == 1, result.compute(rows), chosen)
        return chosen

    cases = " ".join(f"WHEN {c.sql} THEN {r.sql}" for c, r in zip(conditions, results, strict=False))
    return Expression(results[0].type, f"(CASE {cases} ELSE {results[-1].sql} END)", computed)


NULL = Expression("null", "NULL", lambda rows: _missing("number", rows.count))


def _case(reader: _Reader, node: Any, depth: int) -> Expression:
    branches = node.args["ifs"]
    if node.this is None:
        conditions = [reader.of("truth", each.this, depth) for each in branches]
    else:
        subject, *values = reader.alike(reader.several([node.this, *(each.this for each in branches)], depth))
        conditions = [_equal(subject, value) for value in values]
    default = node.args.get("default")
    results = reader.several([each.args["true"] for each in branches], depth)
    return _chosen(conditions, reader.alike([*results, NULL if default is None else reader.read(default, depth)]))


def _equal(left: Expression, right: Expression) -> Expression:
    return Expression(
        "truth",
        f"({left.sql} = {right.sql})",
        lambda rows: _compared(operator.eq, left.compute(rows), right.compute(rows)),
    )


def _if(reader: _Reader, node: Any, depth: int) -> Expression:
    otherwise = node.args.get("false")
    results = [reader.read(node.args["true"], depth), NULL if otherwise is None else reader.read(otherwise, depth)]
    return _chosen([reader.of("truth", node.this, depth)], reader.alike(results))


def _coalesce(reader: _Reader, node: Any, depth: int) -> Expression:
    operands = reader.alike(reader.several([node.this, *node.expressions], depth))

    def computed(rows: Rows) -> Array:
        first, *others = (each.compute(rows) for each in operands)
        return reduce(lambda value, other: np.where(unknown(value), other, value), others, first)

    return Expression(operands[0].type, f"coalesce({', '.join(each.sql for each in operands)})", computed)


def _nullif(reader: _Reader, node: Any, depth: int) -> Expression:
    value, other = reader.alike(reader.several([node.this, node.expression], depth))

    def computed(rows: Rows) -> Array:
        each = value.compute(rows)
        equal = _compared(operator.eq, each, other.compute(rows)) == 1
        return np.where(equal, _missing(value.type, rows.count), each)

    return Expression(value.type, f"nullif({value.sql}, {other.sql})", computed)


# Texts

LETTERS = [chr(code) for code in (*range(0x41, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000))]
PAIRS = {
    letter: letter.lower()
    for letter in LETTERS
    if len(letter.lower()) == 1 and letter.lower() != letter and letter.lower().upper() == letter
}
LOWER, UPPER = str.maketrans(PAIRS), str.maketrans({small: large for large, small in PAIRS.items()})


def _mapped(texts: Array, compute: Callable[[str], Any]) -> list[Any]:
    """What is computed of each text, once for equal ones; None for none."""
    of = {text: None if text is None else compute(text) for text in {*texts}}
    return [of[text] for text in texts]


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _of_text(compute: Callable[[str], Any], type: Type, written: Callable[[str], str]) -> Operation:
    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        return _text_result(reader.of("text", node.this, depth), compute, type, written)

    return operation


def _text_result(
    operand: Expression, compute: Callable[[str], Any], type: Type, written: Callable[[str], str]
) -> Expression:
    def computed(rows: Rows) -> Array:
        values = _mapped(operand.compute(rows), compute)
        return _objects(values) if type == "text" else np.array(values, dtype=np.float64)

    return Expression(type, written(operand.sql), computed)


def _translated(table: Mapping[int, str]) -> Callable[[str], str]:
    letters = "".join(map(chr, table)), "".join(table.values())
    return lambda text: f"translate({text}, {sql.text(letters[0])}, {sql.text(letters[1])})"


def _substring(reader: _Reader, node: Any, depth: int) -> Expression:
    start = reader.whole(node.args.get("start"), 1, 10**6) - 1
    count = 10**6 if node.args.get("length") is None else reader.whole(node.args["length"], 0, 10**6)
    operand = reader.of("text", node.this, depth)
    return _text_result(
        operand, lambda text: text[start : start + count], "text", lambda s: f"substring({s}, {start + 1}, {count})"
    )


def _split_part(reader: _Reader, node: Any, depth: int) -> Expression:
    separator, place = reader.letters(node.args["delimiter"]), reader.whole(node.args["part_index"], 1, 10**6)

    def part(text: str) -> str:
        parts = text.split(separator)
        return parts[place - 1] if place <= len(parts) else ""

    operand = reader.of("text", node.this, depth)
    return _text_result(operand, part, "text", lambda text: f"split_part({text}, {sql.text(separator)}, {place})")


def _holds(call: str, holds: Callable[[str, str], bool]) -> Operation:
    """Whether a text holds another one, which is written out."""

    def operation(reader: _Reader, node: Any, depth: int) -> Expression:
        part = reader.letters(node.expression)
        operand = reader.of("text", node.this, depth)
        return _text_result(
            operand, lambda text: float(holds(text, part)), "truth", lambda text: f"{call}({text}, {sql.text(part)})"
        )

    return operation


def _concat(reader: _Reader, node: Any, depth: int) -> Expression:
    """Missing texts are left out."""
    operands = [reader.of("text", each, depth) for each in node.expressions]

    def computed(rows: Rows) -> Array:
        columns = [each.compute(rows) for each in operands]
        return _objects(["".join(text for text in row if text is not None) for row in zip(*columns, strict=True)])

    return Expression("text", f"concat({', '.join(each.sql for each in operands)})", computed)


def _joined(reader: _Reader, node: Any, depth: int) -> Expression:
    left, right = (reader.of("text", each, depth) for each in (node.this, node.expression))

    def computed(rows: Rows) -> Array:
        pairs = zip(left.compute(rows), right.compute(rows), strict=True)
        return _objects([None if one is None or other is None else one + other for one, other in pairs])

    return Expression("text", f"({left.sql} || {right.sql})", computed)


def _paren(reader: _Reader, node: Any, depth: int) -> Expression:
    return reader.read(node.this, depth)


TWO = frozenset({"this", "expression"})
ONE = frozenset({"this"})
IMPLIED = frozenset({"safe", "typed", "coalesce", "ignore_nulls", "date_part_boundary"})  # sqlglot's own notes
OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "Column": (ONE, _column),
    "Literal": (frozenset({"this", "is_string"}), _literal),
    "Cast": (frozenset({"this", "to"}), _time),
    "Boolean": (ONE, _boolean),
    "Null": (frozenset(), lambda reader, node, depth: NULL),
    "Paren": (ONE, _paren),
    "Add": (TWO, _arithmetic("+", np.add)),
    "Sub": (TWO, _arithmetic("-", np.subtract)),
    "Mul": (TWO, _arithmetic("*", np.multiply)),
    "Div": (TWO, _arithmetic("/", np.divide, by_zero=False)),
    "Mod": (TWO, _arithmetic("%", np.fmod, by_zero=False)),
    "Neg": (ONE, _of_number("-", np.negative)),
    "Abs": (ONE, _of_number("abs", np.abs)),
    "Floor": (ONE, _of_number("floor", np.floor)),
    "Ceil": (ONE, _of_number("ceil", np.ceil)),
    "Sqrt": (ONE, _of_number("sqrt", np.sqrt)),
    "Round": (frozenset({"this", "decimals"}), _round),
    "Least": (frozenset({"this", "expressions"}), _extreme("least", np.less)),
    "Greatest": (frozenset({"this", "expressions"}), _extreme("greatest", np.greater)),
    "DateDiff": (frozenset({"this", "expression", "unit"}), _date_diff),
    "EQ": (TWO, _comparison("=", operator.eq)),
    "NEQ": (TWO, _comparison("<>", operator.ne)),
    "LT": (TWO, _comparison("<", operator.lt)),
    "LTE": (TWO, _comparison("<=", operator.le)),
    "GT": (TWO, _comparison(">", operator.gt)),
    "GTE": (TWO, _comparison(">=", operator.ge)),
    "NullSafeEQ": (TWO, _distinct("IS NOT DISTINCT FROM", True)),
    "NullSafeNEQ": (TWO, _distinct("IS DISTINCT FROM", False)),
    "And": (TWO, _logic("AND", _and)),
    "Or": (TWO, _logic("OR", _or)),
    "Not": (ONE, _not),
    "Is": (TWO, _is),
    "In": (frozenset({"this", "expressions"}), _in),
    "Between": (frozenset({"this", "low", "high"}), _between),
    "Case": (frozenset({"this", "ifs", "default"}), _case),
    "If": (frozenset({"this", "true", "false"}), _if),
    "Coalesce": (frozenset({"this", "expressions"}), _coalesce),
    "Nullif": (TWO, _nullif),
    "Lower": (ONE, _of_text(lambda text: text.translate(LOWER), "text", _translated(LOWER))),
    "Upper": (ONE, _of_text(lambda text: text.translate(UPPER), "text", _translated(UPPER))),
    "Trim": (ONE, _of_text(lambda text: text.strip(" "), "text", lambda text: f"trim({text}, ' ')")),
    "Length": (ONE, _of_text(lambda text: float(len(text)), "number", lambda text: f"length({text})::DOUBLE")),
    "Substring": (frozenset({"this", "start", "length"}), _substring),
    "SplitPart": (frozenset({"this", "delimiter", "part_index"}), _split_part),
    "StartsWith": (TWO, _holds("starts_with", str.startswith)),
    "EndsWith": (TWO, _holds("ends_with", str.endswith)),
    "Contains": (TWO, _holds("contains", str.__contains__)),
    "Concat": (frozenset({"expressions"}), _concat),
    "DPipe": (TWO, _joined),
}
OPERATORS = "+ - * / % = <> < <= > >= AND OR NOT IN BETWEEN IS CASE ||"
FUNCTIONS = (
    "abs, ceil, coalesce, concat, contains, date_diff, ends_with, floor, greatest, if, ifnull, least, length, lower, "
    "nullif, round, split_part, sqrt, starts_with, substring, trim, upper"
)
