"""How steps write DuckDB's SQL: names and literals, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def number(value: float) -> str:
    """Exactly this double: a plain 0.1 is a decimal in DuckDB."""
    return f"'{float(value)!r}'::DOUBLE"


def lacks(column: str) -> str:
    """Whether the number is missing; not a number counts as missing."""
    return f"({name(column)} IS NULL OR isnan({name(column)}))"


def double(column: str) -> str:
    """The column's numbers, NULL for each that is missing, not a number included."""
    return f"nullif({name(column)}::DOUBLE, 'nan'::DOUBLE)"


def texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(text, values))}]::VARCHAR[]"


def looked_up(column: str, numbers: Mapping[str, float]) -> str:
    """The number of the category's value, NULL for any value that has none."""
    listed = ", ".join(map(number, numbers.values()))
    return f"map({texts(numbers)}, [{listed}]::DOUBLE[])[{name(column)}]"
