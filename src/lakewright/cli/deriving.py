"""Derive by example, and the question for one more example where several expressions fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakewright.cli.app import AsJson, ProfileName, app
from lakewright.cli.show import note, print_json, visible

if TYPE_CHECKING:
    from lakewright.learning.by_example.asking import Answer, Derived, Question


@app.command(epilog="Example: lakewright derive main.shop.people --input name --example 'Ann Lee -> Lee'")
def derive(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    input: Annotated[
        list[str] | None, typer.Option(help="a column that it is derived from; repeatable; default: those of examples")
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(help='\'VALUE -> WANTED\', or as JSON \'{"name": "Ann Lee", "want": "Lee"}\'; repeatable'),
    ] = None,
    examples: Annotated[
        str | None, typer.Option(help="a csv or jsonl file of examples; its column `want` holds the wanted values")
    ] = None,
    name: Annotated[str, typer.Option(help="the name of the new input")] = "derived",
    type: Annotated[
        str | None, typer.Option(help="text, number or truth; default: as the wanted values are written")
    ] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Find the smallest expression that gives wanted values.

    It is one of the recipe's step derive. Where several fit and differ in rows of the table, it asks for one more
    example; without a terminal it ends with those rows.
    """
    from lakewright import api
    from lakewright.learning.by_example import written

    shown = [] if examples is None else written.examples_in(Path(examples))
    names = input or written.inputs_of(shown)
    shown += [written.example_of(each, names) for each in example or ()]
    asks = sys.stdin.isatty() and not as_json
    derived = api.derive(
        table, examples=shown, inputs=input or (), name=name, type=type, ask=_ask if asks else None, profile=profile
    )
    if as_json:
        print_json({**_plain(derived), "settings": derived.settings})
        return
    _print(derived)


def _plain(derived: Derived) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(derived)


def _print(derived: Derived) -> None:
    import yaml

    print(visible(derived.expression))
    note(f"examples: {derived.examples}; makes: {derived.type}; expressions tried: {derived.computed:,}")
    if derived.others:
        note(visible(f"the same in all {derived.table_rows:,} rows of {derived.table}: {'; '.join(derived.others)}"))
    if derived.note:
        note(f"note: {derived.note}")
    print("\n# project.yml")
    print(visible(yaml.safe_dump(derived.settings, sort_keys=False, allow_unicode=True, width=1000)), end="")


def _ask(question: Question) -> Answer:
    note(
        f"{len(question.candidates)} expressions fit and differ in {question.differing:,} of "
        f"{question.table_rows:,} rows:"
    )
    for place, text in enumerate(question.candidates, 1):
        note(visible(f"  #{place} {text}"))
    for row, values in zip(question.rows, question.values, strict=True):
        gives = ", ".join(f"#{place} {_cell(value)}" for place, value in enumerate(values, 1))
        note(visible(f"  {', '.join(f'{name}: {_cell(value)}' for name, value in row.items())} → {gives}"))
    row = question.rows[0]
    inputs = visible(", ".join(f"{name}: {_cell(value)}" for name, value in row.items()))
    note(f"What is wanted of {inputs}? (a value; #1 takes the first expression; nothing ends)")
    answer = sys.stdin.readline().rstrip("\n")  # results alone go to stdout, so this asks on stderr
    if not answer.strip():
        return None
    if answer.startswith("#") and answer[1:].isdecimal() and 0 < int(answer[1:]) <= len(question.candidates):
        return question.candidates[int(answer[1:]) - 1]
    return {**row, "want": answer}


def _cell(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
