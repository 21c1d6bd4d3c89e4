"""Values with escapes (\\"), as Spark, Databricks and MySQL write csv, turned into the usual form with doubled quotes.

Within a quoted value the escape precedes a quote, itself, or the end of a line; before anything else it is an ordinary
character. Outside quotes it is always ordinary: Spark writes C:\\temp unchanged. If no value is quoted (`quote: ''`, as
in MySQL's tab-separated files), it precedes separators, line ends and itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lakewright.data.sources.text import LONGEST_LINE, endless


def unescaped(lines: Iterable[str], delimiter: str, quote: str | None, escape: str, name: str) -> Iterator[str]:
    """Lines without escapes, their quotes doubled; a file without quotes gets `"`. Raises DataError for a row that does
    not end."""
    return _quoted(lines, delimiter, quote, escape) if quote else _bare(lines, delimiter, escape, name)


def _quoted(lines: Iterable[str], delimiter: str, quote: str, escape: str) -> Iterator[str]:
    q, e, d = re.escape(quote), re.escape(escape), re.escape(delimiter)
    opening, inside = re.compile(f"(?:^|{d}){q}"), re.compile(rf"(?:[^{q}{e}]|{e}[\s\S]|{e}$|{q}{q})*")
    escaped = re.compile(rf"{e}([{q}{e}\r\n])")
    open_value = False
    for line in lines:
        parts, position = [], 0
        while position < len(line):
            if not open_value:
                match = opening.search(line, position)
                end = match.end() if match else len(line)
                parts.append(line[position:end])
                position, open_value = end, match is not None
            else:
                value = inside.match(line, position)
                assert value is not None  # it matches nothing, too
                parts.append(escaped.sub(lambda m: quote * 2 if m[1] == quote else m[1], value[0]))
                position = value.end()
                if position < len(line):  # at its closing quote
                    parts.append(quote)
                    position, open_value = position + 1, False
        yield "".join(parts)


def _bare(lines: Iterable[str], delimiter: str, escape: str, name: str) -> Iterator[str]:
    d, e = re.escape(delimiter), re.escape(escape)
    value, escaped = re.compile(rf"(?:[^{d}{e}\r\n]|{e}\r\n|{e}[\s\S]|{e}$)*"), re.compile(rf"{e}([{d}{e}\r\n])")
    goes_on = re.compile(rf"(?<!{e})(?:{e}{e})*{e}\r?\n?$")
    row = ""
    for number, line in enumerate(lines, 1):
        row += line
        if len(row) > LONGEST_LINE:
            raise endless(name, number)
        if line[-1] in "\r\n" and goes_on.search(line):
            continue  # the line's end is part of the value
        yield _as_quoted(row, delimiter, value, escaped)
        row = ""
    if row:
        yield _as_quoted(row, delimiter, value, escaped)


def _as_quoted(row: str, delimiter: str, value: re.Pattern[str], escaped: re.Pattern[str]) -> str:
    parts, position = [], 0
    while True:
        match = value.match(row, position)
        assert match is not None  # it matches nothing, too
        text = escaped.sub(r"\1", match[0])
        parts.append('"' + text.replace('"', '""') + '"' if text != match[0] or '"' in text else text)
        position = match.end()
        if row[position : position + 1] != delimiter:
            return "".join(parts) + row[position:]
        parts.append(delimiter)
        position += 1
