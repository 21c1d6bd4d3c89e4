"""The blocks of the first page after the README run, in order, in one new folder: what a reader pastes works.

```bash, ```python    run; a failing line fails the block
```yaml               written to the file that its first line names: `# project.yml`
```console            not run: commands for a whole machine (make demo)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, START = ROOT / "README.md", ROOT / "docs" / "start.md"
RUN = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
NOT_RUN = {"console"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    found = re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def run(block: Block, folder: Path) -> None:
    where = f"start.md:{block.line}"
    if block.language == "yaml":
        name = re.match(r"# (\w+\.yml)\n", block.text)
        assert name, f"{where}: the first line of a yaml block names its file: # project.yml"
        (folder / name[1]).write_text(block.text, encoding="utf-8")
        return
    assert block.language in RUN, f"{where}: {block.language!r} is none of {[*RUN, 'yaml']}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*RUN[block.language], block.text]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def test_every_block_runs(tmp_path: Path, mlflow_template: Path) -> None:
    (tmp_path / ".lakewright").mkdir()  # all that is there beforehand: an empty MLflow database, seconds to make
    shutil.copy(mlflow_template, tmp_path / ".lakewright" / "mlflow.db")
    to_run = blocks(START.read_text(encoding="utf-8"))
    assert {block.language for block in to_run} == {*RUN, "yaml"}, "a language that is not run, or none of one that is"
    for block in to_run:
        run(block, tmp_path)


def test_the_readme_shows_the_demo_as_it_is() -> None:
    shown = {block.language: block.text for block in blocks(README.read_text(encoding="utf-8"))}
    assert shown.keys() == {"console", "yaml", "text"}
    assert shown["yaml"] == (ROOT / "examples/icd10_chapters/project.yml").read_text(encoding="utf-8")


def test_what_is_not_run_is_only_make() -> None:
    for block in blocks(README.read_text(encoding="utf-8")):
        if block.language in NOT_RUN:
            commands = [line for line in block.text.splitlines() if line.startswith("$ ")]
            assert commands and all(line.startswith("$ make ") for line in commands), f"README.md:{block.line}"


def test_make_has_the_commands_that_the_readme_names() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^\$ make ([\w-]+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {"demo", "test"}
    assert named <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
