"""docs/recipes.md names every step with what it reads, and its examples are read as a project's are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.model.recipe import Transform, is_transform
from lakewright.settings.sections import Prepare

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"(?:^ {4}.*\n)+", PAGE, re.MULTILINE) if "recipe:" in block]
KINDS: dict[str, Kind] = {
    "name": "category",
    **dict.fromkeys(("price", "area", "income", "visits", "height", "width", "depth", "age", "distance"), "number"),
    **dict.fromkeys(("city", "size", "color", "product_id", "rooms_text"), "category"),
    **dict.fromkeys(("sold", "built"), "time"),
    "text": "text",
}


def test_the_table_is_of_every_step() -> None:
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\([^)]*\) \| (.*) \|$", PAGE, re.MULTILINE))
    assert sorted(rows) == plugins.STEPS.names()
    for name, cells in rows.items():
        assert cells.split(" | ")[0] == ", ".join(plugins.STEPS.find(name).reads), name


@pytest.mark.parametrize("block", BLOCKS)
def test_an_example_is_a_recipe(block: str) -> None:
    declared = Prepare.model_validate(yaml.safe_load(block)["prepare"]).recipe
    assert declared
    for own in declared.values():
        step: Any = plugins.STEPS.find(own.step)
        assert {*own.inputs} <= KINDS.keys() and {KINDS[name] for name in own.inputs} <= {*step.reads}
        if is_transform(step):
            made = makes(step, own)
            assert made


def makes(step: type[Transform], own: Any) -> dict[str, Kind]:
    return step.makes({name: kind for name, kind in KINDS.items() if name in own.inputs or not own.inputs}, own)


def test_every_step_but_those_of_texts_has_an_example() -> None:
    declared = [
        own for block in BLOCKS for own in Prepare.model_validate(yaml.safe_load(block)["prepare"]).recipe.values()
    ]
    assert {own.step for own in declared} == {*plugins.STEPS.names()} - {"tokens", "terms"}


def test_every_function_of_expressions_is_named() -> None:
    from lakewright.model.recipe.expressions import FUNCTIONS

    for name in FUNCTIONS.split(", "):
        assert re.search(rf"`{name}[`(]", PAGE), name
