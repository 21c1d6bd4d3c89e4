"""The fitted steps from a row's inputs to the network's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakewright.model.recipe import Step, is_encoding, is_transform
from lakewright.pages.parts import Cell, Column, Section, Table, shortened

if TYPE_CHECKING:
    from lakewright.pages.report.context import ReportContext

LISTED = 12  # names in a cell
FITTED = 160  # characters of what was fitted


def sections(context: ReportContext) -> list[Section]:
    if context.recipe is None:
        return []
    columns = [
        Column("step", "name"),
        Column("reads", "says"),
        Column("gives", "says"),
        Column("fitted on train", "says"),
        Column("in SQL"),
    ]
    rows: list[list[Cell]] = [
        [step.name, _listed(step.inputs), _gives(step), _fitted(fitted), "no" if step.sql() is None else "yes"]
        for step, fitted in zip(context.recipe.steps, context.fitted_steps, strict=True)
    ]
    words = (
        "The steps from a row to what the network reads, in order, fitted on train alone. Training and every "
        "prediction run the same ones. `lakewright recipe MODEL` prints all that they hold, `--sql TABLE` as one "
        "statement."
    )
    return [Section("recipe", "Recipe", "The recipe", words, [Table(columns, rows)])]


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _gives(step: Step) -> str:
    if is_transform(step):
        return _listed(step.made)
    if is_encoding(step) and step.columns:
        count = len(step.columns)
        return f"{count} number{'s' * (count != 1)}: {_listed(tuple(column.name for column in step.columns))}"
    return step.gives


def _fitted(described: Mapping[str, Any]) -> str:
    values = {key: value for key, value in described.items() if key not in ("step", "inputs")}
    return shortened(json.dumps(values, ensure_ascii=False), FITTED)
