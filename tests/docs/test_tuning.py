"""The blocks of docs/tuning.md: each `tune` section loads, and each Python block runs, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_readme import Block, blocks

import lakewright as lw
from lakewright import spaces
from lakewright.spaces import DISTRIBUTIONS
from projects import write_linear_project

PAGE = Path(__file__).parents[2] / "docs" / "tuning.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block", [each for each in blocks(TEXT) if each.language == "yaml"], ids=lambda each: each.line
)
def test_every_section_loads(block: Block, tmp_path: Path) -> None:
    path = write_linear_project(tmp_path)
    path.write_text(path.read_text() + block.text)
    project = lw.load_project(path)
    assert project.tune is not None and project.tune.space.keys() == yaml.safe_load(block.text)["tune"]["space"].keys()


@pytest.mark.parametrize(
    "block", [each for each in blocks(TEXT) if each.language == "python"], ids=lambda each: each.line
)
def test_every_python_block_runs(block: Block, tmp_path: Path, mlflow_template: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    tracking = "import os; os.environ['MLFLOW_TRACKING_URI'] = 'sqlite:///mlflow.db'\n"
    done = subprocess.run(
        [sys.executable, "-c", tracking + block.text], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_distribution_is_in_the_table() -> None:
    """Each with arguments that are read."""
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `{")]
    forms = [yaml.safe_load(form.strip("` ")) for row in rows for form in row.split("`, `")]
    assert {name for form in forms for name in form} == {*DISTRIBUTIONS}
    for form in forms:
        spaces.read({"x": form})
