"""The house keeps its shape: imports flow one way, public names are sorted, starting up is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lakewright
from lakewright import plugins

SOURCE = Path(lakewright.__file__).parent

# From the ground up; a module may import from its own storey's listed rooms below it, never from above.
# `tasks`, `learners`, `evaluation`, `runtimes` and `encodings` stand on one floor: a learner trains a task, a task
# names its scorer, a learner measures the runtime it exports to.
STOREYS = [
    {"errors", "jsonfile", "memory", "paths", "records", "plugins", "progress", "secrets", "yamlfile"},
    {"project", "profile"},
    {
        "lake",
        "encodings",
        "tasks",
        "learners",
        "evaluation",
        "runtimes",
        "prepare",
        "tracking",
        "mirror",
        "workspace",
        "registry",
        "profiling",
    },
    {"stages"},
    {"cache", "comparison", "retrieval", "runs", "scoring", "serving", "pipeline"},
    {"targets", "schedule"},
    {"show", "cli"},
]
LEVEL = {room: level for level, rooms in enumerate(STOREYS) for room in rooms}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The lakewright modules that a file imports, wherever in it, but for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lakewright":
            if node.module == "lakewright":
                found.update(f"lakewright.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("lakewright."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def test_every_room_has_its_storey() -> None:
    assert {room(path) for path in modules()} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_flow_one_way(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return  # the public names, imported lazily
    for name in imported(path):
        there = name.split(".")[1]
        assert LEVEL[there] <= LEVEL[here], f"{path.relative_to(SOURCE)} imports {name} from a storey above"
        if here == "stages" and there == "stages":
            pytest.fail(f"{path.relative_to(SOURCE)} imports {name}: stages never import each other")


def test_public_names_are_sorted_and_there() -> None:
    assert lakewright.__all__ == sorted(lakewright.__all__)
    for name in lakewright.__all__:
        assert getattr(lakewright, name) is not None
    assert set(lakewright.__all__) == {
        "LakewrightError", "Predictor", "Run", "Workspace", "load", "load_profile", "load_project", "plan", "run",
    }  # fmt: skip


def test_no_module_is_named_after_nothing() -> None:
    for path in modules():
        assert not {"util", "utils", "helper", "helpers", "common", "misc", "manager"} & set(path.stem.split("_")), path


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
    loads("import lakewright.cli", *HEAVY, "pydantic")


def test_predicting_from_a_folder_needs_no_training_library() -> None:
    parts = [(seam, name) for seam in ("tasks", "encodings") for name in plugins.names(seam)]
    found = "; ".join(f"plugins.find({seam!r}, {name!r})" for seam, name in [*parts, ("runtimes", "onnx")])
    code = f"import lakewright.model.predictor; from lakewright import plugins; {found}"
    loads(code, "torch", "transformers", "mlflow", "pyarrow", "pandas", "sklearn", "duckdb", "deltalake")


@pytest.mark.parametrize("seam", ["sources", "tasks", "learners", "encodings", "runtimes", "targets", "catalogs"])
def test_every_entry_point_loads(seam: plugins.Seam) -> None:
    assert plugins.names(seam)
    for name in plugins.names(seam):
        assert plugins.find(seam, name) is not None


def test_an_outsider_uses_the_same_door(tmp_path: Path) -> None:
    """A package of someone else's adds a runtime with one file and one entry point line."""
    (tmp_path / "theirs.py").write_text("def load(path, threads=None):\n    return 'their runtime'\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lakewright.model.runtimes]\ntheirs = theirs:load\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom lakewright import plugins\n"
        "assert plugins.find('runtimes', 'theirs')('x') == 'their runtime'\nassert 'onnx' in plugins.names('runtimes')"
    )
    loads(code)
