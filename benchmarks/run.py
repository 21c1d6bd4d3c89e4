"""One `lakewright run`, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page import ROOT

BELOW_THE_GATE = 3  # an exit code: everything is measured all the same


def run(project: str, settings: Sequence[str], scratch: Path) -> dict[str, Any]:
    """What `--json` told of examples/`project`, run in the folder `scratch`. Raises SystemExit where the run failed."""
    example = ROOT / "examples" / project
    for file in (example, example.with_name("source.py")):  # not beside profiles.yml, whose workspace stays
        if file.exists():
            shutil.copy(file, scratch)
    command = [sys.executable, "-m", "lakewright.cli", "run", example.name, "--json"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, BELOW_THE_GATE):
        raise SystemExit(f"{project} failed with exit code {done.returncode}: {done.stdout[:2000]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
