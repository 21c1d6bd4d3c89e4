"""Examples as people write them: on the command line, or in a csv or jsonl file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lakewright.errors import NotFound, UsageError, shown
from lakewright.learning.by_example.asking import WANT
from lakewright.learning.by_example.examples import MOST

ARROW = " -> "
LARGEST_FILE = 1 << 20  # bytes


def example_of(text: str, inputs: Sequence[str]) -> dict[str, Any]:
    """`{"name": "Ann Lee", "want": "Lee"}`, or of one input `Ann Lee -> Lee`. Raises UsageError for other forms."""
    if text.lstrip().startswith("{"):
        return _object(text, shown(text))
    value, arrow, wanted = text.partition(ARROW)
    if not arrow or ARROW in wanted:
        raise UsageError(
            f"the example {shown(text)} has {'no arrow' if not arrow else 'several arrows'}",
            f"""write 'VALUE -> WANTED', or as JSON '{{"NAME": "VALUE", "{WANT}": "WANTED"}}'""",
        )
    if len(inputs) != 1:
        raise UsageError(
            f"the example {shown(text)} does not tell which of {len(inputs)} inputs its value is",
            f"""name one input (--input NAME), or write JSON: '{{"NAME": "VALUE", "{WANT}": "WANTED"}}'""",
        )
    return {inputs[0]: value, WANT: wanted}


def examples_in(path: Path) -> list[dict[str, Any]]:
    """Of a jsonl file one object a line; of a csv file one row each, with a column `want`, every cell a text.

    Raises NotFound if there is no file, UsageError if it is too large or its content is none of these.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path} has more than {LARGEST_FILE:,} bytes", f"give at most {MOST} examples")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", "name a csv or jsonl file of examples") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"{path} cannot be read: {failure}", "name a csv or jsonl file in UTF-8") from None
    if path.suffix == ".csv":
        return _rows(text, path)
    if path.suffix in (".jsonl", ".ndjson"):
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [_object(line, f"line {number} of {path}") for number, line in lines]
    raise UsageError(f"{path} is neither a csv nor a jsonl file", "end its name in .csv or .jsonl")


def _rows(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        head, *rows = [row for row in reader if row] or [[]]
    except csv.Error as failure:
        raise UsageError(f"{path} is no csv file: {failure}", "write one example a row") from None
    if len({*head}) < len(head) or WANT not in head:
        raise UsageError(f"the head of {path} is {shown(', '.join(head))}", f"name each input once, and {WANT}")
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise UsageError(f"row {number} of {path} has {len(row)} cells, its head {len(head)}", "correct the row")
    return [dict(zip(head, row, strict=True)) for row in rows]


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise UsageError(
            f"{where} is no JSON: {str(failure)[:200]}", f'write {{"NAME": "VALUE", "{WANT}": …}}'
        ) from None
    if not isinstance(read, dict):
        raise UsageError(f"{where} is no JSON object", f'write {{"NAME": "VALUE", "{WANT}": …}}')
    return read


def inputs_of(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The inputs that the examples name, in their order."""
    return list(dict.fromkeys(name for each in examples for name in each if name != WANT))
