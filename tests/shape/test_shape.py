"""The house keeps its shape: imports flow one way, public names are sorted, starting up is cheap."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import lakewright
from lakewright import plugins

SOURCE = Path(lakewright.__file__).parent

# Ground first. A module imports from its own wing and from those before it, wherever in the module the import stands.
WINGS = (
    "system", "errors", "plugins", "records", "spaces", "settings", "workers", "data", "evaluation", "model",
    "workspace", "registry", "learning", "pages", "pipeline", "tuning", "racing", "service", "targets", "testing",
    "api", "tune", "automl", "features", "cli",
)  # fmt: skip
FORMER = "runtimes"  # holds what registered models name, and nothing else


def modules(source: Path = SOURCE) -> list[Path]:
    return [path for path in sorted(source.rglob("*.py")) if path.relative_to(source).parts[0] != FORMER]


def wing(name: str) -> str:
    """Of a module's dotted name below `lakewright`."""
    return name.split(".")[0]


def name_of(path: Path, source: Path = SOURCE) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, names: set[str]) -> set[str]:
    """The modules among `names` that a file imports, wherever in it, but for type checking."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lakewright":
            home = node.module.removeprefix("lakewright").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".removeprefix(".")
                found.add(inner if inner in names else home)
        elif isinstance(node, ast.Import):
            found.update(alias.name[11:] for alias in node.names if alias.name.startswith("lakewright."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found - {"", "__init__"}


def graph(source: Path) -> dict[str, set[str]]:
    """The modules below `source` and those that each of them imports; the public names, imported when used, aside."""
    paths = {name_of(path, source): path for path in modules(source)}
    return {name: imported(path, set(paths)) for name, path in paths.items() if name != "__init__"}


def upward(imports: dict[str, set[str]]) -> list[str]:
    at = {name: place for place, name in enumerate(WINGS)}
    return [
        f"{name} imports {there}"
        for name, theirs in imports.items()
        for there in theirs
        if at[wing(there)] > at[wing(name)]
    ]


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The modules that are in a circle: what is left when those that import nothing that is left are taken away, from
    either end."""
    left = {name: theirs & imports.keys() - {name} for name, theirs in imports.items()}
    while True:
        imported_ones = set().union(*left.values()) if left else set()
        ends = {name for name, theirs in left.items() if not theirs or name not in imported_ones}
        if not ends:
            return sorted(left)
        left = {name: theirs - ends for name, theirs in left.items() if name not in ends}


def test_every_module_is_in_a_wing() -> None:
    assert {wing(name) for name in graph(SOURCE)} == set(WINGS)


def test_imports_flow_one_way() -> None:
    assert upward(graph(SOURCE)) == []


def test_no_circle_of_files() -> None:
    assert circles(graph(SOURCE)) == []


@pytest.mark.parametrize("lower", range(len(WINGS)))
def test_an_upward_import_would_be_refused(lower: int, tmp_path: Path) -> None:
    """For each pair of wings: an import of the upper one, planted in a function of the lower one."""
    copy = tmp_path / "lakewright"
    for place, name in enumerate(WINGS):
        folder = copy / name
        folder.mkdir(parents=True)
        lines = [f"from lakewright.{above} import x" for above in WINGS[place + 1 :]] if place == lower else []
        (folder / "__init__.py").write_text("def f():\n    pass\n" + "".join(f"    {line}\n" for line in lines))
    found = upward(graph(copy))
    assert len(found) == len(WINGS) - lower - 1
    for above in WINGS[lower + 1 :]:
        assert f"{WINGS[lower]} imports {above}" in found


def test_a_circle_would_be_seen(tmp_path: Path) -> None:
    lines = {"one": "from lakewright.data import two", "two": "import lakewright.data.one", "three": "pass"}
    for name, line in lines.items():
        path = tmp_path / "data" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"def f():\n    {line}\n")
    assert circles(graph(tmp_path)) == ["data.one", "data.two"]


def opening(source: Path) -> list[str]:
    """The modules below `api` that open a workspace, under whatever name they import the class."""
    found = []
    for path in modules(source):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {each.asname for node in imports for each in node.names if each.name == "Workspace"} | {"Workspace"}
        opens = [node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "open"]
        called = {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in opens}
        home = wing(name_of(path, source))
        if called & names and home in WINGS[: WINGS.index("api")]:
            found.append(name_of(path, source))
    return found


def test_nothing_below_api_opens_a_workspace() -> None:
    """Functions there take an opened one, so that who calls them decides where they work."""
    assert opening(SOURCE) == []


@pytest.mark.parametrize("home", WINGS)
def test_a_workspace_opened_below_api_would_be_seen(home: str, tmp_path: Path) -> None:
    lines = {
        "plain": "from lakewright.workspace import Workspace\n    return Workspace.open(profile)",
        "renamed": "from lakewright.workspace import Workspace as W\n    return W.open(profile)",
        "by_module": "from lakewright import workspace\n    return workspace.Workspace.open(profile)",
        "handed_on": "from lakewright.workspace import Workspace\n    return partial(Workspace.open, profile)",
        "another": "from lakewright.model.predictor import Predictor\n    return Predictor.open(profile)",
    }
    (tmp_path / home).mkdir()
    for name, line in lines.items():
        (tmp_path / home / f"{name}.py").write_text(f"def f(profile):\n    {line}\n")
    seen = (
        ["by_module", "handed_on", "plain", "renamed"]
        if home not in ("api", "tune", "automl", "features", "cli")
        else []
    )
    assert opening(tmp_path) == [f"{home}.{name}" for name in seen]


def test_stages_never_import_each_other() -> None:
    imports = graph(SOURCE)
    stages = {name for name in imports if name.startswith("pipeline.stages.")}
    assert stages and all(not imports[stage] & stages for stage in stages)


def test_public_names_are_sorted_and_there() -> None:
    from lakewright import api

    assert lakewright.__all__ == sorted(lakewright.__all__)
    for name in lakewright.__all__:
        assert getattr(lakewright, name) is not None
    assert set(lakewright.__all__) == {
        "LakewrightError", "Predictor", "Run", "Workspace", "automl", "features", "load_profile", "load_project",
        "spaces", "tune",
        *api.__all__,
    }  # fmt: skip


def test_every_function_of_api_is_a_verb_or_has_no_place_there() -> None:
    """A function without an underscore that `api/__init__.py` does not import would be public by its looks alone."""
    from lakewright import api

    written = {}
    for path in sorted((SOURCE / "api").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        written.update({node.name: path.stem for node in tree.body if isinstance(node, ast.FunctionDef)})
    public = {name for name, home in written.items() if not name.startswith("_") and home != "places"}
    assert public == {*api.__all__, "execute", "worker"}  # what the command line and a served process call


def untyped(function: Callable[..., object]) -> list[str]:
    """What of a signature has no type, or `Any` where one could stand: it may only be the value of a mapping (a cell of
    a row, a part of a JSON object)."""
    signature = inspect.signature(function)
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    found = []
    for name, annotation in {**annotations, "return": signature.return_annotation}.items():
        text = "Any" if annotation is inspect.Signature.empty else str(annotation)
        if "Any" in re.findall(r"\w+", re.sub(r"\b(dict|Mapping)\[str, Any\]", "", text)):
            found.append(name)
    return found


def test_every_verb_is_typed() -> None:
    from lakewright import api

    assert {name: gaps for name in api.__all__ if (gaps := untyped(getattr(api, name)))} == {}


def test_a_verb_without_types_would_be_seen() -> None:
    def lacks(one, two: Any, three: list[Any], four: dict[str, Any], five: Mapping[str, Any] | None):  # type: ignore[no-untyped-def]
        ...

    assert untyped(lacks) == ["one", "two", "three", "return"]


def test_no_module_is_named_after_nothing() -> None:
    for path in modules():
        assert not {"util", "utils", "helper", "helpers", "common", "misc", "manager"} & set(path.stem.split("_")), path


def renames(source: Path) -> list[str]:
    """Where a file is put in its place by hand: only system/files.py may, for it knows how to do so whole."""
    found = []
    for path in modules(source):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = node.func.attr
                by_os = ast.unparse(node.func) == "os.replace"
                if name in {"rename", "renames", "fsync"} or by_os or (name == "replace" and len(node.args) == 1):
                    found.append(f"{name_of(path, source)}:{node.lineno}")
    return [place for place in found if not place.startswith("system.files:")]


def test_files_are_put_in_their_place_by_one_module() -> None:
    assert renames(SOURCE) == []


@pytest.mark.parametrize("line", ["draft.rename(path)", "draft.replace(path)", "os.replace(draft, path)"])
def test_a_rename_by_hand_would_be_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "one.py").write_text(f"def f():\n    {line}\n")
    assert renames(tmp_path) == ["model.one:2"]


def loads(code: str, *forbidden: str) -> None:
    """Run `code` in a fresh interpreter; none of `forbidden` may have been imported by it."""
    check = f"import sys\n{code}\nfound = [m for m in {forbidden!r} if m in sys.modules]\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "pyarrow",
    "pandas",
    "sklearn",
    "duckdb",
    "deltalake",
    "onnxruntime",
    "numpy",
)


def test_importing_lakewright_and_its_command_line_is_light() -> None:
    loads("import lakewright", *HEAVY, "pydantic", "typer")
    loads("import lakewright as lw; lw.spaces; lw.spaces.hyperopt", *HEAVY, "pydantic", "typer")
    loads("import lakewright as lw; lw.tune.minimize, lw.tune.fmin, lw.tune.search", *HEAVY, "optuna")
    loads("import lakewright as lw; lw.automl.search, lw.automl.classify, lw.automl.AutoMLSummary", *HEAVY, "optuna")
    loads("import lakewright.cli", *HEAVY, "pydantic")


def test_predicting_from_a_folder_needs_no_training_library() -> None:
    parts = [f"plugins.TASKS.find({name!r})" for name in plugins.TASKS.names()]
    parts += [f"plugins.STEPS.find({name!r})" for name in plugins.STEPS.names()]
    found = "; ".join([*parts, "plugins.RUNTIMES.find('onnx')"])
    code = f"import lakewright.model.predictor; from lakewright import plugins; {found}"
    loads(code, "torch", "transformers", "mlflow", "pyarrow", "pandas", "sklearn", "duckdb", "deltalake")


SEAMS = [seam for seam in vars(plugins).values() if isinstance(seam, plugins.Seam)]


def test_the_seams_are_those_of_the_entry_points() -> None:
    groups = {group for group in entry_points().groups if group.startswith("lakewright.")}
    assert {f"lakewright.{seam.name}" for seam in SEAMS} == groups


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_every_entry_point_loads(seam: plugins.Seam[Any]) -> None:
    assert seam.names()
    for name in seam.names():
        assert seam.find(name) is not None


def test_an_outsider_uses_the_same_door(tmp_path: Path) -> None:
    """A package of someone else's adds a runtime with one file and one entry point line."""
    (tmp_path / "theirs.py").write_text("def load(path, threads=None):\n    return 'their runtime'\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lakewright.runtimes]\ntheirs = theirs:load\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom lakewright import plugins\n"
        "assert plugins.RUNTIMES.find('theirs')('x') == 'their runtime'\nassert 'onnx' in plugins.RUNTIMES.names()"
    )
    loads(code)
