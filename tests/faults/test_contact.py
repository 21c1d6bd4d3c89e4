"""The first hour with Lakewright: what a command waits for, what long work shows, where things are looked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lakewright as lw
from conftest import sentences, write_csv

MODEL = "models:/main.demo.things@champion"
UNCHANGED = ["--set", "gate.champion=false", "--set", "train.C=10"]  # what `registered` ran last
LOADED = """
import atexit, json, sys
heavy = set(json.loads(sys.argv.pop(1)))
atexit.register(lambda: print("imported:", *sorted(heavy & set(sys.modules)), file=sys.stderr))
from lakewright.cli import main
main()
"""


def linear_project(folder: Path) -> Path:
    """A project that takes seconds, in a folder of its own."""
    write_csv(folder / "things.csv", sentences(120))
    project = {
        "name": "things",
        "schema": "main.demo",
        "task": "text_classification",
        "data": {"source": "things.csv", "columns": {"text": "text", "label": "label", "id": "id"}},
        "train": {"learner": "linear"},
        "evaluate": {"resamples": 100},
    }
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(project))
    return path


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """The folder of a project with two finished runs and a champion."""
    folder = tmp_path_factory.mktemp("registered")
    (folder / ".lakewright").mkdir()
    (folder / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    path = linear_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for strength in (1, 10):
            assert lw.run(path, settings=["gate.champion=false", f"train.C={strength}"]).model_version is not None
    return folder


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["plan", *UNCHANGED], set()),
        (["run", *UNCHANGED], set()),
        (["models", "list"], set()),
        (["runs"], set()),
        (["tables"], set()),
        (["compare"], {"matplotlib"}),
        (["predict", MODEL, "the dog is here"], set()),
        # pyarrow imports pandas, where it is installed, to make an array of a list
        (["score", "--model", MODEL, "--input", "main.demo.things"], {"pandas"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_that_tracks_nothing_imports_no_library_of_training(
    command: list[str], allowed: set[str], registered: Path
) -> None:
    heavy = {"mlflow", "sqlalchemy", "torch", "transformers", "sklearn", "scipy", "pandas", "matplotlib"} - allowed
    line = [sys.executable, "-c", LOADED, json.dumps(sorted(heavy)), *command]
    done = subprocess.run(line, cwd=registered, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "imported:"
