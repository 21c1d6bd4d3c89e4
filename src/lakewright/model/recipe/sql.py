"""How steps write DuckDB's SQL: names and literals, whatever they hold."""

from __future__ import annotations


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
