"""The pages agree with each other and with the code: links, commands, keys and defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist_and_have_these_options(page: Path) -> None:
    import typer

    from lakewright.cli import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    said = list(commands(page))
    for verb, rest in said:
        inner = re.search(rf" ({'|'.join(known)})( .*|$)", rest) if verb == "schedule" else None
        if inner:  # `lakewright schedule … score …`: the rest is score's
            rest = rest[: inner.start()]
            said.append((inner[1], inner[2]))
        if verb == "stage" and rest.startswith(" NAME"):  # `lakewright stage NAME …`
            rest = rest.removeprefix(" NAME")
        assert verb in known, f"{named(page)}: there is no `lakewright {verb}`"
        options = {name for parameter in known[verb].params for name in parameter.opts} | {"--help"}
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
    import typer

    from lakewright.cli import app

    told = {verb for page in PAGES for verb, _ in commands(page)}
    assert set(typer.main.get_command(app).commands) <= told  # type: ignore[attr-defined]


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

    schema = json_schema()
    del schema["properties"]["train"]
    assert table("## project.yml") == dict(leaves(schema, schema))


def test_each_learner_table_is_its_schema() -> None:
    from lakewright import plugins

    for learner in plugins.LEARNERS.names():
        schema = plugins.LEARNERS.find(learner).settings.model_json_schema()
        told = table(f"### train, learner: {learner}")
        assert told == {f"train.{key}": default for key, default in leaves(schema, schema)}


def test_each_task_table_is_its_schema() -> None:
    from lakewright import plugins

    for task in plugins.TASKS.names():
        schema = plugins.TASKS.find(task).settings.model_json_schema()
        told = table(f"### task, name: {task}")
        assert told == {f"task.{key}": default for key, default in leaves(schema, schema)}


def test_every_task_is_told_of() -> None:
    """Each has a section with a minimal project that fits it, and names its losses, its roles and its metrics."""
    import yaml

    from lakewright import pipeline, plugins
    from lakewright.settings.project import Project

    page, metrics = read(ROOT / "docs" / "tasks.md"), read(ROOT / "docs" / "evaluation.md")
    for name in plugins.TASKS.names():
        task = plugins.TASKS.find(name)
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
        project = next(block for block in blocks if f"task: {name}" in block)
        given = Project.model_validate(yaml.safe_load(project))
        assert given.task.name == name
        pipeline._check(given)
        losses = page.partition("\n## Losses\n")[2].partition("\n## ")[0]
        for loss in task.losses:
            assert loss == "auto" or f"`{loss}`" in losses, loss
        for role in task.roles:
            assert f"`{role}`" in section, f"{name}: {role}"
        for settings in (task.settings(), *([task.settings(ordinal=True)] if name == "text_classification" else [])):
            for metric in {*task.measures(settings, task.roles), *task.measures(settings, ())}:
                assert f"`{metric}`" in metrics, metric


def test_the_profile_table_is_the_schema() -> None:
    from lakewright.settings.profile import Profiles

    schema = Profiles.model_json_schema()
    profile = schema["$defs"]["Profile"]
    for key, default in {"target": "local", "catalog": "sqlite"}.items():  # what more they hold, their name picks
        profile["properties"][key] = {"default": default}
    assert table("## profiles.yml") == dict(leaves(schema, profile))


def test_the_tolerance_told_is_the_one_tested() -> None:
    contract = read(ROOT / "tests" / "contracts" / "test_learners.py")
    tested = re.search(r"^TOLERANCE = (\S+)", contract, re.MULTILINE)
    told = re.search(r"differ by less than `(\S+)`", read(ROOT / "docs" / "models.md"))
    assert tested and told and float(tested[1]) == float(told[1])


def test_every_metric_is_told_of() -> None:
    import numpy as np

    from lakewright.evaluation.scorers import Scorer
    from lakewright.evaluation.scorers.classification import ClassificationScorer
    from lakewright.evaluation.scorers.entities import EntityScorer

    page = read(ROOT / "docs" / "evaluation.md")
    scorers: list[Scorer] = [
        ClassificationScorer(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"]),
        EntityScorer([[(0, 1, "a")]], [[(0, 1, "a")]], ["a"]),
    ]
    for scorer in scorers:
        for metric in scorer.metrics(np.ones(scorer.rows)):
            assert f"`{metric}`" in page, metric
