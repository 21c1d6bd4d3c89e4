"""The pages agree with each other and with the code: links, commands, keys and defaults."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lakewright.testing import FolderCase

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|^(?: {4}.*\n)+|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<!import )(?<![\w.-])lakewright ([a-z][a-z-]*)([^\n`|#]*)")
ROW = re.compile(r"^\| `([\w.]+)` \|.*\| (.+?) \|$")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(read(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{named(page)} links to {link}, which has no such heading"


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """The verb and the rest of each `lakewright …` in a page's code."""
    for code in CODE.findall(read(page)):
        yield from COMMAND.findall(code)


def known() -> dict[str, Any]:
    """`plan`, `tables list`, …: each command, and what it takes."""
    import typer

    from lakewright.cli import app

    found = {}
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        parts = getattr(command, "commands", None)
        found.update({f"{verb} {name}": part for name, part in parts.items()} if parts else {verb: command})
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist_and_have_these_options(page: Path) -> None:
    every = known()
    groups = {name.partition(" ")[0] for name in every if " " in name}
    said = list(commands(page))
    for verb, rest in said:
        if verb in groups:
            if page.name == "CHANGELOG.md" and not rest.strip():
                continue  # the group, by its name
            part, _, rest = rest.strip().partition(" ")
            verb, rest = f"{verb} {part}", f" {rest}"
        verbs = "|".join(sorted({name.partition(" ")[0] for name in every}))
        inner = re.search(rf" ({verbs})( .*|$)", rest) if verb.startswith("schedule ") else None
        if inner:  # `lakewright schedule cron … score …`: the rest is score's
            rest = rest[: inner.start()]
            said.append((inner[1], inner[2]))
        if verb == "stage" and rest.startswith(" NAME"):  # `lakewright stage NAME …`
            rest = rest.removeprefix(" NAME")
        assert verb in every, f"{named(page)}: there is no `lakewright {verb}`"
        options = {name for parameter in every[verb].params for name in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
            assert option in options, f"{named(page)}: `lakewright {verb}` has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_named_are_there(page: Path) -> None:
    house = ROOT / "src" / "lakewright"
    sources = [path.relative_to(house).parts for path in house.rglob("*.py")]
    for name in re.findall(r"`([\w/]+\.py)(?:::\w+)?`", read(page)):
        parts = Path(name).parts
        known = (ROOT / name).exists() or any(path[-len(parts) :] == parts for path in sources)
        assert known or "NAME" in name, f"{named(page)} names {name}"


def test_every_command_is_told_of() -> None:
    said = [(verb, " ".join([verb, *rest.split()[:1]])) for page in PAGES for verb, rest in commands(page)]
    told = {name for both in said for name in both}
    assert known().keys() <= told


CALL = re.compile(r"\blw\.([a-z_]+)\(")


def calls(text: str) -> Iterator[ast.Call]:
    """Each `lw.NAME(…)` in a text, to the bracket that closes it."""
    for match in CALL.finditer(text):
        ends = (match.end() + place for place, letter in enumerate(text[match.end() :], start=1) if letter == ")")
        for end in ends:
            with suppress(SyntaxError):
                call = ast.parse(text[match.start() : end], mode="eval").body
                assert isinstance(call, ast.Call)
                yield call
                break


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_functions_called_in_pages_take_these_arguments(page: Path) -> None:
    import inspect

    import lakewright

    for call in calls(read(page)):
        name = ast.unparse(call.func).removeprefix("lw.")
        assert name in lakewright.__all__, f"{named(page)}: there is no lw.{name}"
        given = {each.arg: None for each in call.keywords if each.arg}
        try:
            inspect.signature(getattr(lakewright, name)).bind(*call.args, **given)
        except TypeError as failure:
            raise AssertionError(f"{named(page)}: {ast.unparse(call)}: {failure}") from None


def test_every_function_is_told_of() -> None:
    from lakewright import api

    page = read(ROOT / "docs" / "python.md")
    assert set(api.__all__) == {ast.unparse(call.func).removeprefix("lw.") for call in calls(page)} - BELOW


BELOW = {"load_profile"}  # what a reader may call, and no verb


def leaves(schema: dict[str, Any], part: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Each key of a JSON Schema's object with its default; "required" where it must be given."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for name, value in part["properties"].items():
        key = f"{at}.{name}" if at else name
        if "$ref" in value:
            yield from leaves(schema, value, key)
        else:
            yield key, "required" if name in part.get("required", ()) else value["default"]


def table(heading: str) -> dict[str, Any]:
    """Key → default, from the table under a heading of docs/projects.md."""
    section = read(ROOT / "docs" / "projects.md").partition(f"\n{heading}\n")[2]
    rows = [ROW.match(line) for line in re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines()]
    return {row[1]: _value(row[2]) for row in rows if row}


def _value(cell: str) -> Any:
    if cell == "required":
        return cell
    assert cell[0] == cell[-1] == "`", cell
    try:
        return json.loads(cell[1:-1])
    except ValueError:
        return cell[1:-1]


def test_the_project_table_is_the_schema() -> None:
    from lakewright.settings.project import json_schema
    from lakewright.settings.sections import Columns

    schema = json_schema()
    del schema["properties"]["train"]
    schema["$defs"]["Common"] = Columns.model_json_schema()  # the other roles are each task's
    schema["$defs"]["Data"]["properties"]["columns"] = {"$ref": "#/$defs/Common"}
    assert table("## project.yml") == dict(leaves(schema, schema))


def test_the_table_of_tune_is_its_schema() -> None:
    from lakewright.settings.sections import Tune

    schema = Tune.model_json_schema()
    assert table("### tune") == {f"tune.{key}": default for key, default in leaves(schema, schema)}


def test_the_table_of_expect_is_its_schema() -> None:
    from lakewright.settings.expectations import Expected

    schema = Expected.model_json_schema()
    assert table("### data.expect") == {f"data.expect.{key}": default for key, default in leaves(schema, schema)}


def test_each_learner_table_is_its_schema() -> None:
    from lakewright import plugins

    for learner in plugins.LEARNERS.names():
        schema = plugins.LEARNERS.find(learner).settings.model_json_schema()
        told = table(f"### train, learner: {learner}")
        assert told == {f"train.{key}": default for key, default in leaves(schema, schema)}


def test_each_task_table_is_its_schema() -> None:
    from lakewright import plugins
    from lakewright.settings.sections import COMMON

    for task in plugins.TASKS.names():
        part = plugins.TASKS.find(task)
        schema, columns = part.settings.model_json_schema(), part.columns.model_json_schema()
        keys = {f"task.{key}": default for key, default in leaves(schema, schema)}
        roles = {key: default for key, default in leaves(columns, columns) if key not in COMMON}
        assert table(f"### task, name: {task}") == keys | {f"data.columns.{key}": roles[key] for key in roles}


def test_each_step_table_is_its_schema() -> None:
    from lakewright import plugins

    for step in plugins.STEPS.names():
        schema = plugins.STEPS.find(step).settings.model_json_schema()
        told = table(f"### prepare.recipe, step: {step}")
        assert told == {f"prepare.recipe.{step}.{key}": default for key, default in leaves(schema, schema)}


def test_every_task_is_told_of() -> None:
    """Each has a section with a minimal project that fits it, and names its losses, its roles and its metrics."""
    import yaml

    from lakewright import pipeline, plugins
    from lakewright.settings.project import Project
    from lakewright.settings.sections import COMMON

    page, metrics = read(ROOT / "docs" / "tasks.md"), read(ROOT / "docs" / "evaluation.md")
    for name in plugins.TASKS.names():
        task = plugins.TASKS.find(name)
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
        project = next(block for block in blocks if f"task: {name}" in block)
        given = Project.model_validate(yaml.safe_load(project))
        assert given.task.name == name
        pipeline.check(given)
        losses = page.partition("\n## Losses\n")[2].partition("\n## ")[0]
        for loss in task.losses:
            assert loss == "auto" or f"`{loss}`" in losses, loss
        roles = [role for role in task.columns.model_fields if role not in COMMON]
        for role in roles:
            assert f"`{role}`" in section, f"{name}: {role}"
        for settings in (task.settings(), *([task.settings(ordinal=True)] if name == "text_classification" else [])):
            for metric in {*task.measures(settings, roles), *task.measures(settings, ())}:
                assert f"`{metric}`" in metrics, metric


def test_the_profile_table_is_the_schema() -> None:
    from lakewright.settings.profile import Profiles

    schema = Profiles.model_json_schema()
    profile = schema["$defs"]["Profile"]
    for key, default in {
        "target": "local",
        "catalog": "sqlite",
        "workers": "local",
        "online": "sqlite",
    }.items():  # what more they hold, their name picks
        profile["properties"][key] = {"default": default}
    assert table("## profiles.yml") == dict(leaves(schema, profile))


def test_the_tolerance_told_is_the_one_tested() -> None:
    told = re.search(r"differ by less than `(\S+)`", read(ROOT / "docs" / "models.md"))
    assert told and FolderCase.tolerance == float(told[1])


def test_every_metric_is_told_of() -> None:
    import numpy as np

    from lakewright.evaluation.scorers import Scorer
    from lakewright.evaluation.scorers.classification import ClassificationScorer
    from lakewright.evaluation.scorers.entities import EntityScorer
    from lakewright.evaluation.scorers.regression import RegressionScorer

    page = read(ROOT / "docs" / "evaluation.md")
    scorers: list[Scorer] = [
        ClassificationScorer(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"]),
        EntityScorer([[(0, 1, "a")]], [[(0, 1, "a")]], ["a"]),
        RegressionScorer(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1)),
    ]
    for scorer in scorers:
        for metric in scorer.metrics(np.ones(scorer.rows)):
            assert f"`{metric}`" in page, metric


def test_the_automl_table_is_its_schema() -> None:
    from lakewright.settings.sections import AutoML

    schema = AutoML.model_json_schema()
    assert table("### automl") == {f"automl.{key}": default for key, default in leaves(schema, schema)}
