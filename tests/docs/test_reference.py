"""The pages of reference are complete: every command and option, every setting of targets and catalogs, every
environment variable that the code uses, every error. The settings of project.yml and profiles.yml: test_links.py."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lakewright import plugins

ROOT = Path(__file__).parents[2]
DOCS, HOUSE = ROOT / "docs", ROOT / "src" / "lakewright"


def section(page: str, heading: str) -> str:
    """The text under a heading of a page, up to the next heading."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    assert text, f"docs/{page} has no heading {heading!r}"
    return re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# Commands


def test_every_command_has_its_arguments_and_options() -> None:
    import typer

    from lakewright.cli.app import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    groups = {name: command.commands for name, command in known.items() if hasattr(command, "commands")}
    each = [(name, *(f"{name} {part}" for part in groups.get(name, ()))) for name in known]
    headings = re.findall(r"^##+ (.+)$", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [name for names in each for name in names]
    single = {name: command for name, command in known.items() if name not in groups}
    parts = {f"{name} {part}": command for name, group in groups.items() for part, command in group.items()}
    for name, command in (single | parts).items():
        parameters = {
            ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts)): default(parameter)
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
        }
        assert {
            names: shown for names, _, shown in rows("commands.md", f"{'###' if name in parts else '##'} {name}")
        } == parameters, name


def default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.default, bool):
        return "on" if parameter.default else "off"
    return f"`{parameter.default}`" if parameter.default not in (None, "", []) else ""


# Settings of targets and catalogs


def leaves(schema: dict[str, Any], part: dict[str, Any], at: str = "", given: Any = None) -> Iterator[tuple[str, Any]]:
    """Each key with its default, in objects, lists of objects and objects that may be null, too. `given` is the default
    of the key above, which may say more than the key's own."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for name, value in part["properties"].items():
        own = "required" if name in part.get("required", ()) else value.get("default")
        default = given[name] if given and name in given else own
        objects = [each for each in (value, *value.get("anyOf", ()), value.get("items", {})) if "$ref" in each]
        inner = default if isinstance(default, dict) else None
        if not objects or inner is None:
            yield f"{at}{name}", default
        for each in objects:
            yield from leaves(schema, each, f"{at}{name}.", inner)


@pytest.mark.parametrize(
    ("seam", "word"),
    [
        (plugins.TARGETS, "target"),
        (plugins.CATALOGS, "catalog"),
        (plugins.WORKERS, "workers"),
        (plugins.STORES, "online"),
    ],
)
def test_every_setting_of_what_a_profile_picks(seam: plugins.Seam[Any], word: str) -> None:
    for name in seam.names():
        schema = seam.find(name).settings.model_json_schema()
        shown = {key.strip("`"): cell for key, _, cell in rows("profiles.md", f"## {word}, name: {name}")}
        assert {key: value(cell) for key, cell in shown.items()} == dict(leaves(schema, schema)), name


def value(cell: str) -> Any:
    if cell == "required":
        return cell
    try:
        return json.loads(cell.strip("`"))
    except ValueError:
        return cell.strip("`")


# Errors


def test_every_error_class() -> None:
    from lakewright import errors

    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]
    found = {
        f"`{each.__name__}`": (
            f"`{each.__bases__[0].__name__}`" if each is not errors.LakewrightError else "",
            "130 or 143" if each is errors.Stopped else str(each.exit_code),
        )
        for each in classes
        if issubclass(each, errors.LakewrightError)
    }
    assert {name: (base, code) for name, base, code, _ in rows("errors.md", "## Errors")} == found


def test_the_exit_codes_are_the_same_in_both_tables() -> None:
    start = {code for code, _ in rows("start.md", "## Settings, output, exit codes")}
    errors = {code for code, _ in rows("errors.md", "## Exit codes")}
    assert {code for cell in start for code in cell.split(", ")} == errors


# Environment variables

# Variables whose names the code computes: the expression, and the name in docs/environment.md.
COMPUTED = {
    "os.environ[variable]": "${env:NAME}",  # settings/profile.py: profiles.yml names it
    "variable not in os.environ": "${env:NAME}",
    "os.environ[f'{scope}_{key}'.upper().replace('-', '_')]": "SCOPE_KEY",  # targets/databricks/dbutils.py
    "os.environ[name]": "LAKEWRIGHT_SECRET_",  # targets/sagemaker/container.py sets NAME from it
}
# Examples of variables that belong to other programs: the SDKs read them, Lakewright's code does not.
OF_SDKS = {"AWS_PROFILE", "AZURE_CLIENT_ID", "HF_TOKEN"}


def variables(tree: ast.Module, module: ModuleType) -> Iterator[str]:
    """Every name, or beginning of a name, that a file looks up in the environment or sets there."""
    above = {below: node for node in ast.walk(tree) for below in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "getenv"}, "write os.environ.…"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv"):
            for use, key in uses(node, above):
                yield from [COMPUTED[use]] if use in COMPUTED else names(key, above, module)


def uses(node: ast.expr, above: dict[ast.AST, ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """The expressions that use os.environ (or os.getenv) here, each with the expression of the variable's name."""
    parent = above[node]
    if isinstance(parent, ast.Subscript):
        yield ast.unparse(parent), parent.slice
    elif isinstance(parent, ast.Compare) and parent.comparators == [node]:
        yield ast.unparse(parent), parent.left
    elif isinstance(parent, ast.Call) and parent.func is node:  # os.getenv(…), env(…)
        yield ast.unparse(parent), parent.args[0]
    elif isinstance(parent, ast.Attribute) and parent.attr in ("get", "setdefault", "pop"):
        yield from uses(parent, above)
    elif isinstance(parent, ast.Attribute) and parent.attr == "items":  # for name, … in os.environ.items() if name.…
        loop = enclosing(node, above, (ast.comprehension,))
        tests = loop.ifs if isinstance(loop, ast.comprehension) else []
        for test in (part for each in tests for part in ast.walk(each)):
            if isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute) and test.func.attr == "startswith":
                yield ast.unparse(test), test.args[0]
    elif isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):  # env = os.environ.get
        function = enclosing(node, above, (ast.FunctionDef, ast.Module))
        assert function is not None
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == parent.targets[0].id:
                yield ast.unparse(call), call.args[0]
    else:
        raise AssertionError(f"{ast.unparse(parent)}: this test does not know this use of the environment")


def enclosing(node: ast.AST, above: dict[ast.AST, ast.AST], kinds: tuple[type[ast.AST], ...]) -> ast.AST | None:
    here: ast.AST | None = node
    while here is not None and not isinstance(here, kinds):
        here = above.get(here)
    return here


def names(key: ast.expr, above: dict[ast.AST, ast.AST], module: ModuleType) -> list[str]:
    if isinstance(key, ast.Constant):
        return [str(key.value)]
    if isinstance(key, ast.JoinedStr) and isinstance(first := key.values[0], ast.FormattedValue):
        return names(first.value, above, module)  # f"{PREFIX}…": the beginning
    if isinstance(key, ast.Name):
        loop: ast.AST | None = key
        while (loop := above.get(loop)) if loop is not None else None:
            for each in getattr(loop, "generators", [loop] if isinstance(loop, ast.For) else []):
                if key.id in [name.id for name in ast.walk(each.target) if isinstance(name, ast.Name)]:
                    return several(each.iter, module)
        if isinstance(found := getattr(module, key.id, None), str):
            return [found]
    raise AssertionError(f"{module.__name__}: {ast.unparse(key)}: write the variable's name, or explain it in COMPUTED")


def several(iterated: ast.expr, module: ModuleType) -> list[str]:
    if isinstance(iterated, ast.Tuple):
        return [ast.literal_eval(each) for each in iterated.elts]
    name = ast.unparse(iterated).removesuffix(".items()")
    return list(getattr(module, name))


def test_every_environment_variable() -> None:
    found: set[str] = set()
    for path in sorted(HOUSE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "environ" in text or "getenv" in text:
            name = ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")
            found.update(variables(ast.parse(text), import_module(name)))
    profiles = (ROOT / "infrastructure" / "serving" / "profiles.yml").read_text(encoding="utf-8")
    found.update(re.findall(r"\$\{env:(\w+)\}", profiles))
    lines = (DOCS / "environment.md").read_text(encoding="utf-8").splitlines()
    page = "\n".join(line.split("|")[1] if line.startswith("|") else line for line in lines)  # the tables' first cells
    documented = set(re.findall(r"`(?:[\w ]* )?(\$\{env:NAME\}|[A-Z_][A-Z0-9_]{3,})`", page))
    prefixes = {name for name in found if name.endswith("_")}
    whole = {next((prefix for prefix in prefixes if name.startswith(prefix)), name) for name in documented}
    assert found - whole == set(), "not in docs/environment.md"
    assert whole - found - OF_SDKS == set(), "in docs/environment.md, and no code uses them"


def test_the_variables_of_a_file_are_found_in_each_way_to_write_them() -> None:
    module = ModuleType("house")
    module.A, module.B, module.C = "A_NAME", ("B_1", "B_2"), {"C_1": "on"}  # type: ignore[attr-defined]
    text = """
one = os.environ["ONE"], os.environ.get("TWO", ""), os.getenv("THREE"), "FOUR" in os.environ, os.environ.get(A)
some = any(os.environ.get(name) for name in B), any(name in os.environ for name in ("FIVE", "SIX"))
for key, value in C.items():
    os.environ.setdefault(key, value)
rest = {name: place for name, place in os.environ.items() if name.startswith(A)}, os.environ[f"{A}{name.upper()}"]
def login():
    env = os.environ.get
    return env("SEVEN"), env("EIGHT")
"""
    expected = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT A_NAME B_1 B_2 C_1"
    assert set(variables(ast.parse(text), module)) == set(expected.split())
    for unknown in ("os.environ[other]", "dict(os.environ)", "os.environ.get(called())", "from os import environ"):
        with pytest.raises(AssertionError):
            list(variables(ast.parse(unknown), module))
